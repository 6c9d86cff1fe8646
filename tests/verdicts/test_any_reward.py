"""Rewards as people have them, each with the verdict that is right for it: through the Python API, and by the command's --json."""

import json
import random
from collections import Counter

import numpy as np
import pytest
from click.testing import CliRunner

import flatspot
from flatspot.cli.main import cli
from flatspot.engines.scripted import ScriptedEngine

pytestmark = pytest.mark.thorough

# each a picture's caption as people write it; of one, the others are answers that share some words with it
CAPTIONS = (
    "a dog runs across the park to catch a ball",
    "a man throws a ball to his dog in the park",
    "two children play with a ball on the beach",
    "a woman walks her dog along the beach at sunset",
    "the man sits on a bench and reads a book",
    "a girl reads a book under a tree in the garden",
    "a boy rides his bike down the street in the rain",
    "people wait for the bus in the rain with umbrellas",
    "a chef cuts vegetables in the kitchen of a restaurant",
    "a woman cooks soup for her family in the kitchen",
    "a cat sleeps on the sofa next to the window",
    "the cat watches birds in the garden through the window",
)
GERMAN = (
    "Der Hund läuft durch den Park und fängt den Ball.",
    "Zwei Kinder spielen am Strand mit einem roten Ball.",
    "Die Frau kocht heute Abend eine Suppe für ihre Familie.",
    "Im Garten liest ein Mädchen unter dem Baum ein Buch.",
    "Der Junge fährt bei Regen mit dem Fahrrad zur Schule.",
    "Die Katze schläft auf dem Sofa neben dem großen Fenster.",
)
VALUE = "def value(completions, **columns):\n    return [float(text) for text in completions]\n"
AFTER_HASHES = (
    "def after_hashes(completions, reference, **columns):\n"
    "    return [float('#### ' in text and text.split('#### ')[-1] == right) for text, right in zip(completions, reference)]\n"
)


def command(*words):
    done = CliRunner().invoke(cli, [*map(str, words), "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def agreed(run, printed):
    """The summary of the API, where the command's says the same."""
    summary = run.summary.to_json()
    for key in ("verdict", "rule", "counts", "fractions", "caveat_codes", "components", "forecast", "reward"):
        assert summary[key] == printed[key], key
    return summary


def judge_log(folder, rows, *options, **settings):
    """Judge the rows of a log, by `inspect` of Python and of the command."""
    log = folder / "log.jsonl"
    log.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = flatspot.inspect(log, out=folder / "api", **settings)
    return agreed(run, command("inspect", log, "--out", folder / "cli", *options))


def judge_rewards(folder, rewards, *options, **settings):
    rows = [{"prompt": f"q{i}", "completion": f"a{i}-{k}", "reward": float(x)} for i, row in enumerate(rewards) for k, x in enumerate(row)]
    return judge_log(folder, rows, *options, **settings)


def judge_policy(folder, prompts, answers, reward, *options, **settings):
    """Draw 16 completions of each prompt from a table of answers and judge them; `reward` is a built-in or a function's source."""
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in prompts))
    (folder / "answers.json").write_text(json.dumps(answers))
    name = reward
    if reward.startswith("def "):
        name = f"{folder / 'reward.py'}:{reward[4 : reward.index('(')]}"
        (folder / "reward.py").write_text(reward)
    drawn = {"max_completions": 16, "fixed_completions": True}
    run = flatspot.diagnose(prompts, ScriptedEngine(answers), name, out=folder / "api", **drawn, **settings)
    words = ("--engine", "scripted", "--model", folder / "answers.json", "--reward", name, "--out", folder / "cli")
    return agreed(run, command("diagnose", folder / "prompts.jsonl", *words, "--max-completions", 16, "--fixed-completions", *options))


def normal(means, stds, n=16, seed=0):
    means, stds = np.broadcast_arrays(means, stds)
    return np.random.default_rng(seed).normal(means[:, None], stds[:, None], (len(means), n))


def alike(values):
    """Answers that are these numbers, each as probable as it is frequent."""
    counts = Counter(f"{value:.4f}" for value in values)
    return {text: n / len(values) for text, n in counts.items()}


