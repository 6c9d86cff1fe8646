"""A trainer's call of watched reward functions, without a trainer. For the tests of `watch`."""

from types import SimpleNamespace

import pyarrow.parquet as pq


def call(functions, step=0, *, last=True, prompts=("a", "a", "b", "b"), completions=None, **columns):
    """(what each function returned, what was logged)."""
    logged = {}
    state = SimpleNamespace(global_step=step, max_steps=step + 1 if last else 10**6)
    arguments = {
        "prompts": list(prompts), "completions": completions or [f"{i}{step}" for i in range(len(prompts))],
        "completion_ids": [[1, 2]] * len(prompts), "trainer_state": state, "log_metric": logged.__setitem__, **columns,
    }  # fmt: skip
    returned = [f(**arguments) for f in functions]
    return returned, logged


def rows_of(run):
    """The rows of a run folder."""
    return pq.read_table(run / "rollouts").to_pylist()
