# Needs Python 3.11 or newer with pip, make, and the system's OpenMP runtime (libgomp1 on Debian and Ubuntu).
#   make demo   an environment in .venv, the package, and the main job
#   make test   an environment in .venv-test, the package, and its tests
#   make lint   what the tests do not say: style, types, layers
# PYTHON=/path/to/python chooses another interpreter.

PYTHON ?= python3
ROOMS := pipeline recall rerank fusion configs
# Folders too: a deleted file changes its folder's time.
SOURCES := $(shell find $(ROOMS) -name __pycache__ -prune -o \( -type d -o -name '*.py' -o -name '*.toml' -o -name '*.json' \) -print)
INSTALL := -m pip install --disable-pip-version-check
# A normal install, never an editable one: a package that was not declared fails here and not at a user's.
REINSTALL := $(INSTALL) --quiet --no-deps --no-build-isolation --force-reinstall .

.PHONY: demo test lint clean python

demo: .venv/.installed
	.venv/bin/simulate

test: .venv-test/.installed
	.venv-test/bin/python -m pytest -m "not slow" -n auto --maxprocesses 4 --dist loadfile

lint: .venv-test/.installed
	.venv-test/bin/ruff check .
	.venv-test/bin/ruff format --check .
	.venv-test/bin/mypy $(patsubst %,-p stagelens.%,$(ROOMS))
	.venv-test/bin/lint-imports
	.venv-test/bin/typos

clean:
	rm -rf .venv-test .venv build dist stagelens.egg-info

python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	"StageLens needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; set PYTHON=/path/to/python")'

.venv/.ready: pyproject.toml constraints.txt | python
	$(PYTHON) -m venv .venv
	.venv/bin/python $(INSTALL) --quiet "setuptools>=77"
	rm -rf build
	.venv/bin/python $(INSTALL) --constraint constraints.txt ".[cpu]"
	touch $@

.venv/.installed: .venv/.ready $(SOURCES)
	rm -rf build
	.venv/bin/python $(REINSTALL)
	rm -rf build
	touch $@

.venv-test/.ready: pyproject.toml constraints.txt | python
	$(PYTHON) -m venv .venv-test
	.venv-test/bin/python $(INSTALL) --quiet "setuptools>=77"
	rm -rf build
	.venv-test/bin/python $(INSTALL) --constraint constraints.txt ".[cpu,neural,dev]"
	touch $@

.venv-test/.installed: .venv-test/.ready $(SOURCES)
	rm -rf build
	.venv-test/bin/python $(REINSTALL)
	rm -rf build
	touch $@
