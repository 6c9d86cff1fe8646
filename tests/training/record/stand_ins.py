"""Stand-ins that call a reward exactly as verl, OpenRLHF and ms-swift do (trainer_surface.json): nothing else of them is here."""

import asyncio
import importlib.util
import inspect
import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np

SURFACE = json.loads((Path(__file__).parent / "trainer_surface.json").read_text())


def loaded(path, name):
    """A name of a file, which the trainer imports under a name of its own."""
    spec = importlib.util.spec_from_file_location(f"custom_module_{id(path)}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name)


def verl_scores(raw_fn, rows, manager="row"):
    """The scores of rows (data_source, solution_str, ground_truth, extra_info), by one of verl's managers.

    Sync functions run on the threads of a loop, as there; the row's dict of extra_info is shared by its rollouts.
    """
    *names, _ = SURFACE["verl"]["calls"][manager]
    is_async = inspect.iscoroutinefunction(raw_fn)
    compute_score = partial(_with_kwargs_async if is_async else _with_kwargs, raw_fn, {})

    async def one(row):
        row = dict(zip(names, row, strict=True))
        row["extra_info"].update(num_turns=None, rollout_reward_scores={})
        if inspect.iscoroutinefunction(compute_score):
            return await compute_score(**row)
        return await asyncio.get_running_loop().run_in_executor(None, lambda: compute_score(**row))

    async def all_rows():
        return await asyncio.gather(*(one(row) for row in rows), return_exceptions=True)

    if manager != "batch":
        return asyncio.run(all_rows())
    columns = [np.array(column, dtype=object) if i in (0, 3) else list(column) for i, column in enumerate(zip(*rows, strict=True))]
    return compute_score(**dict(zip(names, columns, strict=True)))


def _with_kwargs(raw_fn, extra, *args, **kwargs):
    return raw_fn(*args, **{**kwargs, **extra})


async def _with_kwargs_async(raw_fn, extra, *args, **kwargs):
    return await raw_fn(*args, **{**kwargs, **extra})


def openrlhf_rewards(path, queries, prompts, labels):
    """What a file's reward_func gives each query, a call each, on threads."""
    [name], size = SURFACE["openrlhf"]["loads"], SURFACE["openrlhf"]["rows of a call"]
    reward_func = loaded(path, name)

    async def fetched():
        parts = [slice(i, i + size) for i in range(0, len(queries), size)]
        return await asyncio.gather(*(asyncio.to_thread(reward_func, queries[p], prompts[p], labels[p]) for p in parts))

    return asyncio.run(fetched())


def swift_rewards(classes, asked, step):
    """[function] values: classes of ORM are made with args and called one after the other; rows are (messages, prompt_id, columns)."""
    rewards = [own(args=SimpleNamespace()) for own in classes]
    completions = [messages[-1]["content"] for messages, _, _ in asked]
    kwargs = {SURFACE["ms_swift"]["further"][0]: SimpleNamespace(global_step=step)}
    values = dict.fromkeys(SURFACE["ms_swift"]["columns"])
    rows = [
        values | {"messages": m, "prompt_id": p, "request_id": f"r{i}", "is_truncated": False, "response_token_ids": [[1, 2, 3]]} | columns
        for i, (m, p, columns) in enumerate(asked)
    ]
    kwargs |= {key: [row.get(key) for row in rows] for key in rows[0]}
    waits = [asyncio.iscoroutinefunction(getattr(own, "__call__", None)) for own in rewards]  # noqa: B004
    found = [None if wait else own(completions, **kwargs) for own, wait in zip(rewards, waits, strict=True)]

    async def rest():
        return await asyncio.gather(*(own(completions, **kwargs) for own, wait in zip(rewards, waits, strict=True) if wait))

    late = iter(asyncio.run(rest()))
    return [next(late) if wait else values for values, wait in zip(found, waits, strict=True)]
