from __future__ import annotations

import dataclasses
import gzip
import json
from base64 import b64decode

import pyarrow as pa

from flatspot.report.marks import MAX_MARKS, place_marks
from flatspot.report.run.payload import PREVIEW_LIMIT, TEXT_LIMIT, build_payload, pack


def test_equal_prompts_are_one_mark_and_every_prompt_knows_its_mark():
    found = place_marks(["vanishing", "vanishing", "learnable", "unscored"], [0, 0, 0.5, None], [0, 0, 0.5, None])
    assert [(m.verdict, m.mean, m.value, m.count) for m in found.values] == [("vanishing", 0, 0, 2), ("learnable", 0.5, 0.5, 1)]
    assert found.of_prompt == [0, 0, 1, -1]
    assert found.missing == 1


def test_marks_stay_few_and_lose_nobody():
    import numpy as np

    rng = np.random.default_rng(0)
    found = place_marks(["learnable"] * 30_000, rng.random(30_000).tolist(), rng.random(30_000).tolist())
    assert len(found.values) <= MAX_MARKS
    assert sum(mark.count for mark in found.values) == 30_000


def test_packed_data_is_nothing_but_base64():
    value = ["</script><script>", "\u2028", "\ud800"]
    assert pack(value).replace("+", "").replace("/", "").rstrip("=").isalnum()
    assert json.loads(gzip.decompress(b64decode(pack(value)))) == value


def test_long_texts_are_cut_and_say_so(make_report):
    data = make_report(1, answers=2, text=lambda i, k: "x" * 1_000_000)
    answer = build_payload(data).details["0"]["completions"][0]
    assert (len(answer["text"]), answer["of"]) == (TEXT_LIMIT, 1_000_000)
    assert len(build_payload(data).rows["prompt"][0]) <= PREVIEW_LIMIT


def test_what_does_not_fit_is_what_matters_least(make_report):
    data = make_report(60)
    payload = build_payload(data, total_limit=20_000)
    assert 0 < payload.shown < 60
    assert payload.shown + payload.left_out == 60
    assert sorted(map(int, payload.details)) == list(range(payload.shown))  # rows are in the order of need
    names = [payload.rows["names"][i] for i in payload.rows["verdict"]]
    assert names[0] == "vanishing" and names[-1] == "solved"


def test_an_opened_prompt_has_its_answers(make_report):
    data = make_report(2, answers=2)
    columns = ['{"reference": ["4", "four"], "level": 3, "reward_model": {"ground_truth": "4"}, "solution": "' + "x" * 5000 + '"}', "{}"]
    data = dataclasses.replace(data, prompts=data.prompts.set_column(3, "columns", pa.array(columns)))
    payload = build_payload(data)
    of_first = payload.details[str(payload.rows["id"].index(f"{0:016x}"))]["answers"]
    assert of_first[0] == {"role": "reference", "text": "4\nfour"} and of_first[2] == {
        "role": "reward_model",
        "text": '{"ground_truth": "4"}',
    }
    assert of_first[1] == {"role": "solution", "text": "x" * TEXT_LIMIT, "of": 5000}
    assert payload.details[str(payload.rows["id"].index(f"{1:016x}"))]["answers"] == []
    for broken in ("{", "[1]", ""):
        assert build_payload(dataclasses.replace(data, prompts=data.prompts.set_column(3, "columns", pa.array([broken] * 2)))).shown == 2


def test_a_foreign_log_may_lack_nearly_everything():
    from flatspot.report.blocks import ReportData

    data = ReportData(
        {}, pa.table({"prompt_id": ["a", None]}), pa.table({"prompt_id": ["a"]}), pa.table({"prompt_id": ["a"], "reward": [float("nan")]})
    )
    payload = build_payload(data)
    assert payload.rows["id"] == ["a", ""]
    assert payload.details == {} or payload.details["0"]["completions"][0]["reward"] is None


def test_a_chat_that_is_no_chat_is_shown_as_it_came(make_report):
    data = make_report(4)
    for broken in ("[1", "7", '[{"role": "user"}]', '["x"]', '[{"role": "user", "content": [{"type": "text", "text": "hi"}]}]'):
        prompts = data.prompts.set_column(1, "prompt", pa.array([broken] * 4)).set_column(2, "is_chat", pa.array([True] * 4))
        assert build_payload(dataclasses.replace(data, prompts=prompts)).details["0"]["prompt"][0]["text"]


def test_the_row_of_a_chat_shows_what_was_asked_last_as_the_terminal_does(make_report):
    parts = json.dumps([{"type": "image"}, {"type": "text", "text": "How many\n cats?"}])
    chat = f'[{{"role": "user", "content": {parts}}}, {{"role": "tool", "content": "3"}}]'
    texts = [chat, "  " + "word " * 400, "x" * 1000, "\x00" * 240]
    data, chats = make_report(4), pa.array([True, False, False, False])
    prompts = data.prompts.set_column(1, "prompt", pa.array(texts)).set_column(2, "is_chat", chats)
    rows = build_payload(dataclasses.replace(data, prompts=prompts)).rows
    shown = [rows["prompt"][rows["id"].index(f"{i:016x}")] for i in range(4)]
    assert shown == ["[image] How many cats?", ("word " * 400)[: PREVIEW_LIMIT - 1] + "…", "x" * (PREVIEW_LIMIT - 1) + "…", "␀" * 240]
