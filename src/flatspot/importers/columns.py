"""Which column of a log is what: named by the user, or recognized by its usual names and by what it holds.

Where several columns have a usual name, the first that holds anything of use is taken, and the others are named in a caveat.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from flatspot.core.errors import ImportFormatError
from flatspot.importers import cells
from flatspot.rollouts.notes import Caveat

if TYPE_CHECKING:
    import duckdb

# the names seen in the wild, most specific first
USUAL_NAMES: Mapping[str, tuple[str, ...]] = {
    "prompt_id": ("prompt_id", "example_id", "task_id", "problem_id", "question_id", "id", "uid"),
    "prompt": ("prompt", "prompts", "input", "question", "problem", "query", "instruction"),
    "reward": ("reward", "rewards", "score", "scores"),
    "completion": ("completion", "completions", "output", "outputs", "response", "responses", "generation", "generations", "answer_text"),
    "sample_idx": ("sample_idx", "sample", "rollout_idx"),
    "step": ("step", "global_step", "iteration"),
    "truncated": ("truncated", "is_truncated"),
    "n_tokens": ("n_tokens", "num_tokens", "completion_length", "response_length"),
    "error": ("error",),
    "split": ("split",),
    "kept": ("kept",),
    "fixed": ("fixed",),
    "turn": ("turn", "turn_idx", "turn_id", "turn_index", "turn_number"),
    "episode": ("episode", "episode_id", "trajectory_id", "traj_id", "traj_uid", "rollout_id", "session_id"),
}
# what only a data set has, not the model: where one prompt text goes with several of them, they are several prompts
ANSWERS = ("ground_truth", "ground_truths", "gts", "gold", "gold_answer", "target", "reference", "references", "answer", "solution")
PLACES = ("_file", "_row")  # where a row stands, as the reader says

_METRICS = frozenset(("loss", "grad_norm", "learning_rate", "train_loss", "kl", "entropy"))  # columns of a trainer's own metrics


@dataclass(frozen=True, slots=True)
class ColumnMap:
    """Our column → the log's: `types` are the log's own types, as DuckDB names them.

    names  one log column each, but for the reward (several are added up) and the prompt (two are joined); the id is not among them
    ids    the columns that may hold the prompt's id, best first
    named  our columns that the user named
    """

    names: Mapping[str, tuple[str, ...]]
    ids: tuple[str, ...]
    named: frozenset[str]
    types: Mapping[str, str]

    def kind(self, ours: str) -> str:
        """The log's type of one of our columns."""
        return self.types[self.names[ours][0]]

    def cell(self, ours: str) -> str:
        """One of our columns, as SQL names it in the log."""
        return cells.name(self.names[ours][0])

    @property
    def answers(self) -> tuple[str, ...]:
        """The columns with a data set's answers that are there, and nothing else."""
        used = {name for names in self.names.values() for name in names}
        return tuple(name for name in self.types if name.lower() in ANSWERS and name not in used)


def map_columns(types: Mapping[str, str], choices: Mapping[str, str | Sequence[str] | None], where: str) -> ColumnMap:
    """Find the columns of a log; of several usual names of a prompt or a reward, all are kept for `choose_columns`.

    types : column → DuckDB type; choices : our name → the column the user named (of the reward: or several), or None

    Raises `ImportFormatError` where a named column is absent, where two differ in case alone, or where no reward or neither a prompt nor
    an id is found.
    """
    types = dict(types)
    names: dict[str, tuple[str, ...]] = {}
    by_user = {ours: (wanted,) if isinstance(wanted, str) else tuple(wanted) for ours, wanted in choices.items() if wanted}
    for ours in USUAL_NAMES:
        for wanted in by_user.get(ours, ()):
            if wanted in PLACES:
                raise ImportFormatError(f"{where}: a column cannot be named {wanted!r} here, which is the reader's own name. Rename it.")
            if wanted not in types:
                raise ImportFormatError(f"{where}: there is no column {wanted!r}; it has {_listed(types)}.")
        if ours in by_user:
            names[ours] = tuple(dict.fromkeys(by_user[ours]))
    if "prompt_id" in names and "prompt" not in names and names["prompt_id"][0].lower() in USUAL_NAMES["prompt"]:
        names["prompt"] = names["prompt_id"]  # --id-col prompt: the prompts themselves are compared
    used = {name for matches in names.values() for name in matches}
    free = [column for column in types if column not in used and column not in PLACES]
    for ours, usual in USUAL_NAMES.items():
        if ours not in names and (matches := tuple(column for name in usual for column in _called(name, free, where))):
            names[ours] = matches if ours in ("prompt", "reward", "prompt_id") else matches[:1]
            free = [column for column in free if column not in names[ours]]
    if "reward" not in names:
        raise ImportFormatError(
            f"{where}: no reward column found among {_listed(types)}. Name it: --reward-col COLUMN; repeat it to add several up."
        )
    if "prompt" not in names and "prompt_id" not in names:
        if _METRICS.intersection(column.lower() for column in types):
            raise ImportFormatError(
                f"{where}: these are metrics of a training ({_listed(types)}), a row per step and no rollouts, so no prompt can be judged. "
                "Let the trainer log its completions with their rewards, or draw new ones: flatspot diagnose."
            )
        raise ImportFormatError(
            f"{where}: neither a prompt nor an id column found among {_listed(types)}. Name one: --prompt-col COLUMN or --id-col COLUMN"
        )
    return ColumnMap(names, names.pop("prompt_id", ()), frozenset(by_user), types)


