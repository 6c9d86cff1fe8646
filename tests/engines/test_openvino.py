"""The openvino engine: it must sample the policy that transformers loads, and each row independently of the other rows."""

from __future__ import annotations

import json
import logging

import pytest
import torch
from tiny_policies import EOS, VOCABULARY, CountTokens, exact_probabilities, tiny_model, tiny_policy, total_variation, word_tokenizer

from flatspot.core.errors import EngineError, MissingExtra
from flatspot.engines.openvino_packages import openvino_genai

try:
    genai = openvino_genai("its tests")
except MissingExtra:
    pytest.skip("openvino-genai is not installed", allow_module_level=True)
from flatspot.core.protocols import Engine
from flatspot.core.records import PromptRequest, Sampling
from flatspot.core.seeds import fold_seed
from flatspot.engines import HfEngine, load_engine, load_policy, openvino, policy, registry
from flatspot.engines.openvino import OpenVinoEngine, check_pipeline, open_pipeline
from flatspot.engines.verify import Check

pytestmark = pytest.mark.thorough

SHORT, LONG = "w5 w7", "w11 w13 w17 w19 w23 w29 w31 w37 w41 w43 w47 w53"
N = 4000
BOUND = 0.075


@pytest.fixture(scope="module")
def engine():
    return OpenVinoEngine(tiny_policy("llama"))


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize("tied", [True, False])
def test_it_runs_the_architectures_it_names(kind, tied):
    """Norms and biases are random too: at their initial ones and zeros a misplaced one would not show."""
    model = tiny_model(kind, tie_word_embeddings=tied)
    for name, parameter in model.named_parameters():
        if "norm" in name or "bias" in name:
            torch.nn.init.normal_(parameter, float("norm" in name), 0.3)
    check = OpenVinoEngine(load_policy((model, word_tokenizer()))).check
    assert check.passed
    assert check.mean_gap < 0.01


@pytest.mark.parametrize("sampling", [{}, {"temperature": 0.6}, {"top_k": 5}, {"top_p": 0.7}])
def test_first_tokens_come_with_the_forward_pass_s_probabilities(engine, tiny, sampling):
    settings = Sampling(max_new_tokens=1, **sampling)
    rows = engine.sample([PromptRequest(LONG, tuple(range(N)))], settings)[0]
    counts = torch.bincount(torch.tensor([c.token_ids[0] if c.token_ids else EOS for c in rows]), minlength=VOCABULARY)
    exact = exact_probabilities(tiny("llama"), [int(w[1:]) for w in LONG.split()], [], settings)
    assert total_variation(counts, exact) < BOUND
    assert not counts[exact == 0].any()


def test_later_tokens_agree_with_the_hf_engine_in_distribution(engine, tiny):
    requests = [PromptRequest(LONG, tuple(range(N)))]
    other = HfEngine(tiny("llama"))
    other._rows_in_flight = N  # one batch of all; no row depends on it (test_hf.py)
    ours, theirs = (e.sample(requests, Sampling(max_new_tokens=5))[0] for e in (engine, other))
    last = [
        torch.bincount(torch.tensor([(*c.token_ids, EOS, EOS, EOS, EOS, EOS)[4] for c in rows]), minlength=VOCABULARY)
        for rows in (ours, theirs)
    ]
    assert total_variation(last[0], last[1] / last[1].sum()) < 1.5 * BOUND


def test_a_row_does_not_depend_on_the_rows_beside_it(engine):
    settings = Sampling(max_new_tokens=12)
    requests = [PromptRequest(text, tuple(range(20 * i, 20 * i + 20))) for i, text in enumerate((SHORT, LONG, "w8", SHORT))]
    together = engine.sample(requests, settings)
    for request, rows in zip(requests, together, strict=True):
        assert rows == engine.sample([request], settings)[0]
        assert rows[3] == engine.sample([PromptRequest(request.text, request.seeds[3:4])], settings)[0][0]
    assert len({c.token_ids for rows in together for c in rows}) > 70


