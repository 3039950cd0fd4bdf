# `make run` and `make test` install what they need.
.DEFAULT_GOAL := help
SHELL := /bin/bash

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# `make run` alone needs a third of the packages. If everything is installed already, it uses that.
RUN_VENV := $(if $(wildcard $(STAMP)),$(VENV),.venv-run)
RUN_STAMP := $(RUN_VENV)/.installed
WORKERS ?= auto
# How often a failed test is run again. Such tests are listed at the end.
RERUNS ?= 0
# AGAIN=1 runs failed tests once more at the end, in a new process: a test can fail because its process is damaged.
AGAIN ?=
LAST_FAILED := --last-failed --last-failed-no-failures none
VERSIONS ?= 14 15 16 17 18
ENGINE_TESTS ?= tests/unit tests/golden tests/integration tests/torture
TIMES ?= 1
# Packages that the service's dependencies declare and that it never imports: examples, terminals, websockets.
NOT_SHIPPED := colorama faker httpcore httpx markdown-it-py mdurl polyfactory rich rich-click shellingham tzdata watchfiles websockets
BROWSER_TESTS := tests/service/dashboard/browser

export PYTHONPATH := $(CURDIR)/app
# Tests start hundreds of processes, so bytecode is cached even if the environment disables it.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help run test browser-test pictures check bench torture docs test-matrix lock wheel-test clean soak fuzz image-test \
	chart-test integrations-test importers-test importers-record clone-test release-check

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(RUN_STAMP) ## Start the service (and an embedded PostgreSQL, unless DATABASE_URL is set)
	@test -e .venv-run || ln -sfn $(VENV) .venv-run  # what the documentation calls
	@exec $(RUN_VENV)/bin/python -m pgdbm_service

test: $(STAMP) ## Run every test but those in a browser (COVER=1 measures branch coverage, TEST="tests/unit" runs a part)
ifdef COVER
	@mkdir -p .cache/coverage
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n $(WORKERS) --dist worksteal --reruns $(RERUNS) $(addprefix --ignore=,$(BROWSER_TESTS)) $(TEST) \
		$(if $(AGAIN),|| $(BIN)/coverage run -m pytest $(LAST_FAILED))
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report $(if $(TEST),--fail-under=0)
else
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --reruns $(RERUNS) $(addprefix --ignore=,$(BROWSER_TESTS)) $(TEST) \
		$(if $(AGAIN),|| $(BIN)/python -m pytest $(LAST_FAILED))
endif

browser-test: $(STAMP) ## Run the tests of the dashboard in a real browser, with pictures in .cache/pictures
	PGDBM_PICTURES=$(CURDIR)/.cache/pictures $(BIN)/python -m pytest -q -n 2 --dist worksteal --reruns 2 $(BROWSER_TESTS)

pictures: browser-test ## Take the pictures of the documentation again, into docs/pictures
	$(BIN)/python .ci/pictures

check: check-text check-mypy check-basedpyright ## Linters, type checkers, import contracts, spelling

.PHONY: check-text check-mypy check-basedpyright
check-text: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/codespell
	$(BIN)/python .ci/words.py

check-mypy: $(STAMP)
	$(BIN)/mypy
	$(BIN)/mypy tests/typing

check-basedpyright: $(STAMP)
	$(BIN)/basedpyright --pythonpath $(BIN)/python

bench: $(STAMP) ## Measure speed, as ratios to baselines of the same run (BENCH="apply queries")
	$(BIN)/python -m tests.benchmarks $(BENCH)

