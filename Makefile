# Each target first makes $(VENV) ready. If it has no interpreter it is built with the versions of constraints.txt;
# an environment of your own (make VENV=path ...) is used as it stands, and no torch is installed there.
PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2

READY = @$(PYTHON) .ci/environment.py "$(VENV)"
RUN = "$(VENV)/bin/python"
CODE = theory simulations tests .ci

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help venv figures figures-full demo test slow lint clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-13s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

venv:  ## build or update the environment
	$(READY) test

figures:  ## the main job: every simulation's quick profile, figures/ and the table of verdicts
	$(READY) core
	$(RUN) -m simulations

figures-full:  ## the same at full size (hours)
	$(READY) core
	$(RUN) -m simulations --profile full

demo:  ## the two-cluster turn at full size: truth first, noise last, five seeds
	$(READY) core
	$(RUN) -m simulations.early_stopping --profile full

test: lint  ## lint, then every test but the slow ones, with the examples of the README, the notes and the docstrings
	$(RUN) -m pytest -n $(WORKERS) -m "not slow"

slow:  ## the full-size tests (minutes each)
	$(READY) test
	$(RUN) -m pytest -n $(WORKERS) -m slow

lint:  ## ruff, mypy and the import contract
	$(READY) test
	$(RUN) -m ruff check $(CODE)
	$(RUN) -m ruff format --check $(CODE)
	$(RUN) -m mypy
	"$(VENV)/bin/lint-imports"

clean:  ## remove caches and builds; the environment and figures/ stay
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find $(CODE) -type d -name __pycache__ -prune -exec rm -rf {} +
