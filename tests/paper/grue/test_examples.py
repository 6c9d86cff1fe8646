"""Each task's prompt, references and cut, written out by hand."""

import dataclasses

import pytest
from tests.paper.grue.conftest import ROWS, word_tokenizer

from flatspot_paper.grue.cut import cutter, whole
from flatspot_paper.grue.examples import asked, examples_of
from flatspot_paper.grue.hub import canonical
from flatspot_paper.grue.tasks import TASKS
from flatspot_paper.grue.totto import linearize

CELL = "<cell> 4th <col_header> League </col_header> <row_header> 1998 </row_header> </cell> "
TITLES = "<page_title> Owls FC </page_title> <section_title> Seasons </section_title> "
PAPER = {
    "narrativeqa": ("who rang? \\n ann rang the bell. bob slept.", ("ann", "the girl")),
    "totto": (f"<table> {CELL}</table>{TITLES}<table> {CELL}</table>", ("In 1998 the Owls came 4th.",)),
    "commongen": ("generate a sentence with: dog ball run.", ("A dog runs after a ball.", "The dog ran with the ball.")),
    "iwslt2017": ("translate English to German: The sky is blue today.", ("Der Himmel ist heute blau.",)),
    "cnn_dm": ("Summarize: A storm hit the coast. Two boats sank.", ("Two boats sank in a storm.",)),
    "dailydialog": ("a1 .<EOU>b1 .<EOU>a2 .<EOU>b2 .<EOU>a3 . <EOU>", ("b3 .<EOU>",)),
    "imdb": ("one two three", ()),
}
CHAT = {
    "narrativeqa": "Read this text.\n\nAnn rang the Bell. Bob slept.\n\nQuestion: Who Rang?\nAnswer in a few words.",
    "totto": f"Write one sentence that says what this table says.\n\n{TITLES}<table> {CELL}</table>",
    "commongen": "Write one short sentence with these words: dog, ball, run",
    "iwslt2017": "Translate this sentence to German:\n\nThe sky is blue today.",
    "cnn_dm": "Summarize this article in two or three sentences.\n\nA storm hit the coast. Two boats sank.",
    "dailydialog": "Write the next line of this conversation.\n\nA: a1 .\nB: b1 .\nA: a2 .\nB: b2 .\nA: a3 .\nB:",
    "imdb": "Continue this film review:\n\none two three",
}
# the prompts above in words, cut to four of them: three and the end token of the tokenizer where the task keeps the start
CUT = {
    "narrativeqa": "who rang? \\n",
    "totto": "<table> <cell> 4th",
    "commongen": "generate a sentence",
    "iwslt2017": "translate English to",
    "cnn_dm": "Summarize: A storm",
    "dailydialog": "a1 .<EOU>b1 .<EOU>a2",
    "imdb": "one two three",
}


def example(task):
    return next(examples_of(task, canonical(task, ROWS[task])))


@pytest.mark.parametrize("task", TASKS)
def test_prompt_and_references_in_the_papers_words(task):
    assert asked(example(task), TASKS[task], whole, chat=False) == PAPER[task]


@pytest.mark.parametrize("task", TASKS)
def test_prompt_as_a_chat_message(task):
    [message], references = asked(example(task), TASKS[task], whole, chat=True)
    assert message == {"role": "user", "content": CHAT[task]}
    as_written = {"narrativeqa": (" Ann ", "The girl"), "dailydialog": ("b3 .",)}
    assert references == as_written.get(task, PAPER[task][1])


@pytest.mark.parametrize("task", TASKS)
def test_prompts_are_cut_to_tokens_on_the_side_of_the_task(task):
    cut, short = cutter(word_tokenizer(ends=True)), dataclasses.replace(TASKS[task], prompt_tokens=4)
    assert asked(example(task), short, cut, chat=False)[0] == CUT[task]


def test_cut_on_the_left_keeps_the_end_and_white_space_within():
    cut = cutter(word_tokenizer())
    assert cut("one  two\n three four", 3, "left") == "two\n three four"
    assert cut("one  two\n three four", 3, "right") == "one  two\n three"
    assert cut(" one two ", 2, "left") == " one two "  # nothing to drop: as it stood


def test_of_a_chat_message_only_the_input_is_cut():
    cut, short = cutter(word_tokenizer()), dataclasses.replace(TASKS["narrativeqa"], prompt_tokens=2)
    [message], _ = asked(example("narrativeqa"), short, cut, chat=True)
    assert message["content"] == "Read this text.\n\nAnn rang\n\nQuestion: Who Rang?\nAnswer in a few words."


def test_a_dialog_gives_an_input_per_utterance_with_five_before_it():
    prompts = [made.prompt for made in examples_of("dailydialog", ROWS["dailydialog"])]
    assert prompts == ["a1 .<EOU>b1 .<EOU>a2 .<EOU>b2 .<EOU>a3 . <EOU>", "b1 .<EOU>a2 .<EOU>b2 .<EOU>a3 .<EOU>b3 . <EOU>"]
    assert list(examples_of("dailydialog", {"dialog": ["only", "five", "of", "them", "here"]})) == []


def test_the_other_half_of_a_review_is_kept_for_sft():
    assert example("imdb").continuation == "four five six seven"


def test_headers_are_those_above_that_overlap_and_those_to_the_left():
    def cell(value, span=1, header=False):
        return {"value": value, "is_header": header, "column_span": span}

    wide = [[cell("A", 2, True), cell("B", 1, True)], [cell("x"), cell("h", 1, True), cell("y")]]
    row = {"table": wide, "highlighted_cells": [[1, 0], [1, 2]]}
    first = "<cell> x <col_header> A </col_header> </cell> "
    second = "<cell> y <col_header> B </col_header> <row_header> h </row_header> </cell> "
    assert linearize(row, titles=True) == f"<table> {first}{second}</table>"


def test_triples_stand_in_for_a_table_in_its_marks():
    made = next(examples_of("totto", {"triples": [["Owls", "rank", "4th"]], "references": ["The Owls came 4th."]}))
    cell = "<cell> 4th <col_header> rank </col_header> <row_header> Owls </row_header> </cell> "
    assert (made.prompt, made.chat.input) == (f"<table> {cell}</table>", "Owls | rank | 4th")


@pytest.mark.parametrize(
    ("task", "row", "read"),
    [
        (
            "narrativeqa",
            {"document": {"summary": {"text": "s"}}, "question": {"text": "q"}, "answers": [{"text": "a"}, {"text": "b"}]},
            {"question": "q", "passage": "s", "answers": ["a", "b"]},
        ),
        ("commongen", {"concepts": ["a"], "target": "t", "references": []}, {"concepts": ["a"], "references": ["t"]}),
        ("commongen", {"concepts": ["a"], "target": "", "references": ["r", "s"]}, {"concepts": ["a"], "references": ["r", "s"]}),
        ("iwslt2017", {"translation": {"de": "Ja.", "en": "Yes."}}, {"en": "Yes.", "de": "Ja."}),
        ("dailydialog", {"utterances": ["a", "b"]}, {"dialog": ["a", "b"]}),
    ],
)
def test_rows_of_the_hub_get_the_columns_of_their_task(task, row, read):
    assert canonical(task, row) == read


def test_totto_annotations_as_a_list_and_as_columns():
    as_list = {"sentence_annotations": [{"final_sentence": "One."}, {"final_sentence": "Two."}]}
    as_columns = {"sentence_annotations": {"final_sentence": ["One.", "Two."]}}
    assert canonical("totto", as_list)["references"] == canonical("totto", as_columns)["references"] == ["One.", "Two."]
