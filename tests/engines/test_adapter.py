"""A LoRA adapter in a folder, against the model that peft merges itself."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_policies import tiny_model, word_tokenizer

from flatspot.core.errors import EngineError
from flatspot.engines.policy import load_policy

peft = pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # peft calls it
IDS = torch.tensor([[5, 9, 33, 71]])
TARGETS = {"llama": ["q_proj", "v_proj"], "gpt2": ["c_attn"], "t5": ["q", "v"]}


def logits(model):
    with torch.no_grad():
        extra = {"decoder_input_ids": IDS} if model.config.is_encoder_decoder else {}
        return model(input_ids=IDS, **extra).logits


@pytest.fixture
def adapter(tmp_path, request):
    """(folder of the adapter, its base's logits, the merged model's logits)"""
    kind = getattr(request, "param", "llama")
    base = tiny_model(kind)
    base.save_pretrained(tmp_path / "base")
    word_tokenizer().save_pretrained(tmp_path / "base")
    before = logits(base)
    task = "SEQ_2_SEQ_LM" if base.config.is_encoder_decoder else "CAUSAL_LM"
    settings = peft.LoraConfig(r=4, task_type=task, target_modules=TARGETS[kind], init_lora_weights=False, fan_in_fan_out=kind == "gpt2")
    trained = peft.get_peft_model(type(base).from_pretrained(tmp_path / "base"), settings)
    trained.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter", before, logits(trained.merge_and_unload())


@pytest.mark.parametrize("adapter", list(TARGETS), indirect=True)
def test_its_logits_are_those_of_the_model_that_peft_merges(adapter):
    folder, before, expected = adapter
    policy = load_policy(folder, device="cpu")
    assert torch.equal(logits(policy.model), expected)
    assert (expected - before).abs().max() > 0.1  # the adapter does something
    assert any("is merged into its base" in note for note in policy.notes)


def test_a_trainer_gets_the_merged_model_as_a_folder_which_is_written_once(adapter):
    from flatspot.training.rl.train import _policy

    folder, _, expected = adapter
    merged = _policy(str(folder))
    assert torch.equal(logits(load_policy(merged, device="cpu").model), expected)
    assert _policy(str(folder)) == merged
    tiny_model("llama", seed=1).save_pretrained(folder.parent / "base")
    assert _policy(str(folder)) != merged, "another base is another policy"


def test_adapter_and_base_both_make_the_fingerprint(adapter):
    folder, _, _ = adapter
    first = load_policy(folder, device="cpu").fingerprint
    assert load_policy(folder, device="cpu").fingerprint == first
    assert load_policy(folder.parent / "base", device="cpu").fingerprint != first
    tiny_model("llama", seed=1).save_pretrained(folder.parent / "base")
    assert load_policy(folder, device="cpu").fingerprint != first


def test_its_own_tokenizer_takes_precedence(adapter):
    folder, _, _ = adapter
    assert load_policy(folder, device="cpu").tokenizer.chat_template
    word_tokenizer(chat_template="{{ 1 }}").save_pretrained(folder)
    assert load_policy(folder, device="cpu").tokenizer.chat_template == "{{ 1 }}"


def test_a_base_named_from_where_the_adapter_lies(adapter):
    folder, _, expected = adapter
    rename(folder, "../base")
    assert torch.equal(logits(load_policy(folder, device="cpu").model), expected)


def test_an_adapter_that_cannot_be_merged_is_refused_with_the_reason(adapter):
    folder, _, _ = adapter
    rename(folder, None)
    with pytest.raises(EngineError, match="set base_model_name_or_path"):
        load_policy(folder, device="cpu")
    rename(folder, "./nowhere/at/all")
    with pytest.raises(EngineError, match=r"there is no policy at \./nowhere/at/all"):
        load_policy(folder, device="cpu")
    tiny_model("llama", hidden_size=32).save_pretrained(folder.parent / "base")
    rename(folder, str(folder.parent / "base"))
    with pytest.raises(EngineError, match="peft cannot apply the adapter"):
        load_policy(folder, device="cpu")


def rename(folder, base):
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"base_model_name_or_path": base}))


def test_an_adapter_with_incomplete_weights_is_refused(adapter):
    """peft only warns about weights that an adapter lacks, and then returns the base model."""
    folder, _, _ = adapter
    file = folder / "adapter_model.safetensors"
    content = file.read_bytes()
    tensors = load_file(file)
    file.write_bytes(content[:-10])
    with pytest.raises(EngineError, match=r"adapter_model\.safetensors is truncated"):
        load_policy(folder, device="cpu")
    save_file({name.replace("layers.1", "layers.7"): tensor for name, tensor in tensors.items()}, file)
    with pytest.raises(EngineError, match="missing adapter keys"):
        load_policy(folder, device="cpu")
    file.unlink()
    with pytest.raises(EngineError, match=r"is an adapter without weights: expected adapter_model\.safetensors"):
        load_policy(folder, device="cpu")
