# Two commands matter: `make lab` opens the course, `make test` runs every test. Each does all of its own set-up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
NOTEBOOKS := $(wildcard notebooks/*.ipynb)

.DEFAULT_GOAL := help
.PHONY: help lab test test-fast notebooks checkpoints lint format clean

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

$(VENV)/.student: requirements.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

$(VENV)/.developer: requirements.txt requirements-dev.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@ $(VENV)/.student

lab: $(VENV)/.student  ## Set everything up and open the course in JupyterLab
	$(BIN)/jupyter lab --notebook-dir=notebooks $(if $(filter 0,$(shell id -u)),--allow-root) $(LAB_ARGS)

test: $(VENV)/.developer  ## Set everything up and run every test, notebooks and browser included
	COURSE_PROFILE=ci $(BIN)/python -m pytest $(TEST_ARGS)

test-fast: $(VENV)/.developer  ## Only the package's own tests
	COURSE_PROFILE=ci $(BIN)/python -m pytest -m "not notebook and not browser" $(TEST_ARGS)

notebooks: $(VENV)/.developer  ## Execute notebooks in place on the cpu profile (NOTEBOOKS=... for some)
	COURSE_PROFILE=cpu $(BIN)/python tests/notebooks/execute.py $(NOTEBOOKS)

checkpoints: $(VENV)/.student  ## Train every shipped checkpoint again, in the order in which they build on each other
	$(BIN)/python -m course_utils.training all

lint: $(VENV)/.developer  ## Check style
	$(BIN)/ruff check course_utils tests benchmarks
	$(BIN)/ruff format --check --diff course_utils tests benchmarks

format: $(VENV)/.developer  ## Mend style
	$(BIN)/ruff check --fix course_utils tests benchmarks
	$(BIN)/ruff format course_utils tests benchmarks

clean:  ## Remove what runs have left behind (not the checkpoints)
	rm -rf .cache .pytest_cache .ruff_cache
