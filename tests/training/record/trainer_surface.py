"""How verl, OpenRLHF and ms-swift call a reward, read from their sources: python tests/training/record/trainer_surface.py FOLDER_OF_WHEELS

Nothing of them is imported. What it prints is kept in trainer_surface.json; the stand-ins in `stand_ins.py` call with these names alone.
"""

import ast
import json
import re
import sys
import zipfile
from pathlib import Path

VERL = {
    "row": "verl/experimental/reward_loop/reward_manager/naive.py",
    "row of DAPO": "verl/experimental/reward_loop/reward_manager/dapo.py",
    "row with a limit": "verl/experimental/reward_loop/reward_manager/limited.py",
    "batch": "verl/workers/reward_manager/batch.py",
}


def surface(folder):
    """{trainer: {what is called: the names of its arguments}} with the versions."""
    found = {}
    for wheel in sorted(Path(folder).glob("*.whl")):
        archive = zipfile.ZipFile(wheel)
        package, version = wheel.name.split("-")[:2]
        read = {name.split("purelib/")[-1]: archive.read(name).decode() for name in archive.namelist() if name.endswith(".py")}
        if package in READERS:
            found[package] = {"version": version, **READERS[package](read)}
    return found


def verl(read):
    called = {name: _keywords(read[file], "compute_score") for name, file in VERL.items()}
    added = {
        name: sorted(set(re.findall(r'(?<!reward_)extra_info\["(\w+)"\] = |extras\[i\]\["(\w+)"\] = ', read[file])))
        for name, file in VERL.items()
    }
    loads = read["verl/trainer/ppo/reward.py"]
    return {
        "calls": called,
        "adds to extra_info": sorted({name for pairs in added.values() for pair in pairs for name in pair if name}),
        "awaits where": re.findall(r"if not (inspect\.iscoroutinefunction\(\w+\))", loads),
        "takes of a dict": sorted(set(re.findall(r'result\["(\w+)"\]', read[VERL["row"]]))),
    }


def openrlhf(read):
    text = read["openrlhf/utils/agent.py"]
    fetch = next(n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.AsyncFunctionDef) and n.name == "_fetch_rewards_via_func")
    by_thread = next(n for n in ast.walk(fetch) if isinstance(n, ast.Call) and ast.unparse(n.func) == "asyncio.to_thread")
    return {
        "calls": [re.sub(r"_list.*", "", ast.unparse(arg)) for arg in by_thread.args],
        "rows of a call": int(re.search(r"batch_size = (\d+)", text).group(1)),
        "posts": re.findall(r'"(\w+)": \w+_list\[start_idx:end_idx\]', text),
        "takes": sorted(set(re.findall(r'rewards_info\.get\("(\w+)"\)', text))),
        "loads": re.findall(r"self\.reward_func = reward_module\.(\w+)", text),
        "label of none": re.findall(r"label = (\S+) if label_key is None", read["openrlhf/datasets/prompts_dataset.py"]),
    }


def ms_swift(read):
    called, data = read["swift/rl_core/grpo_algorithm.py"], ast.parse(read["swift/rl_core/data.py"])
    row = next(n for n in ast.walk(data) if isinstance(n, ast.FunctionDef) and n.name == "to_reward_row")
    first = next(n for n in ast.walk(row) if isinstance(n, ast.Dict))
    return {
        "calls": sorted(set(re.findall(r"reward_func\((.*)\)$", called, re.MULTILINE))),
        "columns": [key.value for key in first.keys],
        "further": re.findall(r"reward_kwargs: Dict\[str, Any\] = \{'(\w+)'", called),
        "completions": re.findall(r"completions = \[(.+) for s in samples\]", called),
        "awaits where": re.findall(r"return (asyncio\.iscoroutinefunction\(func\).*)", called),
        "made as": sorted(set(re.findall(r"reward_func_class\((.*)\)$", read["swift/rlhf_trainers/grpo_trainer.py"], re.MULTILINE))),
    }


def _keywords(text, name):
    calls = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Call) and ast.unparse(n.func) == f"self.{name}"]
    names = {tuple(keyword.arg or f"**{ast.unparse(keyword.value)}" for keyword in call.keywords) for call in calls}
    [only] = names
    return list(only)


READERS = {"verl": verl, "openrlhf": openrlhf, "ms_swift": ms_swift}

if __name__ == "__main__":
    print(json.dumps(surface(sys.argv[1]), indent=1))