test-matrix: $(STAMP) ## Run the engine's tests on PostgreSQL 14 to 18 (VERSIONS="14 15")
	@set -e; for version in $(VERSIONS); do \
		programs=$$($(BIN)/python .ci/postgres $$version) || { [ $$? -eq 3 ] && continue; exit 1; }; \
		echo "== PostgreSQL $$version"; \
		PGDBM_POSTGRES_BIN=$$programs $(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal $(ENGINE_TESTS); \
	done

torture: $(STAMP) ## Run tests/torture for longer: kills, lost connections, crashes, races (TIMES=2 doubles it)
	PGDBM_TORTURE=$(TIMES) $(BIN)/python -m pytest -v --timeout 3600 -n $(WORKERS) --dist worksteal tests/torture

soak: $(STAMP) ## Run the service under a steady load for MINUTES=10; memory and connections must not grow
	$(BIN)/python -m tests.torture.soak --minutes $(or $(MINUTES),10)

fuzz: $(STAMP) ## Send malformed files, archives, requests and server messages for MINUTES=30
	$(BIN)/python -m tests.torture.fuzz --minutes $(or $(MINUTES),30)

docs: $(STAMP) ## Build the documentation into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

release-check: $(STAMP) ## Build the distribution; check version, changelog, content, metadata, licences; write the SBOM
	$(BIN)/python .ci/release_check.py $(if $(RELEASE),--release)

clone-test: ## Run `make run` in an empty clone, with an empty environment; prints seconds and size
	$(PYTHON) .ci/clone_test.py

importers-test: $(STAMP) ## Take over histories that real migration tools write now, installed under .cache (takes minutes)
	PGDBM_MIGRATION_TOOLS=1 $(BIN)/python -m pytest -v -k real_tool tests/integration/importers/test_each_tool.py

importers-record: $(STAMP) ## Record the histories of real migration tools again, as data for the tests
	$(BIN)/python -m tests.integration.importers.record $(TOOLS)

wheel-test: $(STAMP) ## Build the wheel, show that it is complete, and run tests against it
	$(BIN)/python .ci/wheel_test.py

image-test: $(STAMP) ## Build the image, print its size, and run it; starts an engine as root where there is none
	@$(BIN)/python .ci/image_test.py || { [ $$? -eq 3 ] && exit 0; exit 1; }

.PHONY: compose-test
compose-test: $(STAMP) ## Start docker-compose.yml with its profiles, up to a migrated module
	@$(BIN)/python .ci/image_test.py --compose || { [ $$? -eq 3 ] && exit 0; exit 1; }

chart-test: $(STAMP) ## Lint, render, install, upgrade and roll back the chart; check its objects, alerts and dashboard
	@echo "helm installs on a substitute for the API server of Kubernetes: no package has the real one"
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal tests/deploy -k "chart or alerts or dashboard"

integrations-test: $(STAMP) ## Run the integrations with a migration of two minutes, behind a proxy that closes idle connections after one
	PGDBM_INTEGRATION_S=120 $(BIN)/python -m pytest -q -n 12 tests/deploy/test_integrations.py

lock: ## Resolve the dependencies again and write the locks (needs uv)
	UV_PYTHON_DOWNLOADS=never uv export -q --format requirements-txt --all-extras --all-groups --no-emit-project \
		--no-header --output-file requirements.lock
	UV_PYTHON_DOWNLOADS=never uv export -q --format requirements-txt --extra service --extra otel --no-default-groups --no-emit-project \
		$(addprefix --no-emit-package ,$(NOT_SHIPPED)) --no-header --output-file requirements.service.lock
	UV_PYTHON_DOWNLOADS=never uv export -q --format requirements-txt --only-group build --no-emit-project \
		--no-header --output-file requirements.build.lock
	UV_PYTHON_DOWNLOADS=never uv export -q --format requirements-txt --extra service --extra embedded --no-default-groups --no-emit-project \
		$(addprefix --no-emit-package ,$(NOT_SHIPPED)) --no-header --output-file requirements.run.lock
	rm -f uv.*

.PHONY: lock-check
lock-check: $(STAMP) ## Resolve the locks for macOS on arm64 and Linux on x86-64 and aarch64
	$(BIN)/python .ci/lock_check.py

clean: ## Remove generated files, including the embedded server's data
	rm -rf $(VENV) .venv-run .cache .pgdbm build dist

define check_python
@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 or newer is needed: install it, or say make PYTHON=/path/to/python3"; exit 1; }
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version)"; exit 1; }
@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "Python's module venv is needed: apt-get install python3-venv"; exit 1; }
endef

# pip verifies every hash. The stamp skips the installation the next time.
$(STAMP): requirements.lock
	$(check_python)
	@echo "Installing $$(grep -c '^[a-z]' $<) packages for development into $(VENV). The next time this is skipped."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r $<
	@touch $@

# Without bytecode: the first start writes it for what it imports, a fifth of everything.
.venv-run/.installed: requirements.run.lock
	$(check_python)
	@echo "Installing the $$(grep -c '^[a-z]' $<) packages that the service needs into .venv-run (180 MB). The next time this is skipped."
	@test ! -L .venv-run || rm .venv-run
	@$(PYTHON) -m venv .venv-run
	@.venv-run/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes --no-deps -r $<
	@touch $@
	@echo "Installed. Starting the service."
