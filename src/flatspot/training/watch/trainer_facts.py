"""Facts read from TRL's trainer: its group sizes, and every reward that it sums, watched or not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypedDict

import numpy as np

from flatspot.stats.evidence import Floats
from flatspot.training.watch.batches import ScoredBatch
from flatspot.training.watch.calls import Call, completion_text, read_prompt
from flatspot.training.watch.live import Scoring

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainingArguments


class TrlTrainer(Protocol):
    """TRL's trainer, as far as it is used; attributes that other versions may lack are read by `getattr`."""

    reward_funcs: list[object]

    def _log_metric(self, name: str, value: float) -> None: ...


class _Logs(TypedDict, total=False):
    """The log of completions of a trainer: one entry per row."""

    prompt: Iterable[object]
    completion: Iterable[object]
    rewards: Mapping[str, Iterable[float]]


@dataclass
class Trainer:
    """Facts about the trainer; unknown until the callback or a reward call provides them.

    policy       its name
    group_size   completions per prompt, (in training, in evaluation)
    ends         ids of the end tokens
    is_training  whether the model is in training mode now, which is how the trainer itself recognizes evaluations
    itself       TRL's trainer, if a reward call had its `log_metric`
    """

    policy: str = ""
    group_size: tuple[int | None, int | None] = (None, None)
    ends: frozenset[int] | None = None
    is_training: Callable[[], bool] | None = None
    itself: TrlTrainer | None = None

    @property
    def is_eval(self) -> bool:
        """Whether completions are sampled for an evaluation now; False if unknown."""
        return self.is_training is not None and not self.is_training()


@dataclass(frozen=True)
class Total:
    """The rewards that the trainer sums.

    names      in the trainer's order
    log_names  the names in the trainer's log; two functions may share one
    place      of each watched component: its index among them; None if the trainer does not have it
    """

    names: tuple[str, ...]
    log_names: tuple[str, ...]
    place: tuple[int | None, ...]

    @property
    def others(self) -> list[str]:
        """Names of the rewards that are summed but not watched."""
        return [name for i, name in enumerate(self.names) if i not in self.place]


def all_watched(names: Sequence[str]) -> Total:
    """The sum of exactly the watched components."""
    return Total(tuple(names), tuple(names), tuple(range(len(names))))


def trainer_of(call: Call) -> TrlTrainer | None:
    """TRL's trainer, through the method `log_metric` that it passes to reward functions; None for other callers."""
    owner = getattr(call.get("log_metric"), "__self__", None)
    return owner if isinstance(getattr(owner, "reward_funcs", None), list) else None


def total_of(trainer: TrlTrainer, recorder: object, names: Sequence[str]) -> Total:
    """The rewards that a trainer sums; `names` are those of the components that `recorder` watches."""
    place: list[int | None] = [None] * len(names)
    log_names = [str(name) for name in getattr(trainer, "reward_func_names", [])]
    own: list[str] = []
    for i, function in enumerate(trainer.reward_funcs):
        name = log_names[i] if i < len(log_names) else str(getattr(function, "__name__", type(function).__name__))
        component: int | None = getattr(function, "flatspot_component", None)
        if component is not None and getattr(function, "flatspot_recorder", None) is recorder:
            place[component] = i
            name = names[component]
        own.append(name)
    distinct = [name if name not in own[:i] else f"{name}-{own[:i].count(name) + 1}" for i, name in enumerate(own)]
    return Total(tuple(distinct), tuple(log_names), tuple(place))


def scoring_of(args: TrainingArguments, weights: Sequence[float] | None, n: int) -> Scoring | None:
    """How a trainer combines `n` rewards into one; None if it has another number of weights."""
    if weights is not None and len(weights) != n:
        return None
    clip = getattr(args, "reward_clip_range", None)
    return Scoring(
        np.ones(n) if weights is None else np.array(weights, float),
        None if not clip else (float(clip[0]), float(clip[1])),
        getattr(args, "multi_objective_aggregation", "") == "normalize_then_sum",
        getattr(args, "scale_rewards", None) in (True, "group"),  # of GRPO; RLOO has no such field, and divides by the batch's std at most
    )


