"""Every shape of log against the same rows reduced in plain Python."""

import csv
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flatspot.core.errors import ImportFormatError
from flatspot.core.records import prompt_id
from flatspot.importers.generic import LogColumns, import_generic
from flatspot.importers.search import find_logs
from flatspot.runs.table import connect, read_run

ROWS = [("2+2=", 1.0), ("3+3=", 0.0), ("2+2=", 0.0), ("3+3=", 0.0), ("2+2=", 1.0), ("hé ✓ \n two lines", 0.5)]


def imported(tmp_path, *paths, **given):
    run = tmp_path / "run"
    (run / "rollouts").mkdir(parents=True)
    with connect(run) as db:
        found = import_generic(
            db, find_logs(paths), LogColumns(given), run / "rollouts" / "part-000-000000.parquet", run / "prompts.parquet"
        )
    return found, read_run(run), run


def write(path, rows):
    """Rows (dicts) in the format of the path's ending."""
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    return path


def check(table):
    assert table.prompt_id.tolist() == [prompt_id(p) for p in ("2+2=", "3+3=", "hé ✓ \n two lines")]
    assert table.n_rows.tolist() == [3, 2, 1]
    np.testing.assert_allclose(table.evidence.mean, [2 / 3, 0, 0.5])
    np.testing.assert_allclose(table.evidence.std, [np.std([1, 0, 1], ddof=1), 0, np.nan])


@pytest.mark.parametrize("ending", [".jsonl", ".json", ".csv", ".tsv", ".parquet"])
def test_long_logs(tmp_path, ending):
    path = write(tmp_path / f"log{ending}", [{"prompt": p, "reward": r} for p, r in ROWS])
    _, table, run = imported(tmp_path, path)
    check(table)
    assert pq.read_table(run / "rollouts")["reward"].to_pylist() == [r for _, r in ROWS]


@pytest.mark.parametrize("ending", [".jsonl", ".json", ".csv", ".parquet"])
def test_wide_logs(tmp_path, ending):
    wide = {p: [r for q, r in ROWS if q == p] for p, _ in ROWS}
    as_text = ending == ".csv"
    path = write(tmp_path / f"log{ending}", [{"prompt": p, "rewards": json.dumps(r) if as_text else r} for p, r in wide.items()])
    _, table, run = imported(tmp_path, path)
    check(table)
    assert pq.read_table(run / "rollouts")["sample_idx"].to_pylist() == [0, 1, 2, 0, 1, 0]


def test_wide_completions_go_with_their_rewards(tmp_path):
    path = write(tmp_path / "log.jsonl", [{"prompt": "p", "rewards": [0, 1, 1], "completions": ["a", "b", "b"]}])
    _, table, run = imported(tmp_path, path)
    assert pq.read_table(run / "rollouts")["completion"].to_pylist() == ["a", "b", "b"]
    assert table.distinct_share.tolist() == [pytest.approx(2 / 3)]


