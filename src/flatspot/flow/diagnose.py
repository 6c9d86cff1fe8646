"""`flatspot diagnose` on one page: prompts + policy + reward → rollouts → verdicts → report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import numpy as np

from flatspot.core.errors import SettingsError
from flatspot.core.options import DiagnoseOptions
from flatspot.core.protocols import Say
from flatspot.core.records import Prompt
from flatspot.core.request import Request, name_of, resume_options, reward_names, settings_shown
from flatspot.core.settings import Settings
from flatspot.flow.draw import answers_are_scored, draw_run
from flatspot.flow.gradients import check_groups, check_weights, measure_gradients
from flatspot.flow.judge import judge_run, judge_settings
from flatspot.flow.settings import checked_settings, request_of_reward
from flatspot.rollouts.completeness import is_complete, replay_stored
from flatspot.rollouts.identity import digest, run_key
from flatspot.rollouts.progress import OnProgress
from flatspot.rollouts.prompts import read_prompt_table
from flatspot.rollouts.rounds import Decider, FixedCompletions
from flatspot.rollouts.store import RunRecord
from flatspot.runs.run import Run
from flatspot.stats.triage.decider import Adaptive
from flatspot.stats.triage.plan import diagnose_plan

if TYPE_CHECKING:
    from flatspot.rewards.load import RewardSpec


def diagnose(
    prompts: object,
    policy: object,
    reward: RewardSpec | Sequence[RewardSpec],
    *,
    on_progress: OnProgress | None = None,
    say: Say | None = None,
    **settings: Unpack[DiagnoseOptions],
) -> Run:
    """Sample completions, score them, and judge which prompts RL can learn from.

    prompts   a file (JSONL, JSON, CSV, TSV, Parquet), `reasoning-gym:…`, a table in memory, or a list of texts, rows or `Prompt`s
    policy    a Hugging Face name or folder, a GGUF file, a (model, tokenizer) pair, or an `Engine`
    reward    TRL's callable, `module:function`, `file.py:function`, a built-in name, or several of these
    settings  the fields of `Settings`

    on_progress    called about twice a second; None: a bar in a notebook, else nothing

    The run folder is written as it goes: the same call resumes where a killed one stopped. Raises `FlatspotError` for what the user can
    fix; a completion whose reward fails is a row with an error, never an exception.

    >>> from flatspot.engines.scripted import ScriptedEngine
    >>> answers = ScriptedEngine({"2+2=": {"4": 0.5, "5": 0.5}, "17*23=": {"400": 1.0}})
    >>> rows = [{"prompt": "2+2=", "reference": "4"}, {"prompt": "17*23=", "reference": "391"}]
    >>> folder = getfixture("tmp_path") / "run"
    >>> diagnose(rows, answers, "exact_match", out=folder).verdicts["verdict"].to_pylist()
    ['learnable', 'vanishing']
    """
    from flatspot.engines.policy import DEFAULT_POLICY
    from flatspot.rewards import check_reward, load_reward
    from flatspot.tasks import load_prompts

    chosen, say = checked_settings(settings), say or (lambda _: None)
    rows = load_prompts(prompts, prompt_col=chosen.prompt_col, id_col=chosen.id_col, limit=chosen.limit, template=chosen.prompt_template)
    _check_prompts(rows, chosen)
    groups = chosen.group_size if chosen.fixed_completions and chosen.max_completions % chosen.group_size == 0 else None
    with load_reward(reward, weights=chosen.reward_weights, timeout_s=chosen.reward_timeout_s, group_size=groups) as loaded:
        key = run_key(rows, policy, loaded, chosen)
        folder = Path(chosen.out) if chosen.out is not None else Path("runs") / digest(key)
        check_weights(policy, chosen)
        request = Request(
            prompts=name_of(prompts),
            model=name_of(policy),
            rewards=reward_names(reward),
            **request_of_reward(chosen, loaded),
            advantage=chosen.advantage,
            resume=resume_options(chosen),
            out=str(folder),
            seed=chosen.seed,
            **settings_shown(chosen),
        )
        decider = partial(_decider, folder, chosen, request)
        identified = key["model"]["stamp"] is not None or policy == DEFAULT_POLICY
        replay = replay_stored(folder, key, chosen.max_completions, decider)
        if not (identified and is_complete(folder, replay) and answers_are_scored(folder, rows, loaded, chosen.answer_col)):
            check_reward(loaded, rows, say)
            check_groups(loaded, chosen)
            draw_run(folder, key, request, rows, policy, loaded, chosen, decider, replay, say, on_progress)
        measure_gradients(folder, rows, policy, loaded, chosen, say)
        return judge_run(folder, chosen, request, say=say)


def _check_prompts(prompts: Sequence[Prompt], settings: Settings) -> None:
    """Raise `SettingsError` for settings that these prompts rule out."""
    n, most = len(prompts), settings.max_generations
    if most is not None and most < n:
        raise SettingsError(f"--max-generations must be at least one for each of the {n} prompts, got {most}")
    if settings.chat_template_kwargs and not any(prompt.is_chat for prompt in prompts):
        raise SettingsError(
            "--chat-template-kwargs is for chat messages, and the prompts are plain text, which goes through no template: give prompts as "
            '[{"role": "user", "content": …}], or leave the option out'
        )


def _decider(folder: Path, settings: Settings, request: Request, record: RunRecord) -> Decider:
    """Who decides what is sampled: a fixed number of completions, or triage."""
    answers = np.asarray(read_prompt_table(folder)["answer_reward"].to_numpy(), float)
    if settings.fixed_completions:
        return FixedCompletions(len(answers), settings.max_completions)
    judging = judge_settings(settings, request.reward_range or (0.0, 1.0), request)
    settings = replace(settings, top_reachable=bool(request.top_reachable))
    rows, cost = record.rows_per_part, record.visit_cost
    plan = diagnose_plan(settings, judging.zones, request.reward_range, answers, rows, cost, judging.share_limits)
    return Adaptive(replace(plan, proofs=settings.deterministic_reward))
