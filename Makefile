# The two commands of the README are `make demo` and `make test`; `make help` lists the rest.
SHELL := bash
.DEFAULT_GOAL := help
VENV := .venv/bin
# The demo's cluster keeps its state inside the checkout, so that `make clean` finds all of it.
export SELM_LOCAL_DIR ?= $(CURDIR)/.selm

.PHONY: help install demo test test-unit test-e2e test-long lint format types generate check-generated clean science

help: ## List the commands
	@grep -E '^[a-z0-9-]+:.*## ' Makefile | sed 's/:.*## /\t/' | expand -t 18

install: ## Make .venv with everything that the demo and the tests need
	@scripts/install.sh

demo: install ## Align a small model on this machine: cluster, store, operator and a whole run, in about a quarter of an hour
	@$(VENV)/selm local up
	@$(VENV)/python examples/quickstart/prepare.py --work .demo
	@$(VENV)/selm local run examples/quickstart.yaml --out .demo/report

test: install test-unit test-e2e ## The test suite as CI runs it

test-unit:
	@$(VENV)/pytest

test-e2e:
	@$(VENV)/pytest -m "e2e and not long"

test-long: install ## What `make test` leaves out because it takes long
	@$(VENV)/pytest -m long

science: ## Compare exploring loops on a problem with a known reward; writes docs/science.md
	@$(VENV)/python benchmarks/science.py

lint: ## Style, types and walls
	@$(VENV)/ruff check .
	@$(VENV)/ruff format --check .
	@$(VENV)/mypy
	@$(VENV)/lint-imports

format:
	@$(VENV)/ruff check --fix --quiet .
	@$(VENV)/ruff format --quiet .

generate: install ## Write the CRD, the field reference, the chart's parts and vLLM's arguments from their sources
	@$(VENV)/python -m selm_operator.api.generate
	@$(VENV)/python scripts/generate_engine_arguments.py
	@$(VENV)/python scripts/generate_chart.py

check-generated: ## Fail if a generated file is not current
	@$(VENV)/python -m selm_operator.api.generate --check
	@$(VENV)/python scripts/generate_chart.py --check

clean: ## Stop the demo's cluster and remove all that the demo and the tests made
	@if [ -x $(VENV)/selm ]; then $(VENV)/selm local down --delete; fi
	@rm -rf .demo .selm .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
