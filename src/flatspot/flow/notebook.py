"""A bar below the cell of a notebook, for calls that were given nowhere else to say how far they are."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from flatspot.rollouts.progress import OnProgress, Progress, progress_line


@contextmanager
def bar_in_notebook(on_progress: OnProgress | None) -> Iterator[OnProgress | None]:
    """`on_progress` itself; where it is None and this is a notebook, what draws tqdm's bar, a widget where ipywidgets is installed."""
    if on_progress is not None or not _in_notebook():
        yield on_progress
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that ipywidgets is missing: a bar of text is one, too
        from tqdm.auto import tqdm
    last: Progress | None = None
    with tqdm(total=1, bar_format="{bar} {desc}") as bar:

        def draw(progress: Progress) -> None:
            nonlocal last
            last = progress
            if bar.total != progress.rows_total:
                bar.reset(total=progress.rows_total)  # the way to tell a widget
            bar.n = progress.rows_done
            bar.set_description_str(progress_line(progress))

        yield draw
        if last is None:
            bar.n = bar.total
        else:  # what the rewards left of the limit is all there is
            draw(replace(last, rows_total=last.rows_done, prompts_done=last.prompts_total, at_most=False))


def _in_notebook() -> bool:
    """Whether a Jupyter kernel runs this."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return shell is not None and "IPKernelApp" in getattr(shell, "config", {})
