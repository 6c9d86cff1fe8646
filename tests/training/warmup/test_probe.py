"""What a probe says, against transformers' own numbers and against the truth of a scripted policy."""

import dataclasses
import json

import numpy as np
import pyarrow.parquet as pq
import pytest

torch = pytest.importorskip("torch")

from tiny_policies import tiny_model, word_tokenizer  # noqa: E402

import flatspot  # noqa: E402
from flatspot.core.errors import RunFolderError, SettingsError  # noqa: E402
from flatspot.engines.policy import load_policy  # noqa: E402
from flatspot.engines.scripted import ScriptedEngine  # noqa: E402
from flatspot.rewards import load_reward  # noqa: E402
from flatspot.training.warmup.live_policy import LivePolicy  # noqa: E402
from flatspot.training.warmup.probe import ProbeSettings, draw, labels_solved, probed_prompts, read_rows, shares_of  # noqa: E402

# 60 prompts that vanish, 30 learnable, 10 solved
CHANCES = {f"q{i}": 0.0 if i < 60 else 0.4 if i < 90 else 1.0 for i in range(100)}


def scripted(chances):
    return ScriptedEngine({name: {"1": p, "0": 1 - p} if 0 < p < 1 else {"1" if p else "0": 1.0} for name, p in chances.items()})


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    rows = [{"prompt": name, "reference": "1"} for name in CHANCES]
    return flatspot.diagnose(
        rows, scripted(CHANCES), "exact_match", out=tmp_path_factory.mktemp("probe") / "run", max_completions=32
    ).folder


@pytest.fixture(scope="module")
def reward():
    with load_reward("exact_match") as loaded:
        yield loaded


def test_prompts_are_chosen_by_verdict_and_never_those_with_labels(run):
    probed = probed_prompts(run, ProbeSettings(prompts=40), without=[f"q{i}" for i in range(20)])
    names = {prompt.id: prompt.text for prompt in probed.prompts}
    assert len(names) == 40 and not set(names.values()) & {f"q{i}" for i in range(20)}
    assert np.bincount(probed.stratum).tolist() == [30, 7, 3]
    truth = [0 if CHANCES[p.text] == 0 else 2 if CHANCES[p.text] == 1 else 1 for p in probed.prompts]
    assert np.sum(probed.stratum != truth) <= 1  # the run's verdicts may be wrong in 3 of 100
    assert probed.of_run == pytest.approx([0.6, 0.3, 0.1], abs=0.02)
    assert [p.columns["reference"] for p in probed.prompts] == ["1"] * 40 and np.isnan(probed.answers).all()
    assert len(probed_prompts(run, ProbeSettings(prompts=1000)).prompts) == 100
    again = probed_prompts(run, ProbeSettings(prompts=40), without=[f"q{i}" for i in range(20)])
    other = probed_prompts(run, ProbeSettings(prompts=40, seed=1), without=[f"q{i}" for i in range(20)])
    assert again.prompts == probed.prompts != other.prompts
    with pytest.raises(SettingsError, match="every prompt has a label"):
        probed_prompts(run, ProbeSettings(), without=list(CHANCES))
    with pytest.raises(RunFolderError, match="has not been judged"):
        probed_prompts(run.parent, ProbeSettings())


def test_shares_are_those_of_the_whole_run(run, reward):
    probed = probed_prompts(run, ProbeSettings(prompts=40, max_completions=64, target_error=0.02))
    before = shares_of(draw(scripted(CHANCES), reward, probed), probed)
    for name, truth in (("vanishing", 0.6), ("learnable", 0.3), ("solved", 0.1), ("recovered", 0.4)):
        share = before[name]
        assert share["mean"] == pytest.approx(truth, abs=0.04) and share["lo"] <= truth <= share["hi"]
    assert before["ready"]["mean"] == pytest.approx(0.4, abs=0.05)
    assert before["reward"] == pytest.approx(0.3 * 0.4 + 0.1, abs=0.05)
    assert before["kept"]["mean"] > 0.95
    better = {name: min(1.0, p + 0.3) for name, p in CHANCES.items()}
    after = shares_of(draw(scripted(better), reward, probed), probed)
    assert after["ready"]["mean"] > 0.9 and after["vanishing"]["mean"] < 0.05
    worse = dict.fromkeys(CHANCES, 0.0)
    lost = shares_of(draw(scripted(worse), reward, probed), probed)
    assert lost["kept"]["hi"] < 0.5 and lost["ready"]["mean"] < 0.1


def test_equal_seeds_draw_equal_completions(run, reward):
    probed = probed_prompts(run, ProbeSettings(prompts=20))
    one, two = (shares_of(draw(scripted(CHANCES), reward, probed), probed) for _ in range(2))
    assert one == two


def test_nothing_scored_is_no_share(run):
    def fails(completions, **columns):
        raise ValueError("no database")

    probed = probed_prompts(run, ProbeSettings(prompts=4))
    with load_reward(fails, isolate=False) as broken:
        found = shares_of(draw(scripted(CHANCES), broken, probed), probed)
    assert (found["scored"], "ready" in found) == (0.0, False) and "no database" in found["error"]


