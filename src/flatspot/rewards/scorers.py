"""Call a reward function the way its trainer would, and get one `Value` per row.

A scorer takes prompts and completions of equal length. It raises what the function raises, so that its caller can find out
which row was the cause; an answer of the wrong shape comes back as errors on every row.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from types import SimpleNamespace

from flatspot.core.errors import RewardLoadError
from flatspot.core.records import Completion, Prompt, TrainingProgress, has_answer
from flatspot.rewards.spec import Shape
from flatspot.rewards.values import NoAnswer, Value, as_value, as_values

Scorer = Callable[[Sequence[Prompt], Sequence[Completion]], list[Value]]

# names with a meaning of their own; a prompt column of the same name gives way
RESERVED = ("prompts", "completions", "completion_ids", "trainer_state", "log_extra", "log_metric")


def scorer_for(function: Callable[..., object], shape: Shape, name: str) -> Scorer:
    """The scorer that calls `function` under the convention `shape` names.

    Raises `RewardLoadError` for a class, and where the function has the parameters of another trainer: its adapter has to be named.
    """
    if inspect.isclass(function):
        raise RewardLoadError(
            f"the reward {name!r} is a class; give an instance or a function: {name.lower()} = {name}(…) in its file, and that name here"
        )
    own = _own_shape(function)
    if own is not None and own != shape:
        takes = ", ".join(p for p in parameters_of(function) if p in _TELLING[own])
        write = f"write {own}: before its address, as in {own}:file.py:{name}" if own != "trl" else f"leave out {shape}:"
        raise RewardLoadError(f"the reward {name!r} takes {takes}, as {own} calls it, not as {shape} does: {write}")
    return {"trl": trl_scorer, "verl": verl_scorer, "openrlhf": openrlhf_scorer}[shape](function)


# the parameters by which a function is known as one of a trainer's, the surest first; verl has two conventions, of a row and of a batch
_TELLING: Mapping[Shape, frozenset[str]] = {
    "trl": frozenset({"completions"}),
    "verl": frozenset({"solution_str", "solution_strs"}),
    "openrlhf": frozenset({"queries"}),
}


def _own_shape(function: Callable[..., object]) -> Shape | None:
    names = parameters_of(function).keys()
    return next((shape for shape, telling in _TELLING.items() if telling & names), None)


def trl_scorer(function: Callable[..., object]) -> Scorer:
    """Call `f(prompts, completions, **columns) -> list[float | None]` as TRL's GRPO trainer does, sync or async.

    Everything goes by keyword: prompts, completions (message lists where the prompt is chat, text otherwise), completion_ids,
    every prompt column as a list by its name (None where a row lacks it), the prompt ids as `id`, and stand-ins for
    log_extra, log_metric and, outside a training, trainer_state. Unlike TRL, a function without **kwargs gets only the parameters it names.
    """
    accepted = parameters_of(function)
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in accepted.values())
    needed = {n for n, p in accepted.items() if p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    by_place = [n for n, p in accepted.items() if p.kind is p.POSITIONAL_ONLY and p.default is p.empty]

    def score(prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Value]:
        arguments = trl_arguments(prompts, completions)
        missing = sorted(needed - arguments.keys())
        if missing or by_place:
            columns = ", ".join(sorted(arguments.keys() - set(RESERVED))) or "none"
            why = f"needs {', '.join(missing)}, which no prompt column gives (columns: {columns})"
            if not missing:
                why = f"takes {', '.join(by_place)} by place alone, and is called by keyword: leave out the / in its parameters"
            return [Value(error=why, broken=True)] * len(prompts)
        if accepted and not takes_any:
            arguments = {key: value for key, value in arguments.items() if key in accepted}
        return as_values(finished(function(**arguments)), len(prompts))

    return score


def verl_scorer(function: Callable[..., object]) -> Scorer:
    """Call verl's `compute_score(data_source, solution_str, ground_truth, extra_info)` once per row, or, with these names in the plural,
    once for all rows, as verl's batch reward manager does.

    The columns data_source and extra_info are passed where the prompts have them, ground_truth from the column of that name,
    else from verl's reward_model column, else from the row's references; a row that has none of these is not scored, unless the function
    does not name the parameter. A returned dict counts by its "score".
    """
    accepted = parameters_of(function)
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in accepted.values())
    batch, needs_truth = "solution_strs" in accepted, not {"ground_truth", "ground_truths"}.isdisjoint(accepted)

    def score(prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Value]:
        rows = [_verl_arguments(prompt, completion) for prompt, completion in zip(prompts, completions, strict=True)]
        if not batch:
            rows = [{key: value for key, value in row.items() if takes_any or not accepted or key in accepted} for row in rows]
            if (problem := _uncallable(function, "verl", **rows[0])) is not None:
                return [problem] * len(rows)
            return [verl_value(finished(function(**row))) for row in rows]
        several = {plural: [row[name] for row in rows] for name, plural in _PLURALS.items() if takes_any or plural in accepted}
        if (problem := _uncallable(function, "verl", **several)) is not None:
            return [problem] * len(rows)
        raw = finished(function(**several))
        if isinstance(raw, list | tuple) and len(raw) == len(rows):
            return [verl_value(item) for item in raw]
        return as_values(raw, len(rows))

    def score_answered(prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Value]:
        lacking = Value(
            unanswered=True,
            error="this prompt has no ground truth for the reward: no column ground_truth, reward_model or reference with an answer",
        )
        return _only(score, [None if ground_truth(prompt) is not None else lacking for prompt in prompts], prompts, completions)

    return score_answered if needs_truth else score


_PLURALS = {"data_source": "data_sources", "solution_str": "solution_strs", "ground_truth": "ground_truths", "extra_info": "extra_infos"}


def _verl_arguments(prompt: Prompt, completion: Completion) -> dict[str, object]:
    return {
        "data_source": prompt.columns.get("data_source"),
        "solution_str": completion.text,
        "ground_truth": ground_truth(prompt),
        "extra_info": prompt.columns.get("extra_info"),
    }


def verl_value(raw: object) -> Value:
    """What verl takes for the score of a row, of what its `compute_score` returned: the "score" of a dict."""
    if isinstance(raw, dict) and "score" not in raw:
        return Value(error=f"returned a dict without 'score' (keys: {', '.join(map(str, raw))})", broken=True)
    return as_value(raw["score"] if isinstance(raw, dict) else raw)


def openrlhf_scorer(function: Callable[..., object]) -> Scorer:
    """Call OpenRLHF's `reward_func(queries, prompts, labels)`, a query being the prompt and the response together.

    Chat prompts are joined as the messages' contents, one per line, because the model's template is not known here. Labels are
    the column `label`, else the row's first reference; a row with neither is not scored. A returned dict counts by its "rewards";
    "scores" and logs are not used.
    """

    def score(prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Value]:
        queries, texts, labels = openrlhf_arguments(prompts, completions)
        if (problem := _uncallable(function, "openrlhf", queries, texts, labels)) is not None:
            return [problem] * len(prompts)
        return openrlhf_values(finished(function(queries, texts, labels)), len(prompts))

    def score_labeled(prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Value]:
        lacking = Value(unanswered=True, error="this prompt has no label for the reward: no column label or reference with an answer")
        return _only(score, [None if label(prompt) is not None else lacking for prompt in prompts], prompts, completions)

    return score_labeled


def openrlhf_arguments(prompts: Sequence[Prompt], completions: Sequence[Completion]) -> tuple[list[str], list[str], list[object]]:
    """(queries, prompts, labels) as OpenRLHF passes them; None where a row has no label."""
    texts = [prompt.text if isinstance(prompt.text, str) else "\n".join(m["content"] for m in prompt.text) + "\n" for prompt in prompts]
    queries = [text + completion.text for text, completion in zip(texts, completions, strict=True)]
    return queries, texts, [label(prompt) for prompt in prompts]


def openrlhf_values(raw: object, n_rows: int) -> list[Value]:
    """What OpenRLHF takes for the rewards of a call, of what `reward_func` or a server of rewards returned: the "rewards" of a dict."""
    if isinstance(raw, dict):
        if "rewards" not in raw:
            return [Value(error=f"returned a dict without 'rewards' (keys: {', '.join(map(str, raw))})", broken=True)] * n_rows
        raw = raw["rewards"]
    if n_rows == 1 and (getattr(raw, "ndim", None) == 0 or isinstance(raw, int | float)):
        raw = [raw]  # a single row may come back as a number, or as a tensor without an axis
    return as_values(raw, n_rows)


def _only(score: Scorer, values: Sequence[Value | None], prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Value]:
    """Score the rows whose value is not known already, in one call."""
    rows = [row for row, value in enumerate(values) if value is None]
    scores = iter(score([prompts[row] for row in rows], [completions[row] for row in rows]) if rows else ())
    return [value if value is not None else next(scores) for value in values]


def _uncallable(function: Callable[..., object], shape: Shape, *places: object, **names: object) -> Value | None:
    """Why a function cannot be called with these arguments, as the trainer would."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some callables of C extensions have none
        return None
    try:
        signature.bind(*places, **names)
    except TypeError as error:
        return Value(error=f"cannot be called as {shape} calls it: {error}", broken=True)
    return None