def test_bad_rewards_are_rows_with_an_error_never_zeros(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text(
        '{"prompt": "a", "reward": "1"}\n{"prompt": "a", "reward": "abc"}\n{"prompt": "a", "reward": null}\n'
        '{"prompt": "a", "reward": "nan"}\n{"prompt": "a", "reward": "inf"}\n{"prompt": null, "reward": "1"}\n'
        '{"prompt": "a", "reward": "True"}\n'
    )
    _, table, run = imported(tmp_path, path)
    rows = pq.read_table(run / "rollouts")
    assert rows["reward"].to_pylist() == [1.0, None, None, None, None, None, 1.0]
    errors = rows["error"].to_pylist()
    assert "not a number: abc" in errors[1]
    assert errors[2] == "the log has no reward here"
    assert errors[3] == "the reward is nan"
    assert errors[4] == "the reward is inf"
    assert "neither a prompt nor an id" in errors[5]
    assert table.prompt_id.tolist() == [prompt_id("a"), "(no prompt)"]
    assert table.evidence.n.tolist() == [2, 0]
    assert sum(n for _, n in table.errors) == 5


def test_a_reward_too_large_to_square_and_sum_is_an_error(tmp_path):
    path = write(tmp_path / "log.csv", [{"prompt": "a", "reward": r} for r in (1e308, -1e308, 0.5)])
    _, table, run = imported(tmp_path, path)
    rows = pq.read_table(run / "rollouts")
    assert rows["reward"].to_pylist() == [None, None, 0.5]
    assert rows["error"].to_pylist() == [f"the reward is {x}, larger than a reward can be (1e+50)" for x in ("1e+308", "-1e+308")] + [None]
    assert table.evidence.mean.tolist() == [0.5]


def test_an_empty_list_of_rewards_keeps_its_prompt(tmp_path):
    path = write(tmp_path / "log.jsonl", [{"prompt": "a", "rewards": [1.0]}, {"prompt": "b", "rewards": []}])
    _, table, _ = imported(tmp_path, path)
    assert table.n_rows.tolist() == [1, 1]
    assert table.evidence.n.tolist() == [1, 0]


def test_broken_lines_are_counted_and_the_rest_is_read(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"prompt": "a", "reward": 1}\n{"prompt": "a", "rew\n[1]\n\n{"prompt": "a", "reward": 0}\n{"prompt": "a", "rew')
    found, table, _ = imported(tmp_path, path)
    assert table.n_rows.tolist() == [2]
    assert any("3 rows of log.jsonl were left out: line 2" in c for c in found.caveats if isinstance(c, str))


def test_a_file_without_one_json_object(tmp_path):
    (tmp_path / "log.jsonl").write_text("hello\nworld\n")
    with pytest.raises(ImportFormatError, match="not one line"):
        imported(tmp_path, tmp_path / "log.jsonl")


def test_chat_prompts_have_the_id_that_diagnose_gives_them(tmp_path):
    chat = [{"role": "user", "content": "2+2=?"}]
    _, table, run = imported(tmp_path, write(tmp_path / "log.jsonl", [{"prompt": chat, "reward": 1.0}]))
    assert table.prompt_id.tolist() == [prompt_id(chat)]
    prompts = pq.read_table(run / "prompts.parquet").to_pylist()
    assert prompts[0]["is_chat"]
    assert json.loads(prompts[0]["prompt"]) == chat


def test_columns_can_be_named_and_ids_used(tmp_path):
    path = write(tmp_path / "log.csv", [{"q": "x", "key": 7, "pts": 1}, {"q": "x", "key": 8, "pts": 0}])
    _, table, _ = imported(tmp_path, path, prompt="q", reward="pts", prompt_id="key")
    assert table.prompt_id.tolist() == ["7", "8"]


@pytest.mark.parametrize(
    ("rows", "given", "message"),
    [
        ([{"prompt": "a", "x": 1}], {}, "--reward-col"),
        ([{"reward": 1}], {}, "--prompt-col"),
        ([{"prompt": "a", "reward": 1}], {"reward": "pts"}, "no column 'pts'"),
    ],
)
def test_missing_columns_name_the_option(tmp_path, rows, given, message):
    with pytest.raises(ImportFormatError, match=message):
        imported(tmp_path, write(tmp_path / "log.jsonl", rows), **given)


def test_files_that_cannot_be_logs(tmp_path):
    with pytest.raises(ImportFormatError, match="no such file"):
        find_logs([tmp_path / "absent.csv"])
    (tmp_path / "x.pkl").write_bytes(b"")
    with pytest.raises(ImportFormatError, match=r"\.pkl"):
        find_logs([tmp_path / "x.pkl"])
    with pytest.raises(ImportFormatError, match="no log in this folder"):
        find_logs([tmp_path])
    write(tmp_path / "a.csv", [{"prompt": "a", "reward": 1}])
    write(tmp_path / "b.jsonl", [{"prompt": "a", "reward": 1}])
    with pytest.raises(ImportFormatError, match="2 formats"):
        find_logs([tmp_path])
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(ImportFormatError, match="cannot be read as Parquet"):
        imported(tmp_path, tmp_path / "broken.parquet")


def test_a_folder_of_files_is_one_log(tmp_path):
    logs = tmp_path / "logs"
    logs.mkdir()
    write(logs / "1.jsonl", [{"prompt": "a", "reward": 1}])
    write(logs / "2.jsonl", [{"prompt": "a", "reward": 0}, {"prompt": "b", "reward": 0}])
    assert imported(tmp_path, logs)[1].n_rows.tolist() == [2, 1]


def test_quotes_in_paths_and_columns_are_data(tmp_path):
    path = write(tmp_path / "it's.csv", [{'a "quoted" prompt': "x'); DROP TABLE rows; --", "reward": 1}])
    _, table, _ = imported(tmp_path, path, prompt='a "quoted" prompt')
    assert table.n_rows.tolist() == [1]


def test_random_logs_agree_with_python(tmp_path):
    rng = np.random.default_rng(5)
    rows = [{"prompt_id": f"p{rng.integers(40)}", "reward": float(rng.normal())} for _ in range(3000)]
    _, table, _ = imported(tmp_path, write(tmp_path / "log.parquet", rows))
    order = list(dict.fromkeys(row["prompt_id"] for row in rows))
    assert table.prompt_id.tolist() == order
    for i, name in enumerate(order):
        own = [row["reward"] for row in rows if row["prompt_id"] == name]
        assert table.evidence.mean[i] == pytest.approx(np.mean(own))
        assert table.evidence.std[i] == pytest.approx(np.std(own, ddof=1))


@pytest.mark.parametrize("nothing", ["", "false", "None", " 0 ", False, None])
def test_an_error_column_that_says_nothing_costs_no_reward(tmp_path, nothing):
    path = write(
        tmp_path / "log.jsonl", [{"prompt": "a", "reward": 1.0, "error": nothing}, {"prompt": "a", "reward": 0.0, "error": "boom"}]
    )
    _, table, _ = imported(tmp_path, path)
    assert table.evidence.n.tolist() == [1]
    assert table.errors == [("boom", 1)]


def test_a_row_without_an_id_is_known_by_its_prompt(tmp_path):
    path = write(
        tmp_path / "log.jsonl", [{"prompt_id": "x", "prompt": "a", "reward": 1.0}, {"prompt_id": None, "prompt": "b", "reward": 0.0}]
    )
    _, table, _ = imported(tmp_path, path)
    assert table.prompt_id.tolist() == ["x", prompt_id("b")]
    assert table.evidence.n.tolist() == [1, 1]


def test_results_of_ours_beside_the_logs_are_not_logs(tmp_path):
    logs = tmp_path / "logs"
    (logs / "run").mkdir(parents=True)
    write(logs / "1.jsonl", [{"prompt": "a", "reward": 1}])
    (logs / "run" / "run.json").write_text("{}")
    write(logs / "run" / "verdicts.parquet", [{"prompt_id": "a"}])
    assert find_logs([logs]) == [logs / "1.jsonl"]


def test_steps_splits_and_survivors_are_told(tmp_path):
    rows = [{"prompt": "a", "reward": 1.0, "step": s, "split": p, "kept": True} for s, p in ((1, "train"), (2, "eval"))]
    found = imported(tmp_path, write(tmp_path / "log.jsonl", rows))[0]
    caveats = " ".join(caveat if isinstance(caveat, str) else caveat[1] for caveat in found.caveats)
    assert {caveat[0] for caveat in found.caveats if isinstance(caveat, tuple)} == {"several-policies", "evaluation-rows", "survivors-only"}
    assert "2 training steps" in caveats
    assert "2 splits" in caveats
    assert "kept" in caveats


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("log.csv", "prompt,reward\n"),
        ("log.csv", ""),
        ("log.tsv", "prompt\treward\n"),
        ("log.jsonl", ""),
        ("log.jsonl", "\n\n"),
        ("log.json", "[]"),
    ],
)
def test_a_log_without_rows_says_so(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(ImportFormatError, match=f"{name}: there are no rows"):
        imported(tmp_path, tmp_path / name)


def test_an_empty_parquet_log_says_so(tmp_path):
    pq.write_table(pa.table({"prompt": pa.array([], pa.string()), "reward": pa.array([], pa.float64())}), tmp_path / "log.parquet")
    with pytest.raises(ImportFormatError, match="there are no rows"):
        imported(tmp_path, tmp_path / "log.parquet")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("log.csv", "prompt,reward,reward\na,1,0\n", "the column 'reward' is there twice"),
        ("log.csv", "prompt;Reward;reward\na;1;0\n", "'Reward' and 'reward' differ in case alone"),
        ("log.tsv", 'prompt\t"re, ward"\t"re, ward"\na\t1\t0\n', "the column 're, ward' is there twice"),
        (
            "log.jsonl",
            '{"prompt": "a", "reward": 1}\n{"prompt": "a", "reward": 1, "reward": 0}\n',
            "log.jsonl:2: the key .reward. is there twice",
        ),
        ("log.jsonl", '[1]\n{"prompt": "a", "reward": 1, "reward": 0}\n', "log.jsonl:2: the key 'reward' is there twice"),
    ],
)
def test_a_column_that_is_there_twice_is_named(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ImportFormatError, match=message):
        imported(tmp_path, tmp_path / name)


