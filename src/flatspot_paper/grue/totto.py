"""A table with highlighted cells as one line of text, as ToTTo's task wants it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table: its text, the columns [left, right) that it covers, and whether it is a header."""

    text: str
    left: int
    right: int
    is_header: bool


def linearize(row: Mapping[str, Any], *, titles: bool) -> str:
    """The highlighted cells with their headers, and the titles of page and section before them where asked.

    row  `table` (rows of cells with value, is_header, column_span), `highlighted_cells` (pairs of row and place in it),
         `table_page_title`, `table_section_title`

    A cell's row headers are the headers to the left of it in its row, its column headers those above it whose columns overlap its own.

    >>> table = [[{"value": "Year", "is_header": True, "column_span": 1}],
    ...          [{"value": "1998", "is_header": False, "column_span": 1}]]
    >>> linearize({"table": table, "highlighted_cells": [[1, 0]]}, titles=False)
    '<table> <cell> 1998 <col_header> Year </col_header> </cell> </table>'
    """
    grid = grid_of(row["table"])
    cells = "".join(_cell(grid, int(line), int(place)) for line, place in row["highlighted_cells"])
    before = ""
    if titles:
        names = {"page_title": row.get("table_page_title"), "section_title": row.get("table_section_title")}
        before = "".join(f"<{name}> {text} </{name}> " for name, text in names.items() if text)
    return f"{before}<table> {cells}</table>"


def grid_of(table: Sequence[Sequence[Mapping[str, Any]]]) -> list[list[Cell]]:
    """The rows with the columns that each cell covers. Cells that span rows push nothing aside, as in ToTTo's own heuristic."""
    grid = []
    for row in table:
        cells, column = list[Cell](), 0
        for cell in row:
            right = column + int(cell["column_span"])
            cells.append(Cell(str(cell["value"]), column, right, bool(cell["is_header"])))
            column = right
        grid.append(cells)
    return grid


def _cell(grid: Sequence[Sequence[Cell]], line: int, place: int) -> str:
    cell = grid[line][place]
    above = [head for row in grid[:line] for head in row if head.is_header and head.left < cell.right and cell.left < head.right]
    beside = [head for head in grid[line][:place] if head.is_header]
    heads = "".join(f"<col_header> {head.text} </col_header> " for head in above)
    heads += "".join(f"<row_header> {head.text} </row_header> " for head in beside)
    return f"<cell> {cell.text} {heads}</cell> "


def linearize_triples(triples: Sequence[Sequence[str]]) -> str:
    """Triples (subject, relation, object) of DART in the same marks: the object as the cell under its relation, beside its subject.

    >>> linearize_triples([["Cocum", "eatType", "coffee shop"]])
    '<table> <cell> coffee shop <col_header> eatType </col_header> <row_header> Cocum </row_header> </cell> </table>'
    """
    cells = "".join(
        f"<cell> {value} <col_header> {relation} </col_header> <row_header> {subject} </row_header> </cell> "
        for subject, relation, value in triples
    )
    return f"<table> {cells}</table>"