@pytest.mark.parametrize("column", ["reference", "right"])
def test_a_final_answer_that_earns_nothing_by_itself_says_nothing_of_the_prompts(tmp_path, column):
    reward = AFTER_HASHES if column == "reference" else AFTER_HASHES.replace("reference", "right")
    prompts = [{"prompt": f"question {i}", column: str(100 + i)} for i in range(60)]
    answers = {row["prompt"]: {"It is 7.\n#### 7": 0.5, "It may be 8.\n#### 8": 0.5} for row in prompts}
    summary = judge_policy(tmp_path, prompts, answers, reward)
    assert summary["verdict"] == "warm-up" and summary["counts"]["vanishing"] == 60
    assert "all-low" in summary["caveat_codes"] and "low-references" not in summary["caveat_codes"]


def test_accuracy_and_format_are_learnable_where_half_of_the_completions_earn_both(tmp_path):
    reward = "def both(completions, **columns):\n    return [1.5 if text == '= 4' else 1.0 for text in completions]\n"
    prompts = [{"prompt": f"question {i}", "reference": "4"} for i in range(40)]
    answers = {row["prompt"]: {"= 4": 0.5, "4": 0.5} for row in prompts}
    summary = judge_policy(tmp_path, prompts, answers, reward, "--reward-range", 0, 1.5, reward_range=(0.0, 1.5))
    assert summary["verdict"] == "proceed" and summary["counts"]["learnable"] == 40


def test_a_reference_that_earns_less_than_the_completions_bounds_nothing(tmp_path):
    rewards = normal(np.full(48, 0.64), 0.2).clip(0, 1)
    prompts = [{"prompt": f"review {i}", "reference": "0.5"} for i in range(48)]
    answers = {row["prompt"]: alike(values) for row, values in zip(prompts, rewards, strict=True)}
    summary = judge_policy(tmp_path, prompts, answers, VALUE, "--reward-range", 0, 1, reward_range=(0.0, 1.0))
    assert summary["verdict"] == "proceed" and summary["counts"]["learnable"] == 48


@pytest.mark.parametrize(
    ("mean", "std", "verdict", "state"), [(0.13, 0.08, "proceed", "learnable"), (0.014, 0.007, "warm-up", "vanishing")]
)
def test_a_metric_is_judged_by_its_gain_and_not_by_the_distance_to_its_top(tmp_path, mean, std, verdict, state):
    rewards = normal(np.full(40, mean), std).clip(0, 1)
    summary = judge_rewards(tmp_path, rewards, "--reward-range", 0, 1, reward_range=(0.0, 1.0))
    assert summary["verdict"] == verdict and summary["counts"][state] == 40
    assert summary["forecast"]["8"]["informative"] > 0.95
    assert ("advantage-matters" in summary["caveat_codes"]) == (state == "vanishing")


def test_rouge_of_captions_that_share_words_is_learnable(tmp_path):
    pytest.importorskip("rouge_score", reason="the reward rouge_l needs the extra metrics")
    prompts = [{"prompt": f"picture {i}", "reference": caption} for i, caption in enumerate(CAPTIONS)]
    answers = {row["prompt"]: {text: 1 / 11 for text in CAPTIONS if text != row["reference"]} for row in prompts}
    summary = judge_policy(tmp_path, prompts, answers, "rouge_l")
    assert 0.2 < summary["reward"]["mean"] < 0.5 and summary["reward"]["std"]["p50"] > 0.05
    assert summary["verdict"] == "proceed" and summary["counts"]["learnable"] == len(CAPTIONS)


@pytest.mark.parametrize(("advantage", "state"), [("centered", "vanishing"), ("normalized", "learnable")])
def test_bleu_of_a_policy_that_cannot_translate_vanishes_where_advantages_are_centered(tmp_path, advantage, state):
    pytest.importorskip("sacrebleu", reason="the reward sacrebleu needs the extra metrics")
    prompts = [{"prompt": f"sentence {i}", "reference": text} for i, text in enumerate(GERMAN)]
    words = " ".join(CAPTIONS).split()
    english = [" ".join(words[start : start + n]) + "." for n in range(8, 48) for start in (0, 30, 60)]
    answers = {row["prompt"]: dict.fromkeys(english, 1 / len(english)) for row in prompts}
    summary = judge_policy(tmp_path, prompts, answers, "sacrebleu", "--advantage", advantage, advantage=advantage)
    assert 0.01 < summary["reward"]["mean"] < 0.03
    assert summary["counts"][state] == len(GERMAN)
    assert summary["verdict"] == ("warm-up" if state == "vanishing" else "proceed")
    assert ("advantage-matters" in summary["caveat_codes"]) == (state == "vanishing")


