"""Generated prompts with a verifiable answer, from reasoning-gym: `reasoning-gym:TASK[key=value,…]+TASK…`."""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Iterator, Mapping

from flatspot.core.errors import PromptFileError
from flatspot.core.optional import require
from flatspot.core.pairs import read_pairs
from flatspot.core.records import Prompt, PromptText, prompt_id
from flatspot.tasks.rows import unique_ids

PREFIX = "reasoning-gym:"
INSTRUCTION = "Reply with the answer only."
_MOST = 1_000_000  # questions; they are made one by one, before anything is drawn
_OWN_KEYS: Mapping[str, object] = {"size": 20, "seed": 0, "chat": True, "shots": 0}


@dataclasses.dataclass(frozen=True, slots=True)
class GymTask:
    """A task of reasoning-gym and how to ask it.

    size    how many prompts
    seed    of the generator
    chat    ask as chat messages; off, as text that ends in "Answer:"
    shots   solved examples before each question, the same ones for all, from behind the last prompt
    config  the task's own settings
    """

    name: str
    size: int = 20
    seed: int = 0
    chat: bool = True
    shots: int = 0
    config: Mapping[str, object] = dataclasses.field(default_factory=dict)


def gym_prompts(spec: str) -> list[Prompt]:
    """The prompts of a reasoning-gym spec; score them with the reward `reasoning_gym`.

    Each prompt is the task's question with the line "Reply with the answer only." and carries the columns `task`, `entry` (what the
    task's scorer needs, as plain JSON values), `task_config` and, where the task has one right answer, `reference`. Ids are the task,
    the seed, the number and a hash of the text: basic_arithmetic-0-0007-1f3a9c.
    A few tasks (word_ladder, ransom_note, isomorphic_strings, knight_swap, list_functions, polynomial_multiplication) draw from sets of
    text, so their prompts differ from one Python process to the next unless PYTHONHASHSEED is set.
    Raises `PromptFileError` for an unknown task or setting, `MissingExtra` without the package.

    >>> prompts = gym_prompts("reasoning-gym:basic_arithmetic[min_terms=2,max_terms=2,size=3,seed=1]")
    >>> prompts[0].text[0]["content"], prompts[0].references
    ('Calculate 5 - 3.\\nReply with the answer only.', ('2',))
    """
    prompts = [prompt for task in parse_gym(spec) for prompt in _task_prompts(task)]
    return [dataclasses.replace(prompt, id=name) for prompt, name in zip(prompts, unique_ids(p.id for p in prompts), strict=True)]


def parse_gym(spec: str) -> list[GymTask]:
    """The tasks of a spec, without loading reasoning-gym.

    Values are JSON where they read as JSON, else text; commas and plus signs inside brackets or quotes belong to the value.

    >>> parse_gym("reasoning-gym:gcd[max_value=6,shots=2]+countdown")[0]
    GymTask(name='gcd', size=20, seed=0, chat=True, shots=2, config={'max_value': 6})
    """
    tasks = []
    for part in _split(spec.removeprefix(PREFIX), "+"):
        name, bracket, rest = part.strip().removeprefix(PREFIX).partition("[")
        if not name.isidentifier() or (bracket and not rest.endswith("]")):
            raise PromptFileError(f"{spec!r}: expected {PREFIX}TASK or {PREFIX}TASK[key=value,…], joined by +, got {part!r}")
        settings = _settings(rest[:-1], part)
        tasks.append(_task(name, settings, part))
    return tasks


def _task_prompts(task: GymTask) -> Iterator[Prompt]:
    factory = require("reasoning_gym.factory", extra="tasks", purpose=f"{PREFIX}{task.name}")
    _check_names(task, factory.DATASETS)
    try:
        dataset = factory.create_dataset(task.name, size=task.size + task.shots, seed=task.seed, **task.config)
        entries = [dataset[index] for index in range(task.size + task.shots)]
    except Exception as error:  # their settings check themselves with assert, and some fail only once a question is made
        cause = " ".join(str(error).split())[:200] or type(error).__name__
        raise PromptFileError(f"{PREFIX}{task.name}: reasoning-gym refuses these settings ({_shown(task.config)}): {cause}") from error
    examples = entries[task.size :]
    if any(entry["answer"] is None for entry in examples):
        raise PromptFileError(f"{PREFIX}{task.name}: shots={task.shots} needs solved examples, and this task gives no answers to show")
    for index, entry in enumerate(entries[: task.size]):
        text = _asked(entry, examples, chat=task.chat)
        columns = {"task": task.name, "entry": _plain(entry), "task_config": dict(task.config)}
        if entry["answer"] is not None:
            columns["reference"] = str(entry["answer"])
        yield Prompt(f"{task.name}-{task.seed}-{index:04d}-{prompt_id(text)[:6]}", text, columns)