def row_scorer(score_row: Callable[[Prompt, str], float]) -> Scorer:
    """A scorer of a function that looks at one prompt and one completion's text at a time."""

    def score_one(prompt: Prompt, text: str) -> Value:
        try:
            return as_value(score_row(prompt, text))
        except NoAnswer as error:
            return Value(error=str(error), unanswered=True)

    def score(prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Value]:
        return [score_one(prompt, completion.text) for prompt, completion in zip(prompts, completions, strict=True)]

    return score


def trl_arguments(prompts: Sequence[Prompt], completions: Sequence[Completion]) -> dict[str, object]:
    """The keyword arguments TRL passes for these rows.

    >>> rows = trl_arguments([Prompt("a", "2+2=", {"answer": "4"})], [Completion("5", 1, False)])
    >>> rows["prompts"], rows["completions"], rows["answer"]
    (['2+2='], ['5'], ['4'])
    """
    names = dict.fromkeys(name for prompt in prompts for name in prompt.columns)
    arguments: dict[str, object] = {"id": [prompt.id for prompt in prompts]}
    arguments |= {name: [prompt.columns.get(name) for prompt in prompts] for name in names}
    states = (prompt.columns.get("trainer_state") for prompt in prompts)
    now = next((state for state in states if isinstance(state, TrainingProgress)), TrainingProgress())
    return arguments | {
        "prompts": [prompt.text if isinstance(prompt.text, str) else [dict(message) for message in prompt.text] for prompt in prompts],
        "completions": [_as_trl(prompt, completion) for prompt, completion in zip(prompts, completions, strict=True)],
        "completion_ids": [list(completion.token_ids) for completion in completions],
        "trainer_state": SimpleNamespace(**asdict(now), num_train_epochs=1, log_history=[]),
        "log_extra": _ignore,
        "log_metric": _ignore,
    }


