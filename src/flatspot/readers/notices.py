"""What a reader noticed in many files, as a few sentences."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from flatspot.readers.blocks import Kind, Notice
from flatspot.readers.encodings import CONVERT
from flatspot.readers.files import unit_of

_SHOWN = 3


def sentences(notices: Sequence[tuple[Path, Notice]]) -> list[str]:
    """A sentence for each kind of notice, with how many there are and where the first stand.

    >>> sentences([(Path("a.csv"), Notice(7, "row", "2 cells for 3 columns"))])
    ['1 row of a.csv was left out: line 7 (2 cells for 3 columns).']
    """
    kinds: dict[Kind, list[tuple[Path, Notice]]] = {}
    for path, notice in notices:
        kinds.setdefault(notice.kind, []).append((path, notice))
    return [_sentence(kind, of_kind) for kind, of_kind in kinds.items()]


def _sentence(kind: Kind, of_kind: Sequence[tuple[Path, Notice]]) -> str:
    files = list(dict.fromkeys(path for path, _ in of_kind))
    of = files[0].name if len(files) == 1 else f"{len(files)} files"
    n = sum(notice.times for _, notice in of_kind)
    many = n > 1
    where = "; ".join(_place(path, notice, len(files) > 1) for path, notice in of_kind[:_SHOWN]) + ("; …" if n > _SHOWN else "")
    lines = f"{n} {'lines' if many else 'line'} of {of}"
    match kind:
        case "row":
            return f"{n} {'rows' if many else 'row'} of {of} {'were' if many else 'was'} left out: {where}."
        case "header":
            return f"{lines} {'are headers' if many else 'is a header'} within the rows: {where}."
        case "bytes":
            return f"{lines} {'hold' if many else 'holds'} bytes that are not UTF-8, shown as \\xNN: {where}. {CONVERT}"
        case "surrogates":
            return f"unpaired surrogates in {lines} are shown as \ufffd."
        case "inside":
            return f"{of}: {of_kind[0][1].why}."


def _place(path: Path, notice: Notice, with_file: bool) -> str:
    line = f"{unit_of(path.suffix.lower())} {notice.line} ({notice.why})"
    return f"{path.name} {line}" if with_file else line
