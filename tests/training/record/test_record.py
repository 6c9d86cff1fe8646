"""`flatspot.record` under verl, OpenRLHF and ms-swift, by stand-ins that call as their sources do."""

import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import flatspot
from flatspot.core.errors import RunFolderError, SettingsError

sys.path.insert(0, str(Path(__file__).parent))
from stand_ins import SURFACE, loaded, openrlhf_rewards, swift_rewards, verl_scores
from trainer_surface import surface


def rows_in(folder):
    return [json.loads(line) for file in sorted((folder / "recorded").glob("*.jsonl")) for line in file.read_text().splitlines()]


def verl_rows(n_prompts=6, k=4, right=lambda i, j: (i + j) % 3 == 0, **extra):
    infos = [{"index": i, "split": "train", **extra} for i in range(n_prompts)]
    return [("sums", str(i if right(i, j) else -1), str(i), infos[i]) for i in range(n_prompts) for j in range(k)]


def is_right(data_source, solution_str, ground_truth, extra_info=None, **_):
    return float(solution_str == ground_truth)


@pytest.mark.skipif("FLATSPOT_TRAINER_WHEELS" not in os.environ, reason="FLATSPOT_TRAINER_WHEELS names no folder of their wheels")
def test_the_trainers_call_a_reward_as_the_stand_ins_do():
    found = surface(os.environ["FLATSPOT_TRAINER_WHEELS"])
    assert found and found == {name: SURFACE[name] for name in found}


@pytest.mark.parametrize("manager", ["row", "row of DAPO", "row with a limit"])
@pytest.mark.parametrize("is_async", [False, True])
def test_every_rollout_of_verl_is_recorded_with_its_prompt(tmp_path, manager, is_async):
    async def later(data_source, solution_str, ground_truth, extra_info=None):
        return is_right(data_source, solution_str, ground_truth)

    recorded = flatspot.record(later if is_async else is_right, out=tmp_path / "run")
    rows = verl_rows()
    assert verl_scores(recorded, rows, manager) == [float(s == g) for _, s, g, _ in rows]
    run = flatspot.inspect(tmp_path / "run", reward_range=(0, 1))
    means = dict(zip(run.prompts["prompt"].to_pylist(), run.verdicts["mean"].to_pylist(), strict=True))
    assert {json.loads(text)["index"]: mean for text, mean in means.items()} == {
        i: sum((i + j) % 3 == 0 for j in range(4)) / 4 for i in range(6)
    }
    assert {row["trainer"] for row in rows_in(tmp_path / "run")} == {"verl"}
    assert "several-policies" in run.summary["caveat_codes"]  # verl passes no step


def test_the_batch_signature_of_verl_and_dicts_of_scores(tmp_path):
    def compute_score(data_sources, solution_strs, ground_truths, extra_infos):
        return [{"score": float(s == g), "acc": s == g} for s, g in zip(solution_strs, ground_truths, strict=True)]

    rows = verl_rows(question="How much is it?")
    given = verl_scores(flatspot.record(compute_score, out=tmp_path / "run"), rows, "batch")
    assert given == compute_score(*zip(*rows, strict=True))
    written = rows_in(tmp_path / "run")
    assert [row["rewards"]["compute_score"] for row in written] == [value["score"] for value in given]
    assert [row["returned"] for row in written] == given
    assert len({row["id"] for row in written}) == 6  # one question text, six indices
    assert all("num_turns" not in row["columns"]["extra_info"] for row in written)


