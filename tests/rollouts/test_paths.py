"""A run folder may be called anything: no name is a pattern, a column or an address."""

import os
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import flatspot
from flatspot.core.errors import RunFolderError
from flatspot.engines.scripted import ScriptedEngine
from flatspot.recipe.stages import only_one
from flatspot.rollouts.tables import parquet_source, read_table
from flatspot.runs.by_step import reward_by_step
from flatspot.runs.table import completions_of, connect, read_run
from flatspot.training.folders import own_folder

ODD = [
    "run[1]",
    "run*",
    "x?y",
    "**",
    "reward=1",
    "error=0.03",
    "prompt_id=7",
    "s3:foo",
    "hf:foo",
    "reasoning-gym:x",
    "file:foo",
    "~",
    "it's",
]


def log(folder, reward):
    folder.mkdir(exist_ok=True)
    (folder / "log.csv").write_text("prompt,reward,step\n" + f"a,{reward},1\na,{reward},2\nb,{reward},1\n")
    return folder / "log.csv"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run folder of rewards 0.25, and one of rewards 1 that its name would find if it were a pattern."""
    folder = tmp_path_factory.mktemp("runs")
    return [flatspot.inspect(log(folder / str(reward), reward), out=folder / f"run-{reward}").folder for reward in (0.25, 1)]


@pytest.mark.parametrize("name", ODD)
def test_a_run_is_judged_by_its_own_rows(runs, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(runs[1], "run1")
    shutil.copytree(runs[1], "xzy")
    shutil.copytree(runs[0], tmp_path / name)
    run = Path(name)
    found = read_run(run)
    assert found.prompt_id.tolist() == read_table(runs[0] / "prompts.parquet")["prompt_id"].to_pylist()
    assert (found.evidence.mean.tolist(), found.n_rows.tolist(), found.errors) == ([0.25, 0.25], [2, 1], [])
    assert completions_of(run, found.prompt_id.tolist())["reward"].to_pylist() == [0.25] * 3
    assert reward_by_step(run, (0, 1)).mean.tolist() == [0.25, 0.25]
    assert flatspot.export(run, tmp_path / "x.csv", completions=True) == 3


@pytest.mark.parametrize("name", ["run[1]", "prompt_id=7", "s3:foo"])
def test_an_import_writes_where_it_is_told(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    found = flatspot.inspect(log(tmp_path / "mine", 0.25), out=name, reward_range=(0, 1))
    assert (found.summary["reward"]["mean"], found.summary["n_prompts"]) == (0.25, 2)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted(["mine", name])


def test_drawing_into_an_odd_name_goes_on_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def draw(samples):
        engine = ScriptedEngine({"a": {"1": 0.5, "0": 0.5}})
        return flatspot.diagnose(
            [{"prompt": "a", "reference": "1"}],
            engine,
            "exact_match",
            out="reward=1/run[1]",
            max_completions=samples,
            fixed_completions=True,
        )

    assert draw(2).summary["generations"]["total"] == 2
    grown = draw(6)
    assert grown.summary["generations"]["total"] == 6
    rows = [row for part in (grown.folder / "rollouts").iterdir() for row in read_table(part).to_pylist()]
    assert grown.summary["reward"]["mean"] == sum(row["reward"] for row in rows) / 6


@pytest.mark.parametrize("name", ["s3://bucket/run", "https://host/run", "hf://data/run", "file:///tmp/run"])
def test_an_address_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunFolderError, match="must be a folder of this machine"):
        flatspot.inspect(log(tmp_path / "mine", 0.25), out=name)
    with pytest.raises(RunFolderError, match="must be a folder of this machine"), only_one(Path(name)):
        pass
    with pytest.raises(RunFolderError, match="must be a folder of this machine"), own_folder(Path(name), "flatspot warmup", []):
        pass
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine"]


def test_every_character_that_a_pattern_could_have(tmp_path):
    names = ["a[1]", "a1", "[a-z]", "[!a]", "{a,b}", "a\\b", 'a"b', "a\nb", "é", "%41", " ", "$HOME"]
    with connect() as db:
        for i, name in enumerate(names):
            (tmp_path / name).mkdir()
            with (tmp_path / name / "t.parquet").open("wb") as file:
                pq.write_table(pa.table({"i": [i]}), file)
        for i, name in enumerate(names):
            assert db.execute(f"SELECT i FROM {parquet_source(db, [tmp_path / name / 't.parquet'])}").fetchall() == [(i,)]


@pytest.mark.skipif(os.name == "nt", reason="such names are not possible there")
@pytest.mark.parametrize("name", ["a[1]\\b", os.fsdecode(b"caf\xe9")])
def test_what_duckdb_cannot_be_given_is_said(tmp_path, name):
    run = flatspot.inspect(log(tmp_path / "mine", 0.25), out=tmp_path / "run").folder
    run.rename(tmp_path / name)
    with pytest.raises(RunFolderError, match="Rename the folder"):
        read_run(tmp_path / name)
