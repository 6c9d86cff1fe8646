"""Which format files are of: flatspot's own formats in the order in which they are asked, and those of other packages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from flatspot.core.errors import ImportFormatError, SettingsError
from flatspot.core.extensions import find_extension, one_of
from flatspot.core.log_formats import LOG_FORMATS
from flatspot.importers.builtin import (
    areal,
    data_sets,
    inspect_ai,
    lm_eval,
    ms_swift,
    nemo_rl,
    open_instruct,
    recorded,
    roll,
    skyrl,
    slime,
    trl,
    verifiers_legacy,
    verifiers_v1,
    verl,
    wandb_tables,
)  # fmt: skip
from flatspot.importers.builtin.format import Format
from flatspot.importers.formats import Added, load_format, surest_format
from flatspot.importers.sample import PICKLE, read_sample
from flatspot.importers.search import listed

FORMATS: tuple[Format, ...] = (
    recorded.RECORDED,
    inspect_ai.INSPECT_AI,
    wandb_tables.WANDB,
    slime.SLIME,
    trl.TRL,
    trl.DISTILLATION,
    data_sets.OPEN_R1,
    data_sets.GENERATION_SERVER,
    data_sets.PASS_RATE,
    lm_eval.LM_EVAL,
    verifiers_v1.PRIME_EPISODES,
    verifiers_v1.EPISODES,
    verifiers_v1.PRIME_TRACES,
    verifiers_v1.TRACES,
    verl.VERL,
    open_instruct.OPEN_INSTRUCT,
    nemo_rl.NEMO_RL,
    areal.AREAL,
    skyrl.SKYRL,
    roll.ROLL,
    roll.AGENTIC,
    ms_swift.SWIFT_COLUMNS,
    ms_swift.SWIFT_ROWS,
    verifiers_legacy.PRIME_LEGACY,
    verifiers_legacy.LEGACY,
)
"""In the order in which a file is asked for them: the first that tells it is taken."""


@dataclass(frozen=True)
class Found:
    """The files of one format, None where no format tells them; `others` are files that none tells, beside some that one does."""

    format: Format | None
    files: tuple[Path, ...]
    others: tuple[Path, ...] = ()


def added_format(name: str, paths: Sequence[Path], say: Callable[[str], None]) -> Added | None:
    """The format of another package that reads the paths; None where one of flatspot's own does.

    name   a format, or "auto": then the packages' formats go first, for they were installed on purpose
    say    gets a line for a format that cannot be loaded, where none was named

    Raises `SettingsError` for an unknown name, `ExtensionError` where a format that was named cannot be loaded, and `ImportFormatError`
    where several are equally sure.
    """
    if name == "auto":
        return surest_format(paths, LOG_FORMATS, say)
    if name in LOG_FORMATS:
        return None
    added = find_extension("importers", name)
    if added is None:
        raise SettingsError(f"there is no log format {name!r}; it is one of {one_of('importers', LOG_FORMATS)}")
    return load_format(added)


def own_format(name: str, files: Sequence[Path]) -> Found:
    """Which of the files are logs of one of flatspot's own formats.

    name  a format; "auto": the one that tells them; "generic": none

    Raises `ImportFormatError` where several formats tell files, or where none is of the one that was named.
    """
    if name == "generic":
        return Found(None, tuple(files))
    told: dict[str, list[tuple[Format, Path]]] = {}
    others = []
    for path in files:
        sample = read_sample(path)
        format = next((format for format in FORMATS if name in ("auto", format.name) and format.told_by(sample) is not None), None)
        if format is None:
            others.append(path)
        else:
            told.setdefault(format.title, []).append((format, path))
    if len(told) > 1:  # a trainer saves its own states as .pt, too
        told = {of: pairs for of, pairs in told.items() if any(path.suffix.lower() != PICKLE for _, path in pairs)} or told
    if len(told) > 1:
        each = "\n  ".join(f"{of}: {_files(pairs)}, such as {pairs[0][1]}" for of, pairs in told.items())
        raise ImportFormatError(
            f"these are logs of {len(told)} formats; inspect one at a time, by naming its files or with --format:\n  {each}"
        )
    if not told:
        if name != "auto":
            one = next(format for format in FORMATS if format.name == name)
            raise ImportFormatError(f"{listed(files)}: no log in the {name} format. It is written as {one.files}")
        return Found(None, tuple(files))
    pairs = next(iter(told.values()))
    return Found(pairs[0][0], tuple(path for _, path in pairs), tuple(others))


def _files(pairs: Sequence[tuple[Format, Path]]) -> str:
    return f"{len(pairs)} file{'s' if len(pairs) > 1 else ''}"
