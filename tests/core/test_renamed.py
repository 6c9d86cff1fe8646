"""Settings by their old names, in calls and in the notes of older runs."""

import pytest

import flatspot
from flatspot.core.errors import SettingsError
from flatspot.core.renamed import RENAMED, with_new_names, with_old_names
from flatspot.core.settings import Settings
from flatspot.report.run.next_steps import next_steps
from flatspot.runs.summary import Summary
from flatspot.training.warmup.probe import ProbeSettings

ENGINE = flatspot.ScriptedEngine({"2+2=": {"4": 0.5, "5": 0.5}})
ROWS = [{"prompt": "2+2=", "reference": "4"}]


def test_a_call_by_old_names_warns_where_it_stands_and_does_the_same(tmp_path):
    with pytest.warns(DeprecationWarning, match="is called") as found:
        old = flatspot.diagnose(ROWS, ENGINE, "exact_match", max_samples=6, fixed_samples=True, out=tmp_path / "old")
    assert [str(w.message).split(" now")[0] for w in found] == [
        "max_samples is called max_completions",
        "fixed_samples is called fixed_completions",
    ]
    assert {w.filename for w in found} == {__file__}
    new = flatspot.diagnose(ROWS, ENGINE, "exact_match", max_completions=6, fixed_completions=True, out=tmp_path / "new")
    assert old.verdicts.equals(new.verdicts) and old.verdicts["n_samples"].to_pylist() == [6]
    with pytest.raises(SettingsError, match="max_samples is the old name of max_completions"), pytest.warns(DeprecationWarning):
        flatspot.diagnose(ROWS, ENGINE, "exact_match", max_samples=6, max_completions=6, out=tmp_path / "both")


def test_every_new_name_is_a_setting_and_names_go_back_and_forth():
    names = set(Settings.__dataclass_fields__) | set(ProbeSettings.__dataclass_fields__)
    assert set(RENAMED.values()) <= names and not set(RENAMED) & names
    settings = dict.fromkeys(names, 0)
    assert with_new_names(with_old_names(settings)) == settings != with_old_names(settings)


def test_the_next_steps_of_an_older_run_are_given_by_the_names_of_today():
    resume = ["--max-samples", "60", "--fixed-samples"]
    settings = {"prompts": "p.jsonl", "model": "m", "reward": ["r"], "out": "run", "resume": resume}
    found = {"source": "diagnose", "verdict": "draw-more", "counts": {"undecided": 5}, "generations": {"per_prompt": 60.0}, "group_size": 6}
    command = next_steps(Summary.from_json(found | {"settings": settings}))[0].command
    assert command.endswith("--fixed-completions --max-completions 258") and "samples" not in command
