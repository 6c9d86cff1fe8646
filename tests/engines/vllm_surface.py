"""What flatspot uses of vLLM, read from vLLM's sources without importing them: python tests/engines/vllm_surface.py FOLDER_OR_WHEEL

Prints names in their order with the source of their defaults, which are kept in vllm_surface.json; a stub of vLLM takes no others
(`test_vllm.py`).
"""

import ast
import json
import sys
import zipfile
from pathlib import Path

FILES = {
    "LLM": ("vllm/entrypoints/llm.py", "LLM"),
    "EngineArgs": ("vllm/engine/arg_utils.py", "EngineArgs"),
    "SamplingParams": ("vllm/sampling_params.py", "SamplingParams"),
    "RequestOutput": ("vllm/outputs.py", "RequestOutput"),
    "CompletionOutput": ("vllm/outputs.py", "CompletionOutput"),
    "Logprob": ("vllm/logprobs.py", "Logprob"),
}
METHODS = ("generate", "sleep", "wake_up", "collective_rpc")
OF_WORKERS = ("vllm/v1/worker/gpu_model_runner.py", "reload_weights")  # called by name through collective_rpc
_SHOWN = 60


def surface(sources):
    """{class or method: {field or argument: source of its default, None where it has none}}, in order; "*" begins what is given by name.

    sources  a wheel, or a folder that holds the package
    """
    read, every = _reader(Path(sources))
    found = {name: _fields(ast.parse(read(file)), of) for name, (file, of) in FILES.items()}
    methods = {}
    for file in every:
        if file.startswith("vllm/entrypoints/") and file.endswith(".py") and any(f"def {name}(" in read(file) for name in METHODS):
            for node in ast.walk(ast.parse(read(file))):
                if isinstance(node, ast.ClassDef) and (node.name == "LLM" or node.name.endswith("OfflineMixin")):
                    methods |= {f.name: _arguments(f) for f in node.body if isinstance(f, ast.FunctionDef) and f.name in METHODS}
    file, name = OF_WORKERS
    of_workers = [f for f in ast.walk(ast.parse(read(file))) if isinstance(f, ast.FunctionDef) and f.name == name] if file in every else []
    return found | methods | {f.name: _arguments(f) for f in of_workers}


def _reader(sources):
    if sources.suffix == ".whl":
        wheel = zipfile.ZipFile(sources)
        return (lambda name: wheel.read(name).decode()), wheel.namelist()
    files = [str(file.relative_to(sources)) for file in (sources / "vllm").rglob("*.py")]
    return (lambda name: (sources / name).read_text()), files


def _fields(tree, name):
    """Of a class: the arguments that it is made with and what it stores, or its fields."""
    [of] = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name]
    made = [f for f in of.body if isinstance(f, ast.FunctionDef) and f.name == "__init__"]
    if made:
        stored = [
            target.attr
            for node in ast.walk(made[0])
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Attribute)
        ]
        given = _arguments(made[0])
        return given | {name: None for name in stored if name not in given}
    lines = [line for line in of.body if isinstance(line, ast.AnnAssign) and not line.target.id.startswith("_")]
    return {line.target.id: _source(line.value) for line in lines}


def _arguments(function):
    """Of a function, without self."""
    args = function.args
    by_place = [*args.posonlyargs, *args.args]
    defaults = [None] * (len(by_place) - len(args.defaults)) + args.defaults
    found = {arg.arg: _source(value) for arg, value in zip(by_place, defaults, strict=True) if arg.arg != "self"}
    if args.kwonlyargs:
        found |= {"*": None} | {arg.arg: _source(value) for arg, value in zip(args.kwonlyargs, args.kw_defaults, strict=True)}
    return found


def _source(default):
    return None if default is None else ast.unparse(default)[:_SHOWN]


if __name__ == "__main__":
    print(json.dumps(surface(sys.argv[1]), indent=1))
