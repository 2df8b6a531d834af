# Set-up happens by itself, once, in .venv, and again when a lock changes. Needed beforehand: Python 3.11 or later with
# its venv module, and make. A certain interpreter: make test PYTHON=python3.12

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?=
# Part of the tests only, such as TESTS=tests/unit/plan/test_decide.py. COVERAGE=--cov measures what they reach, of which
# there is a least; it doubles the time.
TESTS ?=
COVERAGE ?=
PYTHONS := $(or $(PYTHON),python3 python3.13 python3.12 python3.11)
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# More options for the lock, such as LOCK_OPTIONS=--upgrade or LOCK_OPTIONS='--upgrade-package httpx'.
LOCK_OPTIONS ?=
COMPILE := $(VENV)-lock/bin/uv --quiet pip compile pyproject.toml --universal --python-version 3.11 --group build \
	--generate-hashes --no-strip-extras --no-emit-index-url --custom-compile-command 'make lock' $(LOCK_OPTIONS)

# What stands on other packages; the campaigns, which are long, try our own code and none of theirs.
SHORT := tests/unit tests/contract tests/acceptance

.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help venv run test test-lowest lint format docs bench bench-full lock clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

run: $(VENV)/.run ## start the daemon on the embedded sandbox with the samples in desired_state/
	$(BIN)/reconciler run --sandbox desired_state

test: $(VENV)/.dev ## run all tests; COVERAGE=--cov measures what they reach (90 % or more of the branches and lines)
	@rm -f .coverage .coverage.*
	$(BIN)/python -m pytest -n 4 --dist worksteal $(COVERAGE) $(TESTS)

test-lowest: $(VENV)-lowest/.created ## run the tests of what uses packages with the lowest versions that pyproject.toml allows
	$(VENV)-lowest/bin/python -m pytest -n 4 --dist worksteal $(or $(TESTS),$(SHORT))

lint: $(VENV)/.dev ## check style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy docs/generate.py
	$(BIN)/mypy tests --allow-untyped-defs --allow-incomplete-defs

format: $(VENV)/.dev ## mend format and what else can be mended without a person
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.dev ## write what follows from the code: reference pages, the schema of settings
	$(BIN)/python docs/generate.py

bench: $(VENV)/.dev ## measure, in less than ten minutes; JSON goes to build/benchmarks
	$(BIN)/python -m tests.benchmarks

bench-full: $(VENV)/.dev ## measure everything, a million recordings and the peers too, and write BENCHMARKS.md
	$(BIN)/python -m tests.benchmarks --full
	$(BIN)/python -m tests.benchmarks.table

lock: $(VENV)-lock/.created ## bring requirements.lock and requirements-dev.lock up to pyproject.toml
	$(COMPILE) --output-file requirements.lock
	$(COMPILE) --output-file requirements-dev.lock --all-extras --constraint requirements.lock
	@! grep -n '://' requirements.lock requirements-dev.lock

clean: ## remove the environments, caches and what was built; the state in .reconciler/ stays
	rm -rf $(VENV) $(VENV)-lock $(VENV)-lowest build dist htmlcov .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find reconciler tests -name __pycache__ -type d -prune -exec rm -rf {} +

venv: $(VENV)/.created ## make the empty environment

# The first interpreter that is new enough and can make an environment; else say what is missing, and where it comes from.
$(VENV)/.created:
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { \
	  old=; \
	  for python in $(PYTHONS); do \
	    $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || continue; \
	    old=$$python; \
	    $$python -c 'import ensurepip, venv' >/dev/null 2>&1 || continue; \
	    echo "Setting up $(VENV) with $$($$python --version)"; \
	    exec $$python -m venv --clear $(VENV); \
	  done; \
	  if [ -n "$$old" ]; then \
	    echo "$$old cannot make environments: install its venv module (Debian and Ubuntu: apt-get install python3-venv)" >&2; \
	  else \
	    echo 'No Python 3.11 or later under the names: $(PYTHONS). Name yours: make $(MAKECMDGOALS) PYTHON=...' >&2; \
	  fi; \
	  exit 1; }
	@touch $@

$(VENV)/.run: $(VENV)/.created requirements.lock pyproject.toml
	@echo 'Installing what requirements.lock names (once, and again when it changes)'
	@$(PIP) install --require-hashes --requirement requirements.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

# All of requirements.lock stands in requirements-dev.lock with the same pins, so this serves `make run` as well.
$(VENV)/.dev: $(VENV)/.created requirements-dev.lock pyproject.toml
	@echo 'Installing what requirements-dev.lock names (once, and again when it changes)'
	@$(PIP) install --require-hashes --requirement requirements-dev.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $(VENV)/.run $@

# uv alone, in the version and with the hash that the lock names, so that a lock which does not install can be mended.
$(VENV)-lock/.created: $(VENV)/.created requirements-dev.lock
	@$(BIN)/python -m venv --clear $(VENV)-lock
	@sed -n '/^uv==/,/[^\\]$$/p' requirements-dev.lock > $(VENV)-lock/uv.lock
	@$(VENV)-lock/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes --requirement $(VENV)-lock/uv.lock
	@touch $@

# Our own dependencies in their lowest versions, and the tools of the tests as they are locked.
$(VENV)-lowest/.created: $(VENV)-lock/.created pyproject.toml requirements-dev.lock
	@echo 'Installing the lowest versions that pyproject.toml allows (once, and again when they change)'
	@$(BIN)/python -m venv --clear $(VENV)-lowest
	@$(VENV)-lock/bin/uv --quiet pip compile pyproject.toml --resolution lowest-direct --python $(BIN)/python \
		--no-header --no-annotate --output-file $(VENV)-lowest/lowest
	@sed -n 's/^\([a-z0-9-]*\)\(\[[a-z0-9,-]*\]\)\{0,1\}==\([^ ]*\)\( ;[^\\]*\)\{0,1\} \\$$/\1==\3\4/p' requirements-dev.lock | \
		awk -F == 'NR == FNR { lowest[$$1] = $$0; next } { print ($$1 in lowest) ? lowest[$$1] : $$0 }' $(VENV)-lowest/lowest - \
		> $(VENV)-lowest/all
	@$(VENV)-lock/bin/uv --quiet pip install --python $(VENV)-lowest/bin/python --no-deps --requirement $(VENV)-lowest/all
	@$(VENV)-lock/bin/uv --quiet pip install --python $(VENV)-lowest/bin/python --no-deps --no-build-isolation --editable .
	@$(VENV)-lock/bin/uv --quiet pip check --python $(VENV)-lowest/bin/python
	@touch $@
