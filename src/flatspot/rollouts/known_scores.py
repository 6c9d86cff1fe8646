"""Scores of completions that were drawn before: under a reward that repeats itself, a completion that is drawn again is not scored again.

One in `AGAIN` is, picked by its seed whatever came before, so that a reward that does not do what was said of it shows. Those that are not
have the score of the first one, and say so in the column `copied`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from flatspot.core.records import Completion, Prompt, Score
from flatspot.core.seeds import row_seed

AGAIN = 8  # of the completions that come again, one in so many is scored
MOST_REMEMBERED = 400_000  # completions of a run: of more, only those of one call are compared, so that memory stays bounded

Row = tuple[Prompt, int, Completion]
"""A prompt, the index of a completion of it, and the completion."""


@dataclass
class KnownScores:
    """The scores of a run so far.

    seed       of the run
    remembers  whether they are kept from call to call, and not only within one
    """

    seed: int
    remembers: bool
    _scores: dict[tuple[str, bytes], Score] = field(default_factory=dict, repr=False)

    def to_score(self, rows: Sequence[Row]) -> list[bool]:
        """Whether each row is to be scored: it was not drawn before, or is one of those that are scored again."""
        seen, wanted = set[tuple[str, bytes]](), []
        for prompt, index, completion in rows:
            key = _key(prompt.id, completion.text, completion.truncated)
            new = key not in seen and key not in self._scores
            wanted.append(new or completion.messages is not None or _again(self.seed, prompt.id, index))
            seen.add(key)
        return wanted

    def filled(self, rows: Sequence[Row], scores: Iterable[Score], scored: Sequence[bool]) -> list[tuple[Score | None, bool]]:
        """(the score, whether it was copied) of each row, from those of the rows that were scored; (None, False) where none is known."""
        given, out, own = iter(scores), list[tuple[Score | None, bool]](), {} if not self.remembers else self._scores
        for (prompt, _, completion), now in zip(rows, scored, strict=True):
            key = _key(prompt.id, completion.text, completion.truncated)
            if now:
                score = next(given)
                if score.error is None and score.reward is not None:
                    own.setdefault(key, score)
                out.append((score, False))
            else:
                known = own.get(key)
                out.append((None, False) if known is None else (replace(known), True))
        return out

    def remember(self, prompt_id: str, text: str, truncated: bool, score: Score) -> None:
        """Take in a row that was scored elsewhere: by an earlier start of the run, or where an equal one before it failed."""
        if self.remembers and score.error is None and score.reward is not None:
            self._scores.setdefault(_key(prompt_id, text, truncated), score)


def _key(prompt_id: str, text: str, truncated: bool) -> tuple[str, bytes]:
    return prompt_id, hashlib.blake2b(text.encode("utf-8", "surrogatepass") + bytes([truncated]), digest_size=12).digest()


def _again(seed: int, prompt_id: str, index: int) -> bool:
    return row_seed(seed, f"scored again\x1f{prompt_id}", index) % AGAIN == 0
