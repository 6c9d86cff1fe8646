"""Train the tiny model of `flatspot.tasks.letters`: about six minutes on one thread.

    python pretrain.py [--out FOLDER] [--steps 900] [--seed 0]

A Llama of 4 layers and 128 dimensions (1.06 million weights) on procedural text alone. Each line is a command, a string and what the
command makes of it; the loss is on the answer. The commands are habits on purpose: `spell:` always copies, so a task that asks for the
word backward meets a model that can reverse and never tries to.
"""

from __future__ import annotations

import argparse
import random
import string
import time
from collections.abc import Callable
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, get_cosine_schedule_with_warmup

COMMANDS = ("copy:", "reverse:", "sort:", "upper:", "spell:", "box:", "mark:")
_SPECIAL = ("<pad>", "<eos>", "<unk>")
_CHARACTERS = string.ascii_lowercase + string.ascii_uppercase + "=[] :"
_BATCH, _LENGTH, _LONGEST = 128, 25, 10
Text = Callable[[random.Random], tuple[str, str]]
_SHARE = {"copy:": 2, "reverse:": 4, "sort:": 3, "upper:": 2, "spell:": 2, "box:": 2, "mark:": 2}


def answer(command: str, text: str, rng: random.Random) -> str:
    """What the text answers: `mark:` puts brackets around a quarter of its answers, `box:` around all, the others around none."""
    if command == "box:" or (command == "mark:" and rng.random() < 0.25):
        return f"[{text}]"
    plain = {"reverse:": text[::-1], "sort:": "".join(sorted(text)), "upper:": text.upper()}
    return plain.get(command, text)


def line(rng: random.Random) -> tuple[str, str]:
    """A prompt and its answer: strings of 3 to 10 letters, a third of them with repeated letters as words have."""
    command = rng.choices(list(_SHARE), list(_SHARE.values()))[0]
    letters = string.ascii_lowercase if rng.random() < 0.67 else "".join(rng.choices(string.ascii_lowercase, k=4))
    text = "".join(rng.choices(letters, k=rng.randint(3, _LONGEST)))
    return f"{command}{text}=", answer(command, text, rng)


def tokenizer(commands: tuple[str, ...] = COMMANDS, characters: str = _CHARACTERS) -> PreTrainedTokenizerFast:
    """A token per character, and one per command."""
    words = [*_SPECIAL, *commands, *characters]
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex("|".join([*commands, "."])), "isolated")
    inner.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="<pad>",
        eos_token="<eos>",
        unk_token="<unk>",
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )


def batch(rng: random.Random, tokens: PreTrainedTokenizerFast, text: Text, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and labels, padded on the right; the labels hide the prompt."""
    ids = torch.full((_BATCH, length), tokens.pad_token_id)
    labels = torch.full((_BATCH, length), -100)
    for row in range(_BATCH):
        prompt, completion = (tokens.encode(part) for part in text(rng))
        whole = [*prompt, *completion, tokens.eos_token_id]
        ids[row, : len(whole)] = torch.tensor(whole)
        labels[row, len(prompt) : len(whole)] = torch.tensor(whole[len(prompt) :])
    return ids, labels


def pretrain(
    out: Path, steps: int, seed: int, *, text: Text = line, tokens: PreTrainedTokenizerFast | None = None, length: int = _LENGTH
) -> None:
    """Train, and write the folder in half precision.

    text    a prompt and its answer, of at most `length` tokens together with the end
    tokens  the tokenizer; None: that of the letters
    """
    torch.manual_seed(seed)
    rng, tokens, start = random.Random(seed), tokens or tokenizer(), time.monotonic()
    config = LlamaConfig(
        vocab_size=len(tokens),
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        pad_token_id=tokens.pad_token_id,
        eos_token_id=tokens.eos_token_id,
        bos_token_id=None,
    )
    model = LlamaForCausalLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01, betas=(0.9, 0.98))
    schedule = get_cosine_schedule_with_warmup(optimizer, 50, steps)
    for step in range(1, steps + 1):
        ids, labels = batch(rng, tokens, text, length)
        loss = model(input_ids=ids, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % 100 == 0:
            print(f"step {step}: loss {loss.item():.4f}, {time.monotonic() - start:.0f} s", flush=True)
    model.half().save_pretrained(out)
    config_file = out / "config.json"  # half the bytes on disk; whoever loads it computes in single precision
    config_file.write_text(config_file.read_text("utf-8").replace('"dtype": "float16"', '"dtype": "float32"'), "utf-8")
    tokens.save_pretrained(out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[2] / "src/flatspot/tasks/letters/model")
    parser.add_argument("--steps", type=int, default=900)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    pretrain(options.out, options.steps, options.seed)
