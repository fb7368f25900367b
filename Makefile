# Everything a newcomer needs. The environment lives in .venv and is built once; it is renewed when pyproject.toml or
# constraints.txt change. Extra arguments go to the command: make demo ARGS="--data digits", make test ARGS="-k linear".

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   ?= .venv
ARGS   ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install -qq --constraint constraints.txt

.PHONY: demo test lint docs bench clean help
.DEFAULT_GOAL := help

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST)

demo: $(VENV)/.user  ## from real images to a trained metanetwork, with a report
	@$(BIN)/weightspace demo $(ARGS)

# One thread per worker of the parallel run: more only fight for the cores.
test: $(VENV)/.dev  ## the whole suite with doctests
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto $(ARGS)

lint: $(VENV)/.dev  ## format, style, types, import contracts
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

docs: $(VENV)/.docs  ## build the documentation into site/
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet $(ARGS)

bench: $(VENV)/.user  ## measure speed, as ratios within one run
	@for script in benchmarks/speed/*.py; do echo "== $$script"; $(BIN)/python $$script $(ARGS) || exit 1; done

clean:  ## remove the environment and what was built
	@rm -rf $(VENV) build dist site

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer was not found: install it or pass PYTHON=/path/to/python3.11"; exit 2; }
	@echo "Creating $(VENV) with $(PYTHON)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 2; }

# A stamp marks an environment that is complete: an installation that was interrupted is simply repeated.
$(VENV)/.user: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing weightspace into $(VENV) (a minute or two, once)"
	@$(PIP) --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing weightspace and its development tools into $(VENV) (a minute or two, once)"
	@$(PIP) --editable '.[dev]'
	@touch $@ $(VENV)/.user

$(VENV)/.docs: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing weightspace and its documentation tools into $(VENV)"
	@$(PIP) --editable '.[docs]'
	@touch $@ $(VENV)/.user
