"""`flatspot reproduce controlled` as a user calls it; the quick scales (slow)."""

import json

import click
import pytest
from click.testing import CliRunner

from flatspot.cli.main import cli
from flatspot.core.errors import SettingsError
from flatspot_paper.cli.controlled import controlled_command
from flatspot_paper.controlled import experiment

pytestmark = pytest.mark.thorough

SMALL = ["--n-train", "100", "--n-test", "20", "--batch", "50", "--pretrain-epochs", "2", "--epochs", "2"]


def call(*arguments):
    return CliRunner().invoke(cli, ["reproduce", "controlled", *map(str, arguments)])


def values_of(*arguments):
    context = click.Context(controlled_command)
    controlled_command.parse_args(context, list(arguments))
    return context.params


def test_lists_are_one_option_or_several():
    values = values_of("--method", "sft", "rft", "--scale", "quick", "--seed", "0", "1", "2", "--high-init")
    assert (values["methods"], values["seeds"], values["high_init"], values["scale"]) == (("sft", "rft"), (0, 1, 2), True, "quick")
    values = values_of("--method", "reinforce", "--method", "sft")
    assert (values["methods"], values["seeds"]) == (("reinforce", "sft"), (0,))
    assert values_of("--seed=3")["seeds"] == (3,)
    with pytest.raises(click.UsageError, match="unexpected extra argument"):
        values_of("--scale", "quick", "paper")
    with pytest.raises(click.BadParameter, match="'ppo' is not one of"):
        values_of("--method", "sft", "ppo")


def test_a_small_run_prints_tables_or_json(monkeypatch, digits, tmp_path):
    monkeypatch.setattr(experiment, "load_dataset", lambda name, folder, say: digits)
    done = call(*SMALL, "--seed", 0, 1, "--out", tmp_path)
    assert done.exit_code == 0, done.output
    assert "mnist, mlp, adam, quick scale\n2 seeds, mean (and largest distance from it)" in done.stdout
    assert f"Figure   {tmp_path / 'adam' / 'curves.png'}" in done.stdout
    again = call(*SMALL, "--seed", 0, 1, "--out", tmp_path, "--json")
    results = json.loads(again.stdout)
    assert [(run["seed"], run["method"]) for run in results["runs"]] == [(0, "sft"), (0, "rft"), (1, "sft"), (1, "rft")]
    assert results["over_seeds"]["rft"]["small_std"]["end"]["accuracy"]["std"] is not None
    assert [round(p["loss"], 1) > 1.6 for p in results["pretraining"]] == [True, True]


def test_the_wrong_network_is_refused_before_anything_is_loaded():
    done = call("--dataset", "mnist", "--model", "resnet18")
    assert isinstance(done.exception, SettingsError)
    assert "mnist needs the model mlp, not resnet18. Use --model mlp" in str(done.exception)


@pytest.mark.slow
@pytest.mark.parametrize("dataset", ["mnist", "cifar10", "stsb"])
def test_the_quick_scale_shows_the_phenomenon(dataset, real_data, tmp_path):
    done = call("--dataset", dataset, "--data", real_data, "--out", tmp_path, "--json")
    assert done.exit_code == 0, done.output
    ends = {m: {g: groups[g]["end"]["accuracy"]["mean"] for g in groups} for m, groups in json.loads(done.stdout)["over_seeds"].items()}
    assert ends["sft"]["small_std"] >= 0.95 and ends["rft"]["small_std"] <= 0.45
    assert min(ends["sft"]["large_std"], ends["rft"]["large_std"]) >= 0.98
