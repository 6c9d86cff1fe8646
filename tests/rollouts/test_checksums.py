"""A flipped bit anywhere in a table of a run folder is found before a number is read."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import flatspot
from flatspot.core.errors import RunFolderError
from flatspot.engines.scripted import ScriptedEngine
from flatspot.rollouts.checksums import is_sound
from flatspot.rollouts.files import read_json, write_json, write_query, write_table
from flatspot.rollouts.tables import read_table
from flatspot.runs.table import connect, read_run

TABLE = pa.table({"reward": [0.0, 1.0] * 500, "text": [f"flatspot_sha256\x18@{'0' * 64}", "4"] * 500})


def draw(folder):
    engine = ScriptedEngine({"half": {"1": 0.5, "0": 0.5}, "never": {"0": 1.0}})
    return flatspot.diagnose(
        [{"prompt": p, "reference": "1"} for p in ("half", "never")], engine, "exact_match", out=folder, max_completions=8
    )


def flipped(data, bit):
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def written(path, how):
    if how == "arrow":
        write_table(TABLE, path)
    else:
        with connect() as db:
            db.register("t", TABLE)
            write_query(db, "SELECT * FROM t", path)
    return path


@pytest.mark.parametrize("how", ["arrow", "duckdb"])
def test_300_flips_of_which_each_is_found(tmp_path, how):
    data = written(tmp_path / "t.parquet", how).read_bytes()
    assert is_sound(tmp_path / "t.parquet")
    assert pq.read_table(tmp_path / "t.parquet").equals(TABLE)  # what others read it with
    for bit in np.random.default_rng(0).choice(len(data) * 8, 300, replace=False).tolist():
        (tmp_path / "x.parquet").write_bytes(flipped(data, bit))
        assert not is_sound(tmp_path / "x.parquet"), bit


def test_a_table_without_a_checksum_is_read_and_an_empty_file_is_left_to_the_reader(tmp_path):
    sink = io.BytesIO()
    pq.write_table(TABLE.select(["reward"]), sink)
    (tmp_path / "t.parquet").write_bytes(sink.getvalue())
    assert read_table(tmp_path / "t.parquet").equals(TABLE.select(["reward"]))
    (tmp_path / "t.parquet").write_bytes(b"")
    with pytest.raises(RunFolderError, match="cannot be read"):
        read_table(tmp_path / "t.parquet")


@pytest.mark.parametrize("name", ["rollouts/part-000-000000.parquet", "prompts.parquet", "rounds/round-000.parquet"])
def test_a_flipped_bit_of_a_run_is_named_and_drawn_again_bit_for_bit(tmp_path, name):
    run = draw(tmp_path / "run").folder
    good = (run / name).read_bytes()
    verbs = [lambda: draw(run)] + ([] if "rounds" in name else [lambda: flatspot.inspect(run), lambda: read_run(run)])
    verbs += [lambda: flatspot.export(run, tmp_path / "x.csv", completions=True)] if "part" in name else []
    for bit in range(1, len(good) * 8, 3 * len(good)):
        (run / name).write_bytes(flipped(good, bit))
        for verb in verbs:
            with pytest.raises(RunFolderError, match=r"(?s)\.parquet cannot be read.*Delete that file.*run the same flatspot diagnose"):
                verb()
    (run / name).unlink()
    draw(run)
    assert (run / name).read_bytes() == good


def test_a_flipped_bit_of_what_decides_numbers_is_found(tmp_path):
    value = {"declared_range": [0.0, 1.0], "shown": {"reward": ["é", "\ud800"]}, "rows_per_part": 32}
    write_json(value, tmp_path / "notes.json")
    data = (tmp_path / "notes.json").read_bytes()
    assert read_json(tmp_path / "notes.json") == value
    seen = 0
    for bit in range(len(data) * 8):
        (tmp_path / "notes.json").write_bytes(flipped(data, bit))
        try:
            found = read_json(tmp_path / "notes.json")
        except ValueError:
            seen += 1
            continue
        assert {name: found.get(name) for name in value} == value, bit  # it was in white space, or in the name of the checksum
    assert seen > 0.95 * 8 * len(data)
    write_json(value | {"sha256": "stale"}, tmp_path / "notes.json")  # as whoever adds to what was read without `read_json`
    assert read_json(tmp_path / "notes.json") == value
