"""`watch` of prompts with pictures, of rewards with attributes of their own, and of unusual values."""

import json
import math

import numpy as np
import pyarrow.parquet as pq
import pytest
from watch_calls import call, rows_of

import flatspot
from flatspot.training.watch.wrap import recorder_of

Image = pytest.importorskip("PIL.Image")
COLORS = ("red", "green", "blue")


def picture(color):
    return Image.new("RGB", (4, 4), color)


def asks(image):
    return [{"role": "user", "content": [{"type": "image", "image": image}, {"type": "text", "text": "What color is this?"}]}]


def of_color(prompts, completions, image, **columns):
    """Mixed for red, all 0 for green, all 1 for blue."""
    pixels = [one.getpixel((0, 0)) for one in image]
    return [float({(255, 0, 0): i % 2, (0, 128, 0): 0, (0, 0, 255): 1}[color]) for i, color in enumerate(pixels)]


def test_pictures_are_compared_by_their_pixels(tmp_path):
    """Every row has a new picture object, as in a data set: 3 prompts, not one per row; one of three groups is mixed, std 0.577."""
    watched = flatspot.watch([of_color], out=tmp_path / "run")
    for step in range(4):
        images = [picture(color) for color in COLORS for _ in range(4)]
        logged = call(watched, step, prompts=[asks(image) for image in images], image=images)[1]
        assert logged["flatspot/informative"] == pytest.approx(1 / 3)
        assert logged["flatspot/reward_std/mean"] == pytest.approx(math.sqrt(1 / 3) / 3)
    assert recorder_of(watched).live.window().whole
    assert len({row["prompt_id"] for row in rows_of(tmp_path / "run")}) == 3
    summary = flatspot.inspect(tmp_path / "run").summary
    assert (summary["n_prompts"], summary["generations"]["total"]) == (3, 48)
    table = pq.read_table(tmp_path / "run" / "prompts.parquet")
    assert all(table["is_chat"].to_pylist())
    assert not any("0x" in text for text in table["prompt"].to_pylist() + table["columns"].to_pylist())
    assert len({json.loads(text)["image"]["sha256"] for text in table["columns"].to_pylist()}) == 3
    assert not any(isinstance(v, Image.Image) for _, prompt in recorder_of(watched).prompts.values() for v in prompt.columns.values())


@pytest.mark.parametrize("place", ["text", "part"])
def test_pictures_beside_the_prompt_tell_prompts_of_one_text_apart(tmp_path, place):
    """As trainers pass them that put no picture into the messages: three prompts of one text, decoded anew for each row and step."""
    watched = flatspot.watch([of_color], out=tmp_path / "run")
    text = "<image>What color is this?" if place == "text" else [{"role": "user", "content": [{"type": "image"}]}]
    for step in range(4):
        images = [picture(color) for color in COLORS for _ in range(4)]
        logged = call(watched, step, prompts=[text] * 12, image=images)[1]
        assert logged["flatspot/informative"] == pytest.approx(1 / 3)
    assert len({row["prompt_id"] for row in rows_of(tmp_path / "run")}) == 3
    assert flatspot.inspect(tmp_path / "run").summary["n_prompts"] == 3


def test_pictures_without_content_beside_the_prompt_are_grouped_by_their_position(tmp_path, caplog):
    watched = flatspot.watch([lambda completions, **_: [0.0, 1.0, 1.0, 1.0]], out=tmp_path / "run")
    recorder_of(watched).trainer.group_size = (2, 2)
    logged = call(watched, 0, prompts=["<image>what?"] * 4, image=[object() for _ in range(4)])[1]
    assert logged["flatspot/informative"] == 0.5 and "without comparable content" in caplog.text


