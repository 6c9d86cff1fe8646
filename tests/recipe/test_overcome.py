import json

import pytest

from flatspot.core.errors import RunFolderError
from flatspot.recipe import overcome as module
from flatspot.recipe.overcome import overcome
from flatspot.report.overcome_text import WIDTH, demo_text
from flatspot.runs.demo_summary import DemoPolicy, DemoResults, DemoSize

pytestmark = [pytest.mark.thorough, pytest.mark.filterwarnings("ignore")]  # TRL, transformers and torch warn of each other
SMALL = DemoSize(prompts=20, rl_steps=1, sft_steps=1, samples=2)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    out = tmp_path_factory.mktemp("overcome") / "demo"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "REMEDIES", {"RL alone": {}, "RL, entropy bonus 0.1": {"entropy": 0.1}})
        return out, overcome(out, size=SMALL)


def test_every_step_leaves_a_row_and_its_files(done):
    out, results = done
    names = [row.name for row in results.rows]
    assert names == ["as it is", "RL alone", "RL, entropy bonus 0.1", "warm-up", "warm-up, then RL"]
    assert [row.labels for row in results.rows] == [0, 0, 0, 1, 0]
    assert {row.generations for row in results.rows if "RL" in row.name} == {64}
    assert json.loads((out / "results.json").read_text())["rows"] == results.to_json()["rows"]
    for folder in ("as-it-is", "rl-alone", "warm-up", "rl-after-warm-up"):
        assert (out / "judged" / folder / "report.html").exists()
    assert results.rows[0].reward == 0.0
    assert results.rows[0].vanishing > 0.8
    for row in results.rows:
        assert row.learnable + row.vanishing + row.solved == pytest.approx(1)


def test_a_second_call_reads_and_other_settings_are_refused(done, monkeypatch):
    out, results = done
    monkeypatch.setattr("flatspot.training.rl.train.train", None)
    assert overcome(out, size=SMALL) == results
    with pytest.raises(RunFolderError, match="other settings"):
        overcome(out, size=SMALL, seed=1)
    for text, says in (("{", "damaged"), ("{}", r"damaged \(it has no 'task'\)"), (without_rows(results), "it has no row 'RL alone'")):
        (out / "results.json").write_text(text)
        with pytest.raises(RunFolderError, match=f"results.json is .*{says}"):
            overcome(str(out), size=SMALL)


def without_rows(results):
    return json.dumps(results.to_json() | {"rows": []})


def row(name, reward, **more):
    usual = {"labels": 0, "sft_steps": 0, "generations": 3840, "seconds": 61.2, "learnable": 0.2, "vanishing": 0.5, "solved": 0.3}
    return DemoPolicy(name, reward=reward, **(usual | more))


@pytest.mark.parametrize(("after", "says"), [(0.97, "0.02 at best, after the warm-up 0.97"), (0.02, "not what the demo is to show")])
def test_the_table_fits_a_screen_and_says_what_came_out(tmp_path, after, says):
    why = "mean pass@K is 99%, and 2 more probes gained no more than their steps cost"
    rows = [row("as it is", 0.0, seconds=0.0), *(row(name, 0.02) for name in module.REMEDIES)]
    rows += [row("warm-up", 0.5, labels=20, sft_steps=15, why=why), row("warm-up, then RL", after)]
    text = demo_text(DemoResults("capitals", DemoSize(), 0, tuple(rows), "", 200.0, {}), tmp_path)
    lines = text.splitlines()
    assert len(lines) <= 24
    assert max(len(line) for line in lines[:-1]) <= WIDTH
    assert says in " ".join(text.split())
    assert "20 labels, 5% of the 400 prompts" in " ".join(text.split())


@pytest.mark.slow
def test_the_demo_shows_what_it_is_to_show(tmp_path):
    results = overcome(tmp_path / "demo")
    reward = {row.name: row.reward for row in results.rows}
    assert max(reward[name] for name in module.REMEDIES) < 0.1
    assert reward["warm-up, then RL"] > 0.9
