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
.PHONY: help venv figures figures-full demo test slow lint bench bench-peers bench-gpu test-gpu test-triton clean

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

test: lint  ## lint, then every test but the slow ones and those of a GPU, with the examples of the README, the notes and the docstrings
	$(RUN) -m pytest -n $(WORKERS) -m "not slow and not gpu"

slow:  ## the full-size tests (minutes each)
	$(READY) test
	$(RUN) -m pytest -n $(WORKERS) -m "slow and not gpu"

lint:  ## ruff, mypy and the import contract
	$(READY) test
	$(RUN) -m ruff check $(CODE)
	$(RUN) -m ruff format --check $(CODE)
	$(RUN) -m mypy
	"$(VENV)/bin/lint-imports"

bench:  ## every benchmark that a CPU can show, with rivals: tests/benchmarks/RESULTS.md, figures/speed.png (about 17 minutes)
	$(READY) test
	$(RUN) -m pip install --quiet --editable ".[bench]" --constraint constraints.txt
	$(RUN) -m pip install --quiet --no-deps nngeometry==0.4  # it asks for torchvision, and does not need it
	cd tests && "$(abspath $(VENV))/bin/python" -m benchmarks

bench-peers:  ## once: neural-tangents in .venv-peers, because it needs an older jax
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --requirement tests/benchmarks/peers.txt

bench-gpu:  ## the benchmarks of a CUDA device; calculated where there is none
	cd tests && "$(abspath $(VENV))/bin/python" -m benchmarks.gpu

test-gpu:  ## the tests of the GPU kernels on this machine's CUDA device, against float64
	$(READY) test
	$(RUN) -m pytest -m gpu tests/kernels/gpu

test-triton:  ## compile and interpret the GPU kernels with a second Triton (its interpreter wants an older numpy)
	$(READY) test
	test -d "$(VENV)/triton-3.6.0" || $(RUN) -m pip install --quiet --no-deps --target "$(VENV)/triton-3.6.0" triton==3.6.0 numpy==2.3.5
	PYTHONPATH="$(VENV)/triton-3.6.0" $(RUN) -m pytest -m "not gpu" tests/kernels/gpu

clean:  ## remove caches and builds; the environment and figures/ stay
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find $(CODE) -type d -name __pycache__ -prune -exec rm -rf {} +
