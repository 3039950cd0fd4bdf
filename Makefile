# Everything a newcomer needs: `make run` and `make test`. Both set up what they need by themselves.
.DEFAULT_GOAL := help
SHELL := /bin/bash

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
WORKERS ?= auto
VERSIONS ?= 14 15 16 17 18
ENGINE_TESTS ?= tests/unit tests/golden tests/contract tests/integration tests/torture
TIMES ?= 1

export PYTHONPATH := $(CURDIR)/app
# Processes are started by the hundred: what they compile is kept, whatever the environment says.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help run test check bench torture docs test-matrix lock wheel-test clean soak

help: ## What there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(STAMP) ## Start the service (and an embedded PostgreSQL, unless DATABASE_URL is set)
	@exec $(BIN)/python -m pgdbm_service

test: $(STAMP) ## Run every test
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(TEST)

check: $(STAMP) ## Linters, type checkers and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy tests/typing
	$(BIN)/basedpyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports --no-cache

bench: $(STAMP) ## Measure, as ratios against baselines of the same run (BENCH="apply queries")
	$(BIN)/python -m tests.benchmarks $(BENCH)

test-matrix: $(STAMP) ## Run the engine's tests on PostgreSQL 14 to 18 (VERSIONS="14 15")
	@set -e; for version in $(VERSIONS); do \
		programs=$$($(BIN)/python .ci/postgres $$version) || { [ $$? -eq 3 ] && continue; exit 1; }; \
		echo "== PostgreSQL $$version"; \
		PGDBM_POSTGRES_BIN=$$programs $(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal $(ENGINE_TESTS); \
	done

torture: $(STAMP) ## The long setting of tests/torture: kills, cuts, crashes, races (TIMES=2 for twice that)
	PGDBM_TORTURE=$(TIMES) $(BIN)/python -m pytest -v -n $(WORKERS) --dist worksteal tests/torture

soak: $(STAMP) ## The service under a steady load for MINUTES=10: memory and connections stay flat
	$(BIN)/python -m tests.torture.soak --minutes $(or $(MINUTES),10)

docs: $(STAMP) ## Build the documentation into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

wheel-test: $(STAMP) ## Build the wheel and run the tests against it instead of the sources
	$(BIN)/python .ci/wheel_test.py

lock: ## Write the locks anew (needs uv)
	UV_PYTHON_DOWNLOADS=never uv export -q --format requirements-txt --all-extras --all-groups --no-emit-project \
		--no-header --output-file requirements.lock
	UV_PYTHON_DOWNLOADS=never uv export -q --format requirements-txt --extra service --extra otel --no-default-groups --no-emit-project \
		--no-header --output-file requirements.service.lock
	rm -f uv.*

clean: ## Remove what was made here, the embedded server's data too
	rm -rf $(VENV) .cache .pgdbm build dist

# pip verifies every hash; the stamp makes the second start fast.
$(STAMP): requirements.lock
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 or newer is needed: install it, or say make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	@touch $@
