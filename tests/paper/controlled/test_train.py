"""A whole small experiment: what it shows, that it repeats, that it goes on where it stopped."""

import json
import os
import platform
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from flatspot.core.errors import RunFolderError, SettingsError
from flatspot.rollouts.locks import lock_folder
from flatspot_paper.controlled import experiment, store
from flatspot_paper.controlled.experiment import run_controlled
from flatspot_paper.controlled.models import build_network
from flatspot_paper.controlled.plans import plan_for
from flatspot_paper.controlled.store import train_in_folder
from flatspot_paper.controlled.train import restore, start, state_of, train
from flatspot_paper.controlled.words import results_text

pytestmark = pytest.mark.thorough

CPU = torch.device("cpu")


def curves_of(folder):
    return pq.read_table(folder / "curves.parquet").to_pylist()


@pytest.fixture
def made_up(monkeypatch, digits):
    monkeypatch.setattr(experiment, "load_dataset", lambda name, folder, say: digits)


def test_sft_fits_what_rft_does_not(made_up, plan, tmp_path):
    steps = []
    plan = plan_for("mnist", n_train=200, n_test=50, batch=64, pretrain_epochs=60, pretrain_lr=1e-3, epochs=60, lr=1e-3)
    done = run_controlled(
        plan, ["sft", "rft"], [0], tmp_path, on_step=lambda plan, method, progress: steps.append((method, progress.epoch))
    )
    assert steps[:2] == [("pretrain", 0), ("pretrain", 1)] and steps[-1] == ("rft", 60)
    spread = done.results["over_seeds"]
    start_std = {group: spread["rft"][group]["start"]["reward_std"]["mean"] for group in ("small_std", "large_std")}
    assert start_std["small_std"] < 0.1 and start_std["large_std"] == pytest.approx(0.8, abs=0.02)
    fitted = {m: {g: spread[m][g]["end"]["accuracy"]["mean"] for g in ("small_std", "large_std")} for m in ("sft", "rft")}
    assert fitted["sft"] == pytest.approx({"small_std": 1, "large_std": 1})
    assert fitted["rft"]["small_std"] <= 0.2 and fitted["rft"]["large_std"] == pytest.approx(1)
    # at the start both methods see the same network; the supervised gradient is large where the RL gradient is not
    small = {m: spread[m]["small_std"]["start"] for m in ("sft", "rft")}
    assert small["sft"]["reward"] == small["rft"]["reward"]
    assert small["sft"]["grad_norm"]["mean"] > 100 * small["rft"]["grad_norm"]["mean"]
    for name in ("results.json", "curves.parquet", "curves.png", "curves.svg"):
        assert (tmp_path / "adam" / name).stat().st_size > 500
    assert json.loads((tmp_path / "adam/results.json").read_text()) == done.results
    assert "SFT fits 100% of the samples with a small reward std" in results_text(done.results)


def test_high_init_starts_at_one_half_with_no_std(made_up, tmp_path):
    plan = plan_for("mnist", n_train=200, n_test=50, batch=64, pretrain_epochs=40, pretrain_lr=1e-3, epochs=1, high_init=True)
    done = run_controlled(plan, ["rft"], [0], tmp_path)
    start = done.results["over_seeds"]["rft"]["small_std"]["start"]
    assert start["reward"]["mean"] == pytest.approx(0.5, abs=0.01) and start["reward_std"]["mean"] < 0.05
    assert done.folder.name == "high-init"


@pytest.mark.parametrize("method", ["sft", "rft", "reinforce"])
@pytest.mark.parametrize("changes", [{}, {"optimizer": "sgd", "lr": 0.01}, {"kl_coeff": 0.1}, {"kl_coeff": 0.1, "kl_reference": "uniform"}])
def test_every_variant_trains_and_repeats(samples, method, changes):
    plan = plan_for("mnist", n_train=200, n_test=50, batch=64, epochs=2, **changes)
    results = []
    for _ in range(2):
        network = build_network(plan, CPU)
        progress = start(network, plan, method)
        train(network, samples, plan, method, progress, lambda _: None)
        results.append(([row.means for row in progress.rows], [p.detach().clone() for p in network.parameters]))
    assert len(results[0][0]) == 3 and np.isfinite(np.array(results[0][0])).all()
    np.testing.assert_array_equal(results[0][0], results[1][0])
    assert all(torch.equal(a, b) for a, b in zip(results[0][1], results[1][1], strict=True))
    kl = np.array(results[0][0])[:, :, 5]
    assert (kl[0] == pytest.approx(0, abs=1e-6)) == (plan.kl_reference == "initial") and ((kl[2] > 0).all() == (plan.kl_coeff > 0))


