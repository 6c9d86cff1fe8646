"""From a log in any layout to the view `rows`: a row per completion, our names, text as text and numbers as numbers.

Columns: prompt, is_chat, key (what names the prompt where no id does), id_0 …, number_0 … and shown_0 … (each reward as a
number, null where it is none, and as it stands there), completion, completion_is_chat, blank (it is an empty list), sample_idx, step,
truncated, n_tokens, error, split, kept, fixed, turn, episode, drawn_with (what a trainer drew together), part_0 … (each part of a reward
that has a column of its own), answer_0 …, extra_0 … (further columns, as JSON), source, line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flatspot.importers import cells
from flatspot.importers.columns import PLACES, ColumnMap
from flatspot.importers.layout import Layout
from flatspot.readers.files import PARQUET

_LABELS = ("step", "truncated", "n_tokens", "error", "split", "kept", "fixed", "turn", "episode", "drawn_with")


@dataclass(frozen=True, slots=True)
class Cells:
    """How to make `rows`, and the log columns behind its numbered ones.

    sql      the statement, from the view `log`
    ids, rewards, answers, extras, parts    columns of the log, in the order of id_0 …, number_0 …, answer_0 …, extra_0 …, part_0 …
    may_be_chat                      whether a prompt can be chat messages
    """

    sql: str
    ids: tuple[str, ...]
    rewards: tuple[str, ...]
    answers: tuple[str, ...]
    extras: tuple[str, ...]
    may_be_chat: bool
    parts: tuple[str, ...] = ()


def select_cells(columns: ColumnMap, layout: Layout) -> Cells:
    """The statement that makes `rows` of `log`."""
    answers, extras = columns.answers, _extras(columns)
    flat, kinds = _flat(columns, layout, [*answers, *extras])
    prompts = [_prompt(f"prompt_{i}", kinds[f"prompt_{i}"]) for i in range(len(columns.names.get("prompt", ())))]
    picked = [*_prompt_columns(prompts)]
    picked += [f"{cells.filled(f'id_{i}', kinds[f'id_{i}'])} AS id_{i}" for i in range(len(columns.ids))]
    for i in range(len(columns.names["reward"])):
        kind = kinds[f"reward_{i}"]
        shown = f"{cells.text(f'reward_{i}', kind)} AS shown_{i}" if kind in ("VARCHAR", "JSON") else f"reward_{i} AS shown_{i}"
        picked += [f"{cells.number(f'reward_{i}', kind)} AS number_{i}", shown]
    picked += [*_completion(kinds.get("completion")), "sample_idx", "starts_line" if layout != "wide" else "sample_idx = 0 AS starts_line"]
    picked += [f"{_label(ours, kinds.get(ours))} AS {ours}" for ours in _LABELS]
    parts = columns.names.get("part", ())
    picked += [f"{cells.number(f'part_{i}', kinds[f'part_{i}'])} AS part_{i}" for i in range(len(parts))]
    picked += [f"{cells.filled(f'extra_{i}', kinds[f'extra_{i}'])} AS answer_{i}" for i in range(len(answers))]
    picked += [f"{_as_json(f'extra_{i}', kinds[f'extra_{i}'])} AS extra_{i}" for i in range(len(answers) + len(extras))]
    picked += ["_file AS source", "_row AS line"]
    sql = f"SELECT {', '.join(picked)} FROM ({flat})"
    may_be_chat = any(messages for _, messages in prompts)
    return Cells(sql, columns.ids, columns.names["reward"], answers, (*answers, *extras), may_be_chat, parts)


def _extras(columns: ColumnMap) -> tuple[str, ...]:
    """The columns that no part of ours was taken from: a reward may need them. Bytes are not among them: JSON has no place for them."""
    used = {*PLACES, *columns.answers, *(name for names in columns.names.values() for name in names)}
    return tuple(name for name, kind in columns.types.items() if name not in used and "BLOB" not in kind and "BIT" not in kind)


def _flat(columns: ColumnMap, layout: Layout, extras: Sequence[str]) -> tuple[str, Mapping[str, str]]:
    """A row per completion with the log's own values: the statement, and each of its columns' types."""
    wanted = {f"prompt_{i}": name for i, name in enumerate(columns.names.get("prompt", ()))}
    wanted |= {f"id_{i}": name for i, name in enumerate(columns.ids)}
    wanted |= {f"part_{i}": name for i, name in enumerate(columns.names.get("part", ()))}
    wanted |= {ours: columns.names[ours][0] for ours in _LABELS if ours in columns.names}
    wanted |= {f"extra_{i}": name for i, name in enumerate(extras)}
    picked, kinds = list(PLACES), {}
    rewards = {f"reward_{i}": name for i, name in enumerate(columns.names["reward"])}
    if layout in ("long", "tokens"):
        for ours, name in (
            wanted | {ours: columns.names[ours][0] for ours in ("completion", "sample_idx") if ours in columns.names}
        ).items():
            picked.append(f"{cells.name(name)} AS {ours}")
            kinds[ours] = columns.types[name]
        for ours, name in rewards.items():
            value, kinds[ours] = _summed(name, columns.types[name]) if layout == "tokens" else (cells.name(name), columns.types[name])
            picked.append(f"{value} AS {ours}")
        picked[:] = [_integer(part, kinds) for part in picked]
        picked += ["NULL::INT AS sample_idx"] * ("sample_idx" not in kinds) + ["true AS starts_line"]
        return f"SELECT {', '.join(picked)} FROM log", kinds
    first = columns.names["reward"][0]
    n = f"len({_rewards(first, columns.types[first])[0]})"
    for ours, name in rewards.items():
        value, kinds[ours] = _rewards(name, columns.types[name]) if name == first else _beside(name, columns.types[name], n)
        picked.append(f"unnest({value}) AS {ours}")
    picked.append(f"unnest(range({n}))::INT AS sample_idx, true AS starts_line")
    if "completion" in columns.names:
        value, kinds["completion"] = _completions(columns.cell("completion"), columns.kind("completion"), n)
        picked.append(f"unnest({value}) AS completion")
    for ours, name in wanted.items():
        value, kinds[ours] = cells.name(name), columns.types[name]
        if layout == "columns" or ours in _LABELS:
            value, kinds[ours] = _spread(name, kinds[ours], n, whole=ours == "error" or ours.startswith("extra_"))
        picked.append(f"{value} AS {ours}")
    return f"SELECT {', '.join(picked)} FROM log", kinds


def _integer(part: str, kinds: Mapping[str, str]) -> str:
    if not part.endswith(" AS sample_idx"):
        return part
    return f"{cells.whole(part.removesuffix(' AS sample_idx'), kinds['sample_idx'], 'INT')} AS sample_idx"


def _summed(column: str, kind: str) -> tuple[str, str]:
    """The sum of a list of rewards of tokens, as text; what is no such list stays what it is, to be an error of its row."""
    cell = cells.name(column)
    listed, element = cells.numbers(cell, kind)
    parts = f"list_transform({listed}, lambda e: {cells.number('e', element)})"
    whole = f"len({listed}) > 0 AND len(list_filter({parts}, lambda x: x IS NULL)) = 0"
    return f"CASE WHEN {whole} THEN CAST(list_sum({parts}) AS VARCHAR) ELSE {cells.text(cell, kind)} END", "VARCHAR"


def _rewards(column: str, kind: str) -> tuple[str, str]:
    """The rewards of a row as a list; a row without one keeps one entry, without a reward."""
    cell = cells.name(column)
    listed, element = cells.numbers(cell, kind)
    if cells.is_list(kind):
        return f"CASE WHEN len({listed}) > 0 THEN {listed} ELSE [NULL] END", element
    return f"CASE WHEN {listed} IS NULL THEN [{cells.text(cell, kind)}] WHEN len({listed}) = 0 THEN [NULL] ELSE {listed} END", element


def _beside(column: str, kind: str, n: str) -> tuple[str, str]:
    """A further reward of a row as a list of `n` texts; one of another length is none of any completion, and each of them says so."""
    cell = cells.name(column)
    listed, element = cells.numbers(cell, kind)
    shown = cells.text(cell, kind)
    several = f"left({shown}, 40) || ' (' || coalesce(len({listed}), 1) || ' for ' || {n} || ' completions)'"
    own = f"list_transform({listed}, lambda e: {cells.text('e', element)})"
    other = f"CASE WHEN nullif(trim({shown}), '') IS NOT NULL THEN {several} END"
    alone = f"WHEN {n} = 1 AND {listed} IS NULL THEN [{shown}] "
    return f"CASE WHEN len({listed}) = {n} THEN {own} {alone}ELSE list_resize([]::VARCHAR[], {n}, {other}) END", "VARCHAR"


def _completions(cell: str, kind: str, n: str) -> tuple[str, str]:
    """The completions of a row as a list: one that stands alone, as text or as messages, is that of a row with one reward."""
    listed, element = cells.elements(cell, kind)
    if kind == "JSON":
        messages = cells.messages(cell, kind)
        own = f"len(list_filter({listed}, lambda m: m ->> '$.role' = 'assistant')) = {n}"  # one message each
        alone = f"CASE WHEN {n} = 1 THEN [{cell}] END"
        return f"CASE WHEN {listed} IS NULL OR ({messages} IS NOT NULL AND NOT ({own})) THEN {alone} ELSE {listed} END", "JSON"
    if kind == "VARCHAR":
        return f"CASE WHEN {listed} IS NULL THEN CASE WHEN {n} = 1 THEN [{cell}] END ELSE {listed} END", "VARCHAR"
    if cells.is_list(kind):
        return listed, element
    return f"CASE WHEN {n} = 1 THEN [{cell}] END", kind


def _spread(column: str, kind: str, n: str, *, whole: bool) -> tuple[str, str]:
    """A column of a row of several completions: a value each where it is a list as long; what is no list is the same for all.

    whole : a list of another length is the same for all, too, as JSON; else it gives nothing, for which value is whose is not known
    """
    cell = cells.name(column)
    if not cells.may_be_list(kind):
        return cell, kind
    listed, element = cells.elements(cell, kind)
    if cells.is_list(kind):
        if not whole:
            return f"unnest(CASE WHEN len({listed}) = {n} THEN {listed} END)", element
        cell, listed, element = f"to_json({cell})", f"list_transform({listed}, lambda e: to_json(e))", "JSON"
    same = f"list_resize([{cell}], {n}, {cell})"  # in a lambda, a column of the name of its parameter would be hidden
    other = same if whole else f"CASE WHEN {listed} IS NULL THEN {same} END"
    return f"unnest(CASE WHEN len({listed}) = {n} THEN {listed} ELSE {other} END)", element


def _prompt(cell: str, kind: str) -> tuple[str, str]:
    """The text of a prompt, and the JSON list of its messages (null where it is text)."""
    text = cells.filled(cell, kind)
    if kind == "JSON" or cells.is_list(kind):
        text = f"nullif({text}, '[]')"
    return text, cells.messages(cell, kind) if cells.may_be_messages(kind) else ""


def _prompt_columns(prompts: Sequence[tuple[str, str]]) -> list[str]:
    if not prompts:
        return ["NULL::VARCHAR AS prompt", "false AS is_chat", "NULL::VARCHAR AS key"]
    if len(prompts) == 2:
        (first, _), (second, _) = prompts
        both = f"CASE WHEN {first} IS NULL THEN {second} ELSE {first} || coalesce(chr(10) || chr(10) || {second}, '') END"
        return [f"{both} AS prompt", "false AS is_chat", f"{both} AS key"]
    text, messages = prompts[0]
    if not messages:
        return [f"{text} AS prompt", "false AS is_chat", f"{text} AS key"]
    key = f"CASE WHEN {messages} IS NULL THEN {text} ELSE {cells.canonical(messages)} END"
    return [f"coalesce({messages}, {text}) AS prompt", f"{messages} IS NOT NULL AS is_chat", f"{key} AS key"]


def _completion(kind: str | None) -> list[str]:
    if kind is None:
        return ["NULL::VARCHAR AS completion", "NULL::BOOLEAN AS completion_is_chat", "false AS blank"]
    if not cells.may_be_messages(kind):
        text = cells.text("completion", kind)
        blank = "len(completion) = 0" if cells.is_list(kind) else "false"
        return [f"{text} AS completion", "NULL::BOOLEAN AS completion_is_chat", f"coalesce({blank}, false) AS blank"]
    messages, text = cells.messages("completion", kind), cells.text("completion", kind)
    blank = "len(completion) = 0" if cells.is_list(kind) else f"{text} = '[]'"
    chat = f"CASE WHEN {messages} IS NOT NULL THEN true END"
    return [f"coalesce({messages}, {text}) AS completion", f"{chat} AS completion_is_chat", f"coalesce({blank}, false) AS blank"]


def _label(ours: str, kind: str | None) -> str:
    types = {"step": "BIGINT", "n_tokens": "INT", "turn": "BIGINT"}
    if ours in types:
        return f"NULL::{types[ours]}" if kind is None or cells.is_list(kind) else cells.whole(ours, kind, types[ours])
    if ours in ("truncated", "kept", "fixed"):
        return "NULL::BOOLEAN" if kind is None or cells.is_list(kind) else cells.boolean(ours, kind)
    if kind is None or cells.is_list(kind):
        return "NULL::VARCHAR"
    return cells.reported(ours, kind) if ours == "error" else cells.filled(ours, kind)


def _as_json(cell: str, kind: str) -> str:
    """A value as JSON: text of CSV stays text, whatever it looks like. As in a prompt file, an empty cell of CSV is null, and an empty text
    of JSON or Parquet is that text."""
    if kind == "VARCHAR":
        cell = f"CASE WHEN ends_with(lower(_file), {cells.literal(PARQUET)}) THEN {cell} ELSE nullif({cell}, '') END"
    return f"nullif(CAST({cell} AS VARCHAR), 'null')" if kind == "JSON" else f"CAST(to_json({cell}) AS VARCHAR)"
