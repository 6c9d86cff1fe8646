"""The shape of the code, held: what imports cost, what is public, how long modules and functions are."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import flatspot

SRC = Path(flatspot.__file__).parent
MODULES = sorted([*SRC.rglob("*.py"), *(SRC.parent / "flatspot_paper").rglob("*.py")])


def loaded_by(code):
    script = f"import sys\n{code}\nprint(' '.join(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_import_flatspot_loads_nothing_heavy():
    assert not {"numpy", "torch", "transformers", "duckdb", "pyarrow", "click", "scipy"} & loaded_by("import flatspot")


def test_help_loads_nothing_heavy():
    code = """
import contextlib, io
from flatspot.cli.main import main
sys.argv = ["flatspot", "--help"]
with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
    main()
"""
    assert not {"numpy", "torch", "transformers", "duckdb", "pyarrow", "scipy"} & loaded_by(code)


def test_inspect_needs_no_deep_learning_stack(tmp_path):
    (tmp_path / "log.csv").write_text("prompt_id,reward\n" + "a,0\na,1\n" * 8)  # of one to three, limits come from scipy.optimize
    code = f"import flatspot\nflatspot.inspect({str(tmp_path / 'log.csv')!r}, out={str(tmp_path / 'run')!r})"
    # pandas is not among them: pyarrow loads it by itself where it is installed; that we do not, import-linter holds
    # and scipy.stats alone takes longer to import than a small log to judge
    assert not {"torch", "transformers", "ray", "vllm", "scipy.stats", "scipy.optimize"} & loaded_by(code)


def test_every_verb_is_a_function():
    from flatspot.cli.main import _VERBS

    for verb in _VERBS:
        function = getattr(flatspot, verb.replace("-", "_"))
        assert callable(function) and function.__doc__ and function.__module__.startswith("flatspot.")


def test_every_public_name_resolves():
    for name in flatspot.__all__:
        assert getattr(flatspot, name) is not None
    assert dir(flatspot) == flatspot.__all__


def test_without_the_optional_packages_their_names_are_not_there():
    """A base install: every way of asking for what there is works, and asking for what is missing names the pip command."""
    code = """
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "transformers", "trl", "accelerate", "datasets"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hidden())
import inspect
import flatspot
assert not hasattr(flatspot, "FlatspotCallback") and not hasattr(flatspot, "WarmupCallback")
assert getattr(flatspot, "FlatspotCallback", None) is None
assert "diagnose" in dict(inspect.getmembers(flatspot))
assert "FlatspotCallback" not in dir(flatspot) and dir(flatspot) == flatspot.__all__
space = {}
exec("from flatspot import *", space)
assert callable(space["watch"]) and callable(space["triage"])
try:
    from flatspot import FlatspotCallback
except ImportError as error:
    print(error)
try:
    flatspot.FlatspotCallback
except flatspot.FlatspotError as error:
    assert "pip install 'flatspot[train]'" in str(error)
else:
    raise SystemExit("found")
"""
    loaded_by(code)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SRC.parent)))
def test_modules_and_functions_stay_short(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 320
    long = [
        f"{node.name} ({node.end_lineno - node.lineno + 1} lines)"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno - node.lineno + 1 > 60
    ]
    assert not long


def test_there_are_no_rooms_for_leftovers():
    assert not [p for p in MODULES if p.stem in {"utils", "helpers", "common", "misc"}]


NAMESPACES = ("theory", "training", "rewards", "engines", "tasks")


@pytest.mark.parametrize("name", NAMESPACES)
def test_the_namespaces_of_a_base_install_can_be_looked_through(name):
    """dir, hasattr, inspect.getmembers and import * of each, with every optional package hidden."""
    code = f"""
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "transformers", "trl", "accelerate", "datasets", "peft", "gguf", "openvino_genai", "nltk",
                                  "reasoning_gym", "sacrebleu", "rouge_score", "vaderSentiment"):
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Hidden())
import importlib, inspect
module = importlib.import_module("flatspot.{name}")
offered = getattr(module, "__all__", [])
space = {{}}
exec("from flatspot.{name} import *", space)
assert set(offered) <= set(space) and set(offered) <= set(dir(module)), (offered, dir(module))
assert set(offered) <= set(dict(inspect.getmembers(module)))
assert all(hasattr(module, name) for name in offered) and not hasattr(module, "nothing_of_the_kind")
"""
    loaded_by(code)


def test_a_name_whose_package_is_missing_is_no_attribute(monkeypatch):
    from flatspot.core import on_first_use as module
    from flatspot.core.errors import MissingExtra, MissingName

    def missing(name):
        raise MissingExtra("x needs the package 'y': pip install 'flatspot[z]'")

    monkeypatch.setattr(module.importlib, "import_module", missing)
    find, names = module.on_first_use("flatspot.engines", {"HfEngine": "hf"})
    with pytest.raises(MissingName, match="pip install") as told:
        find("HfEngine")
    assert isinstance(told.value, AttributeError) and names() == ["HfEngine"]


def test_asserts_only_narrow_types():
    """What a user gives is checked by `raise`, which `python -O` keeps; an assert tells mypy that something cannot be None."""

    def narrows(test):
        if isinstance(test, ast.BoolOp):
            return all(map(narrows, test.values))
        is_instance = isinstance(test, ast.Call) and isinstance(test.func, ast.Name) and test.func.id == "isinstance"
        return is_instance or (isinstance(test, ast.Compare) and isinstance(test.ops[0], ast.IsNot))

    found = [(path, node) for path in MODULES for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Assert)]
    assert found
    assert not [f"{path}:{node.lineno}" for path, node in found if not narrows(node.test) or node.msg is not None]
