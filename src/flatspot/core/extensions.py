"""What other packages add to flatspot: entry points of the groups `flatspot.verbs`, `flatspot.engines`, …"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any

from flatspot.core.errors import ExtensionError


def extensions(group: str) -> dict[str, EntryPoint]:
    """The entry points of the group `flatspot.<group>` by name, none of them imported; of two with one name the first installed counts.

    >>> extensions("verbs")["reproduce"].value
    'flatspot_paper.cli.reproduce:reproduce_command'
    """
    return {point.name: point for point in sorted(entry_points(group=f"flatspot.{group}"), key=lambda point: point.name)}


def load_extension(point: EntryPoint) -> Any:
    """Import what an entry point names. Raises `ExtensionError`, which names the package, where that fails."""
    try:
        return point.load()
    except Exception as error:  # any error of a foreign package's import
        owner = point.dist.name if point.dist is not None else point.value
        raise ExtensionError(
            f"the package {owner!r} adds {point.name!r} to {point.group!r}, but {point.value} cannot be imported: "
            f"{type(error).__name__}: {error}. Fix or uninstall {owner}"
        ) from error
