"""Texts within a query."""

from __future__ import annotations


def literal(value: object) -> str:
    """A text as SQL writes it.

    >>> literal("it's")
    "'it''s'"
    """
    return "'" + str(value).replace("'", "''") + "'"
