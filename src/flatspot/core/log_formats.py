"""The names of the formats of logs that flatspot itself reads; `importers.detection` has the formats."""

from __future__ import annotations

LOG_FORMATS = (
    "auto",
    "generic",
    "flatspot",
    "trl",
    "wandb",
    "verl",
    "prime-rl",
    "verifiers",
    "nemo-rl",
    "open-instruct",
    "swift",
    "areal",
    "roll",
    "skyrl",
    "slime",
    "lm-eval",
    "inspect-ai",
    "open-r1",
)
"""What `--format` takes. auto: the format that the files show; generic: columns by their names."""
