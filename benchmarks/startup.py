"""How long `import flatspot` and `flatspot --help` take over a bare interpreter: medians of paired runs.

python benchmarks/startup.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

RUNS = 15
FLATSPOT = str(Path(sys.executable).parent / "flatspot")
COMMANDS = {
    "bare interpreter": [sys.executable, "-c", "pass"],
    "import flatspot": [sys.executable, "-c", "import flatspot"],
    "import flatspot; flatspot.diagnose": [sys.executable, "-c", "import flatspot; flatspot.diagnose"],
    "flatspot --help": [FLATSPOT, "--help"],
    "flatspot diagnose --help": [FLATSPOT, "diagnose", "--help"],
}


def seconds(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    for command in COMMANDS.values():
        seconds(command)
    times = {name: [] for name in COMMANDS}
    for _ in range(RUNS):
        for name, command in COMMANDS.items():
            times[name].append(seconds(command))
    bare = statistics.median(times["bare interpreter"])
    for name, runs in times.items():
        median = statistics.median(runs)
        print(f"{name:<36} {median:.3f} s   {median - bare:+.3f} s over bare")


if __name__ == "__main__":
    main()
