"""Pictures, videos and sounds that a trainer passes beside a prompt and not in it: they are part of what names the prompt."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from flatspot.core.content import MEDIA_TYPES, content_text

MEDIA_COLUMNS = ("image", "images", "video", "videos", "audio", "audios")


def named_with_media(name: str, prompt: object, columns: Mapping[str, object]) -> tuple[str, tuple[str, ...]]:
    """(the id of a prompt, the types of what in it nothing can be told of).

    The id is of `name`, which is of its text or messages, and of what its row's columns of media hold, where it holds none itself.

    >>> of_one, of_other = (named_with_media("a", "<image>What is it?", {"image": raw}) for raw in (b"1", b"2"))
    >>> of_one == of_other, named_with_media("a", "What is it?", {"answer": b"1"})
    (False, ('a', ()))
    """
    beside = {key: columns[key] for key in MEDIA_COLUMNS if columns.get(key) is not None}
    if not beside or holds_media(prompt):
        return name, ()
    content, opaque = content_text(beside, sort_keys=True)
    return hashlib.sha256(f"{name}\x1f{content}".encode("utf-8", "backslashreplace")).hexdigest()[:16], opaque


def holds_media(prompt: object) -> bool:
    """Whether messages have a part with a picture, a video or a sound in it, and not only a place for one.

    >>> [holds_media([{"role": "user", "content": [{"type": "image", **more}]}]) for more in ({}, {"image": b"1"})]
    [False, True]
    """
    if not isinstance(prompt, list | tuple):
        return False
    contents = [message.get("content") for message in prompt if isinstance(message, Mapping)]
    parts = [part for content in contents if isinstance(content, list | tuple) for part in content if isinstance(part, Mapping)]
    return any(part.get("type") in MEDIA_TYPES and any(part[key] is not None for key in part if key != "type") for part in parts)
