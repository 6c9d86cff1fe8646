"""The package of docs/how-to/extend.md, installed: each of its six extensions through the command line, and packages that are broken."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

pytestmark = pytest.mark.thorough  # a process per command
PAGE = Path(__file__).parents[2] / "docs/how-to/extend.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def files_of_the_page():
    """The files that the page saves, by name."""
    return {
        name: BLOCK.match(text)[2] for name, text in re.findall(r"<!-- file: (\S+) -->\n(```.*?^```$)", PAGE.read_text(), re.DOTALL | re.M)
    }


def install(site, name, modules, points):
    """An installation as pip leaves it: modules, and a .dist-info with metadata, entry points and a record of the files."""
    info = site / f"{name.replace('-', '_')}-0.1.dist-info"
    info.mkdir(parents=True)
    groups = "\n".join(
        f"[flatspot.{group}]\n" + "".join(f"{key} = {value}\n" for key, value in some.items()) for group, some in points.items()
    )
    files = {info / "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1\n", info / "entry_points.txt": groups}
    files |= {site / f"{module}.py": text for module, text in modules.items()}
    for file, text in files.items():
        file.write_text(text)
    (info / "RECORD").write_text("".join(f"{file.relative_to(site)},,\n" for file in files))
    (info / "INSTALLER").write_text("by hand\n")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder with the page's package installed."""
    place, files = tmp_path_factory.mktemp("site"), files_of_the_page()
    project = tomllib.loads(files["pyproject.toml"])["project"]
    points = {group.removeprefix("flatspot."): some for group, some in project["entry-points"].items()}
    install(place, project["name"], {"coins": files["coins.py"]}, points)
    return place


def environment(*sites):
    path = os.pathsep.join([*map(str, sites), *filter(None, [os.environ.get("PYTHONPATH")])])
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PYTHONPATH": path, "PATH": programs, "COLUMNS": "80", "PYTHONUTF8": "1"}


def flatspot(folder, *words, sites):
    command = [sys.executable, "-m", "flatspot.cli", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment(*sites), timeout=120)


def fits(shown, printed):
    """Whether the page's output is what was printed; … stands for any characters."""
    pattern = "\n".join(".*?".join(map(re.escape, line.split("…"))) for line in shown.splitlines())
    return re.fullmatch(pattern, "\n".join(line.rstrip() for line in printed.splitlines()))


def test_the_page_runs_as_it_says(tmp_path, site):
    blocks = BLOCK.findall(PAGE.read_text())
    shown = [(text, blocks[i + 1][1]) for i, (language, text) in enumerate(blocks) if language == "bash" and "flatspot " in text]
    assert len(shown) == 3
    for command, expected in shown:
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", command],
            cwd=tmp_path,
            env=environment(site),
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0 and fits(expected, done.stdout), (command, done.stdout, done.stderr)
    assert json.loads((tmp_path / "run/report.json").read_text())["engine"] == {"engine": "coin", "sides": ["heads", "tails"]}
    log = json.loads((tmp_path / "log/report.json").read_text())
    assert "tally-no-order" in log["caveat_codes"] and log["reward"]["mean"] == 5 / 16


def test_a_reward_takes_parameters_and_says_its_range(tmp_path, site):
    words = ("diagnose", "coins:6", "--engine", "coin", "--model", "heads/tails", "--json", "--limit", 3)
    done = flatspot(tmp_path, *words, "--reward", "shows[side=tails]", sites=[site])
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["n_prompts"] == 3 and found["counts"]["solved"] == 1  # the bent coin always shows tails
    assert found["reward"]["range"] == [0.0, 1.0] and found["settings"]["reward"] == ["shows[side=tails]"]


def test_the_format_is_found_by_itself(tmp_path, site):
    (tmp_path / "a.tally").write_text("coin 1: hhth\n")
    done = flatspot(tmp_path, "inspect", "a.tally", "--json", sites=[site])
    assert done.returncode == 0 and "reading a.tally as tally" in done.stderr
    assert json.loads(done.stdout)["generations"]["total"] == 4
    refused = flatspot(tmp_path, "inspect", "a.tally", "--format", "generic", sites=[site])
    assert refused.returncode == 2 and "cannot read '.tally'" in refused.stderr


