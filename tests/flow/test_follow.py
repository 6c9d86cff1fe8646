"""A log that is followed while a real process writes it, against what a plain reading of its complete lines gives."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import flatspot
from flatspot.core.errors import ImportFormatError, RunFolderError, SettingsError
from flatspot.flow import follow as follow_module

WRITER = """
import json, os, random, sys, time
folder, files, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
draw = random.Random(seed)
for step in range(1, files + 1):
    rows = [
        {"input": f"question {i}", "output": str(k), "gts": "", "score": float(draw.random() < i / 6), "step": step}
        for i in range(7) for k in range(4)
    ]
    data = "".join(json.dumps(row) + "\\n" for row in rows).encode()
    with open(f"{folder}/{step}.jsonl", "ab", buffering=0) as file:
        while data:  # in pieces that end anywhere within a line
            n = draw.randint(100, 900)
            file.write(data[:n])
            data = data[n:]
            time.sleep(0.1)
print("written", flush=True)
time.sleep(600)
"""


@contextmanager
def writer_of(folder, files=6, seed=0):
    folder.mkdir(exist_ok=True)
    with subprocess.Popen([sys.executable, "-c", WRITER, str(folder), str(files), str(seed)], stdout=subprocess.PIPE) as writer:
        try:
            yield writer
        finally:
            writer.kill()


def rewards_in(folder):
    """prompt → rewards, by its complete lines and nothing of flatspot's."""
    found = defaultdict(list)
    for file in folder.glob("*.jsonl"):
        for line in file.read_bytes().split(b"\n"):
            try:
                row = json.loads(line)
            except ValueError:
                continue
            found[row["input"]].append(row["score"])
    return found


def rewards_of(run):
    rows = run.rollouts
    texts = dict(zip(run.prompts["prompt_id"].to_pylist(), run.prompts["prompt"].to_pylist(), strict=True))
    found = defaultdict(list)
    for name, reward in zip(rows["prompt_id"].to_pylist(), rows["reward"].to_pylist(), strict=True):
        found[texts[name]].append(reward)
    return found


def assert_is_log(run, folder):
    truth, found = rewards_in(folder), rewards_of(run)
    assert {text: sorted(own) for text, own in found.items()} == {text: sorted(own) for text, own in truth.items()}
    numbers = {
        text: (int(n), mean) for text, n, mean in zip(*(run.to_arrow()[c].to_pylist() for c in ("prompt", "n_scored", "mean")), strict=True)
    }
    assert numbers == {text: (len(own), pytest.approx(np.mean(own))) for text, own in truth.items()}


def options(tmp_path, **others):
    return {"every": 0.2, "reward_range": (0, 1), "out": tmp_path / "run"} | others


def test_what_a_writer_appends_is_judged_as_it_comes_and_half_a_line_is_left_for_later(tmp_path):
    log, said, totals = tmp_path / "log", [], []
    runs = flatspot.follow(log, say=said.append, **options(tmp_path))
    with writer_of(log, files=1000):  # until it is killed, within a line or not
        for run in itertools.islice(runs, 3):
            totals.append(run.summary.generations.total)
            assert not [text for text in run.summary.caveats if "left out" in text]
            assert run.summary.generations.total == len(flatspot.open(tmp_path / "run").rollouts)
    assert totals == sorted(set(totals))
    lines = (log / "1.jsonl").read_bytes()
    cut = lines.index(b"\n") + 30
    (log / "9999.jsonl").write_bytes(lines[:cut])  # whatever the writer was at: this line is cut
    run = next(runs)
    assert_is_log(run, log)
    assert run.summary.generations.total > totals[-1]
    assert not [text for text in run.summary.caveats if "left out" in text]
    with (log / "9999.jsonl").open("ab") as file:  # the rest comes
        file.write(lines[cut:])
    assert_is_log(next(runs), log)
    runs.close()
    assert [text for text in said if "waiting" not in text] == []
    assert [entry.name for entry in (tmp_path / "run").iterdir() if entry.name.endswith(".tmp")] == []


def write_rows(path, values, step=1):
    rows = [
        {"input": f"q{i}", "output": str(k), "gts": "", "score": r, "step": step, "uid": f"{step}{i}_{k}_0"}
        for i, own in enumerate(values)
        for k, r in enumerate(own)
    ]
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_a_file_that_is_rewritten_cut_or_removed_is_read_again(tmp_path):
    log = tmp_path / "log"
    for step in (1, 2, 3):
        write_rows(log / f"{step}.jsonl", [[0.0, 1.0, 1.0, 0.0], [1.0] * 4], step)
    runs = flatspot.follow(log, **options(tmp_path))
    assert_is_log(next(runs), log)
    write_rows(log / "2.jsonl", [[0.0] * 4, [0.5, 0.25, 1.0, 1.0], [1.0, 0.0]], 2)  # longer, with another beginning
    assert_is_log(next(runs), log)
    text = (log / "3.jsonl").read_text().splitlines(keepends=True)
    (log / "3.jsonl").write_text("".join(text[:3]))  # shorter
    assert_is_log(next(runs), log)
    (log / "1.jsonl").unlink()
    assert_is_log(next(runs), log)
    (log / "3.jsonl").write_text("".join([*text[:2], text[3], text[2], *text[4:]]))  # as long as at first, in another order
    run = next(runs)
    assert_is_log(run, log)
    runs.close()
    again = flatspot.inspect(log, reward_range=(0, 1), out=tmp_path / "again")
    by = "prompt_id"
    assert run.verdicts.sort_by(by).drop_columns(["why"]).equals(again.verdicts.sort_by(by).drop_columns(["why"]))
    assert run.summary.fractions == again.summary.fractions


