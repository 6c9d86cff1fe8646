"""Which rows are completions of one prompt: those with one id where every id has one prompt text, else those with one text.

An id is checked against the texts, for what trainers call an id is as often a counter, a name of a task or of a request.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flatspot.importers.columns import ColumnMap
from flatspot.importers.rows import Cells

if TYPE_CHECKING:
    import duckdb

NO_PROMPT = "(no prompt)"
_PER_REQUEST = ("uid",)  # new for each group that a trainer draws, by its name
_OWN_ANSWERS = ("answer", "solution")  # may be the model's: one of a data set only where each id has one

_VISITS = 1.5  # ids per example from which on it is visits that they number


@dataclass(frozen=True, slots=True)
class Grouping:
    """How rows are grouped.

    columns  the log's columns whose values name a prompt
    sql      the prompt's id, over the view `cells`
    sentence the sentence for a reader
    wrong_id whether there is an id that names no prompts
    """

    columns: tuple[str, ...]
    sql: str
    sentence: str
    wrong_id: bool = False


@dataclass(frozen=True, slots=True)
class _Counts:
    """Of the rows that have an id and a prompt. An example is a prompt text with the data set's answer to it, where there is one."""

    lines: int  # rows of the log
    ids: int
    texts: int
    pairs: int  # distinct (id, text)
    examples: int  # distinct (text, answer)
    triples: int  # distinct (id, text, answer)
    shared: int  # ids with several texts
    split: int  # texts with several ids
    split_by_step: int  # of them, those whose ids each stand in one step, and not all in the same
    steps: int  # 1 where the log says steps


def find_grouping(db: duckdb.DuckDBPyConnection, columns: ColumnMap, log_cells: Cells) -> Grouping:
    """How the rows of the view `cells` are grouped."""
    prompt = columns.names.get("prompt", ())
    if not prompt:
        return _by_unchecked_id(db, log_cells)
    if "prompt_id" in columns.named:
        return _by_named_id(db, columns, log_cells)
    answer = _answer_column(db, columns, log_cells)
    why = []
    for i, column in enumerate(log_cells.ids):
        own = answer if answer is not None else next(iter(range(len(log_cells.answers))), None)
        counts = _count(db, i, own)
        trouble = _trouble(db, counts, column, i, checked=answer is not None, answers=own is not None)
        if trouble is None and counts.ids:
            return _by_id(log_cells, i, counts, prompt)
        if (
            own is not None
            and counts.ids
            and counts.texts < counts.examples
            and counts.ids >= _VISITS * counts.examples
            and counts.triples == counts.pairs
        ):
            answer = own
        why.append(trouble or f"`{column}` is empty")
    named = prompt if answer is None else (*prompt, log_cells.answers[answer])
    key = "key" if answer is None else f"key || chr(29) || coalesce(answer_{answer}, '')"
    option = f" (--id-col {log_cells.ids[0]} groups by it all the same)" if why else ""
    wrong = any("several prompts" in text or "several answers" in text for text in why)
    return Grouping(named, _hashed(key), f"{'; '.join([_grouped(named), *why])}{option}.", wrong)


def group_by(columns: tuple[str, ...], n_ids: int) -> Grouping:
    """Rows with one value in each of the columns, as a format says: they are the ids id_0 … of the view `cells`."""
    texts = [f"id_{i}" for i in range(n_ids)]
    joined = texts[0] if n_ids == 1 else f"concat_ws(chr(29), {', '.join(texts)})"
    sql = f"coalesce({joined}, {_hashed('key')})" if n_ids == 1 else _hashed(joined)
    return Grouping(columns, sql, f"{_grouped(columns)}.")


def _grouped(columns: tuple[str, ...]) -> str:
    return f"Rows are grouped by {' and '.join(f'`{column}`' for column in columns)}"


def _by_unchecked_id(db: duckdb.DuckDBPyConnection, log_cells: Cells) -> Grouping:
    sql = f"coalesce(id_0, '{NO_PROMPT}')"
    sentence = f"{_grouped(log_cells.ids[:1])}, and there is no prompt to check it against"
    if len(log_cells.ids) > 1:
        sentence += f"; `{'` and `'.join(log_cells.ids[1:])}` could be the id too"
    return Grouping(log_cells.ids[:1], sql, f"{sentence} (--id-col, --prompt-col).")


def _by_named_id(db: duckdb.DuckDBPyConnection, columns: ColumnMap, log_cells: Cells) -> Grouping:
    """As the user said; what speaks against it is said too."""
    if log_cells.ids[0] in columns.names["prompt"]:
        return Grouping(log_cells.ids[:1], _hashed("key"), f"{_grouped(log_cells.ids[:1])}.")
    trouble = _trouble(db, _count(db, 0, None), log_cells.ids[0], 0, named=True)
    though = f", though {trouble}" if trouble else ""
    return Grouping(log_cells.ids[:1], _id(0), f"{_grouped(log_cells.ids[:1])}, as --id-col says{though}.")


