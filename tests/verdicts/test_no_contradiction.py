"""Headline, rule, table and forecast of one judging tell one story, whatever the set."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flatspot.report.blocks import headline
from flatspot.stats.zones import STATES
from flatspot.verdicts.settings import JudgeSettings
from flatspot.verdicts.summary import judge

sys.path.insert(0, str(Path(__file__).parent))
from test_set_signs import run_of

pytestmark = pytest.mark.thorough

LIMITS = JudgeSettings()
CHANCE = st.sampled_from((0.0, 0.02, 0.1, 0.5, 0.9, 1.0, 1.0))


@st.composite
def rewards(draw):
    """[M, n] rewards of a kind: binary, of five values, continuous in [0, 1] or without a range; some may have failed."""
    m, n = draw(st.integers(1, 16)), draw(st.sampled_from((1, 2, 3, 4, 8, 16, 16)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(("binary", "binary", "five", "metric", "logits")))
    p = rng.choice(draw(st.lists(CHANCE, min_size=1, max_size=3)), (m, 1))
    if kind == "binary":
        values = (rng.random((m, n)) < p).astype(float)
    elif kind == "five":
        values = rng.binomial(4, np.broadcast_to(p, (m, n))) / 4
    elif kind == "metric":
        values = np.clip(rng.normal(p, draw(st.sampled_from((0.0, 0.004, 0.02, 0.1))), (m, n)), 0, 1)
    else:
        values = rng.normal(10 * p, draw(st.sampled_from((0.01, 1.0))), (m, n))
    values[rng.random((m, n)) < draw(st.sampled_from((0.0, 0.0, 0.02, 0.3)))] = np.nan
    return values


@st.composite
def judged(draw):
    """A judging of a set of one reward, or of two and their sum."""
    total, parts = draw(rewards()), None
    if draw(st.booleans()):
        other = np.resize(draw(rewards()), total.shape)
        parts = {"first": total, "second": other}
        total = total + other
    seen = total[np.isfinite(total)]
    lo, hi = (float(seen.min()), float(seen.max())) if len(seen) else (0.0, 1.0)
    inside = 0 <= lo <= hi <= 1
    limits = {"reward_lo": 0.0, "reward_hi": 1.0} if inside else {"reward_lo": min(lo, 0.0), "reward_hi": hi + (hi <= lo), "stated": False}
    advantage = draw(st.sampled_from(("centered", "normalized")))
    return judge(run_of(total, parts=parts), JudgeSettings(**limits, advantage=advantage))


@given(judged())
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
def test_one_judging_tells_one_story(found):
    summary, table = found.summary, {name: np.array(found.verdicts[name].to_pylist()) for name in ("verdict", "p_mixed")}
    text = json.dumps(summary.to_json(), allow_nan=False)  # no number is NaN or infinite
    assert json.loads(text)["verdict"] == summary.verdict and headline(summary)[0]
    counts = dict(summary.counts.items())
    assert counts == {name: int((table["verdict"] == name).sum()) for name in counts} and sum(counts.values()) == summary.n_prompts
    fractions = {name: getattr(summary.fractions, name) for name in STATES}
    scored = summary.n_prompts - counts["unscored"]
    if not scored:
        assert summary.verdict in ("fix-reward", "draw-more")
        return
    assert sum(share.mean for share in fractions.values()) == pytest.approx(1)
    assert all(share.lo <= share.mean + 1e-9 and share.mean <= share.hi + 1e-9 for share in fractions.values())
    the_rule_has_the_number_of_the_table(summary, counts, fractions, scored)
    the_forecast_is_of_the_groups_of_the_table(summary, table)


def the_rule_has_the_number_of_the_table(summary, counts, fractions, scored):
    """The share that decided is that of `fractions`; where as many prompts do not have the verdict, the reason has their number."""
    rule = re.fullmatch(r"(vanishing|solved) prompts: [<>]?([\d.]+)% (>|<=) [\d.]+%", summary.rule)
    for state, limit in (("vanishing", LIMITS.warm_up_above), ("solved", LIMITS.solved_above)):
        if summary.verdict == "proceed":
            assert fractions[state].mean <= limit
            assert counts[state] / scored <= limit or f"({counts[state]} of {scored}" in summary.reason
    if rule:
        state, percent, sign = rule.groups()
        share = fractions[state].mean
        assert float(percent) / 100 == pytest.approx(share, abs=0.0101)
        assert (share > {"vanishing": LIMITS.warm_up_above, "solved": LIMITS.solved_above}[state]) == (sign == ">")
        near = abs(counts[state] / scored - share) < 0.015
        assert near or f"({counts[state]} of {scored} have the verdict" in summary.reason
    if part := re.match(r"'(\w+)' vanishes where the total varies", summary.rule):
        assert summary.components[part[1]].flat_share > LIMITS.warm_up_above


def the_forecast_is_of_the_groups_of_the_table(summary, table):
    """The mean of `p_mixed` is the forecast at the planned size, and `to_train` that of the prompts to train on."""
    mixed = table["p_mixed"].astype(float)
    trained = np.isin(table["verdict"], ("learnable", "undecided"))
    assert summary.to_train.n_prompts == trained.sum()
    assert summary.to_train.informative == (pytest.approx(np.nanmean(mixed[trained])) if trained.any() else None)
    forecast = summary.forecast[str(summary.group_size)]
    assert forecast.lo - 1e-9 <= forecast.informative <= forecast.hi + 1e-9
    assert forecast.informative == pytest.approx(np.nanmean(mixed))
