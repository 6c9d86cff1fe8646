"""Which rows belong together, against the groups that the rows were made of."""

from collections import Counter

import numpy as np
import pytest

from flatspot.core.records import prompt_id

from .logs import groups, imported


@pytest.mark.parametrize("name", ["log.jsonl", "log.csv", "log.parquet"])
@pytest.mark.parametrize("column", ["example_id", "task_id", "id", "uid"])
def test_an_id_with_several_prompts_does_not_group(tmp_path, column, name):
    rows = [
        {column: i, "prompt": f"{task} {i}", "reward": r} for task, r in (("math", 0.0), ("word", 1.0)) for i in range(30) for _ in range(4)
    ]
    found, table, _ = imported(tmp_path, rows, name=name)
    assert groups(table) == {(4, 0.0): 30, (4, 1.0): 30}
    assert found.grouped_by == ("prompt",)
    assert f"Rows are grouped by `prompt`; `{column}` has several prompts on 30 of 30 values (--id-col {column} groups" in found.caveats[0]


def test_a_tier_is_no_prompt(tmp_path):
    rows = [{"task_id": f"tier{i % 3}", "prompt": f"p{i}", "reward": float(k < i % 4)} for i in range(30) for k in range(4)]
    _, table, _ = imported(tmp_path, rows)
    assert groups(table) == Counter((4, i % 4 / 4) for i in range(30))


def test_train_and_eval_rows_numbered_from_0_in_one_folder(tmp_path):
    train, held = ([{"id": i, "prompt": f"{part} {i}", "reward": r} for i in range(5) for r in (0, k)] for k, part in enumerate("ab"))
    _, table, _ = imported(tmp_path, {"logs/train.jsonl": train, "logs/eval.jsonl": held})
    assert groups(table) == {(2, 0.0): 5, (2, 0.5): 5}


def test_two_trials_numbered_by_a_counter(tmp_path):
    trials = {
        f"logs/trial{t}.jsonl": [{"task_id": i, "prompt": f"p{(i + 3 * t) % 8}", "reward": i + 3 * t > 7} for i in range(8) for _ in "ab"]
        for t in range(2)
    }
    _, table, _ = imported(tmp_path, trials)
    assert table.evidence.n.tolist() == [4] * 8


@pytest.mark.parametrize("column", ["id", "uid", "prompt_id", "request_id"])
def test_an_id_for_each_row_does_not_group_where_prompts_come_back(tmp_path, column):
    rows = [{column: 8 * i + k, "prompt": f"p{i}", "reward": float(i % 2)} for i in range(40) for k in range(8)]
    found, table, _ = imported(tmp_path, rows)
    assert groups(table) == {(8, 0.0): 20, (8, 1.0): 20}
    assert ("another on almost every row" in found.caveats[0]) == (column != "request_id")
    assert "Rows are grouped by `prompt`" in found.caveats[0]


def test_an_id_for_each_row_of_lists(tmp_path):
    rows = [{"id": 3 * i + k, "prompt": f"p{i}", "rewards": [0, i % 2]} for i in range(10) for k in range(3)]
    assert groups(imported(tmp_path, rows)[1]) == {(6, 0.0): 5, (6, 0.5): 5}


def test_an_id_for_each_group_of_a_step_does_not_split_a_prompt(tmp_path):
    rows = [{"step": s, "group": f"{s}-{i}", "prompt": f"p{i}", "reward": float(s)} for s in range(2) for i in range(6) for _ in "ab"]
    assert groups(imported(tmp_path, [{"uid": r.pop("group"), **r} for r in rows])[1]) == {(4, 0.5): 6}


def test_an_id_that_is_checked_keeps_its_name(tmp_path):
    rows = [{"prompt_id": f"q{i}", "prompt": f"p{i}", "reward": k} for i in range(3) for k in range(2)]
    found, table, _ = imported(tmp_path, rows)
    assert table.prompt_id.tolist() == ["q0", "q1", "q2"]
    assert found.grouped_by == ("prompt_id",)
    assert found.caveats[0] == "Rows are grouped by `prompt_id`: each has one `prompt`."


def test_a_better_id_is_taken_where_the_first_is_none(tmp_path):
    rows = [{"task_id": "easy", "id": f"q{i}", "prompt": f"p{i}", "reward": k} for i in range(3) for k in range(2)]
    found, table, _ = imported(tmp_path, rows)
    assert table.prompt_id.tolist() == ["q0", "q1", "q2"]
    assert found.columns["prompt_id"] == "id"


def test_a_game_has_one_text_for_all_its_examples(tmp_path):
    rows = [{"example_id": i, "prompt": "Guess.", "reward": float(i % 2)} for i in range(6) for _ in range(4)]
    found, table, _ = imported(tmp_path, rows)
    assert groups(table) == {(4, 0.0): 3, (4, 1.0): 3}
    assert "1 prompt has several of them, which are kept apart" in found.caveats[0]


def test_the_data_set_s_answer_tells_examples_of_one_text_apart(tmp_path):
    texts = {"one id": "Guess.", "several texts": None}
    for case, text in texts.items():
        rows = [
            {"id": f"{i}-{visit}", "prompt": text or f"Guess {i % 2}.", "answer": f"w{i}", "completion": f"c{k}", "reward": float(i % 2)}
            for i in range(6)
            for visit in range(2)
            for k in range(2)
        ]
        found, table, _ = imported(tmp_path / case, rows)
        assert groups(table) == {(4, 0.0): 3, (4, 1.0): 3}
        assert found.grouped_by == ("prompt", "answer")