def _by_id(log_cells: Cells, i: int, counts: _Counts, prompt: tuple[str, ...]) -> Grouping:
    sentence = f"{_grouped(log_cells.ids[i : i + 1])}: each has one `{'`, `'.join(prompt)}`"
    if counts.split:
        some = "prompt has" if counts.split == 1 else "prompts have"
        sentence += f"; {counts.split} {some} several of them, which are kept apart (--id-col {prompt[0]} joins them)"
    return Grouping(log_cells.ids[i : i + 1], _id(i), f"{sentence}.")


def _trouble(
    db: duckdb.DuckDBPyConnection,
    counts: _Counts,
    column: str,
    i: int,
    *,
    checked: bool = False,
    answers: bool = False,
    named: bool = False,
) -> str | None:
    """Why an id names no prompts; None where it does.

    answers, checked : there is a column of answers, and it is the data set's whatever the ids say
    named : the user named it, so only what is plainly wrong counts
    """
    if counts.shared and not _equal_but_for_space(db, i):
        return f"`{column}` has several prompts on {counts.shared} of {counts.ids} values"
    if counts.lines < 1.5 * counts.ids and counts.lines >= 2 * counts.texts:
        return f"`{column}` is another on almost every row, while prompts come back"
    if named or not counts.split:
        return f"`{column}` has several answers on one value" if checked and counts.triples > counts.pairs else None
    if answers and counts.triples == counts.pairs:  # each id has one answer, as a data set's has
        if counts.examples == counts.texts:
            return f"`{column}` has several values for one prompt with one answer"
        # two examples of a game may have one answer by chance
        return f"`{column}` has several values for one prompt and answer" if counts.ids >= _VISITS * counts.examples else None
    if counts.texts == 1:  # a game: one text for all its examples
        return None
    if column.lower() not in _PER_REQUEST and counts.steps and counts.split_by_step < counts.split:
        return None  # it comes back in later steps
    return f"`{column}` has several values for one prompt"


def _answer_column(db: duckdb.DuckDBPyConnection, columns: ColumnMap, log_cells: Cells) -> int | None:
    """The column with a data set's answers that tells examples of one text apart; None where none does.

    Where there is no column of completions, a column of answers may be that, and is not believed.
    """
    sure = [i for i, name in enumerate(log_cells.answers) if name.lower() not in _OWN_ANSWERS]
    if "completion" not in columns.names or not sure:
        return None
    picked = ", ".join(f"count(DISTINCT answer_{i}) AS n_{i}" for i in sure)
    row = db.execute(
        f"""SELECT sum(n), {", ".join(f"count_if(n_{i} > 1), sum(greatest(n_{i}, 1))" for i in sure)}
            FROM (SELECT count(*) AS n, {picked} FROM cells WHERE key IS NOT NULL GROUP BY key)"""
    ).fetchone()
    if not row or not row[0]:
        return None
    return next((i for at, i in enumerate(sure) if row[1 + 2 * at] and 2 * row[2 + 2 * at] <= row[0]), None)


def _count(db: duckdb.DuckDBPyConnection, i: int, answer: int | None) -> _Counts:
    """One pass over the rows, and one over what is left of them: each id with each of its texts."""
    own = "0" if answer is None else f"hash(answer_{answer})"
    row = (
        db.execute(
            f"""WITH pairs AS (SELECT id_{i} AS id, hash(key) AS text, {own} AS answer, count_if(starts_line) AS lines,
                                  min(step) AS first, max(step) AS last
                           FROM cells WHERE id_{i} IS NOT NULL AND key IS NOT NULL GROUP BY ALL),
                 by_id AS (SELECT id, count(DISTINCT text) AS texts FROM pairs GROUP BY id),
                 by_text AS (SELECT text, count(DISTINCT id) AS ids, count(DISTINCT answer) AS answers, min(first) < max(last) AS moves,
                                    bool_and(first = last) AS still FROM pairs GROUP BY text)
            SELECT (SELECT coalesce(sum(lines), 0) FROM pairs), (SELECT count(*) FROM by_id), (SELECT count(*) FROM by_text),
                   (SELECT coalesce(sum(texts), 0) FROM by_id), (SELECT coalesce(sum(answers), 0) FROM by_text),
                   (SELECT count(*) FROM pairs), (SELECT count_if(texts > 1) FROM by_id), (SELECT count_if(ids > 1) FROM by_text),
                   (SELECT count_if(ids > 1 AND moves AND still) FROM by_text), (SELECT CAST(count(first) > 0 AS INT) FROM pairs)"""
        ).fetchone()
        or (0,) * 10
    )
    return _Counts(*(n or 0 for n in row))


def _equal_but_for_space(db: duckdb.DuckDBPyConnection, i: int) -> bool:
    """Whether the texts of each id differ in white space alone."""
    row = db.execute(
        f"""SELECT count(*) FROM (SELECT id FROM (SELECT DISTINCT id_{i} AS id, key FROM cells WHERE id_{i} IS NOT NULL AND key IS NOT NULL)
            GROUP BY id HAVING count(DISTINCT trim(regexp_replace(key, '\\s+', ' ', 'g'))) > 1)"""
    ).fetchone()
    return bool(row and row[0] == 0)


def _id(i: int) -> str:
    return f"coalesce(id_{i}, {_hashed('key')})"


def _hashed(key: str) -> str:
    """The content hash that `core.records.prompt_id` computes."""
    return f"coalesce(left(sha256({key}), 16), '{NO_PROMPT}')"
