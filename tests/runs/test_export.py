"""Exports are read back by strict parsers."""

import json

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

import flatspot
from flatspot.core.errors import RunFolderError, SettingsError
from flatspot.engines.scripted import ScriptedEngine
from flatspot.rollouts.store import write_table
from flatspot.tasks import read_prompts


@pytest.fixture
def run(tmp_path):
    rows = [{"prompt": "2+2=", "reference": "4", "weight": float("nan"), "nested": {"x": [float("inf"), "\ud800"]}, "half": "a\udfff"}]
    return flatspot.diagnose(
        rows,
        ScriptedEngine({"2+2=": {"4": 0.5, "\ud800": 0.5}}),
        "exact_match",
        max_completions=8,
        fixed_completions=True,
        out=tmp_path / "run",
    ).folder


@pytest.mark.parametrize("completions", [False, True])
def test_jsonl_is_strict_json(run, completions):
    path = run.parent / "out.jsonl"
    n = flatspot.export(run, path, completions=completions)
    rows = [json.loads(line, parse_constant=pytest.fail) for line in path.read_text("utf-8").splitlines()]
    assert len(rows) == n == (8 if completions else 1)
    if not completions:
        assert rows[0]["weight"] is None
        assert rows[0]["nested"]["x"][0] is None


def test_csv_and_parquet_hold_what_utf_8_can(run):
    flatspot.export(run, run.parent / "out.csv")
    flatspot.export(run, run.parent / "out.parquet")
    for table in (pyarrow.csv.read_csv(run.parent / "out.csv"), pq.read_table(run.parent / "out.parquet")):
        row = table.to_pylist()[0]
        assert row["half"] == "a\\udfff"
        assert json.loads(row["nested"], parse_constant=pytest.fail)["x"][0] is None


def test_parquet_columns_of_several_types_become_text(tmp_path):
    values = ["a", ["b", 2], {"c": 1}, 10**30, None]
    rows = [{"prompt": f"p{i}", "odd": value, "plain": i} for i, value in enumerate(values)] + [{"prompt": "p", "late": "x"}]
    engine = ScriptedEngine({row["prompt"]: {"1": 1.0} for row in rows})
    run = flatspot.diagnose(rows, engine, "regex[pattern=1]", max_completions=2, out=tmp_path / "run").folder
    flatspot.export(run, tmp_path / "out.parquet")
    table = pq.read_table(tmp_path / "out.parquet")
    assert [text and json.loads(text) for text in table["odd"].to_pylist()] == [*values, None]
    assert table["plain"].to_pylist() == [0, 1, 2, 3, 4, None]
    assert table["late"].to_pylist() == [None] * 5 + ["x"]


def test_a_verdict_is_one_of_five(run, tmp_path):
    file = tmp_path / "out.jsonl"
    for completions in (False, True):
        with pytest.raises(SettingsError, match="no verdict 'vanish'; there are: learnable, vanishing, solved, undecided, unscored"):
            flatspot.export(run, file, verdicts=["learnable", "vanish"], completions=completions)
        assert not file.exists()
    for completions in (False, True):
        for verdict in ("learnable", "vanishing", "solved", "undecided", "unscored"):
            n = flatspot.export(run, file, verdicts=[verdict], completions=completions)
            assert flatspot.export(run, file, verdicts=verdict, completions=completions) == n


def test_nothing_is_made_in_a_folder_that_is_no_run(tmp_path):
    (tmp_path / "mine").mkdir()
    with pytest.raises(RunFolderError, match="is not a run folder"):
        flatspot.export(tmp_path / "mine", tmp_path / "out.jsonl")
    assert [path.name for path in tmp_path.rglob("*")] == ["mine"]


@pytest.mark.parametrize(
    "given", [{}, {"verdicts": ["learnable"]}, {"completions": True}, {"completions": True, "verdicts": ["learnable"]}]
)
def test_prompts_that_were_not_judged_are_said(run, given):
    verdicts = pq.read_table(run / "verdicts.parquet")
    write_table(verdicts.slice(0, 0), run / "verdicts.parquet")
    with pytest.raises(RunFolderError, match=r"1 of the 1 prompts have no verdict\. Run flatspot inspect"):
        flatspot.export(run, run.parent / "out.jsonl", **given)
    assert not (run.parent / "out.jsonl").exists()
    flatspot.inspect(run)
    assert flatspot.export(run, run.parent / "out.jsonl") == 1


