"""A run as an object: `run` has it, read once from its folder; `summary` is what it comes to; `table` its rows as statistics of each
prompt; `by_step` its rewards over a training; `export` its prompts and completions for other tools. Writers are in `rollouts`."""
