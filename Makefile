# make sheet   measure a published sheet's rows here and print ours (installs engines; neither TensorFlow nor PyTorch)
# make test    everything the product promises (installs the frameworks too)
# make trust   count in real time whether comparisons and the ledger of interference can be trusted (about an hour)
# make check   ruff, mypy --strict, and the layers of the architecture

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
SHEET := sheet --quick --html

.PHONY: sheet test trust check format clean

sheet: .venv/.engines
	@$(BIN)/speedsheet $(SHEET)

test: .venv/.all
	$(BIN)/python -m pytest

trust: .venv/.engines
	@$(BIN)/python benchmarks/trust.py

check: .venv/.check
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/.check
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf .venv build dist

.venv/.made:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "speedsheet needs Python 3.11 or newer; set PYTHON=python3.11")'
	@$(PYTHON) -m venv .venv
	@touch $@

# what each command needs, installed once; a change of the pins or of pyproject.toml installs again
.venv/.engines: .venv/.made pyproject.toml constraints.txt
	@echo "installing speedsheet and its engines into .venv (about half a minute, once)" >&2
	@$(PIP) --editable ".[engines,int8,report]"
	@touch $@

.venv/.check: .venv/.made pyproject.toml constraints.txt
	@echo "installing the checkers into .venv" >&2
	@$(PIP) --editable ".[check]"
	@touch $@

.venv/.all: .venv/.made pyproject.toml constraints.txt
	@echo "installing everything into .venv: engines, TensorFlow, Keras, PyTorch (about two minutes, once)" >&2
	@$(PIP) --editable ".[all,test]"
	@touch $@
	@touch .venv/.engines