def test_what_is_recorded_can_be_scored_again(tmp_path):
    verl_scores(flatspot.record(is_right, out=tmp_path / "run"), verl_rows())
    flatspot.inspect(tmp_path / "run")

    def even(data_source, solution_str, ground_truth, extra_info=None):
        return float(extra_info["index"] % 2 == 0 and solution_str == ground_truth)

    (tmp_path / "even.py").write_text("def even(data_source, solution_str, ground_truth, extra_info=None):\n"
                                      "    return float(extra_info['index'] % 2 == 0 and solution_str == ground_truth)\n")  # fmt: skip
    run = flatspot.rescore(tmp_path / "run", f"verl:{tmp_path / 'even.py'}:even", out=tmp_path / "again")
    by_hand = sorted((row[1], even(*row)) for row in verl_rows())
    assert sorted(zip(run.rollouts["completion"].to_pylist(), run.rollouts["reward"].to_pylist(), strict=True)) == by_hand


def test_scoring_a_recording_again_with_its_own_reward_records_nothing(tmp_path):
    file, out = tmp_path / "own.py", tmp_path / "run"
    file.write_text(
        f"import flatspot\n\n\n@flatspot.record(out={str(out)!r})\n"
        "def compute_score(data_source, solution_str, ground_truth, extra_info=None):\n    return float(solution_str == ground_truth)\n"
    )
    verl_scores(loaded_module(file).compute_score, verl_rows())
    flatspot.inspect(out, reward_range=(0, 1))
    before = rows_in(out)
    again = flatspot.rescore(out, f"verl:{file}:compute_score", out=tmp_path / "again")
    assert again.summary["generations"]["total"] == 24 and rows_in(out) == before
    assert flatspot.inspect(out).summary["generations"]["total"] == 24


def test_evaluations_of_verl_are_left_out_and_prompts_known_by_their_answer_alone_are_named(tmp_path, caplog):
    recorded = flatspot.record(is_right, out=tmp_path / "run")
    verl_scores(recorded, [("sums", "1", "1", {"split": "test", "index": 99})] * 2 + verl_rows())
    assert not caplog.text
    run = flatspot.inspect(tmp_path / "run")
    assert len(run.prompts) == 6 and run.summary["generations"]["total"] == 24
    verl_scores(recorded, [("sums", "1", "1", {})] * 4)
    assert caplog.text.count("prompts with the same answer") == 1
    again = flatspot.inspect(tmp_path / "run")
    assert len(again.prompts) == 7 and "unnamed-prompts" in again.summary["caveat_codes"]


def test_an_index_that_is_missing_names_no_prompt(tmp_path):
    recorded = flatspot.record(is_right, out=tmp_path / "run")
    for index in (7, float("nan"), np.float64("nan"), None):
        recorded("sums", "4", "4", {"index": index})
    assert [row.get("unnamed", False) for row in rows_in(tmp_path / "run")] == [False, True, True, True]


def test_openrlhf_loads_a_file_and_labels_may_be_empty(tmp_path):
    file = tmp_path / "reward_func.py"
    file.write_text(textwrap.dedent(f"""
        import flatspot
        @flatspot.record(out={str(tmp_path / "run")!r})
        def reward_func(queries, prompts, labels):
            rewards = [float(query.endswith("4<eos>")) for query in queries]
            return {{"rewards": rewards, "scores": rewards, "extra_logs": {{}}}}
    """))  # fmt: skip
    prompts = ["2 + 2 = "] * 4 + ["1 + 3 = "] * 4
    queries = [f"<bos>{prompt}{answer}<eos>" for prompt, answer in zip(prompts, "44553434", strict=True)]
    given = openrlhf_rewards(file, queries, prompts, ["4"] * 4 + [SURFACE["openrlhf"]["label of none"][0].strip('"')] * 4)
    assert [value["rewards"] for value in given] == [[1.0], [1.0], [0.0], [0.0], [0.0], [1.0], [0.0], [1.0]]
    written = rows_in(tmp_path / "run")
    assert sorted((row["prompt"], row["completion"], row["rewards"]["reward_func"]) for row in written) == sorted(
        (prompt, f"{answer}<eos>", float(answer == "4")) for prompt, answer in zip(prompts, "44553434", strict=True)
    )
    assert {row["prompt"]: row.get("columns") for row in written} == {"2 + 2 = ": {"label": "4"}, "1 + 3 = ": {}}
    run = flatspot.inspect(tmp_path / "run", reward_range=(0, 1))
    assert run.verdicts["mean"].to_pylist() == [0.5, 0.5]


