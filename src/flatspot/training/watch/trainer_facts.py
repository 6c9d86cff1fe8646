"""What TRL's trainer says of itself: its groups, and every reward that it adds up, watched or not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from flatspot.stats.evidence import Floats
from flatspot.training.watch.batches import Scored
from flatspot.training.watch.calls import Call, completion_text, read_prompt
from flatspot.training.watch.live import Scoring


@dataclass
class Trainer:
    """What is known of the trainer; all unknown before the callback, or a reward call, shows it.

    policy       its name
    group_size   completions per prompt, (in training, in evaluation)
    ends         token ids that end a completion
    is_training  whether the model is in training mode now, which is how the trainer itself tells evaluations apart
    itself       TRL's trainer, where a reward call came with its `log_metric`
    """

    policy: str = ""
    group_size: tuple[int | None, int | None] = (None, None)
    ends: frozenset[int] | None = None
    is_training: Callable[[], bool] | None = None
    itself: Any = None

    @property
    def is_eval(self) -> bool:
        """Whether what is drawn now is drawn for an evaluation; False where that is not known."""
        return self.is_training is not None and not self.is_training()


@dataclass(frozen=True)
class Total:
    """The rewards that the trainer adds up.

    names      of all of them, in the trainer's order
    log_names  the same as the trainer logs them; two functions may share one
    place      of each watched component: its place among them; None where the trainer was not given it
    """

    names: tuple[str, ...]
    log_names: tuple[str, ...]
    place: tuple[int | None, ...]

    @property
    def others(self) -> list[str]:
        """Names of the rewards that are added up and not watched."""
        return [name for i, name in enumerate(self.names) if i not in self.place]


def all_watched(names: Sequence[str]) -> Total:
    """The sum of exactly what is watched."""
    return Total(tuple(names), tuple(names), tuple(range(len(names))))


def trainer_of(call: Call) -> Any:
    """TRL's trainer, of which the `log_metric` that it passes to reward functions is a method; None elsewhere."""
    found = getattr(call.get("log_metric"), "__self__", None)
    return found if isinstance(getattr(found, "reward_funcs", None), list) else None


def total_of(trainer: Any, recorder: object, names: Sequence[str]) -> Total:
    """What a trainer adds up; `names` are those of the components that `recorder` watches."""
    place: list[int | None] = [None] * len(names)
    logged = [str(name) for name in getattr(trainer, "reward_func_names", [])]
    found: list[str] = []
    for i, function in enumerate(trainer.reward_funcs):
        own = logged[i] if i < len(logged) else str(getattr(function, "__name__", type(function).__name__))
        if getattr(function, "flatspot_recorder", None) is recorder:
            place[function.flatspot_component] = i
            own = names[function.flatspot_component]
        found.append(own)
    distinct = [name if name not in found[:i] else f"{name}-{found[:i].count(name) + 1}" for i, name in enumerate(found)]
    return Total(tuple(distinct), tuple(logged), tuple(place))


def scoring_of(args: Any, weights: Sequence[float] | None, n: int) -> Scoring | None:
    """How a trainer makes one reward of `n`; None where it has another number of weights than that."""
    if weights is not None and len(weights) != n:
        return None
    clip = getattr(args, "reward_clip_range", None)
    return Scoring(
        np.ones(n) if weights is None else np.array(weights, float),
        None if not clip else (float(clip[0]), float(clip[1])),
        getattr(args, "multi_objective_aggregation", "") == "normalize_then_sum",
    )


def meet(known: Trainer, trainer: Any, recorder: object, names: Sequence[str]) -> tuple[Total, Scoring | None]:
    """Take in what a trainer shows of itself; returns what it adds up, and how."""
    total = total_of(trainer, recorder, names)
    weights, model = getattr(trainer, "reward_weights", None), getattr(trainer, "model", None)
    scoring = scoring_of(getattr(trainer, "args", None), None if weights is None else [float(w) for w in weights], len(total.names))
    known.itself, known.group_size = trainer, group_sizes(trainer)
    known.ends = known.ends or ends_of(model, getattr(trainer, "processing_class", None))
    known.is_training = known.is_training or (None if model is None else lambda: bool(model.training))
    return total, scoring


def rewards_from_log(trainer: Any, total: Total, scored: Scored) -> Floats | None:
    """[all rewards, rows of all processes] of a batch, what is not watched taken from the trainer's own log of completions.

    None where the trainer keeps no such log, or its last rows are not this batch: prompts, completions and what a watched reward gave
    must be those of the log.
    """
    parts = scored.batch.parts
    logs: Mapping[str, Any] = getattr(trainer, "_logs", {})
    n, watched, found = parts.shape[1], [i for i in total.place if i is not None], parts.copy()
    if not _is_last(logs, scored, n):
        return None
    for i, name in enumerate(total.log_names):
        values = np.array(list(logs.get("rewards", {}).get(name, ()))[-n:], float)
        if total.log_names.count(name) > 1:  # the log keeps one list for both
            if i not in watched:
                return None
        elif len(values) < n:
            return None
        elif i not in watched:
            found[i] = values
        elif not np.array_equal(values[np.isfinite(parts[i])], parts[i][np.isfinite(parts[i])].astype(np.float32)):
            return None
    return found


def _is_last(logs: Mapping[str, Any], scored: Scored, n: int) -> bool:
    """Whether the trainer's log ends with the prompts and completions of a batch, of which this process compares its own rows."""
    rows = scored.rows
    completions, prompts = (list(logs.get(name, ()))[-n:][scored.mine] for name in ("completion", "prompt"))
    if [completion_text(completion) for completion in completions] != rows.completion:
        return False
    return bool(rows.opaque) or [read_prompt(prompt)[0] for prompt in prompts] == rows.ids


def log_late(trainer: Any, metrics: Mapping[str, float], *, is_eval: bool) -> None:
    """Add metrics to the trainer's next log entry, after the batch they are of was scored."""
    kept = getattr(trainer, "_metrics", {}).get("eval" if is_eval else "train")
    for name, value in metrics.items():
        if kept is not None:
            kept[name].append(value)
        else:
            trainer._log_metric(name, value)


def ends_of(model: Any, tokenizer: Any) -> frozenset[int] | None:
    """The token ids that end a completion, as TRL reads them: the tokenizer's, its padding, and those of the generation config."""
    inner = getattr(tokenizer, "tokenizer", tokenizer)
    found = [getattr(inner, "eos_token_id", None), getattr(inner, "pad_token_id", None)]
    configured = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    found += configured if isinstance(configured, list | tuple) else [configured]
    known = frozenset(int(i) for i in found if i is not None)
    return known or None


def group_sizes(settings: Any) -> tuple[int | None, int | None]:
    """Completions per prompt, (in training, in evaluation), of a trainer or its arguments."""
    size = getattr(settings, "num_generations", None)
    return size, getattr(settings, "num_generations_eval", None) or size
