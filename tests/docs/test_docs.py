"""The documentation is executed: every command and example of the README, the tutorial and the how-to pages runs, and what a page
shows is what comes out.

How a page is written

    ```bash       commands; run with bash -e in the page's own temporary folder, blocks in order
    ```python     a script; run with Python in that folder
    ```text       right after a block that ran: what it printed, compared line by line. A line that is only … stands for any lines,
                  a … inside a line for any characters; all else, numbers included, must be equal
    <!-- file: NAME -->         on the line before a block: the block is saved under that name instead of run
    <!-- not run: REASON -->    on the line before a block: the block is not run; the reason is required

Lines that start with `make` or `pip install` are left out: CI runs those itself, and the package is there.

To take over what the commands print now, run the file with FLATSPOT_DOCS_REWRITE=1, then read the diff.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import importlib.util
import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import click
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import flatspot
from flatspot.cli.main import cli
from flatspot.core.errors import FlatspotError
from flatspot.core.schema import GRADIENTS, arrow_schema
from flatspot.flow.diagnose import Settings

ROOT = Path(__file__).parents[2]
EXECUTED = [
    ROOT / "README.md",
    ROOT / "docs/tutorial.md",
    ROOT / "docs/reference/python.md",
    *sorted((ROOT / "docs/how-to").glob("*.md")),
]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("design/*.md")])
REWRITE = os.environ.get("FLATSPOT_DOCS_REWRITE") == "1"
RUN = {"bash", "python"}


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


# --- pages as blocks


@dataclass
class Block:
    """A fenced block: where its fence stands (line, from 1), its language, its text, and the mark on the line before."""

    line: int
    language: str
    text: str
    mark: str = ""
    value: str = ""


_MARK = re.compile(r"<!--\s*(file|not run)\s*:\s*(.*?)\s*-->")


def blocks_of(text: str) -> list[Block]:
    found: list[Block] = []
    opened: Block | None = None
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        if opened is None and (fence := re.fullmatch(r"```(\w+)?[^`]*", line)):
            before = next((above for above in reversed(lines[: number - 1]) if above.strip()), "")
            mark = _MARK.fullmatch(before.strip())
            opened = Block(number, fence[1] or "", "", *(mark.groups() if mark else ()))
        elif opened is not None and line == "```":
            found.append(opened)
            opened = None
        elif opened is not None:
            opened.text += line + "\n"
    assert opened is None, f"the block of line {opened.line} is not closed"
    return found


def test_blocks_are_read_with_their_marks():
    page = "a\n```bash\nls\n```\n<!-- not run: needs a GPU -->\n```bash\nx\n```\n\n<!-- file: a.py -->\n```python\npass\n```\n"
    assert [(b.line, b.language, b.text, b.mark, b.value) for b in blocks_of(page)] == [
        (2, "bash", "ls\n", "", ""),
        (6, "bash", "x\n", "not run", "needs a GPU"),
        (11, "python", "pass\n", "file", "a.py"),
    ]


# --- running a page

_PROGRESS = re.compile(r"^\d+/\d+ prompts( settled)?  .*\n", re.MULTILINE)  # said on a slow machine alone


@dataclass
class Reader:
    """A person who follows a page in an empty folder, with flatspot installed and no network."""

    folder: Path
    problems: list[str] = field(default_factory=list)
    variables: Mapping[str, str] = field(default_factory=dict)

    def run(self, block: Block) -> str:
        if block.language == "bash":
            command = ["bash", "-e", "-o", "pipefail", "-c", commands_of(block)]
        else:
            command = [sys.executable, "-c", block.text]
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120
        )
        if done.returncode != 0:
            self.problems.append(f"line {block.line}: exit code {done.returncode}\n{block.text}\n{done.stdout}")
        return _PROGRESS.sub("", done.stdout)

    def environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("FLATSPOT_") and key != "LINES"}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return kept | {"PATH": path, "COLUMNS": "80", "HF_HUB_OFFLINE": "1", "PYTHONHASHSEED": "0", "PYTHONUTF8": "1", **self.variables}


def commands_of(block: Block) -> str:
    """A bash block without the lines that are not run here; empty where nothing else is left."""
    lines = [line for line in block.text.splitlines() if not re.match(r"make\b|pip install\b", line)]
    return "\n".join(lines) if any(line.split("#")[0].strip() for line in lines) else ""


def mismatch(expected: str, actual: str) -> str | None:
    """Where shown and real output part; None where the one stands for the other."""
    pattern = ""
    for line in expected.splitlines():
        if line.strip() == "…":
            pattern += r"(?:.*\n)*?"
        else:
            pattern += r"[^\n]*?".join(re.escape(part) for part in line.rstrip().split("…")) + r"[ \t]*\n"
    whole = "".join(line.rstrip() + "\n" for line in actual.splitlines())
    if re.fullmatch(pattern, whole):
        return None
    return f"the page shows\n{expected}\nand the command printed\n{actual}"


@pytest.mark.parametrize(
    ("expected", "actual", "same"),
    [
        ("a\nb\n", "a\nb\n", True),
        ("a\n", "a\nb\n", False),
        ("a\n…\n", "a\nb\nc\n", True),
        ("…\nc\n", "a\nb\nc\n", True),
        ("a … c\n", "a b b c\n", True),
        ("p = 0.45\n", "p = 0.46\n", False),
        ("", "", True),
    ],
)
def test_outputs_are_compared_with_wildcards_and_exact_numbers(expected, actual, same):
    assert (mismatch(expected, actual) is None) == same


SERVED = {
    "What is 2 + 2? Answer with a number.": {"4": 0.6, "5": 0.4},
    "What is 17 * 23? Answer with a number.": {"391": 0.01, "400": 0.99},
    "What is 3 * 4? Answer with a number.": {"12": 1.0},
}


@contextmanager
def a_server() -> Iterator[str]:
    """The address of the stub that the tests of engines use, with the answers above: what a page's $SERVER is."""
    spec = importlib.util.spec_from_file_location("stub_server", ROOT / "tests/engines/server/stub_server.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["stub_server"] = module
    spec.loader.exec_module(module)
    with module.Stub(SERVED, module.Ways(models=("Qwen/Qwen3-0.6B",))) as stub:
        yield stub.url


def problems_of(page: Path, folder: Path) -> list[str]:
    """Follow a page; under FLATSPOT_DOCS_REWRITE, outputs that differ are taken over."""
    if page.stem == "from-a-server":
        with a_server() as url:
            return followed_through(page, folder, {"SERVER": url})
    return followed_through(page, folder, {})


def followed_through(page: Path, folder: Path, variables: Mapping[str, str]) -> list[str]:
    folder.mkdir()
    reader = Reader(folder, variables=variables)
    text = page.read_text("utf-8")
    last: Block | None = None
    output = ""
    rewritten: list[tuple[Block, str]] = []
    for block in blocks_of(text):
        if block.mark == "file":
            (folder / block.value).parent.mkdir(parents=True, exist_ok=True)
            (folder / block.value).write_text(block.text, "utf-8")
            last = None
        elif block.mark == "not run":
            if len(block.value) <= 5:
                reader.problems.append(f"line {block.line}: say why the block is not run")
            last = None
        elif block.language == "bash" and not commands_of(block):
            last = None
        elif block.language in RUN:
            known = len(reader.problems)
            output = reader.run(block)
            last = block if len(reader.problems) == known else None
        elif block.language == "text" and last is not None:
            problem = mismatch(block.text, output)
            if problem and REWRITE:
                rewritten.append((block, output))
            elif problem:
                reader.problems.append(f"line {block.line}: {problem}")
            last = None
    if rewritten:
        page.write_text(with_outputs(text, rewritten), "utf-8")
    return reader.problems


@pytest.fixture(scope="module")
def followed(tmp_path_factory, request):
    """{page: the running or finished reading of it}: the selected pages are followed side by side."""
    wanted = [item.callspec.params["page"] for item in request.session.items if item.name.startswith("test_commands_and_examples")]
    if hasattr(request.config, "workerinput"):
        wanted = wanted[:0]  # pytest-xdist spreads the pages itself
    folder = tmp_path_factory.mktemp("pages")
    with ThreadPoolExecutor(max(2, len(os.sched_getaffinity(0)) // 2)) as pool:
        yield {page: pool.submit(problems_of, page, folder / page.stem) for page in wanted}


@pytest.mark.parametrize("page", EXECUTED, ids=named)
def test_commands_and_examples_run_and_print_what_the_page_shows(page, followed, tmp_path):
    problems = followed[page].result() if page in followed else problems_of(page, tmp_path / "page")
    assert not problems, f"{named(page)}\n" + "\n".join(problems)


def with_outputs(text: str, outputs: list[tuple[Block, str]]) -> str:
    lines = text.splitlines()
    for block, output in reversed(outputs):
        lines[block.line : block.line + len(block.text.splitlines())] = retold(block.text, output)
    return "\n".join(lines) + "\n"


def retold(expected: str, actual: str) -> list[str]:
    """The shown output brought up to date: shortened lines stay, changed ones are replaced by the nearest real line.

    Where that does not give the real output, all of it is shown.
    """
    real = [line.rstrip() for line in actual.splitlines()]
    shown = []
    for line in expected.splitlines():
        nearest = difflib.get_close_matches(line, real, n=1, cutoff=0.5)
        shown.append(line if "…" in line or line in real or not nearest else nearest[0])
    return shown if mismatch("\n".join(shown) + "\n", actual) is None else real


def test_a_retold_output_stays_short():
    assert retold("a = 1\n…\nlast\n", "a = 2\nb\nc\nlast\n") == ["a = 2", "…", "last"]
    assert retold("a = 1\n", "x\ny\n") == ["x", "y"]


# --- generated pages


def generator():
    spec = importlib.util.spec_from_file_location("flatspot_docs_generate", ROOT / "docs/generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["cli.md", "tables.md"])
def test_generated_pages_are_fresh(name):
    shown = (ROOT / "docs/reference" / name).read_text("utf-8")
    assert shown == generator().PAGES[name](), f"docs/reference/{name} is stale: run python docs/generate.py"


# --- links


_LINK = re.compile(r"\]\(([^)\s]+)\)")
_FENCED = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)


def anchors_of(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", _FENCED.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_relative_links_resolve(page):
    broken = []
    for target in _LINK.findall(_FENCED.sub("", page.read_text("utf-8"))):
        if "://" in target or target.startswith("mailto:"):
            continue
        place, _, anchor = target.partition("#")
        found = (page.parent / place).resolve() if place else page
        known = not anchor or (found.suffix == ".md" and found.is_file() and anchor in anchors_of(found.read_text("utf-8")))
        if not found.exists() or not known:
            broken.append(target)
    assert not broken


def test_every_page_is_on_the_map():
    linked = {(ROOT / "docs" / target).resolve() for target in _LINK.findall((ROOT / "docs/index.md").read_text("utf-8"))}
    assert not [named(page) for page in PAGES if page.is_relative_to(ROOT / "docs") and page.name != "index.md" and page not in linked]


# --- what there is, is documented; what is documented, is there


def parameters_of(command: click.Command) -> list[click.Parameter]:
    """Of a command, and of the commands in it; an old name is not shown."""
    context = click.Context(command)
    inside = [command.get_command(context, name) for name in command.list_commands(context)] if isinstance(command, click.Group) else []
    shown = [parameter for parameter in command.params if not getattr(parameter, "hidden", False)]
    return [*shown, *(parameter for part in inside for parameter in parameters_of(part))]


def test_every_verb_and_option_is_on_the_reference_page():
    page = (ROOT / "docs/reference/cli.md").read_text("utf-8")
    context = click.Context(cli)
    for verb in cli.list_commands(context):
        section = page.split(f"\n## flatspot {verb}\n")[1].split("\n## ")[0]
        for parameter in parameters_of(cli.get_command(context, verb)):
            for name in parameter.opts:
                assert (name if name.startswith("-") else (parameter.metavar or name.upper())) in section, f"{verb} {name}"


def test_the_verbs_and_options_that_pages_use_exist():
    context = click.Context(cli)
    offered = {
        verb: {"-h", "--help", *(o for p in parameters_of(cli.get_command(context, verb)) for o in p.opts)}
        for verb in cli.list_commands(context)
    }
    for page in PAGES:
        text = page.read_text("utf-8")
        added = re.findall(r'^\[project\.entry-points\."flatspot\.verbs"\]\n(\S+) =', text, re.MULTILINE)  # by the page
        for block in blocks_of(text):
            for line in block.text.replace("\\\n", " ").splitlines() if block.language == "bash" else ():
                words = line.split("#")[0].split()
                if len(words) < 2 or words[0] != "flatspot" or words[1].startswith("-") or words[1] in added:
                    continue
                assert words[1] in offered, f"{named(page)}: {line}"
                assert not {w for w in words if re.fullmatch(r"--[a-z-]+", w)} - offered[words[1]], f"{named(page)}: {line}"


def test_make_targets_that_pages_name_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    for page in PAGES:
        assert not set(re.findall(r"^make ([a-z-]+)", page.read_text("utf-8"), re.MULTILINE)) - targets, named(page)


def headings(page: Path, level: int) -> set[str]:
    return {found.strip("` ") for found in re.findall(rf"^{'#' * level} (.+)$", _FENCED.sub("", page.read_text("utf-8")), re.MULTILINE)}


def test_every_public_name_is_documented_and_nothing_else():
    documented = {name.removeprefix("flatspot.").split("(")[0] for name in headings(ROOT / "docs/reference/python.md", 2)}
    assert documented == {*flatspot.__all__, "open", "flatspot_paper"}


def test_the_lines_from_python_run(tmp_path, monkeypatch):
    """Every import of a `From Python` line runs; every call fits its function, and those that train nothing are made."""
    lines = re.findall(r"^From Python: .*$", (ROOT / "docs/reference/cli.md").read_text("utf-8"), re.MULTILINE)
    assert len(lines) >= 9
    monkeypatch.chdir(tmp_path)
    engine = flatspot.ScriptedEngine({f"q{i}": {"a": i / 7, "b": 1 - i / 7} for i in range(8)})
    run = flatspot.diagnose([{"prompt": f"q{i}", "reference": "a"} for i in range(8)], engine, "exact_match", out="run")
    names: dict[str, object] = {"flatspot": flatspot, "run": run, **dict.fromkeys(("labels", "out", "folder", "model", "reward"), "x")}
    calls = []
    for span in (span for line in lines for span in re.findall(r"`([^`]+)`", line) if "pip install" not in span):
        if span.startswith("from "):
            exec(span, names)
        elif "(" in span:
            calls.append(ast.parse(span, mode="eval").body)
        elif not span.startswith("--"):
            assert callable(eval(span, names))
    assert len(calls) >= 7
    for call in calls:
        function = eval(ast.unparse(call.func), names)
        given = [eval(ast.unparse(arg), names) for arg in call.args], {k.arg: eval(ast.unparse(k.value), names) for k in call.keywords}
        inspect.signature(function).bind(*given[0], **given[1])
        if function in (flatspot.plan, flatspot.export):
            assert function(*given[0], **given[1]) is not None


def test_every_setting_is_documented_with_its_default():
    page = (ROOT / "docs/reference/python.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| `([^`]*)` \|", page, re.MULTILINE))
    assert rows == {f.name: repr(f.default) for f in dataclasses.fields(Settings)}


def test_signatures_are_the_real_ones():
    page = (ROOT / "docs/reference/python.md").read_text("utf-8")
    verbs = [getattr(flatspot, verb.replace("-", "_")) for verb in cli.modules]
    for function in (*verbs, flatspot.open, flatspot.reward_std):
        names = ", ".join(
            {"KEYWORD_ONLY": "", "VAR_KEYWORD": "**"}.get(p.kind.name, "") + p.name for p in inspect.signature(function).parameters.values()
        )
        documented = re.search(rf"^flatspot\.{function.__name__}\((.*)\)(?: ->|$)", page, re.MULTILINE)
        assert documented, function.__name__
        names_only = re.sub(r"=(\w+\(\)|\(\)|[^,(]*)", "", documented[1].replace("*, ", ""))
        shown = ", ".join(part.strip() for part in names_only.split(",") if part.strip())
        assert shown == names


def test_every_error_is_documented():
    page = (ROOT / "docs/reference/python.md").read_text("utf-8")
    assert not [kind.__name__ for kind in FlatspotError.__subclasses__() if f"`{kind.__name__}`" not in page]


# keys whose own keys are data: names of reward functions, engines, columns, packages
_OPEN = {"engine", "settings", "provenance", "sampling"}
_BY_NAME = {"components", "forecast"}  # any name, then an object


def keys_of(value: object, path: str = "") -> set[str]:
    """`a`, `a.b`, `a[].b`, `a.*.b` of a JSON value; an open object counts as one key."""
    if isinstance(value, list):
        return set().union(*(keys_of(item, f"{path}[]") for item in value if isinstance(item, dict)), set())
    if not isinstance(value, dict) or path in _OPEN:
        return set()
    if path in _BY_NAME:
        return set().union(*(keys_of(item, f"{path}.*") for item in value.values()), set())
    here = {f"{path}.{key}" if path else key for key in value}
    return here.union(*(keys_of(item, f"{path}.{key}" if path else key) for key, item in value.items()), set())


def test_the_json_page_lists_the_keys_of_real_runs_and_no_others(tmp_path):
    (tmp_path / "log.csv").write_text("prompt_id,reward\na,0\na,1\nb,0\nb,\n")
    learnt = [f"{name},{step},{step // 6 if name == 'a' else k % 2}" for step in range(12) for name in "ab" for k in range(8)]
    (tmp_path / "steps.csv").write_text("\n".join(["prompt_id,step,reward", *learnt]))
    runs = [
        flatspot.inspect(tmp_path / "steps.csv", reward_range=(0, 1), out=tmp_path / "s"),
        flatspot.diagnose(
            [{"prompt": "a", "reference": "x"}], flatspot.ScriptedEngine({"a": {"x": 0.5, "y": 0.5}}), "exact_match", out=tmp_path / "d"
        ),
        flatspot.inspect(tmp_path / "log.csv", out=tmp_path / "i"),
        flatspot.diagnose(["a"], flatspot.ScriptedEngine({"a": {"x": 1.0}}), ["regex[pattern=x]", "regex[pattern=y]"], out=tmp_path / "c"),
    ]
    schema = arrow_schema(GRADIENTS)  # as --gradients leaves it
    pq.write_table(pa.Table.from_pylist([{"prompt_id": "a", "n_samples": 8}], schema=schema), tmp_path / "d/gradients.parquet")
    flatspot.inspect(tmp_path / "d")
    real = set().union(*(keys_of(json.loads((run.folder / "report.json").read_text())) for run in runs))
    page = (ROOT / "docs/reference/json.md").read_text("utf-8").partition("## `flatspot plan`")[0]
    documented = set(re.findall(r"^\| `([\w.*\[\]]+)` \|", page, re.MULTILINE))
    # the five verdicts are one row: fractions.VERDICT.mean
    real = {re.sub(r"(counts|fractions)\.(learnable|vanishing|solved|undecided|unscored)", r"\1.VERDICT", key) for key in real}
    assert documented == real


def tree_paths(text: str) -> list[str]:
    """The paths of an annotated tree: a name, indented under its folder, then two spaces and what it is.

    >>> tree_paths("src/\\n  a.py   one\\n  b/     two\\ndocs/  pages\\n")
    ['src', 'src/a.py', 'src/b', 'docs']
    """
    paths: list[str] = []
    above: list[tuple[int, str]] = []
    for line in text.splitlines():
        if found := re.match(r"( *)([\w./-]+)(?: {2,}|$)", line):
            above = [(depth, name) for depth, name in above if depth < len(found[1])] + [(len(found[1]), found[2].strip("/"))]
            paths.append("/".join(name for _, name in above))
    return paths


@pytest.mark.parametrize("page", ["README.md", "AGENTS.md"])
def test_annotated_trees_match_the_disk(page):
    """A tree is a `text` block with two lines or more that name a folder; the package's is complete."""
    for block in blocks_of((ROOT / page).read_text("utf-8")):
        if block.language != "text" or len(re.findall(r"^ *[\w./-]+/(?: {2,}|$)", block.text, re.MULTILINE)) < 2:
            continue
        shown = tree_paths(block.text)
        assert not [path for path in shown if not (ROOT / path).exists()]
        if "src/flatspot" in shown:
            packages = {f"src/flatspot/{p.parent.name}" for p in (ROOT / "src/flatspot").glob("*/__init__.py")}
            assert not packages - set(shown)