def test_what_is_added_is_listed(tmp_path, site):
    (tmp_path / "run").mkdir()
    assert "[auto|hf|openvino|vllm|openai|ray|scripted|coin]" in " ".join(
        flatspot(tmp_path, "diagnose", "--help", sites=[site]).stdout.split()
    )
    assert "|shortest]" in flatspot(tmp_path, "plan", "--help", sites=[site]).stdout
    assert "|open-r1|tally]" in flatspot(tmp_path, "inspect", "--help", sites=[site]).stdout
    assert "flip " in flatspot(tmp_path, "--help", sites=[site]).stdout
    diagnose = ("diagnose", "coins:3", "--model", "heads/tails", "--engine")
    for words, message in (
        ((*diagnose, "con", "--reward", "shows"), "is not one of auto, hf, openvino, vllm, openai, ray, scripted, coin"),
        ((*diagnose, "coin", "--reward", "show"), "did you mean shows?"),
        ((*diagnose, "coin", "--reward", "other_one"), "Installed packages add … shows."),
        ((*diagnose, "coin", "--reward", "shows[sid=tails]"), "the reward shows has no parameter 'sid' (parameters: side)"),
        (("diagnose", "coin:3", "--model", "heads/tails", "--reward", "shows"), "(there are reasoning-gym, hf, coins"),
        (("plan", "run", "--strategy", "best"), "is not one of random, hardest, cover, facility-location, shortest"),
        (("inspect", "x", "--format", "tallies"), "open-r1, tally"),
    ):
        done = flatspot(tmp_path, *words, sites=[site])
        told = " ".join(done.stderr.split())  # … stands for what flatspot_paper adds
        assert done.returncode == 2 and all(part in told for part in message.split(" … ")), done.stderr


BROKEN = """
import click
from flatspot.importers.formats import LogRows


class Lame:
    name = "lame"

    def sample(self, requests, sampling, on_tokens=None): ...


def engine(model, **settings): return Lame()
def raises(*_, **__): raise KeyError("gone")
def many(failing, k): return [0] * k
def numbers(rest): return [1, 2]


class Log:
    def detect(self, path): return path.suffix == ".lame"
    def read(self, paths): return self.rows


class Table(Log):
    rows = [{"prompt": "a", "reward": 1}]


class Coded(Log):
    rows = LogRows([{"prompt": "a", "reward": 1}], [("other-code", "So.")])


class Stops(Log):
    rows = LogRows((1 / 0 for _ in range(3)))


number = 7
"""
BROKEN_POINTS = {
    "engines": {"no-module": "absent:make", "lame": "broken:engine", "raises": "broken:raises", "number": "broken:number", "hf": "x:y"},
    "rewards": {"no_module": "absent:f", "number": "broken:number", "klass": "broken:Log", "exact_match": "broken:raises"},
    "importers": {"table": "broken:Table", "coded": "broken:Coded", "stops": "broken:Stops", "number": "broken:number"},
    "tasks": {"raises": "broken:raises", "numbers": "broken:numbers"},
    "strategies": {"many": "broken:many", "raises": "broken:raises"},
    "verbs": {"number": "broken:number", "inspect": "broken:number", "gone": "absent:verb"},
}


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    place = tmp_path_factory.mktemp("broken")
    install(place, "flatspot-broken", {"broken": BROKEN}, BROKEN_POINTS)
    return place


@pytest.fixture(scope="module")
def judged(tmp_path_factory, site):
    """A folder with a judged run that has vanishing prompts."""
    place = tmp_path_factory.mktemp("judged")
    words = ("diagnose", "coins:9", "--engine", "coin", "--model", "heads/tails", "--reward", "shows", "--out", "run")
    assert flatspot(place, *words, sites=[site]).returncode == 0
    (place / "a.lame").write_text("x")
    return place


MODEL = ("--model", "heads/tails")


