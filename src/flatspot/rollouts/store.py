"""A run folder: the request (run.json), the prompts, and the rows sampled so far, in parts that are whole or absent.

    run.json            the request, the identity (everything a row depends on), provenance
    prompts.parquet     the prompts, in order
    rounds/             one Parquet file per round: which completions of which prompts; there before any of them is drawn
    rollouts/           one Parquet file per part of a round, or for several that were joined; each appears by one rename, after its bytes
                        are on disk
    notes.json          what sampling left to report, and how many rounds there were when it ended
    model.json          of a model that an engine knows by name alone: what tells it from another one

A killed run leaves whole parts and at most one temporary file, which the next start removes.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flatspot.core.content import content_text
from flatspot.core.errors import RunFolderError
from flatspot.core.plain import Json, JsonObject
from flatspot.core.provenance import provenance
from flatspot.core.recording import is_recording
from flatspot.core.records import Prompt, PromptText, Rollout
from flatspot.core.request import Request
from flatspot.core.schema import ROLLOUTS, ROUNDS, SCHEMA_VERSION, arrow_schema
from flatspot.rollouts.compaction import join_parts
from flatspot.rollouts.files import read_json, update_json
from flatspot.rollouts.files import write_json as write_json
from flatspot.rollouts.files import write_table as write_table
from flatspot.rollouts.files import write_whole as write_whole
from flatspot.rollouts.locks import Lock, lock_folder
from flatspot.rollouts.migration import from_version_1
from flatspot.rollouts.ownership import refuse_addresses, refuse_files, refuse_strangers, remove_leftovers
from flatspot.rollouts.parts import most_completions, part_file, parts_of, read_rewards, read_rounds, read_seen, round_file
from flatspot.rollouts.rounds import Floats, Round, Seen
from flatspot.rollouts.settings_diff import differences

if TYPE_CHECKING:
    import pyarrow as pa

# nats by which a token's log-probability, as an engine tells it, may differ from what it samples by: another composition of the batch
# rounds differently. Twice what `engines.verify` names as the gap between two orders of additions
_LOGPROB_ERROR = {"float32": 2e-4, "float16": 0.01, "bfloat16": 0.1}


@dataclass(frozen=True, slots=True)
class RunRecord:
    """run.json.

    kind              "diagnose", "inspect" or "watch"
    request           what the last caller asked for
    identity          what the rows depend on; rows drawn under another identity are never mixed in
    before_loading    the policy and the engine as they are named before they are loaded; empty for logs and watched trainings
    rows_per_part     how many completions make one part of a round; fixed at the start, so that a resumed run draws the same batches
    visit_cost        what reading a prompt costs the engine, in completions: rounds are decided by it
    provenance        versions, machine, time
    """

    kind: str
    request: Request
    identity: Mapping[str, Any]
    before_loading: Mapping[str, object]
    rows_per_part: int
    visit_cost: float
    provenance: Mapping[str, object]

    @property
    def key(self) -> JsonObject:
        """What decides the rows, as far as it is known before anything is loaded: an equal call of a complete run need load nothing."""
        return {name: value for name, value in self.identity.items() if name != "engine"} | dict(self.before_loading)

    @property
    def chat_template_kwargs(self) -> Mapping[str, Json]:
        """Values that the policy's chat template got, for every prompt."""
        values = self.identity.get("engine", {}).get("chat_template_kwargs")
        return values if isinstance(values, dict) else {}

    @property
    def logprob_error(self) -> float:
        """How far off the log-probability of a token may be, in nats, by the arithmetic of the engine; 0 of a scripted one."""
        engine = self.identity.get("engine", {})
        return 0.0 if engine.get("engine") == "scripted" else _LOGPROB_ERROR.get(str(engine.get("dtype")), max(_LOGPROB_ERROR.values()))