def test_a_parquet_column_that_is_there_twice_is_named(tmp_path):
    twice = pa.Table.from_arrays([pa.array(["a"]), pa.array([1.0]), pa.array([0.0])], names=["prompt", "reward", "reward"])
    pq.write_table(twice, tmp_path / "log.parquet")
    with pytest.raises(ImportFormatError, match="the column 'reward' is there twice"):
        imported(tmp_path, tmp_path / "log.parquet")


def test_a_line_larger_than_a_row_may_be_is_named(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"prompt": "a", "reward": 1}\n{"prompt": "' + "a" * 70_000_000 + '", "reward": 1}\n')
    with pytest.raises(ImportFormatError, match=r"log.jsonl:[12]: a row is larger than 32 MiB. Leave out"):
        imported(tmp_path, path)


def test_half_characters_are_shown_as_such_and_keep_their_rows(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"prompt": "a\\ud800", "reward": 1}\n{"prompt": "a\\ud800", "reward": 0}\n{"prompt": "\xff"}\n')
    found, table, run = imported(tmp_path, path)
    assert table.n_rows.tolist() == [2, 1]
    assert pq.read_table(run / "prompts.parquet")["prompt"].to_pylist() == ["a\ufffd", "\\xff"]
    assert any("surrogates in 2 lines" in caveat for caveat in found.caveats)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("log.csv", b'prompt,reward\na,1\nb,2,3\nc,"1\n', "same number of cells"),
        ("log.parquet", b"PAR1", "log.parquet: cannot be read as Parquet"),
        ("log.jsonl.gz", b"", "Unpack it first"),
    ],
)
def test_what_cannot_be_read_is_named_without_advice_on_options(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ImportFormatError, match=message):
        imported(tmp_path, tmp_path / name)


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".json"])
def test_a_value_of_another_type_far_down_is_an_error_of_its_row(tmp_path, ending):
    rows = [{"prompt": f"p{i % 10}", "reward": i % 2} for i in range(25_000)]
    path = write(tmp_path / f"log{ending}", [*rows, {"prompt": "p1", "reward": "abc"}, {"prompt": "p1", "reward": 0.5}])
    _, table, run = imported(tmp_path, path)
    errors = [e for e in pq.read_table(run / "rollouts")["error"].to_pylist() if e]
    assert errors == ["not a number: abc"]
    assert table.n_rows.sum() == 25_002
    assert table.evidence.n.sum() == 25_001
    assert table.evidence.mean[1] == pytest.approx(2500.5 / 2501)