@pytest.mark.parametrize("size", [None, 2])
def test_pictures_without_content_are_grouped_by_their_position_with_a_caveat(tmp_path, caplog, size):
    class Handle:
        pass

    watched = flatspot.watch([lambda completions, **_: [0.0, 1.0] * (len(completions) // 2)], out=tmp_path / "run")
    recorder_of(watched).trainer.group_size = (size, size)
    for step in range(2):
        prompts = [asks(Handle()) for _ in range(2)] + ["a", "a"] if size is None else [asks(Handle()) for _ in range(4)]
        logged = call(watched, step, prompts=prompts, completions=["x", "y", "x", "y"])[1]
        assert logged["flatspot/informative"] == 1.0
    assert caplog.text.count("grouped by their position in the batch") == 1
    ids = [row["prompt_id"] for row in rows_of(tmp_path / "run")]
    assert len(set(ids)) == 4 and [ids[i] == ids[i + 1] for i in (0, 2, 4, 6)] == [True] * 4
    assert any("without comparable content" in text for text in flatspot.inspect(tmp_path / "run").summary["caveats"])


def test_lists_of_pictures_and_turns_with_tools(tmp_path):
    watched = flatspot.watch([lambda completions, **_: [0.0, 1.0, 1.0, 1.0]], out=tmp_path / "run")
    call(watched, 0, prompts=[[picture(c), picture("red")] for c in ("red", "red", "blue", "blue")])
    tool = [{"role": "assistant", "content": None, "tool_calls": [{"name": name}]} for name in ("add", "add", "sub", "sub")]
    turns = [{"role": "tool", "content": [{"type": "image", "image": np.zeros((2, 2))}]}, {"role": "assistant", "content": "4"}]
    call(watched, 1, prompts=[[{"role": "user", "content": "2+2?"}, turn] for turn in tool], completions=[turns] * 4)
    rows = rows_of(tmp_path / "run")
    assert [len({row["prompt_id"] for row in rows[i : i + 4]}) for i in (0, 4)] == [2, 2]
    assert json.loads(rows[4]["completion"])[1] == turns[1] and "0x" not in rows[4]["completion"]


def test_a_reward_with_an_attribute_of_the_name_errors(tmp_path):
    class Counting:
        errors, __name__ = 7, "counting"

        def __call__(self, completions, **columns):
            return [1.0, 0.0, 1.0, 1.0]

    assert call(flatspot.watch(Counting(), out=tmp_path / "run"))[1]["flatspot/informative"] == 0.5
    assert [row["reward"] for row in rows_of(tmp_path / "run")] == [1.0, 0.0, 1.0, 1.0]


def test_numbers_that_are_none_or_nan_in_one_function_only(tmp_path):
    """As TRL sums: over the functions that returned a number; a row without any has no reward, which is not 0."""
    one, two = (lambda completions, **_: [None, 1.0, float("nan"), 0.0]), (lambda completions, **_: [2.0, None, None, float("inf")])
    watched = flatspot.watch([one, two], out=tmp_path / "run")
    call(watched)
    rows = rows_of(tmp_path / "run")
    assert [row["reward"] for row in rows] == [2.0, 1.0, None, 0.0]
    assert "not a finite number" in rows[2]["error"] and rows[0]["error"] is None


def test_an_exception_of_the_users_reaches_the_trainer_as_it_was(tmp_path):
    class Own(RuntimeError):
        pass

    thrown = Own("mine")

    def fails(completions, **columns):
        raise thrown

    watched = flatspot.watch([fails, lambda completions, **_: [1.0] * 4], out=tmp_path / "run")
    with pytest.raises(Own) as caught:
        call(watched)
    assert caught.value is thrown
    assert len(rows_of(tmp_path / "run")) == 4
    call(watched[1:], 1, last=True)  # the caller may continue


def test_a_function_that_the_trainer_does_not_call_is_reported(tmp_path, caplog):
    watched = flatspot.watch([lambda completions, **_: [1.0] * 4, of_color], out=tmp_path / "run")
    for step in range(3):
        call(watched[:1], step)
    assert caplog.text.count("of_color was not called for a batch") == 1
