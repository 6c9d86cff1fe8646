"""The stop rule for any trainer: the checkpoints of a supervised training are probed as they appear."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from flatspot.core.errors import EngineError, RunFolderError, SettingsError
from flatspot.core.optional import require
from flatspot.core.plain import Json, plain
from flatspot.core.renamed import with_new_names
from flatspot.core.request import name_of
from flatspot.rewards import LoadedReward, load_reward
from flatspot.rollouts.identity import digest, policy_stamp, reward_identity
from flatspot.rollouts.settings_diff import differences
from flatspot.rollouts.store import as_json, prompt_text, write_json
from flatspot.runs.run import Run, as_run
from flatspot.tasks import Source
from flatspot.training.folders import own_folder
from flatspot.training.inputs import ModelSource, RewardSource
from flatspot.training.warmup.curve import ProbeRow, read_curve, write_curve
from flatspot.training.warmup.labels import read_labels
from flatspot.training.warmup.probe import Probed, ProbeSettings, probe, probed_prompts
from flatspot.training.warmup.probe_engine import SleepingVllm
from flatspot.training.warmup.stop_rule import Choice, StopRule, choose

_STEP = re.compile(r"checkpoint-(\d+)")
_KIND, _NAMES = "flatspot watch-checkpoints", ("watch.json", "curve.json", "choice.json")
_POLL_S = 5.0
_SETTLED_S = 2.0  # a folder is considered complete once its files have not changed for this long

OnProbe = Callable[[ProbeRow, Choice], None]


@dataclass(frozen=True)
class WatchResult:
    """The curve of the checkpoints, the choice, and the folder to start RL from (None: the initial policy)."""

    out: Path
    curve: list[ProbeRow] = field(repr=False)
    choice: Choice
    checkpoint: Path | None


def watch_checkpoints(
    folder: str | Path,
    model: ModelSource,
    reward: RewardSource,
    *,
    run: str | Path | Run,
    out: str | Path | None = None,
    labels: Source | None = None,
    answer_col: str | None = None,
    rule: StopRule | None = None,
    probe: ProbeSettings | None = None,
    once: bool = False,
    reward_timeout_s: float = 10.0,
    reward_weights: Sequence[float] | None = None,
    dtype: str = "auto",
    device: str = "auto",
    on_probe: OnProbe | None = None,
    template_kwargs: Mapping[str, Json] | None = None,
) -> WatchResult:
    """Probe checkpoint-N folders in the order of N until the stop rule applies; with `once`, only the existing ones.

    folder   the folder in which the trainer writes checkpoint-1, checkpoint-2, …: full models or LoRA adapters
    model    the initial policy of the training, probed as step 0
    out      the folder of curve.json, by default folder/flatspot. Checkpoints in an existing curve are not probed again
    labels   the labeled prompts, which are not probed; their answers are in the column `answer_col`, by default "answer"

    template_kwargs    values for the chat template; None: the run's

    Nothing in `folder` is changed, and the trainer is not stopped. Raises SettingsError for an existing curve with other settings,
    EngineError for a complete checkpoint that cannot be loaded.
    """
    require("transformers", extra="hf", purpose="flatspot watch-checkpoints")
    place, settings, rule = Path(folder), probe or ProbeSettings(), rule or StopRule()
    if answer_col is not None and labels is None:
        raise SettingsError(f"--answer-col {answer_col} is the column of the answers in --labels, which is not set. Add --labels FILE")
    if not place.is_dir():
        raise SettingsError(f"{place} is not a folder: expected the one in which the trainer writes checkpoint-1, checkpoint-2, …")
    out = Path(out) if out is not None else place / "flatspot"
    texts = [] if labels is None else [prompt_text(r["prompt"]) for r in read_labels(labels, run, answer_col=answer_col or "answer").train]
    probed = probed_prompts(run, settings, without=texts, template_kwargs=template_kwargs)
    with own_folder(out, _KIND, _NAMES, _is_older), _loaded(reward, reward_timeout_s, reward_weights) as scores:
        _check_settings(out, _request(as_run(run).folder, model, scores, probed), settings, probed)
        curve, vllm = read_curve(out), SleepingVllm(probed) if settings.engine == "vllm" else None
        for step, source in _new_checkpoints(place, model, curve, once):
            row: ProbeRow = {"step": step, **_probe(source, scores, probed, dtype, device, vllm)}
            curve.append(row)
            curve.sort(key=lambda row: row["step"])
            write_curve(out, curve)
            choice = choose(curve, rule)
            if on_probe is not None:
                on_probe(row, choice)
            if choice.stop and not once:
                break
        if once and curve:  # the training may have ended
            rule = replace(rule, max_steps=rule.max_steps or max(1, int(curve[-1]["step"])))
        choice = choose(curve, rule)
        checkpoint = place / f"checkpoint-{choice.step}" if choice.step else None
        _write_choice(out, choice, checkpoint, rule)
    return WatchResult(out, curve, choice, checkpoint)


def _write_choice(out: Path, choice: Choice, checkpoint: Path | None, rule: StopRule) -> None:
    contents = asdict(choice) | {"checkpoint": str(checkpoint) if checkpoint else None, "rule": asdict(rule)}
    write_json(plain(contents), out / "choice.json")


def _request(folder: Path, model: ModelSource, reward: LoadedReward, probed: Probed) -> dict[str, object]:
    """What the curve is of, beside the settings of its probes."""
    request: dict[str, object] = {"run": _full_name(folder), "model": _describe_model(model), "reward": reward_identity(reward)}
    return request | ({"chat_template_kwargs": dict(probed.template_kwargs)} if probed.template_kwargs else {})


def _new_checkpoints(place: Path, model: ModelSource, curve: Sequence[ProbeRow], once: bool) -> Iterator[tuple[int, ModelSource]]:
    """(step, model) of the checkpoints that are not in the curve: first the initial policy, then each folder once it is complete."""
    probed = {int(row["step"]) for row in curve}
    if 0 not in probed:
        yield 0, model
    while True:
        waiting = [(step, path) for step, path in checkpoints_in(place) if step not in probed]
        for step, path in waiting:
            if not (once or _is_complete(path)):
                break
            probed.add(step)
            yield step, str(path)
        else:
            if once:
                return
        time.sleep(_POLL_S)


def checkpoints_in(place: Path) -> list[tuple[int, Path]]:
    """(step, folder) of every checkpoint-N with a model or an adapter, sorted by N."""
    folders = [(int(match[1]), path) for path in place.iterdir() if (match := _STEP.fullmatch(path.name)) and path.is_dir()]
    return sorted((step, path) for step, path in folders if any((path / name).is_file() for name in ("config.json", "adapter_config.json")))


def _is_complete(path: Path) -> bool:
    """Whether the weights exist and no file has changed recently."""
    files = [file for file in path.iterdir() if file.is_file()]
    weights = any(file.suffix in (".safetensors", ".bin") for file in files)
    return weights and time.time() - max(file.stat().st_mtime for file in files) > _SETTLED_S


def _probe(source: ModelSource, reward: LoadedReward, probed: Probed, dtype: str, device: str, vllm: SleepingVllm | None) -> ProbeRow:
    from flatspot.engines.hf import HfEngine
    from flatspot.engines.policy import load_policy, locate

    try:
        policy = load_policy(source, dtype=dtype, device=device, template_kwargs=probed.template_kwargs)
    except (EngineError, OSError) as error:
        raise EngineError(f"{source} cannot be probed: {error}") from error
    if vllm is None:
        row = probe(HfEngine(policy), policy, reward, probed)
    elif isinstance(source, tuple):
        raise EngineError("vLLM reads a policy from its files, got a model in memory: save it, or use --probe-engine hf")
    else:
        with vllm.awake(policy, Path(locate(str(source))[0])) as engine:
            row = probe(engine, policy, reward, probed)
    if row.get("scored") == 0:
        raise RunFolderError(f"the reward failed on every completion of {source}: {row['error']}")
    return row


def _full_name(place: object) -> str:
    """The absolute path of an existing file or folder; the name of anything else."""
    return str(Path(place).resolve()) if isinstance(place, str | Path) and Path(place).exists() else name_of(place)


def _describe_model(model: ModelSource) -> dict[str, Json]:
    stamp = policy_stamp(model)
    return {"name": _full_name(model), "files": None if stamp is None else digest(stamp)}


def _is_older(out: Path) -> bool:
    """Whether a folder without a mark was written by flatspot 0.1, which made no marks."""
    try:
        return {"probe", "prompts", "reward"} <= set(json.loads((out / "watch.json").read_text("utf-8")))
    except (OSError, ValueError, TypeError, RecursionError):
        return False


def _check_settings(out: Path, request: Mapping[str, object], settings: ProbeSettings, probed: Probed) -> None:
    """Refuse to continue a curve of another policy, reward, prompts or probe settings: its rows could not be compared."""
    file = out / "watch.json"
    now = as_json({**request, "probe": settings.identity(), "prompts": sorted(prompt.id for prompt in probed.prompts)})
    if file.exists():
        try:
            before = json.loads(file.read_text("utf-8"))
            if not isinstance(before, dict):
                raise TypeError(f"it contains a {type(before).__name__}")
            if isinstance(before.get("probe"), dict):
                before["probe"] = with_new_names(before["probe"])
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise RunFolderError(f"{file} is damaged ({error}). Give another --out, or move the folder away to start over") from error
        if changed := differences(before, now):
            raise SettingsError(
                f"{out} contains probes with other settings:\n  " + "\n  ".join(changed) + "\nGive another --out, or the same as before"
            )
    write_json(now, file)


@contextmanager
def _loaded(reward: RewardSource, timeout_s: float, weights: Sequence[float] | None) -> Iterator[LoadedReward]:
    if isinstance(reward, LoadedReward):
        yield reward
        return
    with load_reward(reward, weights=weights, timeout_s=timeout_s) as loaded:
        yield loaded
