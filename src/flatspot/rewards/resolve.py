"""From a reward's spec to something that scores: find the function, import it, name it, hash its source.

This runs inside the worker for users' functions and in the main process for built-in ones.
"""

from __future__ import annotations

import ast
import difflib
import functools
import hashlib
import importlib
import importlib.util
import inspect
import math
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import CellType, ModuleType
from typing import Any

from flatspot.core.errors import FlatspotError, RewardLoadError
from flatspot.core.extensions import Extension
from flatspot.rewards.builtin import build_builtin, find_named
from flatspot.rewards.rubrics import rubric_scorer
from flatspot.rewards.scorers import RESERVED, Scorer, parameters_of, row_scorer, scorer_for
from flatspot.rewards.servers import RewardServers, server_scorer
from flatspot.rewards.spec import Address, Builtin, Endpoint
from flatspot.rewards.values import describe_exception


@dataclass(frozen=True, slots=True)
class ReadyReward:
    """A reward ready to score.

    sha256  of the source it came from; None for a built-in one
    range   the smallest and largest value it says it can give
    """

    name: str
    score: Scorer
    sha256: str | None = None
    range: tuple[float, float] | None = None


def resolve(spec: Builtin | Address | Endpoint | Callable[..., object]) -> ReadyReward:
    """The scorer of a parsed spec or of a Python function.

    Raises `RewardLoadError` where the file or module cannot be imported (naming the line at fault) or has no such function,
    `ExtensionError` where what an installed package adds is no reward function.
    """
    if isinstance(spec, Builtin):
        named = find_named(spec)
        if isinstance(named, Extension):
            return _added(spec, named)
        return ReadyReward(spec.name, row_scorer(build_builtin(spec, named.build)), range=named.range)
    if isinstance(spec, Endpoint):
        return ReadyReward(spec.name, server_scorer(RewardServers(spec.urls, spec.timeout_s)))
    if not isinstance(spec, Address):
        name = function_name(spec)
        return ReadyReward(name, scorer_for(spec, "trl", name), function_sha256(spec), _declared_range(spec, _load_error(name)))
    module = _import_file(Path(spec.place)) if spec.is_file else _import_module(spec.place)
    function, name = _attribute(module, spec), spec.attribute.rpartition(".")[2]
    if spec.shape == "verifiers":
        return ReadyReward(name, rubric_scorer(function, spec.attribute), _file_sha256(module))
    limits = _declared_range(function, _load_error(name))
    return ReadyReward(name, scorer_for(function, spec.shape, spec.attribute), _file_sha256(module), limits)


def _added(spec: Builtin, added: Extension) -> ReadyReward:
    """A reward of another package, with the parameters of the spec as keyword arguments; see `core.protocols.RewardFunction`."""
    function = added.load()
    if not callable(function) or inspect.isclass(function):
        kind = "a class" if inspect.isclass(function) else type(function).__name__
        raise added.error(f"expected a function f(prompts, completions, **columns), got {kind}")
    module = sys.modules.get(getattr(function, "__module__", None) or type(function).__module__)
    return ReadyReward(
        spec.name,
        scorer_for(_with_parameters(function, spec) if spec.parameters else function, "trl", spec.name),
        None if module is None else _file_sha256(module),
        _declared_range(function, added.error),
    )


def _declared_range(function: object, error: Callable[[str], Exception]) -> tuple[float, float] | None:
    """The smallest and largest value that a function says it can give, in its attribute `reward_range`; None where it says nothing.

    Raises `error` of a message where that is no range.
    """
    declared = getattr(function, "reward_range", None)
    if declared is None:
        return None
    if not _is_range(declared):
        raise error(f"its reward_range must be two finite numbers, the smaller first, got {declared!r:.80}")
    return float(declared[0]), float(declared[1])


def _load_error(name: str) -> Callable[[str], RewardLoadError]:
    return lambda message: RewardLoadError(f"the reward {name}: {message}")


def _with_parameters(function: Callable[..., object], spec: Builtin) -> Callable[..., object]:
    """The function with the parameters of the spec, which win over prompt columns of the same names.

    Raises `RewardLoadError` for a parameter that the function does not name. One that names nothing of a reward, as a decorator's
    `f(**arguments)`, may take any.
    """
    by_name = {name for name, p in parameters_of(function).items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    valid = by_name.difference(RESERVED) if by_name else spec.parameters.keys() - set(RESERVED)
    if unknown := [name for name in spec.parameters if name not in valid]:
        offer = ", ".join(sorted(valid)) or "none"
        raise RewardLoadError(f"the reward {spec.name} has no parameter {unknown[0]!r} (parameters: {offer})")
    bound = functools.partial(function, **spec.parameters)

    @functools.wraps(bound)  # whose signature is read before each call
    def call(**arguments: object) -> object:
        return bound(**{**arguments, **spec.parameters})

    return call


def _is_range(value: object) -> bool:
    numbers = isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(end, int | float) for end in value)
    return numbers and -math.inf < value[0] < value[1] < math.inf  # type: ignore[index]