def test_two_examples_of_a_game_with_one_answer_are_two(tmp_path):
    rows = [
        {"example_id": i, "prompt": "Guess.", "answer": f"w{i % 5}", "completion": f"c{k}", "reward": float(i % 2)}
        for i in range(6)
        for k in range(4)
    ]
    found, table, _ = imported(tmp_path, rows)
    assert groups(table) == {(4, 0.0): 3, (4, 1.0): 3}
    assert found.grouped_by == ("example_id",)


def test_a_ground_truth_tells_prompts_apart_without_an_id(tmp_path):
    rows = [
        {"prompt": "Guess.", "ground_truth": f"w{i}", "completion": f"c{k}", "reward": float(i % 2)} for i in range(6) for k in range(4)
    ]
    found, table, _ = imported(tmp_path, rows)
    assert groups(table) == {(4, 0.0): 3, (4, 1.0): 3}
    assert found.grouped_by == ("prompt", "ground_truth")


def test_the_model_s_answer_does_not_group(tmp_path):
    rows = [{"prompt": f"p{i}", "completion": f"so {k % 2}", "answer": k % 2, "reward": k % 2} for i in range(5) for k in range(4)]
    found, table, _ = imported(tmp_path, rows)
    assert groups(table) == {(4, 0.5): 5}
    assert found.grouped_by == ("prompt",)


def test_an_example_that_is_twice_in_the_data_is_one_prompt(tmp_path):
    rows = [{"id": i, "prompt": f"p{i % 3}", "answer": i % 3, "completion": "c", "reward": k} for i in range(6) for k in range(2)]
    assert groups(imported(tmp_path, rows)[1]) == {(4, 0.5): 3}


@pytest.mark.parametrize("name", ["log.jsonl", "log.csv"])
def test_a_named_id_is_obeyed_and_what_speaks_against_it_is_said(tmp_path, name):
    rows = [{"key": i % 3, "prompt": f"p{i}", "reward": float(k)} for i in range(6) for k in range(2)]
    found, table, _ = imported(tmp_path, rows, name=name, prompt_id="key")
    assert table.prompt_id.tolist() == ["0", "1", "2"]
    assert found.caveats[0] == "Rows are grouped by `key`, as --id-col says, though `key` has several prompts on 3 of 3 values."


def test_a_named_id_of_each_row_is_said(tmp_path):
    rows = [{"key": i, "prompt": f"p{i % 2}", "reward": 1.0} for i in range(8)]
    found, table, _ = imported(tmp_path, rows, prompt_id="key")
    assert len(table.prompt_id) == 8
    assert "though `key` is another on almost every row, while prompts come back" in found.caveats[0]


def test_the_prompt_named_as_the_id(tmp_path):
    rows = [{"id": i, "prompt": [{"role": "user", "content": f"p{i % 2}"}], "reward": 1.0} for i in range(8)]
    found, table, _ = imported(tmp_path, rows, prompt_id="prompt")
    assert table.prompt_id.tolist() == [prompt_id(rows[i]["prompt"]) for i in range(2)]
    assert found.grouped_by == ("prompt",)


def test_ids_without_prompts_are_said_to_be_unchecked(tmp_path):
    found, table, _ = imported(tmp_path, [{"task_id": 1, "id": i, "reward": 1.0} for i in range(3)])
    assert table.prompt_id.tolist() == ["1"]
    assert found.caveats[0].startswith(
        "Rows are grouped by `task_id`, and there is no prompt to check it against; `id` could be the id too"
    )


def test_ids_that_differ_in_type_alone_are_one(tmp_path):
    rows = [{"id": i, "prompt": "a", "reward": 1.0} for i in (1, "1", 1, "1")]
    _, table, _ = imported(tmp_path, rows)
    assert table.prompt_id.tolist() == ["1"]


def test_an_id_whose_texts_differ_in_space_alone_groups(tmp_path):
    rows = [{"id": i, "prompt": text, "reward": 1.0} for i, text in ((1, "a b"), (1, " a  b\n"), (2, "c"))]
    _, table, _ = imported(tmp_path, rows)
    assert table.prompt_id.tolist() == ["1", "2"]
    assert table.n_rows.tolist() == [2, 1]


def test_prompts_that_differ_in_space_alone_are_apart_and_said(tmp_path):
    found, table, _ = imported(tmp_path, [{"prompt": text, "reward": 1.0} for text in ("a b", "a  b ", "c")])
    assert len(table.prompt_id) == 3
    assert any("1 prompt differs from another in white space alone" in caveat for caveat in found.caveats)


def test_random_ids_agree_with_python(tmp_path):
    rng = np.random.default_rng(7)
    for case in range(6):
        rows = [{"id": int(rng.integers(6)), "prompt": f"p{rng.integers(8)}", "reward": float(rng.integers(2))} for _ in range(200)]
        if case % 2:  # each id with one prompt
            rows = [row | {"prompt": f"p{row['id']}"} for row in rows]
        _, table, _ = imported(tmp_path / str(case), rows)
        assert table.n_rows.tolist() == list(Counter(row["prompt"] for row in rows).values())


def test_files_of_an_evaluation_beside_others_are_said(tmp_path):
    rows = [{"prompt": "p", "reward": 1}]
    found, _, _ = imported(tmp_path, {"logs/eval-rollout/1.jsonl": rows, "logs/rollout/1.jsonl": rows, "logs/rollout/2.jsonl": rows})
    assert any("1 of 3 files are of an evaluation, by their names (such as eval-rollout/1.jsonl)" in caveat for caveat in found.caveats)
    found, _, _ = imported(tmp_path / "evaluation", {"logs/1.jsonl": rows, "logs/interval.jsonl": rows})
    assert not any("evaluation" in caveat for caveat in found.caveats)