DRAW = ("diagnose", "--model", "heads/tails", "--out", "other", "--engine")
READ = ("inspect", "a.lame", "--format")


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ((*DRAW, "no-module", "coins:3", "--reward", "shows"), "absent:make cannot be imported: ModuleNotFoundError"),
        ((*DRAW, "lame", "coins:3", "--reward", "shows"), "expected an engine with name, rows_per_call, sample and describe, got Lame"),
        ((*DRAW, "raises", "coins:3", "--reward", "shows"), "it failed with KeyError: 'gone'"),
        ((*DRAW, "number", "coins:3", "--reward", "shows"), "expected a function of a model, got int"),
        ((*DRAW, "coin", "coins:3", "--reward", "no_module"), "absent:f cannot be imported"),
        ((*DRAW, "coin", "coins:3", "--reward", "number"), "expected a function f(prompts, completions, **columns), got int"),
        ((*DRAW, "coin", "coins:3", "--reward", "klass"), "got a class"),
        ((*DRAW, "coin", "raises:3", "--reward", "shows"), "it failed with KeyError: 'gone'"),
        ((*DRAW, "coin", "numbers:3", "--reward", "shows"), "expected a text, a row or a Prompt, got int"),
        ((*READ, "table"), "expected its read to return flatspot.importers.formats.LogRows, got list"),
        ((*READ, "coded"), "the code 'other-code' of a caveat is neither one of flatspot's own nor begins with coded-"),
        ((*READ, "stops"), "it failed with ZeroDivisionError"),
        ((*READ, "number"), "expected the functions detect and read, got int"),
        (("plan", "run", "--strategy", "many", "--labels", "2"), "expected 2 different rows from 0 to 2, got [0, 0]"),
        (("plan", "run", "--strategy", "raises"), "it failed with KeyError: 'gone'"),
        (("number",), "expected a click.Command, got int"),
        (("gone",), "absent:verb cannot be imported"),
    ],
)
def test_a_broken_package_is_named_with_what_is_wrong(judged, site, broken, words, problem):
    done = flatspot(judged, *words, sites=[site, broken])
    text = " ".join(done.stderr.split())
    assert done.returncode == 2 and "the package 'flatspot-broken' adds" in text and problem in text, done.stderr
    assert "Fix or uninstall flatspot-broken" in text and "Traceback" not in text


def test_a_broken_package_stops_nothing_else(judged, site, broken):
    done = flatspot(judged, "--help", sites=[site, broken])
    assert done.returncode == 0 and "flip " in done.stdout
    assert "expected a click.Command, got int" in " ".join(done.stdout.split())
    (judged / "log.csv").write_text("prompt,reward\na,1\na,0\n")
    done = flatspot(judged, "inspect", "log.csv", "--json", sites=[site, broken])
    assert done.returncode == 0 and json.loads(done.stdout)["n_prompts"] == 1
    assert "the package 'flatspot-broken' adds 'number' to flatspot.importers" in done.stderr


def test_a_built_in_name_stays_and_the_clash_is_said(judged, site, broken):
    note = "'flatspot-broken' also adds {!r} to flatspot.{}, which is built in and stays as it is."
    overview = " ".join(flatspot(judged, "--help", sites=[site, broken]).stdout.split())
    assert note.format("inspect", "verbs") in overview
    assert flatspot(judged, "inspect", "run", "--json", sites=[site, broken]).returncode == 0
    done = flatspot(judged, "diagnose", "coins:3", *MODEL, "--engine", "x", "--reward", "shows", sites=[site, broken])
    assert note.format("hf", "engines") in " ".join(done.stderr.split())
    done = flatspot(judged, "diagnose", "coins:3", *MODEL, "--engine", "coin", "--reward", "y", sites=[site, broken])
    assert note.format("exact_match", "rewards") in " ".join(done.stderr.split())


def test_two_packages_with_one_name_are_both_named(judged, site, tmp_path):
    install(tmp_path / "site", "flatspot-rival", {"rival": "def f(*_, **__): return [1.0]\n"}, {"rewards": {"shows": "rival:f"}})
    sites = [site, tmp_path / "site"]
    done = flatspot(judged, "diagnose", "coins:3", *MODEL, "--engine", "coin", "--reward", "shows", "--out", "z", sites=sites)
    assert done.returncode == 2, done.stderr
    assert re.search("the packages 'flatspot-(coins|rival)' and 'flatspot-(rival|coins)' both add 'shows' to flatspot.rewards", done.stderr)
