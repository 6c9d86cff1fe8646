"""Entry points of other packages, stood in for: names, clashes, and what goes wrong."""

import importlib.metadata
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from flatspot.core.errors import EngineError, ExtensionError, SettingsError
from flatspot.core.extensions import clashes, extensions, find_extension, names_of, one_of
from flatspot.engines.registry import load_engine
from flatspot.engines.scripted import ScriptedEngine
from flatspot.importers.detection import added_format
from flatspot.importers.formats import LogRows
from flatspot.planning.strategies import Failing, find_strategy
from flatspot.rewards import load_reward
from flatspot.tasks import load_prompts


class Point(SimpleNamespace):
    """An entry point that loads what is here."""

    __hash__ = object.__hash__

    def load(self):
        return self.loads


@pytest.fixture
def add(monkeypatch):
    """add(group, name, what) is as if a package with it were installed."""
    points = {}
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: points.get(group, []))

    def one(group, name, what, package="theirs"):
        found = Point(name=name, value=f"{package}:{name}", dist=SimpleNamespace(name=package), loads=what)
        points.setdefault(f"flatspot.{group}", []).append(found)

    return one


def test_names_come_after_the_built_in_ones_and_never_in_their_place(add):
    add("engines", "zeta", None)
    add("engines", "hf", None)
    add("engines", "alpha", None)
    assert list(extensions("engines")) == ["alpha", "hf", "zeta"]
    assert names_of("engines", ["auto", "hf"]) == ["auto", "hf", "alpha", "zeta"]
    assert clashes("engines", ["auto", "hf"]) == ["'theirs' also adds 'hf' to flatspot.engines, which is built in and stays as it is."]
    assert one_of("engines", ["hf"]).startswith("hf, alpha, zeta ('theirs' also adds 'hf'")
    assert find_extension("engines", "beta") is None and extensions("rewards") == {}


def test_a_built_in_engine_is_not_replaced(add, tmp_path):
    def wrong(*_, **__):
        raise AssertionError

    add("engines", "scripted", wrong)
    (tmp_path / "answers.json").write_text('{"a": {"1": 1.0}}')
    assert isinstance(load_engine("scripted", tmp_path / "answers.json"), ScriptedEngine)


def test_an_engine_gets_what_the_user_set(add):
    told = {}

    def make(model, **settings):
        told.update(settings, model=model)
        return ScriptedEngine({"a": {"1": 1.0}})

    add("engines", "theirs", make)
    load_engine("theirs", "m", dtype="float32", device="cpu", memory_gib=2.0)
    assert told == {"model": "m", "dtype": "float32", "device": "cpu", "memory_gib": 2.0}
    with pytest.raises(EngineError, match="no engine 'their'; it is one of auto, hf, openvino, vllm, openai, ray, scripted, theirs"):
        load_engine("their", "m")


def test_errors_of_flatspots_own_tree_are_passed_on_and_others_name_the_package(add):
    def refuses(model, **_):
        raise EngineError("no such model")

    def fails(model, **_):
        return 1 / 0

    add("engines", "refuses", refuses)
    add("engines", "fails", fails)
    with pytest.raises(EngineError, match=r"^no such model$"):
        load_engine("refuses", "m")
    with pytest.raises(
        ExtensionError, match=r"the package 'theirs' adds 'fails' to flatspot\.engines: it failed with ZeroDivisionError"
    ) as told:
        load_engine("fails", "m")
    assert isinstance(told.value.__cause__, ZeroDivisionError)


def test_a_package_that_exits_fails_like_any_other(add, monkeypatch):
    """`sys.exit` at import must not end `flatspot --help`, nor a verb that asks the package."""
    add("engines", "exits", lambda *_, **__: sys.exit(3))
    with pytest.raises(ExtensionError, match=r"'exits' to flatspot\.engines: it failed with SystemExit: 3"):
        load_engine("exits", "m")
    monkeypatch.setattr(Point, "load", lambda self: sys.exit("no license"))
    with pytest.raises(ExtensionError, match=r"theirs:exits cannot be imported: SystemExit: no license"):
        load_engine("exits", "m")


def test_two_packages_with_one_name_are_refused_when_it_is_used(add):
    add("tasks", "coins", lambda rest: ["a"])
    add("tasks", "coins", lambda rest: ["b"], package="rival")
    with pytest.raises(ExtensionError, match="the packages 'theirs' and 'rival' both add 'coins'"):
        load_prompts("coins:1")


def test_a_prompt_source_gives_texts_rows_or_prompts_and_no_more_than_are_asked_for(add, tmp_path, monkeypatch):
    def endless(rest):
        n = 0
        while True:
            yield {"prompt": f"{rest} {n}", "reference": str(n)} if n % 2 else f"{rest} {n}"
            n += 1

    add("tasks", "endless", endless)
    add("tasks", "none", lambda rest: [])
    found = load_prompts("endless:a:b", limit=3)
    assert [p.text for p in found] == ["a:b 0", "a:b 1", "a:b 2"] and found[1].references == ("1",)
    with pytest.raises(Exception, match="none:x gives no prompts"):
        load_prompts("none:x")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "endless:a.jsonl").write_text('{"prompt": "of a file"}\n')
    assert [p.text for p in load_prompts("endless:a.jsonl")] == ["of a file"]