def _asked(entry: Mapping[str, object], examples: list[dict[str, object]], *, chat: bool) -> PromptText:
    if not chat:
        solved = "".join(f"{example['question']}\n{INSTRUCTION}\nAnswer: {example['answer']}\n\n" for example in examples)
        return f"{solved}{entry['question']}\n{INSTRUCTION}\nAnswer:"
    messages = []
    for example in examples:
        messages.append({"role": "user", "content": f"{example['question']}\n{INSTRUCTION}"})
        messages.append({"role": "assistant", "content": str(example["answer"])})
    return [*messages, {"role": "user", "content": f"{entry['question']}\n{INSTRUCTION}"}]


def _plain(entry: Mapping[str, object]) -> dict[str, object]:
    """The entry as it comes back from a run folder: through JSON, arrays as lists, anything else as its text."""
    as_json = json.dumps(entry, default=lambda value: value.tolist() if hasattr(value, "tolist") else str(value))
    return json.loads(as_json)  # type: ignore[no-any-return]


def _check_names(task: GymTask, datasets: Mapping[str, tuple[type, type]]) -> None:
    if task.name not in datasets:
        close = difflib.get_close_matches(task.name, datasets, n=3, cutoff=0.5)
        hint = f"did you mean {', '.join(close)}?" if close else f"its tasks are {', '.join(sorted(datasets))}"
        raise PromptFileError(f"reasoning-gym has no task {task.name!r}; {hint}")
    fields = [field.name for field in dataclasses.fields(datasets[task.name][1]) if field.name not in _OWN_KEYS]
    for key in task.config:
        if key not in fields:
            raise PromptFileError(
                f"{PREFIX}{task.name} has no setting {key!r}; its settings are {', '.join(sorted(fields)) or 'none'}, "
                f"and flatspot's own: {', '.join(_OWN_KEYS)}"
            )


def _task(name: str, settings: dict[str, object], part: str) -> GymTask:
    """The task, its own settings taken out of `settings`: what is left is reasoning-gym's."""
    least = {"size": 1, "seed": 0, "shots": 0}
    size, seed, shots = (_whole(settings.pop(key, _OWN_KEYS[key]), key, smallest, part) for key, smallest in least.items())
    if size + shots > _MOST:
        raise PromptFileError(f"{part}: size and shots must be at most {_MOST:,} together, got {size:,} and {shots:,}")
    chat = settings.pop("chat", _OWN_KEYS["chat"])
    if not isinstance(chat, bool):
        raise PromptFileError(f"{part}: chat must be true or false, got {chat!r}")
    return GymTask(name, size, seed, chat, shots, settings)


def _whole(value: object, key: str, least: int, part: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise PromptFileError(f"{part}: {key} must be a whole number, {least} or more, got {value!r}")
    return value


def _settings(text: str, part: str) -> dict[str, object]:
    try:
        return {key: _value(value) for key, value in read_pairs(text).items()}
    except ValueError as error:
        raise PromptFileError(f"{part}: {error}") from None


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        return text.strip()


def _split(text: str, separator: str) -> list[str]:
    """Split at the separator where it stands outside brackets and double quotes."""
    parts, depth, quoted = [""], 0, False
    for character in text:
        quoted ^= character == '"'
        depth += 0 if quoted else {"[": 1, "]": -1}.get(character, 0)
        if character == separator and depth == 0 and not quoted:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def _shown(config: Mapping[str, object]) -> str:
    return ", ".join(f"{key}={value}" for key, value in config.items()) or "its defaults"