def test_labels_that_are_solved(run, reward):
    probed = probed_prompts(run, ProbeSettings(prompts=4))
    prompts = [flatspot.core.records.Prompt(name, name, {"reference": "1"}) for name in ("q95", "q96", "q97", "q98")]
    share, drawn = labels_solved(scripted(CHANCES), reward, probed, prompts)
    assert share > 0.9 and drawn >= 16
    one, drawn = labels_solved(scripted(CHANCES), reward, probed, prompts[:1])
    assert 0.7 < one < 0.9 and drawn > 16  # a single label is never quite sure: it is learned
    never, drawn = labels_solved(scripted(dict.fromkeys(CHANCES, 0.0)), reward, probed, prompts)
    assert never < 0.05 and drawn < 64
    assert labels_solved(scripted(CHANCES), reward, probed, []) == (None, 0)


@pytest.mark.parametrize("kind", ["llama", "t5"])
def test_loss_and_entropy_are_those_of_transformers(kind):
    policy = load_policy((tiny_model(kind), word_tokenizer()))
    rows = [([5, 6], [7, 8, 2]), ([9], [10, 2]), ([11, 12, 13], [14])]
    losses, entropies = [], []
    for prompt, answer in rows:
        if kind == "t5":
            logits = policy.model(input_ids=torch.tensor([prompt]), labels=torch.tensor([answer])).logits[0]
        else:
            logits = policy.model(input_ids=torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
        log_p = torch.log_softmax(logits, -1)
        losses += (-log_p[torch.arange(len(answer)), answer]).tolist()
        entropies += torch.distributions.Categorical(logits=logits).entropy().tolist()
    found = read_rows(policy, rows, rows_at_once=2)
    assert found == {"loss": pytest.approx(np.mean(losses), rel=1e-5), "entropy": pytest.approx(np.mean(entropies), rel=1e-5)}
    assert read_rows(policy, [([5], [])]) == {"loss": None, "entropy": None}


@pytest.mark.parametrize("kind", ["llama", "gpt2", "t5"])
def test_an_engine_sees_the_weights_as_they_are_now_and_leaves_no_trace(kind):
    from flatspot.core.records import PromptRequest, Sampling

    model, tokenizer = tiny_model(kind), word_tokenizer()
    model.train()
    list(model.modules())[-1].eval()
    modes = [module.training for module in model.modules()]
    live, asked = LivePolicy(model, tokenizer), [PromptRequest("w5 w6", tuple(range(40)))]
    drawn = []
    for _ in range(2):
        state = torch.get_rng_state()
        with live.engine() as (engine, _):
            drawn.append([c.text for c in engine.sample(asked, Sampling(max_new_tokens=3))[0]])
        assert torch.equal(state, torch.get_rng_state())
        assert [module.training for module in model.modules()] == modes
        with torch.no_grad():  # as a step of the training would
            generator = torch.Generator().manual_seed(0)
            for parameter in model.parameters():
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    with load_policy_of(model, tokenizer) as fresh:
        third = [c.text for c in fresh.sample(asked, Sampling(max_new_tokens=3))[0]]
    with live.engine() as (engine, _):
        assert [c.text for c in engine.sample(asked, Sampling(max_new_tokens=3))[0]] == third
    assert drawn[0] != drawn[1] != third


def load_policy_of(model, tokenizer):
    import copy
    from contextlib import nullcontext

    from flatspot.engines.hf import HfEngine

    return nullcontext(HfEngine(load_policy((copy.deepcopy(model), tokenizer))))


def test_a_model_in_pieces_is_refused_with_what_to_do():
    model = tiny_model("llama")
    next(model.parameters()).ds_id = 0
    with pytest.raises(SettingsError, match=r"ZeRO-3.*flatspot watch-checkpoints"):
        LivePolicy(model, word_tokenizer())


def test_settings_by_their_old_names_are_the_same_with_a_warning_at_the_call():
    with pytest.warns(DeprecationWarning, match="is called") as warnings:
        old = ProbeSettings(max_samples=8, held_back=0.2, seed=1)
    assert [str(w.message).split(" now")[0] for w in warnings] == ["max_samples is called max_completions", "held_back is called held_out"]
    assert {w.filename for w in warnings} == {__file__}
    assert old == ProbeSettings(max_completions=8, held_out=0.2, seed=1) == dataclasses.replace(old, prompts=64)
    with pytest.raises(SettingsError, match="max_samples is the old name of max_completions"), pytest.warns(DeprecationWarning):
        ProbeSettings(max_samples=8, max_completions=8)
    with pytest.raises(TypeError, match="max_rows"):
        ProbeSettings(max_rows=8)


def test_numbers_of_the_settings_are_checked(run):
    for name, wrong in (("prompts", 0), ("max_completions", 0), ("every", 0), ("held_out", 1.0)):
        with pytest.raises(SettingsError, match=name):
            ProbeSettings(**{name: wrong})
    assert dataclasses.replace(ProbeSettings(), every=3).every == 3
    said = json.loads((run / "report.json").read_text())
    probed = probed_prompts(run, ProbeSettings(group_size=4, max_new_tokens=7, temperature=0.5))
    assert (probed.zones.group_size, probed.sampling.max_new_tokens, probed.sampling.temperature) == (4, 7, 0.5)
    assert probed_prompts(run, ProbeSettings()).zones.group_size == said["group_size"] == 8
    assert pq.read_table(run / "verdicts.parquet").num_rows == 100