@pytest.mark.parametrize("isolate", [True, False])
def test_a_reward_declares_its_range_and_takes_text_parameters(add, isolate):
    def longer(completions, than="0", **columns):
        return [float(len(text) > int(than)) for text in completions]

    longer.reward_range = (0, 1)
    add("rewards", "longer", longer)
    if isolate:  # the process of the reward looks for installed packages, and this one is only stood in for
        with pytest.raises(Exception, match="no reward is called 'longer'"):
            load_reward("longer[than=2]")
        return
    with load_reward("longer[than=2]", isolate=False) as reward:
        assert reward.range == (0.0, 1.0) and reward.names == ("longer",)
        from flatspot.core.records import Completion, Prompt

        assert [s.reward for s in reward.score([Prompt("a", "q")] * 2, [Completion("ab", 1, False), Completion("abc", 1, False)])] == [0, 1]


@pytest.mark.parametrize("limits", [(1, 0), (0,), (0, float("inf")), "01", 3])
def test_a_range_that_is_none_is_refused(add, limits):
    def f(completions, **columns):
        return [0.0] * len(completions)

    f.reward_range = limits
    add("rewards", "f", f)
    with pytest.raises(ExtensionError, match="its reward_range must be two finite numbers"):
        load_reward("f", isolate=False)


class Format:
    def __init__(self, sure):
        self.sure = sure

    def detect(self, path):
        return self.sure

    def read(self, paths):
        return LogRows([])


def test_the_surest_format_reads_a_log_and_equals_must_be_named(add, tmp_path):
    said = []
    assert added_format("auto", [tmp_path], said.append) is None
    add("importers", "never", Format(0))
    assert added_format("auto", [tmp_path], said.append) is None
    add("importers", "perhaps", Format(0.5))
    assert added_format("auto", [tmp_path], said.append).extension.name == "perhaps"
    add("importers", "surely", Format(1))
    assert added_format("auto", [tmp_path], said.append).extension.name == "surely"
    assert added_format("never", [tmp_path], said.append).extension.name == "never"
    assert added_format("generic", [tmp_path], said.append) is None
    add("importers", "surely-too", Format(True))
    with pytest.raises(Exception, match=r"may be a log of the formats surely, surely-too\. Say which: --format surely"):
        added_format("auto", [tmp_path], said.append)
    assert not said


def test_rows_of_a_format_may_be_a_table(add, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    class Table(Format):
        def read(self, paths):
            return LogRows(pa.table({"prompt": ["a"], "reward": [1.0]}), ["A sentence.", ("table-x", "Another.")])

    add("importers", "table", Table(1))
    file, caveats = added_format("table", [tmp_path], print).write([tmp_path], tmp_path)
    assert pq.read_table(file).to_pylist() == [{"prompt": "a", "reward": 1.0}]
    assert caveats == ("A sentence.", ("table-x", "Another."))


def failing(m):
    one, vectors = np.ones(m), np.zeros((m, 2), np.float32)
    return Failing(one, one, one, one.astype(int), vectors, vectors, one.astype(bool), tuple(map(str, range(m))), ("text",) * m)


@pytest.mark.parametrize("rows", [[0], [0, 0], [0, 3], [-1, 0], [[0, 1]], [0.0, 1.0], ["0", "1"]])
def test_a_strategy_must_choose_rows(add, rows):
    add("strategies", "theirs", lambda failing, k: rows)
    with pytest.raises(ExtensionError, match="expected"):
        find_strategy("theirs")(failing(3), 2)


def test_a_strategy_sees_ids_and_texts(add):
    add("strategies", "last", lambda failing, k: [int(name) for name in reversed(failing.ids)][:k])
    assert find_strategy("last")(failing(5), 2).tolist() == [4, 3]
    assert find_strategy("last")(failing(0), 2).tolist() == []
    with pytest.raises(SettingsError, match="--strategy must be one of random, hardest, cover, facility-location, last"):
        find_strategy("first")


def test_the_choices_of_the_command_line_are_the_tables_of_the_code():
    from flatspot.cli.diagnose import diagnose_command
    from flatspot.cli.inspect import inspect_command
    from flatspot.cli.plan import plan_command
    from flatspot.core.log_formats import LOG_FORMATS
    from flatspot.engines.registry import ENGINES
    from flatspot.planning.strategies import STRATEGIES

    commands = {"engines": (diagnose_command, ENGINES), "importers": (inspect_command, LOG_FORMATS)}
    commands |= {"strategies": (plan_command, STRATEGIES)}
    for group, (command, table) in commands.items():
        assert [p.type.built_in for p in command.params if getattr(p.type, "group", None) == group] == [tuple(table)]
