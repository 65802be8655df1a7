# SPDX-License-Identifier: GPL-2.0-only

PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2
# The Python tests wait more than they compute. 0: all in pytest's own process, as for --pdb.
PYTEST_JOBS ?= 4

PIP := $(VENV)/bin/python -m pip --disable-pip-version-check --quiet
SOURCES := $(wildcard src/*.[ch]) $(wildcard pykworker/_binding/*) build_ffi.py setup.py pyproject.toml
STAMP := $(VENV)/.installed
C_VARIANTS ?=
TEST_EXTRA ?= test
BENCH_EXTRA ?= bench
BENCH ?=
BENCH_C ?=
LATENCY ?=
MODEL ?=
PACKAGE ?=
EMBED ?=
TESTS ?=

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@echo 'make TARGET [PYTHON=python3.12] [VENV=DIR]'
	@sed -n 's/^\([a-z-]*\):.*## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 16

# The virtual environment with the package built in it, anew when a source has changed.
$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(STAMP)-%: $(VENV)/bin/python $(SOURCES)
	$(PIP) install --editable '.[$*]'
	@touch $@

include packaging/lib.mk

.PHONY: bench
bench: $(STAMP)-$(BENCH_EXTRA) ## make the virtual environment, install, run the benchmark (BENCH="--quick ...")
	$(VENV)/bin/python -m pykworker bench $(BENCH)

.PHONY: latency
latency: $(STAMP)-$(BENCH_EXTRA) ## how late periodic ticks begin (LATENCY="--compare --load python --plot FILE")
	$(VENV)/bin/python -m pykworker latency $(LATENCY)

.PHONY: bench-c
bench-c: ## the C core against other libraries; needs no Python (BENCH_C="--quick --json FILE")
	$(MAKE) -C benchmarks/c against ARGS='$(BENCH_C)'

.PHONY: test
test: test-c test-python ## all tests: of the C core, with sanitizers, and of the package

.PHONY: test-c
test-c: ## the tests of the C core; needs no Python
	$(MAKE) -C tests/c -j$(JOBS) check $(if $(C_VARIANTS),VARIANTS='$(C_VARIANTS)')
	$(MAKE) -C tests/c headers oneline probes
	$(MAKE) -C tests/compat check

.PHONY: fuzz
fuzz: ## the fuzz targets of the C core, each for a while (FUZZ_SECONDS=30)
	$(MAKE) -C tests/c -j$(JOBS) fuzz $(if $(FUZZ_SECONDS),FUZZ_SECONDS='$(FUZZ_SECONDS)')

.PHONY: mutants
mutants: ## leave out each mend of a known fault from the C core: a test has to fail
	$(MAKE) -C tests/c -j$(JOBS) mutants

.PHONY: model
model: ## the core's memory order, by Relacy and herd7 (MODEL="--unchanged", "--only F", "--help")
	$(PYTHON) tests/litmus/run.py -j$(JOBS)
	$(PYTHON) tests/model/run.py -j$(JOBS) $(MODEL)

.PHONY: test-python
test-python: $(STAMP)-$(TEST_EXTRA) ## the tests of the package, native and pure (TESTS="-k flush")
	$(VENV)/bin/python -m pytest -n $(PYTEST_JOBS) --dist worksteal $(TESTS)

.PHONY: lint
lint: $(STAMP)-lint ## formatter, linter and types
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/pyright --pythonpath $(VENV)/bin/python

.PHONY: docs
docs: $(STAMP)-docs ## the documentation as HTML, into build/docs; every internal link is followed
	$(VENV)/bin/python -m sphinx -b html -n -W --keep-going -q -d build/docs-state docs build/docs
	$(VENV)/bin/python docs/check_links.py build/docs

.PHONY: format
format: $(STAMP)-lint ## format the Python sources
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

.PHONY: examples
examples: $(STAMP)-$(TEST_EXTRA) ## build and run the examples
	$(MAKE) -C examples run PYTHON=$(abspath $(VENV)/bin/python)

.PHONY: test-package
test-package: $(STAMP)-package ## the archives as they would be uploaded: built, used (PACKAGE="--cross all")
	$(VENV)/bin/python tests/package/run.py $(PACKAGE)

.PHONY: clean
clean: ## remove what was built
	rm -rf build dist *.egg-info pykworker/_native.c pykworker/_native.o pykworker/_native*.so src/*.o \
		pykworker/_binding/*.o $(VENV)
