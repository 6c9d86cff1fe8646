"""Numbers that explanation and design pages state, computed again."""

import itertools
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

from flatspot.stats.evidence import evidence_of_counts
from flatspot.stats.intervals import binary_std_interval, clopper_pearson
from flatspot.stats.models.fitted import fit
from flatspot.stats.zones import epsilon_for_group
from flatspot.verdicts.judge import judge_prompts
from flatspot.verdicts.settings import JudgeSettings

ROOT = Path(__file__).parents[2]
VERDICTS = (ROOT / "docs/explanation/verdicts.md").read_text("utf-8")


def row(page, label):
    """The cells of the first table row that starts with this label."""
    found = re.search(rf"^\| {re.escape(label)} \| (.*) \|$", page, re.MULTILINE)
    assert found, label
    return found[1].split(" | ")


def test_the_table_of_epsilon():
    sizes = [int(cell) for cell in row(VERDICTS, "group size")]
    assert [float(cell) for cell in row(VERDICTS, "ε")] == [float(f"{epsilon_for_group(g):.3f}") for g in sizes]


def test_the_table_of_zeros_in_a_row():
    zeros = [int(cell) for cell in row(VERDICTS, "zeros in a row")]
    p = [float(cell) for cell in row(VERDICTS, "p may be as high as")]
    std = [float(cell) for cell in row(VERDICTS, "std may be as high as")]
    assert p == pytest.approx([float(clopper_pearson(0, n)[1]) for n in zeros], abs=0.0051)
    assert std == pytest.approx([float(binary_std_interval(0, n)[1]) for n in zeros], abs=0.0051)


def judged_first(hits, n):
    """What the first prompt of a set of 0/1 rewards, n draws each, is called, and its error."""
    hits, m = np.array(hits), len(hits)
    settings = JudgeSettings()
    prompt, reward, count = np.tile(np.arange(m), 2), np.repeat([0.0, 1.0], m), np.r_[n - hits, hits]
    evidence = evidence_of_counts(prompt[count > 0], reward[count > 0], count[count > 0], m)
    verdicts = judge_prompts(fit(evidence, np.ones(m), settings.zones), settings)
    return str(verdicts.verdict[0]), float(verdicts.error_probability[0])


@pytest.mark.parametrize("n", [8, 16, 32, 64])
def test_the_table_of_pooling(n):
    sets = ([0], [0] + [n // 2] * 59, [0] * 40 + [n // 2] * 20)
    for cell, hits in zip(row(VERDICTS, str(n)), sets, strict=True):
        verdict, error = judged_first(hits, n)
        assert cell.split()[0] == verdict
        if "under" in cell:
            assert error < 0.0001
        elif "error" in cell:
            shown = re.search(r"([\d.]+)%", cell)[1]
            digits = len(shown.partition(".")[2])
            assert round(100 * error, digits) == float(shown)


def test_zeros_needed_without_pooling():
    page = (ROOT / "design/0004-pooled-posterior-now.md").read_text("utf-8")
    for limit in (epsilon_for_group(8), 2 * epsilon_for_group(8)):
        needed = next(n for n in itertools.count(1) if clopper_pearson(0, n)[1] < limit)
        assert str(needed) in page
    assert "takes 72 zeros" in VERDICTS


def test_shares_of_equal_groups():
    assert round(0.95**8 + 0.05**8, 2) == 0.66
    assert round(0.9**8 + 0.1**8, 2) == 0.43
    assert round(0.99**8, 2) == 0.92


def expected_gradient(logits, rewards):
    """The gradient, exact, of E[r] for a policy with a free logit for each prefix and token, and the std of r.

    logits [prefix, token], in order (), (0,), …: all prefixes shorter than the completion; rewards [completion]
    """
    n_tokens = logits.shape[1]
    length = round(np.log(len(rewards)) / np.log(n_tokens))
    prefixes = {prefix: i for i, prefix in enumerate(p for size in range(length) for p in itertools.product(range(n_tokens), repeat=size))}
    p = np.exp(logits - logits.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    completions = list(itertools.product(range(n_tokens), repeat=length))
    probability = np.array([np.prod([p[prefixes[y[:i]], y[i]] for i in range(length)]) for y in completions])
    mean = probability @ rewards
    gradient = np.zeros_like(logits)
    for y, weight in zip(completions, probability * rewards, strict=True):
        for i in range(length):
            gradient[prefixes[y[:i]]] += weight * (np.eye(n_tokens)[y[i]] - p[prefixes[y[:i]]])
    return np.linalg.norm(gradient), np.sqrt(probability @ (rewards - mean) ** 2), length


def test_both_bounds_hold_on_policies_that_can_be_enumerated():
    rng = np.random.default_rng(0)
    theorem, tighter = [], []
    for _ in range(300):
        n_tokens, length = rng.integers(2, 5), rng.integers(1, 4)
        n_prefixes = sum(n_tokens**size for size in range(length))
        logits = rng.normal(size=(n_prefixes, n_tokens)) * rng.choice([0.5, 2, 6])
        norm, std, _ = expected_gradient(logits, rng.uniform(-1, 1, n_tokens**length))
        theorem.append(norm / (6 * length * std ** (2 / 3)))  # the Jacobian of a free logit has norm 1
        tighter.append(norm / (np.sqrt(length) * std))
    assert max(theorem) < 0.12
    assert max(tighter) <= np.sqrt(0.5) + 1e-9


def test_the_coin_reaches_the_tighter_bound_s_largest_share():
    norm, std, _ = expected_gradient(np.zeros((1, 2)), np.array([0.0, 1.0]))
    assert norm / std == pytest.approx(np.sqrt(0.5))


@pytest.mark.parametrize("p", [0.001, 0.1, 0.6])
def test_one_token_rl_gradient_is_p_times_the_supervised_one(p):
    logits = np.log([[p, 0.3 * (1 - p), 0.7 * (1 - p)]])
    norm, _, _ = expected_gradient(logits, np.array([1.0, 0.0, 0.0]))
    supervised = np.linalg.norm(np.array([1.0, 0.0, 0.0]) - np.exp(logits[0]))
    assert norm == pytest.approx(p * supervised)


def test_the_citation_names_the_paper_and_the_version():
    import flatspot

    text = (ROOT / "CITATION.cff").read_text("utf-8")
    assert f"version: {flatspot.__version__}" in text
    assert "arXiv:2310.20703" in text
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["urls"]
    assert all(url in text for url in urls.values())
    assert f"## [{flatspot.__version__}]" in (ROOT / "CHANGELOG.md").read_text("utf-8")
