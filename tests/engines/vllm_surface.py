"""What flatspot uses of vLLM, read from vLLM's sources without importing them: python tests/engines/vllm_surface.py FOLDER_OR_WHEEL

Prints the version and the names, which are kept in vllm_surface.json; a stub of vLLM takes no others (`test_vllm.py`).
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
METHODS = ("generate", "sleep", "wake_up")


def surface(sources):
    """{class: names of its fields or of the arguments it is made with} of a wheel or a folder that holds the package."""
    read, every = _reader(Path(sources))
    found = {name: _names(ast.parse(read(file)), of) for name, (file, of) in FILES.items()}
    methods = {}
    for file in every:
        if file.startswith("vllm/entrypoints/") and file.endswith(".py") and any(f"def {name}(" in read(file) for name in METHODS):
            for node in ast.walk(ast.parse(read(file))):
                if isinstance(node, ast.ClassDef) and (node.name == "LLM" or node.name.endswith("OfflineMixin")):
                    methods |= {f.name: _arguments(f) for f in node.body if isinstance(f, ast.FunctionDef) and f.name in METHODS}
    return found | methods


def _reader(sources):
    if sources.suffix == ".whl":
        wheel = zipfile.ZipFile(sources)
        return (lambda name: wheel.read(name).decode()), wheel.namelist()
    files = [str(file.relative_to(sources)) for file in (sources / "vllm").rglob("*.py")]
    return (lambda name: (sources / name).read_text()), files


def _names(tree, name):
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
        return sorted({*_arguments(made[0]), *stored})
    return sorted(line.target.id for line in of.body if isinstance(line, ast.AnnAssign) and not line.target.id.startswith("_"))


def _arguments(function):
    return [arg.arg for arg in (*function.args.args, *function.args.kwonlyargs) if arg.arg != "self"]


if __name__ == "__main__":
    print(json.dumps(surface(sys.argv[1]), indent=1))
