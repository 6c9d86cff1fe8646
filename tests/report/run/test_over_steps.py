"""The pictures of a training's steps, read back and compared with the numbers they were drawn from."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from flatspot.report.run.grid import HIGH, LOW, grid_chart, grid_legend, has_texts, rows_of
from flatspot.report.run.states import states_chart
from flatspot.runs.prompt_steps import PromptGrid
from flatspot.runs.steps_summary import StepsSummary, StepWindow, WindowShare

sys.path.insert(0, str(Path(__file__).parents[1]))
from ruler import all_of


def grid_of(mean, std, stopped=None):
    """A grid of [M, C] numbers, NaN where a prompt was not drawn; rewards are equal where the std is 0."""
    mean, std = np.array(mean, float), np.array(std, float)
    prompt, window = np.nonzero(np.isfinite(std))
    windows = tuple((1 + 10 * c, 10 + 10 * c) for c in range(std.shape[1]))
    flat = (std[prompt, window] == 0).astype(float)
    gone = np.zeros(len(std), bool) if stopped is None else np.array(stopped)
    return PromptGrid(windows, prompt, window, mean[prompt, window], std[prompt, window], flat, gone)


NAN = float("nan")
FOUR = grid_of(
    mean=[[0.0, 0.1, 0.3], [0.5, 1.0, NAN], [0.6, NAN, 0.9], [0.0, 0.0, 0.0]],
    std=[[0.0, 0.31, 0.4], [0.4, 0.0, NAN], [0.2, NAN, 0.2], [0.0, 0.0, 0.0]],
    stopped=[False, True, False, False],
)


def test_prompts_stand_from_solved_to_vanishing_and_cells_are_what_was_drawn():
    rows = rows_of(FOUR, 0.5, binary=True)
    assert rows.prompts.tolist() == [1, 2, 0, 3]
    assert rows.top == 0.4
    # solved and no longer drawn; as it was last where it was not drawn; low, then mixed; low
    assert rows.kind.tolist() == [[5, HIGH, -1], [4, 4, 4], [LOW, 5, 5], [LOW, LOW, LOW]]
    by_std = rows_of(FOUR, 0.5, binary=False)
    assert by_std.prompts.tolist() == [1, 0, 2, 3]


@pytest.mark.parametrize("m", [1, 10, 20, 21, 300, 10_000])
def test_every_prompt_is_in_one_row_and_rows_are_few(m):
    rng = np.random.default_rng(m)
    std = rng.choice([0.0, 0.2, 0.5], (m, 12))
    rows = rows_of(grid_of(rng.random((m, 12)), std), 0.5, binary=True)
    assert sorted(rows.prompts.tolist()) == list(range(m))
    assert (rows.starts[0], rows.starts[-1]) == (0, m) and (np.diff(rows.starts) > 0).all() and len(rows.starts) <= 121
    assert has_texts(rows) == (m <= 20)


def test_a_row_of_several_prompts_is_what_most_of_them_are():
    m = 1200
    std = np.where(np.arange(m)[:, None] % 10 < 6, 0.0, 0.4) * np.ones((m, 4))
    mean = np.where(std == 0, 0.0, 0.5)
    mean[:, 3], std[:, 3] = np.linspace(0.9, 0.1, m), 0.3  # the order is that of the last window, and so mixes the kinds before it
    rows = rows_of(grid_of(mean, std), 0.5, binary=True)
    assert (rows.kind[:, :3] == LOW).all() and (rows.kind[:, 3] == 5).all()


def test_the_cells_of_the_picture_are_those_of_the_rows():
    rng = np.random.default_rng(5)
    grid = grid_of(rng.random((40, 8)), rng.choice([0.0, 0.1, 0.25, 0.5, NAN], (40, 8)), rng.random(40) < 0.3)
    rows = rows_of(grid, 0.5, binary=True)
    chart = grid_chart(grid, rows, [], middle=0.5)
    height = 3 * 40
    drawn = np.full(rows.kind.shape, -1)
    for node in all_of(chart, "path"):
        if (kind := re.fullmatch(r"cell cell-(\d)", node.get("class") or "")) is None:
            continue
        for x, y, end in re.findall(r"M([\d.]+) ([\d.]+)h[\d.]+V([\d.]+)h", node.get("d")):
            c = round(float(x) / 100 * 8)
            drawn[round(float(y) / 3) : round(float(end) / 3), c] = int(kind[1])
    assert height == int(all_of(chart, "svg")[0].get("height"))
    assert (drawn == rows.kind).all()
    columns = [node for node in all_of(chart, "rect") if "column" in (node.get("class") or "")]
    said = [node[0].text for node in columns]
    assert len(said) == 8 and all(f"{int((grid.window == c).sum())} prompts drawn" in text for c, text in enumerate(said))
    assert [kind for kind, _ in grid_legend(rows)] == [HIGH, 2, 3, 4, 5, LOW, -1]


def test_the_bars_are_the_shares_of_the_windows_and_the_lines_their_limits():
    def window(first, vanishing, solved):
        return StepWindow(
            first, first + 9, 50, 400, WindowShare(*vanishing), WindowShare(1 - vanishing[0] - solved[0]), WindowShare(*solved)
        )

    windows = (window(1, (0.4, 0.3, 0.5), (0.1, 0.02, 0.2)), window(11, (0.1, 0.0, 0.3), (0.6, 0.5, 0.7)))
    chart = states_chart(StepsSummary(20, windows))
    height = float(all_of(chart, "svg")[0].get("height"))
    bars = [node for node in all_of(chart, "rect") if (node.get("class") or "").startswith("bar v-")]
    shares = [(node.get("class").removeprefix("bar v-"), round(float(node.get("height")) / height, 3)) for node in bars]
    assert shares == [
        *(("vanishing", 0.4), ("learnable", 0.5), ("solved", 0.1)),
        *(("vanishing", 0.1), ("learnable", 0.3), ("solved", 0.6)),
    ]
    lines = [node for node in all_of(chart, "line") if node.get("class") == "whisker"]
    ends = [sorted(round(1 - float(node.get(y)) / height, 3) for y in ("y1", "y2")) for node in lines]
    assert ends == [[0.3, 0.5], [0.8, 0.98], [0.0, 0.3], [0.3, 0.5]]
    assert states_chart(StepsSummary(20, (StepWindow(1, 20, 5, 40),))) is None
