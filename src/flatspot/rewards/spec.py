"""Read a reward as the user wrote it: a built-in name, a function's address, or an adapter's prefix and an address."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from flatspot.core.connection import checked_address
from flatspot.core.errors import RewardLoadError
from flatspot.core.pairs import read_pairs

Shape = Literal["trl", "verl", "openrlhf", "verifiers"]
SHAPES: tuple[Shape, ...] = ("trl", "verl", "openrlhf", "verifiers")

FORMS = (
    "A reward is file.py:function, package.module:function, package.module.function, a built-in name such as exact_match or "
    "regex[pattern=\\d+], verl:… / openrlhf:… / verifiers:… before an address for what was written for these, or http://host:port/path of "
    "a server that scores."
)

_NAME = re.compile(r"(?P<name>[A-Za-z_]\w*)(?:\[(?P<parameters>.*)\])?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Builtin:
    """A built-in reward and its parameters, still as text."""

    name: str
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Address:
    """A user's function: where it lives and which trainer's calling convention it follows.

    place      a path ending in .py, or a dotted module name
    attribute  the function's name there; for a dotted address without a colon, its last part
    """

    place: str
    attribute: str
    shape: Shape = "trl"

    @property
    def is_file(self) -> bool:
        """Whether the place is a file rather than a module."""
        return self.place.endswith(".py")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Servers that score as OpenRLHF's do, all of them the same reward.

    timeout_s  seconds that one row may take
    """

    urls: tuple[str, ...]
    timeout_s: float = 10.0

    @property
    def name(self) -> str:
        """The last part of the first address's path, or its host."""
        host, _, path = self.urls[0].partition("://")[2].partition("/")
        return path.rpartition("/")[2] or host


def parse_spec(text: str) -> Builtin | Address | Endpoint:
    r"""What a reward's text stands for. Nothing is imported or looked up.

    Raises `RewardLoadError` where the text has none of the known forms.

    >>> parse_spec("exact_match")
    Builtin(name='exact_match', parameters={})
    >>> parse_spec(r"regex[pattern=\d{1,3},ignore_case=true]").parameters
    {'pattern': '\\d{1,3}', 'ignore_case': 'true'}
    >>> parse_spec('regex[pattern="a, b=c"]').parameters
    {'pattern': 'a, b=c'}
    >>> parse_spec("verl:rewards/math.py:compute_score")
    Address(place='rewards/math.py', attribute='compute_score', shape='verl')
    >>> parse_spec("http://gpu-1:5000/get_reward,http://gpu-2:5000/get_reward").name
    'get_reward'
    >>> parse_spec("trl.rewards.accuracy_reward")
    Address(place='trl.rewards', attribute='accuracy_reward', shape='trl')
    """
    stripped = text.strip()
    if not stripped:
        raise RewardLoadError(f"the reward is empty. {FORMS}")
    if stripped.startswith(("http://", "https://")):
        return _endpoint(stripped)
    for shape in SHAPES:
        if shape != "trl" and stripped.startswith(f"{shape}:"):
            return _address(stripped.removeprefix(f"{shape}:"), shape, whole=stripped)
    match = _NAME.fullmatch(stripped)
    if match:
        return Builtin(match["name"], _parameters(match["parameters"], stripped))
    return _address(stripped, "trl", whole=stripped)


def _endpoint(text: str) -> Endpoint:
    try:
        return Endpoint(tuple(checked_address(url, "--reward") for url in text.split(",")))
    except ValueError as error:
        raise RewardLoadError(str(error)) from None


def _parameters(text: str | None, whole: str) -> dict[str, str]:
    try:
        return {key: _unquoted(value) for key, value in read_pairs(text or "").items()}
    except ValueError as error:
        raise RewardLoadError(f"reward {whole!r}: {error}") from None


def _unquoted(value: str) -> str:
    """A value that is one text in double quotes, without these; in all others a quote is a character like any other."""
    return value[1:-1] if len(value) >= 2 and value[0] == value[-1] == '"' and value.count('"') == 2 else value


def _address(text: str, shape: Shape, *, whole: str) -> Address:
    place, colon, attribute = text.rpartition(":")
    if colon:
        if place and _is_dotted(attribute) and (place.endswith(".py") or _is_dotted(place)):
            return Address(place, attribute, shape)
        raise RewardLoadError(f"cannot read the reward {whole!r}. {FORMS}")
    if text.endswith(".py"):
        raise RewardLoadError(f"reward {whole!r} names a file but no function: write {whole}:FUNCTION")
    place, dot, attribute = text.rpartition(".")
    if dot and _is_dotted(place) and _is_dotted(attribute):
        return Address(place, attribute, shape)
    raise RewardLoadError(f"cannot read the reward {whole!r}. {FORMS}")


def _is_dotted(text: str) -> bool:
    return all(part.isidentifier() for part in text.split("."))