def test_a_column_of_mixed_types_is_read_as_its_values(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps({"prompt": "a", "reward": r}) + "\n" for r in (1, "0.5", "True", None, {"x": 1}, [2])))
    _, _, run = imported(tmp_path, path)
    rows = pq.read_table(run / "rollouts")
    assert rows["reward"].to_pylist() == [1.0, 0.5, 1.0, None, None, 2.0]
    assert rows["error"].to_pylist()[3:] == ["the log has no reward here", 'not a number: {"x": 1}', None]


def test_run_folders_are_inspected_one_at_a_time(tmp_path):
    _, _, run = imported(tmp_path, write(tmp_path / "log.csv", [{"prompt": "a", "reward": 1}]))
    (run / "run.json").write_text("{}")
    with pytest.raises(ImportFormatError, match="run is a run folder of flatspot; inspect judges one of those at a time"):
        find_logs([run, run])


@pytest.mark.parametrize("value", ["1" * 5_000, '{"a": [' + "1" * 5_000 + "]}", '"' + "1" * 5_000 + '"', "1" * 4_300])
def test_a_number_of_more_digits_than_python_reads_is_kept_as_text(tmp_path, value):
    (tmp_path / "log.jsonl").write_text(f'{{"prompt": "p", "reward": 1, "answer": {value}}}\n' * 2)
    _, _, run = imported(tmp_path, tmp_path / "log.jsonl")
    stored = json.loads(pq.read_table(run / "prompts.parquet")["columns"].to_pylist()[0])["answer"]
    assert stored == (int(value) if len(value) == 4_300 else value.strip('"'))
