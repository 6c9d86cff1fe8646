"""The draw itself, against numpy and against transformers' own warpers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from flatspot.core.records import Sampling
from flatspot.engines.sampling import draw, shape_logits, uniforms


@pytest.mark.parametrize("size", [3, 256, 257, 5000])
def test_a_draw_inverts_the_cumulative_softmax(size):
    generator = torch.Generator().manual_seed(size)
    logits = 4 * torch.randn(200, size, generator=generator)
    logits[:, 1] = -torch.inf
    uniform = torch.rand(200, dtype=torch.float64, generator=generator)
    cumulative = np.cumsum(torch.softmax(logits.double(), -1).numpy(), axis=-1)
    expected = [int(np.searchsorted(row, u, side="right")) for row, u in zip(cumulative, uniform.numpy(), strict=True)]
    tokens, log_p = draw(logits, uniform)
    assert tokens.tolist() == expected
    of_tokens = np.log(torch.softmax(logits.double(), -1).numpy()[range(200), expected])
    np.testing.assert_allclose(log_p.numpy(), of_tokens, atol=1e-5)


def test_the_ends_of_the_unit_interval_draw_tokens_that_can_be_drawn():
    logits = torch.full((2, 600), -torch.inf)
    logits[:, [5, 300]] = 0.0
    assert draw(logits, torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64))[0].tolist() == [5, 300]


def test_rare_tokens_keep_their_share():
    """In one float32 sum the tail of a large vocabulary would be rounded away behind a token with nearly all the mass."""
    size = 60_000
    logits = torch.zeros(1, size)
    logits[0, 0] = float(np.log(0.99 / 0.01 * (size - 1)))
    uniform = torch.linspace(0.9900001, 0.9999999, 2000, dtype=torch.float64)
    tokens = draw(logits.expand(2000, -1), uniform)[0].double()
    expected = 1 + (uniform - 0.99) / 0.01 * (size - 1)
    assert float((tokens - expected).abs().max()) < 25


@pytest.mark.parametrize("settings", [(1.0, 1.0, 0), (0.5, 1.0, 0), (2.0, 1.0, 7), (1.0, 0.8, 0), (0.7, 0.95, 40), (1.3, 0.3, 5)])
@pytest.mark.parametrize("size", [50, 6000])
def test_temperature_top_k_and_top_p_are_those_of_transformers(settings, size):
    temperature, top_p, top_k = settings
    logits = 3 * torch.randn(20, size, generator=torch.Generator().manual_seed(1))
    expected = TemperatureLogitsWarper(temperature)(None, logits)
    if top_k:
        expected = TopKLogitsWarper(top_k)(None, expected)
    if top_p < 1:
        expected = TopPLogitsWarper(top_p)(None, expected)
    shaped = shape_logits(logits, Sampling(temperature=temperature, top_p=top_p, top_k=top_k))
    torch.testing.assert_close(torch.softmax(shaped, -1), torch.softmax(expected, -1))


def test_a_row_s_numbers_are_its_own():
    alone = uniforms([7], 5)
    beside = uniforms([3, 7, 2**63 - 1], 9)
    assert np.array_equal(alone[0], beside[1, :5])
    assert len({tuple(row) for row in beside}) == 3
    assert abs(uniforms(range(4000), 1).mean() - 0.5) < 0.02  # neighboring seeds are unrelated
