"""The typed keyword arguments of the verbs are the settings there are, with their types."""

import dataclasses
from typing import get_type_hints

import pytest

import flatspot
from flatspot.core.options import DiagnoseOptions, InspectOptions, JudgingOptions, RescoreOptions
from flatspot.core.settings import Settings


def test_diagnose_takes_every_setting_with_its_type():
    assert get_type_hints(DiagnoseOptions) == get_type_hints(Settings)
    assert set(get_type_hints(DiagnoseOptions)) == {f.name for f in dataclasses.fields(Settings)}


def test_the_others_take_some_of_them():
    names = [set(get_type_hints(kind)) for kind in (JudgingOptions, InspectOptions, RescoreOptions, DiagnoseOptions)]
    assert names[0] < names[1] < names[2] < names[3]


def test_a_setting_that_does_not_apply_is_refused(tmp_path):
    (tmp_path / "log.csv").write_text("prompt,reward\na,0\na,1\n")
    with pytest.raises(
        flatspot.FlatspotError,
        match="unknown setting 'temperature'; there are: advantage, cluster_col, deterministic_reward, group_size, out",
    ):
        flatspot.inspect(tmp_path / "log.csv", temperature=0.5)
