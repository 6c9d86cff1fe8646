"""What other packages add to flatspot: the entry points of six groups.

    group                an entry point is                                  its contract
    flatspot.verbs       a `click.Command`                                  cli/lazy.py
    flatspot.engines     a function from a model to an `Engine`             core.protocols.MakeEngine
    flatspot.rewards     a reward function as TRL calls it                  core.protocols.RewardFunction
    flatspot.importers   a format of logs: `detect` and `read`              importers.formats.LogFormat
    flatspot.tasks       a function from a text to prompts                  tasks.sources.PromptSource
    flatspot.strategies  a function from failing prompts to those to label  planning.strategies.Strategy

Our own are tables in the code, not entry points. A built-in name is never replaced, and entry points are only looked up for a name that is
not built in, or to list what there is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flatspot.core.errors import ExtensionError, FlatspotError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


@dataclass(frozen=True, slots=True)
class Extension:
    """A name that another package adds to a group.

    points  the entry points of this name: one, or as many as there are packages that claim it, of which none is used
    """

    name: str
    group: str
    points: tuple[EntryPoint, ...]

    @property
    def packages(self) -> tuple[str, ...]:
        """The packages that add it; of an entry point without one, its value."""
        return tuple(dict.fromkeys(point.dist.name if point.dist is not None else point.value for point in self.points))

    def load(self) -> object:
        """Import what the entry point names. Raises `ExtensionError` where that fails, or where two packages claim the name."""
        if len(self.points) > 1:
            rivals = " and ".join(map(repr, self.packages))
            raise ExtensionError(f"the packages {rivals} both add {self.name!r} to flatspot.{self.group}. Uninstall one of them")
        try:
            return self.points[0].load()
        except (Exception, SystemExit) as error:  # whatever a foreign package's import ends in
            raise self.error(f"{self.points[0].value} cannot be imported: {type(error).__name__}: {error}") from error

    def error(self, problem: str) -> ExtensionError:
        """The error that names the package, the group and the name."""
        package = self.packages[0]
        return ExtensionError(
            f"the package {package!r} adds {self.name!r} to flatspot.{self.group}: {problem.rstrip('.')}. Fix or uninstall {package}"
        )

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Run the package's code: whatever it raises becomes an `ExtensionError`, but for errors of flatspot's own tree."""
        try:
            yield
        except FlatspotError:
            raise
        except (Exception, SystemExit) as error:
            raise self.error(f"it failed with {type(error).__name__}: {error}") from error


def extensions(group: str) -> dict[str, Extension]:
    """What other packages add to the group `flatspot.<group>`, by name and in the order of names; nothing is imported.

    >>> extensions("verbs")["reproduce"].points[0].value
    'flatspot_paper.cli.reproduce:reproduce_command'
    """
    from importlib.metadata import entry_points  # on use: it takes longer to import than all of this package's core

    by_name: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=f"flatspot.{group}"):
        by_name.setdefault(point.name, []).append(point)
    return {name: Extension(name, group, tuple(dict.fromkeys(by_name[name]))) for name in sorted(by_name)}


def find_extension(group: str, name: str) -> Extension | None:
    """What another package adds to a group under a name that is not built in; None where there is nothing."""
    return extensions(group).get(name)


def names_of(group: str, built_in: Iterable[str]) -> list[str]:
    """Every name of a group: the built-in ones, then those of other packages."""
    own = list(built_in)
    return [*own, *(name for name in extensions(group) if name not in own)]


def clashes(group: str, built_in: Iterable[str]) -> list[str]:
    """A sentence for each built-in name that another package would replace."""
    own = set(built_in)
    return [
        f"{', '.join(map(repr, added.packages))} also adds {name!r} to flatspot.{group}, which is built in and stays as it is."
        for name, added in extensions(group).items()
        if name in own
    ]


def one_of(group: str, built_in: Iterable[str]) -> str:
    """What may be given, for a message: all names, and what was not added because its name is built in.

    >>> one_of("engines", ["auto", "hf"])
    'auto, hf'
    """
    own = list(built_in)
    refused = clashes(group, own)
    return ", ".join(names_of(group, own)) + (f" ({' '.join(refused)})" if refused else "")
