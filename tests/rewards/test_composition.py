"""Rewards that compare the completions of a call: found out, called with whole groups, or refused; never a calm number."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flatspot
from flatspot.core.errors import RewardLoadError, RunFolderError
from flatspot.core.records import Completion, Prompt
from flatspot.engines.scripted import ScriptedEngine
from flatspot.rewards import answer_rewards, load_reward
from flatspot.rewards.guard import Guard
from flatspot.rewards.process import Failure
from flatspot.rollouts.notes import read_notes
from flatspot.rollouts.rescore import whole_groups

ANSWERS = {f"p{i}": {"x" * n: 1 / 16 for n in range(1, 17)} for i in range(3)}
ROWS = [{"prompt": prompt, "reference": "xxx"} for prompt in ANSWERS]


def ranked(completions: list[str], **_: Any) -> list[float]:
    """The rank within eight in a row, from 0 to 1."""
    values: list[float] = []
    for at in range(0, len(completions), 8):
        group = [len(text) for text in completions[at : at + 8]]
        values += [sum(other < own for other in group) / max(len(group) - 1, 1) for own in group]
    return values


def against_the_batch(completions: list[str], **_: Any) -> list[float]:
    mean = statistics.fmean(map(len, completions))
    return [len(text) - mean for text in completions]


def length(completions: list[str], **_: Any) -> list[float]:
    return [float(len(text)) for text in completions]


def rows(*texts: str, each: int = 1) -> tuple[list[Prompt], list[Completion]]:
    return [Prompt(str(i // each), "q") for i in range(len(texts))], [Completion(text, 1, False) for text in texts]


@pytest.mark.parametrize("isolate", [True, False])
def test_a_rank_is_found_out_and_refused_without_groups(isolate: bool) -> None:
    with load_reward(ranked, isolate=isolate) as reward, pytest.raises(RewardLoadError, match="add --fixed-completions"):
        reward.score(*rows("x", "xx", "xxx", "xxxx"))
    assert reward.compares


def test_with_groups_each_is_one_call() -> None:
    texts = ["x" * n for n in (1, 2, 3, 4, 8, 7, 6, 5)]

    def in_fours(completions: list[str], **_: Any) -> list[float]:
        return [value for at in range(0, len(completions), 4) for value in ranked(completions[at : at + 4])]

    with load_reward(in_fours, group_size=4) as reward:
        scores = reward.score(*rows(*texts, each=4))
        assert [score.reward for score in scores] == pytest.approx([0, 1 / 3, 2 / 3, 1, 1, 2 / 3, 1 / 3, 0])
        assert any("one group of 4 at a time" in note for note in reward.notes)
        assert answer_rewards(reward, [Prompt("a", "q", {"reference": "xx"})] * 3, "reference").mean == (None,) * 3
        with pytest.raises(RewardLoadError, match="multiple"):
            reward.score(*rows(*texts[:6], each=4))


def test_groups_of_another_size_than_the_planned_are_refused() -> None:
    with load_reward(ranked, group_size=4) as reward, pytest.raises(RewardLoadError, match="its groups are not of --group-size 4"):
        reward.score(*rows(*["x" * n for n in range(8)], each=4))


def test_what_compares_different_prompts_is_refused_with_groups_too() -> None:
    with load_reward(against_the_batch, group_size=4) as reward, pytest.raises(RewardLoadError, match="different prompts"):
        reward.score(*rows(*["x" * n for n in range(8)], each=4))


def test_a_reward_of_single_rows_is_called_again_three_times_at_most() -> None:
    calls: list[int] = []

    def counted(completions: list[str], **_: Any) -> list[float]:
        calls.append(len(completions))
        return [float(len(text)) for text in completions]

    reward = load_reward(counted, isolate=False)
    for _ in range(5):
        assert [score.reward for score in reward.score(*rows(*["x" * (n % 5) for n in range(40)]))] == [n % 5 for n in range(40)]
    assert calls == 3 * [40, 1, 1, 8 + 1] + 2 * [40]
    assert not reward.compares and reward.notes == []


def test_noise_is_no_comparison() -> None:
    state = iter(range(10**6))

    def noise(completions: list[str], **_: Any) -> list[float]:
        return [(next(state) * 2654435761 % 1000) / 1000 for _ in completions]

    reward = load_reward(noise, isolate=False)
    reward.score(*rows(*"abcdefgh"))
    assert not reward.compares and reward.notes[0][0] == "noisy-reward" and "its own noise" in reward.notes[0][1]


def test_a_noisy_reward_is_called_again_with_so_many_completions_that_its_noise_is_measured() -> None:
    rng = np.random.default_rng(0)

    def noise(completions: list[str], **_: Any) -> list[float]:
        return [len(text) + rng.normal(0, 2) for text in completions]

    reward = load_reward(noise, isolate=False)
    assert reward.noise is None
    for _ in range(12):
        reward.score(*rows(*("x" * n for n in range(10))))
    assert (reward.noise.n, reward.noise.unequal) == (64, 64)
    assert reward.noise.variance == pytest.approx(4, rel=0.5)  # a chi-square of 64 degrees: within 50% at 3 standard deviations
    steady = load_reward(lambda completions, **_: [float(len(text)) for text in completions], isolate=False)
    steady.score(*rows(*("x" * n for n in range(10))))
    assert steady.noise is None


def test_rounding_in_another_batch_is_no_comparison() -> None:
    def rounded(completions: list[str], **_: Any) -> list[float]:
        return [len(text) + 0.01 * len(completions) for text in completions]

    reward = load_reward(rounded, isolate=False)
    assert reward.score(*rows("x", "xx", "xxx"))[0].reward == pytest.approx(1.03)
    assert not reward.compares


def test_a_rank_that_has_to_be_called_in_parts_is_an_error_and_no_zero(tmp_path: Path) -> None:
    """Row by row each completion is the first of one: all 0, 99% vanishing, and not one error."""
    file = tmp_path / "rank.py"
    file.write_text(
        "import time\ndef rank(completions, **c):\n    if 'hang' in completions:\n        time.sleep(60)\n"
        "    return [sorted(completions).index(t) / len(completions) for t in completions]\n"
    )
    with load_reward(f"{file}:rank", timeout_s=0.3) as reward:
        reward.score(*rows("a"))  # the first call may take longer
        scores = reward.components[0].scores.score(*rows("b", "hang", "a", "c"))
    assert [value.number for value in scores] == [None] * 4
    assert "compares the completions of a call" in str(scores[0].error) and "TimeoutError" in str(scores[1].error)


def test_completions_of_groups_without_an_answer_in_time_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["x" * n for n in range(20)]
    with load_reward(ranked, group_size=4) as reward:
        reward.score(*rows(*texts[:4], each=4))
        monkeypatch.setattr(Guard, "ask", lambda *_: Failure("TimeoutError: no answer in 10 s", lost=True, late=True))
        reward.start_counting()
        scores = reward.score(*rows(*texts, each=4))
        assert all(score.reward is None for score in scores)
        assert any(note.startswith("20 completions are unscored") for note in reward.notes)


def test_triage_refuses_a_rank_before_anything_is_drawn_and_fixed_samples_measures_it(tmp_path: Path) -> None:
    with pytest.raises(RewardLoadError, match="--fixed-completions"):
        flatspot.diagnose(ROWS, ScriptedEngine(ANSWERS), ranked, out=tmp_path / "triage", max_completions=16)
    assert not (tmp_path / "triage").exists()
    fixed: dict[str, Any] = {"max_completions": 16, "fixed_completions": True}
    found = flatspot.diagnose(ROWS, ScriptedEngine(ANSWERS), ranked, out=tmp_path / "run", **fixed)
    by_hand = []
    for table in found.verdicts.to_pylist():
        texts = [row["completion"] for row in completions_of(found.folder, table["prompt_id"])]
        values = [value for at in range(0, 16, 8) for value in ranked(texts[at : at + 8])]
        by_hand.append(statistics.stdev(values))
        assert table["std"] == pytest.approx(by_hand[-1])
    assert found.summary["reward"]["std"]["mean"] == pytest.approx(statistics.fmean(by_hand))
    assert any("one group of 8 at a time" in caveat for caveat in found.summary["caveats"])
    assert whole_groups(found.folder, "diagnose", 8) == 8
    assert whole_groups(found.folder, "diagnose", 5) is None and whole_groups(found.folder, "inspect", 8) is None
    plain = flatspot.rescore(found.folder, length, out=tmp_path / "plain")  # whose caveats are not those of the other reward
    assert not any("one group" in caveat for caveat in plain.summary["caveats"])
    with pytest.raises(RunFolderError, match="rewards of whole groups of 8"):
        flatspot.diagnose(
            ROWS, ScriptedEngine(ANSWERS), ranked, out=tmp_path / "run", max_completions=20, fixed_completions=True, group_size=4
        )
    with pytest.raises(RewardLoadError, match="--group-size"):
        flatspot.diagnose(ROWS, ScriptedEngine(ANSWERS), ranked, out=tmp_path / "odd", max_completions=12, fixed_completions=True)


def completions_of(run: Path, prompt: str) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    found = [row for part in sorted((run / "rollouts").glob("part-*")) for row in pq.read_table(part).to_pylist()]
    return sorted((row for row in found if row["prompt_id"] == prompt), key=lambda row: row["sample_idx"])


def in_groups_of_four(completions: list[str], **_: Any) -> list[float]:
    mean = statistics.fmean(map(len, completions))
    return [len(text) - mean for text in completions] if len(completions) <= 4 else ranked_by_fours(completions)


def ranked_by_fours(completions: list[str]) -> list[float]:
    return [value for at in range(0, len(completions), 4) for value in in_groups_of_four(completions[at : at + 4])]


def test_equal_completions_of_two_groups_are_no_noise_under_a_rank(tmp_path: Path) -> None:
    answers = {f"p{i}": {"x": 0.5, "xxx": 0.5} for i in range(2)}
    fixed: dict[str, Any] = {"fixed_completions": True, "max_completions": 8, "group_size": 4}
    plain = flatspot.diagnose(list(answers), ScriptedEngine(answers), length, out=tmp_path / "plain", **fixed)
    ranks = flatspot.rescore(plain.folder, in_groups_of_four, out=tmp_path / "ranks", group_size=4)
    assert ranks.summary["caveat_codes"].count("noisy-reward") == 0
    assert read_notes(ranks.folder).whole_groups == 4
    again = flatspot.rescore(ranks.folder, length, out=tmp_path / "again")  # what was found out of one reward holds for that alone
    assert read_notes(again.folder).whole_groups is None
