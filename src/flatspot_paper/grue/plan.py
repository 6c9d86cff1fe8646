"""What `flatspot reproduce grue` does with a task, every setting resolved, before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from flatspot.core.plain import Json
from flatspot.core.records import Sampling
from flatspot_paper.grue.data import in_folder, stand_in_here
from flatspot_paper.grue.sentiment import CLASSIFIER
from flatspot_paper.grue.source import Asked
from flatspot_paper.grue.tasks import TASKS, Task

SMALL_MODEL = "smollm2-135m-instruct"


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured, and of which policy.

    model        of every task; None: the paper's own
    stand_ins    take what stands in for data, and for the classifier of IMDB, where the task's own is not here
    generate     sample with `GenerateEngine`, which holds completions to their least length; else with flatspot's fastest engine
    """

    name: str
    inputs: int
    completions: int
    model: str | None
    chat: bool
    stand_ins: bool
    generate: bool


SCALES: Mapping[str, Scale] = {
    "small": Scale("small", 48, 10, SMALL_MODEL, chat=True, stand_ins=True, generate=False),
    "paper": Scale("paper", 5000, 10, None, chat=False, stand_ins=False, generate=True),
}


@dataclass(frozen=True, slots=True)
class TaskPlan:
    """One task, resolved.

    asked       its prompts
    engine      "generate", which holds completions to their least length, or one of flatspot's by name
    departures  where this is not the paper's setting, a sentence each
    dtype       in which flatspot's engines sample
    """

    asked: Asked
    model: str
    reward: str
    completions: int
    sampling: Sampling
    min_new_tokens: int
    engine: str
    departures: tuple[str, ...]
    dtype: str = "auto"

    @property
    def task(self) -> Task:
        """The task."""
        return self.asked.task

    def hours(self, tokens_per_second: float) -> float:
        """The longest that sampling takes: as if no completion ended by itself."""
        return (self.asked.size or 0) * self.completions * self.sampling.max_new_tokens / tokens_per_second / 3600

    def command(self) -> str:
        """The `flatspot diagnose` that does the same with flatspot's own engine."""
        words = [f"flatspot diagnose '{self.asked.spec}' --model {self.model} --reward '{self.reward}'"]
        words.append(f"--max-completions {self.completions} --fixed-completions")
        words += [f"--top-k {self.sampling.top_k}"] if self.sampling.top_k else []
        return " ".join([*words, f"--max-new-tokens {self.sampling.max_new_tokens}"])

    def to_json(self) -> dict[str, Json]:
        """Everything that the numbers depend on."""
        asked, sampling = self.asked, self.sampling
        return {
            "task": self.task.name,
            "title": self.task.title,
            "data": asked.data or self.task.name,
            "split": asked.split,
            "inputs": asked.size,
            "inputs_seed": asked.seed,
            "completions": self.completions,
            "chat": asked.chat,
            "model": self.model,
            "prompt_tokens": self.task.prompt_tokens,
            "cut": self.task.cut,
            "temperature": sampling.temperature,
            "top_k": sampling.top_k,
            "top_p": sampling.top_p,
            "max_new_tokens": sampling.max_new_tokens,
            "min_new_tokens": self.min_new_tokens,
            "engine": self.engine,
            **({} if self.dtype == "auto" else {"dtype": self.dtype}),
            "reward": self.reward,
            "departures": list(self.departures),
        }


def plan_tasks(
    scale: Scale,
    tasks: Sequence[str] = (),
    *,
    model: str | None = None,
    inputs: int | None = None,
    completions: int | None = None,
    engine: str = "auto",
    dtype: str = "auto",
    wordnet: str = "auto",
    folder: Path | None = None,
) -> list[TaskPlan]:
    """The plans of some tasks, or of all seven; `None` leaves what the scale says. Data is only looked for where stand-ins may be taken.

    engine, dtype   of flatspot, for a scale that does not sample by `generate`
    wordnet  of METEOR, as the reward has it
    """
    chosen = [TASKS[name] for name in tasks] if tasks else list(TASKS.values())
    scale = replace(scale, model=model or scale.model, inputs=inputs or scale.inputs, completions=completions or scale.completions)
    return [replace(_plan(task, scale, engine, wordnet, folder), dtype=dtype) for task in chosen]


def _plan(task: Task, scale: Scale, engine: str, wordnet: str, folder: Path | None) -> TaskPlan:
    policy = scale.model or task.policy
    is_here = folder is not None and in_folder(task, "train", folder)
    data = stand_in_here(task, "train", folder) if scale.stand_ins and not is_here else None
    reward, departures = task.reward, list[str]()
    if scale.model is not None:
        departures.append(f"the policy is {policy}, the paper's {task.policy}")
    if data is not None:
        departures.append(f"{data} stands in for {task.title}: {task.stand_ins[data]}")
    if scale.chat:
        departures.append("asked as a chat message; of it only the input is cut")
    if scale.stand_ins and task.reward_stand_in is not None:
        reward = task.reward_stand_in
        departures.append(f"VADER's word list on the completion alone stands in for {CLASSIFIER} on prompt and completion")
    if reward == "meteor" and wordnet != "auto":
        reward = f"meteor[wordnet={wordnet}]"
        departures += ["METEOR without WordNet's synonyms"] if wordnet == "none" else []
    if task.min_new_tokens and not scale.generate:
        departures.append(f"completions may end before {task.min_new_tokens} tokens")
    return TaskPlan(
        Asked(task, data=data, size=scale.inputs, chat=scale.chat, tokenizer=policy),
        policy,
        reward,
        scale.completions,
        task.sampling,
        task.min_new_tokens if scale.generate else 0,
        "generate" if scale.generate else engine,
        tuple(departures),
    )