VERL = [
    {
        "data_source": "openai/gsm8k",
        "prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": f"{i} + 1 ="}],
        "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": str(i + 1)},
        "extra_info": {"split": "train", "index": i, "tags": ["sum", "short"], "need_tools_kwargs": {"calc": {"create": i > 1}}},
    }
    for i in range(4)
]


def test_parquet_of_verl_is_what_it_was(tmp_path):
    """Item 30: the schema that verl reads, written by pyarrow, judged and exported, is equal to the source."""
    source = pa.Table.from_pylist(VERL)
    pq.write_table(source, tmp_path / "verl.parquet")
    engine = ScriptedEngine({row["prompt"][1]["content"]: {"1": 1.0} for row in VERL})
    run = flatspot.diagnose(tmp_path / "verl.parquet", engine, "regex[pattern=1]", max_completions=2, out=tmp_path / "run").folder
    notes = []
    flatspot.export(run, tmp_path / "out.parquet", say=notes.append)
    table = pq.read_table(tmp_path / "out.parquet").select(source.column_names)
    assert table.schema.types == source.schema.types
    assert table.to_pylist() == VERL and notes == []
    flatspot.export(run, tmp_path / "out.jsonl")
    written = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [{name: row[name] for name in VERL[0]} for row in written] == VERL


@pytest.mark.slow
def test_datasets_reads_the_parquet_of_verl(tmp_path):
    datasets = pytest.importorskip("datasets")
    test_parquet_of_verl_is_what_it_was(tmp_path)
    found = datasets.Dataset.from_parquet(str(tmp_path / "out.parquet"), cache_dir=str(tmp_path / "cache"))
    assert found.select_columns(list(VERL[0])).to_list() == VERL


def test_objects_with_different_keys_are_objects_and_this_is_said(tmp_path):
    rows = [{"prompt": f"p{i}", "info": {"a": 1} if i else {"b": [2]}, "none": {}, "odd": [1, "x"]} for i in range(3)]
    engine = ScriptedEngine({row["prompt"]: {"1": 1.0} for row in rows})
    run = flatspot.diagnose(rows, engine, "regex[pattern=1]", max_completions=2, out=tmp_path / "run").folder
    notes = []
    flatspot.export(run, tmp_path / "out.parquet", say=notes.append)
    table = pq.read_table(tmp_path / "out.parquet")
    assert table["info"].to_pylist() == [{"b": [2], "a": None}, {"b": None, "a": 1}, {"b": None, "a": 1}]
    assert table["none"].to_pylist() == ["{}"] * 3 and table["odd"].to_pylist() == ['[1, "x"]'] * 3
    assert [note.split("'")[1] for note in notes] == ["info", "none", "odd"]


def test_one_parquet_column_does_not_hold_texts_and_chats(tmp_path):
    rows = [{"prompt": "p"}, {"prompt": [{"role": "user", "content": "q"}]}]
    engine = ScriptedEngine({"p": {"1": 1.0}, "q": {"1": 1.0}})
    run = flatspot.diagnose(rows, engine, "regex[pattern=1]", max_completions=2, out=tmp_path / "run").folder
    with pytest.raises(SettingsError, match=r"End it in \.jsonl"):
        flatspot.export(run, tmp_path / "out.parquet")
    notes = []
    flatspot.export(run, tmp_path / "out.csv", say=notes.append)
    assert "CSV holds chat prompts as JSON text" in notes[0]


