"""verifiers' traces.jsonl since 0.2, which prime-rl writes too: an episode a line, or, in the older form, a trace a line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from flatspot.core.shares import noun
from flatspot.importers.arranged import Arranged, Log
from flatspot.importers.as_formatted import EVALUATION
from flatspot.importers.builtin.batches import repeated_files, step_in_path
from flatspot.importers.builtin.format import Blocks, Format
from flatspot.importers.builtin.nested import at, dict_of, is_message, list_of, nested_blocks, text_of_error
from flatspot.importers.sample import Sample
from flatspot.readers.blocks import Block, Notice
from flatspot.rollouts.notes import Caveat

_PRIME_FOLDER = re.compile(r"/rollouts/step_[0-9]+/")
_STEP = r"/step_([0-9]+)/"
_CUT = re.compile(r"max_turns|max_.*_tokens|compaction_failed")
_KEYS = ("id", "env", "task", "group", "run", "ok", "errors", "traces")
_TRACE_KEYS = (
    "id", "task", "nodes", "rewards", "errors", "stop_condition", "calls", "kind", "env_name", "group_id", "policy_version", "ok", "agent",
    "eval_step", "is_truncated",
)  # fmt: skip
_PART, _WEIGHT = "rewards.", "weights."
_OURS = ("prompt", "completion", "error", "truncated", "step", "split")
_DATA = ("answer", "ground_truth", "label", "info", "target", "solution", "reference")  # of a task, what a reward may need


def is_prime(sample: Sample) -> bool:
    """Whether a file of traces is prime-rl's."""
    return at(sample.first, "run", "type") == "train" or bool(_PRIME_FOLDER.search(sample.path.absolute().as_posix()))


def _told_episodes(sample: Sample) -> str | None:
    if not (sample.has("task", "traces", "ok") and isinstance(sample.first["traces"], list)):
        return None
    return _version(at(sample.first, "traces", 0))


def _told_traces(sample: Sample) -> str | None:
    if not (sample.has("task", "nodes", "rewards") and isinstance(sample.first["rewards"], dict)):
        return None
    return _version(sample.first)


def _version(trace: Any) -> str:
    version = at(trace, "verifiers", "version")
    return f"verifiers {version}" if isinstance(version, str) else ""