@pytest.mark.parametrize("offset", [1.0, 3.0, 8.0])
def test_what_differs_only_between_prompts_means_nothing(tmp_path, offset):
    centers = np.random.default_rng(1).normal(0, offset, 60)
    summary = judge_rewards(tmp_path, normal(centers, 0.7))
    assert summary["verdict"] == "proceed" and summary["counts"]["learnable"] == 60
    assert "range-assumed" in summary["caveat_codes"]


def test_one_outlier_changes_the_verdict_of_no_other_prompt(tmp_path):
    rewards = normal(np.linspace(-2, 2, 7), 0.7)
    outlier = normal(np.zeros(1), 1000.0, seed=1)
    (tmp_path / "few").mkdir()
    before = judge_rewards(tmp_path / "few", rewards)
    (tmp_path / "more").mkdir()
    after = judge_rewards(tmp_path / "more", np.vstack([rewards, outlier]))
    assert before["counts"]["learnable"] == 7 and after["counts"]["learnable"] == 8


def test_an_accuracy_that_is_always_0_does_not_become_learnable_by_its_format(tmp_path):
    form = np.random.default_rng(0).random((40, 16)) < 0.5
    rows = [
        {"prompt": f"q{i}", "completion": f"a{i}-{k}", "accuracy": 0.0, "format": float(x)}
        for i, row in enumerate(form)
        for k, x in enumerate(row)
    ]
    parts = {"columns": {"reward": ["accuracy", "format"]}}
    summary = judge_log(tmp_path, rows, "--reward-col", "accuracy", "--reward-col", "format", **parts)
    assert summary["verdict"] == "warm-up" and summary["rule"].startswith("'accuracy' vanishes")
    assert summary["components"]["accuracy"]["counts"]["vanishing"] == summary["components"]["format"]["counts"]["learnable"] == 40
    assert summary["components"]["accuracy"]["flat_share"] > 0.95
    assert "flat-component" in summary["caveat_codes"]


@pytest.mark.parametrize("cut", [0.9, 1.0])
def test_where_most_completions_are_cut_and_earn_nothing_the_limit_is_raised_first(tmp_path, cut):
    rows = [
        {"prompt": f"q{i}", "completion": f"a{i}-{k}", "reward": float(k >= 20 * cut), "truncated": k < 20 * cut}
        for i in range(40)
        for k in range(20)
    ]
    summary = judge_log(tmp_path, rows)
    assert summary["verdict"] == "fix-sampling" and summary["rule"].startswith("completions cut")
    assert "truncated-completions" in summary["caveat_codes"]


def test_a_set_of_undecided_prompts_needs_more_completions(tmp_path):
    rewards = np.zeros((40, 3))
    rewards[:4, 0] = 1
    summary = judge_rewards(tmp_path, rewards)
    assert summary["verdict"] == "draw-more" and summary["counts"]["undecided"] == 40
    assert summary["fractions"]["vanishing"]["lo"] < 0.2 < 0.8 < summary["fractions"]["vanishing"]["hi"]


def test_a_random_number_as_reward_is_noise_and_that_is_said_first(tmp_path):
    rng = random.Random(0)
    rows = [{"prompt": f"q{i}", "completion": f"a{k % 4}", "reward": rng.gauss(0, 1)} for i in range(40) for k in range(16)]
    summary = judge_log(tmp_path, rows)
    assert summary["verdict"] == "fix-reward" and summary["rule"].startswith("variance between equal completions")
    assert summary["caveat_codes"][0] == "noisy-reward" and summary["health"]["noise_share"] > 0.8


def test_a_random_number_as_reward_is_noise_though_no_completion_comes_twice(tmp_path):
    reward = "import random\n\n\ndef luck(completions, **columns):\n    return [random.gauss(0, 1) for _ in completions]\n"
    (tmp_path / "reward.py").write_text(reward)
    prompts = [{"prompt": f"question {i}"} for i in range(20)]
    engine = ScriptedEngine({row["prompt"]: {f"answer {k}": 1 / 5000 for k in range(5000)} for row in prompts})
    drawn = {"max_completions": 16, "fixed_completions": True}
    run = flatspot.diagnose(prompts, engine, f"{tmp_path / 'reward.py'}:luck", out=tmp_path / "run", **drawn)
    assert run.summary.verdict == "fix-reward" and run.summary.rule.startswith("variance between equal completions")
    assert run.summary.caveat_codes[0] == "noisy-reward" and run.summary.health.noise_share > 0.6
    again = flatspot.inspect(tmp_path / "run")  # it is of the run, and does not go with its first judging
    assert again.summary.verdict == "fix-reward" and again.summary.health.noise_share == run.summary.health.noise_share
