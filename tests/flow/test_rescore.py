"""Another reward on the same completions, against scoring every row by hand and against a run drawn with that reward."""

import json

import pyarrow.parquet as pq
import pytest

import flatspot
from flatspot.core.errors import RewardLoadError, RunFolderError, SettingsError
from flatspot.engines.scripted import ScriptedEngine
from flatspot.rollouts import compaction, rescore
from flatspot.rollouts.files import read_json

ANSWERS = {"easy": {"1": 1.0}, "half": {"1": 0.5, "0": 0.5}, "never": {"0": 1.0}, "odd": {"2": 0.5, "3": 0.5}}
ROWS = [{"prompt": name, "reference": "1", "bonus": i} for i, name in enumerate(ANSWERS)]
EVERY = {"max_completions": 40, "fixed_completions": True}


def odd(completions, bonus, **_):
    return [float(int(c) % 2 + b) for c, b in zip(completions, bonus, strict=True)]


def drawn(folder, reward="exact_match", **settings):
    return flatspot.diagnose(ROWS, ScriptedEngine(ANSWERS), reward, out=folder, **(EVERY | settings)).folder


def rows_of(run):
    rows = [row for part in sorted((run / "rollouts").iterdir()) for row in pq.read_table(part).to_pylist()]
    return sorted(rows, key=lambda row: (row["prompt_id"], row["sample_idx"]))


def test_every_row_has_the_new_reward_and_is_else_as_it_was(tmp_path):
    run = drawn(tmp_path / "run")
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    found = flatspot.rescore(run, odd, out=tmp_path / "new")
    assert {p: p.read_bytes() for p in run.rglob("*") if p.is_file()} == before
    bonus = {row["prompt"]: row["bonus"] for row in ROWS}
    for old, new in zip(rows_of(run), rows_of(found.folder), strict=True):
        expected = float(int(old["completion"]) % 2 + bonus[old["prompt"]])
        assert new == old | {"reward": expected, "rewards": [("odd", expected)]}
    assert pq.read_table(found.folder / "prompts.parquet")["answer_reward"].to_pylist() == [None] * 4
    named = flatspot.rescore(run, odd, out=tmp_path / "new", answer_col="reference")
    assert named.prompts["answer_reward"].to_pylist() == [1.0, 2.0, 3.0, 4.0]
    assert found.summary["settings"]["rescored"] == str(run)
    assert found.summary["sampling"] == json.loads((run / "report.json").read_text())["sampling"]


def test_it_is_the_run_that_the_reward_would_have_drawn(tmp_path):
    again = flatspot.rescore(drawn(tmp_path / "run"), odd, out=tmp_path / "new").folder
    direct = drawn(tmp_path / "direct", odd)
    assert rows_of(again) == rows_of(direct)
    record, other = (read_json(run / "run.json") for run in (again, direct))
    assert {name: value for name, value in record.items() if name not in ("provenance", "request")} == {
        name: value for name, value in other.items() if name not in ("provenance", "request")
    }
    drawn(again, odd, max_completions=60)  # which goes on from there
    assert rows_of(again) == rows_of(drawn(tmp_path / "direct", odd, max_completions=60))


def test_it_goes_on_where_it_was_stopped(tmp_path):
    run = flatspot.diagnose(ROWS, Small(ANSWERS), "exact_match", out=tmp_path / "run", **EVERY).folder
    assert len(list((run / "rollouts").iterdir())) == 4
    calls, patience = [], [4]

    def dies(completions, **_):
        calls.append(len(completions))
        if len(calls) > patience[0]:
            raise KeyboardInterrupt
        return [0.5] * len(completions)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flatspot.rewards.load.Guard", Unguarded)
        with pytest.raises(KeyboardInterrupt):
            flatspot.rescore(run, dies, out=tmp_path / "new")
        assert 0 < len(list((tmp_path / "new" / "rollouts").glob("part-*.parquet"))) < 4
        calls.clear()
        patience[0] = 99
        found = flatspot.rescore(run, dies, out=tmp_path / "new")
    assert calls == [1, 8, 40, 40]  # two to check the reward, then the parts that were missing
    assert [row["reward"] for row in rows_of(found.folder)] == [0.5] * 160


def test_an_adaptive_runs_numbers_of_samples_are_told(tmp_path):
    run = drawn(tmp_path / "run", fixed_completions=False, max_completions=64, round_size=4)
    found = flatspot.rescore(run, odd, out=tmp_path / "new")
    assert any("decided by the rewards of" in caveat for caveat in found.summary["caveats"])
    assert not any("decided by" in c for c in flatspot.rescore(drawn(tmp_path / "all"), odd, out=tmp_path / "b").summary["caveats"])