def test_every_end_token_ends_and_no_other_does():
    model = tiny_model("llama")
    model.generation_config.eos_token_id = [EOS, 57, 38]
    engine = OpenVinoEngine(load_policy((model, word_tokenizer())))
    rows = engine.sample([PromptRequest(SHORT, tuple(range(300)))], Sampling(max_new_tokens=40, temperature=2.0))[0]
    assert not any({EOS, 57, 38} & set(c.token_ids) for c in rows)
    assert all(c.n_tokens == 40 for c in rows if c.truncated)
    assert 0 < sum(c.truncated for c in rows) < 300
    assert any(0 in c.token_ids for c in rows)  # the placeholder vocabulary's own end token ends nothing


def test_without_an_end_token_rows_run_to_the_limit():
    tokenizer = word_tokenizer()
    tokenizer.eos_token = None
    engine = OpenVinoEngine(load_policy((tiny_model("llama", eos_token_id=None), tokenizer)))
    rows = engine.sample([PromptRequest(SHORT, tuple(range(50)))], Sampling(max_new_tokens=30, temperature=3.0))[0]
    assert all(c.truncated and c.n_tokens == 30 for c in rows)


def test_tokens_are_reported_as_they_come(engine):
    reports: list[int] = []
    rows = engine.sample([PromptRequest(SHORT, tuple(range(8)))], Sampling(max_new_tokens=10), reports.append)[0]
    assert len(reports) >= 10
    assert sum(reports) == sum(c.n_tokens + (not c.truncated) for c in rows)


def test_completions_are_reported_as_they_end(engine):
    count = CountTokens()
    engine.sample([PromptRequest(SHORT, tuple(range(60)))], Sampling(max_new_tokens=40), count)
    assert count.rows == 60
    assert count.first < count.tokens / 2


def test_it_is_an_engine_and_describes_itself(engine):
    assert isinstance(engine, Engine)
    assert engine.describe() == OpenVinoEngine(tiny_policy("llama")).describe() == json.loads(json.dumps(engine.describe()))
    assert engine.sample([], Sampling()) == []
    assert engine.sample([PromptRequest(SHORT, ())], Sampling(max_new_tokens=1)) == [[]]


def test_a_prompt_that_does_not_fit_the_context_is_an_error_of_its_rows(engine):
    requests = [PromptRequest(LONG, (1, 2)), PromptRequest(SHORT, (3,))]
    [[first, second], [third]] = engine.sample(requests, Sampling(max_new_tokens=254))
    assert "does not fit" in first.error and second == first and third.error is None
    assert [[third]] == engine.sample(requests[1:], Sampling(max_new_tokens=254))
    assert [note for note in engine.notes if "does not fit" in note] == [f"{first.error}: its rows have this error"]


def test_a_cache_smaller_than_the_rows_makes_them_wait(engine):
    small = OpenVinoEngine(tiny_policy("llama"), memory_gib=1e-9)
    requests = [PromptRequest(LONG, tuple(range(100)))]
    assert small.sample(requests, Sampling(max_new_tokens=60)) == engine.sample(requests, Sampling(max_new_tokens=60))


def test_seeds_are_folded_to_32_bits_without_patterns():
    seeds = [fold_seed(seed, 32) for seed in (*range(1000), 2**62, 2**63 - 1)]
    assert len(set(seeds)) == 1002
    assert max(seeds) < 2**32
    assert abs(sum(seeds[:1000]) / 1000 / 2**32 - 0.5) < 0.05


def test_policies_that_it_cannot_run_are_refused_with_the_reason():
    with pytest.raises(EngineError, match=r"'gpt2' is not one of llama, qwen2, qwen3.*--engine hf"):
        OpenVinoEngine(tiny_policy("gpt2"))
    too_large = tiny_policy("llama")
    with torch.no_grad():
        too_large.model.model.layers[0].mlp.up_proj.weight[0, 0] = 1e5
    with pytest.raises(EngineError, match=r"layers\.0\.mlp\.up_proj\.weight reaches 1e\+05, beyond float16"):
        OpenVinoEngine(too_large)
    with pytest.raises(EngineError, match="float32 or bfloat16"):
        OpenVinoEngine(tiny_policy("llama"), precision="int8")


def test_a_check_that_passed_is_stored_with_the_converted_policy(tmp_path, own_cache, monkeypatch):
    tiny_model("llama").save_pretrained(tmp_path / "m")
    word_tokenizer().save_pretrained(tmp_path / "m")
    first = OpenVinoEngine(load_policy(str(tmp_path / "m")))
    assert len(list((own_cache / "openvino").glob("*/check-*-float32.json"))) == 1
    monkeypatch.setattr(openvino, "check_pipeline", lambda *_: pytest.fail("checked twice"))
    monkeypatch.setattr(openvino, "write_gguf", lambda *_: pytest.fail("written twice"))
    assert OpenVinoEngine(load_policy(str(tmp_path / "m"))).describe() == first.describe()