def episode_blocks(path: Path, notices: list[Notice]) -> Iterator[Block]:
    """A row per trainable trace of each episode."""

    def rows(episode: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        traces = [trace for trace in list_of(episode.get("traces")) if isinstance(trace, dict)]
        trainable = [trace for trace in traces if at(trace, "agent", "trainable") is not False]
        for i, trace in enumerate(trainable):
            task = dict_of(trace.get("task")) or dict_of(episode.get("task"))
            work = dict_of(at(episode, "run", "work"))
            agent = at(trace, "agent", "name") if len(trainable) > 1 else None
            failed = None if episode.get("ok") is not False and trace.get("ok") is not False else _error(trace, episode)
            yield {
                "episode": f"{episode['id']}/{i}" if isinstance(episode.get("id"), str) else None,
                "group.id": at(episode, "group", "id"),
                "step": work.get("step"),
                "split": _split(work.get("type") or at(episode, "run", "type")),
                "policy": at(work, "policy", "end"),
                **_task(task, agent, at(episode, "env", "name")),
                **_drawn(trace, task, failed),
            }

    return nested_blocks(path, notices, _KEYS, rows)


def trace_blocks(path: Path, notices: list[Notice]) -> Iterator[Block]:
    """A row per line, of which each is a trace with rewards that are weighted already."""
    step = step_in_path(path.absolute(), _STEP)

    def rows(trace: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        task = dict_of(trace.get("task"))
        failed = _error(trace, trace) if trace.get("errors") or trace.get("ok") is False else None
        yield {
            "episode": trace.get("id"),
            "group.id": trace.get("group_id"),
            "step": step if step is not None else trace.get("policy_version"),
            "split": _split(trace.get("kind")),
            "policy": trace.get("policy_version"),
            **_task(task, None, trace.get("env_name")),
            **_drawn(trace, task, failed),
        }

    return nested_blocks(path, notices, _TRACE_KEYS, rows)


def _task(task: Mapping[str, Any], agent: Any, env: Any) -> dict[str, Any]:
    """What names the prompt, its text, and what else of the task a reward may need."""
    data = dict_of(task.get("data"))
    key = task.get("key") or task.get("hash")
    if not isinstance(key, str):
        key = json.dumps({name: value for name, value in data.items() if name != "idx"}, sort_keys=True)
    named = "/".join(str(part) for part in (env, key, agent) if isinstance(part, str))
    return {"task": named, **{name: data[name] for name in _DATA if name in data}}


def _drawn(trace: Mapping[str, Any], task: Mapping[str, Any], failed: str | None) -> dict[str, Any]:
    """The prompt, the completion and the rewards of a trace."""
    messages = _last_branch(list_of(trace.get("nodes")))
    first = next((i for i, (_, sampled) in enumerate(messages) if sampled), len(messages))
    scores = {str(name): _score(value) for name, value in dict_of(trace.get("rewards")).items()}
    known = {name: pair for name, pair in scores.items() if pair[0] is not None}
    total = sum(score * weight for score, weight in known.values()) if known else None
    if failed is None and not known:
        failed = "no reward was computed" if scores else "the episode has no rewards"
    ends = [call.get("finish_reason") for call in list_of(trace.get("calls")) if isinstance(call, dict)]
    stopped = trace.get("stop_condition")
    return {
        "prompt": _prompt(task, [message for message, _ in messages[:first]]),
        "completion": [message for message, _ in messages[first:]],
        "reward": total if failed is None else None,
        "error": failed,
        "truncated": (isinstance(stopped, str) and bool(_CUT.fullmatch(stopped)))
        or ends[-1:] == ["length"]
        or trace.get("is_truncated") is True,
        "model": next((call["model"] for call in list_of(trace.get("calls")) if isinstance(at(call, "model"), str)), None),
        **{_PART + name: score for name, (score, _) in known.items()},
        **{_WEIGHT + name: weight for name, (_, weight) in known.items()},
    }


def _score(value: Any) -> tuple[Any, float]:
    """(score, weight) of a reward; the score is None where there is none."""
    if isinstance(value, dict):
        score, weight = value.get("score"), value.get("weight", 1.0)
        return (score if _is_number(score) else None), (float(weight) if _is_number(weight) else 1.0)
    return (value if _is_number(value) else None), 1.0


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and abs(value) < 1e300  # NaN is none either


def _error(trace: Mapping[str, Any], episode: Mapping[str, Any]) -> str:
    said = trace.get("errors") or episode.get("errors") or trace.get("error")
    return text_of_error(said) if said else "the episode failed"


def _split(word: Any) -> str | None:
    return EVALUATION if word == "eval" else "train" if word == "train" else None


def _prompt(task: Mapping[str, Any], before: Sequence[Any]) -> Any:
    data = dict_of(task.get("data"))
    prompt, system = data.get("prompt"), data.get("system_prompt")
    if not isinstance(prompt, str | list) or not prompt:
        return list(before) or None
    if not isinstance(system, str) or not system:
        return prompt
    asked = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    return [{"role": "system", "content": system}, *asked]


def _last_branch(nodes: Sequence[Any]) -> list[tuple[Any, bool]]:
    """(message, whether it was sampled) of each node on the way to the last one."""
    branch: list[tuple[Any, bool]] = []
    place: Any = len(nodes) - 1
    while isinstance(place, int) and 0 <= place < len(nodes) and len(branch) <= len(nodes):
        node = dict_of(nodes[place])
        if is_message(node.get("message")):
            message = {key: value for key, value in node["message"].items() if value is not None}
            branch.append((message, node.get("sampled") is True))
        parent = node.get("parent")
        place = parent if isinstance(parent, int) and parent < place else None
    return branch[::-1]


def select_traces(files: Sequence[Path]) -> tuple[list[Path], list[Caveat]]:
    """Of prime-rl's files those of all episodes: `effective` holds some of them once more, picked by their rewards."""
    effective = [path for path in files if path.parent.name == "effective"]
    left_out = {path for path in effective if (path.parent.parent / "all" / path.name).is_file()}
    caveats: list[Caveat] = []
    if left_out:
        text = f"Passed over: {noun(len(left_out), 'file')} of `effective`, with episodes of those of `all` beside them."
        caveats.append(("repeated-rows", text))
    alone = [path for path in effective if path not in left_out]
    if alone and len(effective) < len(files):
        text = f"Left out, as survivors only: {noun(len(alone), 'file')} of `effective` with no `all` beside them ({alone[0]} …)."
        caveats.append(("missing-steps", text))
        left_out |= set(alone)
    return [path for path in files if path not in left_out], caveats


def arrange_traces(log: Log, _: Sequence[str] = ()) -> Arranged:
    """The rows of traces, each episode once."""
    caveats: list[Caveat] = []
    evaluated = f"NOT regexp_matches({log.path()}, '/rollouts/step_')"  # of a training, two steps may draw the same few answers
    again, said = repeated_files(log, ["task", "prompt", "completion"], evaluated)
    caveats += said
    where = " AND ".join(filter(None, [_each_episode_once(log, caveats), again]))
    if failed := log.one(f"SELECT count({log.text('error')}) FROM log")[0]:
        caveats.append(("errors-not-zeros", f"{failed:,} episodes failed or were not scored: they are errors here, not zeros."))
    policies, steps = log.one(f"SELECT count(DISTINCT {log.text('policy')}), count(DISTINCT {log.text('step')}) FROM log")
    if policies > 1 and steps < 2:
        caveats.append(("several-policies", f"The completions are of {policies} policies, judged together as if they were one."))
    parts = {name: name.removeprefix(_PART) for name in log.types if name.startswith(_PART)}
    weights = {part: _weight(log, _WEIGHT + part) for part in parts.values()}
    names: dict[str, str | tuple[str, ...]] = {name: name for name in _OURS if log.has(name)}
    if log.has("group.id"):
        names["drawn_with"] = "group.id"
    derived = {name: log.text(name) for name in ("split",) if log.has(name)} | ({} if log.has("reward") else {"reward": "NULL::VARCHAR"})
    return Arranged(
        names=names | {"reward": "reward", "part": tuple(parts)},
        ids=("task",),
        group_by=("task",) if _one_prompt_each(log) else (),
        parts=parts,
        part_weights={part: weight for part, weight in weights.items() if weight is not None},
        derived=derived,
        policy=f"CASE WHEN regexp_matches({log.path()}, '/rollouts/step_') THEN {log.path('/rollouts/step_.*$')} "
        f"ELSE {log.text('model')} END",
        dropped=["episode", "policy", *map(_WEIGHT.__add__, weights)],
        where=where,
        survivors="certain" if all(file.parent.name == "effective" for file in log.files) else "",
        caveats=caveats,
    )


def _each_episode_once(log: Log, caveats: list[Caveat]) -> str:
    episode = log.text("episode")
    n = log.one(f"SELECT count({episode}) - count(DISTINCT {episode}) FROM log")[0]
    if not n:
        return ""
    first = "first(_file ORDER BY _file, _row) AS f, first(_row ORDER BY _file, _row) AS r"
    log.db.execute(f"CREATE OR REPLACE TEMP TABLE first_episodes AS SELECT {first}, {episode} AS own FROM log GROUP BY {episode}")
    caveats.append(("repeated-rows", f"Each episode is counted once, by its id: {noun(n, 'row')} left out as repeated."))
    return f"({episode} IS NULL OR (_file, _row, {episode}) IN (SELECT (f, r, own) FROM first_episodes))"


def _weight(log: Log, column: str) -> float | None:
    low, high = log.one(f"SELECT min({log.number(column)}), max({log.number(column)}) FROM log")
    return float(low) if low == high else None


def _one_prompt_each(log: Log) -> bool:
    """Whether no task has several prompts."""
    each = f"SELECT {log.text('task')} AS task, count(DISTINCT {log.text('prompt')}) AS n FROM log GROUP BY 1"
    return not log.one(f"SELECT count_if(n > 1) FROM ({each})")[0]


_PRIME = {
    "several-policies": "each step has another policy",
    "repeated-rows": "`effective` repeats episodes of `all`",
    "survivors-only": "`effective` alone holds only groups with an advantage",
    "errors-not-zeros": "a failed episode has no reward, or null ones",
    "evaluation-rows": "evaluations stand beside the training",
}
_EVAL = {"errors-not-zeros": "a failed episode has no reward, or null ones", "evaluation-split": "an evaluation's tasks"}


def _shape(name: str, told: Callable[[Sample], str | None], blocks: Blocks, *, prime: bool, form: str) -> Format:
    return Format(
        name=name,
        title=f"{name}{form}",
        writers="prime-rl's file monitor" if prime else "verifiers' evaluations, 0.2 and later",
        files="`rollouts/step_1/train/all/traces.jsonl`" if prime else "`outputs/env--model--harness--id/traces.jsonl`",
        hides=_PRIME if prime else _EVAL,
        told_by=lambda sample: told(sample) if is_prime(sample) == prime else None,
        arrange=arrange_traces,
        blocks=blocks,
        select=select_traces if prime else None,
    )


PRIME_EPISODES = _shape("prime-rl", _told_episodes, episode_blocks, prime=True, form="")
EPISODES = _shape("verifiers", _told_episodes, episode_blocks, prime=False, form="")
PRIME_TRACES = _shape("prime-rl", _told_traces, trace_blocks, prime=True, form=" (a trace a line)")
TRACES = _shape("verifiers", _told_traces, trace_blocks, prime=False, form=" (a trace a line)")