def choose_columns(db: duckdb.DuckDBPyConnection, columns: ColumnMap, caveats: list[Caveat]) -> ColumnMap:
    """Of several columns that may be the prompt or the reward, take the first that holds one; the view `log` is read where needed."""
    columns = _reward_of(db, columns, caveats)
    prompts = columns.names.get("prompt", ())
    if "prompt" in columns.named or len(prompts) < 2:
        return columns
    facts = _look(db, [part for p in prompts for part in _prompt_probe(p, columns.types[p])])
    filled = {p for i, p in enumerate(prompts) if facts[2 * i]}
    varied = {p for i, p in enumerate(prompts) if facts[2 * i + 1]}
    usable = [p for p in prompts if p in varied] or [p for p in prompts if p in filled] or list(prompts)
    used = usable[:1]
    by_name = {p.lower(): p for p in usable}
    if used[0].lower() in ("input", "instruction") and {"input", "instruction"} <= set(by_name):
        used = [by_name["instruction"], by_name["input"]]  # Alpaca's: what to do, and what to do it with
        caveats.append(f"The prompt is `{used[0]}` and `{used[1]}` together (--prompt-col takes one alone).")
    elif skipped := [p for p in prompts[: prompts.index(used[0])] if p not in usable]:
        why = "is empty" if skipped[0] not in filled else "is the same"
        caveats.append(f"`{skipped[0]}` {why} on all rows, so `{used[0]}` is taken for the prompt (--prompt-col {skipped[0]} takes it).")
    elif others := [p for p in usable if p not in used]:
        caveats.append(f"`{used[0]}` is taken for the prompt, not `{'` or `'.join(others)}` (--prompt-col).")
    return replace(columns, names={**columns.names, "prompt": tuple(used)})


def _reward_of(db: duckdb.DuckDBPyConnection, columns: ColumnMap, caveats: list[Caveat]) -> ColumnMap:
    rewards = columns.names["reward"]
    if "reward" in columns.named or len(rewards) < 2:
        return columns
    facts = _look(db, [_reward_probe(r, columns.types[r]) for r in rewards])
    usable = [r for r, any_number in zip(rewards, facts, strict=True) if any_number] or list(rewards)
    others = [r for r in rewards if r != usable[0]]
    empty = "" if rewards[0] in usable else ", which holds no number"
    caveats.append(f"`{usable[0]}` is taken for the reward, not `{'` or `'.join(others)}`{empty} (--reward-col).")
    return replace(columns, names={**columns.names, "reward": (usable[0],)})


def _look(db: duckdb.DuckDBPyConnection, wanted: Sequence[str]) -> tuple[bool, ...]:
    row = db.execute(f"SELECT {', '.join(wanted)} FROM log").fetchone()
    return tuple(bool(value) for value in row or ())


def _prompt_probe(column: str, kind: str) -> tuple[str, str]:
    value = cells.filled(cells.name(column), kind)
    return f"count({value}) > 0", f"count({value}) > 0 AND (min({value}) <> max({value}) OR count({value}) < count(*))"


def _reward_probe(column: str, kind: str) -> str:
    cell = cells.name(column)
    listed, element = cells.numbers(cell, kind)
    one = f"{cells.number(cell, kind)} IS NOT NULL" if not cells.is_list(kind) else "false"
    return f"count_if({one} OR len(list_filter({listed}, lambda e: {cells.number('e', element)} IS NOT NULL)) > 0) > 0"


def _called(usual: str, columns: Sequence[str], where: str) -> list[str]:
    matches = [column for column in columns if column.lower() == usual]
    if len(matches) > 1:
        raise ImportFormatError(f"{where}: the columns {matches[0]!r} and {matches[1]!r} differ in case alone; rename or drop one of them.")
    return matches


def _listed(types: Mapping[str, str]) -> str:
    return ", ".join(repr(name) for name in types if name not in PLACES) or "no columns"
