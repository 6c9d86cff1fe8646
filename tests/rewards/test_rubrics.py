"""Rubrics of verifiers as rewards, by stand-ins with what the rubrics of verifiers 0.1.5 and 0.1.14 (as 0.3.1) hold."""

import textwrap

import pytest

import flatspot
from flatspot.core.errors import RewardLoadError
from flatspot.core.records import Completion, Prompt
from flatspot.rewards.load import load_reward

RUBRICS = textwrap.dedent("""
    class Parser:
        def parse_answer(self, completion):
            return completion[-1]["content"].rpartition(" ")[2]

    class Rubric:  # 0.1.14 and 0.3.1
        def __init__(self, funcs, weights):
            self.funcs, self.weights, self.parser = funcs, weights, Parser()
            self.class_objects = {"parser": self.parser}

    class Older:  # 0.1.5
        def __init__(self, funcs, weights):
            self.reward_funcs, self.reward_weights, self.parser = funcs, weights, Parser()

    async def correct(completion, answer, parser):
        return 1.0 if parser.parse_answer(completion) == answer else 0.0

    def short(completion, **kwargs):
        return float(len(completion[-1]["content"]) < 10 and kwargs["state"]["prompt"] == kwargs["prompt"])

    def counted(completion, state):
        raise RuntimeError("a metric is not called")

    def by_info(info, task):
        return info["level"] / 10 if task == "sums" else -1.0

    def first_of_group(completions, answers):
        return [float(i == 0) for i, _ in enumerate(zip(completions, answers, strict=True))]

    def fails(completion):
        return 1.0 / (len(completion[-1]["content"]) - 3)

    rubric = Rubric([correct, short, counted, by_info], [1.0, 0.25, 0.0, 1.0])
    older = Older([correct, short], [2.0, 0.5])
    group = Rubric([first_of_group], [1.0])
    failing = Rubric([fails, correct], [1.0, 1.0])
    empty = Rubric([counted], [0.0])
    environment = object()
""")
PROMPT = [{"role": "user", "content": "2 + 2 ="}]


@pytest.fixture
def rubrics(tmp_path):
    (tmp_path / "rubrics.py").write_text(RUBRICS)
    return str(tmp_path / "rubrics.py")


def scores(address, texts, **columns):
    prompt = Prompt("a", PROMPT, {"answer": "4", "info": {"level": 3}, "task": "sums", **columns})
    with load_reward(address) as reward:
        return [(s.reward, s.error) for s in reward.score([prompt] * len(texts), [Completion(text, 1, False) for text in texts])]


@pytest.mark.parametrize(("name", "expected"), [("rubric", [1.0 + 0.25 + 0.3, 0.25 + 0.3, 1.0 + 0.3]), ("older", [2.0 + 0.5, 0.5, 2.0])])
def test_the_total_is_the_weighted_sum_of_functions_called_by_their_parameters(rubrics, name, expected):
    found = scores(f"verifiers:{rubrics}:{name}", ["it is 4", "it is 5", "surely it is 4"])
    assert [reward for reward, _ in found] == pytest.approx(expected)


def test_what_a_function_raises_is_no_zero(rubrics):
    found = scores(f"verifiers:{rubrics}:failing", ["a 4", "four 4"])
    assert found[0][0] is None and "fails: ZeroDivisionError" in found[0][1] and found[1] == (1 / 3 + 1.0, None)


def test_a_function_of_groups_gets_whole_groups_or_is_refused(rubrics, tmp_path):
    engine = flatspot.ScriptedEngine({"a": dict.fromkeys("0123", 0.25)})
    address = f"verifiers:{rubrics}:group"
    run = flatspot.diagnose(
        [{"prompt": "a"}], engine, address, max_completions=8, fixed_completions=True, group_size=4, out=tmp_path / "run"
    )
    assert sorted(run.rollouts["reward"].to_pylist()) == [0.0] * 6 + [1.0] * 2
    with pytest.raises(RewardLoadError, match="--fixed-completions"):
        flatspot.diagnose([{"prompt": "a"}], engine, address, group_size=4, out=tmp_path / "other")


@pytest.mark.parametrize(("name", "words"), [("empty", "no function with a weight"), ("environment", "no rubric of verifiers")])
def test_what_is_no_rubric_is_refused(rubrics, name, words):
    with pytest.raises(RewardLoadError, match=words):
        load_reward(f"verifiers:{rubrics}:{name}")
