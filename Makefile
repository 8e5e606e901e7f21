# Everything runs in .venv; the system's Python is only used to create it.
PYTHON ?= python3
UV_VERSION := 0.13.9
VENV := .venv
BIN := $(VENV)/bin
UV := VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv
SHELL := /bin/sh

.PHONY: help demo test setup setup-dev system lint types unit kills faults fuzz sequences million bench lab dashboards doctor lock docs screenshots clean

help:           ## say what the targets do
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*##/ —/'

demo: setup     ## set up, run the main job on the sample bank and serve the dashboards
	$(BIN)/crm demo $(ARGS)

test: setup-dev lint types unit  ## set up and run lint, types and tests

setup: $(VENV)/.ready
setup-dev: $(VENV)/.ready-dev

$(BIN)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed; name one with: make PYTHON=python3.12 …"; exit 1; }
	@$(PYTHON) -m venv $(VENV) 2>/dev/null \
	  || { rm -rf $(VENV); $(PYTHON) -m pip install --quiet --target .bootstrap virtualenv \
	       && PYTHONPATH=.bootstrap $(PYTHON) -m virtualenv --quiet $(VENV) && rm -rf .bootstrap; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

$(VENV)/.ready: requirements.lock pyproject.toml | $(BIN)/uv
	@echo "Setting up $(VENV) …"
	@$(UV) pip install --quiet --require-hashes -r requirements.lock
	@$(UV) pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.ready-dev: requirements-dev.lock $(VENV)/.ready
	@echo "Adding the tools for tests …"
	@$(UV) pip install --quiet --require-hashes -r requirements-dev.lock
	@touch $@

lint: setup-dev ## ruff, import-linter and clean notebooks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/nbstripout --verify --extra-keys "metadata.papermill cell.metadata.papermill" notebooks/*.ipynb dashboards/*.ipynb

types: setup-dev ## mypy
	$(BIN)/mypy

unit: setup-dev ## tests with coverage
	$(BIN)/pytest -n 2 --dist loadfile --cov --cov-report=term:skip-covered --cov-report=xml $(ARGS)

system:         ## install the Debian packages the fullest tests want (root)
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium postgresql default-jre-headless fonts-dejavu-core

kills: setup-dev ## a thousand SIGKILLs of schedulers and their workers, and a thousand of jobs at every step
	CRM_KILLS=1000 $(BIN)/pytest tests/test_schedule_kills.py tests/test_kills_jobs.py

faults: setup-dev ## a full disk, failing writes, lost connections and lost power at every step
	CRM_LONG=1 $(BIN)/pytest tests/test_faults.py tests/test_power_loss.py tests/test_dropped_connections.py

fuzz: setup-dev ## a million malformed rows, then ten minutes of coverage-guided fuzzing (Linux)
	CRM_LONG=1 $(BIN)/pytest -s tests/test_load_fuzz.py
	$(UV) pip install --quiet --target benchmarks/results/atheris atheris==3.0.0
	mkdir -p benchmarks/results/fuzz/corpus
	PYTHONPATH=benchmarks/results/atheris $(BIN)/python tests/fuzz/reader.py -max_total_time=600 -max_len=4096 -artifact_prefix=benchmarks/results/fuzz/ benchmarks/results/fuzz/corpus

sequences: setup-dev ## 10,000 sequences of loads, prunings, trainings and scorings against a dictionary (hours)
	CRM_LONG=1 $(BIN)/pytest tests/test_store_machine.py

million: setup-dev ## the whole demo at a million customers: an hour or more, about 21 GB of disk
	$(BIN)/python benchmarks/bench_million.py --customers $(or $(CUSTOMERS),1000000) $(ARGS)

bench: setup-dev ## measure: sample bank, load, features, learning, several machines, the whole demo, propensity, dashboard, people, audiences, offers, desk, uplift, churn, lifetime, retention, demand, effects, orders
	$(BIN)/python benchmarks/bench_sample.py
	$(BIN)/python benchmarks/bench_load.py
	$(BIN)/python benchmarks/bench_features.py
	$(BIN)/python benchmarks/bench_learning.py
	$(BIN)/python benchmarks/bench_several_machines.py features
	$(BIN)/python benchmarks/bench_several_machines.py training
	$(BIN)/python benchmarks/bench_million.py --customers 20000 --no-picture
	$(BIN)/crm demo --no-serve --data benchmarks/results/bank
	$(BIN)/python benchmarks/bench_propensity.py --sample benchmarks/results/bank
	if [ -n "$$CRM_REAL_DATA" ]; then $(BIN)/python benchmarks/bench_propensity.py --bank-marketing; fi
	$(BIN)/python benchmarks/bench_dashboard.py
	$(BIN)/python benchmarks/bench_people.py
	$(BIN)/python benchmarks/bench_audiences.py
	$(BIN)/python benchmarks/bench_offers.py
	$(BIN)/python benchmarks/bench_desk.py
	$(BIN)/python benchmarks/bench_uplift.py bank --data benchmarks/results/bank
	if [ -n "$$CRM_REAL_DATA" ]; then $(BIN)/python benchmarks/bench_uplift.py hillstrom; fi
	$(BIN)/python benchmarks/bench_churn_risk.py --data benchmarks/results/bank
	$(BIN)/python benchmarks/bench_retention.py --data benchmarks/results/bank --as-of 2025-09-30
	$(BIN)/python benchmarks/bench_lifetime.py large
	$(BIN)/python benchmarks/bench_churn.py curves
	$(BIN)/python benchmarks/bench_demand_series.py
	$(BIN)/python benchmarks/bench_effects.py coverage
	$(BIN)/python benchmarks/bench_orders.py
	if [ -n "$$CRM_REAL_DATA" ]; then \
	  $(BIN)/python benchmarks/bench_lifetime.py cdnow; \
	  for part in telco bank renewal; do $(BIN)/python benchmarks/bench_churn.py $$part; done; \
	  for part in competitions others; do $(BIN)/python benchmarks/bench_demand.py $$part; done; \
	  for part in tourism retail speed; do $(BIN)/python benchmarks/bench_reconcile.py $$part; done; \
	  $(BIN)/python benchmarks/bench_effects.py cheese; \
	fi

lab: setup      ## open JupyterLab
	$(BIN)/crm lab

dashboards: setup ## serve the dashboards
	$(BIN)/crm dashboards

doctor: setup   ## say what is installed, where the data are and what is wrong
	$(BIN)/crm doctor

docs: setup     ## regenerate the generated documentation
	$(BIN)/python -m crmlib.warehouse.schema_docs

screenshots: setup-dev ## pictures of the dashboards in both languages, into screenshots/ (needs data made by the demo)
	$(BIN)/python tests/screenshots.py data screenshots

lock: $(BIN)/uv ## lock the newest versions within the bounds of pyproject.toml
	$(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --upgrade \
	  --extra build pyproject.toml -o requirements.lock
	$(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --upgrade \
	  --extra build --extra dev -c requirements.lock pyproject.toml -o requirements-dev.lock

clean:          ## remove the environment and caches, keep the data
	rm -rf $(VENV) .bootstrap .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage coverage.xml *.egg-info
