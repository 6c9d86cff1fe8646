"""An engine that remembers prompts from call to call is brought back, after a kill, to where it was."""

import contextlib

import pytest

import flatspot

pytestmark = pytest.mark.thorough


class Remembers:
    """A scripted engine that keeps what it was asked to read, and dies at a call."""

    name = "scripted"
    rows_per_call = 40

    def __init__(self, dies_at=None):
        self.inner = flatspot.ScriptedEngine({f"q{i}": {"yes": i / 30, "no": 1 - i / 30} for i in range(31)})
        self.read, self.calls, self.dies_at = [], 0, dies_at

    def sample(self, requests, sampling, on_tokens=None):
        if self.calls == self.dies_at:
            raise KeyboardInterrupt
        self.calls += 1
        self.read.append([r.text for r in requests])
        return self.inner.sample(requests, sampling, on_tokens)

    def recall(self, calls, sampling):
        self.read += [[r.text for r in requests] for requests in calls]

    def describe(self):
        return self.inner.describe()


def run(engine, out):
    prompts = [{"prompt": f"q{i}", "reference": "yes"} for i in range(31)]
    return flatspot.diagnose(prompts, engine, "exact_match", out=out, max_completions=32)


def test_after_a_kill_it_reads_what_it_had_read_and_ends_as_if_uninterrupted(tmp_path):
    whole = Remembers()
    expected = run(whole, tmp_path / "whole").verdicts
    assert whole.calls > 6
    for dies_at in (1, 4, whole.calls - 1):
        out = tmp_path / str(dies_at)
        with contextlib.suppress(KeyboardInterrupt):
            run(Remembers(dies_at), out)
        again = Remembers()
        found = run(again, out).verdicts
        assert again.read == whole.read
        assert again.calls == whole.calls - dies_at
        assert found.equals(expected)
