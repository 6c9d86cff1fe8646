"""What each stage of a recipe does in its folder, and what it depends on."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from flatspot.core.errors import SettingsError
from flatspot.core.leftovers import scratch_folder
from flatspot.core.plain import JsonObject, plain
from flatspot.core.protocols import Say
from flatspot.core.records import Prompt
from flatspot.core.renamed import with_old_names
from flatspot.flow.diagnose import diagnose
from flatspot.flow.inspect import inspect
from flatspot.planning.label_files import ANSWER, is_answered, label_rows, read_label_rows, write_label_rows
from flatspot.planning.labels import plan_labels
from flatspot.recipe.read import Recipe, check_names
from flatspot.recipe.stages import contents
from flatspot.rewards import load_reward
from flatspot.rollouts.identity import digest, reward_identity
from flatspot.rollouts.progress import OnProgress
from flatspot.rollouts.store import prompt_text, write_table, write_whole
from flatspot.runs.run import Run
from flatspot.tasks import load_prompts
from flatspot.training.warmup.checkpoints import WARMUP_NAMES

Rows = Sequence[Mapping[str, Any]]
_SHOWN = 3
# what the stages write in their folders
_NOT_INPUTS = ("out", "memory_gib", "reward_timeout_s", "base_url", "concurrency", "tensor_parallel", "workers", "ray_address")
_OF_A_WARMUP = (*WARMUP_NAMES, "trainer", "options.yaml")
_OF_A_TRAINING = (
    "rollouts", "set-aside", "trainer", "before", "after", "run.json", "prompts.parquet", "notes.json", "model.json", "watch.json",
    "verdicts.parquet", "report.json", "report.html",
)  # fmt: skip


@dataclass(frozen=True)
class Bench:
    """A recipe at work: what all stages share."""

    recipe: Recipe
    say: Say
    on_progress: OnProgress | None = None

    @cached_property
    def prompts(self) -> list[Prompt]:
        """The prompts, read once."""
        settings = self.recipe.diagnose
        template, limit = settings.prompt_template, settings.limit
        return load_prompts(self.recipe.prompts, prompt_col=settings.prompt_col, id_col=settings.id_col, limit=limit, template=template)

    @cached_property
    def prompts_digest(self) -> str:
        """Of their ids, texts and columns."""
        return digest([[p.id, prompt_text(p.text), dict(p.columns)] for p in self.prompts], 64)

    @cached_property
    def reward_digest(self) -> str:
        """Of the rewards' names, weights and source."""
        settings = self.recipe.diagnose
        with load_reward(list(self.recipe.reward), weights=settings.reward_weights, timeout_s=settings.reward_timeout_s) as reward:
            return digest(reward_identity(reward), 64)

    @cached_property
    def model_digest(self) -> str:
        """Of the bytes of the model to start from, or the name of one on a hub."""
        return contents(self.recipe.model)

    @property
    def shared(self) -> dict[str, str]:
        """What every stage that draws depends on."""
        return {"prompts": self.prompts_digest, "reward": self.reward_digest}

    @property
    def sampling(self) -> JsonObject:
        """The settings of diagnosing, as inputs of a stage: but for the folder, the servers, and what only bounds time and memory."""
        settings = asdict(self.recipe.diagnose)
        return with_old_names({name: value for name, value in settings.items() if name not in _NOT_INPUTS})


def diagnose_in(bench: Bench, model: str, folder: Path) -> JsonObject:
    """Diagnose a policy; a run folder that is there is gone on with."""
    recipe = bench.recipe
    settings = asdict(recipe.diagnose) | {"out": folder, "limit": None, "prompt_col": "prompt", "prompt_template": None, "id_col": "id"}
    run = diagnose(bench.prompts, model, list(recipe.reward), on_progress=bench.on_progress, say=bench.say, **settings)
    sampled = run.summary.generations
    return {"verdict": run.summary.verdict, "reason": run.summary.reason, "generations": sampled.total, "tokens": sampled.tokens}


