"""Rounds and the one loop that draws them."""

import numpy as np

from flatspot.rollouts.parts import most_completions
from flatspot.rollouts.rounds import FixedCompletions, Round, run_rounds


def a_round(prompts, first, n_completions=2, fixed=False):
    return Round(np.array(prompts), np.array(first), n_completions, fixed)


def plain(this):
    return this.prompts.tolist(), this.first.tolist(), this.n_completions, this.fixed


class Scripted:
    """Decides on these rounds, and keeps what it was given."""

    adaptive = True

    def __init__(self, *rounds):
        self.rounds, self.absorbed = list(rounds), []

    def next_round(self):
        return self.rounds.pop(0) if self.rounds else None

    def absorb(self, drawn, rewards):
        self.absorbed.append((plain(drawn), rewards.tolist()))


def test_each_round_is_drawn_once_and_absorbed_before_the_next_is_decided():
    first, second = a_round([0, 1], [0, 0]), a_round([1], [2], 1)
    decider, events = Scripted(first, second), []

    def draw(this):
        events.append(("draw", len(decider.absorbed)))
        return np.full((len(this.prompts), this.n_completions), len(events), float)

    run_rounds(decider, draw)
    assert events == [("draw", 0), ("draw", 1)]
    assert decider.absorbed == [(plain(first), [[1, 1], [1, 1]]), (plain(second), [[2]])]
    assert decider.next_round() is None


def test_rounds_decided_on_before_come_first_whatever_would_be_decided_now():
    old, new = a_round([0], [0]), a_round([0], [2])
    decider, drawn = Scripted(new), []
    run_rounds(decider, lambda this: drawn.append(plain(this)) or np.zeros((1, 2)), decided=[old])
    assert drawn == [plain(old), plain(new)]


def test_a_part_holds_at_least_one_prompt():
    assert a_round(range(3), [0] * 3, 64).parts(8) == [slice(0, 1), slice(1, 2), slice(2, 3)]


def test_the_most_completions_of_a_prompt_are_those_of_its_last_round():
    assert most_completions([]) == 0
    assert most_completions([a_round([0, 1], [0, 0], 4), a_round([1], [4], 3), a_round([0], [4], 1)]) == 7


def test_a_fixed_number_tops_up_whoever_lacks_some():
    decider = FixedCompletions(4, 6)

    def absorb(prompts, n):
        decider.absorb(a_round(prompts, [0] * len(prompts), n), np.zeros((len(prompts), n)))

    assert plain(decider.next_round()) == ([0, 1, 2, 3], [0] * 4, 6, True)
    absorb([0, 1, 2, 3], 2)
    absorb([1, 3], 1)
    assert plain(decider.next_round()) == ([0, 2], [2, 2], 4, False)
    assert decider.most_completions() == 24
    absorb([0, 2], 4)
    assert plain(decider.next_round()) == ([1, 3], [3, 3], 3, False)
    absorb([1, 3], 3)
    assert decider.next_round() is None
    assert decider.most_completions() == 24
