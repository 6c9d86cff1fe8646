"""Run folders of the schema version before this one, read as if this one had written them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flatspot.core.plain import JsonObject
from flatspot.rollouts.files import read_json
from flatspot.rollouts.notes import read_notes


def from_version_1(folder: Path, record: Mapping[str, Any]) -> JsonObject:
    """run.json of version 1 as version 2 has it.

    Version 1 had the request in notes.json (`shown`, `declared_range`, `columns`, `grouped_by`), and under `asked` in run.json what was
    known before loading, beside a copy of most of the identity.
    """
    read_notes(folder)  # which names this file where it is damaged
    file = folder / "notes.json"
    notes = read_json(file) if file.exists() else {}
    request = dict(notes.get("shown") or {})
    for name, old in (("reward_range", "declared_range"), ("columns", "columns"), ("grouped_by", "grouped_by")):
        if notes.get(old):
            request[name] = notes[old]
    if record["kind"] == "inspect" and "logs" in record["identity"] and "rescored" not in request:
        request["logs"] = [str(log.get("file", "rows (in memory)")) for log in record["identity"]["logs"] if isinstance(log, dict)]
    before_loading = {name: record["asked"][name] for name in ("model", "engine") if name in record["asked"] and record["kind"] != "watch"}
    return {**record, "request": request, "before_loading": before_loading}
