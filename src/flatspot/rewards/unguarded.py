"""A reward that is called in this process: built-in ones that cannot hang, and functions whose state this process shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flatspot.core.records import Completion, Prompt
from flatspot.rewards.composition import COMPARES, compare_alone
from flatspot.rewards.process import Failure
from flatspot.rewards.scorers import Scorer
from flatspot.rewards.values import Value, describe_exception, is_broken


@dataclass(frozen=True, slots=True)
class Unguarded:
    """A scorer of this process; a call that raises is repeated row by row."""

    call: Scorer

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Value]:
        """One value per row."""
        values = self.ask(prompts, completions)
        if not isinstance(values, Failure):
            return values
        if len(prompts) == 1:
            return [Value(error=values.message, broken=is_broken(values.message))]
        alone = [self.score([prompt], [completion])[0] for prompt, completion in zip(prompts, completions, strict=True)]
        finding = compare_alone(alone, lambda rows: self.ask([prompts[i] for i in rows], [completions[i] for i in rows]))
        return [Value(error=value.error or f"{values.message}; {COMPARES}") for value in alone] if finding == "other" else alone

    def ask(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Value] | Failure:
        """One call, as it is."""
        try:
            return self.call(prompts, completions)
        except Exception as error:
            return Failure(describe_exception(error), lost=False)
