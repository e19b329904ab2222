# make demo    serve the zoo's digits models operator by operator, and ask them (sets everything up first)
# make test    every test that needs no other framework
# make check   linters, types, import floors and the fast tests: what to run before a commit
# make parity  the tests against SpikingJelly, snnTorch, Norse and sinabs, in an environment of their own
# make bench   the benchmarks, written to benchmarks/results
# make clean   remove what make made

PYTHON ?= python3
VENV := .venv
PARITY := .venv-parity
PIP := -m pip install --quiet --disable-pip-version-check --root-user-action=ignore

.DEFAULT_GOAL := help
.PHONY: help demo test check lint parity bench clean
.SILENT:

help:
	sed -n 's/^# make/make/p' Makefile

demo: $(VENV)/.demo
	$(VENV)/bin/synfire demo

test: $(VENV)/.dev
	$(VENV)/bin/pytest -n auto -m "not parity"

check: lint
	$(VENV)/bin/pytest -n auto -m "not parity and not slow"

lint: $(VENV)/.dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

parity: $(PARITY)/.parity
	$(PARITY)/bin/pytest -m parity

bench: $(VENV)/.dev
	mkdir -p benchmarks/results
	for name in split gateway; do $(VENV)/bin/synfire bench $$name --json benchmarks/results/$$name.json || exit 1; done

clean:
	rm -rf $(VENV) $(PARITY) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	find src tests training -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	echo "making $(VENV)"
	$(PYTHON) -c 'import sys; sys.exit("synfire needs Python 3.11 or later; call: make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "cannot make $(VENV); on Debian and Ubuntu: apt install python3-venv"; exit 1; }

$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	echo "installing synfire into $(VENV)"
	$(VENV)/bin/python $(PIP) --editable '.[digits]'
	touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	echo "installing synfire with its tests and linters into $(VENV)"
	$(VENV)/bin/python $(PIP) --editable '.[test,lint]'
	touch $@ $(VENV)/.demo

# torch comes first and alone; whatever depends on it must not bring another one.
$(PARITY)/.parity: pyproject.toml tests/parity/requirements.txt
	echo "installing the parity environment into $(PARITY)"
	$(PYTHON) -m venv $(PARITY)
	$(PARITY)/bin/python $(PIP) torch==2.13.0
	$(PARITY)/bin/python $(PIP) --editable '.[test]'
	$(PARITY)/bin/python $(PIP) --no-deps --requirement tests/parity/requirements.txt
	touch $@
