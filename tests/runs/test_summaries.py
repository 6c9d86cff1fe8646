"""The summaries come back from their JSON, key by key: a key that is renamed by accident would be read as missing."""

import dataclasses

import pytest

from flatspot.core.json_tree import fields_from_json, json_fields, tree_to_json
from flatspot.planning.summary import PlanSummary
from flatspot.runs.comparison import ComparisonSummary
from flatspot.runs.demo_summary import DemoPolicy, DemoResults
from flatspot.runs.recipe_summary import RecipeSummary, WarmupOutcome
from flatspot.runs.summary import Summary
from flatspot.runs.warmup_summary import WarmupSummary, WatchSummary

KINDS = (Summary, PlanSummary, ComparisonSummary, RecipeSummary, DemoResults, WarmupSummary, WatchSummary)


@pytest.mark.parametrize("kind", KINDS)
def test_every_key_says_what_it_means(kind):
    for key, field in json_fields(kind).items():
        assert field.meaning, key


def test_the_keys_of_a_warm_up_in_a_recipe_are_those_of_0_1_0():
    keys = {"chosen_step", "steps", "labels", "learnt", "generations", "why", "cause", "recovered", "curve", "notes"}
    assert set(json_fields(WarmupOutcome)) == keys
    stored = {"chosen_step": 8, "steps": 10, "labels": 10, "learnt": 9, "generations": 180, "why": "w", "cause": "plateau"}
    stored |= {"recovered": True, "curve": [], "notes": []}
    outcome = fields_from_json(WarmupOutcome, stored)
    assert dataclasses.asdict(outcome)["learned"] == 9
    assert tree_to_json(outcome).items() >= stored.items()


@pytest.mark.parametrize("kind", [DemoResults, DemoPolicy, WarmupOutcome])
def test_a_number_that_was_measured_has_no_default(kind):
    with pytest.raises(KeyError) as error:
        fields_from_json(kind, {})
    assert error.value.args == (next(iter(json_fields(kind))),)