def test_auto_takes_openvino_where_it_can_and_hf_where_it_cannot(tiny):
    pair = [(tiny(kind).model, tiny(kind).tokenizer) for kind in ("llama", "gpt2")]
    assert [load_engine("auto", model).name for model in pair] == ["openvino", "hf"]
    assert load_engine("auto", pair[0], device="cpu", dtype="float16").name == "hf"
    with pytest.raises(EngineError, match="cannot run"):
        load_engine("openvino", pair[1])


@pytest.mark.parametrize("name", ["auto", "openvino"])
def test_an_engine_that_fails_its_check_is_replaced_with_the_reason(tiny, monkeypatch, caplog, name):
    wrong = Check(probes=6, tokens=96, wrong_tokens=40, mean_gap=0.35, max_gap=5.0, tolerance=0.03)
    monkeypatch.setattr(openvino, "check_pipeline", lambda *_: wrong)
    engine = load_engine(name, (tiny("llama").model, tiny("llama").tokenizer))
    assert engine.name == "hf"
    assert "the openvino engine was left for hf: it does not sample this policy" in engine.notes[-1]
    assert "40 of 96 greedy tokens are wrong" in engine.notes[-1]
    assert ("flatspot.engines", logging.WARNING, engine.notes[-1]) in caplog.record_tuples


def test_names_that_are_no_engine_say_what_to_use(tmp_path):
    with pytest.raises(EngineError, match="there is no engine 'sglang'; it is one of auto, hf, openvino, vllm, openai, ray, scripted"):
        load_engine("sglang", "m")
    with pytest.raises(EngineError, match="there is no engine 'gpt'; it is one of auto, hf"):
        load_engine("gpt", "m")
    with pytest.raises(EngineError, match="got int"):
        registry.load_engine("auto", 3)
    (tmp_path / "answers.json").write_text('{"p": {"a": 1.0}}')
    assert load_engine("scripted", str(tmp_path / "answers.json")).name == "scripted"


@pytest.mark.slow
def test_the_quantized_file_read_without_dequantization_is_caught(real):
    """openvino-genai reads the shipped Q4_1 file without an error and then samples a different model."""
    loaded = load_policy(real.name)
    assert OpenVinoEngine(loaded).check.passed
    scheduler = genai.SchedulerConfig()
    scheduler.cache_size = 1
    direct = open_pipeline(genai, policy.default_policy_file(), scheduler, "float32")
    check = check_pipeline(direct, loaded, "float32")
    assert not check.passed
    assert check.mean_gap > 5 * check.tolerance


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_real_policy_passes_and_answers(real, dtype):
    engine = load_engine("auto", real.name, dtype=dtype)
    assert engine.name == "openvino"
    chat = [{"role": "user", "content": "What is the capital of France? Answer in one word."}]
    rows = engine.sample([PromptRequest(chat, tuple(range(16)))], Sampling(max_new_tokens=24, temperature=0.3))[0]
    assert sum("Paris" in c.text for c in rows) >= 12


def test_recall_reads_the_prompts_of_each_call_unless_they_outgrow_the_cache(engine, monkeypatch):
    calls_read = []
    monkeypatch.setattr(openvino, "read_prompts", lambda pipeline, prompts: calls_read.append(len(prompts)))
    calls = [[PromptRequest(SHORT, ()), PromptRequest(LONG, ())], [PromptRequest(LONG, ())]]
    engine.recall(calls, Sampling(max_new_tokens=4))
    assert calls_read == [2, 1]
    monkeypatch.setattr(engine, "_cache_tokens", 20)  # the two prompts have 2 and 12 tokens, or a few more
    engine.recall(calls, Sampling(max_new_tokens=4))
    assert calls_read == [2, 1]


def test_a_call_after_recall_gives_the_rows_it_would_have_given(engine):
    sampling, call = Sampling(max_new_tokens=4), [PromptRequest(LONG, (1, 2, 3))]
    first = engine.sample(call, sampling)
    engine.recall([call], sampling)
    assert engine.sample(call, sampling) == first
