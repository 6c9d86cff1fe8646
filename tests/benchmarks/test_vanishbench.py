"""The yardstick itself: truths against plain sampling, each rule against its definition, budgets, and the same bits twice."""

import doctest
import importlib
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from flatspot.core.records import PromptRequest, Sampling
from flatspot.theory import OBJECTIVES, enumerate_policy

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "vanish"))

from vanishbench import entry as entry_module
from vanishbench import measure, ours, page, policy, rules, tasks, truth
from vanishbench.entries import ENTRIES, load_entry
from vanishbench.entry import BudgetSpent, new_world

BENCH = Path(__file__).parents[2] / "benchmarks" / "vanish"
N_LETTERS = len(policy.LETTERS)


def small(name, n=24, seed=0):
    """A task with fewer prompts, of the same kinds."""
    task = tasks.TASKS[name]
    total = sum(count for _, count in task.kinds)
    kinds = tuple((kind, max(1, n * count // total)) for kind, count in task.kinds)
    return tasks.draw_instance(tasks.Task(task.name, task.about, task.labels, kinds, task.graded), seed)


def logit(parameters, inputs, prompt, place, before, letter):
    """The formula of the policy, term by term."""
    c = inputs.command[prompt]
    pointed = sum(parameters.pointer[c, place, j] for j in range(policy.LENGTH) if inputs.word[prompt, j] == letter)
    after = parameters.after[before, letter] if place else 0.0
    return policy.POINTER_SCALE * pointed + parameters.bias[c, place, letter] + parameters.own[prompt, place, letter] + after


def random_policy(instance, seed=0):
    """The start policy with noise in every weight."""
    rng, parameters = np.random.default_rng(seed), instance.start.copy()
    for name in ("pointer", "bias", "own", "after"):
        weights = getattr(parameters, name)
        weights += rng.standard_normal(weights.shape) * 0.7
    return parameters


def sampled(parameters, inputs, prompt, n, rng):
    """Completions drawn letter by letter."""
    drawn = []
    for _ in range(n):
        letters = []
        for place in range(policy.LENGTH):
            z = np.array([logit(parameters, inputs, prompt, place, letters[-1] if place else 0, v) for v in range(N_LETTERS)])
            p = np.exp(z - z.max())
            letters.append(int(rng.choice(N_LETTERS, p=p / p.sum())))
        drawn.append("".join(policy.LETTERS[v] for v in letters))
    return drawn


@pytest.mark.parametrize("name", ["partial", "mixture"])
def test_truths_are_those_of_samples(name):
    instance, rng, n = small(name), np.random.default_rng(1), 1600
    parameters = random_policy(instance)
    for prompt in (0, 7, 13):
        p = truth.probabilities(parameters, instance.inputs, np.array([prompt]))
        rewards = instance.rewards[[prompt]]
        seen = np.array([rewards[0, policy.number_of(text)] for text in sampled(parameters, instance.inputs, prompt, n, rng)])
        assert abs(seen.mean() - truth.expected_rewards(p, rewards)[0]) < 4.5 * seen.std() / np.sqrt(n) + 1e-3
        assert seen.std() == pytest.approx(truth.reward_stds(p, rewards)[0], abs=0.03)
        groups = np.ptp(seen.reshape(-1, 8), axis=1) > 0
        assert abs(groups.mean() - truth.mixed_chance(p, rewards)[0]) < 4.5 * 0.5 / np.sqrt(len(groups))


def test_values_and_gradients_are_those_of_an_enumerated_policy():
    instance = small("partial", 6)
    parameters, prompt = random_policy(instance, 2), 3
    flat = [(name, at) for name in ("pointer", "bias", "own", "after") for at in np.ndindex(getattr(parameters, name).shape)]
    prefixes = [()] + [(u,) for u in range(N_LETTERS)] + [(t, u) for t in range(N_LETTERS) for u in range(N_LETTERS)]
    table = [[logit(parameters, instance.inputs, prompt, len(x), x[-1] if x else 0, v) for v in range(N_LETTERS)] for x in prefixes]
    jacobian = np.zeros((len(prefixes), N_LETTERS, len(flat)))
    place_of = {key: number for number, key in enumerate(flat)}
    c, word = instance.inputs.command[prompt], instance.inputs.word[prompt]
    for row, prefix in enumerate(prefixes):
        place = len(prefix)
        for v in range(N_LETTERS):
            for j in range(policy.LENGTH):
                jacobian[row, v, place_of["pointer", (c, place, j)]] += policy.POINTER_SCALE * (word[j] == v)
            jacobian[row, v, place_of["bias", (c, place, v)]] += 1
            jacobian[row, v, place_of["own", (prompt, place, v)]] += 1
            if place:
                jacobian[row, v, place_of["after", (prefix[-1], v)]] += 1
    exact = enumerate_policy(table, instance.rewards[prompt], jacobian=jacobian)
    p = truth.probabilities(parameters, instance.inputs, np.array([prompt]))
    assert np.allclose(p[0], exact.probability, atol=1e-15)
    assert truth.expected_rewards(p, instance.rewards[[prompt]])[0] == pytest.approx(exact.value, abs=1e-14)
    assert truth.reward_stds(p, instance.rewards[[prompt]])[0] == pytest.approx(exact.std, abs=1e-14)
    ours_gradient = policy.weighted_gradient(
        parameters, instance.inputs, np.array([prompt]), p * (instance.rewards[[prompt]] - exact.value)
    )
    assert np.allclose([getattr(ours_gradient, name)[at] for name, at in flat], exact.gradient, atol=1e-14)


def test_a_step_follows_the_sampled_gradient():
    # of two completions with coefficients 1 and -1, by differences of their log-probabilities
    instance = small("even", 8)
    parameters = random_policy(instance, 3)
    prompts, completions, coefficients = np.array([2]), np.array([[5, 130]]), np.array([[1.0, -1.0]])
    gradient = policy.weighted_gradient(parameters, instance.inputs, prompts, policy.completion_weights(completions, coefficients))

    def objective(changed):
        log_p = policy.log_probabilities(changed, instance.inputs, prompts)[0]
        return log_p[5] - log_p[130]

    for name, at in (("pointer", (0, 1, 2)), ("bias", (0, 0, 3)), ("own", (2, 2, 2)), ("after", (0, 5))):
        up, down = parameters.copy(), parameters.copy()
        getattr(up, name)[at] += 1e-5
        getattr(down, name)[at] -= 1e-5
        assert getattr(gradient, name)[at] == pytest.approx((objective(up) - objective(down)) / 2e-5, abs=1e-8)


def test_kinds_start_as_they_say():
    for name in tasks.TASKS:
        instance = tasks.draw_instance(tasks.TASKS[name], 4)
        p = truth.probabilities(instance.start, instance.inputs, np.arange(len(instance.texts)))
        value, flat, kinds = truth.expected_rewards(p, instance.rewards), truth.is_flat(p, instance.rewards), np.array(instance.kinds)
        assert len(instance.texts) == 240 == len(set(instance.texts))
        for kind in set(instance.kinds):
            own = kinds == kind
            if kind.startswith("unseen"):
                assert value[own].max() < 1e-6 and flat[own].all() and (instance.best[own] == 1).all()
            elif kind == "impossible":
                assert value[own].max() == 0 and flat[own].all() and instance.best[own].max() == 0
            elif kind == "solved":
                assert value[own].min() > 0.95
            elif kind == "stuck rule":
                assert np.allclose(value[own], 2 / 3, atol=1e-4) and flat[own].all()
            elif kind.startswith("rare"):
                assert np.median(value[own]) < 0.03 and flat[own].mean() > 0.9
            else:
                assert flat[own].mean() < 0.35
    assert truth.is_flat(p, instance.rewards).mean() < 0.25  # the last task: little is flat


@pytest.mark.parametrize(("name", "kind", "helped"), [("reversed", "unseen rule", 0.02), ("recalled", "unseen fact", None)])
def test_labels_help_other_prompts_where_the_task_says_so(name, kind, helped):
    instance = tasks.draw_instance(tasks.TASKS[name], 5)
    world = new_world(instance, 5)
    flat = np.flatnonzero(np.array(instance.kinds) == kind)
    labeled, others = [int(i) for i in flat[:12]], flat[12:]
    for row in labeled:
        world.label(row)
    rules.supervise(world, labeled, 100)
    after = world.values()[others].mean()
    assert after > helped if helped else after < 1e-3


def test_advantages_are_those_of_their_definitions():
    rng, k = np.random.default_rng(6), 8
    binary = (rng.random((40, k)) < 0.4).astype(float)
    graded = rng.random((40, k))
    for rewards in (binary, graded):
        for group, rloo, grpo in zip(rewards, rules.leave_one_out(rewards), rules.normalized(rewards), strict=True):
            for i in range(k):
                others = [group[j] for j in range(k) if j != i]
                assert rloo[i] == pytest.approx(group[i] - sum(others) / (k - 1), abs=1e-12)
            mean = sum(group) / k
            std = (sum((r - mean) ** 2 for r in group) / (k - 1)) ** 0.5
            assert np.allclose(grpo, [(r - mean) / (std + 1e-4) for r in group])
    for group, rloo, maxrl in zip(binary, rules.leave_one_out(binary), rules.by_mean(binary), strict=True):
        assert np.allclose(rloo / k, OBJECTIVES["rloo"].coefficients(group))
        # MaxRL with a baseline: what every coefficient is lowered by has no effect in expectation
        expected = OBJECTIVES["maxrl"].coefficients(group) - (group.sum() > 0) / k
        assert np.allclose(maxrl / k, expected)


class Watched(entry_module.World):
    """A world that writes down what it draws and learns."""

    def __post_init__(self):
        self.drawn, self.learned, self.of_flat = [], [], 0
        super().__post_init__()

    def sample_at(self, prompts, uniforms):
        if uniforms.size <= self.left:
            p = np.exp(policy.log_probabilities(self._parameters, self.instance.inputs, prompts))
            for chances, rewards in zip(p, self.instance.rewards[prompts], strict=True):
                all_equal = sum(chances[rewards == value].sum() ** 8 for value in set(rewards))
                self.of_flat += uniforms.shape[1] * (1 - all_equal < 0.34)
        group = super().sample_at(prompts, uniforms)
        self.drawn.append(group)
        return group

    def learn(self, group, advantages):
        self.learned.append((len(self.drawn), group))
        super().learn(group, advantages)


def watched(instance, left=2000, labels=2, seed=0):
    return Watched(instance, seed, left, labels)


def spend(rule, world):
    """Whether the budget ended it."""
    try:
        rule(world)
    except BudgetSpent:
        return True
    return False


@pytest.mark.parametrize(
    ("rule", "keeps"),
    [
        (rules.fixed_filter, lambda rewards: 0 < sum(rewards) < len(rewards)),
        (rules.band_pass, lambda rewards: 0.2 <= sum(rewards) / len(rewards) <= 0.8),
    ],
)
def test_filters_train_on_what_their_pilot_says(rule, keeps):
    world = watched(small("solved", 48), left=3000)
    assert spend(rule, world)
    pilot = world.drawn[0]
    assert ((pilot.rewards.mean(1) > 0.8) & pilot.mixed).any() and (pilot.rewards.mean(1) == 1).any()
    assert pilot.rewards.shape == (world.n, 8)
    kept = {i for i in range(world.n) if keeps(list(pilot.rewards[i]))}
    assert kept and {int(i) for group in world.drawn[1:] for i in group.prompts} == kept
    assert all(group.rewards.shape[1] == 8 for _, group in world.learned)


def test_a_filter_that_keeps_nothing_trains_on_all():
    world = watched(small("reversed", 9), left=1500)
    world._parameters.own[:] = 0
    world._parameters.pointer[:] = tasks.draw_instance(tasks.TASKS["reversed"], 0).start.pointer[:1]
    world.instance.rewards[:] = 0
    assert spend(rules.band_pass, world)
    assert {int(i) for group in world.drawn[1:] for i in group.prompts} == set(range(world.n))


def test_first_mixed_stops_at_the_first_difference():
    world = watched(small("mixture"), left=4000)
    spend(rules.first_mixed, world)
    by_prompt = {i: [] for i in range(world.n)}
    until = next(at for at, _ in world.learned) - 1
    for group in world.drawn[:until]:
        for i, row in zip(group.prompts, group.rewards, strict=True):
            by_prompt[int(i)] += list(row)
    for rewards in by_prompt.values():
        assert len(rewards) <= 32 and len(set(rewards[:-1])) == 1
        assert len(set(rewards)) == 2 or len(rewards) == 32
    mixed = {i for i, rewards in by_prompt.items() if len(set(rewards)) == 2}
    assert {int(i) for group in world.drawn[until:] for i in group.prompts} == mixed


def test_dapo_draws_until_eight_groups_are_mixed():
    world = watched(small("mixture", 48), left=6000)
    assert spend(rules.dapo, world)
    begin, filled = 0, Counter()
    for end, learned in world.learned:
        drawn = world.drawn[begin:end]
        mixed = [(int(i), tuple(r)) for g in drawn for i, r in zip(g.prompts, g.rewards, strict=True) if len(set(r)) > 1]
        before_last = sum(len(set(r)) > 1 for g in drawn[:-1] for r in g.rewards)
        assert [(int(i), tuple(r)) for i, r in zip(learned.prompts, learned.rewards, strict=True)] == mixed[:8]
        assert len(drawn) % 10 == 0 or before_last < 8 <= len(mixed)
        filled[len(mixed) >= 8] += 1
        begin = end
    assert filled[True] > 3


def test_skipping_is_as_probable_as_the_flat_groups_in_a_row_say():
    world = watched(small("mixture", 48))
    skipping = rules._Skipping(world)
    group = policy.Group(np.arange(4), np.zeros((4, 8), int), np.array([[0.0] * 8, [1.0] * 8, [0, 1.0] * 4, [0.0] * 8]))
    skipping.see(group, top=1.0)
    skipping.see(group[:1], top=1.0)
    assert skipping.flat_in_a_row[:4].tolist() == [2, 1, 0, 1] and skipping.solved[:4].tolist() == [False, True, False, False]
    # a quarter solved (over 1/12), half hard (over 1/6); then none solved, all hard
    assert skipping.q == {True: pytest.approx(0.5), False: pytest.approx(0.48)}
    n = 4000
    kept = Counter(int(i) for batch in (skipping.next_batch(iter([np.arange(4)] * 9)) for _ in range(n)) for i in batch)
    for i, chance in enumerate([0.48**2, 0.5, 1.0, 0.48]):
        assert kept[i] / n == pytest.approx(chance, abs=0.04)
    skipping.flat_in_a_row[:] = 10_000
    assert len(skipping.next_batch(world.batches(np.arange(world.n), 8))) == 8  # not for ever


def test_interleaved_fits_labels_after_every_fourth_step(monkeypatch):
    world, fitted = watched(small("reversed"), left=1300), []
    monkeypatch.setattr(world, "fit", lambda rows: fitted.append((len(world.learned), sorted(rows))))
    assert spend(rules.interleaved, world)
    assert [at for at, _ in fitted] == list(range(4, len(world.learned) + 1, 4)) and world.labels_left == 0
    assert {i for _, rows in fitted for i in rows} == set(world._answers) and len(world._answers) == 2


def test_draws_follow_the_policy():
    world = watched(small("even", 8), left=40_000)
    group = world.sample([3], 40_000)
    p = truth.probabilities(world.instance.start, world.instance.inputs, np.array([3]))[0]
    seen = np.bincount(group.completions[0], minlength=len(p)) / 40_000
    assert np.abs(seen - p).max() < 5 * np.sqrt(p.max() / 40_000)
    assert np.array_equal(group.rewards[0], world.instance.rewards[3, group.completions[0]])


def test_the_completions_of_a_seed_depend_on_seed_and_prompt_alone():
    world = watched(small("even", 8))
    engine, (a, b) = ours.WorldEngine(world), world.prompts[:2]
    requests = [PromptRequest(a, (1, 2, 3)), PromptRequest(b, (1, 2)), PromptRequest(a, (2,))]
    together = engine.sample(requests, Sampling())
    alone = [engine.sample([request], Sampling())[0] for request in reversed(requests)][::-1]
    assert together == alone and together[0][1] == together[2][0] and [len(row) for row in together] == [3, 2, 1]
    many = engine.sample([PromptRequest(a, tuple(range(400)))], Sampling())[0]
    p = truth.probabilities(world.instance.start, world.instance.inputs, np.array([0]))[0]
    assert abs(np.mean([p[policy.number_of(one.text)] for one in many]) - (p**2).sum()) < 0.1 and len(set(many)) > 5


@pytest.mark.parametrize("name", ENTRIES)
def test_no_entry_exceeds_its_budgets(name):
    listed = ENTRIES[name]
    world = watched(small("mixture", 48, seed=1), left=1500, labels=48 if listed.all_labels else 3, seed=1)
    spend(listed.rule, world)
    drawn = sum(group.completions.size for group in world.drawn)
    assert drawn == 1500 - world.left <= 1500 and world.left >= 0
    assert len(world._answers) <= (48 if listed.all_labels else 3) and world.labels_left >= 0
    assert world.spent_on_flat == world.of_flat <= drawn


def test_a_world_refuses_what_is_over_its_budgets():
    world = watched(small("even", 8), left=10, labels=1)
    world.label(2)
    assert world.label(2) == world.instance.answers[2]  # the second look is free
    for ask in (lambda: world.sample([0, 1], 6), lambda: world.label(3)):
        with pytest.raises(BudgetSpent):
            ask()
    assert world.left == 10 and not world.drawn


def test_flatspot_draws_what_it_says_and_starts_rl_from_its_choice(tmp_path):
    world, after = watched(small("reversed", 48, seed=2), left=20_000, labels=6, seed=2), []
    first = ours.diagnosed(world, tmp_path / "run")
    spent, fit = 20_000 - world.left, world.fit
    assert first.run.summary.generations.total == spent and 0 < len(first.labels) <= 6
    verdicts = first.run.verdicts["verdict"].to_pylist()
    assert {verdicts[row] for row in first.labels} == {"vanishing"}
    assert {verdicts[row] for row in first.trainable} <= {"learnable", "undecided"}
    world.fit = lambda rows: (fit(rows), after.append(world.values()))
    choice, curve = ours.warm_up(world, first.run, ours.bought(world, first.labels))
    assert sum(row["generations"] for row in curve) == 20_000 - world.left - spent
    assert choice.stop and [row["step"] for row in curve] == list(range(0, 5 * len(curve), 5))
    assert choice.step > 0 and np.array_equal(world.values(), after[choice.step - 1])


def test_the_same_bits_twice():
    # and whatever ran in between
    jobs = [measure.Job("reversed", name, 3, 1 / 32) for name in ("DAPO resampling", "GRESO-style skipping", "interleaved SFT")]
    first = {job: measure.measure(job) for job in jobs}
    again = {job: measure.measure(job) for job in reversed(jobs)}
    assert measure.float_digest(first) == measure.float_digest(again) and first == again
    other = {jobs[0]: measure.measure(measure.Job("reversed", "DAPO resampling", 4, 1 / 32))}
    assert measure.float_digest(first | other) != measure.float_digest(again)


@pytest.mark.thorough
def test_the_quick_run_writes_the_same_bytes_twice(tmp_path):
    for name, more in (("a", []), ("b", ["--jobs", "2"])):
        command = [sys.executable, str(BENCH / "run.py"), "--quick", "--out", str(tmp_path / name), *more]
        subprocess.run(command, check=True, capture_output=True, timeout=900)
    for file in ("results.json", "README.md", "vanish.svg"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_an_entry_of_somebody_else(tmp_path):
    (tmp_path / "mine.py").write_text(
        "def rule(world):\n    group = world.sample(range(8))\n    world.learn(group, group.rewards - group.rewards.mean())\n"
    )
    command = [sys.executable, str(BENCH / "run.py"), "--quick", "--task", "even", "--entry", "mine:rule", "RLOO"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "| mine:rule |" in done.stdout and "| RLOO |" in done.stdout and not list(tmp_path.glob("*.md"))
    assert load_entry(f"{tmp_path / 'mine.py'}:rule").rule.__name__ == "rule"
    for wrong in ("mine", f"{tmp_path / 'mine.py'}:other", "no_such_module:rule"):
        with pytest.raises(SystemExit, match="--entry"):
            load_entry(wrong)


def test_the_example_of_the_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n# (\S+)\n(.*?)```", (BENCH / "vanishbench" / "page.md").read_text(), re.DOTALL)
    assert [name for name, _ in blocks] == ["mine.py"]
    (tmp_path / "mine.py").write_text(blocks[0][1])
    done = measure.measure(measure.Job("solved", "mine.py:patient", 0, 1 / 4))
    plain = measure.measure(measure.Job("solved", "RLOO", 0, 1 / 4))
    assert done.on_flat < 0.8 * plain.on_flat and done.value > plain.value and done.budget - done.spent < 64


def outcome(share):
    return measure.Outcome(0.0, share, 1.0, 100, 100, 50, 2, ((0, 0.0), (100, share)))


def test_tables_mark_the_best_within_noise():
    rows = {
        "RLOO": [0.5, 0.6, 0.7],
        "DAPO resampling": [0.52, 0.59, 0.71],
        "MaxRL": [0.1, 0.2, 0.3],
        "SFT on all labels, then RLOO": [1, 1, 1],
    }
    outcomes = {measure.Job("even", name, seed): outcome(x) for name, values in rows.items() for seed, x in enumerate(values)}
    assert page.best_of(outcomes, "even") == "DAPO resampling"
    assert [name for name in rows if page.among_best(outcomes, "even", name)] == ["RLOO", "DAPO resampling"]
    assert page.ranks(outcomes) == {"RLOO": 2.0, "DAPO resampling": 1.0, "MaxRL": 3.0}
    table = page.in_short(outcomes).splitlines()
    assert table[2].startswith("| DAPO resampling | **61\u00a0±") and table[-1].startswith(
        "| *SFT on all labels, then RLOO* (reference) | 100\u00a0±\u00a00"
    )
    mean = measure.mean_of([0.5, 0.6, 0.7])
    assert mean.half == pytest.approx(4.302652729911275 * 0.1 / 3**0.5)  # the table of t with 2 degrees of freedom


def test_the_page_is_that_of_the_results():
    stored = json.loads((BENCH / "results.json").read_text())
    rows = stored["results"]
    outcomes = {measure.Job(row["task"], row["entry"], row["seed"]): measure.read_outcome(row["outcome"]) for row in rows}
    assert measure.float_digest(outcomes) == stored["digest"]
    assert {job.entry for job in outcomes} == set(ENTRIES) and {job.task for job in outcomes} == set(tasks.TASKS)
    assert page.render(outcomes) == (BENCH / "README.md").read_text()


@pytest.mark.parametrize("name", ["policy", "truth", "entry", "entries", "letters", "measure", "page"])
def test_examples_hold(name):
    module = importlib.import_module(f"vanishbench.{name}")
    assert doctest.testmod(module).failed == 0
