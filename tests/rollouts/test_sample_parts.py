"""An engine that draws several parts at a time: the same run folder as one that draws them one after another, whenever it is stopped."""

from __future__ import annotations

import hashlib
from collections import deque

import pytest

import flatspot
from flatspot.engines.scripted import ScriptedEngine
from flatspot.rollouts.parts import part_files

ANSWERS = {f"q{i}": {"yes": i / 12, "no": 1 - i / 12} for i in range(1, 12)}
ROWS = [{"prompt": prompt, "reference": "yes"} for prompt in ANSWERS]


class OneByOne(ScriptedEngine):
    rows_per_call = 8


class Ahead(OneByOne):
    """Begins two parts more than it hands over; the contract asks for `close`, which a generator has."""

    most_begun = 0

    def sample(self, requests, sampling, on_tokens=None):
        raise AssertionError("parts are drawn by sample_parts")

    def sample_parts(self, parts, sampling, on_tokens=None):
        begun: deque = deque()
        for part in parts:
            begun.append(super().sample(part, sampling, on_tokens))
            self.most_begun = max(self.most_begun, len(begun))
            if len(begun) == 3:
                yield begun.popleft()
        yield from begun


class Stops(Exception):
    pass


class StopsInPart(Ahead):
    """Fails as it begins its n-th part."""

    def __init__(self, n):
        super().__init__(ANSWERS)
        self.left = n

    def sample_parts(self, parts, sampling, on_tokens=None):
        def counted():
            for part in parts:
                self.left -= 1
                if self.left < 0:
                    raise Stops
                yield part

        yield from super().sample_parts(counted(), sampling, on_tokens)


def run(engine, out, **settings):
    settings = {"max_completions": 24, "out": out, "on_progress": lambda _: None} | settings
    return flatspot.diagnose(ROWS, engine, "exact_match", **settings)


def files(folder):
    """What is in the files of rows, and where they are."""
    return {part.file.name: hashlib.sha256(part.file.read_bytes()).hexdigest() for part in part_files(folder)}


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "one"
    return files(run(OneByOne(ANSWERS), folder).folder)


def test_the_files_are_those_of_one_part_after_another(tmp_path, expected):
    engine = Ahead(ANSWERS)
    assert files(run(engine, tmp_path / "ahead").folder) == expected
    assert engine.most_begun == 3 and len(expected) > 3


@pytest.mark.parametrize("moment", [0, 1, 4, 9, 15])
def test_a_run_that_stops_while_parts_are_begun_resumes_to_the_same_files(tmp_path, expected, moment):
    with pytest.raises(Stops):
        run(StopsInPart(moment), tmp_path / "run")
    assert files(run(Ahead(ANSWERS), tmp_path / "run").folder) == expected


def test_progress_rises_and_ends_with_all_rows(tmp_path):
    seen = []
    made = run(Ahead(ANSWERS), tmp_path / "run", on_progress=seen.append, fixed_completions=True)
    done = [one.rows_done for one in seen]
    assert done == sorted(done) and done[-1] == seen[-1].rows_total == made.summary.generations.total
