"""Draw what a run folder lacks, and bring it to its end with all there is to say of its rows."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flatspot.core.protocols import Engine
from flatspot.core.records import Prompt
from flatspot.core.request import Request, name_of
from flatspot.core.settings import Settings
from flatspot.flow.notebook import bar_in_notebook
from flatspot.rollouts.collect import collect, visit_cost
from flatspot.rollouts.completeness import Replay, is_complete, replay_opened
from flatspot.rollouts.known_scores import MOST_REMEMBERED, KnownScores
from flatspot.rollouts.notes import read_notes, reward_notes, write_notes
from flatspot.rollouts.progress import OnProgress
from flatspot.rollouts.prompts import UnscoredAnswers, answers_are_of, prompt_table
from flatspot.rollouts.rounds import Decider
from flatspot.rollouts.same_model import check_model, keep_model
from flatspot.rollouts.store import RunRecord, as_json, open_run, read_record, write_table

if TYPE_CHECKING:
    from flatspot.rewards import LoadedReward
    from flatspot.rewards.answers import AnswerRewards


def draw_run(
    path: Path,
    key: Mapping[str, Any],
    request: Request,
    prompts: Sequence[Prompt],
    policy: Any,
    reward: LoadedReward,
    settings: Settings,
    decider: Callable[[RunRecord], Decider],
    replay: Replay | None,
    say: Callable[[str], None],
    on_progress: OnProgress | None,
) -> None:
    """Load the policy and sample what the run folder lacks.

    key     of the run: `rollouts.identity.run_key`
    replay  of what the folder held when it was looked at; None: there is none, or one that this call may not resume

    What is found out about the reward is written before the rows that show it; that the run ended, once nothing is left to do.
    """
    engine = _loaded(policy, settings, prompts, say)
    reported = len(getattr(engine, "notes", ()))
    identity = {name: key[name] for name in ("prompts", "reward", "sampling", "seed")} | {"engine": dict(engine.describe())}
    check_model(path, identity, engine)
    whole = is_complete(path, replay) and answers_are_scored(path, prompts, reward, settings.answer_col)
    if whole and not os.access(path, os.W_OK) and read_record(path).identity == as_json(identity):
        return  # it can be shown, though not written
    with open_run(
        path,
        kind="diagnose",
        request=request,
        identity=identity,
        before_loading={name: key[name] for name in ("model", "engine")},
        max_completions=settings.max_completions,
        rows_per_part=engine.rows_per_call,
        visit_cost=visit_cost(engine, prompts, settings.sampling),
    ) as run:
        if hasattr(engine, "spread"):
            reward.use_workers(engine.spread)
        check_model(path, identity, engine)  # another process may have begun the folder meanwhile
        if (note := keep_model(path, engine)) is not None:
            say(note)
        notes = reward_notes(path, reward)
        notes.write()
        if write_answers(path, prompts, reward, settings.answer_col):
            replay = None  # what is drawn next depends on them
        write_notes(path, read_notes(path))
        replay = replay_opened(path, run.record, decider, replay)
        sample = partial(collect, run, prompts, engine, reward, settings.sampling, replay, seed=settings.seed, policy=name_of(policy))
        with bar_in_notebook(on_progress) as shown:
            sample(on_scored=notes.write, on_progress=shown, known=_known_scores(settings, len(prompts)))
        of_engine = list(getattr(engine, "notes", ()))  # a batch halved for want of memory is noted while sampling
        for note in of_engine[reported:]:
            say(note)
        notes.write()
        drop_answers(path, prompts, reward, settings.answer_col)
        notes.end([*raw_text(engine, prompts), *of_engine], run.n_rounds())
        reward.use_workers(None)  # which are the engine's


def _known_scores(settings: Settings, n_prompts: int) -> KnownScores | None:
    """What keeps completions that come again from being scored again, where the reward is said to repeat itself."""
    if not settings.deterministic_reward:
        return None
    return KnownScores(settings.seed, remembers=n_prompts * settings.max_completions <= MOST_REMEMBERED)


def _loaded(policy: Any, settings: Settings, prompts: Sequence[Prompt], say: Callable[[str], None]) -> Engine:
    from flatspot.engines.registry import load_engine

    servers = None
    if settings.base_url:
        from flatspot.engines.server.fleet import ServerOptions

        servers = ServerOptions(settings.base_url, settings.served_name, settings.concurrency)
    pool = None
    if settings.engine == "ray":
        from flatspot.engines.ray_actors import RayOptions

        pool = RayOptions(settings.worker_engine, settings.workers, settings.ray_address)
    engine = load_engine(
        settings.engine,
        policy,
        dtype=settings.dtype,
        device=settings.device,
        memory_gib=settings.memory_gib,
        tensor_parallel=settings.tensor_parallel,
        pool=pool,
        servers=servers,
        sampling=settings.sampling,
        chat=prompts[0].is_chat,
        template_kwargs=settings.chat_template_kwargs,
        say=say,
    )
    for note in getattr(engine, "notes", ()):
        say(note)
    return engine


def raw_text(engine: Engine, prompts: Sequence[Prompt]) -> list[str]:
    """A note on prompts in plain text for a policy with a chat template, which most such policies were trained to be asked through."""
    tokenizer = getattr(getattr(engine, "policy", None), "tokenizer", None)
    if getattr(tokenizer, "chat_template", None) is None or all(prompt.is_chat for prompt in prompts):
        return []
    if chat := sum(prompt.is_chat for prompt in prompts):
        return [
            f"{len(prompts) - chat} of {len(prompts)} prompts are plain text, which does not go through the policy's chat template, and "
            "the others are chat messages, which do: one policy is asked in two ways. Give all of them as the RL run will."
        ]
    return [
        "The prompts are plain text, and the policy has a chat template, which they did not go through. If it is an instruct model, give "
        'chat messages, [{"role": "user", "content": …}], as the RL run will; a base model may be asked as here.'
    ]


def write_answers(path: Path, prompts: Sequence[Prompt], reward: LoadedReward, answer_col: str | None) -> bool:
    """Write prompts.parquet with what the real answers of the prompts earn; False where that is there already.

    Raises `PromptFileError` where no prompt has an answer in `answer_col`.
    """
    from flatspot.rewards import answer_rewards

    if answers_are_scored(path, prompts, reward, answer_col):
        return False
    _write_prompts(path, prompts, answer_rewards(reward, prompts, answer_col), answer_col)
    return True


def answers_are_scored(path: Path, prompts: Sequence[Prompt], reward: LoadedReward, answer_col: str | None) -> bool:
    """Whether a run folder has its prompts, with what their real answers earn, where there are any.

    Raises `PromptFileError` where no prompt has an answer in `answer_col`.
    """
    from flatspot.rewards import has_answers

    return answers_are_of(path, answer_col, any_answers=has_answers(reward, prompts, answer_col))


def _write_prompts(path: Path, prompts: Sequence[Prompt], earned: AnswerRewards, answer_col: str | None) -> None:
    unscored = UnscoredAnswers(earned.n_unscored, earned.n, earned.reason) if earned.n_unscored else None
    write_table(prompt_table(prompts, earned.mean, answer_col, unscored), path / "prompts.parquet")


def drop_answers(path: Path, prompts: Sequence[Prompt], reward: LoadedReward, answer_col: str | None) -> None:
    """Take the rewards of answers back where the reward was found to compare the completions of a group: no answer is one."""
    from flatspot.rewards import no_answer_rewards

    if read_notes(path).whole_groups is not None:
        _write_prompts(path, prompts, no_answer_rewards(reward, prompts, answer_col), answer_col)
