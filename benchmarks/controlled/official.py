"""The official code (apple/ml-rlgrad) as a turn of epochs; it lies in a folder outside this repository and needs torchvision.

Its model, losses, trainers and evaluators run as they are, and for images its data module too. Replaced, for today's Python and torch:

- the downloads of MNIST and CIFAR-10, by the images loaded here
- the registration of torchvision's compiled operators, which are not used
- for STS-B its data module, which indexes a `datasets` column as a tensor: here a DataLoader over the same tensors, every pair padded to
  512 tokens as there; and the lookup of BERT-mini's sizes on the hub, by those sizes

Its checkpoints, plots and logs are left out, which favors it.
"""

from __future__ import annotations

import json
import logging
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from flatspot_paper.controlled.data import Dataset
from flatspot_paper.controlled.plans import Plan
from flatspot_paper.controlled.train import Samples

_PLANS = {"mnist": "mlp_mnist", "cifar10": "resnet_cifar", "stsb": "bert_stsb"}
_PADDED_TO = 512


def official(folder: Path, plan: Plan, dataset: Dataset, samples: Samples, method: str) -> Callable[[int], None]:
    """A function that runs so many epochs of the official finetuning, at the plan's numbers of samples and batch."""
    sys.path.insert(0, str(folder))
    sys.modules.setdefault("torchvision._meta_registrations", types.ModuleType("torchvision._meta_registrations"))
    from common.train.callbacks import Callback
    from sft_vs_rft.experiment import sft_vs_rft_controlled_experiment as theirs

    name = plan.setting.dataset
    config = _configuration(folder, plan, method)
    experiment = theirs.SupervisedVSReinforcementFinetuningControlledExperiment()
    device, state, logger = torch.device("cpu"), {"device": torch.device("cpu")}, logging.getLogger("official")
    if name == "stsb":
        _replace_bert_sizes(theirs)
        data = _Pairs(samples, plan)
    else:
        _replace_images(dataset, name)
        data = experiment.create_datamodule(config, state, logger)
    model = experiment.create_model(data, config, state, logger)
    evaluators = experiment.create_train_and_validation_evaluators(model, data, device, config, state, logger)
    trainer = experiment.create_trainer(model, data, *evaluators, Callback(), device, config, state, logger)
    batches = data.train_dataloader()
    return lambda epochs: trainer.fit(batches, num_epochs=epochs, validate_every=config["validate_every"])


def _configuration(folder: Path, plan: Plan, method: str) -> dict[str, Any]:
    file = folder / f"sft_vs_rft/experiment_plans/sft_vs_rft_{_PLANS[plan.setting.dataset]}_finetune_experiments_plan.json"
    written = json.loads(file.read_text())["configurations"][0]
    config = written["base_config"] | {name: values[0] for name, values in written["options"].items()}
    config |= {"opt_method": {"rft": "expected_reinforce", "sft": "supervised"}[method], "load_model_from_checkpoint": ""}
    schedule = plan.schedule
    return config | {"num_train_samples": schedule.n_train, "num_test_samples": schedule.n_test, "batch_size": schedule.batch}


def _replace_images(dataset: Dataset, name: str) -> None:
    import torchvision

    kind = {"mnist": "MNIST", "cifar10": "CIFAR10"}[name]

    class Loaded(getattr(torchvision.datasets, kind)):
        def __init__(self, root, train=True, download=False, transform=None):
            torchvision.datasets.VisionDataset.__init__(self, root, transform=transform)
            pool = dataset.train if train else dataset.test
            self.train, self.data, self.targets = train, pool.samples, pool.labels.tolist()
            if name == "mnist":
                self.data, self.targets = torch.from_numpy(pool.samples), torch.from_numpy(pool.labels)
            else:
                self.classes = [str(i) for i in range(10)]

    setattr(torchvision.datasets, kind, Loaded)


def _replace_bert_sizes(theirs: Any) -> None:
    import transformers

    class Sizes:
        @staticmethod
        def from_pretrained(_: str) -> Any:
            return transformers.BertConfig(hidden_size=256, num_hidden_layers=4, num_attention_heads=4, intermediate_size=1024)

    theirs.BertConfig = Sizes


class _Rows(torch.utils.data.Dataset):
    """A pair at a time, as the official data set gives it: (tokens, label, position, moved)."""

    def __init__(self, inputs, labels, moved):
        ids, types_ = (torch.nn.functional.pad(t, (0, _PADDED_TO - t.shape[1])) for t in inputs)
        self.columns = {"input_ids": ids, "token_type_ids": types_, "attention_mask": (ids != 0).long()}
        self.labels, self.moved = labels, moved

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        return {name: column[i] for name, column in self.columns.items()}, self.labels[i], i, self.moved[i]


class _Pairs:
    """What the experiment asks of its data module."""

    num_classes = 6

    def __init__(self, samples: Samples, plan: Plan) -> None:
        labels, self.batch = samples.labels, plan.schedule.batch
        self.train_modified_indicator = labels.moved
        self.train = _Rows(samples.train, labels.target, labels.moved)
        self.test = _Rows(samples.test, labels.test_target, torch.zeros(len(labels.test), dtype=torch.bool))

    def train_dataloader(self) -> Any:
        return torch.utils.data.DataLoader(self.train, batch_size=self.batch, shuffle=True)

    def test_dataloader(self) -> Any:
        return torch.utils.data.DataLoader(self.test, batch_size=self.batch)