class Right:
    def __init__(self, args=None, **kwargs):
        self.args = args

    def __call__(self, completions, solution, **kwargs):
        return [float(c == s) for c, s in zip(completions, solution, strict=True)]


class Short:
    def __init__(self, args=None, **kwargs):
        self.args = args

    async def __call__(self, completions, **kwargs):
        return [1.0 if len(c) < 2 else None for c in completions]


def swift_batch(step):
    asked = [
        ([{"role": "user", "content": f"{i} + {i} ="}, {"role": "assistant", "content": str(2 * i if j < i else 77)}], f"{step}-{i}")
        for i in range(4)
        for j in range(4)
    ]
    return [(messages, name, {"solution": str(2 * int(messages[0]["content"][0]))}) for messages, name in asked]


def test_several_orms_of_ms_swift_make_one_row_per_completion(tmp_path):
    classes = flatspot.record([Right, Short], out=tmp_path / "run", reward_weights=[1.0, 0.5])
    assert [own.__name__ for own in classes] == ["Right", "Short"] and all(
        issubclass(a, b) for a, b in zip(classes, [Right, Short], strict=True)
    )
    for step in (1, 2, 3):
        assert swift_rewards(classes, swift_batch(step), step) == swift_rewards([Right, Short], swift_batch(step), step)
    run = flatspot.inspect(tmp_path / "run")
    rows = run.rollouts.to_pylist()
    assert len(rows) == 48 and {row["step"] for row in rows} == {1, 2, 3} and {row["n_tokens"] for row in rows} == {3}
    asked = [row for step in (1, 2, 3) for row in swift_batch(step)]
    hand = [float(m[-1]["content"] == c["solution"]) + (0.5 if len(m[-1]["content"]) < 2 else 0.0) for m, _, c in asked]
    assert [row["reward"] for row in rows] == hand
    assert len(run.prompts) == 4 and all(run.prompts["is_chat"].to_pylist())
    last = flatspot.inspect(tmp_path / "run", last=1, out=tmp_path / "last")
    assert {row["step"] for row in last.rollouts.to_pylist()} == {3}


def test_rewards_that_were_recorded_apart_are_not_added_up_as_rows(tmp_path):
    classes = [flatspot.record(own, out=tmp_path / "run") for own in (Right, Short)]
    swift_rewards(classes, swift_batch(1), 1)
    with pytest.raises(flatspot.FlatspotError, match="recorded apart"):
        flatspot.inspect(tmp_path / "run")


def test_pictures_tell_prompts_apart_by_what_they_hold(tmp_path):
    from PIL import Image

    recorded = flatspot.record(lambda completions, **columns: [0.0, 1.0] * 4, out=tmp_path / "run")
    for _ in range(3):
        pictures = [Image.new("RGB", (4, 4), color) for color in ("red", "blue") for _ in range(4)]
        messages = [[{"role": "user", "content": "<image>what?"}, {"role": "assistant", "content": "red"}]] * 8
        recorded(["red"] * 8, messages=messages, images=[[picture] for picture in pictures])
    run = flatspot.inspect(tmp_path / "run")
    assert len(run.prompts) == 2 and run.verdicts["n_scored"].to_pylist() == [12, 12]


