"""The base package imports, and a run is drawn and judged, without anything that only POSIX systems have."""

import subprocess
import sys

HIDE = """
import sys

# the packages that the base install brings have their own Windows versions: they are loaded as they are here
import click, cloudpickle, duckdb, filelock, jinja2, numpy, platformdirs, pyarrow.parquet, scipy.optimize, scipy.special
import asyncio, ctypes, importlib, multiprocessing, pkgutil, subprocess, tempfile, zoneinfo
import errno, os, signal

class Hidden:
    # transformers, torch and their like are extras: no module of ours may need them to be imported
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in EXTRAS:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

EXTRAS = {"torch", "transformers", "trl", "accelerate", "datasets", "peft", "openvino", "openvino_genai", "gguf", "nltk", "reasoning_gym",
          "matplotlib", "sklearn", "mlxtend", "sacrebleu", "rouge_score", "vaderSentiment"}
sys.meta_path.insert(0, Hidden())
for name in ("fcntl", "resource", "termios", "pwd", "grp", "pty", "tty", "syslog"):
    sys.modules[name] = None
for owner, names in (
    (signal, ("SIGPIPE", "SIGKILL", "SIGHUP", "SIGIO", "SIGALRM", "SIGSTOP", "SIGCONT", "SIGUSR1", "SIGUSR2", "SIGQUIT")),
    (os, ("fork", "getuid", "geteuid", "getgid", "killpg", "getpgid", "setsid", "sysconf", "statvfs", "sched_getaffinity", "mkfifo",
          "fchmod", "O_NOFOLLOW", "O_NONBLOCK", "O_DIRECTORY", "O_ASYNC")),
):
    for name in names:
        delattr(owner, name)
"""

IMPORT_ALL = """
import flatspot
wrong, imported = [], 0
for module in pkgutil.walk_packages(flatspot.__path__, "flatspot."):
    if module.name.endswith("__main__"):
        continue
    try:
        importlib.import_module(module.name)
        imported += 1
    except flatspot.FlatspotError:
        pass  # it needs an extra, and says so
    except ImportError as error:
        if (error.name or "").split(".")[0] not in EXTRAS:
            wrong.append(f"{module.name}: {error!r}")
    except Exception as error:
        wrong.append(f"{module.name}: {error!r}")
print(imported)
raise SystemExit("\\n".join(wrong) or 0)
"""

RUN = """
import flatspot
from flatspot.cli.main import main
from flatspot.engines.scripted import ScriptedEngine

engine = ScriptedEngine({"a": {"1": 0.5, "0": 0.5}})
flatspot.diagnose([{"prompt": "a", "reference": "1"}], engine, "exact_match", out=sys.argv[1], max_completions=2)
sys.argv[:] = ["flatspot", "inspect", sys.argv[1], "--json"]
main()
"""


def run(code, *arguments):
    return subprocess.run([sys.executable, "-c", HIDE + code, *arguments], capture_output=True, text=True)


def test_every_module_of_the_base_imports():
    done = run(IMPORT_ALL)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 200


def test_a_run_is_drawn_and_judged(tmp_path):
    done = run(RUN, str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    assert '"n_prompts": 1' in done.stdout
