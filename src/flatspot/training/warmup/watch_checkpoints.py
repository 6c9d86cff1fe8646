"""The stop rule from outside: the checkpoints of a supervised training are probed as they appear, whatever trainer writes them."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from flatspot.core.errors import EngineError, RunFolderError, SettingsError
from flatspot.core.optional import require
from flatspot.core.plain import plain
from flatspot.core.renamed import with_new_names
from flatspot.core.request import name_of
from flatspot.rewards import LoadedReward, load_reward
from flatspot.rollouts.identity import digest, policy_stamp, reward_identity
from flatspot.rollouts.settings_diff import differences
from flatspot.rollouts.store import as_json, prompt_text, write_json
from flatspot.runs.run import Run, as_run
from flatspot.training.folders import own_folder
from flatspot.training.warmup.callback import read_curve, write_curve
from flatspot.training.warmup.labels import read_labels
from flatspot.training.warmup.probe import Probed, ProbeSettings, probe, probed_prompts
from flatspot.training.warmup.stop_rule import Choice, StopRule, choose

_STEP = re.compile(r"checkpoint-(\d+)")
_KIND, _NAMES = "flatspot watch-checkpoints", ("watch.json", "curve.json", "choice.json")
_POLL_S = 5.0
_SETTLED_S = 2.0  # a folder whose files have not changed for so long is taken to be whole

OnProbe = Callable[[Mapping[str, Any], Choice], None]


@dataclass(frozen=True)
class Watched:
    """What the checkpoints say: the curve, the choice, and the folder to start RL from (None: the policy as it was)."""

    out: Path
    curve: list[dict[str, Any]] = field(repr=False)
    choice: Choice
    checkpoint: Path | None


def watch_checkpoints(
    folder: str | Path,
    model: Any,
    reward: Any,
    *,
    run: str | Path | Run,
    out: str | Path | None = None,
    labels: Any = None,
    answer_col: str = "answer",
    rule: StopRule | None = None,
    probe: ProbeSettings | None = None,
    once: bool = False,
    reward_timeout_s: float = 10.0,
    reward_weights: Sequence[float] | None = None,
    dtype: str = "auto",
    device: str = "auto",
    on_probe: OnProbe | None = None,
) -> Watched:
    """Probe checkpoint-N folders in the order of N, until the rule says stop; `once`: those that are there.

    folder   where the trainer writes checkpoint-1, checkpoint-2, …: whole models or LoRA adapters
    model    the policy the training started from, probed as step 0
    out      where curve.json goes; by default folder/flatspot. Checkpoints that are in it are not probed again
    labels   the labelled prompts, which are then not probed

    Nothing in `folder` is changed and the trainer is not told: whoever started it stops it. Raises SettingsError for a curve that was
    probed otherwise, EngineError for a checkpoint that cannot be loaded though nothing writes to it.
    """
    require("transformers", extra="hf", purpose="flatspot watch-checkpoints")
    place, settings, rule = Path(folder), probe or ProbeSettings(), rule or StopRule()
    if not place.is_dir():
        raise SettingsError(f"{place} is no folder: expected the one in which the trainer writes checkpoint-1, checkpoint-2, …")
    out = Path(out) if out is not None else place / "flatspot"
    texts = [] if labels is None else [prompt_text(r["prompt"]) for r in read_labels(labels, run, answer_col=answer_col).learnt]
    probed = probed_prompts(run, settings, without=texts)
    with own_folder(out, _KIND, _NAMES, _is_older), _loaded(reward, reward_timeout_s, reward_weights) as scores:
        _same_as_before(
            out,
            {"run": _named(as_run(run).folder), "model": _model_asked(model), "reward": reward_identity(scores)},
            settings,
            probed,
        )
        curve = read_curve(out)
        for step, source in _as_they_come(place, model, curve, once):
            row = {"step": step} | _probed(source, scores, probed, dtype, device)
            curve.append(row)
            curve.sort(key=lambda found: int(found["step"]))
            write_curve(out, curve)
            choice = choose(curve, rule)
            if on_probe is not None:
                on_probe(row, choice)
            if choice.stop and not once:
                break
        if once and curve:  # the training may be over: nothing more will come
            rule = replace(rule, max_steps=rule.max_steps or max(1, int(curve[-1]["step"])))
        choice = choose(curve, rule)
        chosen = place / f"checkpoint-{choice.step}" if choice.step else None
        said = asdict(choice) | {"checkpoint": str(chosen) if chosen else None, "rule": asdict(rule)}
        write_json(plain(said), out / "choice.json")
    return Watched(out, curve, choice, chosen)


def _as_they_come(place: Path, model: Any, curve: Sequence[Mapping[str, Any]], once: bool) -> Iterator[tuple[int, Any]]:
    """(step, what to load) of what is not in the curve: the start first, then each folder once nothing writes to it any more."""
    done = {int(row["step"]) for row in curve}
    if 0 not in done:
        yield 0, model
    while True:
        waiting = [(step, path) for step, path in checkpoints_in(place) if step not in done]
        for step, path in waiting:
            if not (once or _settled(path)):
                break
            done.add(step)
            yield step, str(path)
        else:
            if once:
                return
        time.sleep(_POLL_S)


def checkpoints_in(place: Path) -> list[tuple[int, Path]]:
    """(step, folder) of every checkpoint-N that holds a model or an adapter, by N."""
    found = [(int(match[1]), path) for path in place.iterdir() if (match := _STEP.fullmatch(path.name)) and path.is_dir()]
    return sorted((step, path) for step, path in found if any((path / name).is_file() for name in ("config.json", "adapter_config.json")))


def _settled(path: Path) -> bool:
    """Whether the weights are there and no file has changed of late."""
    files = [file for file in path.iterdir() if file.is_file()]
    weights = any(file.suffix in (".safetensors", ".bin") for file in files)
    return weights and time.time() - max(file.stat().st_mtime for file in files) > _SETTLED_S


def _probed(source: Any, reward: LoadedReward, probed: Probed, dtype: str, device: str) -> dict[str, Any]:
    from flatspot.engines.hf import HfEngine
    from flatspot.engines.policy import load_policy

    try:
        policy = load_policy(source, dtype=dtype, device=device)
    except (EngineError, OSError) as error:
        raise EngineError(f"{source} cannot be probed: {error}") from error
    found = probe(HfEngine(policy), reward, probed)
    if found.get("scored") == 0:
        raise RunFolderError(f"the reward failed on every completion of {source}: {found['error']}")
    return found


def _named(place: Any) -> str:
    """A file or folder by its full path, however it was given; anything else by its name."""
    return str(Path(place).resolve()) if isinstance(place, str | Path) and Path(place).exists() else name_of(place)


def _model_asked(model: Any) -> dict[str, Any]:
    stamp = policy_stamp(model)
    return {"name": _named(model), "files": None if stamp is None else digest(stamp)}


def _is_older(out: Path) -> bool:
    """Whether a folder without a mark is of flatspot 0.1, which made none."""
    try:
        return {"probe", "prompts", "reward"} <= set(json.loads((out / "watch.json").read_text("utf-8")))
    except (OSError, ValueError, TypeError, RecursionError):
        return False


def _same_as_before(out: Path, asked: Mapping[str, Any], settings: ProbeSettings, probed: Probed) -> None:
    """Refuse to go on with a curve of another policy, reward, prompts or probes: its rows could not be compared."""
    file = out / "watch.json"
    now = as_json({**asked, "probe": asdict(settings), "prompts": sorted(prompt.id for prompt in probed.prompts)})
    if file.exists():
        try:
            before = json.loads(file.read_text("utf-8"))
            if not isinstance(before, dict):
                raise TypeError(f"it holds a {type(before).__name__}")
            if isinstance(before.get("probe"), dict):
                before["probe"] = with_new_names(before["probe"])
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise RunFolderError(f"{file} is damaged ({error}). Give another --out, or move the folder away to start anew") from error
        if changed := differences(before, now):
            raise SettingsError(
                f"{out} holds probes of other settings:\n  " + "\n  ".join(changed) + "\nGive another --out, or the same as before"
            )
    write_json(now, file)


@contextmanager
def _loaded(reward: Any, timeout_s: float, weights: Sequence[float] | None) -> Iterator[LoadedReward]:
    if isinstance(reward, LoadedReward):
        yield reward
        return
    with load_reward(reward, weights=weights, timeout_s=timeout_s) as found:
        yield found
