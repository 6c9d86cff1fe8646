"""What a row of a log stands for: a completion, a prompt with a list of rewards, or a whole batch in columns; or a completion with a
reward per token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from flatspot.core.errors import ImportFormatError
from flatspot.importers import cells
from flatspot.importers.columns import ColumnMap
from flatspot.rollouts.notes import Caveat

if TYPE_CHECKING:
    import duckdb

# long     a row per completion
# wide     a row per prompt: its rewards are a list
# columns  a row per batch: prompts, completions and rewards are lists of one length
# tokens   a row per completion: its rewards are those of its tokens, to be added up
Layout = Literal["long", "wide", "columns", "tokens"]
_MESSAGES = r"""^\s*\[\s*\{[^{}]*["']role["']\s*:"""


@dataclass(frozen=True, slots=True)
class _Facts:
    """Counts over the rows whose reward is a list that is not empty."""

    lists: int
    shortest: int
    longest: int
    prompt_lists: int  # the prompt (or the id) is a list, and not of messages
    with_prompts: int  # and as long
    with_completions: int  # the completion is a list as long
    with_one_completion: int  # there is a completion, and it is no list
    other_length: int  # the completion is a list of another length
    prompts: int  # distinct prompts and steps
    rewarded: int  # lists of four and more with a value other than 0
    rewarded_last: int  # of them, those where only the last one is
    token_counts: int  # the number of tokens is the list's length


def find_layout(db: duckdb.DuckDBPyConnection, columns: ColumnMap, lists: str | None, where: str, caveats: list[Caveat]) -> Layout:
    """What the rows of the view `log` stand for; `lists` is what the user said of lists of rewards: "completions", "tokens" or None.

    Raises `ImportFormatError` where lists of rewards may be either.
    """
    kinds = [columns.types[reward] for reward in columns.names["reward"]]
    if not all(cells.may_be_list(kind) for kind in kinds):
        return "long"
    facts = _look(db, columns)
    if facts.lists == 0:
        return "long"
    reward = columns.names["reward"][0]
    if 2 * facts.with_prompts >= facts.lists and lists != "tokens":
        prompt = columns.names.get("prompt", columns.ids)[0]
        caveats.append(f"Each row is a batch in columns: each entry of its lists `{prompt}` and `{reward}` is a completion.")
        if wrong := facts.prompt_lists - facts.with_prompts:
            caveats.append(
                f"On {wrong} of {facts.lists} rows the lists of prompts and of `{reward}` differ in length: which go together is unknown."
            )
        return "columns"
    tokens = lists == "tokens" if lists else _are_tokens(facts, reward, where)
    if tokens:
        caveats.append(
            f"`{reward}` is a list of {facts.shortest} to {facts.longest} values on a row of one completion: read as the rewards of its "
            "tokens and added up (--reward-list completions reads each as a completion's)."
        )
        return "tokens"
    if facts.other_length:
        caveats.append(
            f"On {facts.other_length} of {facts.lists} rows `{columns.names['completion'][0]}` and `{reward}` are lists of different "
            "lengths: a completion or reward without a counterpart is kept alone."
        )
    return "wide"


def _are_tokens(facts: _Facts, reward: str, where: str) -> bool:
    """Whether lists are rewards of tokens rather than of completions."""
    repeated, ragged = facts.prompts < facts.lists, facts.shortest < facts.longest
    only_last = facts.rewarded > 2 and facts.rewarded_last == facts.rewarded
    if facts.longest == 1 or facts.with_completions > facts.with_one_completion:
        return False
    if facts.token_counts == facts.lists and ragged:
        return True
    if facts.with_one_completion:
        if ragged or repeated:
            return True
    elif repeated and only_last:
        return True
    elif not ((repeated and ragged) or (only_last and ragged)):
        return False
    raise ImportFormatError(
        f"{where}: `{reward}` holds lists of {facts.shortest} to {facts.longest} values. They may be the rewards of a "
        "prompt's completions or of a completion's tokens. State which: --reward-list completions or --reward-list tokens"
    )


def _look(db: duckdb.DuckDBPyConnection, columns: ColumnMap) -> _Facts:
    listed, element = cells.numbers(columns.cell("reward"), columns.kind("reward"))
    prompt = columns.names.get("prompt", columns.ids)[0]
    prompts = _plain_list(prompt, columns.types[prompt])
    picked = [f"{listed} AS rewards", f"{prompts} AS prompts", f"hash({cells.text(cells.name(prompt), columns.types[prompt])}) AS prompt"]
    picked.append(f"hash({cells.text(columns.cell('step'), columns.kind('step'))}) AS step" if "step" in columns.names else "0 AS step")
    if "completion" in columns.names:
        cell, kind = columns.cell("completion"), columns.kind("completion")
        picked.append(f"len({_answers(cell, kind)}) AS answers, {cells.filled(cell, kind)} IS NOT NULL AS answered")
    else:
        picked.append("NULL::BIGINT AS answers, false AS answered")
    tokens = cells.whole(columns.cell("n_tokens"), columns.kind("n_tokens"), "BIGINT") if "n_tokens" in columns.names else "NULL"
    value = cells.number("e", element)
    row = db.execute(
        f"""WITH seen AS (SELECT {", ".join(picked)}, {tokens} AS tokens FROM log),
                 lists AS (SELECT *, len(rewards) AS n, list_transform(rewards, lambda e: coalesce({value}, 0) <> 0) AS nonzero
                           FROM seen WHERE len(rewards) > 0)
            SELECT count(*), coalesce(min(n), 0), coalesce(max(n), 0), count(prompts), count_if(prompts = n), count_if(answers = n),
                   count_if(answered AND answers IS NULL), count_if(answers <> n), count(DISTINCT (prompt, step)),
                   count_if(n > 3 AND list_contains(nonzero, true)),
                   count_if(n > 3 AND list_contains(nonzero, true) AND NOT list_contains(nonzero[:-2], true)), count_if(tokens = n)
            FROM lists"""
    ).fetchone()
    return _Facts(*(n or 0 for n in row or (0,) * 12))


def _plain_list(column: str, kind: str) -> str:
    """The length of a list that is not a list of chat messages."""
    cell = cells.name(column)
    listed, element = cells.elements(cell, kind)
    if not cells.may_be_list(kind) or (cells.is_list(kind) and cells.may_be_messages(kind) and not cells.is_list(element)):
        return "NULL::BIGINT"
    if kind == "JSON":
        return f"CASE WHEN {cells.messages(cell, kind)} IS NULL THEN len({listed}) END"
    if kind == "VARCHAR":  # messages written as text, by json or by str
        return f"CASE WHEN NOT regexp_matches({cell}, {cells.literal(_MESSAGES)}) THEN len({listed}) END"
    return f"len({listed})"


def _answers(cell: str, kind: str) -> str:
    """The list of completions in a cell; null where it is one completion, as text or as messages (several answers in a row are several)."""
    listed, element = cells.elements(cell, kind)
    if kind == "JSON":
        other = f"len(list_filter({listed}, lambda m: coalesce(m ->> '$.role', '') <> 'assistant'))"
        return f"CASE WHEN {cells.messages(cell, kind)} IS NULL OR (len({listed}) > 1 AND {other} = 0) THEN {listed} END"
    if cells.is_list(kind) and cells.may_be_messages(kind) and not cells.is_list(element):
        return f"CASE WHEN len({listed}) > 1 AND len(list_filter({listed}, lambda m: m.role <> 'assistant')) = 0 THEN {listed} END"
    return listed