def _as_trl(prompt: Prompt, completion: Completion) -> str | list[dict[str, object]]:
    if completion.messages is not None:
        return [dict(message) for message in completion.messages]
    return [{"role": "assistant", "content": completion.text}] if prompt.is_chat else completion.text


def _ignore(*_: object, **__: object) -> None:
    return None


def label(prompt: Prompt) -> object:
    """OpenRLHF's label of a row: the column `label`, else its first reference; None where it has neither."""
    own = prompt.columns.get("label")
    return own if has_answer(own) else next(iter(prompt.references), None)


def ground_truth(prompt: Prompt) -> object:
    """verl's ground truth of a row: the column of that name, else verl's reward_model column, else its references."""
    reward_model = prompt.columns.get("reward_model")
    for holder in (prompt.columns, reward_model if isinstance(reward_model, Mapping) else {}):
        if has_answer(holder.get("ground_truth")):
            return holder["ground_truth"]
    references = prompt.references
    return references[0] if len(references) == 1 else list(references) or None


def finished(raw: object) -> object:
    """What a function returned; of a coroutine, what it returns once it is awaited."""
    if not inspect.isawaitable(raw):
        return raw
    import asyncio  # a tenth of the start of a worker, for the few rewards that are coroutines
    from concurrent.futures import ThreadPoolExecutor

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(_awaited(raw))
    with ThreadPoolExecutor(1) as thread:  # a notebook's loop runs already, and a thread has one of its own
        return thread.submit(asyncio.run, _awaited(raw)).result()


async def _awaited(awaitable: Awaitable[object]) -> object:
    return await awaitable


def parameters_of(function: Callable[..., object]) -> Mapping[str, inspect.Parameter]:
    """A function's parameters by name; none where it has no signature.

    >>> list(parameters_of(lambda completions, **columns: [0.0]))
    ['completions', 'columns']
    """
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):  # some callables of C extensions have no signature: they get everything
        return {}