def test_what_was_judged_is_what_is_exported(tmp_path):
    """Item 40: the file's columns `prompt` and `id` are others than those named by --prompt-col and --id-col."""
    rows = [
        {"id": f"row{i}", "key": f"k{i}", "prompt": "an old text", "question": f"{i}+1=", "reference": str(i + 1), "level": "x"}
        for i in range(4)
    ]
    engine = ScriptedEngine({row["question"]: {row["reference"]: 1.0} for row in rows})
    run = flatspot.diagnose(
        rows, engine, "exact_match", prompt_col="question", id_col="key", max_completions=2, out=tmp_path / "run"
    ).folder
    for ending in ("jsonl", "parquet", "csv"):
        notes, file = [], tmp_path / f"out.{ending}"
        assert flatspot.export(run, file, say=notes.append) == 4
        assert notes == [
            f"the column {n!r} of the file is written as {n + '_original'!r}: {n!r} is what was judged" for n in ("id", "prompt")
        ]
        again = read_prompts(file)
        assert [(prompt.id, prompt.text, own_columns(prompt)) for prompt in again] == [
            (
                row["key"],
                row["question"],
                {"reference": row["reference"], "level": "x", "id_original": row["id"], "prompt_original": row["prompt"]},
            )
            for row in rows
        ]


def own_columns(prompt):
    return {name: value for name, value in prompt.columns.items() if not name.startswith("flatspot_")}


def test_an_export_that_is_judged_again_gives_the_reward_the_same_columns(tmp_path):
    rows = [{"prompt": row["prompt"], "id": f"k{i}", "info": row["extra_info"], "reference": ["a", "b"]} for i, row in enumerate(VERL)]
    engine = ScriptedEngine({row["prompt"][1]["content"]: {"1": 1.0} for row in rows})
    run = flatspot.diagnose(rows, engine, "regex[pattern=1]", max_completions=2, out=tmp_path / "run").folder
    for ending in ("jsonl", "parquet"):
        flatspot.export(run, tmp_path / f"out.{ending}")
        again = read_prompts(tmp_path / f"out.{ending}")
        assert [{"prompt": prompt.text, "id": prompt.id} | own_columns(prompt) for prompt in again] == rows


def test_completions_come_with_the_answer_of_their_prompt(tmp_path):
    rows = [
        {"prompt": "2+2=", "reference": "4", "solution": "2+2=4", "policy": "a clash", "level": 3, "reward_model": {"ground_truth": "4"}}
    ]
    engine = ScriptedEngine({"2+2=": {"4": 1.0}})
    run = flatspot.diagnose(rows, engine, "exact_match", max_completions=2, out=tmp_path / "run").folder
    for ending in ("jsonl", "parquet"):
        flatspot.export(run, tmp_path / f"out.{ending}", completions=True)
    written = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    for found in (written, pq.read_table(tmp_path / "out.parquet").to_pylist()):
        assert len(found) == 2
        for row in found:
            assert (row["reference"], row["solution"], row["reward_model"]) == ("4", "2+2=4", {"ground_truth": "4"})
            assert row["policy"] != "a clash" and "level" not in row and row["rewards"] == {"exact_match": 1.0}


@pytest.mark.parametrize("completions", [False, True])
def test_new_rows_are_not_paired_with_older_verdicts(tmp_path, completions, monkeypatch):
    rows, answers = [{"prompt": "q", "reference": "1"}], flatspot.ScriptedEngine({"q": {"1": 0.5, "0": 0.5}})
    settings = {"out": tmp_path / "run", "fixed_completions": True}
    early = flatspot.diagnose(rows, answers, "exact_match", max_completions=4, **settings)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("flatspot.flow.diagnose.judge_run", _killed)
        flatspot.diagnose(rows, answers, "exact_match", max_completions=8, **settings)
    for run in (early, tmp_path / "run"):
        with pytest.raises(RunFolderError, match=r"judged on 4 completions and holds 8 now.*flatspot inspect"):
            flatspot.export(run, tmp_path / "out.jsonl", completions=completions)
    assert not (tmp_path / "out.jsonl").exists()
    flatspot.inspect(tmp_path / "run")
    assert flatspot.export(tmp_path / "run", tmp_path / "out.jsonl", completions=completions) == (8 if completions else 1)


def _killed(*_, **__):
    raise KeyboardInterrupt


