"""Rows of JSON appended to a file of this process: each is with the system when the call returns, so killing the process loses none."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from flatspot.core.content import content_text
from flatspot.core.recording import FOLDER, OFF
from flatspot.training.say import say


class Journal:
    """Where a process writes rows. It can be pickled, and used after a fork: each process opens a file of its own, at its first row.

    A write is one call of the system, appended; threads need no lock for it. Nothing here raises: what goes wrong is said once.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder).absolute()
        self._files: dict[int, int] = {}  # process → its open file
        self._cut: set[int] = set()  # processes whose last line is not whole
        self._said = False

    def __reduce__(self) -> tuple[type[Journal], tuple[Path]]:
        return Journal, (self.folder,)

    def write(self, rows: Sequence[Mapping[str, object]]) -> None:
        """Append rows; never raises."""
        if OFF in os.environ:
            return
        try:
            self._append(b"".join(_line(row) for row in rows))
        except Exception as error:
            self.trouble(error)

    def trouble(self, error: BaseException) -> None:
        """Say that rows could not be recorded, the first time."""
        if not self._said:
            self._said = True
            with contextlib.suppress(Exception):
                say(
                    f"cannot record rollouts in {self.folder}, and the training continues: {type(error).__name__}: {str(error)[:300]}. "
                    "Further rows are tried; this is said once."
                )

    def _append(self, data: bytes) -> None:
        process = os.getpid()
        file = self._files.get(process)
        if file is None:
            own = self._open(process)
            file = self._files.setdefault(process, own)
            if file != own:  # another thread was first; an empty file is no harm
                os.close(own)
        if process in self._cut:  # end the line that a full disk cut off
            self._cut.discard(process)
            data = b"\n" + data
        try:
            while data:
                data = data[os.write(file, data) :]
        except BaseException:
            self._cut.add(process)
            raise

    def _open(self, process: int) -> int:
        folder = self.folder / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        host = "".join(c if c.isalnum() or c == "-" else "-" for c in socket.gethostname())[:40]
        name = f"{time.strftime('%Y%m%d-%H%M%S')}-{host}-{process}-{uuid.uuid4().hex[:6]}.jsonl"
        return os.open(folder / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)


def _line(row: Mapping[str, object]) -> bytes:
    try:
        return json.dumps(row, check_circular=False).encode() + b"\n"
    except (TypeError, RecursionError, ValueError):  # pictures, arrays, tensors: what they hold, as in a prompt's id
        pass
    try:
        text = content_text(row)[0]
    except (RecursionError, ValueError):  # a list that holds itself
        text = content_text({name: value for name, value in row.items() if name not in ("columns", "returned")})[0]
    return text.encode("utf-8", "backslashreplace") + b"\n"