def test_a_log_with_completions_is_scored_and_one_without_is_refused(tmp_path):
    log = tmp_path / "log.jsonl"
    written = [("a", 0, "11"), ("a", 0, "12"), ("b", 1, "13"), ("b", 1, None)]
    log.write_text("".join(json.dumps({"prompt": p, "reward": r, "completion": c}) + "\n" for p, r, c in written))
    run = flatspot.inspect(log, out=tmp_path / "run").folder
    found = flatspot.rescore(run, "regex[pattern=[123]3]", out=tmp_path / "new")
    rows = [
        (row["completion"], row["reward"], row["error"])
        for part in (found.folder / "rollouts").iterdir()
        for row in pq.read_table(part).to_pylist()
    ]
    assert rows == [
        ("11", 0.0, None),
        ("12", 0.0, None),
        ("13", 1.0, None),
        (None, None, "there is no completion of a known prompt to score"),
    ]
    log = tmp_path / "log.csv"
    log.write_text("prompt,reward\na,0\n")
    with pytest.raises(RunFolderError, match="holds no completions"):
        flatspot.rescore(flatspot.inspect(log, out=tmp_path / "bare").folder, "regex[pattern=1]", out=tmp_path / "no")


def test_mistakes_are_named(tmp_path):
    run = drawn(tmp_path / "run", max_completions=4)
    with pytest.raises(SettingsError, match="is the run itself"):
        flatspot.rescore(run, odd, out=run)
    with pytest.raises(RunFolderError, match="other settings"):
        flatspot.rescore(run, odd, out=drawn(tmp_path / "other", max_completions=4))
    with pytest.raises(RunFolderError, match="has drawn other completions"):
        flatspot.rescore(run, odd, out=drawn(tmp_path / "more", odd, max_completions=5))
    with pytest.raises(RunFolderError, match="not a run folder"):
        flatspot.rescore(tmp_path, odd)
    with pytest.raises(RewardLoadError, match="answer, which no prompt column gives"):
        flatspot.rescore(run, lambda completions, answer: [0.0], out=tmp_path / "x")
    part = next((run / "rollouts").iterdir())
    part.write_bytes(b"PAR1")
    with pytest.raises(RunFolderError, match=part.name):
        flatspot.rescore(run, odd, out=tmp_path / "y")


class Small(ScriptedEngine):
    """Parts of one prompt each."""

    rows_per_call = 40


class Unguarded:
    """A reward in this process, so that Ctrl-C reaches it."""

    def __init__(self, function, timeout_s):
        self.function, self.what, self.name, self.sha256, self.range = function, function, "dies", None, None

    def score(self, prompts, completions):
        from flatspot.rewards.values import as_values

        return as_values(self.function([c.text for c in completions]), len(completions))

    def close(self):
        pass


def ranks(completions, **_):
    return [sorted(completions).index(text) / len(completions) for text in completions]


def test_groups_of_two_sizes_are_not_mixed_and_the_notes_are_there_before_the_end(tmp_path, monkeypatch):
    run = flatspot.diagnose(ROWS, Small(ANSWERS), "exact_match", out=tmp_path / "run", **EVERY).folder
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("flatspot.rollouts.notes.RewardNotes.end", interrupt)  # once all is scored
        flatspot.rescore(run, ranks, out=tmp_path / "new", group_size=8)
    assert read_json(tmp_path / "new" / "notes.json")["whole_groups"] == 8
    (tmp_path / "new" / "rollouts" / "part-000-000003.parquet").unlink()
    with pytest.raises(RunFolderError, match=r"rewards of whole groups of 8.*or --group-size 8"):
        flatspot.rescore(run, ranks, out=tmp_path / "new", group_size=4)
    assert not (tmp_path / "new" / "rollouts" / "part-000-000003.parquet").exists()
    found = flatspot.rescore(run, ranks, out=tmp_path / "new", group_size=8)
    whole = flatspot.rescore(run, ranks, out=tmp_path / "whole", group_size=8)
    assert rows_of(found.folder) == rows_of(whole.folder) and found.summary["caveats"] == whole.summary["caveats"]
    with pytest.raises(RunFolderError, match="rewards of whole groups of 8"):
        flatspot.rescore(run, ranks, out=tmp_path / "new", group_size=4)


def interrupt(*_, **__):
    raise KeyboardInterrupt


def test_a_group_larger_than_a_call_is_one_call(tmp_path, monkeypatch):
    monkeypatch.setattr("flatspot.rollouts.rescore._ROWS", 16)
    run = drawn(tmp_path / "run")
    found = flatspot.rescore(run, ranks, out=tmp_path / "new", group_size=20)
    for at in range(0, 160, 20):
        rows = rows_of(found.folder)[at : at + 20]
        assert [row["reward"] for row in rows] == ranks([row["completion"] for row in rows])


