"""What values are told by: their content, in every process the same, and never an address."""

import dataclasses
import datetime
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from flatspot.core.content import content_text, parts_text
from flatspot.core.records import prompt_content, prompt_id

Image = pytest.importorskip("PIL.Image")


def picture(color="red", size=(4, 4)):
    return Image.new("RGB", size, color)


def asks(image, text="What color is this?"):
    return [{"role": "user", "content": [{"type": "image", "image": image}, {"type": "text", "text": text}]}]


@dataclasses.dataclass
class Checker:
    limit: int


class Handle:
    pass


EQUAL = {
    "picture": lambda v: picture(("red", "blue")[v]),
    "size": lambda v: picture(size=(2 + v, 4)),
    "array": lambda v: np.r_[np.zeros(5000), v],  # NumPy's own text leaves the middle out
    "scalar": lambda v: np.float32(v),
    "bytes": lambda v: b"abc" + bytes([v]),
    "buffer": lambda v: io.BytesIO(bytes([v])),
    "set": lambda v: {"a", "b", "c", str(v)},
    "date": lambda v: datetime.date(2026, 1, 1 + v),
    "dataclass": lambda v: Checker(v),
    "path": lambda v: Path(f"/nowhere/{v}"),
    "nested": lambda v: {"a": [(picture(), {"b": np.int64(v)})]},
}


@pytest.mark.parametrize("kind", EQUAL)
def test_equal_content_is_equal_and_other_content_is_not(kind):
    make = EQUAL[kind]
    assert content_text({"x": make(0)}) == content_text({"x": make(0)})
    assert content_text({"x": make(0)})[0] != content_text({"x": make(1)})[0]
    assert not content_text({"x": make(0)})[1]
    assert prompt_id(asks(make(0))) == prompt_id(asks(make(0))) != prompt_id(asks(make(1)))
    assert prompt_id([make(0), make(1)]) != prompt_id([make(1), make(0)])  # a list of pictures in place of messages


def test_tensors_count_by_their_numbers():
    torch = pytest.importorskip("torch")
    for kind in (torch.float32, torch.bfloat16, torch.uint8):
        one, two = torch.arange(5000).to(kind), torch.arange(5000).to(kind)
        assert content_text(one) == content_text(two)
        two[2500] = 7
        assert content_text(one)[0] != content_text(two)[0]


def test_what_has_no_content_is_named_by_its_type_and_reported():
    for value in (Handle(), lambda: 0, object(), iter([])):
        text, opaque = content_text([value])
        assert len(opaque) == 1 and "0x" not in text
    assert prompt_content(asks(Handle()))[1] == (f"{__name__}.Handle",)
    assert prompt_content(asks("text"))[1] == ()


def test_files_of_pictures_count_by_their_bytes(tmp_path):
    for name, color in (("a.png", "red"), ("b.png", "red"), ("c.png", "blue")):
        picture(color).save(tmp_path / name)
    a, b, c = (prompt_id(asks(str(tmp_path / name))) for name in ("a.png", "b.png", "c.png"))
    assert a == b == prompt_id(asks(tmp_path / "a.png")) == prompt_id(asks({"bytes": (tmp_path / "a.png").read_bytes(), "path": "x"}))
    assert a != c
    assert prompt_id(asks("https://example.org/a.png")) != prompt_id(asks("https://example.org/b.png"))


def test_only_plain_files_are_opened_and_by_their_full_path(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    for name in ("/dev/zero", str(tmp_path / "pipe"), str(tmp_path)):
        assert json.loads(parts_text([{"type": "image", "image": name}])[0]) == [{"type": "image", "image": name}]
    picture().save(tmp_path / "a.png")
    told = prompt_id(asks("a.png"))
    monkeypatch.chdir(tmp_path)
    assert prompt_id(asks("a.png")) == told  # in every folder the same


def test_keys_that_json_does_not_have_count_by_their_content():
    odd = [{(1, 2): "a"}, {(1, 3): "a"}, {1: "a", "1": "b"}, {"1": "b"}, {1: "b", "1": "a"}, {1: "a", "x": "b"}, {2: "a", "x": "b"}]
    texts = [content_text({"x": value}, sort_keys=True) for value in odd]
    assert len({text for text, _ in texts}) == len(odd) and not any(opaque for _, opaque in texts)
    assert content_text({1: "a", "x": "b"}, sort_keys=True) == content_text({"x": "b", 1: "a"}, sort_keys=True)
    assert content_text({np.int64(1): {(1,): 2}})[0] == '{"1": {"[1]": 2}}'
    assert content_text({object(): 1})[1] == ("object",)


def test_text_keeps_the_ids_that_it_had():
    text = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2 + 2 ="}]
    assert prompt_id(text) == "dd05036626cf9f05"
    assert prompt_id("2 + 2 =") == "154e0c9c61763891"
    as_parts = [{"role": m["role"], "content": [{"type": "text", "text": m["content"], "image": None}]} for m in text]
    assert prompt_id(as_parts) == prompt_id(text)
    assert prompt_id([{"role": "assistant", "content": None}]) == prompt_id([{"role": "assistant", "content": ""}])
    assert parts_text([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])[0] != parts_text([{"type": "text", "text": "ab"}])[0]


def test_sets_are_equal_in_every_process():
    code = "from flatspot.core.content import content_text; print(content_text({'x': {'a', 'b', 'c', 'd', 'e'}})[0])"
    told = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=_env(seed)).stdout for seed in "123"
    }
    assert len(told) == 1


def _env(seed):
    return dict(os.environ) | {"PYTHONHASHSEED": seed}