def test_a_row_that_is_changed_far_from_both_ends_of_a_growing_file_is_read_again(tmp_path):
    log = tmp_path / "log"
    rewards = [[0.0, 1.0]] * 200
    write_rows(log / "1.jsonl", rewards)
    runs = flatspot.follow(log, **options(tmp_path))
    assert_is_log(next(runs), log)
    rewards[100] = [1.0, 1.0]
    write_rows(log / "1.jsonl", [*rewards, [0.5, 0.0]])
    assert_is_log(next(runs), log)
    runs.close()


def test_rows_that_go_with_their_file_are_said_to_count_no_longer(tmp_path):
    log, said = tmp_path / "log", []
    for step in (1, 2, 3):
        write_rows(log / f"{step}.jsonl", [[0.0, 1.0]], step)
    runs = flatspot.follow(log, say=said.append, **options(tmp_path))
    next(runs)
    (log / "1.jsonl").rename(log / "1.jsonl.1")  # as logrotate does
    assert len(next(runs).rollouts) == 4
    assert [text for text in said if "count no longer" in text] == [
        f"{log / '1.jsonl'}: removed or cut since the last look, so rows that were judged before count no longer."
    ]
    (log / "2.jsonl").write_text("")
    (log / "4.jsonl").write_text((log / "3.jsonl").read_text())
    assert len(next(runs).rollouts) == 4
    runs.close()
    assert "2.jsonl: removed or cut" in said[-1] and len(said) == 2


