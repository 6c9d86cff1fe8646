"""Text metrics against hand computation or their packages' other interfaces."""

from __future__ import annotations

import math
import random
import shutil
import warnings
from pathlib import Path

import pytest

from flatspot.core.errors import PromptFileError, RewardLoadError
from flatspot.core.records import Completion, Prompt
from flatspot.rewards import BUILTINS, LoadedReward, answer_rewards, load_reward


def value(spec: str, text: str, *references: str) -> float:
    columns = {"references": list(references)} if references else {}
    score = load_reward(spec, isolate=False).score([Prompt("a", "q", columns)], [Completion(text, 1, False)])[0]
    assert score.error is None, score.error
    assert score.reward is not None
    return score.reward


@pytest.mark.parametrize(
    ("spec", "text", "reference", "expected"),
    [
        ("exact_match", " 4\n", "4", 1),
        ("exact_match", "four", "Four", 0),
        ("exact_match[ignore_case=true]", "four", "Four", 1),
        ("exact_match", "", "4", 0),
        ("exact_match[part=last_line]", "so\n4\n\n", "4", 1),
        ("exact_match[part=last_line]", "", "4", 0),
        ("exact_match[part=boxed]", r"\boxed{1} then \boxed{\frac{1}{2}}.", r"\frac{1}{2}", 1),
        ("exact_match[part=boxed]", r"\boxed{1", "1", 0),
        ("exact_match[part=boxed]", "1", "1", 0),
        (r"regex[pattern=\d{1,3}]", "at 42", "irrelevant", 1),
        (r"regex[pattern=\d]", "none", "irrelevant", 0),
        (r"regex[pattern==(\d+)]", "x=42", "42", 1),
        (r"regex[pattern==(\d+)]", "x=41", "42", 0),
        (r"regex[pattern=(?:A (\d))|(?:B (\d)),ignore_case=true]", "b 7", "7", 1),
    ],
)
def test_exact_match_and_regex(spec: str, text: str, reference: str, expected: float) -> None:
    assert value(spec, text, reference) == expected


def test_regex_without_a_reference_asks_only_for_a_match() -> None:
    assert value(r"regex[pattern=(\d+)]", "7") == 1.0


def test_rouge_l_by_hand() -> None:
    # longest common subsequence "the cat sat" of 3: precision 3/4, recall 3/5
    assert value("rouge_l", "the cat sat down", "the big cat sat there") == pytest.approx(2 * 0.75 * 0.6 / (0.75 + 0.6))
    assert value("rouge_l", "the cat sat down", "nothing", "the cat sat down") == 1.0  # the best reference counts
    assert value("rouge_l", "he runs", "he run") == 0.5
    assert value("rouge_l[stem=true]", "he runs", "he run") == 1.0
    assert value("rouge_l", "", "a word") == 0.0


def test_sacrebleu_by_hand_and_against_its_corpus_score() -> None:
    import sacrebleu

    text, reference = "the cat sat on the mat", "the cat sat on a mat"
    # n-gram precisions 5/6, 3/5, 2/4, 1/3, equal lengths
    assert value("sacrebleu", text, reference) == pytest.approx(math.exp(sum(map(math.log, (5 / 6, 3 / 5, 2 / 4, 1 / 3))) / 4))
    assert value("sacrebleu", text, reference) == pytest.approx(sacrebleu.corpus_bleu([text], [[reference]]).score / 100)
    assert value("sacrebleu", text, "other words here", text) == 1.0
    assert value("sacrebleu", "", reference) == 0.0
    assert value("sacrebleu[tokenize=char]", "cat", "cat") == 1.0
    assert value("sacrebleu[lowercase=true]", "THE CAT SAT ON THE MAT", text) == 1.0


def test_meteor_without_synonyms_by_hand() -> None:
    # 2 of 3 words match, in one chunk: P = R = 2/3, F = 2/3, penalty 0.5 · (1/2)³
    assert value("meteor[wordnet=none]", "the cat slept", "the cat ran") == pytest.approx(2 / 3 * (1 - 0.5 / 8))
    # stems match too; chunk 1 of 2 words
    assert value("meteor[wordnet=none]", "he runs", "he run") == pytest.approx(1 - 0.5 / 8)
    assert value("meteor[wordnet=none]", "", "a b") == 0.0


