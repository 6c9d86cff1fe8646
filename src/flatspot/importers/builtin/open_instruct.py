"""open-instruct's rollouts, with `--save_traces`: ids of tokens, no text."""

from __future__ import annotations

from collections.abc import Sequence

from flatspot.importers.arranged import Arranged, Log
from flatspot.importers.builtin.format import Format
from flatspot.importers.sample import Sample
from flatspot.rollouts.notes import Caveat


def _told(sample: Sample) -> str | None:
    return "" if sample.has("prompt_tokens", "response_tokens", "prompt_idx", "finish_reason") else None


def _arrange(log: Log, _: Sequence[str]) -> Arranged:
    caveats: list[Caveat] = [("no-text", "The log holds ids of tokens and no text: prompts are compared by their ids.")]
    tokens = f"json_array_length(TRY_CAST({log.text('response_tokens')} AS JSON))"
    return Arranged(
        names={
            "prompt": "prompt_tokens",
            "completion": "response_tokens",
            "reward": "reward",
            "step": "step",
            "truncated": "cut",
            "n_tokens": "n_response_tokens",
        },
        derived={
            "cut": f"CASE WHEN {log.text('finish_reason')} IS NOT NULL THEN {log.text('finish_reason')} <> 'stop' END",
            "n_response_tokens": f"CAST({tokens} AS INT)",
        },
        dropped=("logprobs", "advantage", "prompt_idx"),
        survivors="assumed",
        caveats=caveats,
    )


OPEN_INSTRUCT = Format(
    name="open-instruct",
    title="open-instruct",
    writers="open-instruct with `--save_traces`",
    files="`RUN_rollouts_000000.jsonl`",
    hides={
        "survivors-only": "`filter_zero_std_samples` is on by default: told by there being no flat group",
        "no-text": "ids of tokens only",
        "several-policies": "each step has another policy, or several",
    },
    told_by=_told,
    arrange=_arrange,
)
