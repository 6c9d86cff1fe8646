"""Every package that the code imports is declared: by the base install, or by an extra that its folder names in `require`."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
OWN = ("flatspot", "flatspot_paper")


def normal(requirement):
    return re.split(r"[\[<>=!~; ]", requirement)[0].lower().replace("_", "-")


def declared(extra):
    """The distributions of an extra, those of the extras that it names included; of None, those of the base install."""
    names = set()
    for requirement in PROJECT["dependencies"] if extra is None else PROJECT["optional-dependencies"][extra]:
        inner = re.match(r"flatspot\[(.*)\]", requirement)
        names |= set().union(*map(declared, inner[1].split(","))) if inner else {normal(requirement)}
    return names


def imports(file):
    """(modules that a file imports, but for types alone, (module, extra) of its `require` calls)."""
    tree = ast.parse(file.read_text("utf-8"))
    blocks = [node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)]
    types = {id(part) for block in blocks for part in ast.walk(block)}
    plain, required = set(), set()
    for node in ast.walk(tree):
        if id(node) in types:
            continue
        if isinstance(node, ast.Import):
            plain |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            plain.add(node.module.split(".")[0])
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "require" and isinstance(node.args[0], ast.Constant):
            extra = next((k.value.value for k in node.keywords if k.arg == "extra" and isinstance(k.value, ast.Constant)), None)
            required.add((node.args[0].value.split(".")[0], extra))
    return plain - set(sys.stdlib_module_names) - set(OWN), required


FOLDERS = [folder for package in OWN for folder in sorted((ROOT / "src" / package).iterdir()) if any(folder.glob("*.py"))]
NAMED_BY_CALLERS = {"theory": {"hf"}}  # who hands it a policy has loaded one
BY_MODULE = packages_distributions()


def is_in(module, distributions):
    return any(normal(name) in distributions for name in BY_MODULE.get(module, [module]))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: f"{folder.parent.name}.{folder.name}")
def test_what_is_imported_is_declared(folder):
    files = [imports(file) for file in folder.rglob("*.py")]
    required = {call for _, calls in files for call in calls if call[1] is not None}
    assert [call for call in sorted(required) if not is_in(call[0], declared(call[1]) | declared(None))] == []
    extras = {extra for _, extra in required} | NAMED_BY_CALLERS.get(folder.name, set())
    allowed = declared(None).union(*map(declared, extras))
    assert sorted({module for modules, _ in files for module in modules if not is_in(module, allowed)}) == []