@dataclass(frozen=True)
class RunFolder:
    """An open run folder, locked against a second writer until closed."""

    path: Path
    record: RunRecord
    lock: Lock

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *exc: object) -> None:
        self.lock.close()

    def parts_done(self) -> set[tuple[int, int]]:
        """(round, part) of every part that is on disk."""
        return parts_of(self.path)

    def rounds(self) -> list[Round]:
        """The rounds that were decided on."""
        return read_rounds(self.path)

    def n_rounds(self) -> int:
        """How many rounds were decided on."""
        return next(i for i in itertools.count() if not round_file(self.path, i).exists())

    def write_round(self, round_idx: int, this: Round) -> None:
        """Write down what a round draws, before it does."""
        import pyarrow as pa

        m, file = len(this.prompts), round_file(self.path, round_idx)
        columns = {"prompt": this.prompts, "first": this.first, "samples": np.full(m, this.n_completions), "fixed": np.full(m, this.fixed)}
        file.parent.mkdir(exist_ok=True)
        write_table(pa.table(columns, schema=arrow_schema(ROUNDS)), file)

    def write_part(self, round_idx: int, part_idx: int, rows: Sequence[Rollout]) -> None:
        """Write one part whole, or nothing."""
        write_table(rollout_table(rows), part_file(self.path, round_idx, part_idx))

    def rewards(self, round_idx: int, this: Round) -> Floats:
        """[m, k] rewards of a round that is on disk."""
        return read_rewards(self.path, round_idx, this)

    def seen(self, round_idx: int, this: Round) -> Seen | None:
        """Which completions a round that is on disk drew."""
        return read_seen(self.path, round_idx, this, self.record.logprob_error)

    def join_parts(self, round_idx: int, *, closed: bool) -> None:
        """Put small parts of a round into larger files."""
        join_parts(self.path, round_idx, closed=closed)


def open_run(
    path: Path,
    *,
    kind: str,
    request: Request,
    identity: Mapping[str, Any],
    before_loading: Mapping[str, object] | None = None,
    rows_per_part: int = 1,
    visit_cost: float = 0.0,
    max_completions: int | None = None,
) -> RunFolder:
    """Start a run folder, or resume the one that is there if it was drawn under the same identity; its request is then this one.

    The rows already drawn are kept; a folder without any may be asked otherwise than before. Raises `RunFolderError` where another process
    is writing to it, where the identity differs (naming each setting that does), where it plans more than `max_completions` of a prompt,
    or where it is not a run folder.
    """
    path = Path(path)
    refuse_addresses(path)
    refuse_strangers(path)
    if (path / "run.json").exists():
        read_record(path)  # another tool's run.json is refused, too, before anything is made beside it
    try:
        (path / "rollouts").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFolderError(f"cannot make the run folder {path}: {error.strerror or error}. Give another --out.") from error
    lock = lock_folder(path)
    identity, before_loading = as_json(identity), as_json(before_loading or {})
    try:
        old = read_record(path) if (path / "run.json").exists() else None
        judged = (path / "verdicts.parquet").exists()  # where its rows are gone, no other run's take the place of these
        if old is None or (not judged and (old.kind, old.identity) != (kind, identity) and not parts_of(path)):
            # of a run that failed before its first row
            for file in (path / "prompts.parquet", path / "notes.json", path / "model.json", *path.glob("rounds/round-[0-9]*.parquet")):
                file.unlink(missing_ok=True)
            record = RunRecord(kind, request, identity, before_loading, rows_per_part, visit_cost, provenance())
            write_record(path, record)
        else:
            _check_same(old, path, kind, identity, max_completions)
            record = write_request(path, old, request)
        remove_leftovers(path)
    except BaseException:
        lock.close()
        raise
    return RunFolder(path, record, lock)


def write_record(path: Path, record: RunRecord) -> None:
    """Write run.json, whole or not at all, where it differs: that of an older version always does."""
    values = {f.name: getattr(record, f.name) for f in fields(record)}
    update_json(values | {"request": record.request.to_json(), "schema_version": SCHEMA_VERSION}, path / "run.json")


def write_request(path: Path, record: RunRecord, request: Request) -> RunRecord:
    """The record with another request, written where the folder can be written."""
    new = replace(record, request=request)
    write_record(path, new)
    return new


