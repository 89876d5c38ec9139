# Everything runs in .venv, made from nothing by the first target that needs it.
SHELL := /bin/bash
PYTHON ?= python3.11
VENV := .venv
NNLAB := $(VENV)/bin/nnlab
READY := $(VENV)/.ready
BENCH := .venv-bench
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: setup demo test lint sweep-lr compare-init compare-loss compare-schedule compare gradcheck bench clean help

setup: $(READY) ## make the environment

# pip is asked for the constraints' torch first: a bare range would take a build of several gigabytes.
$(READY): pyproject.toml constraints.txt
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV) || python3 -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(READY) ## which learning rate is best for MNIST-1D? 16 rates x 10 seeds
	$(NNLAB) sweep-lr --format table

sweep-lr: $(READY) ## every recorded sweep of experiments/sweep-lr
	$(recorded)

compare-init: $(READY) ## every recorded comparison of inits
	$(recorded)

compare-loss: $(READY) ## every recorded comparison of losses
	$(recorded)

compare-schedule: $(READY) ## every recorded comparison of schedules
	$(recorded)

compare: $(READY) ## every other recorded comparison
	$(recorded)

recorded = @$(MAKE) --no-print-directory $(patsubst experiments/%.toml,results/%/summary.csv,$(wildcard experiments/$@/*.toml))

gradcheck: $(READY) ## the gradients of the whole catalogue
	$(NNLAB) gradcheck --format table

# A recorded experiment becomes results: results/sweep-lr/digits/summary.csv comes from experiments/sweep-lr/digits.toml.
results/%/summary.csv: experiments/%.toml | $(READY)
	$(NNLAB) $(firstword $(subst /, ,$*)) --config $< --out results/$* --format table

test: $(READY) ## the whole suite, by two workers
	$(VENV)/bin/python -m pytest -n 2 --dist worksteal

lint: $(READY) ## style and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

# In an environment of their own: what the peers ask for must not decide what nnlab is tested with.
bench: $(BENCH)/.ready ## nnlab beside its peers, into benchmarks/README.md
	$(BENCH)/bin/python -m benchmarks.run --write

$(BENCH)/.ready: pyproject.toml constraints-bench.txt
	@test -x $(BENCH)/bin/python || $(PYTHON) -m venv $(BENCH) || python3 -m venv $(BENCH)
	$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints-bench.txt --editable '.[bench]'
	@touch $@

clean: ## remove what can be made again, but not results
	rm -rf $(VENV) $(BENCH) .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 20
