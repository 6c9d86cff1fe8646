"""The grid that has either side of every limit, against p by p evaluation."""

import numpy as np
import pytest
from truth import zero_one

from flatspot.stats.models.edges import grid_with_edges, states_and_losses
from flatspot.stats.models.npmle import GRID
from flatspot.stats.zones import Zones


@pytest.mark.parametrize(
    "zones",
    [
        Zones(0.05),
        Zones(0.0506, group_size=8),
        Zones(0.2, group_size=2),
        Zones(0.0129, group_size=32),
        Zones(0.05, -1.0, 3.0, advantage="normalized"),
        Zones(0.05, 0.0, 0.5, advantage="normalized"),
    ],
    ids=str,
)
def test_between_neighbors_nothing_changes_but_at_an_edge_too_narrow_for_a_float32(zones):
    points = grid_with_edges(zones, zones.lo, zones.hi)
    assert np.isin(GRID, points).all()
    at = np.concatenate(states_and_losses(points, zones, zones.lo, zones.hi), -1)
    between = points[:-1, None] + np.diff(points)[:, None] * np.linspace(0, 1, 23)[1:-1]
    inside = np.concatenate(states_and_losses(between, zones, zones.lo, zones.hi), -1)
    changes = (at[1:] != at[:-1]).any(-1)
    assert (np.diff(points)[changes] < 1e-7).all()
    assert changes.sum() >= 4
    assert (inside[~changes] == at[:-1][~changes][:, None]).all()


def test_states_and_losses_are_those_of_groups_of_rewards_0_and_1():
    zones, p = Zones(0.05), np.linspace(0, 1, 1001)
    states, losses = states_and_losses(p, zones, 0.0, 1.0)
    np.testing.assert_array_equal(states, zones.states(zero_one(p), 1.0))
    np.testing.assert_array_equal(losses, zones.loss(zero_one(p), 1.0))


def test_the_edges_are_where_the_documentation_has_them():
    points = grid_with_edges(Zones(0.05), 0.0, 1.0)
    added = np.setdiff1d(points, GRID)
    np.testing.assert_allclose(np.unique(added.round(6)), [0.025, 0.05, 0.1, 0.9, 0.95, 0.975])