def test_parts_that_are_joined_while_others_are_scored_are_not_lost(tmp_path, monkeypatch):
    run = flatspot.diagnose(ROWS, Small(ANSWERS), "exact_match", out=tmp_path / "run", **EVERY).folder
    monkeypatch.setattr(compaction, "_FEWEST", 2)
    read, calls = rescore.read_batches, []

    def joins(file, *given):  # as the process does that draws the run: here when the second part is about to be opened
        if len(given) == 1:
            calls.append(file.name)
        if len(calls) == 2:
            compaction.join_parts(run, 0, closed=True)
        return read(file, *given)

    monkeypatch.setattr(rescore, "read_batches", joins)
    found = flatspot.rescore(run, odd, out=tmp_path / "new")
    assert calls == ["part-000-000000.parquet", "part-000-000001.parquet", "part-000-000000-000003.parquet"]
    assert found.summary["generations"]["total"] == 160
    assert found.verdicts.equals(flatspot.rescore(run, odd, out=tmp_path / "again").verdicts)


def test_the_folder_is_not_listed_for_every_part(tmp_path, monkeypatch):
    run = flatspot.diagnose(ROWS, Small(ANSWERS), "exact_match", out=tmp_path / "run", **EVERY).folder
    listed, left = [], rescore._left
    monkeypatch.setattr(rescore, "_left", lambda *given: listed.append(1) or left(*given))
    flatspot.rescore(run, odd, out=tmp_path / "new")
    assert len(list((run / "rollouts").iterdir())) == 4
    assert len(listed) == 3  # for the progress, for the parts, and to see that none is left


def test_a_run_is_judged_while_it_is_scored_again(tmp_path):
    run = drawn(tmp_path / "run")
    judged = []
    flatspot.rescore(run, odd, out=tmp_path / "new", on_progress=lambda _: judged.append(flatspot.inspect(run).summary["n_prompts"]))
    assert judged == [4]


CHAT = [{"role": "user", "content": "q"}]


def starts(completions, **_):
    return [float(c[0]["content"].startswith("c")) for c in completions]


def last_is_four(completions, **_):
    return [float(c[-1]["content"] == "4") for c in completions]


def test_a_reward_of_messages_gets_the_messages_of_a_log(tmp_path):
    """The reward that the log says is right: each completion starts with c."""
    log = tmp_path / "log.jsonl"
    rows = [{"prompt": CHAT, "completion": [{"role": "assistant", "content": f"c{i}"}], "reward": 1} for i in range(4)]
    log.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = flatspot.inspect(log, out=tmp_path / "run", reward_range=(0, 1)).folder
    found = flatspot.rescore(run, starts, out=tmp_path / "new", reward_range=(0, 1))
    assert [row["reward"] for row in rows_of(found.folder)] == [1.0] * 4
    assert [row["completion"] for row in rows_of(found.folder)] == [row["completion"] for row in rows_of(run)]


def test_tool_calls_are_several_messages_and_a_reward_of_text_gets_the_answer():
    from flatspot.core.records import Prompt
    from flatspot.rewards import load_reward
    from flatspot.rollouts.rescore import completion_of

    call = {"role": "assistant", "content": None, "tool_calls": [{"name": "add"}]}
    turns = [call, {"role": "tool", "content": "4"}, {"role": "assistant", "content": [{"type": "text", "text": "4"}]}]
    stored = completion_of(json.dumps(turns), 3, False, 2)
    assert stored.messages == tuple(turns) and stored.text == "4"
    prompt = Prompt("a", CHAT, {"reference": "4"})
    seen = []
    for reward in ("exact_match", lambda completions: seen.extend(completions) or [1.0]):
        with load_reward(reward, isolate=False) as loaded:
            assert loaded.score([prompt], [stored])[0].reward == 1.0
    assert seen == [turns]
    for text in ("[" * 100_000, '[{"role": "assistant"}]', "[1, 2]", "[]", "[broken", '{"role": "user", "content": "x"}', "4"):
        assert completion_of(text, 1, False, 1).messages is None and completion_of(text, 1, False, 1).text == text
    one = '[{"role": "assistant", "content": "4"}]'  # a watched training stores one message as its text: this is what was written
    assert completion_of(one, 1, False, 2).messages is None


