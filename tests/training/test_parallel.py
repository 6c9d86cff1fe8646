"""What a training on several processes cannot do: found in the trainer's settings, the launcher's environment and the model itself."""

from types import SimpleNamespace

import pytest

from flatspot.core.errors import SettingsError
from flatspot.training.parallel import refuse_unfit

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")


def settings(device="cuda", world_size=2, **given):
    return SimpleNamespace(**{"device": torch.device(device), "world_size": world_size, "fsdp": None, "fsdp_plugin_args": None} | given)


@pytest.fixture
def env(monkeypatch):
    for name in ("ACCELERATE_USE_FSDP", "FSDP_VERSION", "FSDP_STATE_DICT_TYPE"):
        monkeypatch.delenv(name, raising=False)

    def set_(**values):
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    set_(WORLD_SIZE="2", RANK="0")
    return set_


def test_plain_data_parallelism_is_fit(env):
    assert refuse_unfit(settings(), probed=True) is None
    assert refuse_unfit(settings("cpu"), probed=True) is None


def test_processes_that_do_not_see_one_another(env):
    with pytest.raises(SettingsError, match=r"started 2 processes, and the trainer sees 1.*--use_cpu"):
        refuse_unfit(settings("cpu", world_size=1))


@pytest.mark.parametrize("version", ["1", "2"])
def test_fsdp_by_the_launcher(env, version):
    env(ACCELERATE_USE_FSDP="true", FSDP_VERSION=version, FSDP_STATE_DICT_TYPE="FULL_STATE_DICT")
    refuse_unfit(settings())
    with pytest.raises(SettingsError, match=rf"on CPUs FSDP{version} .*--multi_gpu"):
        refuse_unfit(settings("cpu"))
    with pytest.raises(SettingsError, match=r"sharded over processes \(FSDP\).*watch-checkpoints"):
        refuse_unfit(settings(), probed=True)
    env(FSDP_STATE_DICT_TYPE="SHARDED_STATE_DICT")
    with pytest.raises(SettingsError, match="--fsdp_state_dict_type FULL_STATE_DICT"):
        refuse_unfit(settings())


def test_fsdp_by_the_trainers_own_option(env):
    whole = {"fsdp_version": 2, "state_dict_type": "FULL_STATE_DICT"}
    refuse_unfit(settings(fsdp=True, fsdp_plugin_args=whole))
    with pytest.raises(SettingsError, match="on CPUs FSDP2"):
        refuse_unfit(settings("cpu", fsdp=True, fsdp_plugin_args=whole))
    with pytest.raises(SettingsError, match="no policy that can be loaded"):
        refuse_unfit(settings(fsdp=True, fsdp_plugin_args=whole | {"state_dict_type": "SHARDED_STATE_DICT"}))


class ZeroThree:
    """What transformers keeps of a trainer set up for DeepSpeed ZeRO-3."""

    def __init__(self, gathers):
        self.config = {"zero_optimization": {"stage": 3, "stage3_gather_16bit_weights_on_model_save": gathers}}

    def is_zero3(self):
        return True


@pytest.fixture
def zero3():
    from transformers.integrations import deepspeed

    kept = []

    def set_(gathers):
        kept.append(ZeroThree(gathers))  # transformers holds a weak reference
        deepspeed.set_hf_deepspeed_config(kept[-1])

    yield set_
    deepspeed.unset_hf_deepspeed_config()


def test_zero_3(env, zero3):
    zero3(True)
    refuse_unfit(settings())
    with pytest.raises(SettingsError, match=r"\(DeepSpeed ZeRO-3\).*--no-stop.*watch-checkpoints"):
        refuse_unfit(settings(), probed=True)
    zero3(False)
    with pytest.raises(SettingsError, match="--zero3_save_16bit_model true"):
        refuse_unfit(settings())


def test_under_zero_3_flatspot_loads_whole_models(zero3):
    """transformers would shard every model that this process loads, and refuses to compare weights with their config."""
    from transformers.integrations import is_deepspeed_zero3_enabled

    from flatspot.engines.pretrained import config_of_weights
    from flatspot.tasks.letters import letters_model

    zero3(True)
    assert config_of_weights(str(letters_model())).model_type == "llama"
    assert is_deepspeed_zero3_enabled()


def test_a_model_in_parts_of_fsdp2_is_found(tmp_path):
    """The real sharding of FSDP2, over one process: accelerate applies it on GPUs only."""
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from flatspot.tasks.letters import letters_model
    from flatspot.training.warmup.live_policy import LivePolicy

    tokenizer = AutoTokenizer.from_pretrained(letters_model())
    model = AutoModelForCausalLM.from_pretrained(letters_model())
    LivePolicy(model, tokenizer)
    dist.init_process_group("gloo", store=dist.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1)
    try:
        fully_shard(model, mesh=init_device_mesh("cpu", (1,)))
        assert {type(parameter).__name__ for parameter in model.parameters()} == {"DTensor"}
        with pytest.raises(SettingsError, match=r"sharded over processes \(FSDP\).*flatspot watch-checkpoints"):
            LivePolicy(model, tokenizer)
    finally:
        dist.destroy_process_group()
