# Everything is a command of the package; make only sees to it that it is installed first.
PYTHON ?= python3
VENV ?= .venv
PIP_FLAGS ?=
BIN := $(VENV)/bin
INSTALL = $(BIN)/python -m pip install --disable-pip-version-check --quiet $(PIP_FLAGS) -c constraints.txt

WORKERS ?= 2
# Workers with one thread each: threads that wait for each other cost more than they bring.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

# Tests that repeat at length what others test, and more numbers for each check: before a release.
THOROUGH ?=
export ATTNLAB_THOROUGH = $(THOROUGH)

# Modules are compiled once, and not again by every process that a test starts.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: setup lab demo check test lint format build book bench

setup: $(VENV)/.lab          ## .venv with the course, and its data, verified
	@$(BIN)/python -m attnlab fetch

lab: setup                   ## JupyterLab on the first notebook
	$(BIN)/python -m attnlab lab

demo: setup                  ## the mixing desk as a web page, without code
	$(BIN)/python -m attnlab demo

check: lint                  ## lint and the quick tests: before every commit
	@$(BIN)/python -m attnlab fetch
	$(PYTEST) -m "not slow and not browser"

test: $(VENV)/.dev           ## the tests, with a Chromium, on a machine of their own; THOROUGH=1 repeats more
	@$(BIN)/python -m attnlab fetch
	$(PYTEST) -m "not browser"
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder tests/browser

lint: $(VENV)/.dev           ## style, layers, types, and notebooks that match their source
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/python -m mypy
	$(BIN)/oxlint --quiet attnlab/show/static attnlab/site/static
	$(BIN)/python -m attnlab notebooks build --check

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

build: $(VENV)/.dev          ## student notebooks, and solutions that are run when their source changed
	$(BIN)/python -m attnlab notebooks build

book: $(VENV)/.dev           ## the course as pages and PDF files, in site/book; BOOK=--without-solutions for a graded one
	$(BIN)/python -m attnlab site book --out site/book --pdf $(BOOK)

bench: $(VENV)/.dev          ## measure, print a table, merge into data/results.json; AREA=desk for one part
	@$(BIN)/python -m attnlab fetch
	$(BIN)/python tests/benchmarks/bench.py $(AREA)

$(BIN)/python:
	@$(PYTHON) -c "import sys; sys.exit(None if sys.version_info >= (3, 11) else 'attnlab needs Python 3.11 or newer, this is ' + sys.version.split()[0] + '. Try: make setup PYTHON=python3.12')"
	$(PYTHON) -m venv $(VENV)

$(VENV)/.lab: $(BIN)/python pyproject.toml constraints.txt
	@echo "Installing into $(VENV); the first time this takes some minutes."
	$(INSTALL) -e ".[lab]"
	@touch $@

$(VENV)/.dev: $(VENV)/.lab
	$(INSTALL) -e ".[dev]"
	@touch $@
