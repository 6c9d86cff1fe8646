"""Every entry by its name, and those of other people's modules."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vanishbench import ours, rules
from vanishbench.entry import Entry

Kind = Literal["flatspot", "RL", "filter", "labels", "reference"]


@dataclass(frozen=True)
class Listed:
    """An entry in the tables.

    all_labels  it may read the label of every prompt: a reference, which is not ranked
    """

    name: str
    rule: Entry
    kind: Kind

    @property
    def all_labels(self) -> bool:
        """Whether it is outside of the label budget."""
        return self.kind == "reference"


ENTRIES = {
    entry.name: entry
    for entry in (
        Listed("flatspot run", ours.recipe, "flatspot"),
        Listed("flatspot, learnable prompts only", ours.learnable_only, "flatspot"),
        Listed("RLOO", rules.rloo, "RL"),
        Listed("GRPO, std-normalized", rules.grpo, "RL"),
        Listed("MaxRL", rules.maxrl, "RL"),
        Listed("fixed K filter", rules.fixed_filter, "filter"),
        Listed("band-pass 0.2-0.8", rules.band_pass, "filter"),
        Listed("stop at first mixed", rules.first_mixed, "filter"),
        Listed("DAPO resampling", rules.dapo, "filter"),
        Listed("GRESO-style skipping", rules.greso, "filter"),
        Listed("SFT only", rules.sft, "labels"),
        Listed("SFT, then RLOO", rules.sft_then_rloo, "labels"),
        Listed("interleaved SFT", rules.interleaved, "labels"),
        Listed("interleaved, flatspot's labels", ours.interleaved_planned, "labels"),
        Listed("SFT on all labels, then RLOO", rules.full_sft_then_rloo, "reference"),
    )
}


def load_entry(spec: str) -> Listed:
    """The entry of a name, or a function of "module:function" or "file.py:function". Raises SystemExit with what is wrong.

    >>> load_entry("RLOO").kind
    'RL'
    """
    if spec in ENTRIES:
        return ENTRIES[spec]
    place, _, attribute = spec.rpartition(":")
    if not place:
        raise SystemExit(f"--entry {spec!r}: expected module:function, file.py:function or one of {', '.join(ENTRIES)}")
    try:
        rule = getattr(_module(place), attribute)
    except (ImportError, FileNotFoundError, AttributeError) as error:
        advice = "give module:function of a module that Python finds from here, or file.py:function"
        raise SystemExit(f"--entry {spec!r}: {error}; {advice}") from None
    if not callable(rule):
        raise SystemExit(f"--entry {spec!r}: {attribute} is a {type(rule).__name__}, expected a function of one argument, the World")
    return Listed(spec, rule, "RL")


def _module(place: str) -> object:
    if not place.endswith(".py"):
        sys.path.insert(0, str(Path.cwd()))
        return importlib.import_module(place)
    found = importlib.util.spec_from_file_location(Path(place).stem, place)
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module
