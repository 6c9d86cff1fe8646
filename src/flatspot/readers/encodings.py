"""From bytes to UTF-8: byte order marks are obeyed, other encodings are named, and no byte is lost."""

from __future__ import annotations

import codecs
import io
import re
from pathlib import Path
from typing import BinaryIO

from flatspot.core.errors import FileError

_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
MARKED = tuple(mark for mark, _ in _MARKS)  # how a file begins that is decoded whole
_BINARY = (
    (b"PAR1", "a Parquet file"),
    (b"\x1f\x8b", "packed with gzip"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x28\xb5\x2f\xfd", "packed with Zstandard"),
)
CONVERT = "If the file is Latin-1 or Windows-1252, convert it: iconv -f WINDOWS-1252 -t UTF-8 FILE > NEW"
_ESCAPED = re.compile("[\udc80-\udcff]")  # how Python's "surrogateescape" keeps a byte that is not UTF-8


def open_utf8(path: Path) -> BinaryIO:
    """The bytes of a text file, as `as_utf8` gives them. Raises `FileError` where the file cannot be opened, too."""
    try:
        stream = path.open("rb")
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror or error}") from None
    utf8: BinaryIO | None = None
    try:
        utf8 = as_utf8(stream, str(path))
    finally:
        if utf8 is not stream:
            stream.close()
    return utf8


def as_utf8(stream: BinaryIO, where: str) -> BinaryIO:
    """The bytes of a stream as UTF-8, after its byte order mark, in a stream that can seek.

    UTF-16 and UTF-32 are read where a byte order mark says so. Raises `FileError` for other encodings with two bytes a character, and for
    what is no text.
    """
    head = stream.read(64)
    what = next((what for mark, what in _BINARY if head.startswith(mark)), None)
    if what:
        raise FileError(f"{where}: this is {what}, whatever its name says. Unpack it first, or give it the right ending.")
    encoding = next((name for mark, name in _MARKS if head.startswith(mark)), None)
    if encoding:
        return io.BytesIO(_decoded(head + stream.read(), where, encoding).encode())
    if head.count(b"\0") >= max(1, len(head) // 3):
        guess = "UTF-16BE" if head.startswith(b"\0") else "UTF-16LE"
        raise FileError(
            f"{where}: this is not UTF-8; its zero bytes look like {guess} without a byte order mark. "
            f"Save it as UTF-8: iconv -f {guess} -t UTF-8 FILE > NEW"
        )
    if not stream.seekable():  # a pipe
        return io.BytesIO((head + stream.read()).removeprefix(codecs.BOM_UTF8))
    stream.seek(len(codecs.BOM_UTF8) if head.startswith(codecs.BOM_UTF8) else 0)
    return stream


def _decoded(content: bytes, where: str, encoding: str) -> str:
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        name = encoding.upper()
        raise FileError(f"{where}: starts with the mark of {name}, but byte {error.start + 1} is not {name}. Save it as UTF-8.") from None


def text_of(line: bytes) -> str:
    """A line as text, with each byte that is not UTF-8 kept as an unpaired surrogate (`has_other_bytes`, `shown`)."""
    return line.decode("utf-8", "surrogateescape")


def has_other_bytes(text: str) -> bool:
    """Whether some bytes of a text were no UTF-8."""
    if text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def bad_byte(text: str) -> str:
    """Where the first byte of a line stands that is not UTF-8, in words."""
    match = _ESCAPED.search(text)
    before = text[: match.start()] if match else text
    return f"byte {len(before.encode()) + 1} is not UTF-8"


def convert(where: str, line: str) -> FileError:
    """The error of a file whose names of columns are not UTF-8."""
    return FileError(f"{where}: a column's name is not UTF-8 ({bad_byte(line)}). {CONVERT}")


def shown(text: str, backslash: str = "\\") -> str:
    r"""The text with each byte that is not UTF-8 written out, so that two different texts stay different.

    >>> shown(text_of(b"caf\xe9"))
    'caf\\xe9'
    """
    return _ESCAPED.sub(lambda match: f"{backslash}x{ord(match.group()) - 0xDC00:02x}", text)