@pytest.fixture
def nltk_data(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """NLTK's search path, empty for the time of a test."""
    data = pytest.importorskip("nltk").data
    monkeypatch.setattr(data, "path", [])
    return data.path


def test_meteor_says_where_to_get_wordnet(tmp_path: Path, nltk_data: list[str]) -> None:
    with pytest.raises(RewardLoadError, match=rf"there is none in {tmp_path}.*nltk.downloader -d FOLDER wordnet"):
        load_reward(f"meteor[wordnet={tmp_path}]")
    nltk_data.clear()
    with pytest.raises(RewardLoadError, match=r"none on NLTK's search path.*wordnet=none\] to match words and stems only"):
        load_reward("meteor")


def tiny_wordnet(folder: Path) -> Path:
    """Two synsets in the files of NLTK's corpus: {car, auto} and {run, work}."""
    license = "  1 A license, set in by two spaces.\n"
    corpus = folder / "corpora" / "wordnet"
    corpus.mkdir(parents=True)
    (corpus / "lexnames").write_text("".join(f"{i:02d}\tnoun.of_{i}\t1\n" for i in range(45)))
    (corpus / "index.sense").write_text("")
    for part, entry, lemmas in (
        ("noun", "06 n 02 car 0 auto 0 000 | a vehicle", ("car", "auto")),
        ("verb", "35 v 02 run 0 work 1 000 | function", ("run", "work")),
        ("adj", "", ()),
        ("adv", "", ()),
    ):
        offset = f"{len(license):08d}"
        (corpus / f"data.{part}").write_text(license + (f"{offset} {entry}\n" if entry else ""))
        (corpus / f"index.{part}").write_text(license + "".join(f"{lemma} {part[0]} 1 0 1 0 {offset}  \n" for lemma in lemmas))
        (corpus / f"{part}.exc").write_text("ran run\n" if part == "verb" else "")
    return folder


@pytest.mark.parametrize("packed", [False, True])
def test_meteor_with_synonyms_from_a_folder(tmp_path: Path, nltk_data: list[str], packed: bool) -> None:
    folder = tiny_wordnet(tmp_path)
    if packed:  # as NLTK's downloader leaves it
        shutil.make_archive(str(folder / "corpora/wordnet"), "zip", folder / "corpora", "wordnet")
        shutil.rmtree(folder / "corpora/wordnet")
    spec = f"meteor[wordnet={folder}]"
    # both words match in one chunk; without synonyms one of two does: F = 1/2, one chunk of one word
    assert value(spec, "a cars", "a auto") == pytest.approx(1 - 0.5 / 8)
    assert value("meteor[wordnet=none]", "a cars", "a auto") == pytest.approx(0.5 * (1 - 0.5))
    assert value(spec, "it ran", "it work") == pytest.approx(1 - 0.5 / 8)  # an irregular form


def test_meteor_remembers_words_and_scores_as_nltk_does(tmp_path: Path, nltk_data: list[str]) -> None:
    from nltk.corpus import WordNetCorpusReader
    from nltk.translate.meteor_score import meteor_score

    folder, rng = tiny_wordnet(tmp_path), random.Random(0)
    nltk_data.append(str(folder))
    words = ["car", "cars", "auto", "run", "ran", "running", "work", "works", "a", "it"]
    pairs = [(rng.choices(words, k=rng.randint(1, 8)), rng.choices(words, k=rng.randint(1, 8))) for _ in range(60)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there are no other languages
        reader = WordNetCorpusReader(str(folder / "corpora/wordnet"), None)
        expected = [meteor_score([reference], text, wordnet=reader) for text, reference in pairs]
    spec = f"meteor[wordnet={folder}]"
    assert [value(spec, " ".join(text), " ".join(reference)) for text, reference in pairs] == expected
    assert len(set(expected)) > 20


def test_meteor_looks_for_wordnet_in_the_folder_alone(tmp_path: Path, nltk_data: list[str]) -> None:
    nltk_data.append(str(tiny_wordnet(tmp_path / "elsewhere")))
    empty = tmp_path / "empty"
    for folder in (empty, empty, tmp_path / "elsewhere/corpora"):  # not there; there and empty; one level too deep
        with pytest.raises(RewardLoadError, match=rf"there is none in {folder}"):
            load_reward(f"meteor[wordnet={folder}]")
        empty.mkdir(exist_ok=True)
    words = tiny_wordnet(tmp_path / "words") / "corpora/wordnet/data.noun"
    words.write_text(words.read_text().replace("car 0 auto 0", "car 0 cart 0"))
    assert value(f"meteor[wordnet={tmp_path / 'words'}]", "a cars", "a auto") == pytest.approx(0.5 * (1 - 0.5))
    assert nltk_data[0] == str(tmp_path / "elsewhere")  # which `auto` goes on to find first


def test_a_damaged_wordnet_is_named(tmp_path: Path, nltk_data: list[str]) -> None:
    (tiny_wordnet(tmp_path) / "corpora/wordnet/lexnames").write_text("1 one 1\n")
    with pytest.raises(RewardLoadError, match=rf"WordNet in {tmp_path} cannot be read"):
        load_reward(f"meteor[wordnet={tmp_path}]")
    shutil.rmtree(tmp_path / "corpora/wordnet")
    (tmp_path / "corpora/wordnet.zip").write_bytes(b"half of an archive")
    with pytest.raises(RewardLoadError, match=rf"WordNet in {tmp_path} cannot be read: File is not a zip file"):
        load_reward(f"meteor[wordnet={tmp_path}]")


def test_a_wordnet_that_others_may_write_to_is_refused_with_the_reason(tmp_path: Path, nltk_data: list[str]) -> None:
    if not hasattr(pytest.importorskip("nltk.pathsec"), "is_private_dir"):
        pytest.skip("this version of NLTK reads it")
    tiny_wordnet(tmp_path).chmod(0o777)
    with pytest.raises(RewardLoadError, match=rf"none in {tmp_path} that NLTK reads: other accounts may write there \(chmod -R go-w\)"):
        load_reward(f"meteor[wordnet={tmp_path}]")


def test_sentiment_is_compound_on_the_unit_interval() -> None:
    assert value("sentiment", "the table has four legs") == 0.5
    assert value("sentiment", "") == 0.5
    good = value("sentiment", "I love this wonderful film!")
    assert good > 0.9 and value("sentiment[target=negative]", "I love this wonderful film!") == pytest.approx(1 - good)


@pytest.mark.parametrize("spec", ["exact_match", "rouge_l", "sacrebleu", "meteor[wordnet=none]"])
def test_a_row_without_a_reference_is_unscored(spec: str) -> None:
    rows = [Prompt("a", "q", {"answer": "4"}), Prompt("b", "q", {"reference": "4"})]
    scores = load_reward(spec).score(rows, [Completion("4", 1, False)] * 2)
    assert scores[0].reward is None and "no column reference or references to compare with (columns: answer)" in str(scores[0].error)
    assert scores[1].reward is not None


def test_reasoning_gym_scores_with_its_own_scorer() -> None:
    entry = {"question": "Calculate 5 - 3.", "answer": "2", "metadata": {}}
    rows = [Prompt("a", "q", {"task": "basic_arithmetic", "entry": entry})] * 3 + [Prompt("b", "q")]
    grid = {"question": "", "answer": "1 2\n3 4", "metadata": {"output": [[1, 2], [3, 4]]}}  # lists, as they come back from JSON
    rows.append(Prompt("c", "q", {"task": "arc_agi", "entry": grid}))
    with load_reward("reasoning_gym") as reward:
        scores = reward.score(rows, [Completion(text, 1, False) for text in (" 2\n", "3", "", "2", "1 2\n3 4")])
    assert [score.reward for score in scores] == [1.0, 0.0, 0.0, None, 1.0]
    assert "load prompts as reasoning-gym:TASK" in str(scores[3].error)


def test_answers_are_scored_where_somebody_names_their_column() -> None:
    rows = [Prompt("a", "q", {"gold": ["x", "longer"]}), Prompt("b", "q"), Prompt("c", "q", {"gold": ""})]
    reward = load_reward(lambda completions: [len(c) or None for c in completions], isolate=False)
    assert answer_rewards(reward, rows, "gold").mean == (
        3.5,
        None,
        None,
    )
    assert answer_rewards(reward, rows).mean == (
        None,
        None,
        None,
    )
    assert answer_rewards(reward, [], "gold").mean == ()
    with pytest.raises(PromptFileError, match=r"column 'golden' .*columns: gold.*--answer-col"):
        answer_rewards(reward, rows, "golden")


def test_a_metric_compares_each_reference_with_the_others() -> None:
    """ROUGE-L of three references by hand; one reference has no other to be compared with."""
    three = Prompt("a", "q", {"references": ["a b c d", "a b x y", "a b c z"]})
    reward = load_reward("rouge_l")
    assert answer_rewards(reward, [three, Prompt("b", "q", {"reference": "a b"})]).mean == pytest.approx([(0.75 + 0.5 + 0.75) / 3, None])
    named = Prompt("c", "q", {"references": ["a b c d"], "human": "a b x y"})
    assert answer_rewards(reward, [named], "human").mean == (0.5,)
    assert answer_rewards(load_reward(["rouge_l", len], isolate=False), [three]).mean == (None,)
    beside = load_reward(["rouge_l", "exact_match"])  # which needs the reference that ROUGE must not see
    assert answer_rewards(beside, [three], "references").mean == (None,)
    assert answer_rewards(beside, [named], "human").mean == (0.5,)


def test_who_pays_the_top_for_a_right_answer() -> None:
    assert load_reward(["exact_match", "regex[pattern=x]"]).top_reachable
    for other in ("rouge_l", "sentiment"):
        assert not load_reward(["exact_match", other]).top_reachable
    assert not load_reward(len, isolate=False).top_reachable


def test_ranges_and_weights() -> None:
    assert all(reward.range == (0.0, 1.0) for reward in BUILTINS.values())
    reward = load_reward(["exact_match", "sentiment"], weights=[2.0, -0.5])
    assert reward.range == (-0.5, 2.0)
    assert load_reward(["exact_match", len], isolate=False).range is None


def test_description_is_plain_stable_and_notices_an_edit(tmp_path: Path) -> None:
    import json

    file = tmp_path / "r.py"

    def described() -> str:
        with load_reward(["exact_match", f"{file}:f"], weights=[1, 2], timeout_s=3) as reward:
            assert isinstance(reward, LoadedReward)
            return json.dumps(reward.describe())

    file.write_text("def f(completions):\n    return [1] * len(completions)\n")
    first = described()
    assert described() == first
    file.write_text("def f(completions):\n    return [2] * len(completions)\n")
    assert described() != first
    by_two, by_three = (load_reward(lambda completions, k=k: [k], isolate=False).describe() for k in (2, 3))
    assert by_two != by_three


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("exact_mach", "did you mean exact_match"),
        ("", "the reward is empty"),
        ([], "no reward is given"),
        ("regex", r"needs the parameter 'pattern'"),
        ("regex[pattern=(]", "is not a regular expression"),
        ("exact_match[ignore_case=maybe]", "ignore_case must be true or false, got 'maybe'"),
        ("exact_match[nope=1]", "has no parameter 'nope' (parameters: ignore_case, part)"),
        ("exact_match[ignore_case]", "expected key=value"),
        ("exact_match[part=head]", "part must be one of all, last_line, boxed"),
        ("sentiment[target=sad]", "target must be positive or negative"),
        ("sacrebleu[tokenize=zz]", "cannot use tokenize='zz'"),
        ("rewards.py", "names a file but no function"),
        ("absent.py:f", "no such file: absent.py"),
        ("no_such_module_here:f", "no module called 'no_such_module_here'"),
        ("json:lods", "did you mean load"),
        ([3], "a reward must be text or a function, got 3"),
    ],
)
def test_wrong_specs_say_what_mends_them(spec: object, expected: str) -> None:
    with pytest.raises(RewardLoadError) as raised:
        load_reward(spec)  # type: ignore[arg-type]
    assert expected in str(raised.value)


