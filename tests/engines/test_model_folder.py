"""Faults in the files of a policy: each is named, with the fix, and none is silently ignored."""

from __future__ import annotations

import json
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_policies import tiny_model, tiny_policy, word_tokenizer

from flatspot.core.errors import EngineError
from flatspot.core.records import PromptRequest, Sampling
from flatspot.engines import HfEngine, load_policy
from flatspot.engines.llama_gguf import write_gguf
from flatspot.engines.model_folder import check_weights
from flatspot.engines.pretrained import config_of_weights, library_errors


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    place = tmp_path_factory.mktemp("whole") / "policy"
    tiny_model("llama").save_pretrained(place)
    word_tokenizer().save_pretrained(place)
    return place


@pytest.fixture
def policy(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "policy")


def configure(folder, **changes):
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def refused(folder) -> str:
    with pytest.raises(EngineError) as caught:
        load_policy(str(folder))
    return str(caught.value)


def test_weights_truncated_anywhere_are_refused(policy):
    file = policy / "model.safetensors"
    content = file.read_bytes()
    check_weights(file)
    for length in (0, 1, 7, 8, 9, 100, 1000, len(content) // 2, len(content) - 1):
        file.write_bytes(content[:length])
        with pytest.raises(EngineError, match=r"model\.safetensors.*(is empty|is truncated).*Copy or download it again"):
            check_weights(file)
    file.write_bytes(content + b"x")
    with pytest.raises(EngineError, match=f"expected {len(content):,} bytes, it has {len(content) + 1:,}"):
        check_weights(file)


def of_span(end):
    return b'{"w": {"data_offsets": [0, %s]}}' % end


@pytest.mark.parametrize(
    "header",
    [
        *(b"{}x", b"[]", b'{"w": 3}', b'{"w": {"data_offsets": [0]}}', b'{"w": {"data_offsets": ["a", "b"]}}', b"[" * 10**5),
        *(of_span(end) for end in (b"Infinity", b"NaN", b"2.5", b"-1", b"9" * 4300)),
    ],
)
def test_other_bytes_than_safetensors_are_refused(tmp_path, header):
    (tmp_path / "m.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(EngineError, match=r"m\.safetensors is not safetensors"):
        check_weights(tmp_path / "m.safetensors")


def test_a_header_that_would_fill_the_memory_is_not_read(tmp_path):
    with (tmp_path / "m.safetensors").open("wb") as file:  # with a hole, which takes no space on the disk
        file.write((2**40).to_bytes(8, "little"))
        file.truncate(2**41)
    with pytest.raises(EngineError, match=r"m\.safetensors is not safetensors: its header is 1,099,511,627,776 bytes"):
        check_weights(tmp_path / "m.safetensors")


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_pointer_of_git_lfs_says_what_to_run(policy, name):
    (policy / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    assert "git lfs pull" in refused(policy)


@pytest.mark.parametrize("name", ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("content", [b'{"a": ', b"[]", b'{"a": "\xff"}', b"", b"[" * 10**5])
def test_json_that_is_truncated_or_damaged_is_named(policy, name, content):
    """transformers ignores a broken generation_config.json, and with it the end tokens."""
    (policy / name).write_bytes(content)
    assert str(policy / name) in refused(policy)


def test_a_missing_part_of_the_weights_is_named(policy):
    (policy / "model.safetensors").unlink()
    assert "has no weights: expected model.safetensors" in refused(policy)
    (policy / ".cache").mkdir()
    (policy / ".cache" / "x.incomplete").touch()
    assert "a download did not finish" in refused(policy)
    tiny_model("llama").save_pretrained(policy, max_shard_size="100KB")
    assert load_policy(str(policy)).notes == ()
    parts = sorted(policy.glob("model-*.safetensors"))
    parts[1].unlink()
    assert f"1 of the {len(parts)} weight files" in refused(policy) and parts[1].name in refused(policy)
    (policy / "model.safetensors.index.json").write_text('{"weight_map": 3}')
    assert "model.safetensors.index.json must map each tensor" in refused(policy)


def test_a_dangling_link_to_weights_is_named(policy):
    (policy / "model.safetensors").unlink()
    (policy / "model.safetensors").symlink_to(policy / "blob")
    assert "is a link to a file that no longer exists" in refused(policy)


def test_truncated_weights_in_the_older_format_are_refused(policy):
    torch.save(load_file(policy / "model.safetensors"), policy / "pytorch_model.bin")
    (policy / "model.safetensors").unlink()
    content = (policy / "pytorch_model.bin").read_bytes()
    for length in (0, 10, len(content) // 2):
        (policy / "pytorch_model.bin").write_bytes(content[:length])
        assert str(policy) in refused(policy)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"intermediate_size": 96}, r"down_proj.weight has size (64, 128), expected (64, 96) and 5 more tensors"),
        ({"vocab_size": 90}, "has size (100, 64), expected (90, 64)"),
        ({"num_hidden_layers": 3}, "lack model.layers.2.input_layernorm.weight and 8 more tensors, which would be random numbers"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers = 1000000000, but the weights beside it are only 21 tensors"),
        ({"num_attention_heads": 0}, "as its config.json describes it: ZeroDivisionError"),
        ({"hidden_size": -64}, "negative dimension"),
        ({"hidden_size": "big"}, "'hidden_size' expected int, got str"),
        ({"vocab_size": None}, "'vocab_size' expected int"),
        ({"dtype": "float99"}, "float99"),
        ({"hidden_act": "zzz"}, "zzz"),
        ({"model_type": "nonesuch"}, "model type `nonesuch`"),
        ({"model_type": "bert"}, "which would be random numbers"),
    ],
)
def test_a_config_that_is_not_of_these_weights_is_refused(policy, changes, says):
    """Layers missing from the files used to be initialized at random, and the random policy was judged."""
    message = refused(configure(policy, **changes))
    assert says in message
    assert str(policy) in message
    with pytest.raises(EngineError, match=re.escape(message)):  # and so before a trainer loads it
        config_of_weights(str(policy))


def test_unused_weights_are_in_the_notes(policy):
    notes = load_policy(str(configure(policy, num_hidden_layers=1))).notes
    assert len(notes) == 1
    assert (
        "model.layers.1.input_layernorm.weight and 8 more tensors, which LlamaForCausalLM with this config.json does not have" in notes[0]
    )


def test_a_missing_output_layer_is_not_drawn_at_random(policy):
    tensors = load_file(policy / "model.safetensors")
    del tensors["lm_head.weight"]
    save_file(tensors, policy / "model.safetensors", metadata={"format": "pt"})
    assert "lack lm_head.weight, which would be random" in refused(policy)
    assert load_policy(str(configure(policy, tie_word_embeddings=True))).notes == ()


def test_numbers_that_are_not_finite_are_named_at_load(policy):
    with pytest.raises(EngineError, match=r"not finite \(NaN\).*config\.json are damaged"):
        HfEngine(load_policy(str(configure(policy, rms_norm_eps=float("nan")))))


@pytest.mark.parametrize("kind", ["llama", "gpt2", "t5"])
def test_a_folder_without_a_tokenizer_says_which_files_are_missing(tmp_path, kind):
    """gpt2 would encode every prompt as no tokens, and t5 as unknown ones only."""
    tiny_model(kind).save_pretrained(tmp_path)
    assert "has no tokenizer: expected tokenizer.json" in refused(tmp_path)


def test_a_tokenizer_of_another_model_is_refused():
    policy = load_policy((tiny_model("llama", vocab_size=50), word_tokenizer()))
    with pytest.raises(
        EngineError, match=r"has the token 77, and the vocabulary of memory:\S+ ends at 49: its tokenizer belongs to another model"
    ):
        HfEngine(policy).sample([PromptRequest("w5 w77", (1,))], Sampling(max_new_tokens=1))


def test_a_folder_without_a_model_is_refused_with_its_contents(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").touch()
    assert "is not a model folder" in refused(tmp_path / "run") and "it contains notes.txt" in refused(tmp_path / "run")
    (tmp_path / "run" / "checkpoint-5").mkdir()
    (tmp_path / "run" / "checkpoint-5" / "config.json").write_text("{}")
    assert f"These folders inside it have one: {tmp_path / 'run' / 'checkpoint-5'}" in refused(tmp_path / "run")
    (tmp_path / "run" / "adapter_config.json").write_text("{}")
    with pytest.raises(EngineError, match=r"run is an adapter, and a full model is needed here: merge it into its base"):
        config_of_weights(str(tmp_path / "run"))  # as before a trainer loads it
    (tmp_path / "answers.json").write_text("{}")
    assert "--engine scripted" in refused(tmp_path / "answers.json")


def test_a_gguf_file_truncated_anywhere_is_refused(tmp_path):
    write_gguf(tiny_policy("llama"), tmp_path / "whole.gguf")
    content = (tmp_path / "whole.gguf").read_bytes()
    for length in (0, 3, 4, 8, 30, 200, 1500, len(content) // 2, len(content) - 1000):
        (tmp_path / "cut.gguf").write_bytes(content[:length])
        assert str(tmp_path / "cut.gguf") in refused(tmp_path / "cut.gguf"), length
    assert not list((tmp_path / "cache").glob("policies/*"))


def test_running_out_of_memory_is_not_blamed_on_the_files(tmp_path):
    with pytest.raises(MemoryError), library_errors(str(tmp_path), "it", "No way"):
        raise MemoryError
    with pytest.raises(EngineError, match="cannot load it: ValueError: broken"), library_errors(str(tmp_path), "it", "No way"):
        raise ValueError("broken")


def test_errors_of_the_hub_are_told_from_errors_of_the_files():
    from huggingface_hub.errors import HFValidationError

    for error in (OSError("not on the hub"), HFValidationError("no such name")):
        with pytest.raises(EngineError, match="the Hugging Face hub did not provide it"), library_errors("some/model", "it", "No way"):
            raise error
    for fault in (ValueError("the config is of no model"), KeyError("q_proj")):
        with pytest.raises(EngineError, match=r"transformers cannot load it: .*\. No way"), library_errors("some/model", "it", "No way"):
            raise fault
