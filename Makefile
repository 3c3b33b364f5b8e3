# What a newcomer types. `make help` lists the targets; each one does its own set-up.
.DEFAULT_GOAL := help
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help setup lint format type test test-unit demo bench soak lock clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): pyproject.toml requirements.lock scripts/setup
	@scripts/setup venv
	@touch $@

setup: $(STAMP) ## make the virtual environment and install what the tests need (Debian packages as root)
	@scripts/setup packages

lint: $(STAMP) ## ruff, format check and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

format: $(STAMP) ## rewrite the code in the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

type: $(STAMP) ## mypy, strict, over all packages
	$(BIN)/mypy

WORKERS ?= 3
test: setup ## everything but soaks, with what this machine allows; CI demands all of it; WORKERS=3 at once
	$(BIN)/pytest -n $(WORKERS) --dist loadfile --reruns 2 --reruns-delay 2 --cov --cov-report=term:skip-covered $(ARGS)

test-unit: $(STAMP) ## only what needs neither root, network nor peers
	$(BIN)/pytest -m "not root and not network and not peer and not slow and not soak" $(ARGS)

demo: $(STAMP) ## build, push, sign, pull verified, run: the whole story in one go
	@scripts/setup demo
	@$(BIN)/python scripts/demo.py

bench: setup ## every benchmark with its peers, quick; see tests/bench/ for the long ones
	@for name in $$($(BIN)/python -m tests.bench --list); do \
	  echo "== $$name"; $(BIN)/python -m tests.bench.$$name --quick || exit 1; done

ROUNDS ?= 5
soak: setup ## hundreds of kills, faults and minutes of load, then the slow tests again and again; ROUNDS=5
	$(BIN)/pytest -m soak $(ARGS)
	$(BIN)/pytest tests/property --hypothesis-profile=search $(ARGS)
	@for round in $$(seq $(ROUNDS)); do $(BIN)/pytest -m slow $(ARGS) || exit 1; done

PIN = $(BIN)/pip-compile -q --no-config --generate-hashes --no-emit-index-url --no-emit-find-links \
  --no-emit-trusted-host --strip-extras --allow-unsafe
lock: $(STAMP) ## pin every dependency again, and of those what the image needs
	$(BIN)/python -m pip install -q pip-tools
	$(PIN) --extra dev -o requirements.lock pyproject.toml
	$(PIN) -c requirements.lock -o requirements-ldap.lock requirements-ldap.in
	$(PIN) --extra s3 --extra postgres --extra tracing -c requirements.lock -o deploy/requirements.lock pyproject.toml

clean: ## remove the environment and the caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage .cache