def function_name(function: Callable[..., object]) -> str:
    """What to call a function's column of rewards.

    >>> function_name(len), function_name(lambda completions: [0.0])
    ('len', 'lambda')
    """
    while isinstance(function, functools.partial):
        function = function.func
    return str(getattr(function, "__name__", type(function).__name__)).strip("<>")


def function_sha256(function: Callable[..., object]) -> str | None:
    """SHA-256 of a function's source and of the plain values bound to it; None where its source cannot be read.

    Bound values are those of a partial, defaults and closure that are numbers, text, bools or None. Functions it calls do not count.
    """
    bound: list[str] = []
    while isinstance(function, functools.partial):
        bound += [repr(value) for value in (*function.args, *sorted(function.keywords.items())) if _is_plain(value)]
        function = function.func
    if not inspect.isroutine(function) and not inspect.isclass(function):
        function = type(function)  # a callable object: its class holds the source
    try:
        source = inspect.getsource(function)
    except (OSError, TypeError):
        return None
    cells = getattr(function, "__closure__", None) or ()
    bound += [repr(value) for value in getattr(function, "__defaults__", None) or () if _is_plain(value)]
    bound += [repr(cell.cell_contents) for cell in cells if _is_filled(cell) and _is_plain(cell.cell_contents)]
    return hashlib.sha256("\0".join([source, *bound]).encode("utf-8", "backslashreplace")).hexdigest()


def _is_filled(cell: CellType) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:
        return False
    return True


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, str | int | float) or (isinstance(value, tuple) and all(map(_is_plain, value)))


def _import_file(path: Path) -> ModuleType:
    path = path.expanduser()
    if not path.is_file():
        raise RewardLoadError(f"no such file: {path} (looked in {Path.cwd()})")
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)  # the file may import its neighbors, as it could when run as a script
    # the prefix keeps a file called re.py from standing in for the standard library's
    name = f"flatspot_reward_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise RewardLoadError(f"cannot import {path} as Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise _import_error(error, str(path)) from None
    return module


def _import_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise RewardLoadError(
                f"no module called {error.name!r} (looked in {Path.cwd()} and the installed packages): "
                f"install it, or give a file as path/to/file.py:function"
            ) from None
        raise _import_error(error, name) from None
    except (Exception, SystemExit) as error:
        raise _import_error(error, name) from None


def _import_error(error: BaseException, place: str) -> FlatspotError:
    """The user's own import failed: file, line and message of where it did, without a traceback."""
    if isinstance(error, FlatspotError):
        return error
    if isinstance(error, SyntaxError):
        return RewardLoadError(f"{error.filename or place}:{error.lineno}: {type(error).__name__}: {error.msg}")
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<frozen")]
    # the deepest frame in the user's own file, else the deepest there is
    own = [frame for frame in frames if Path(frame.filename).name == Path(place).name] or frames[1:]
    where = f"{own[-1].filename}:{own[-1].lineno}" if own else place
    return RewardLoadError(f"{where}: {describe_exception(error)} while importing the reward's code")


def _attribute(module: ModuleType, spec: Address) -> Any:
    value: Any = module
    for part in spec.attribute.split("."):
        value = getattr(value, part, None)
    if callable(value) or (value is not None and spec.shape == "verifiers"):  # of rubrics, their own check says more
        return value
    offered = _functions_of(module)
    close = difflib.get_close_matches(spec.attribute, offered, n=2)
    hint = f"; did you mean {' or '.join(close)}?" if close else "."
    what = "is not callable" if value is not None else "is not there"
    raise RewardLoadError(f"{spec.place}: {spec.attribute!r} {what}{hint} Functions there: {', '.join(offered[:20]) or 'none'}")


def _functions_of(module: ModuleType) -> list[str]:
    try:
        tree = ast.parse(inspect.getsource(module))
    except (OSError, TypeError, SyntaxError):
        return sorted(name for name, value in vars(module).items() if callable(value) and not name.startswith("_"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return [node.name for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")]


def _file_sha256(module: ModuleType) -> str | None:
    try:
        return hashlib.sha256(Path(str(module.__file__)).read_bytes()).hexdigest()
    except OSError:
        return None