def test_wrong_weights_and_limits() -> None:
    for settings in ({"weights": [1.0, 2.0]}, {"weights": [math.nan]}, {"timeout_s": 0.0}, {"timeout_s": math.inf}):
        with pytest.raises(RewardLoadError):
            load_reward("exact_match", **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("empty", ["", "  \n", None, [], [""], [None, " "], math.nan])
@pytest.mark.parametrize("name", ["reference", "references"])
def test_an_empty_reference_is_no_answer(name: str, empty: object) -> None:
    """An empty completion earns nothing where nobody said what is right."""
    prompt = Prompt("a", "q", {name: empty})
    assert prompt.references == ()
    with load_reward("exact_match") as reward:
        score = reward.score([prompt], [Completion("", 0, False)])[0]
        assert score.reward is None and f"its column {name} is empty" in str(score.error)
        assert answer_rewards(reward, [prompt]).mean == (None,)


def test_a_whole_number_that_a_table_made_a_float_is_the_whole_number() -> None:
    assert [Prompt("a", "q", {"reference": number}).references for number in (4.0, 4, -2.0, 0.5, "4.0")] == [
        ("4",),
        ("4",),
        ("-2",),
        ("0.5",),
        ("4.0",),
    ]


def test_references_win_over_reference_where_there_are_any() -> None:
    assert Prompt("a", "q", {"references": ["4", "", 5], "reference": "6"}).references == ("4", "5")
    assert Prompt("a", "q", {"references": [], "reference": "6"}).references == ("6",)