def read_record(path: Path) -> RunRecord:
    """run.json of a run folder, of this schema version or of the one before."""
    refuse_files(path)
    try:
        stored = read_json(path / "run.json")
        _check_version(path / "run.json", stored)
        if int(stored["rows_per_part"]) < 1:
            raise ValueError("rows_per_part must be 1 or more")
        if stored["kind"] not in ("diagnose", "inspect", "watch"):
            raise ValueError(f"kind is {stored['kind']!r:.80}")
        if not 0 <= float(stored["visit_cost"]) < math.inf:
            raise ValueError(f"visit_cost is {stored['visit_cost']!r:.80}")
        if stored["schema_version"] < SCHEMA_VERSION:
            stored = from_version_1(path, stored)
        if wrong := [name for name in ("request", "identity", "before_loading", "provenance") if not isinstance(stored[name], dict)]:
            raise ValueError(f"{wrong[0]} is not an object")
        if wrong := [name for name in ("engine", "sampling") if not isinstance(stored["identity"].get(name, {}), dict)]:
            raise ValueError(f"identity.{wrong[0]} is not an object")
        return RunRecord(
            stored["kind"],
            Request.from_json(stored["request"]),
            stored["identity"],
            stored["before_loading"],
            int(stored["rows_per_part"]),
            float(stored["visit_cost"]),
            stored["provenance"],
        )
    except FileNotFoundError:
        if is_recording(path):
            raise RunFolderError(f"{path} is a recording that has not been judged. Judge what is there: flatspot inspect {path}") from None
        raise RunFolderError(f"{path} is not a run folder (it has no run.json). Start one: flatspot diagnose ... --out {path}") from None
    except (OSError, KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        why = f"it has no {error}" if isinstance(error, KeyError) else error
        raise RunFolderError(f"{path / 'run.json'} is damaged ({why}). Start anew with another --out.") from None


def _check_version(file: Path, stored: object) -> None:
    """Raise `RunFolderError` for a run.json of another program or of another schema, ValueError for one that is damaged."""
    if not isinstance(stored, dict):
        raise ValueError("it is not an object")
    if stored and not stored.keys() & {"schema_version", "identity"}:
        raise RunFolderError(f"{file.parent} is not a run folder: its run.json is not flatspot's. Give another folder.")
    version = stored["schema_version"]
    if version in (SCHEMA_VERSION, SCHEMA_VERSION - 1):
        return
    way = "Use the flatspot that wrote it (its version is under provenance), or start anew with another --out."
    if isinstance(version, int) and version > SCHEMA_VERSION:
        way = "A newer flatspot wrote it. Upgrade: pip install --upgrade flatspot. Or start anew with another --out."
    raise RunFolderError(f"{file} has schema version {version!r}; this flatspot reads {SCHEMA_VERSION - 1} and {SCHEMA_VERSION}. {way}")


def _all_of(changed: Sequence[str], what: str) -> bool:
    return all(line.startswith(what) for line in changed)


def _check_same(record: RunRecord, path: Path, kind: str, identity: Mapping[str, object], max_completions: int | None) -> None:
    if record.kind != kind:
        raise RunFolderError(f"{path} is a run of flatspot {record.kind}, not of flatspot {kind}. Give another --out.")
    if changed := differences(record.identity, identity):
        # the completions stay what they are under another reward
        again = f" Or score its completions by this reward: flatspot rescore {path} --reward …" if _all_of(changed, "reward.") else ""
        raise RunFolderError(
            f"{path} holds rows drawn under other settings, which would not mix:\n  " + "\n  ".join(changed) + "\n"
            f"Give another --out, or the same settings as before.{again}"
        )
    planned = most_completions(read_rounds(path))
    if max_completions is not None and max_completions < planned:
        raise RunFolderError(
            f"{path} already plans {planned} completions of a prompt; --max-completions {max_completions} is fewer. Give another --out, "
            f"or {planned}."
        )


def as_json(value: Mapping[str, object]) -> dict[str, object]:
    """A mapping as run.json would give it back, for comparing with one that it did."""
    plain_value: dict[str, object] = json.loads(json.dumps(value, sort_keys=True))
    return plain_value


def rollout_table(rows: Iterable[Rollout]) -> pa.Table:
    """Rows as an Arrow table with the declared columns."""
    import pyarrow as pa

    columns: dict[str, list[Any]] = {c.name: [] for c in ROLLOUTS}
    for row in rows:
        for name, values in columns.items():
            values.append(getattr(row, name))
    columns["prompt"] = [prompt_text(text) for text in columns["prompt"]]
    for name in ("completion", "error"):
        columns[name] = [None if text is None else storable(text) for text in columns[name]]
    columns["rewards"] = [list(rewards.items()) for rewards in columns["rewards"]]
    return pa.table(columns, schema=arrow_schema(ROLLOUTS))


def stored_prompt(row: Mapping[str, Any]) -> Prompt:
    """The prompt of a row of prompts.parquet, with its columns as JSON kept them: a date is text by now."""
    return Prompt(row["prompt_id"], json.loads(row["prompt"]) if row["is_chat"] else row["prompt"], json.loads(row["columns"]))


def prompt_text(text: PromptText) -> str:
    """A prompt as stored: its text, or its messages as a JSON list."""
    return storable(text if isinstance(text, str) else content_text([dict(m) for m in text])[0])


def storable(text: str) -> str:
    """Text that UTF-8 can hold: lone surrogates become escapes, all else stays.

    >>> storable("a\\ud800b")
    'a\\\\ud800b'
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
