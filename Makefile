# Two commands matter: `make lab` opens the course, `make test` runs every test. Each does all of its own set-up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
NOTEBOOKS := $(wildcard notebooks/*.ipynb)
CODE := course_utils tests benchmarks .ci/lock

# Where PyTorch's wheels without CUDA are. They are taken on Linux without an NVIDIA card, if this place answers.
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu
# As many test processes as there are cores; the browser's tests, which take longest, come first.
PARALLEL ?= --numprocesses=auto --no-loadscope-reorder
# OpenMP's idle threads sleep. Otherwise they spin, and take the cores from whatever else runs on the machine.
OMP_WAIT_POLICY ?= PASSIVE
export TORCH_CPU_INDEX OMP_WAIT_POLICY

.DEFAULT_GOAL := help
.PHONY: help lab test test-fast validate notebooks checkpoints lint types format lock clean

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.student: requirements.txt requirements.lock pyproject.toml .ci/install | $(BIN)/python
	@sh .ci/install $(BIN)/python requirements.txt
	@touch $@

$(VENV)/.developer: requirements.txt requirements-dev.txt requirements.lock pyproject.toml .ci/install | $(BIN)/python
	@sh .ci/install $(BIN)/python requirements-dev.txt
	@touch $@ $(VENV)/.student

lab: $(VENV)/.student  ## Set everything up and open the course in JupyterLab
	$(BIN)/jupyter lab --notebook-dir=. --LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb $(if $(filter 0,$(shell id -u)),--allow-root) $(LAB_ARGS)

test: $(VENV)/.developer  ## Set everything up and run every test, notebooks and browser included
	COURSE_PROFILE=ci $(BIN)/python -m pytest $(PARALLEL) $(TEST_ARGS)

test-fast: $(VENV)/.developer  ## Only the package's own tests
	COURSE_PROFILE=ci $(BIN)/python -m pytest -m "not notebook and not browser" $(PARALLEL) $(TEST_ARGS)

validate: $(VENV)/.student  ## Run notebooks and compare what they print with what is saved (PROFILE=cpu, NOTEBOOKS=...)
	$(BIN)/python -m tests.notebooks.validate $(addprefix --profile ,$(PROFILE)) $(NOTEBOOKS)

notebooks: $(VENV)/.developer  ## Execute notebooks in place on the cpu profile (NOTEBOOKS=... for some)
	COURSE_PROFILE=cpu $(BIN)/python tests/notebooks/execute.py $(NOTEBOOKS)

checkpoints: $(VENV)/.student  ## Train every shipped checkpoint again, in the order in which they build on each other
	$(BIN)/python -m course_utils.training all --ship

lint: $(VENV)/.developer  ## Check style
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check --diff $(CODE)

types: $(VENV)/.developer  ## Check types
	$(BIN)/mypy

format: $(VENV)/.developer  ## Mend style
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

lock: $(VENV)/.developer  ## Write the versions that are installed to requirements.lock
	$(BIN)/python .ci/lock

clean:  ## Remove what runs have left behind (not the checkpoints)
	rm -rf .cache .pytest_cache .ruff_cache .mypy_cache