def plan_in(bench: Bench, run: Run, folder: Path) -> JsonObject:
    """Choose what to label, into plan.parquet and labels.jsonl; answers that were written for other plans of this recipe are taken over."""
    planned = plan_labels(run, bench.recipe.plan)
    write_table(planned.table, folder / "plan.parquet")
    rows, column = label_rows(planned.labels), bench.recipe.answer_col
    if column is not None:
        if lacking := [row for row in rows if not is_answered({ANSWER: _answer(row, column)})]:
            names = ", ".join(sorted({name for row in rows for name in row} - {"id", "prompt", ANSWER})) or "none"
            raise SettingsError(
                f"answer_col {column!r}: {len(lacking)} of the {len(rows)} prompts to label have no such answer, {lacking[0]['id']} among "
                f"them. Their columns are {names}"
            )
        rows = [{**row, ANSWER: _answer(row, column)} for row in rows]
    else:
        rows = _taken_over(bench, rows, folder)
    write_label_rows(folder / "labels.jsonl", rows)
    return {"labels": {name: value for name, value in planned.summary.to_json().items() if name != "chosen"}}


def _taken_over(bench: Bench, rows: Rows, folder: Path) -> list[JsonObject]:
    """The rows with the answers that were written for other plans of this recipe, the newest first, where the prompt is the same."""
    files = [file for file in bench.recipe.out.glob("plan-*/labels.jsonl") if file.parent != folder]
    written: dict[str, Mapping[str, Any]] = {}
    for file in sorted(files, key=lambda file: file.stat().st_mtime_ns):
        written |= {str(row["id"]): row for row in read_label_rows(file) if is_answered(row)}
    same = {row["id"] for row in rows if row["id"] in written and written[row["id"]].get("prompt") == plain(row["prompt"])}
    if same:
        bench.say(f"{len(same)} answers were written for an earlier plan of the same prompts, and are taken over")
    return [dict(row) | ({ANSWER: written[row["id"]][ANSWER]} if row["id"] in same else {}) for row in rows]


def _answer(row: Mapping[str, Any], column: str) -> Any:
    answer = row.get(column)
    return answer[0] if isinstance(answer, list) and answer else answer


def filled_labels(bench: Bench, plan: Path | None) -> tuple[Path, list[JsonObject]]:
    """The file of labels and its rows; raises `SettingsError` where answers are still to be written, naming the file and how to resume."""
    recipe = bench.recipe
    if recipe.labels is not None:
        file = Path(recipe.labels)
        rows = [{"id": p.id, "prompt": p.text, **p.columns} for p in load_prompts(str(file))]
    else:
        assert plan is not None
        file = plan / "labels.jsonl"
        rows = read_label_rows(file)
    empty = [row for row in rows if not is_answered(row)]
    if empty:
        few = "\n".join(f"  {_start(row.get('prompt'))}" for row in empty[:_SHOWN])
        few += f"\n  … and {len(empty) - _SHOWN} more" if len(empty) > _SHOWN else ""
        raise SettingsError(
            f"{len(empty)} of the {len(rows)} labels in {file} have no answer yet:\n{few}\n"
            f"Write the column {ANSWER!r} of each, or delete the rows you leave out; then run the same command again: it resumes."
        )
    return file, rows


def _start(prompt: Any) -> str:
    """The start of a prompt, on one line; whatever somebody wrote in its place."""
    text = " ".join(str(prompt).split())
    return text if len(text) <= 70 else f"{text[:70]}…"


def warm_up_in(bench: Bench, run: Run, labels: Path, rows: Rows, folder: Path) -> JsonObject:
    """Finetune on the labels until RL can take over; a killed warm-up starts anew, and comes to the same."""
    from flatspot.training.option_names import start_afresh
    from flatspot.training.warmup.run import warmup

    _clear(folder, _OF_A_WARMUP)
    recipe = bench.recipe
    start_afresh(recipe.seed)
    done = warmup(
        labels,
        recipe.model,
        list(recipe.reward),
        run=run,
        out=folder,
        answer_col=ANSWER,
        rule=recipe.rule,
        probe=recipe.probe,
        config=_options_file(folder / "options.yaml", recipe.warmup),
        seed=recipe.probe.seed,
        reward_timeout_s=recipe.diagnose.reward_timeout_s,
        reward_weights=recipe.diagnose.reward_weights,
    )
    return {
        "checkpoint": str(done.checkpoint.relative_to(folder)) if done.checkpoint.is_relative_to(folder) else str(done.checkpoint),
        "labels": len(rows),
        "learnt": done.labels,
        "curve": done.curve,
        "chosen_step": done.chosen_step,
        "steps": done.curve[-1]["step"] if done.curve else None,
        "generations": sum(row["generations"] for row in done.curve),
        "why": done.why,
        "cause": done.cause,
        "recovered": done.recovered,
        "notes": list(done.notes),
    }


