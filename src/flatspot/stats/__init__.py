"""Arrays of rewards in, numbers out: no files, no models, no prompts' text.

`evidence` holds what the samples say of each prompt; `posterior` routes it to the model that fits its kind of reward (`two_valued`,
`many_valued`) and returns, per prompt, how probable each state is and how wrong each verdict would be; `decide` says which verdicts are
given, `triage` whom to draw again; `intervals` are the limits that never collapse; `forecast` is what a group of another size would see.
`table` is the labelled layer: it reads evidence out of Parquet with DuckDB.
"""
