"""Values as JSON text that names what they hold: equal values give equal text in every process, and no memory address is ever part of it.

Pictures, arrays, tensors and bytes stand as the SHA-256 of their bytes. A value of which nothing but its type can be told (a handle,
a function, an object without a text of its own) stands as its type, and is reported: it cannot tell one prompt from another.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path, PurePath
from typing import Any

from flatspot.core.plain import JsonObject

_ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]+")
# of these the text is the value; that of other classes may leave things out, as a long table's does
_SAID_BY_THEIR_TEXT = frozenset({"datetime", "decimal", "fractions", "uuid", "ipaddress", "zoneinfo", "builtins"})
MEDIA_TYPES = ("image", "image_url", "input_image", "video", "audio", "input_audio")


def content_text(value: object, *, sort_keys: bool = False) -> tuple[str, tuple[str, ...]]:
    """(JSON text of a value, the types of what in it has no content to be told by).

    >>> content_text({"answer": 4, "picture": b"abc"})[0]
    '{"answer": 4, "picture": {"bytes": 3, "sha256": "ba7816bf8f01cfea414140de5dae2223"}}'
    >>> content_text({"check": object()})
    ('{"check": "<object>"}', ('object',))
    """
    opaque: list[str] = []

    def written(value: object) -> str:
        return json.dumps(value, ensure_ascii=False, sort_keys=sort_keys, default=lambda v: _describe(v, opaque))

    try:
        text = written(value)
    except TypeError:  # of keys that JSON does not have, or that have no order
        text = written(_with_text_keys(value, opaque))
    return text, tuple(dict.fromkeys(opaque))


def _with_text_keys(value: object, opaque: list[str]) -> object:
    if isinstance(value, list | tuple):
        return [_with_text_keys(item, opaque) for item in value]
    if not isinstance(value, Mapping):
        return value
    items = {key: _with_text_keys(item, opaque) for key, item in value.items() if isinstance(key, str)}
    for key, item in value.items():
        if not isinstance(key, str):
            name, unknown = content_text(key)
            opaque += unknown
            items[name if name not in value else f"{type(key).__name__} {name}"] = _with_text_keys(item, opaque)
    return items


def parts_text(parts: object) -> tuple[str, tuple[str, ...]]:
    """`content_text` of a message's content: one part of text is its text, and a file that a part of pictures names counts by its bytes.

    That is a plain file with a full path: a relative name is another file for a process in another folder, and counts as the text it is.

    >>> parts_text([{"type": "text", "text": "2 + 2 ="}])
    ('2 + 2 =', ())
    """
    if parts is None or isinstance(parts, str | int | float):
        return "" if parts is None else str(parts), ()
    if isinstance(parts, list | tuple):
        parts = [_part(part) if isinstance(part, Mapping) else part for part in parts]
        if len(parts) == 1 and isinstance(parts[0], Mapping) and set(parts[0]) == {"type", "text"} and isinstance(parts[0]["text"], str):
            return parts[0]["text"], ()
    return content_text(parts, sort_keys=True)


def _part(part: Mapping[str, object]) -> dict[str, object]:
    """A part without the empty keys that a table of all parts gives it; of pictures, the bytes in place of the name of their file."""
    fields = {key: value for key, value in part.items() if value is not None}
    if fields.get("type") in MEDIA_TYPES:
        fields |= {key: _media(value) for key, value in fields.items() if key != "type"}
    return fields


def _media(value: object) -> object:
    if isinstance(value, Mapping) and value.get("bytes") is not None:  # as data sets keep a picture that is not decoded
        return value["bytes"]
    if isinstance(value, PurePath) or (isinstance(value, str) and len(value) < 4096):
        with contextlib.suppress(OSError, ValueError):
            if Path(value).is_absolute() and Path(value).is_file():  # no device, which has no end, and no pipe
                return Path(value).read_bytes()
    return value


def _describe(value: object, opaque: list[str]) -> object:
    """A value that JSON has no word for, in JSON's types."""
    try:
        text = _by_content(value)
    except Exception:  # a closed file, a picture cut short: whatever a stranger's object raises
        text = None
    if text is None:
        kind = type(value)
        name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        opaque.append(name)
        return f"<{name}>"
    return text


def _by_content(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): item for key, item in value.items()}
    if isinstance(value, set | frozenset):
        texts = [content_text(item, sort_keys=True) for item in value]
        return None if any(opaque for _, opaque in texts) else sorted(text for text, _ in texts)
    if isinstance(value, bytes | bytearray | memoryview):
        return _bytes(bytes(value))
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Enum):
        return f"{type(value).__qualname__}.{value.name}"
    if hasattr(value, "tobytes") and hasattr(value, "mode") and hasattr(value, "size"):  # a PIL picture
        palette = value.getpalette() if value.mode == "P" else None
        return {"image": [value.mode, *value.size], **_bytes(value.tobytes() + bytes(palette or ()))}
    if hasattr(value, "detach") and hasattr(value, "dtype"):  # a tensor; NumPy has no bfloat16, which float32 holds exactly
        tensor = value.detach().cpu()
        tensor = tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor
        return {"tensor": [str(value.dtype), *value.shape], **_bytes(tensor.numpy().tobytes())}
    if hasattr(value, "dtype") and hasattr(value, "tobytes"):  # NumPy's arrays and scalars
        if value.dtype.hasobject:
            return value.tolist()
        return value.item() if value.shape == () and value.dtype.kind in "biuf" else _array(value)
    if hasattr(value, "getvalue"):  # io.BytesIO
        return _bytes(value.getvalue()) if isinstance(value.getvalue(), bytes) else value.getvalue()
    if is_dataclass(value) and not isinstance(value, type):
        return {"type": type(value).__qualname__, **{f.name: getattr(value, f.name) for f in fields(value)}}
    if type(value).__module__.partition(".")[0] in _SAID_BY_THEIR_TEXT or hasattr(value, "isoformat"):
        return None if _ADDRESS.search(str(value)) or type(value) is object else str(value)
    return _buffer(value)


def _array(value: Any) -> JsonObject:
    return {"array": [value.dtype.str, *value.shape], **_bytes(value.tobytes())}


def _buffer(value: Any) -> JsonObject | None:
    try:
        return _bytes(memoryview(value).tobytes())
    except TypeError:
        return None


def _bytes(raw: bytes) -> dict[str, object]:
    return {"bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()[:32]}