def train_in(bench: Bench, model: str, options: Mapping[str, Any], folder: Path) -> JsonObject:
    """RL; a killed one resumes from its last checkpoint, or starts anew where it had none, and comes to the same."""
    from flatspot.training.option_names import start_afresh
    from flatspot.training.rl.train import train
    from flatspot.training.watch.resume import last_checkpoint

    recipe, more = bench.recipe, list[str]()
    if (saved := last_checkpoint(folder / "trainer")) is None:
        _clear(folder, _OF_A_TRAINING)
    else:
        more = ["--resume_from_checkpoint", str(saved[0])]
        bench.say(f"resuming after update {saved[1]}")
    start_afresh(recipe.seed)
    done = train(
        bench.prompts,
        model,
        list(recipe.reward),
        out=folder,
        algorithm=recipe.algorithm,
        options=more,
        config=_options_file(folder.with_suffix(".yaml"), options),
        reward_timeout_s=recipe.diagnose.reward_timeout_s,
    )
    sampled = inspect(done.folder).summary.generations
    return {
        "checkpoint": str(done.checkpoint.relative_to(folder)) if done.checkpoint.is_relative_to(folder) else str(done.checkpoint),
        "steps": done.steps,
        "generations": sampled.total,
        "tokens": sampled.tokens,
        "alarms": [dict(alarm) for alarm in done.alarms],
    }


def train_options(recipe: Recipe) -> JsonObject:
    """TRL's options: what was diagnosed is what is trained, unless the recipe's `train` says otherwise."""
    settings = recipe.diagnose
    same: JsonObject = {
        "num_generations": settings.group_size,
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "top_k": settings.top_k,
        "max_completion_length": settings.max_new_tokens,
    }
    if settings.reward_weights is not None:
        same["reward_weights"] = list(settings.reward_weights)
    if settings.chat_template_kwargs:
        same["chat_template_kwargs"] = dict(settings.chat_template_kwargs)
    return same | dict(recipe.train)


def check_options(recipe: Recipe) -> None:
    """Raise `SettingsError` for what can be known to fail before anything is drawn: options of TRL's, files that are not there."""
    from flatspot.training.option_names import option_names
    from flatspot.training.rl.train import check_settings

    ours = {"warmup": ["rule", "probe"], "train": ["algorithm"]}
    for section, kind, options in (("warmup", "sft", recipe.warmup), ("train", recipe.algorithm, recipe.train)):
        check_names(section, options, [*ours[section], *option_names(kind)])
        for name in ("output_dir", "resume_from_checkpoint"):
            if name in options:
                raise SettingsError(f"{section}.{name} is the recipe's own: each stage has its folder under out")
    if recipe.labels is not None and not Path(recipe.labels).exists():
        raise SettingsError(f"labels: there is no file {recipe.labels}")
    with scratch_folder() as folder:
        try:
            check_settings(recipe.algorithm, _options_file(folder / "train.yaml", train_options(recipe)), folder)
        except SettingsError as error:
            raise SettingsError(f"train: {error}") from None


def check_answers(bench: Bench) -> None:
    """Raise `SettingsError` where no prompt has the column that is to answer it."""
    column = bench.recipe.answer_col
    if column is not None and not any(column in prompt.columns for prompt in bench.prompts):
        names = ", ".join(sorted({name for prompt in bench.prompts for name in prompt.columns})) or "none"
        raise SettingsError(f"answer_col: {bench.recipe.prompts} has no column {column!r}; its columns are {names}")


def _options_file(file: Path, options: Mapping[str, Any]) -> Path:
    import yaml

    with write_whole(file) as out:
        out.write(yaml.safe_dump(dict(options), sort_keys=True).encode())
    return file


def _clear(folder: Path, names: Sequence[str]) -> None:
    """Remove what a killed stage left of its own; whatever else somebody put into its folder stays."""
    for part in (folder / name for name in names):
        if part.is_dir() and not part.is_symlink():
            shutil.rmtree(part)
        else:
            part.unlink(missing_ok=True)


def answers_digest(rows: Rows) -> str:
    """Of the labels: whose answer is what, in order."""
    return digest([[row.get("prompt"), row.get(ANSWER)] for row in rows], 64)