def test_what_a_reward_raises_reaches_the_trainer_and_is_no_zero(tmp_path):
    def compute_score(data_source, solution_str, ground_truth, extra_info=None):
        if solution_str == "boom":
            raise KeyError("no such thing")
        return None if solution_str == "?" else 1.0

    recorded = flatspot.record(compute_score, out=tmp_path / "run")
    given = verl_scores(recorded, [("s", text, "1", {"index": 1}) for text in ("boom", "?", "1", "nan")])
    assert isinstance(given[0], KeyError) and given[1:] == [None, 1.0, 1.0]
    assert recorded("s", "1", "1", {"index": 1}) == 1.0  # by place, as verl's manager of PRIME calls
    run = flatspot.inspect(tmp_path / "run")
    rows = {row["completion"]: (row["reward"], row["error"]) for row in run.rollouts.to_pylist()}
    assert rows["boom"] == (None, "compute_score: KeyError: 'no such thing'")
    assert rows["?"] == (None, "compute_score: returned None") and rows["1"] == (1.0, None)


@pytest.mark.parametrize("fault", ["folder", "descriptor", "call"])
def test_a_recording_that_fails_is_said_once_and_stops_nothing(tmp_path, caplog, fault, monkeypatch):
    out = tmp_path / "run"
    if fault == "folder":
        out.write_text("a file")
    if fault == "descriptor":
        monkeypatch.setattr(os, "write", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    recorded = flatspot.record(is_right, out=out)
    rows = verl_rows() if fault != "call" else [("s", "1", "1", {1: object(), "self": None})]
    if fault == "call":
        rows[0][3]["self"] = rows[0][3]  # holds itself
    assert verl_scores(recorded, rows) == [float(s == g) for _, s, g, _ in rows]
    assert caplog.text.count("cannot record rollouts") == 1 and caplog.text.count("WARNING") == 1


def test_a_line_that_a_full_disk_cut_off_spoils_no_other(tmp_path, monkeypatch):
    recorded, write, calls = flatspot.record(is_right, out=tmp_path / "run"), os.write, []

    def full_once(file, data):
        calls.append(1)
        if len(calls) == 2:
            write(file, data[:30])
            raise OSError(28, "No space left on device")
        return write(file, data)

    monkeypatch.setattr(os, "write", full_once)
    for row in verl_rows(n_prompts=1, k=4):
        recorded(*row)
    monkeypatch.undo()
    run = flatspot.inspect(tmp_path / "run")
    assert run.summary["generations"]["total"] == 3 and any("not JSON" in text for text in run.summary["caveats"])


WRITER = """
import os, sys, flatspot
@flatspot.record(out=sys.argv[1])
def compute_score(data_source, solution_str, ground_truth, extra_info=None):
    return float(solution_str == ground_truth)
i = 0
while True:
    compute_score("s", f"{sys.argv[2]} {i}", "1", {"index": i % 7})
    os.write(1, b"%d\\n" % i)
    i += 1
"""


def test_processes_write_at_once_and_killing_them_loses_no_rollout(tmp_path):
    """What a process said it has scored is in its file, after SIGKILL in the middle of its work."""
    script = tmp_path / "train.py"
    script.write_text(WRITER)
    outs = [tmp_path / f"said-{name}" for name in "abc"]
    workers = []
    for name, out in zip("abc", outs, strict=True):
        with out.open("wb") as said:
            workers.append(subprocess.Popen([sys.executable, str(script), str(tmp_path / "run"), name], stdout=said))
    deadline = time.monotonic() + 60
    while min(out.stat().st_size for out in outs) < 500 and time.monotonic() < deadline:
        time.sleep(0.05)
    for worker in workers:
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    assert len(list((tmp_path / "run" / "recorded").glob("*.jsonl"))) == 3
    run = flatspot.inspect(tmp_path / "run")
    there = {row["completion"] for row in run.rollouts.to_pylist()}
    said = {f"{name} {i}" for name, out in zip("abc", outs, strict=True) for i in range(out.read_text().count("\n"))}
    assert len(said) > 300 and said <= there and len(there - said) <= 3


def test_a_reward_is_pickled_and_forked_with_files_of_its_own(tmp_path):
    file = tmp_path / "own_reward.py"
    file.write_text(f"import flatspot\n@flatspot.record(out={str(tmp_path / 'run')!r})\n"
                    "def compute_score(data_source, solution_str, ground_truth, extra_info=None):\n    return 1.0\n")  # fmt: skip
    sys.modules["own_reward"] = module = loaded_module(file)
    try:
        compute_score = pickle.loads(pickle.dumps(module.compute_score))
        compute_score("s", "here", "1", {"index": 1})
        child = multiprocessing.get_context("fork").Process(target=compute_score, args=("s", "there", "1", {"index": 1}))
        child.start()
        child.join()
    finally:
        del sys.modules["own_reward"]
    import cloudpickle

    cloudpickle.loads(cloudpickle.dumps(flatspot.record(is_right, out=tmp_path / "run")))("s", "sent", "1", {"index": 1})
    assert sorted(row["completion"] for row in rows_in(tmp_path / "run")) == ["here", "sent", "there"]
    assert len(list((tmp_path / "run" / "recorded").iterdir())) == 3


def loaded_module(file):
    import importlib.util

    spec = importlib.util.spec_from_file_location("own_reward", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_recording_is_a_run_folder_that_grows(tmp_path):
    recorded = flatspot.record(is_right, out=tmp_path / "run")
    (tmp_path / "run" / "recorded").mkdir(parents=True)
    with pytest.raises(flatspot.FlatspotError, match="no rows yet"):
        flatspot.inspect(tmp_path / "run")
    verl_scores(recorded, verl_rows())
    with pytest.raises(RunFolderError, match="flatspot inspect"):
        flatspot.open(tmp_path / "run")
    with pytest.raises(RunFolderError, match="flatspot inspect"):
        flatspot.rescore(tmp_path / "run", "exact_match")
    first = flatspot.inspect(tmp_path / "run", group_size=4)
    assert flatspot.open(tmp_path / "run").summary == first.summary
    same = flatspot.inspect(tmp_path / "run")
    assert same.record.provenance == first.record.provenance  # nothing was read again
    verl_scores(recorded, verl_rows(n_prompts=8))
    said = []
    again = flatspot.inspect(tmp_path / "run", say=said.append)
    assert again.summary["generations"]["total"] == 24 + 32 and len(flatspot.open(tmp_path / "run").prompts) == 8
    assert again.summary["group_size"] == 4 and (tmp_path / "run" / "report.html").exists()
    assert len(rows_in(tmp_path / "run")) == 56


def record_steps(out, first, end, seed):
    """Batches of a training, 6 prompts of 4 completions at each step, in a process of their own as far as files are concerned."""
    recorded, draw = flatspot.record(accuracy_of_trl, out=out), np.random.default_rng(seed)
    for step in range(first, end):
        answers = [str(int(draw.random() < i // 4 / 5)) for i in range(24)]
        recorded(
            prompts=[f"question {i // 4}" for i in range(24)],
            completions=answers,
            solution=["1"] * 24,
            trainer_state=SimpleNamespace(global_step=step),
        )
    time.sleep(0.01)  # times are written in milliseconds


def accuracy_of_trl(prompts, completions, solution, **columns):
    return [float(text == right) for text, right in zip(completions, solution, strict=True)]


def test_a_training_that_is_resumed_into_its_recording_is_said_and_its_groups_stay_apart(tmp_path):
    for training, (first, end) in enumerate([(0, 8), (4, 12)]):
        record_steps(tmp_path / "run", first, end, training)
    run = flatspot.inspect(tmp_path / "run", reward_range=(0, 1))
    groups = defaultdict(list)
    for file in sorted((tmp_path / "run" / "recorded").glob("*.jsonl")):
        for row in map(json.loads, file.read_text().splitlines()):
            groups[file.name, row["step"], row["prompt"]].append(row["rewards"]["accuracy_of_trl"])
    equal = sum(len(set(own)) == 1 for own in groups.values()) / len(groups)
    [again] = [text for text in run.summary.caveats if text.startswith("The recording is of 2 trainings")]
    assert "step 7 had been reached" in again and "recorded step 4 " in again
    [of_steps] = [text for text in run.summary.caveats if text.startswith("The log has 12 training steps")]
    assert len(groups) == 96 and f"Rewards are equal in {equal:.0%} of all 96 groups" in of_steps


def test_weights_that_differ_within_a_recording_are_said_and_none_is_used(tmp_path):
    def long(completions, **columns):
        return [float(len(text)) for text in completions]

    for weights in ([1.0, 0.5], [1.0, 2.0]):
        answers = ["1", "22", "1", "333"]
        for reward in flatspot.record([accuracy_of_trl, long], out=tmp_path / "run", reward_weights=weights):
            reward(prompts=["q"] * 4, completions=answers, solution=["1"] * 4)
    run = flatspot.inspect(tmp_path / "run")
    assert sorted(run.rollouts["reward"].to_pylist()) == [2.0] * 6 + [3.0] * 2
    [said] = [text for text in run.summary.caveats if "different weights" in text]
    assert "1 × accuracy_of_trl and 0.5 × long on 4 rows, 1 × accuracy_of_trl and 2 × long on 4 rows" in said
    assert "weights-assumed" in run.summary.caveat_codes


def test_a_recording_without_flat_groups_is_no_log_of_survivors(tmp_path):
    recorded = flatspot.record(accuracy_of_trl, out=tmp_path / "run")
    for i in range(60):  # exactly half of each group is right, which chance alone does not do
        recorded(prompts=[f"question {i}"] * 4, completions=["0", "1"] * 2, solution=["1"] * 4)
    run = flatspot.inspect(tmp_path / "run", reward_range=(0, 1))
    assert "survivors-only" not in run.summary.caveat_codes and run.summary.verdict is not None


def test_processes_of_one_training_and_one_that_goes_on_where_it_ended_are_one(tmp_path):
    for step in (0, 1, 2):
        record_steps(tmp_path / "run", step, step + 1, step)
    record_steps(tmp_path / "run", 2, 3, 9)  # another process of the same step
    run = flatspot.inspect(tmp_path / "run", reward_range=(0, 1))
    assert not [text for text in run.summary.caveats if "trainings" in text]


def test_what_a_reward_does_to_its_arguments_is_not_recorded(tmp_path):
    def strict(prompts, completions, notes, **columns):
        right = [float(messages[0]["content"] == "1") for messages in completions]
        for prompt, messages, note in zip(prompts, completions, notes, strict=True):
            messages[0]["content"] = ""
            prompt.append({"role": "assistant", "content": "of the reward"})
            note["seen"].append(True)
        completions.clear()
        return right

    out = tmp_path / "run"
    question = [{"role": "user", "content": "1 * 1 ="}]
    completions = [[{"role": "assistant", "content": text}] for text in "12"]
    rewards = flatspot.record(strict, out=out)(
        prompts=[list(question), list(question)], completions=completions, notes=[{"seen": []}, {"seen": []}]
    )
    assert rewards == [1.0, 0.0]
    rows = rows_in(out)
    assert [row["completion"][0]["content"] for row in rows] == ["1", "2"]
    assert [row["prompt"] for row in rows] == [question] * 2 and [row["columns"] for row in rows] == [{"notes": {"seen": []}}] * 2


def test_a_recording_can_be_followed_while_it_grows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recorded = flatspot.record(is_right, out=tmp_path / "run")
    verl_scores(recorded, verl_rows())
    flatspot.inspect(tmp_path / "run")  # from here on it is a run folder, too
    looks = flatspot.follow(tmp_path / "run", every=0.05)
    assert next(looks).summary["generations"]["total"] == 24
    verl_scores(recorded, verl_rows(n_prompts=8))
    assert next(looks).summary["generations"]["total"] == 56
    looks.close()


def test_a_server_of_rewards_is_recorded_as_openrlhf_calls_it(tmp_path):
    class Scores(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert list(body) == SURFACE["openrlhf"]["posts"]
            rewards = [float(query.endswith(str(label))) for query, label in zip(body["query"], body["labels"], strict=True)]
            data = json.dumps({"rewards": rewards, "scores": rewards, "extra_logs": {"dummy": rewards}}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Scores)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    file = tmp_path / "reward_func.py"
    url = f"http://127.0.0.1:{server.server_port}/get_reward"
    file.write_text(f"import flatspot\nreward_func = flatspot.record({url!r}, out={str(tmp_path / 'run')!r})\n")
    try:
        given = openrlhf_rewards(file, ["2 + 2 = 4", "2 + 2 = 5"], ["2 + 2 = "] * 2, ["4", "4"])
    finally:
        server.shutdown()
        server.server_close()
    assert [value["rewards"] for value in given] == [[1.0], [0.0]]
    assert sorted((row["completion"], row["rewards"]["reward_func"]) for row in rows_in(tmp_path / "run")) == [("4", 1.0), ("5", 0.0)]
    with pytest.raises(SettingsError, match="http://host:port"):
        flatspot.record("rewards.py:reward_func", out=tmp_path / "run")


def test_what_is_no_reward_of_these_trainers_is_refused(tmp_path):
    for wrong, message in [
        ({"reward": lambda a, b: 0}, "do not tell which trainer"),
        ({"reward": [is_right, is_right]}, "add them up|adds them up"),
        ({"reward": 3}, "expects a reward function"),
        ({"reward": is_right, "trainer": "nemo"}, "no trainer 'nemo'"),
        ({"reward": []}, "got no reward"),
        ({"reward": [Right, Short], "reward_weights": [1.0]}, "need 2 weights"),
    ]:
        with pytest.raises(SettingsError, match=message):
            flatspot.record(**wrong, out=tmp_path / "run")
    named = flatspot.record(lambda query, prompt, label: [0.5], out=tmp_path / "run", trainer="openrlhf")
    assert named(["2 + 2 = 4"], ["2 + 2 = "], ["4"]) == [0.5]
    assert rows_in(tmp_path / "run")[0]["completion"] == "4"


def test_recording_loads_no_deep_learning_stack(tmp_path):
    code = f"""import sys, flatspot
flatspot.record(lambda completions, **c: [1.0], out={str(tmp_path / "run")!r})(["a"], prompts=["b"])
print([name for name in ("numpy", "torch", "pyarrow", "duckdb") if name in sys.modules])"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_arrays_and_values_of_numpy_are_numbers(tmp_path):
    recorded = flatspot.record(lambda completions, **_: np.array([0.25, np.nan]), out=tmp_path / "run")
    assert np.array_equal(recorded(completions=["a", "b"], prompts=["p", "p"], level=[np.int64(3), 4]), [0.25, np.nan], equal_nan=True)
    rows = rows_in(tmp_path / "run")
    assert rows[0]["rewards"] == {"<lambda>": 0.25} and "nan" in rows[1]["error"] and rows[0]["columns"]["level"] == 3


def test_a_file_that_a_trainer_loads_by_its_path(tmp_path):
    (tmp_path / "mine.py").write_text("def compute_score(data_source, solution_str, ground_truth, extra_info=None):\n    return 0.5\n")
    (tmp_path / "record.py").write_text(
        f"import sys, flatspot\nsys.path.insert(0, {str(tmp_path)!r})\nfrom mine import compute_score\n"
        f"compute_score = flatspot.record(compute_score, out={str(tmp_path / 'run')!r})\n"
    )
    assert verl_scores(loaded(tmp_path / "record.py", "compute_score"), verl_rows()) == [0.5] * 24
    assert len(rows_in(tmp_path / "run")) == 24