def test_groups_norms_are_measured_as_often_as_requested_and_change_nothing_else(samples, tmp_path):
    results = []
    for every in (1, 4):
        plan = plan_for("mnist", n_train=200, n_test=50, batch=64, epochs=10, norms_every=every)
        results.append(
            curves_of(
                train_in_folder(tmp_path / str(every), build_network(plan, CPU), samples, plan, "sft", "made up", lambda *_: None).parent
            )
        )
    for usual, row in zip(*results, strict=True):
        left_out = row["group"] in ("small_std", "large_std") and row["epoch"] not in (0, 4, 8, 10)
        for name, value in usual.items():
            if left_out and name in ("grad_norm", "normalized_grad_norm"):
                assert row[name] is None and value > 0
            else:
                assert row[name] == (pytest.approx(value, rel=1e-4, abs=1e-6) if isinstance(value, float) else value), (name, row)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="keep_memory tells glibc")
def test_memory_is_kept_for_the_next_batch():
    script = """
import resource
from flatspot_paper.controlled.train import keep_memory, torch
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.zeros(10_000_000).add_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
fresh = faults()
keep_memory()
faults()
print(fresh, faults())
"""
    # one page size, and no cache of a thread's own, which may or may not serve the small allocations in between
    plain = {"THP_MEM_ALLOC_ENABLE": "0", "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=os.environ | plain)
    fresh, reused = map(int, done.stdout.split())
    assert reused < fresh / 10


@pytest.mark.parametrize("method", ["pretrain", "reinforce"])
def test_a_resumed_run_gives_the_numbers_of_an_uninterrupted_one(samples, plan, method, tmp_path):
    network = build_network(plan, CPU)
    whole = start(network, plan, method)
    files = {}

    def save_seventh(progress):
        if progress.epoch == 7:
            file = tmp_path / "state.pt"
            store._save(file, state_of(network, progress))
            files["file"] = file

    train(network, samples, plan, method, whole, save_seventh)
    again = build_network(plan, CPU)
    rest = start(again, plan, method)
    restore(again, rest, store._load(files["file"]))
    assert rest.epoch == 7
    train(again, samples, plan, method, rest, lambda _: None)
    np.testing.assert_array_equal([row.means for row in whole.rows], [row.means for row in rest.rows])
    assert [row.test for row in whole.rows] == [row.test for row in rest.rows]
    assert all(torch.equal(a, b) for a, b in zip(network.parameters, again.parameters, strict=True))


def test_a_killed_run_resumes_from_its_checkpoint(samples, plan, tmp_path, monkeypatch):
    monkeypatch.setattr(store, "_CHECKPOINT_EVERY_S", 0.0)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    train_in_folder(whole, build_network(plan, CPU), samples, plan, "sft", "made up", lambda *_: None)

    def die(method, progress):
        if progress.epoch == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_in_folder(killed, build_network(plan, CPU), samples, plan, "sft", "made up", die)
    assert sorted(p.name for p in killed.iterdir()) == [".lock", "checkpoint.pt", "run.json"]
    epochs = []
    train_in_folder(killed, build_network(plan, CPU), samples, plan, "sft", "made up", lambda _, progress: epochs.append(progress.epoch))
    assert epochs == list(range(8, 13))
    assert curves_of(killed) == curves_of(whole)
    assert not (killed / "checkpoint.pt").exists()
    train_in_folder(killed, build_network(plan, CPU), samples, plan, "sft", "made up", die)  # nothing is left to do


def test_a_run_stopped_before_its_first_checkpoint_starts_anew(samples, plan, tmp_path):
    def die(method, progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_in_folder(tmp_path, build_network(plan, CPU), samples, plan, "sft", "made up", die)
    train_in_folder(tmp_path, build_network(plan, CPU), samples, plan, "sft", "made up", lambda *_: None)
    assert {row["epoch"] for row in curves_of(tmp_path)} == set(range(13))


def test_a_folder_of_other_settings_in_use_or_damaged_is_refused(samples, plan, tmp_path):
    train_in_folder(tmp_path, build_network(plan, CPU), samples, plan, "sft", "made up", lambda *_: None)
    other = plan_for("mnist", n_train=200, n_test=50, batch=64, pretrain_epochs=30, pretrain_lr=1e-3, epochs=12, lr=0.5, test_every=5)
    with pytest.raises(RunFolderError, match=r"lr: 0.001 there, 0.5 now[\s\S]*another --out"):
        train_in_folder(tmp_path, build_network(plan, CPU), samples, other, "sft", "made up", lambda *_: None)
    with lock_folder(tmp_path), pytest.raises(RunFolderError, match="another process"):
        train_in_folder(tmp_path, build_network(plan, CPU), samples, plan, "sft", "made up", lambda *_: None)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(RunFolderError, match=r"run.json is damaged"):
        train_in_folder(tmp_path, build_network(plan, CPU), samples, plan, "sft", "made up", lambda *_: None)


def test_a_damaged_checkpoint_is_named(samples, plan, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train_in_folder(
            tmp_path, build_network(plan, CPU), samples, plan, "sft", "made up", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
        )
    (tmp_path / "checkpoint.pt").write_bytes(b"nothing")
    with pytest.raises(RunFolderError, match=r"checkpoint.pt is damaged[\s\S]*Remove the folder"):
        train_in_folder(tmp_path, build_network(plan, CPU), samples, plan, "sft", "made up", lambda *_: None)


def test_training_that_diverges_stops_and_says_so(samples, tmp_path):
    plan = plan_for("mnist", n_train=200, n_test=50, batch=64, epochs=30, optimizer="sgd", lr=1e12)
    with pytest.raises(SettingsError, match=r"diverged: sft of mnist .* in epoch \d+, at learning rate 1e\+12\. Use a smaller --lr"):
        train_in_folder(tmp_path, build_network(plan, CPU), samples, plan, "sft", "made up", lambda *_: None)
    assert not (tmp_path / "curves.parquet").exists()


def test_bad_plans():
    with pytest.raises(SettingsError, match="mnist needs the model mlp, not resnet18"):
        plan_for("mnist", "resnet18")
    with pytest.raises(SettingsError, match="no controlled experiment uses the data set 'svhn'"):
        plan_for("svhn")
    with pytest.raises(SettingsError, match="positive number, not nan"):
        plan_for("mnist", lr=float("nan"))
    with pytest.raises(SettingsError, match="5 training samples are too few"):
        plan_for("mnist", n_train=5)
    with pytest.raises(SettingsError, match="KL coefficient"):
        plan_for("mnist", kl_coeff=-1.0)
    with pytest.raises(SettingsError, match="float32 or bfloat16, not 'float16'"):
        plan_for("mnist", precision="float16")
    with pytest.raises(SettingsError, match="norms_every must be at least 1, not 0"):
        plan_for("mnist", norms_every=0)


def test_the_paper_s_nine_finetuning_variants():
    """Learning rates of section 3.5's table; every one of them runs with SFT and with RFT."""
    rates = {
        (dataset, variant.variant): variant.lr
        for dataset in ("mnist", "cifar10", "stsb")
        for variant in (plan_for(dataset), plan_for(dataset, optimizer="sgd"), plan_for(dataset, high_init=True))
    }
    assert len(rates) == 9
    assert {rate for (_, name), rate in rates.items() if name != "sgd"} == {1e-4}
    assert [rates[dataset, "sgd"] for dataset in ("mnist", "cifar10", "stsb")] == [1e-2, 1e-2, 1e-3]
    for dataset in ("mnist", "cifar10", "stsb"):
        schedule = plan_for(dataset).schedule
        assert (schedule.pretrain_epochs, schedule.pretrain_lr, schedule.epochs, schedule.batch) == (1000, 1e-4, 5000, 512)
