"""Supervised finetuning of tiny models: the results, the files saved, and the errors before the training."""

import pytest

from flatspot.core.errors import EngineError, PromptFileError, SettingsError, TrainingError

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

from tiny_policies import tiny_model, word_tokenizer  # noqa: E402

from flatspot.engines.policy import load_policy  # noqa: E402
from flatspot.engines.prompts import encode  # noqa: E402
from flatspot.training.warmup.examples import IGNORED, answer_tokens, examples  # noqa: E402
from flatspot.training.warmup.sft import sft  # noqa: E402

pytestmark = [pytest.mark.thorough, pytest.mark.filterwarnings("ignore")]  # TRL, transformers and torch warn about each other

CPU = ("--use_cpu", "--bf16", "false", "--disable_tqdm", "true")
FAST = (*CPU, "--max_steps", "40", "--learning_rate", "1e-2", "--per_device_train_batch_size", "4", "--lr_scheduler_type", "constant")
ROWS = [{"prompt": f"w{i} w4", "completion": f"w{i + 20} w{i + 30}"} for i in range(10, 18)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    place = tmp_path_factory.mktemp("sft")
    for kind in ("llama", "t5"):
        model = tiny_model(kind, spread=0.05)
        if kind == "t5":  # does not learn from the large weights that its other tests need
            model.config.dropout_rate = 0.0
            for parameter in model.parameters():
                parameter.data *= 0.25 if parameter.ndim == 2 else 1
        model.save_pretrained(place / kind)
        word_tokenizer().save_pretrained(place / kind)
    return place


def answers(folder, rows):
    """Greedy answers by transformers' own generate."""
    policy = load_policy(str(folder), dtype="float32", device="cpu")
    texts = []
    for row in rows:
        ids = torch.tensor([encode(policy, row["prompt"])])
        ids_of_answer = policy.model.generate(ids, do_sample=False, max_new_tokens=6)[0]
        texts.append(policy.tokenizer.decode(ids_of_answer[0 if policy.encoder_decoder else ids.shape[1] :], skip_special_tokens=True))
    return texts


@pytest.mark.parametrize("kind", ["llama", "t5"])
def test_it_learns_answers_and_where_they_end(folders, tmp_path, kind):
    own = ("--gradient_checkpointing", "false") if kind == "llama" else ("--max_steps", "90", "--learning_rate", "1e-2")
    options = (*FAST, *own)
    done = sft(ROWS, str(folders / kind), out=tmp_path, options=options, eval_rows=ROWS[:2])
    assert done == tmp_path / "policy"
    assert answers(done, ROWS) == [row["completion"] for row in ROWS]
    assert {p.name for p in tmp_path.iterdir()} - {".flatspot.json", ".lock", "trainer"} == {"policy"}
    assert not list(done.glob("*.bin"))


def test_an_adapter_is_merged_and_saved(folders, tmp_path):
    options = (*FAST, "--gradient_checkpointing", "false", "--use_peft", "--lora_target_modules", "q_proj", "v_proj", "up_proj")
    done = sft(ROWS, str(folders / "llama"), out=tmp_path, options=options)
    merged, adapted = load_policy(str(done)), load_policy(str(tmp_path / "adapter"))
    one, two = (dict(p.model.named_parameters()) for p in (merged, adapted))
    assert all(torch.equal(one[name], two[name]) for name in one)
    before = dict(load_policy(str(folders / "llama")).model.named_parameters())
    changed = {name.split(".")[-2] for name in one if not torch.equal(one[name], before[name])}
    assert changed == {"q_proj", "v_proj", "up_proj"}


def test_a_model_in_memory(tmp_path):
    pair = (tiny_model("llama", spread=0.05), word_tokenizer())
    done = sft(ROWS, pair, out=tmp_path, options=(*FAST, "--gradient_checkpointing", "false"))
    assert answers(done, ROWS[:3]) == [row["completion"] for row in ROWS[:3]]


def test_ids_are_those_of_sampling_and_end(folders):
    policy = load_policy((tiny_model("llama"), word_tokenizer()))
    chat = [{"role": "user", "content": "w5 w6"}]
    (row,) = examples([{"prompt": chat, "completion": "w7 w8"}], policy)
    prompt = encode(policy, chat)
    assert row["input_ids"][: len(prompt)] == prompt and prompt[-1] == 9
    assert row["input_ids"][len(prompt) :] == [7, 8, 2]
    assert row["labels"] == [IGNORED] * len(prompt) + [7, 8, 2]
    assert answer_tokens(policy, "w3", "w5 <eos> w6") == [5, 2]  # truncated at the first end token
    t5 = load_policy((tiny_model("t5"), word_tokenizer()))
    assert examples([{"prompt": "w5", "completion": "w7"}], t5) == [{"input_ids": [5], "labels": [7, 2]}]


def test_a_template_that_rejects_the_answer_is_an_engine_error():
    refusing = "{% if m['role'] == 'assistant' %}{{ raise_exception('no answers') }}{% endif %}"
    template = f"{{% for m in messages %}}{refusing}{{{{ m['content'] }}}} {{% endfor %}}"
    policy = load_policy((tiny_model("llama"), word_tokenizer(template)))
    with pytest.raises(EngineError, match="fails on the prompt 'w5', whose roles are user, assistant: no answers"):
        examples([{"prompt": [{"role": "user", "content": "w5"}], "completion": "w7"}], policy)


def test_a_prompt_whose_end_merges_with_the_answer_keeps_its_own_ids():
    from tokenizers import Tokenizer, models

    from flatspot.training.warmup.examples import Reader

    words = {"<eos>": 0, "a": 1, "b": 2, "ab": 3}
    import transformers

    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE(words, [("a", "b")])), eos_token="<eos>")
    assert tokenizer("ab")["input_ids"] == [3]
    (row,) = examples([{"prompt": "a", "completion": "b"}], Reader("x", tokenizer, False, (0,), None))
    assert row == {"input_ids": [1, 2, 0], "labels": [IGNORED, 2, 0]}


def test_errors_are_raised_before_the_training(folders, tmp_path):
    model = str(folders / "llama")
    with pytest.raises(SettingsError, match="no labeled prompts"):
        sft([], model, out=tmp_path, options=CPU)
    with pytest.raises(PromptFileError, match=r"1 of 2 labels(.|\n)*label 2: no answer to 'w3': expected text, got ' '"):
        sft([ROWS[0], {"prompt": "w3", "completion": " "}], model, out=tmp_path, options=CPU)
    with pytest.raises(PromptFileError, match="has 1 tokens and its answer 301, more than the context of 256: shorten the answer"):
        sft([{"prompt": "w3", "completion": " ".join(["w5"] * 300)}], model, out=tmp_path, options=CPU)
    with pytest.raises(SettingsError, match=r"SFTConfig rejects these options: .*--learn_speed"):
        sft(ROWS, model, out=tmp_path, options=(*CPU, "--learn_speed", "1"))
    with pytest.raises(EngineError, match="nowhere"):
        sft(ROWS, str(tmp_path / "nowhere"), out=tmp_path, options=CPU)
    assert {path.name for path in tmp_path.iterdir()} <= {".lock"}


def test_nothing_is_saved_if_the_loss_is_not_finite(folders, tmp_path):
    options = (*FAST, "--gradient_checkpointing", "false", "--logging_steps", "1")
    with pytest.raises(TrainingError, match=r"at step \d+. Lower --learning_rate"):
        sft(ROWS, str(folders / "llama"), out=tmp_path, options=(*options, "--learning_rate", "1e30", "--max_grad_norm", "0"))
    assert not (tmp_path / "policy").exists()
