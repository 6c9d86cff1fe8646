"""Values for the chat template in a warm-up: its prompts are those that were judged."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping

from flatspot.core.errors import SettingsError
from flatspot.core.plain import Json
from flatspot.core.settings import Settings
from flatspot.runs.run import Run


def template_values(run: Run, given: Mapping[str, Json] | None = None) -> Mapping[str, Json]:
    """Values for the chat template in a training on this run's prompts: those that the run was drawn with; of logs, the given ones.

    Raises `SettingsError` for others than those of a run that flatspot drew: its prompts would not be the ones that were judged.
    """
    own = run.record.chat_template_kwargs
    if given is None:
        return own
    values = Settings(chat_template_kwargs=given).chat_template_kwargs or {}
    if run.record.kind == "diagnose" and values != own:
        drawn = f"with --chat-template-kwargs {shlex.quote(json.dumps(own))}" if own else "without --chat-template-kwargs"
        raise SettingsError(
            f"{run.folder} was drawn {drawn}, and other values make other prompts of its messages, got {json.dumps(values)}: leave the "
            "option out, or diagnose the prompts with these values first"
        )
    if values and not any(run.prompts["is_chat"].to_pylist()):
        raise SettingsError(f"--chat-template-kwargs is for chat messages, and the prompts of {run.folder} are plain text: leave it out")
    return values
