"""The paper on one screen: RL alone stalls, so do the usual remedies, and RL after a short warm-up on few labels does not.

The model and the task are `flatspot.tasks.letters`'; every step is a public verb of flatspot: diagnose, plan, warm up, train.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from flatspot.core.errors import RunFolderError
from flatspot.core.json_tree import damage
from flatspot.core.optional import require
from flatspot.core.protocols import Say
from flatspot.core.provenance import provenance
from flatspot.core.records import Prompt
from flatspot.rollouts.progress import OnProgress
from flatspot.rollouts.store import write_json
from flatspot.runs.demo_summary import DemoPolicy, DemoResults, DemoSize

_FILE = "results.json"
_TASK, _REWARD = "capitals", "exact_match"
REMEDIES: Mapping[str, Mapping[str, float]] = {
    "RL alone": {},
    "RL, learning rate x10": {"rate": 10.0},
    "RL, temperature 2": {"temperature": 2.0},
    "RL, entropy bonus 0.1": {"entropy": 0.1},
}


def overcome(
    out: str | Path, *, size: DemoSize | None = None, seed: int = 0, say: Say = lambda _: None, on_progress: OnProgress | None = None
) -> DemoResults:
    """Diagnose, try RL and three remedies, warm up, RL again; writes run folders and results.json into `out`, and returns them.

    A folder that holds the results of the same settings is read, not repeated; one that holds others is refused with `RunFolderError`.
    """
    require("trl", extra="train", purpose="flatspot demo --train")
    from flatspot.engines.quiet import quiet_transformers
    from flatspot.tasks.letters import letters_model, letters_prompts
    from flatspot.training.folders import own_folder

    out, size, begun = Path(out), size or DemoSize(), time.monotonic()
    if (results := _results_there(out, size, seed)) is not None:
        return results
    prompts, model = letters_prompts(_TASK, size.prompts), letters_model()
    demo = _Demo(out, size, seed, prompts, say, on_progress)
    with own_folder(out, _KIND, _NAMES), quiet_transformers(), _without_lines():
        rows = [demo.measured("as it is", model)]
        for name, change in REMEDIES.items():
            rows.append(demo.reinforced(name, model, **change))
        warm, warmed = demo.warmed_up(model)
        rows.append(warmed)
        rows.append(demo.reinforced("warm-up, then RL", warm))
    policy, seconds = str(out / "rl-after-warm-up" / "trainer"), round(time.monotonic() - begun, 1)
    results = DemoResults(_TASK, size, seed, tuple(rows), policy, seconds, provenance())
    write_json(results.to_json(), out / _FILE)
    return results


@dataclass(frozen=True)
class _Demo:
    """What every step needs."""

    out: Path
    size: DemoSize
    seed: int
    prompts: Sequence[Prompt]
    say: Say
    on_progress: OnProgress | None

    def measured(self, name: str, model: Path, folder: str = "as-it-is") -> DemoPolicy:
        """A row of the table: how flatspot judges a policy."""
        from flatspot.flow.diagnose import diagnose
        from flatspot.tasks.letters import MAX_NEW_TOKENS

        first = folder == "as-it-is"
        if first:
            self.say(f"Diagnosing: {len(self.prompts)} prompts such as {self.prompts[0].text!r}, answer {self.prompts[0].references[0]!r}")
        run = self.out / "judged" / folder
        summary = diagnose(
            self.prompts,
            str(model),
            _REWARD,
            out=run,
            engine="hf",
            max_new_tokens=MAX_NEW_TOKENS,
            on_progress=self.on_progress,
            max_completions=32 if first else self.size.samples,
            fixed_completions=not first,
        ).summary
        learnable, vanishing, solved = (getattr(summary.fractions, state).mean or 0.0 for state in ("learnable", "vanishing", "solved"))
        reward = summary.reward.mean or 0.0
        return DemoPolicy(name, 0, 0, 0, reward=reward, learnable=learnable, vanishing=vanishing, solved=solved, seconds=0.0)

    def reinforced(self, name: str, model: Path, *, rate: float = 1.0, temperature: float = 1.0, entropy: float = 0.0) -> DemoPolicy:
        """An RL run, and the row that its policy gets."""
        from flatspot.training.rl.train import train

        begun, folder = time.monotonic(), _folder(name)
        self.say(f"{name}: {self.size.rl_steps} steps of 64 completions")
        shutil.rmtree(self.out / folder, ignore_errors=True)
        options = flags(
            {
                "max_steps": self.size.rl_steps,
                "learning_rate": 2e-4 * rate,
                "temperature": temperature,
                "entropy_coef": entropy,
                "per_device_train_batch_size": 64,
                "num_generations": 8,
                "max_completion_length": 13,
                "top_k": 0,
                "beta": 0.0,
                "seed": self.seed,
                **_MACHINE,
            }
        )
        trained = train(list(self.prompts), str(model), _REWARD, out=self.out / folder, options=options)
        row = self.measured(name, trained.checkpoint, folder)
        return replace(row, generations=self.size.rl_steps * 64, seconds=round(time.monotonic() - begun, 1))

    def warmed_up(self, model: Path) -> tuple[Path, DemoPolicy]:
        """The warm-up on the labels that flatspot asks for, and the row of its policy."""
        from flatspot.planning.labels import LabelSettings, select_labels
        from flatspot.training.warmup.run import warmup

        begun, run = time.monotonic(), self.out / "judged" / "as-it-is"
        selected = select_labels(run, LabelSettings(labels=self.size.labels, seed=self.seed))
        labels = [{"prompt": label.prompt.text, "answer": label.prompt.references[0]} for label in selected]
        self.say(f"Warming up on {len(labels)} labels that flatspot chose, until RL can take over")
        options = flags(
            {
                "max_steps": self.size.sft_steps,
                "learning_rate": 1e-3,
                "per_device_train_batch_size": min(16, len(labels)),
                "seed": self.seed,
                **_MACHINE,
            }
        )
        shutil.rmtree(self.out / "warm-up", ignore_errors=True)
        warmed = warmup(labels, str(model), _REWARD, run=run, out=self.out / "warm-up", options=options, seed=self.seed)
        self.say(f"The policy of step {warmed.chosen_step} is selected.")
        row = self.measured("warm-up", warmed.checkpoint, "warm-up")
        return warmed.checkpoint, replace(
            row,
            labels=len(labels),
            sft_steps=warmed.chosen_step,
            generations=sum(int(probe.get("generations") or 0) for probe in warmed.curve),
            seconds=round(time.monotonic() - begun, 1),
            why=warmed.why,
        )


_MACHINE: Mapping[str, object] = {
    "lr_scheduler_type": "constant",
    "dtype": "float32",
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "report_to": "none",
    "save_strategy": "no",
    "logging_steps": 10,
}


def flags(named: Mapping[str, object]) -> list[str]:
    """Settings as TRL's flags.

    >>> flags({"use_cpu": True, "max_steps": 3})
    ['--use_cpu', 'true', '--max_steps', '3']
    """
    return [part for name, value in named.items() for part in (f"--{name}", str(value).lower() if isinstance(value, bool) else str(value))]


def _folder(name: str) -> str:
    return {"warm-up, then RL": "rl-after-warm-up"}.get(name, "-".join("".join(c if c.isalnum() else " " for c in name.lower()).split()))


_KIND = "flatspot demo --train"
_NAMES = ("judged", "warm-up", *(_folder(name) for name in (*REMEDIES, "warm-up, then RL")))
_COMPARED = {"RL alone", "warm-up", "warm-up, then RL"}  # policies without which there is nothing to show


def _results_there(out: Path, size: DemoSize, seed: int) -> DemoResults | None:
    """The results that a folder holds already."""
    if not (out / _FILE).exists():
        return None
    try:
        results = DemoResults.from_json(json.loads((out / _FILE).read_text("utf-8")))
        if lacking := _COMPARED - {row.name for row in results.rows}:
            raise ValueError(f"it has no row {min(lacking)!r}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RunFolderError(f"{out / _FILE} is damaged ({damage(error)}). Delete it and run again.") from None
    if (results.size, results.seed) != (size, seed):
        raise RunFolderError(f"{out} holds the results of other settings ({results.size}, seed {results.seed}): give another --out")
    return results


@contextlib.contextmanager
def _without_lines() -> Iterator[None]:
    """The trainers' bars stay, on standard error; the lines that they print, and their advice to each other, do not."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
