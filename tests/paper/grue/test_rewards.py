"""Each task's reward of one completion, computed by hand."""

import math

import pytest
from tests.paper.grue.conftest import word_tokenizer

from flatspot.core.errors import RewardLoadError
from flatspot.core.records import Completion, Prompt
from flatspot.rewards import load_reward
from flatspot_paper.grue.sentiment import grue_sentiment
from flatspot_paper.grue.tasks import TASKS


def value(spec, text, *references):
    with load_reward(spec) as reward:
        [score] = reward.score([Prompt("a", "x", {"references": list(references)})], [Completion(text, 1, truncated=False)])
    return score.reward


def without_synonyms(task):
    reward = TASKS[task].reward
    assert reward == "meteor"
    return "meteor[wordnet=none]"


def test_narrativeqa_takes_the_best_reference_and_stems():
    pytest.importorskip("rouge_score")
    # "runs" and "running" have the stem "run": of 2 words and 3, the common sequence is 2 long; F = 2·1·(2/3)/(1 + 2/3)
    assert value(TASKS["narrativeqa"].reward, "she runs", "he sleeps", "she was running") == pytest.approx(0.8)


def test_totto_is_bleu_over_all_references():
    pytest.importorskip("sacrebleu")
    # 1 to 4 words in a row that match: 5/6, 3/5, 2/4, 1/3, and no brevity
    by_hand = math.exp(sum(map(math.log, (5 / 6, 3 / 5, 2 / 4, 1 / 3))) / 4)
    assert value(TASKS["totto"].reward, "the cat sat on a mat", "the cat sat on the mat") == pytest.approx(by_hand)
    assert value(TASKS["totto"].reward, "the cat sat on the mat", "no word here", "the cat sat on the mat") == 1.0


def test_totto_of_fewer_than_four_words_is_zero_as_in_a_corpus():
    sacrebleu = pytest.importorskip("sacrebleu")
    assert sacrebleu.corpus_bleu(["the cat"], [["the cat"]]).score == 0
    assert value(TASKS["totto"].reward, "the cat", "the cat") == 0.0
    assert value("sacrebleu", "the cat", "the cat") == 1.0


def test_iwslt_splits_words_as_the_international_tokenizer_does():
    pytest.importorskip("sacrebleu")
    # the quotes are tokens of their own to intl: „ Hallo “ , sagt sie . has 7 tokens; here Hallo is missing one quote
    text, reference = "„Hallo“, sagt er.", "„Hallo“, sagt sie."
    by_hand = math.exp(sum(map(math.log, (6 / 7, 4 / 6, 3 / 5, 2 / 4))) / 4)
    assert value(TASKS["iwslt2017"].reward, text, reference) == pytest.approx(by_hand)


@pytest.mark.parametrize("task", ["commongen", "cnn_dm", "dailydialog"])
def test_meteor_weighs_recall_and_chunks(task):
    pytest.importorskip("nltk")
    # 3 of 3 words match 3 of 5: P = 1, R = 3/5, F = P·R/(0.9·P + 0.1·R); two chunks of three matches: 0.5·(2/3)^3
    by_hand = 0.6 / (0.9 + 0.1 * 0.6) * (1 - 0.5 * (2 / 3) ** 3)
    assert value(without_synonyms(task), "a dog runs", "xyz", "a big dog runs fast") == pytest.approx(by_hand)


def classifier(folder):
    """A classifier with random weights, of texts of at most 8 words."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    tokenizer = word_tokenizer(["good", "bad"])
    shape = {"vocab_size": 5, "dim": 4, "hidden_dim": 8, "n_layers": 1, "n_heads": 1, "max_position_embeddings": 8}
    config = transformers.DistilBertConfig(initializer_range=0.5, **shape)
    torch.manual_seed(0)
    model = transformers.DistilBertForSequenceClassification(config).eval()
    tokenizer.model_max_length = 8
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
    return model, tokenizer


def test_imdb_is_the_classifiers_probability_of_prompt_and_completion(tmp_path):
    torch = pytest.importorskip("torch")
    model, tokenizer = classifier(tmp_path)
    expected = []
    for text in ("good bad good", "good good"):
        with torch.no_grad():
            logits = model(torch.tensor([tokenizer(text)["input_ids"]])).logits[0].double()
        expected.append(float(torch.exp(logits[1]) / torch.exp(logits).sum()))
    given = grue_sentiment(["good bad", [{"role": "user", "content": "good"}]], [" good", " good"], classifier=str(tmp_path))
    assert given == pytest.approx(expected, abs=1e-6)
    assert expected[0] != pytest.approx(expected[1], abs=1e-4)


def test_imdb_keeps_the_completion_of_a_long_prompt(tmp_path):
    classifier(tmp_path)
    long, ends = "bad " * 20, ["good", "bad"]
    positive, negative = grue_sentiment([long] * 2, ends, classifier=str(tmp_path))
    assert positive != pytest.approx(negative, abs=1e-6)
    assert grue_sentiment([long], ["good"], classifier=str(tmp_path)) == grue_sentiment(["bad " * 7], ["good"], classifier=str(tmp_path))


def test_a_classifier_that_is_not_to_be_had_says_what_can_be_done(tmp_path):
    pytest.importorskip("transformers")
    with pytest.raises(RewardLoadError, match="--reward sentiment"):
        grue_sentiment(["a"], ["b"], classifier=str(tmp_path / "nothing"))