def test_json_that_a_policy_wrote_is_text(tmp_path):
    wrote = '[{"role": "assistant", "content": "4"}]'
    rows = [{"id": "a", "prompt": CHAT, "reference": "4"}]

    class Writes(ScriptedEngine):
        def sample(self, requests, sampling, on_tokens=None):
            from flatspot.core.records import Completion

            return [[Completion(wrote, 3, False)] * len(request.seeds) for request in requests]

    run = flatspot.diagnose(rows, Writes({}), "regex[pattern=z]", out=tmp_path / "run", max_completions=4).folder
    log = tmp_path / "log.jsonl"  # nor is it in a log
    log.write_text("".join(json.dumps({"prompt": CHAT, "completion": wrote, "reward": i % 2}) + "\n" for i in range(4)))
    same = flatspot.inspect(log, out=tmp_path / "log").folder
    again = flatspot.rescore(same, lambda completions: [float(c[0]["content"] == wrote) for c in completions], out=tmp_path / "newer")
    assert {row["reward"] for row in rows_of(again.folder)} == {1.0}
    found = flatspot.rescore(run, lambda completions: [float(c[0]["content"] == wrote) for c in completions], out=tmp_path / "new")
    assert {row["reward"] for row in rows_of(found.folder)} == {1.0}


def test_a_folder_of_another_run_is_left_alone(tmp_path):
    run, other = drawn(tmp_path / "run"), drawn(tmp_path / "other")
    before = (other / "prompts.parquet").read_bytes()
    with pytest.raises(RunFolderError):
        flatspot.rescore(run, odd, out=other, answer_col="reference")
    assert (other / "prompts.parquet").read_bytes() == before


def test_the_rescored_run_is_resumed_with_its_own_options_and_keeps_the_real_answers(tmp_path):
    settings = {"seed": 3, "target_error": 0.1, "top_reachable": True, "reward_range": (0.0, 1.0), "answer_col": "reference"}
    run = drawn(tmp_path / "run", **settings)
    found = flatspot.rescore(run, odd, out=tmp_path / "new", reward_range=(0.0, 4.0), advantage="normalized")
    assert found.request.resume == (
        "--seed", "3", "--max-completions", "40", "--fixed-completions", "--advantage", "normalized", "--reward-range", "0", "4",
    )  # fmt: skip
    assert found.request.answer_col == "reference"
    assert found.prompts["answer_reward"].to_pylist() == [1.0, 2.0, 3.0, 4.0]
    other = flatspot.rescore(run, odd, out=tmp_path / "other", answer_col="bonus")
    assert other.request.answer_col == "bonus"
    before = found.folder.joinpath("prompts.parquet").read_bytes()
    drawn(found.folder, odd, seed=3, reward_range=(0.0, 4.0), advantage="normalized", answer_col="reference", max_completions=48)
    assert found.folder.joinpath("prompts.parquet").read_bytes() == before


def written(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return flatspot.inspect(path, out=path.with_suffix("")).folder


def groups_of_a_log(n_steps=3, size=4, **more):
    return [
        {"prompt": f"p{i}", "step": step, "completion": f"{(7 * k + i + step) % 10}{k}", "reward": k % 2, **more}
        for step in range(n_steps)
        for i in range(3)
        for k in range(size)
    ]


def ranks_in_group(prompts, completions, **_):
    own = [sorted(text for other, text in zip(prompts, completions, strict=True) if other == prompt) for prompt in prompts]
    return [texts.index(text) / len(texts) for texts, text in zip(own, completions, strict=True)]


def test_a_rank_of_a_log_gets_the_groups_of_its_steps(tmp_path):
    rows = groups_of_a_log()
    found = flatspot.rescore(written(tmp_path / "log.jsonl", rows), ranks_in_group, out=tmp_path / "new", group_size=4)
    by_hand = {}
    for at in range(0, len(rows), 4):
        group = rows[at : at + 4]
        own = ranks([row["completion"] for row in group])
        by_hand |= {(row["prompt"], row["step"], row["completion"]): value for row, value in zip(group, own, strict=True)}
    assert {(row["prompt"], row["step"], row["completion"]): row["reward"] for row in found.rollouts.to_pylist()} == by_hand


@pytest.mark.parametrize("how", ["scattered", "no steps", "another size", "one is missing", "a step twice"])
def test_a_rank_of_a_log_without_whole_groups_is_refused(tmp_path, how):
    rows = groups_of_a_log()
    if how == "scattered":
        rows = rows[::2] + rows[1::2]
    if how == "no steps":
        rows = [{name: value for name, value in row.items() if name != "step"} for row in rows]
    if how == "one is missing":
        rows[5] |= {"completion": None}
    if how == "a step twice":  # drawn in two groups, or one of eight: nothing tells
        rows += rows[:4]
    run = written(tmp_path / "log.jsonl", rows)
    with pytest.raises(RewardLoadError, match="a log must say steps"):
        flatspot.rescore(run, ranks_in_group, out=tmp_path / "new", group_size=3 if how == "another size" else 4)
    assert flatspot.rescore(run, "regex[pattern=1]", out=tmp_path / "other", group_size=4).summary["n_prompts"] == 3