def read_trainer(facts: Trainer, trainer: TrlTrainer, recorder: object, names: Sequence[str]) -> tuple[Total, Scoring | None]:
    """Fill in `facts` from a trainer; returns the rewards that it sums, and how."""
    total = total_of(trainer, recorder, names)
    weights, model = getattr(trainer, "reward_weights", None), getattr(trainer, "model", None)
    scoring = scoring_of(getattr(trainer, "args", None), None if weights is None else [float(w) for w in weights], len(total.names))
    facts.itself, facts.group_size = trainer, group_sizes(trainer)
    facts.ends = facts.ends or ends_of(model, getattr(trainer, "processing_class", None))
    facts.is_training = facts.is_training or (None if model is None else lambda: bool(model.training))
    return total, scoring


def rewards_from_log(trainer: TrlTrainer | None, total: Total, scored: ScoredBatch) -> Floats | None:
    """[all rewards, rows of all processes] of a batch, with unwatched rewards from the trainer's own log of completions.

    None if the trainer has no such log, or its last rows are not this batch: prompts, completions and the values of watched rewards must
    agree with the log.
    """
    parts = scored.batch.parts
    logs: _Logs = getattr(trainer, "_logs", _Logs())
    n, watched, rewards = parts.shape[1], [i for i in total.place if i is not None], parts.copy()
    if not _is_last(logs, scored, n):
        return None
    for i, name in enumerate(total.log_names):
        values = np.array(list(logs.get("rewards", {}).get(name, ()))[-n:], float)
        if total.log_names.count(name) > 1:  # the log has one list for both
            if i not in watched:
                return None
        elif len(values) < n:
            return None
        elif i not in watched:
            rewards[i] = values
        elif not np.array_equal(values[np.isfinite(parts[i])], parts[i][np.isfinite(parts[i])].astype(np.float32)):
            return None
    return rewards


def _is_last(logs: _Logs, scored: ScoredBatch, n: int) -> bool:
    """Whether the trainer's log ends with the prompts and completions of a batch; this process compares its own rows."""
    rows = scored.rows
    completions = list(logs.get("completion", ()))[-n:][scored.own]
    prompts = list(logs.get("prompt", ()))[-n:][scored.own]
    if [completion_text(completion) for completion in completions] != rows.completion:
        return False
    return bool(rows.opaque) or [read_prompt(prompt)[2] for prompt in prompts] == rows.text


def log_late(trainer: TrlTrainer | None, metrics: Mapping[str, float], *, is_eval: bool) -> None:
    """Add metrics to the trainer's next log entry, after their batch was scored."""
    pending = getattr(trainer, "_metrics", {}).get("eval" if is_eval else "train")
    for name, value in metrics.items():
        if pending is not None:
            pending[name].append(value)
        elif trainer is not None:
            trainer._log_metric(name, value)


def ends_of(model: PreTrainedModel | None, tokenizer: PreTrainedTokenizerBase | None) -> frozenset[int] | None:
    """The ids of the end tokens, as TRL determines them: the tokenizer's end and padding tokens, and those of the generation config."""
    inner = getattr(tokenizer, "tokenizer", tokenizer)
    ids = [getattr(inner, "eos_token_id", None), getattr(inner, "pad_token_id", None)]
    configured = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    ids += configured if isinstance(configured, list | tuple) else [configured]
    return frozenset(int(i) for i in ids if i is not None) or None


def group_sizes(settings: TrlTrainer | TrainingArguments) -> tuple[int | None, int | None]:
    """Completions per prompt, (in training, in evaluation), of a trainer or its arguments."""
    size = getattr(settings, "num_generations", None)
    return size, getattr(settings, "num_generations_eval", None) or size
