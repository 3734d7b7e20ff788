# make serve   the built-in model on http://127.0.0.1:30000    make serve MODEL=… ARGS="--tp 2"
# make test    the whole suite                                 make test ARGS="tests/cli -k yaml"
# make lint, make types, make soak, make docs, make clean
# Each sets up what it needs in .venv, once.

MODEL ?= demo
ARGS ?=
VENV ?= .venv
# Where the index has no CPU build of it, this brings CUDA's libraries along; the tests need a CPU.
TORCH ?= torch==2.13.0

PYTHON := $(VENV)/bin/python
PIP := $(PYTHON) -m pip --disable-pip-version-check
INSTALLED := $(VENV)/.installed
TEST_INSTALLED := $(VENV)/.test-installed
CUDA_COMPILER := $(VENV)/cuda-compiler

.PHONY: serve test lint types soak docs clean

serve: $(INSTALLED)
	$(VENV)/bin/sgjax serve $(MODEL) $(ARGS)

test: $(TEST_INSTALLED)
	PYTHONPATH=$(CUDA_COMPILER) $(PYTHON) -m pytest $(ARGS)

lint: $(TEST_INSTALLED)
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .

types: $(TEST_INSTALLED)
	$(VENV)/bin/pyright --pythonpath $(PYTHON)

# Ten times the random cases, and the long mixed run.
soak: $(TEST_INSTALLED)
	$(PYTHON) -m pytest --hypothesis-profile=soak --soak-seconds=1800 --timeout=7200 $(ARGS)

docs: $(INSTALLED)
	$(PYTHON) docs/generate_options.py > docs/options.md
	$(PYTHON) docs/generate_models.py > docs/models.md

clean:
	rm -rf $(VENV) .venv-3.12 .cache build dist *.egg-info .pytest_cache .ruff_cache .hypothesis

$(PYTHON):
	"$$(.ci/find-python 3.11 3.12)" -m venv $(VENV)

$(INSTALLED): pyproject.toml | $(PYTHON)
	$(PIP) install --quiet --editable .
	touch $@

$(TEST_INSTALLED): pyproject.toml | $(PYTHON)
	$(PIP) install --quiet "$(TORCH)"
	$(PIP) install --quiet --editable ".[test]"
	.ci/cuda-compiler $(PYTHON) $(CUDA_COMPILER)
	touch $(INSTALLED) $@
