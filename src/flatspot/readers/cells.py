"""A text cell that holds a list of rewards, as Python, JSON and numpy print one."""

from __future__ import annotations

from flatspot.core.sql import literal

# an element: text in quotes, a number as numpy 2 and torch print one within a list ("np.float64(0.5)"), or anything without a delimiter
_ELEMENT = r"""(?:"[^"]*"|'[^']*'|[A-Za-z0-9_.]+\([^\s,()\[\]]*\)|[^\s,()\[\]"']+)"""
_LIST = rf"\s*\[\s*(?:{_ELEMENT}(?:\s*,\s*{_ELEMENT}|\s+{_ELEMENT})*\s*,?\s*)?\]\s*"
_WRAPPED = r"""^(?:"(.*)"|'(.*)'|[A-Za-z0-9_.]+\((.*)\)|(.*))$"""
_LEFT_OUT = "..."  # numpy prints only the ends of a long list


def list_cells_sql(column: str) -> str:
    """The elements of a list in a text cell, each as text, as SQL over an expression of type VARCHAR; NULL where it is no whole list.

    Commas or spaces stand between the elements; quotes, and a type around a number, are taken off.

    >>> import duckdb
    >>> db = duckdb.connect()
    >>> [db.execute(f"SELECT {list_cells_sql(cell)}").fetchone()[0] for cell in ("'[0, 1.50, None]'", "'[0. 1.]'", "'[]'")]
    [['0', '1.50', 'None'], ['0.', '1.'], []]
    >>> [db.execute(f"SELECT {list_cells_sql(cell)}").fetchone()[0] for cell in ("'[0, 1'", "'[0. 1. ... 0.]'", "'0.5'")]
    [None, None, None]
    """
    whole, element, wrapped = map(literal, (_LIST, _ELEMENT, _WRAPPED))
    elements = f"list_transform(regexp_extract_all({column}, {element}), lambda e: regexp_replace(e, {wrapped}, '\\1\\2\\3\\4'))"
    return f"CASE WHEN NOT contains({column}, '{_LEFT_OUT}') AND regexp_full_match({column}, {whole}) THEN {elements} END"
