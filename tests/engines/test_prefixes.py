"""What prompts begin with alike is read once, and changes no row."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_policies import tiny_policy

from flatspot.core.records import PromptRequest, Sampling
from flatspot.engines import HfEngine
from flatspot.engines.prefixes import split_prefixes

SMALL = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=7), min_size=1, max_size=5)


def work(prompts, lengths):
    """Tokens read, with padding, if prompt p is cut after `lengths[p]`: equal prefixes are one."""
    prefixes = {tuple(prompt[:n]) for prompt, n in zip(prompts, lengths, strict=True)}
    rests = [len(prompt) - n for prompt, n in zip(prompts, lengths, strict=True)]
    return len(prefixes) * max(map(len, prefixes)) + len(prompts) * max(rests)


@given(SMALL)
def test_the_parts_make_the_prompts(prompts):
    split = split_prefixes(prompts)
    if split is None:
        return
    assert [split.prefixes[group] + rest for group, rest in zip(split.of, split.rests, strict=True)] == prompts
    assert all(split.prefixes) and all(split.rests)
    lengths = [len(split.prefixes[group]) for group in split.of]
    assert work(prompts, lengths) <= 0.8 * len(prompts) * max(map(len, prompts))


@given(SMALL)
def test_no_split_counts_less_work_than_the_best_way_to_cut(prompts):
    """Against every way to cut them."""
    ways = itertools.product(*(range(1, len(prompt)) for prompt in prompts))
    least = min((work(prompts, lengths) for lengths in ways), default=None)
    split, whole = split_prefixes(prompts), len(prompts) * max(map(len, prompts))
    if least is None or least > 0.8 * whole:
        assert split is None
    if split is not None:
        assert work(prompts, [len(split.prefixes[group]) for group in split.of]) >= least


def test_examples_of_several_tasks_are_each_read_once():
    heads = [list(range(100 * task, 100 * task + 60)) for task in range(5)]
    prompts = [[*heads[i % 5], *range(1000 + i, 1010 + i + i % 3)] for i in range(40)]
    split = split_prefixes(prompts)
    assert split.prefixes == heads and max(map(len, split.rests)) == 12
    assert 5 * 60 + 40 * 12 == work(prompts, [60] * 40) < 0.3 * work(prompts, [0] * 40)


def test_prompts_without_a_common_beginning_are_read_whole():
    assert split_prefixes([[1, 2, 3], [2, 3, 4]]) is None
    assert split_prefixes([[1, 2, 3]]) is None
    assert split_prefixes([[1], [1, 2, 3, 4]]) is None  # nothing would be left of the first


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_rows_are_what_they_are_alone(kind):
    """Prompts of unequal length after beginnings of unequal length, with gaps between: held against the plain forward pass."""
    policy = tiny_policy(kind, seed=3, spread=0.15)
    heads = [" ".join(f"w{i}" for i in head) for head in (range(5, 25), range(24, 11, -1))]
    tails = ("w7 w8", "w9", "w5 w6 w7 w8 w9 w10")
    requests = [
        PromptRequest(f"{head} {tail}", tuple(range(20 * i, 20 * i + 20))) for i, (head, tail) in enumerate(itertools.product(heads, tails))
    ]
    requests.append(PromptRequest("w20 w21 w22", (900, 901)))
    settings = Sampling(max_new_tokens=24, temperature=1.5)
    engine = HfEngine(policy, mode="prefixed")
    encoded = [policy.tokenizer(request.text)["input_ids"] for request in requests]
    assert len(split_prefixes(encoded).prefixes) == 3
    rows = engine.sample(requests, settings)
    assert rows == HfEngine(policy, mode="uncached").sample(requests, settings)
    assert len({c.n_tokens for group in rows for c in group}) > 5


def test_a_cache_with_a_window_is_not_read_with_gaps(tiny):
    assert HfEngine(tiny("mistral")).mode == "shared"
    assert HfEngine(tiny("llama")).mode == "prefixed"
