"""slime's debug dumps: pickles of torch, of which only plain values are loaded."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from flatspot.core.errors import FileError
from flatspot.importers.arranged import Arranged, Log
from flatspot.importers.as_formatted import EVALUATION
from flatspot.importers.builtin.batches import step_in_path
from flatspot.importers.builtin.format import Format
from flatspot.importers.builtin.nested import at, json_cells, list_of
from flatspot.importers.sample import PICKLE, Sample
from flatspot.readers.blocks import Block, Notice, note
from flatspot.readers.json_rows import blocks_of
from flatspot.rollouts.notes import Caveat

_LARGEST = 1 << 30  # bytes
_FAILED = ("aborted", "failed")


class _PlainValues(pickle.Unpickler):
    """Loads numbers, texts, lists and dicts, and names whatever else there is instead of importing it; tensors are None."""

    def find_class(self, module: str, name: str) -> Any:
        """Refuse every class and function: a call of one would run code."""
        if (module, name) == ("collections", "OrderedDict"):
            return dict
        if module.split(".")[0] == "torch":
            return lambda *_, **__: None
        raise pickle.UnpicklingError(f"it holds {module}.{name}, which is not loaded")

    def persistent_load(self, pid: Any) -> Any:
        """The storage of a tensor, which is not read."""
        return None


def _told(sample: Sample) -> str | None:
    return "" if sample.ending == PICKLE and {"rollout_id", "samples"} <= sample.inside else None


def load_plain(path: Path) -> Any:
    """What a torch file holds, of plain values. Raises `FileError` where it holds others, or is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            info = next((info for info in archive.infolist() if info.filename.endswith("data.pkl")), None)
            if info is None or info.file_size > _LARGEST:
                raise FileError(f"{path}: no pickle of torch's")
            return _PlainValues(io.BytesIO(archive.read(info))).load()
    except FileError:
        raise
    except Exception as error:  # a damaged pickle may raise anything, though it runs nothing
        raise FileError(f"{path}: cannot be loaded: {str(error)[:200] or type(error).__name__}") from None


def _blocks(path: Path, notices: list[Notice]) -> Iterator[Block]:
    dump = load_plain(path)
    is_eval = path.name.startswith("eval_")
    rollout = at(dump, "rollout_id")
    step = rollout if isinstance(rollout, int) else step_in_path(path.stem, "([0-9]+)")

    def rows() -> Iterator[tuple[int, dict[str, str]]]:
        for number, sample in enumerate(list_of(at(dump, "samples")), 1):
            if not isinstance(sample, dict):
                note(notices, number, "row", "not a sample")
                continue
            try:
                yield number, json_cells(_row(sample) | {"step": step, "split": EVALUATION if is_eval else "train"})
            except (TypeError, ValueError):
                note(notices, number, "row", "a value that is no text, number or list")

    yield from blocks_of(rows())


def _row(sample: Mapping[str, Any]) -> dict[str, Any]:
    status = str(sample.get("status", "")).rsplit(".", 1)[-1].lower()
    reward = sample.get("reward")
    row = {
        "prompt": sample.get("prompt") if isinstance(sample.get("prompt"), str | list) else None,
        "response": sample.get("response") if isinstance(sample.get("response"), str) else None,
        "label": sample.get("label") if isinstance(sample.get("label"), str | int | float | list | dict) else None,
        "group_index": sample.get("group_index") if isinstance(sample.get("group_index"), int) else None,
        "truncated": status == "truncated",
        "error": f"the rollout was {status}" if status in _FAILED else None,
        "reward": reward if isinstance(reward, int | float) else None,
    }
    if isinstance(reward, dict):
        row |= {f"reward.{key}": value for key, value in reward.items() if isinstance(value, int | float)}
    return row


def _arrange(log: Log, _: Sequence[str]) -> Arranged:
    caveats: list[Caveat] = []
    keys = log.numeric([name for name in log.types if name.startswith("reward.")])
    reward = (
        "reward"
        if log.numeric(["reward"] if log.has("reward") else [])
        else next((k for k in keys if k.endswith((".score", ".reward"))), "")
    )
    reward = reward or (keys[0] if keys else "reward")
    if keys:
        text = f"The reward is a dictionary: `{reward}` is judged of {', '.join(keys)} (--reward-col names another, as --reward-key did)."
        caveats.append(("several-scorers", text))
    if log.has("error") and (failed := log.one(f"SELECT count({log.text('error')}) FROM log")[0]):
        caveats.append(("errors-not-zeros", f"{failed:,} rollouts were aborted or failed: they are errors here."))
    names = {
        "prompt": "prompt",
        "completion": "response",
        "error": "error",
        "truncated": "truncated",
        "step": "step",
        "drawn_with": "group_index",
    }
    own = {ours: column for ours, column in names.items() if log.has(column)}
    derived = {"split": log.text("split")} | ({} if log.has(reward) else {reward: "NULL::VARCHAR"})
    return Arranged(names=own | {"split": "split", "reward": reward}, derived=derived, survivors="possible", caveats=caveats)


SLIME = Format(
    name="slime",
    title="slime",
    writers="slime with `--save-debug-rollout-data`",
    files="`0.pt`, `eval_0.pt`: one per rollout",
    hides={
        "survivors-only": "with a dynamic filter only kept groups are written, and nothing marks it",
        "several-policies": "each rollout has another policy",
        "evaluation-rows": "`eval_*.pt` stands beside the training",
        "errors-not-zeros": "aborted and failed rollouts",
    },
    told_by=_told,
    arrange=_arrange,
    blocks=_blocks,
    unsafe="It is a pickle, which may run code where it is loaded whole; flatspot loads plain values only.",
)
