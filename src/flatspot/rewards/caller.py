"""With what a reward function is called: any rows, until it is seen to compare the completions of a call; then whole groups, or nothing.

Why, and what was measured: design/0018.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from flatspot.core.errors import RewardLoadError
from flatspot.core.noise import CalledAgain
from flatspot.core.records import Completion, Prompt
from flatspot.core.shares import noun
from flatspot.rewards.composition import compare, equal
from flatspot.rewards.guard import Guard
from flatspot.rewards.process import Failure
from flatspot.rewards.spread import Spread
from flatspot.rewards.values import Value, is_broken

_LOOKS = 3  # calls with different values that are repeated in parts, before a reward is taken for one that looks at rows one by one
_AGAIN = 64  # rows of a noisy reward that are called once more, to measure the noise
_GIVE_UP_AFTER = 3  # groups in a row without an answer

Rows = tuple[Sequence[Prompt], Sequence[Completion]]


class Scores(Protocol):
    """What scores rows: a guarded function, or one of this process."""

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Value]:
        """One value per row; a call that fails is repeated in smaller ones."""
        ...

    def ask(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Value] | Failure:
        """One call, as it is."""
        ...


class Caller:
    """A reward function and what was found out about it by calling it.

    group_size  completions of a prompt that the RL run will call it with; None where the rows that come are no such groups
    by_row      whether it is known to look at one row at a time
    compares    whether it was seen to compare the completions of a call
    noisy       whether it was seen to give the same call other values
    again       how much these differed; None where it is not noisy, or did not answer again
    rows, none  how many values it gave, and how many of them were None
    spread      scores its rows on workers where it is slow; None where there are none
    """

    def __init__(self, name: str, scores: Scores, group_size: int | None, *, by_row: bool) -> None:
        self.name = name
        self.scores = scores
        self.group_size = group_size
        self.compares = self.noisy = False
        self.again: CalledAgain | None = None
        self.rows = self.none = 0
        self.spread: Spread | None = None
        self._looks = 0 if by_row else _LOOKS
        self._looks_across = _LOOKS

    def start_counting(self) -> None:
        """Forget how many rows there were, were None, or got no answer."""
        self.rows = self.none = 0
        if isinstance(self.scores, Guard):
            self.scores.late_rows = 0

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Value]:
        """One value per row.

        Raises `RewardLoadError` where the function compares the completions of a call, and these rows are not the groups it needs.
        """
        values = self._grouped(prompts, completions) if self.compares else self._free(prompts, completions)
        self.rows += len(values)
        self.none += sum(value.number is None and value.error is None for value in values)
        return values

    def _free(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Value]:
        values, calls = (
            (self.scores.score(prompts, completions), [slice(None)]) if self.spread is None else self.spread.score(prompts, completions)
        )
        if self._looks:
            call = _largest_varied(values, calls)
            asked, given = prompts[call], completions[call]
            finding = compare(values[call], lambda rows: self.scores.ask([asked[i] for i in rows], [given[i] for i in rows]))
            self._looks -= finding == "same"
            if finding == "noise":
                self.noisy, self._looks = True, 0
            if finding == "other":
                self.compares = True
                return self._grouped(prompts, completions)
        if self.noisy and (left := _AGAIN - (0 if self.again is None else self.again.n)) > 0:
            answer = self.scores.ask(prompts[:left], completions[:left])
            self.again = _called_again(values[:left], answer, self.again)
        return values

    def _grouped(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Value]:
        """One call per group, none of them ever split."""
        size = self.group_size or 0
        starts = range(0, len(prompts), size) if size else range(0)
        if not starts or any(len({p.id for p in prompts[at : at + size]}) > 1 or at + size > len(prompts) for at in starts):
            raise RewardLoadError(
                f"the reward {self.name} gives a completion another value when other completions are in the same call, as a rank within a "
                "group does. It is right only with the groups of the RL run: in flatspot diagnose, add --fixed-completions, with a "
                "--max-completions that is a multiple of --group-size; a log must say steps, and hold the --group-size completions of a "
                "prompt at a step one after another"
            )
        values: list[Value] = []
        silent, late = 0, False
        for at in starts:
            group = prompts[at : at + size], completions[at : at + size]
            given_up = silent >= _GIVE_UP_AFTER
            answer = Failure(f"not tried: {silent} groups in a row got no answer", True, late) if given_up else self.scores.ask(*group)
            if not isinstance(answer, Failure):
                values, silent = values + answer, 0
                continue
            silent, late = silent + 1 if answer.lost else 0, answer.late
            values += [Value(error=answer.message, broken=is_broken(answer.message))] * size
            if late and isinstance(self.scores, Guard):
                self.scores.late_rows += size
        self._look_across(prompts, completions, values)
        return values

    def _look_across(self, prompts: Sequence[Prompt], completions: Sequence[Completion], values: Sequence[Value]) -> None:
        """Refuse a reward whose values of one group hang on another group: no prompt has a reward of its own then."""
        size = self.group_size or 0
        other = next((at for at in range(0, len(prompts), size) if prompts[at].id != prompts[0].id), None)
        if self._looks_across == 0 or other is None:
            return
        rows = [*range(size), *range(other, other + size)]

        def pair() -> list[Value] | Failure:
            return self.scores.ask([prompts[i] for i in rows], [completions[i] for i in rows])

        apart, together = [values[i] for i in rows], pair()
        if isinstance(together, Failure):
            return
        self._looks_across -= 1
        if equal(apart, together, apart + together) or not equal(together, pair(), together):  # the latter is noise
            return
        raise RewardLoadError(
            f"the reward {self.name} gives two groups of {size} other values when both are in one call: it compares completions of "
            f"different prompts, or its groups are not of --group-size {size}. No prompt has a reward of its own then: give a reward that "
            f"looks at one group, and the size of its groups as --group-size"
        )


def _called_again(first: Sequence[Value], again: list[Value] | Failure, before: CalledAgain | None) -> CalledAgain | None:
    """How two calls of the same rows differ, with those called before; None where there are no two numbers of a row."""
    pairs = [] if isinstance(again, Failure) else list(zip(first, again, strict=True))
    apart = [a.number - b.number for a, b in pairs if a.number is not None and b.number is not None]
    if not apart:
        return before
    before = before or CalledAgain(0, 0, 0.0)
    n = before.n + len(apart)
    return CalledAgain(n, before.unequal + sum(d != 0 for d in apart), (before.n * before.variance + sum(d * d for d in apart) / 2) / n)


def _largest_varied(values: Sequence[Value], calls: Sequence[slice]) -> slice:
    """The call of most rows with different values; the first where no call has them."""
    rows = {call.start: len({value.number for value in values[call]} - {None}) > 1 and len(values[call]) for call in calls}
    return max(calls, key=lambda call: rows[call.start])


def last_notes_of(caller: Caller) -> list[str]:
    """What holds of a reward only once all rows were scored."""
    if not caller.rows or caller.none < caller.rows:
        return []
    return [f"The reward {caller.name} returned None for every completion that was scored: it is in no total."]


def lasting_notes_of(caller: Caller) -> list[str | tuple[str, str]]:
    """What was found out about a reward that whoever reads its values should know: further rows may add to it, and take nothing back."""
    name, notes = caller.name, list[str | tuple[str, str]]()
    if caller.compares:
        notes.append(
            f"The reward {name} compares the completions of a call, so it was called with one group of {caller.group_size} at a time: its "
            f"values are those of --group-size {caller.group_size}, and of no other."
        )
    if caller.spread is not None and caller.spread.why_not is not None:
        notes.append(f"The reward {name} was scored by the process that drew the rows, not by its workers: {caller.spread.why_not}")
    if caller.noisy:
        notes.append(
            (
                "noisy-reward",
                f"The reward {name} gave the same completions other values when it was called again: part of its std is its own noise, "
                "not the policy's.",
            )
        )
    if isinstance(caller.scores, Guard):
        if late := caller.scores.late_rows:
            notes.append(
                f"{noun(late, 'completion')} {'is' if late == 1 else 'are'} unscored because the reward {name} gave no answer in time: "
                f"raise --reward-timeout (now {caller.scores.pace.timeout_s:g} s) if it is only slow."
            )
        if caller.scores.late_call is not None:
            rows, seconds = caller.scores.late_call
            notes.append(
                f"The reward {name} took longer than {seconds:.3g} s for {noun(rows, 'completion')}, scored then scored in smaller calls."
            )
    return notes
