"""`flatspot rescore` on one page: the completions of a run + another reward → rollouts → verdicts → report; nothing is sampled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from flatspot.core.errors import SettingsError
from flatspot.core.options import RescoreOptions
from flatspot.core.request import rescored_resume, reward_names, settings_shown
from flatspot.flow.draw import drop_answers, write_answers
from flatspot.flow.judge import judge_run
from flatspot.flow.notebook import bar_in_notebook
from flatspot.flow.settings import checked_settings, request_of_reward
from flatspot.rollouts.identity import digest, reward_identity
from flatspot.rollouts.notes import reward_notes
from flatspot.rollouts.progress import OnProgress
from flatspot.rollouts.rescore import score_again, stored_prompts, whole_groups
from flatspot.rollouts.rounds import Round
from flatspot.rollouts.same_model import copy_model
from flatspot.rollouts.store import open_run
from flatspot.runs.run import Run, as_run

if TYPE_CHECKING:
    from flatspot.rewards.load import RewardSpec


def rescore(
    run: str | Path | Run,
    reward: RewardSpec | Sequence[RewardSpec],
    *,
    on_progress: OnProgress | None = None,
    say: Callable[[str], None] | None = None,
    **settings: Unpack[RescoreOptions],
) -> Run:
    """Score the completions of a run with another reward, into a folder of its own, and judge them; nothing is sampled.

    settings  of `Settings`: those of the reward, those about judging, and `out`

    `diagnose` with the same settings, the new reward and this folder resumes from there. Raises `FlatspotError` as `diagnose` does.
    """
    from flatspot.rewards import check_reward, load_reward

    source, chosen, say = as_run(run), checked_settings(settings, RescoreOptions), say or (lambda _: None)
    answer_col = chosen.answer_col or source.request.answer_col  # whatever scores them, they are right
    old, prompts = source.record, stored_prompts(source.folder)
    groups = whole_groups(source.folder, old.kind, chosen.group_size)
    with load_reward(reward, weights=chosen.reward_weights, timeout_s=chosen.reward_timeout_s, group_size=groups) as loaded:
        check_reward(loaded, prompts, say)
        identity = {**old.identity, "reward": reward_identity(loaded)}
        folder = Path(chosen.out) if chosen.out is not None else Path("runs") / digest({**old.key, "reward": identity["reward"]})
        if folder.resolve() == source.folder.resolve():
            raise SettingsError(f"{source.folder} is the run itself, and its rows stay as they are: give another --out")
        say(f"scoring the completions of {source.folder} again, into {folder}")
        of_reward = {name: value for name, value in settings_shown(chosen).items() if name.startswith("reward")}
        request = replace(
            old.request,
            **{"reward_weights": None, "reward_timeout_s": None} | of_reward,
            rewards=reward_names(reward),
            **request_of_reward(chosen, loaded),
            answer_col=answer_col,
            resume=rescored_resume(old.request.resume, chosen),
            advantage=chosen.advantage or old.request.advantage,
            out=str(folder),
            rescored=str(source.folder),
        )
        with open_run(
            folder,
            kind=old.kind,
            request=request,
            identity=identity,
            before_loading=old.before_loading,
            rows_per_part=old.rows_per_part,
            visit_cost=old.visit_cost,
        ) as new:
            copy_model(source.folder, folder)
            write_answers(folder, prompts, loaded, answer_col)
            notes = reward_notes(folder, loaded)
            notes.write()
            with bar_in_notebook(on_progress) as show:
                rounds = score_again(source.folder, new, prompts, loaded, on_scored=notes.write, on_progress=show)
        drop_answers(folder, prompts, loaded, answer_col)
        notes.end([*source.notes.other_caveats, *_decided_by_others(source.folder, rounds)], source.notes.rounds)
    return judge_run(folder, chosen, request, say=say)


def _decided_by_others(source: Path, rounds: Sequence[Round]) -> list[tuple[str, str]]:
    """The caveat where the rewards of `source` decided how often each prompt was drawn."""
    if all(part.fixed for part in rounds):
        return []
    return [("rescored-by-other-reward", f"How many completions each prompt has was decided by the rewards of {source}, not by these.")]