def test_rows_for_a_trainer_are_those_of_its_data_sets(tmp_path):
    rows = [{"prompt": f"{i} + 1 =", "answer": str(i + 1), "level": i, "weight": "heavy"} for i in range(4)]
    engine = ScriptedEngine({row["prompt"]: {str(i + 1): 0.25 * (i + 1), "no": 1 - 0.25 * (i + 1)} for i, row in enumerate(rows)})
    run = flatspot.diagnose(rows, engine, "regex[pattern=no]", max_completions=16, fixed_completions=True, out=tmp_path / "run")
    chance = dict(zip(run.verdicts["prompt_id"].to_pylist(), run.verdicts["p_mixed"].to_pylist(), strict=True))
    ids = [row["prompt_id"] for row in run.prompts.to_pylist()]
    for trainer in ("trl", "verl", "prime-rl"):
        for ending in ("jsonl", "parquet"):
            assert flatspot.export(run, tmp_path / f"{trainer}.{ending}", trainer=trainer) == 4
        lines = [json.loads(line) for line in (tmp_path / f"{trainer}.jsonl").read_text().splitlines()]
        assert pq.read_table(tmp_path / f"{trainer}.parquet").to_pylist() == lines
        assert [row["weight"] for row in lines] == [chance[name] for name in ids]
        assert [row["level"] for row in lines] == [0, 1, 2, 3] and lines[0]["weight_original"] == "heavy"
        said = [row["prompt"] for row in lines]
        texts = [row["prompt"] for row in rows]
        assert said == (texts if trainer == "trl" else [[{"role": "user", "content": text}] for text in texts])
    verl = [json.loads(line) for line in (tmp_path / "verl.jsonl").read_text().splitlines()]
    assert list(verl[0])[:5] == ["data_source", "prompt", "ability", "reward_model", "extra_info"]
    assert verl[2]["reward_model"] == {"style": "rule", "ground_truth": "3"} and verl[2]["extra_info"]["index"] == 2


def test_rows_of_verl_stay_what_they_are_and_an_answer_that_is_missing_is_named(tmp_path):
    engine = ScriptedEngine({row["prompt"][1]["content"]: {"1": 0.5, "2": 0.5} for row in VERL})
    run = flatspot.diagnose(VERL, engine, "regex[pattern=1]", max_completions=8, out=tmp_path / "run")
    flatspot.export(run, tmp_path / "verl.parquet", trainer="verl")
    table = pq.read_table(tmp_path / "verl.parquet")
    for name in ("data_source", "prompt", "ability", "reward_model"):
        assert table[name].to_pylist() == [row[name] for row in VERL]
    assert all(found.items() >= row["extra_info"].items() for found, row in zip(table["extra_info"].to_pylist(), VERL, strict=True))
    flatspot.export(run, tmp_path / "prime.jsonl", trainer="prime-rl")
    assert json.loads((tmp_path / "prime.jsonl").read_text().splitlines()[1])["answer"] == "2"
    bare = flatspot.diagnose(
        [{"prompt": "p"}], ScriptedEngine({"p": {"1": 1.0}}), "regex[pattern=1]", max_completions=2, out=tmp_path / "b"
    )
    with pytest.raises(SettingsError, match="verl needs the right answer of each prompt"):
        flatspot.export(bare, tmp_path / "x.parquet", trainer="verl")
    for options, said in (({"trainer": "axolotl"}, "no trainer 'axolotl'"), ({"trainer": "trl", "completions": True}, "draws its own")):
        with pytest.raises(SettingsError, match=said):
            flatspot.export(bare, tmp_path / "x.parquet", **options)
    with pytest.raises(SettingsError, match="CSV holds no chat messages"):
        flatspot.export(bare, tmp_path / "x.csv", trainer="trl")


def test_an_answer_that_is_no_text_reaches_prime_rl_as_json(tmp_path):
    engine = flatspot.ScriptedEngine({"a": {"x": 0.5, "y": 0.5}})
    run = flatspot.diagnose([{"prompt": "a", "answer": ["x", None]}], engine, "regex[pattern=x]", out=tmp_path / "run")
    flatspot.export(run, tmp_path / "prime.jsonl", trainer="prime-rl")
    assert json.loads(json.loads((tmp_path / "prime.jsonl").read_text())["answer"]) == ["x", None]
