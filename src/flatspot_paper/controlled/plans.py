"""Data sets, networks and schedules: those of the paper, and quick ones with the same outcome in minutes.

The scale "paper" has the numbers of the official experiment plans (section 4.2 of the paper). The scale "quick" has fewer samples and
epochs, and larger learning rates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from flatspot.core.errors import SettingsError

Scale = Literal["paper", "quick"]
METHODS = ("sft", "rft", "reinforce")


@dataclass(frozen=True)
class Setting:
    """A data set and the network trained on it.

    classes   number of labels
    set_size  number of labels, including the true one, over which the pretrained network spreads its probability (K)
    """

    dataset: str
    model: str
    classes: int
    set_size: int


@dataclass(frozen=True)
class Schedule:
    """Sizes and learning rates of the training; learning rates are constant, weight decay is 0.

    n_train, n_test  samples; None: all
    batch            samples in a step
    """

    n_train: int | None
    n_test: int | None
    batch: int
    pretrain_epochs: int
    pretrain_lr: float
    epochs: int
    lr: float
    sgd_lr: float


@dataclass(frozen=True)
class Plan:
    """One experiment: pretraining, and finetuning by any of `METHODS` from there.

    lr            of finetuning, for `optimizer`
    high_init     a wrong answer on a sample with a moved label has reward +0.5 instead of -1: the reward std is small, the reward is not
    kl_coeff      of the KL divergence from `kl_reference`, subtracted from the objective
    kl_reference  "initial": the pretrained network; "uniform": equal probabilities
    moved_share   of the training samples that get a label outside their set
    test_every    epochs between two evaluations on the test samples
    norms_every   epochs between two measurements of the groups' gradient norms, which cost a backward pass; the last epoch always has them
    precision     "float32", or "bfloat16" for the network's products, with weights, log-probabilities and objectives in float32
    seed          0 is the paper's pair of seeds: samples 192, initial weights 111; seed s adds s to both, and orders the batches
    """

    setting: Setting
    schedule: Schedule
    scale: str
    optimizer: str = "adam"
    lr: float = 1e-4
    high_init: bool = False
    kl_coeff: float = 0.0
    kl_reference: str = "initial"
    moved_share: float = 0.1
    test_every: int = 10
    norms_every: int = 1
    precision: str = "float32"
    seed: int = 0

    @property
    def variant(self) -> str:
        """The finetuning variant, as a folder name: "adam", "sgd", "high-init"…"""
        name = "high-init" if self.high_init and self.optimizer == "adam" else self.optimizer + ("-high-init" if self.high_init else "")
        return name + (f"-kl-{self.kl_coeff:g}-{self.kl_reference}" if self.kl_coeff else "")

    @property
    def shared_by(self) -> int:
        """Minimum number of pairs in which every word of a pair must occur; see `pairs.py` for the reason."""
        return 4 if self.scale == "quick" and self.setting.dataset == "stsb" else 1

    @property
    def samples_seed(self) -> int:
        """The seed of the samples, the label sets and the labels that move."""
        return 192 + self.seed

    @property
    def init_seed(self) -> int:
        """The seed of the initial weights."""
        return 111 + self.seed


SETTINGS: Mapping[str, Setting] = {
    "mnist": Setting("mnist", "mlp", 10, 5),
    "cifar10": Setting("cifar10", "resnet18", 10, 5),
    "stsb": Setting("stsb", "bert-mini", 6, 3),
}
SCHEDULES: Mapping[str, Mapping[str, Schedule]] = {
    "paper": {
        "mnist": Schedule(1000, 1000, 512, 1000, 1e-4, 5000, 1e-4, 1e-2),
        "cifar10": Schedule(10_000, 1000, 512, 1000, 1e-4, 5000, 1e-4, 1e-2),
        "stsb": Schedule(None, None, 512, 1000, 1e-4, 5000, 1e-4, 1e-3),
    },
    "quick": {
        "mnist": Schedule(1000, 1000, 512, 200, 1e-3, 500, 1e-3, 1e-1),
        "cifar10": Schedule(200, 100, 100, 80, 1e-3, 16, 1e-4, 1e-2),
        "stsb": Schedule(None, 60, 25, 300, 5e-4, 32, 2e-4, 1e-2),
    },
}


def plan_for(dataset: str, model: str | None = None, *, scale: str = "paper", optimizer: str = "adam", **changes: Any) -> Plan:
    """The plan of a data set at a scale, with any field of `Plan` or `Schedule` changed.

    Raises `SettingsError` for a data set without a plan, a model that does not belong to it, and values out of range.

    >>> plan = plan_for("mnist", "mlp", optimizer="sgd")
    >>> plan.schedule.epochs, plan.lr, plan.variant
    (5000, 0.01, 'sgd')
    """
    if dataset not in SETTINGS:
        raise SettingsError(f"no controlled experiment uses the data set {dataset!r}. Use one of: {', '.join(SETTINGS)}.")
    setting = SETTINGS[dataset]
    if model is not None and model != setting.model:
        raise SettingsError(f"{dataset} needs the model {setting.model}, not {model}. Use --model {setting.model}, or omit it.")
    if scale not in SCHEDULES:
        raise SettingsError(f"there is no scale {scale!r}. Use one of: {', '.join(SCHEDULES)}.")
    changes = {name: value for name, value in changes.items() if value is not None}
    scheduled = {f.name for f in fields(Schedule)} - {"lr"}
    schedule = replace(SCHEDULES[scale][dataset], **{name: changes.pop(name) for name in list(changes) if name in scheduled})
    lr = changes.pop("lr", schedule.sgd_lr if optimizer == "sgd" else schedule.lr)
    plan = Plan(setting, schedule, scale, optimizer=optimizer, lr=lr, **changes)
    _check(plan)
    return plan


def _check(plan: Plan) -> None:
    schedule = plan.schedule
    if plan.optimizer not in ("adam", "sgd"):
        raise SettingsError(f"the optimizer is adam or sgd, not {plan.optimizer!r}.")
    if plan.precision not in ("float32", "bfloat16"):
        raise SettingsError(f"the precision is float32 or bfloat16, not {plan.precision!r}.")
    if plan.kl_reference not in ("initial", "uniform"):
        raise SettingsError(f"the KL reference is initial or uniform, not {plan.kl_reference!r}.")
    for name, value in (("learning rate", plan.lr), ("pretraining learning rate", schedule.pretrain_lr)):
        if not 0 < value < float("inf"):
            raise SettingsError(f"the {name} must be a positive number, not {value}.")
    if not 0 <= plan.kl_coeff < float("inf"):
        raise SettingsError(f"the KL coefficient must be 0 or more, not {plan.kl_coeff}.")
    for name, count in (
        ("epochs", schedule.epochs),
        ("batch size", schedule.batch),
        ("test_every", plan.test_every),
        ("norms_every", plan.norms_every),
    ):
        if count < 1:
            raise SettingsError(f"{name} must be at least 1, not {count}.")
    if schedule.pretrain_epochs < 0:
        raise SettingsError(f"pretraining epochs must be 0 or more, not {schedule.pretrain_epochs}.")
    if schedule.n_train is not None and schedule.n_train * plan.moved_share < 1:
        raise SettingsError(f"{schedule.n_train} training samples are too few: a tenth of them get another label. Use 10 or more.")
