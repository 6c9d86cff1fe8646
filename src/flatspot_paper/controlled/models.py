"""The three networks, with random weights; each maps inputs to log-probabilities of the labels.

mlp        784-250-100-10, ReLU: 222,360 parameters
resnet18   He et al. 2016 as torchvision builds it (7×7 stem, max-pool), 11,689,512 parameters with 1000 classes, 11,181,642 with 10
bert-mini  Turc et al. 2019: 4 layers, 256 wide, 4 heads, WordPiece vocabulary; 11,170,560 parameters before the classifier; no dropout
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import nn

from flatspot.core.optional import require
from flatspot_paper.controlled.convolutions import BatchNorm, Convolution
from flatspot_paper.controlled.plans import Plan

Inputs = tuple[torch.Tensor, ...]
_LENGTH_GROUPS, _SPLIT_FROM = 4, 128  # groups of fewer than 32 pairs do not pay off


@dataclass(frozen=True)
class Network:
    """A network of this experiment.

    module   parameters and buffers
    logits   inputs (tensors that start with the same n) → [n, class]
    coupled  whether a sample's output depends on the others of its batch, as under BatchNorm
    """

    module: nn.Module
    logits: Callable[..., torch.Tensor]
    coupled: bool

    def log_p(self, inputs: Inputs) -> torch.Tensor:
        """Log-probabilities of the labels. → [n, class]"""
        return self.logits(*inputs).log_softmax(dim=1)

    @property
    def parameters(self) -> list[nn.Parameter]:
        """All trained parameters."""
        return [p for p in self.module.parameters() if p.requires_grad]


def build_network(plan: Plan, device: torch.device) -> Network:
    """The network of a plan with the initial weights of its seed; torch's global generator is not changed."""
    make = {"mlp": _mlp, "resnet18": _resnet18, "bert-mini": _bert_mini}[plan.setting.model]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.init_seed)
        network = make(plan.setting.classes)
    network.module.to(device).train()
    return network if plan.precision == "float32" else _in_bfloat16(network, device)


def _in_bfloat16(network: Network, device: torch.device) -> Network:
    """Products in bfloat16; weights, their gradients and the logits returned in float32."""

    def logits(*inputs: torch.Tensor) -> torch.Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            return network.logits(*inputs).float()

    return replace(network, logits=logits)


def _mlp(classes: int) -> Network:
    layers = [nn.Flatten(), nn.Linear(784, 250), nn.ReLU(), nn.Linear(250, 100), nn.ReLU(), nn.Linear(100, classes)]
    module = nn.Sequential(*layers)
    return Network(module, module, coupled=False)


class _Block(nn.Module):  # type: ignore[misc]  # mypy does not follow torch
    """Two 3×3 convolutions with a skip connection."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            Convolution(n_in, n_out, 3, stride),
            BatchNorm(n_out),
            nn.ReLU(inplace=True),
            Convolution(n_out, n_out, 3),
            BatchNorm(n_out),
        )
        plain = n_in == n_out and stride == 1
        self.around = nn.Identity() if plain else nn.Sequential(Convolution(n_in, n_out, 1, stride), BatchNorm(n_out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[n, n_in, h, w] → [n, n_out, h/stride, w/stride]"""
        out: torch.Tensor = self.inner(x)
        return out.add_(self.around(x)).relu_()


def _resnet18(classes: int) -> Network:
    # pooling before the ReLU gives the same result with a quarter of the work
    stem = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.MaxPool2d(3, 2, 1), nn.ReLU(inplace=True)]
    blocks = [
        _Block(n_in, n_out, stride)
        for n_in, n_out, stride in [(64, 64, 1), (64, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2), (256, 256, 1), (256, 512, 2)]
    ]
    module = nn.Sequential(*stem, *blocks, _Block(512, 512, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, classes))
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    module.to(memory_format=torch.channels_last)  # a third faster on a CPU, with the same numbers up to rounding

    def logits(images: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = module(images.contiguous(memory_format=torch.channels_last))
        return out

    return Network(module, logits, coupled=True)


def _bert_mini(classes: int) -> Network:
    transformers = require("transformers", extra="reproduce", purpose="BERT-mini")
    config = transformers.BertConfig(
        hidden_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=1024,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        classifier_dropout=0.0,
        num_labels=classes,
    )
    module = transformers.BertForSequenceClassification(config)

    def logits(ids: torch.Tensor, types: torch.Tensor) -> torch.Tensor:
        # attention ignores padding, so pairs of similar length run together, without the columns that are padding in all of them
        lengths = (ids != config.pad_token_id).sum(dim=1)
        order = lengths.argsort()
        parts = []
        for rows in order.chunk(_LENGTH_GROUPS if len(ids) >= _SPLIT_FROM else 1):
            width = int(lengths[rows].max())
            own, used = ids[rows, :width], ids[rows, :width] != config.pad_token_id
            parts.append(module(input_ids=own, token_type_ids=types[rows, :width], attention_mask=used.long()).logits)
        return torch.cat(parts)[order.argsort()]

    return Network(module, logits, coupled=False)


@contextmanager
def only_measuring(network: Network) -> Iterator[None]:
    """BatchNorm normalizes by its batch, as in training, but does not update its running statistics."""
    layers = [layer for layer in network.module.modules() if isinstance(layer, nn.BatchNorm2d)]
    before = [layer.track_running_stats for layer in layers]
    for layer in layers:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer, tracked in zip(layers, before, strict=True):
            layer.track_running_stats = tracked
