"""How long a call of a reward may take, against the time that a call of known cost takes."""

from flatspot.rewards.pace import Pace


def test_what_a_call_takes_whatever_it_holds_is_not_multiplied_by_rows():
    def seconds(rows):
        return 5.0 + 0.002 * rows

    pace = Pace(10.0)
    pace.answered(1, seconds(1), fresh=True)
    for rows in (8, 512, 1, 1, 1):
        assert seconds(rows) < pace.limit(rows, fresh=False)
        pace.answered(rows, seconds(rows), fresh=False)
    assert pace.limit(512, fresh=False) < 10 + 3 * 511 * seconds(8) / 8  # and not two hours, as three rows alone would tell


def test_rows_that_became_slow_are_learned_from_rows_alone():
    pace = Pace(10.0)
    pace.answered(1, 0.1, fresh=True)
    pace.answered(8, 0.1, fresh=False)
    assert pace.limit(32, fresh=False) < 32 * 2.0
    pace.unanswered(32, fresh=False)
    pace.answered(1, 2.0, fresh=False)
    assert pace.limit(32, fresh=False) > 32 * 2.0
