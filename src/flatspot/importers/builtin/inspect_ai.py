"""inspect_ai's logs: a zip of JSON (.eval), or one JSON document."""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from flatspot.core.errors import FileError
from flatspot.importers.arranged import ONE_POLICY, Arranged, Log
from flatspot.importers.as_formatted import EVALUATION
from flatspot.importers.builtin.format import Format, refusal
from flatspot.importers.builtin.nested import at, dict_of, json_cells, list_of, text_of_error
from flatspot.importers.sample import EVAL, Sample
from flatspot.readers.blocks import Block, Notice, note
from flatspot.readers.encodings import open_utf8, text_of
from flatspot.readers.files import JSON
from flatspot.readers.json_rows import blocks_of
from flatspot.rollouts.notes import Caveat

_TITLE = "inspect_ai"
_LETTERS = {"C": 1.0, "I": 0.0, "P": 0.5, "N": 0.0, "yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}
_ZSTANDARD = 93  # a zip's number of the method
_SCORE = "scores."
_LARGEST = 1 << 30  # bytes of one sample


def _told(sample: Sample) -> str | None:
    if sample.ending == EVAL:
        return "" if sample.inside & {"header.json", "_journal/start.json"} else None
    if sample.ending != JSON or not sample.has("version", "status", "eval"):
        return None
    version = at(sample.first, "eval", "packages", "inspect_ai")
    return str(version) if isinstance(version, str) else ""


def _blocks(path: Path, notices: list[Notice]) -> Iterator[Block]:
    head, samples = _open_archive(path) if path.suffix.lower() == EVAL else _open_document(path)
    yield from blocks_of(_rows(head, samples, notices))


def _open_document(path: Path) -> tuple[Any, Iterator[Any]]:
    with open_utf8(path) as stream:
        try:
            document = json.loads(text_of(stream.read()))
        except (ValueError, RecursionError) as error:
            raise FileError(f"{path}: not JSON that can be read: {str(error)[:100]}") from None
    return document, iter(list_of(at(document, "samples")))


def _open_archive(path: Path) -> tuple[Any, Iterator[Any]]:
    """The log's header, and its samples one by one. Raises `FileError` where it is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {info.filename: info for info in archive.infolist()}
    except (OSError, zipfile.BadZipFile) as error:
        raise FileError(f"{path}: cannot be read as a zip: {error}") from None
    head = next((entries[name] for name in ("header.json", "_journal/start.json") if name in entries), None)
    samples = [info for name, info in entries.items() if name.startswith("samples/") and name.endswith(".json")]
    return _member(path, head) if head else {}, (_member(path, info) for info in samples)


def _member(path: Path, info: zipfile.ZipInfo) -> Any:
    """The JSON of a member; of one packed with Zstandard, too, which Python's zipfile reads from 3.14 on only."""
    import pyarrow as pa

    if info.file_size > _LARGEST:
        raise FileError(f"{path}: {info.filename} is larger than {_LARGEST >> 20} MiB")
    try:
        if info.compress_type != _ZSTANDARD:
            with zipfile.ZipFile(path) as archive:
                return json.loads(archive.read(info.filename))
        with path.open("rb") as opened:
            opened.seek(info.header_offset)
            name, extra = struct.unpack("<26x2H", opened.read(30))
            opened.seek(info.header_offset + 30 + name + extra)
            packed = opened.read(info.compress_size)
        with pa.input_stream(pa.BufferReader(packed), compression="zstd") as stream:
            return json.loads(stream.read(_LARGEST))
    except (
        OSError,
        ValueError,
        RecursionError,
        EOFError,
        NotImplementedError,
        struct.error,
        zipfile.BadZipFile,
        pa.ArrowException,
    ) as error:
        raise FileError(f"{path}: {info.filename} cannot be read: {str(error)[:100]}") from None


def _rows(head: Any, samples: Iterator[Any], notices: list[Notice]) -> Iterator[tuple[int, dict[str, str]]]:
    task, model, status = at(head, "eval", "task"), at(head, "eval", "model"), at(head, "status")
    temperature = at(head, "plan", "config", "temperature")
    if temperature is None:
        temperature = at(head, "eval", "model_generate_config", "temperature")
    for number, sample in enumerate(samples, 1):
        if not isinstance(sample, dict):
            note(notices, number, "row", "not a sample")
            continue
        row = _sample(sample) | {
            "task": task if isinstance(task, str) else None,
            "model": model if isinstance(model, str) else None,
            "status": status if isinstance(status, str) else "started",
            "temperature": temperature if isinstance(temperature, int | float) else None,
            "split": EVALUATION,
        }
        yield number, json_cells(row)


def _sample(sample: Mapping[str, Any]) -> dict[str, Any]:
    scores = dict_of(sample.get("scores")) or ({"score": sample["score"]} if isinstance(sample.get("score"), dict) else {})
    values = dict(_values(scores))
    error = sample.get("error")
    failed = text_of_error(error) if error else None if any(value is not None for value in values.values()) else "the sample has no score"
    choice = at(sample.get("output"), "choices", 0)
    answer = at(choice, "message", "content")
    stopped = at(choice, "stop_reason")
    return {
        "id": str(sample["id"]) if isinstance(sample.get("id"), str | int) else None,
        "epoch": sample.get("epoch"),
        "uuid": sample.get("uuid") if isinstance(sample.get("uuid"), str) else None,
        "input": sample.get("input") if isinstance(sample.get("input"), str | list) else None,
        "completion": answer if isinstance(answer, str) else [at(choice, "message")] if at(choice, "message") else None,
        "target": sample.get("target"),
        "metadata": sample.get("metadata"),
        "error": failed,
        "truncated": stopped == "max_tokens" or bool(sample.get("limit")),
        **{_SCORE + name: value for name, value in values.items()},
    }


def _values(scores: Mapping[str, Any]) -> Iterator[tuple[str, float | None]]:
    """(scorer, value) of each score; of one with several values, each of them."""
    for name, score in scores.items():
        value = at(score, "value")
        if isinstance(value, dict):
            yield from ((f"{name}.{key}", _number(part)) for key, part in value.items())
        elif isinstance(value, list):
            yield from ((f"{name}.{i}", _number(part)) for i, part in enumerate(value))
        else:
            yield name, _number(value)


def _number(value: Any) -> float | None:
    if isinstance(value, str):
        return _LETTERS.get(value, _LETTERS.get(value.lower(), _parsed(value)))
    return float(value) if isinstance(value, int | float) and abs(value) < 1e300 else None


def _parsed(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) < 1e300 else None


def _arrange(log: Log, _: Sequence[str]) -> Arranged:
    scorers = [name for name in log.types if name.startswith(_SCORE)]
    if not scorers:
        raise refusal(log.files, _TITLE, "No sample has a score that is a number.", "Score the log: inspect score LOG --scorer SCORER.")
    caveats: list[Caveat] = []
    where = _each_sample_once(log, caveats)
    _refuse_copies(log, where or "true")
    if len(scorers) > 1:
        others = ", ".join(name.removeprefix(_SCORE) for name in scorers[1:])
        text = (
            f"The log has several scores and no total: {scorers[0].removeprefix(_SCORE)} is judged, not {others} "
            f"(--reward-col {scorers[1]})."
        )
        caveats.append(("several-scorers", text))
    if failed := log.one(f"SELECT count({log.text('error')}) FROM log WHERE {where or 'true'}")[0]:
        caveats.append(("errors-not-zeros", f"{failed:,} samples failed or have no score: they are errors here, not zeros."))
    statuses = log.db.execute(f"SELECT DISTINCT {log.text('status')} FROM log WHERE {log.text('status')} <> 'success'").fetchall()
    if statuses:
        caveats.append(f"The evaluation did not end ({', '.join(sorted(row[0] for row in statuses))}): samples are missing.")
    names = {"prompt": "input", "completion": "completion", "error": "error", "truncated": "truncated", "split": "split"}
    own = {ours: column for ours, column in names.items() if log.has(column)}
    return Arranged(
        names=own | {"reward": scorers[0]},
        group_by=tuple(name for name in ("task", "id") if log.has(name)),
        derived={"split": log.text("split")},
        policy=ONE_POLICY,  # logs of several models are refused
        dropped=("status", "temperature", "model", "epoch", "uuid"),
        where=where,
        caveats=caveats,
    )


def _each_sample_once(log: Log, caveats: list[Caveat]) -> str:
    """SQL that leaves out samples that an earlier log has, too: one that was retried holds those of the first attempt that did not fail."""
    own = log.text("uuid")
    scored = f"{log.text('error')} IS NULL"
    n = log.one(f"SELECT count({own}) - count(DISTINCT {own}) FROM log")[0]
    if not n:
        return ""
    first = f"first(_file ORDER BY {scored} DESC, _file, _row) AS f, first(_row ORDER BY {scored} DESC, _file, _row) AS r"
    log.db.execute(
        f"CREATE OR REPLACE TEMP TABLE first_samples AS SELECT {first}, {own} AS own FROM log WHERE {own} IS NOT NULL GROUP BY {own}"
    )
    caveats.append(
        ("repeated-rows", f"{n:,} samples stand in several logs, by their uuid, as where one was retried; each is counted once.")
    )
    return f"({own} IS NULL OR (_file, _row, {own}) IN (SELECT (f, r, own) FROM first_samples))"


def _refuse_copies(log: Log, where: str) -> None:
    """Refuse logs of several models, with one completion of each sample, or with copies of one."""
    models = log.one(f"SELECT count(DISTINCT {log.text('model')}) FROM log")[0]
    if models > 1:
        raise refusal(log.files, _TITLE, f"The logs are of {models} models.", "Name the logs of one.")
    group = ", ".join([log.text("task"), log.text("id")])
    each = f"SELECT count(*) AS n, count(DISTINCT {log.text('completion')}) AS texts FROM log WHERE {where} GROUP BY {group}"
    most, texts, hottest = log.one(f"SELECT max(n), max(texts), (SELECT max({log.number('temperature')}) FROM log) FROM ({each})")
    known = log.has("temperature")
    if most < 2:
        raise refusal(
            log.files, _TITLE, "It has one completion of each sample.", "Set --epochs 8 and a temperature above 0, or inspect several logs."
        )
    if known and hottest == 0 and texts < 2:
        raise refusal(
            log.files, _TITLE, "At temperature 0 the completions of a sample are copies.", "Set a temperature above 0: --temperature 1."
        )


INSPECT_AI = Format(
    name="inspect-ai",
    title=_TITLE,
    writers="inspect_ai, with `--epochs` above 1",
    files="`logs/2026-11-29T20-45-37_TASK_ID.eval`, or `.json`",
    hides={
        "several-scorers": "several scorers have no total: the first is judged",
        "errors-not-zeros": "a failed sample has no score",
        "evaluation-split": "an evaluation's samples",
    },
    told_by=_told,
    arrange=_arrange,
    blocks=_blocks,
)