def test_parquet_files_that_are_replaced_are_read_as_they_are(tmp_path):
    log = tmp_path / "log"
    log.mkdir()

    def write(step, rewards):
        n = len(rewards)
        columns = {"step": [step] * n, "prompt": [f"p{i // 4}" for i in range(n)], "completion": [str(i) for i in range(n)]}
        pq.write_table(pa.table(columns | {"accuracy": rewards, "advantage": [0.0] * n}), log / f"completions_{step:05d}.parquet")

    write(1, [0.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    (log / "completions_00002.parquet").write_bytes((log / "completions_00001.parquet").read_bytes()[:300])  # being written
    runs = flatspot.follow(log, **options(tmp_path))
    run = next(runs)
    assert rewards_of(run) == {"p0": [0.0, 1.0, 0.0, 1.0], "p1": [1.0] * 4}
    assert not [text for text in run.summary.caveats if "passed over" in text]
    write(2, [0.0] * 4)
    assert sorted(rewards_of(next(runs))["p0"]) == [0.0] * 6 + [1.0] * 2
    write(1, [1.0] * 8)
    assert {text: sum(own) for text, own in rewards_of(next(runs)).items()} == {"p0": 4.0, "p1": 4.0}
    runs.close()


def test_only_what_is_new_is_read(tmp_path, monkeypatch):
    log, read = tmp_path / "log", []
    for step in range(70):
        write_rows(log / f"{step}.jsonl", [[0.0, 1.0]], step)
    look = follow_module.KeptRows.look

    def counted(self, *given):
        found = look(self, *given)
        read.append(self.bytes_read)
        return found

    monkeypatch.setattr(follow_module.KeptRows, "look", counted)
    runs = flatspot.follow(log, **options(tmp_path))
    next(runs)
    sizes = {file: file.stat().st_size for file in log.iterdir()}
    assert read == [sum(sizes.values())]
    with (log / "3.jsonl").open("a") as file:
        file.write((log / "4.jsonl").read_text())
    write_rows(log / "70.jsonl", [[1.0, 1.0]], 70)
    run = next(runs)
    assert read[1] == sizes[log / "4.jsonl"] + (log / "70.jsonl").stat().st_size
    assert_is_log(run, log)
    for step in range(71, 140):  # a look for each: more parts than are kept apart
        write_rows(log / f"{step}.jsonl", [[1.0, 0.0]], step)
        kept = next(f for f in [runs.gi_frame.f_locals["growing"].kept])
        kept.look([file for file in log.iterdir() if file.stem != "139"], kept._blocks)
    assert len(kept.parts.paths) > 64
    assert_is_log(next(runs), log)
    assert len(kept.parts.paths) == 1
    runs.close()


def test_a_file_that_goes_between_a_look_and_the_reading_is_said_and_the_next_look_tried(tmp_path, monkeypatch):
    log, said = tmp_path / "log", []
    write_rows(log / "1.jsonl", [[0.0, 1.0]])
    runs = flatspot.follow(log, say=said.append, **options(tmp_path))
    next(runs)
    write_rows(log / "2.jsonl", [[1.0, 1.0]], 2)
    look = follow_module.KeptRows.look

    def after_it_went(self, files, blocks):
        monkeypatch.setattr(follow_module.KeptRows, "look", look)
        (log / "2.jsonl").unlink()
        write_rows(log / "3.jsonl", [[0.5, 1.0]], 3)
        return look(self, files, blocks)

    monkeypatch.setattr(follow_module.KeptRows, "look", after_it_went)
    assert_is_log(next(runs), log)
    runs.close()
    assert len(said) == 1 and "2.jsonl: cannot be read: No such file" in said[0]


def test_csv_is_read_up_to_its_last_whole_line(tmp_path):
    log = tmp_path / "log.csv"
    log.write_text("question,reward\na,0\na,1\na,0.")
    runs = flatspot.follow(log, **options(tmp_path))
    assert rewards_of(next(runs)) == {"a": [0.0, 1.0]}
    with log.open("a") as file:
        file.write("75\nb,1\n")
    assert rewards_of(next(runs)) == {"a": [0.0, 1.0, 0.75], "b": [1.0]}
    runs.close()


def test_a_log_that_is_not_there_yet_is_waited_for_and_one_that_cannot_be_read_is_named(tmp_path):
    said = []
    runs = flatspot.follow(tmp_path / "log", columns={"reward": "marks"}, say=said.append, **options(tmp_path))
    folder = tmp_path / "log"
    pid = os.fork()
    if pid == 0:  # another process writes it a little later
        time.sleep(1)
        write_rows(folder / "1.jsonl", [[0.0, 1.0]])
        os._exit(0)
    with pytest.raises(ImportFormatError, match="there is no column 'marks'"):
        next(runs)
    os.waitpid(pid, 0)
    assert said[0].startswith("waiting for the first rows in") and "there is no column 'marks'" in said[1]
    assert not (tmp_path / "run").exists()


def test_a_run_folder_of_another_log_is_not_replaced(tmp_path):
    log = tmp_path / "log"
    write_rows(log / "1.jsonl", [[0.0, 1.0]])
    drawn = flatspot.inspect(log, reward_range=(0, 1), out=tmp_path / "run")
    before = {file.name: file.read_bytes() for file in (tmp_path / "run").glob("*.*")}
    with pytest.raises(RunFolderError, match="not a run folder of a log that was followed"):
        next(flatspot.follow(log, **options(tmp_path)))
    assert {file.name: file.read_bytes() for file in (tmp_path / "run").glob("*.*")} == before
    with pytest.raises(SettingsError, match="does not grow"):
        flatspot.follow(drawn.folder)
    with pytest.raises(SettingsError, match="--every"):
        flatspot.follow(log, every=0.0)
    next(flatspot.follow(log, **options(tmp_path, out=tmp_path / "own")))
    with pytest.raises(RunFolderError, match="of other columns"):
        next(flatspot.follow(log, columns={"prompt": "gts"}, **options(tmp_path, out=tmp_path / "own")))


def start_follower(tmp_path, *further):
    command = [
        sys.executable,
        "-m",
        "flatspot.cli",
        "inspect",
        str(tmp_path / "log"),
        "--follow",
        "--every",
        "0.2",
        "--reward-range",
        "0",
        "1",
    ]
    return subprocess.Popen(
        [*command, "--out", str(tmp_path / "run"), *further],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore Ctrl-C, and so would this
    )


def test_the_command_ends_on_ctrl_c_with_a_whole_run_folder(tmp_path):
    with writer_of(tmp_path / "log") as writer, start_follower(tmp_path, "--json") as follower:
        lines = [json.loads(follower.stdout.readline())]
        assert writer.stdout.readline() == b"written\n"
        while lines[-1]["generations"]["total"] < 6 * 28:
            lines.append(json.loads(follower.stdout.readline()))
        follower.send_signal(signal.SIGINT)
        try:
            out, err = follower.communicate(timeout=60)
        finally:
            follower.kill()
    assert (follower.returncode, out, err) == (0, "", "")
    assert_is_log(flatspot.open(tmp_path / "run"), tmp_path / "log")
    again = flatspot.inspect(tmp_path / "run")
    assert dict(again.summary.counts.items()) == lines[-1]["counts"]


@pytest.mark.parametrize("after", [1, 2, 3])
def test_a_follower_that_is_killed_is_started_again_where_it_was(tmp_path, after):
    log = tmp_path / "log"
    write_rows(log / "1.jsonl", [[0.0, 1.0, 1.0, 1.0], [1.0] * 4])
    follower = start_follower(tmp_path, "--json")
    try:
        json.loads(follower.stdout.readline())
        write_rows(log / "2.jsonl", [[0.0, 0.0, 1.0, 1.0]], 2)
        time.sleep(0.25 * after)  # somewhere in its next judging
    finally:
        follower.kill()
        follower.communicate()
    run = next(itertools.islice(flatspot.follow(log, **options(tmp_path)), 1))
    assert_is_log(run, log)
    assert_is_log(flatspot.inspect(tmp_path / "run"), log)
    assert [entry.name for entry in (tmp_path / "run").iterdir() if entry.name.endswith(".tmp")] == []
