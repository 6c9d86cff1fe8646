"""One row of a task's data → what the policy is asked, in the paper's words or as a chat message, and its references."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from flatspot_paper.grue.cut import Cut
from flatspot_paper.grue.tasks import Task
from flatspot_paper.grue.totto import linearize, linearize_triples

Row = Mapping[str, Any]
END = "<EOU>"  # of an utterance of DailyDialog
TURNS = 5  # utterances that a prompt of DailyDialog shows


@dataclass(frozen=True, slots=True)
class Ask:
    """A chat message: `before`, the input, which may be cut, and `after`."""

    before: str
    input: str
    after: str = ""


@dataclass(frozen=True, slots=True)
class Example:
    """One input of a task.

    prompt       in the paper's words, before it is cut
    references   what a completion of it is compared with; none for IMDB, whose reward needs none
    chat         the same asked of a policy that follows instructions
    chat_references    None: the same ones
    continuation  the rest of a review of IMDB, for SFT
    """

    prompt: str
    references: tuple[str, ...]
    chat: Ask
    chat_references: tuple[str, ...] | None = None
    continuation: str | None = None


def asked(example: Example, task: Task, cut: Cut, *, chat: bool) -> tuple[str | list[dict[str, str]], tuple[str, ...]]:
    """The prompt, at most as long as the task has it, and its references. Of a chat message only the input is cut."""
    if not chat:
        return cut(example.prompt, task.prompt_tokens, task.cut), example.references
    ask = example.chat
    text = ask.before + cut(ask.input, task.prompt_tokens, task.cut) + ask.after
    references = example.references if example.chat_references is None else example.chat_references
    return [{"role": "user", "content": text}], references


def examples_of(task: str, row: Row) -> Iterator[Example]:
    """The inputs that a row gives: one, or of a dialog one for each utterance that has five before it.

    >>> next(examples_of("commongen", {"concepts": ["dog", "run"], "references": ["A dog runs."]})).prompt
    'generate a sentence with: dog run.'
    """
    return _MAKERS[task](row)


def _narrativeqa(row: Row) -> Iterator[Example]:
    """A row of UnifiedQA has the prompt, in which the characters \\n part question and passage; others have the two."""
    prompt = row.get("prompt") or f"{row['question']} \\n {row['passage']}"
    question, _, passage = prompt.partition("\\n")
    after = f"\n\nQuestion: {question.strip()}\nAnswer in a few words."
    references = tuple(answer.lower().strip() for answer in row["answers"])
    yield Example(prompt.lower(), references, Ask("Read this text.\n\n", passage.strip(), after), tuple(row["answers"]))


def _totto(row: Row) -> Iterator[Example]:
    if "triples" in row:
        prompt = linearize_triples(row["triples"])
        table = "\n".join(" | ".join(triple) for triple in row["triples"])
    else:
        prompt = linearize(row, titles=False) + linearize(row, titles=True)
        table = linearize(row, titles=True)
    yield Example(prompt, tuple(row["references"]), Ask("Write one sentence that says what this table says.\n\n", table))


def _commongen(row: Row) -> Iterator[Example]:
    concepts, references = row["concepts"], tuple(row["references"]) or ("empty reference",)
    ask = Ask("Write one short sentence with these words: ", ", ".join(concepts))
    yield Example(f"generate a sentence with: {' '.join(concepts)}.", references, ask)


def _iwslt(row: Row) -> Iterator[Example]:
    yield Example(f"translate English to German: {row['en']}", (row["de"],), Ask("Translate this sentence to German:\n\n", row["en"]))


def _cnn_dm(row: Row) -> Iterator[Example]:
    ask = Ask("Summarize this article in two or three sentences.\n\n", row["article"])
    yield Example(f"Summarize: {row['article']}", (row["highlights"],), ask)


def _dailydialog(row: Row) -> Iterator[Example]:
    turns = [turn.strip() for turn in row["dialog"]]
    for place in range(TURNS, len(turns)):
        shown = turns[place - TURNS : place]
        spoken = "\n".join(f"{'AB'[number % 2]}: {turn}" for number, turn in enumerate(shown))
        yield Example(
            f"{END.join(shown)} {END}",
            (turns[place] + END,),
            Ask("Write the next line of this conversation.\n\n", spoken, f"\n{'AB'[TURNS % 2]}:"),
            (turns[place],),
        )


def _imdb(row: Row) -> Iterator[Example]:
    words = row["text"].split(" ")
    half = len(words) // 2
    start, rest = " ".join(words[:half]), " ".join(words[half:])
    yield Example(start, (), Ask("Continue this film review:\n\n", start), continuation=rest)


_MAKERS: Mapping[str, Callable[[Row], Iterator[Example]]] = {
    "narrativeqa": _narrativeqa,
    "totto": _totto,
    "commongen": _commongen,
    "iwslt2017": _iwslt,
    "cnn_dm": _cnn_dm,
    "dailydialog": _dailydialog,
    "imdb": _imdb,
}
