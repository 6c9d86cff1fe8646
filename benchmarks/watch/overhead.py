"""What watching costs on real GRPO runs of two small policies: python benchmarks/watch/overhead.py

Prints the time that the watch spent, as it measures itself (reward functions' own time not counted), over the time of the training.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
import time
import warnings
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "tests" / "faults"))

from flatspot.training.watch.wrap import recorder_of as flatspot_recorder  # noqa: E402
from runs import Case, even_words, half, train  # noqa: E402

SIZES = {
    "50k parameters, 32 completions of 16 tokens": {},
    "50k parameters, 256 completions of 48 tokens": {"per_device_train_batch_size": 256, "num_generations": 8, "max_completion_length": 48},
}


def main() -> None:
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        """The time of the training, without its first five steps, which pay for imports and caches."""

        began = ended = spent = 0.0

        def on_step_end(self, args, state, control, **kwargs):
            self.ended = time.perf_counter()
            if state.global_step == 5:
                self.began, self.spent = self.ended, flatspot_recorder().spent

    costs = {}
    with tempfile.TemporaryDirectory() as folder:
        for i, (name, settings) in enumerate(SIZES.items()):
            steps = 200 if not settings else 60
            case = Case(name, None, (half, even_words), settings={**settings, "logging_steps": 10})
            clock = Clock()
            _, callback, _ = train(case, Path(folder) / str(i), steps=steps, callbacks=[clock])
            seconds, spent = clock.ended - clock.began, callback.recorder.spent - clock.spent
            costs[name] = {"step_ms": 1e3 * seconds / (steps - 5), "watch_ms": 1e3 * spent / (steps - 5), "share": spent / seconds}
            print(
                f"{name}: step {costs[name]['step_ms']:.0f} ms, watch {costs[name]['watch_ms']:.2f} ms, {costs[name]['share']:.2%}",
                flush=True,
            )
    (HERE / "overhead.json").write_text(json.dumps(costs, indent=1) + "\n")


if __name__ == "__main__":
    main()
