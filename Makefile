# `make help` is this file's manual: it prints what follows `##`.

VENV       := .venv
DRIFT_VENV := .venv-drift
BIN        := $(VENV)/bin
LOCKED     := requirements/main.txt requirements/dev.txt
BENCHMARKS := $(filter-out %/__init__.py,$(wildcard benchmarks/*.py))
# Of the images; each has the versions of main.txt.
CHECKOV_VENV := .venv-checkov
BROWSER_VENV := .venv-browser
IMAGE_LOCKS := core serving pipeline dashboard
ALL_IMAGES := serving pipeline dashboard drift space
VERSION    := $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' cryptosentinel/__init__.py)
MADE_OF    := pyproject.toml requirements/bootstrap.txt $(LOCKED)
PYTHONS     = $(if $(PYTHON),$(PYTHON),python3.11 python3.12 python3.13 python3 python)
# 3.11 is the lowest Python that every lock must install on.
COMPILE    := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url
# On a terminal uv shows how far it is; in a log it would only list 150 packages.
QUIET      := $(shell [ -t 2 ] || echo --quiet)
# A lock is complete; what packages ask for besides was left out on purpose (requirements/*.excludes).
INSTALL    := pip install $(QUIET) --no-deps --require-hashes --compile-bytecode
# Only the Python that was asked for: uv would fetch one.
export UV_PYTHON_DOWNLOADS := never
# By default it gives up on a file after a minute, which a busy machine may take.
export UV_COMPILE_BYTECODE_TIMEOUT := 600
# Several test processes share the cores: one thread each. There is one more of them than the cores that CI has, since
# many tests wait; and what they start by the hundred need not compile the code each for itself.
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1

# An environment is finished when its file .state says where it lies and what it was made of. It is taken away before
# anything is changed: what was interrupted is made anew.
state = pwd; cat $(1) | cksum
# find(candidates,minor): sets $$python to the first that is at least 3.11 and below 3.minor; empty where none is.
find = for python in $(1) ''; do [ -z "$$python" ] \
         || $$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, $(2)))' 2>/dev/null && break; done
# The cluster needs no environment: the standard library of the first suitable Python.
cluster = $(call find,$(PYTHONS),99); [ -n "$$python" ] || { echo "Python 3.11 or newer is needed." >&2; exit 1; }; $$python -m manifests.kind
place = head -n 1 $(1)/.state 2>/dev/null
count = grep -c '==' $(1)

tag = $(strip $(REGISTRY))/$$image:$(strip $(TAG))

.DEFAULT_GOAL := help
.PHONY: help setup setup-drift environment drift-environment run demo doctor test chaos test-drift setup-browser test-browser screenshots lint format bench bench-serving compile lock \
        clean images test-images chart chart-docs chart-scan kind-up kind-status kind-logs \
        kind-down e2e

##@ Use
run: setup ## Run everything on this machine: bars, features, training, predictor, dashboard
	@$(BIN)/cryptosentinel up $(ARGS) || [ $$? = 130 ] # Ctrl-C is how it ends

demo: setup ## Show a simulated market with a week of history, in about two minutes; ARGS="--days 2" takes less
	@$(BIN)/cryptosentinel demo $(ARGS) || [ $$? = 130 ] # Ctrl-C is how it ends

doctor: setup ## Say what is missing on this machine, and how to mend it
	@$(BIN)/cryptosentinel doctor

setup: ## Make .venv from the locked requirements; does nothing when it is up to date
	@{ [ "$$(cat $(VENV)/.state)" = "$$($(call state,$(MADE_OF)))" ] && $(BIN)/python -c 'import uv'; } 2>/dev/null \
	  || $(MAKE) --no-print-directory environment

setup-drift: setup ## Make .venv-drift with alibi-detect, which then looks for drift; without it SciPy does
	@{ [ "$$(cat $(DRIFT_VENV)/.state)" = "$$($(call state,requirements/drift.txt))" ] \
	  && $(DRIFT_VENV)/bin/python -c 'import numpy'; } 2>/dev/null || $(MAKE) --no-print-directory drift-environment

##@ Develop
test: setup ## Run the tests; ARGS="-k config" picks some
	@env -u PYTHONDONTWRITEBYTECODE $(ONE_THREAD) $(BIN)/pytest -n 3 --dist loadscope --no-loadscope-reorder --durations 10 $(ARGS)

chaos: setup ## Break all that can break, and hold the invariants against what is left; ARGS="-k source" picks some
	@in=; ! unshare -rm true 2>/dev/null || in="unshare -rm"; \
	$(ONE_THREAD) $$in $(BIN)/pytest tests/chaos -m "chaos or not chaos" -n 2 --dist worksteal $(ARGS)

test-drift: setup-drift ## Run the tests of alibi-detect's environment
	@$(ONE_THREAD) CRYPTOSENTINEL_TEST_DRIFT=$(DRIFT_VENV)/bin/python $(BIN)/pytest tests/drift/environment tests/conformance/test_detectors.py $(ARGS)

setup-browser: setup ## Make .venv-browser, in which the dashboard is tried in a real browser
	@[ "$$(cat $(BROWSER_VENV)/.state 2>/dev/null)" = "$$($(call state,requirements/browser.txt))" ] || { \
	  rm -rf $(BROWSER_VENV) && $(BIN)/uv venv --quiet --python $(BIN)/python $(BROWSER_VENV) \
	  && $(BIN)/uv $(INSTALL) --python $(BROWSER_VENV)/bin/python -r requirements/browser.txt \
	  && { $(call state,requirements/browser.txt); } >$(BROWSER_VENV)/.state; }

test-browser: setup-browser ## Try the dashboard in this machine's Chromium (or CHROMIUM=/path), over a demo; ARGS="-k filter"
	@$(ONE_THREAD) $(BROWSER_VENV)/bin/python -m pytest -c tests/browser/pytest.ini --rootdir . --confcutdir tests/browser tests/browser $(ARGS)

screenshots: setup-browser ## Screenshots of every page over a demo, light, dark and on a phone, into docs/images; ARGS="--url URL"
	@$(BROWSER_VENV)/bin/python -m tests.browser.screenshots docs/images $(ARGS)

lint: setup ## Check style, types, the direction of imports, the Dockerfile, and the workflows
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint images/Dockerfile
	PATH="$(BIN):$$PATH" $(BIN)/actionlint

format: setup ## Format the code, and mend what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup ## Run the benchmarks; ARGS=benchmarks/NAME.py runs one
	@[ -n "$(BENCHMARKS)" ] || { echo "Not yet: there are no benchmarks." >&2; exit 1; }
	@for script in $(or $(ARGS),$(BENCHMARKS)); do echo "== $$script"; $(BIN)/python $$script || exit 1; done

bench-serving: setup ## Measure the predictor beside an empty and a naive one; ARGS=--mlserver: and MLServer; --quick tries it
	@$(BIN)/python benchmarks/bench_serving.py $(ARGS)

compile: setup ## Compile the pipelines into manifests/pipelines
	@$(BIN)/cryptosentinel pipelines compile

lock: setup ## Lock requirements/*.in into *.txt with hashes; ARGS=--upgrade takes newer versions
	@for name in main dev bootstrap drift mlserver checkov browser $(IMAGE_LOCKS); do \
	  echo "Locking requirements/$$name.txt"; \
	  over=$$(ls requirements/$$name.overrides 2>/dev/null); without=$$(ls requirements/$$name.excludes 2>/dev/null); \
	  $(COMPILE) $(ARGS) $${over:+--overrides $$over} $${without:+--excludes $$without} requirements/$$name.in -o requirements/$$name.txt >/dev/null || exit 1; \
	done

clean: ## Remove caches and build outputs; keeps the environments and your data in .cryptosentinel
	rm -rf build dist local_outputs *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +

##@ Cluster
images: ## Build the container images, and say how large they are; IMAGES=serving builds one
	@docker info >/dev/null || { echo "Docker is needed: a running engine, 20.10 or newer." >&2; exit 1; }
	@for image in $(IMAGES); do \
	  echo "Building $(tag)"; \
	  DOCKER_BUILDKIT=1 docker build $(QUIET) --file images/Dockerfile --target $$image --tag $(tag) \
	    --build-arg BASE=$(BASE) --build-arg VERSION=$(VERSION) --build-arg REVISION=$$(git rev-parse HEAD 2>/dev/null) \
	    . >/dev/null || exit 1; \
	done
	@for image in $(IMAGES); do \
	  docker image inspect --format "{{.Size}} $(tag)" $(tag); \
	done | awk '{ printf "%5d MB  %s\n", $$1 / 1e6, $$2 }'

test-images: setup ## Build the images, and try them as they run in a pod; ARGS="-k serving" picks some
	@$(ONE_THREAD) $(BIN)/pytest tests/images --durations 10 $(ARGS)

chart: setup ## Check the Helm chart with Helm and the API schemas of every Kubernetes version; package it into dist
	@$(ONE_THREAD) $(BIN)/pytest tests/chart $(ARGS)
	@mkdir -p dist && $(BIN)/python -c 'import helm_python; print(helm_python.package("charts/cryptosentinel", destination="dist"))'

chart-docs: setup ## Write what of the chart is made from its values' comments and the library's settings
	@$(BIN)/python -m charts.make

chart-scan: setup ## Look for what is careless in the chart's manifests, with checkov in an environment of its own
	@[ "$$(cat $(CHECKOV_VENV)/.state 2>/dev/null)" = "$$($(call state,requirements/checkov.txt))" ] || { \
	  rm -rf $(CHECKOV_VENV) && $(BIN)/uv venv --quiet --python $(BIN)/python $(CHECKOV_VENV) \
	  && $(BIN)/uv $(INSTALL) --python $(CHECKOV_VENV)/bin/python -r requirements/checkov.txt \
	  && { $(call state,requirements/checkov.txt); } >$(CHECKOV_VENV)/.state; }
	@rm -rf build/chart && $(BIN)/python -m tests.chart.written build/chart
	@$(CHECKOV_VENV)/bin/checkov --directory build/chart --config-file charts/checkov.yaml

kind-up: ## Install all of it on a local kind cluster, or go on where that stopped; KUBERNETES=1.36 takes another version
	@$(cluster) up $(if $(KUBERNETES),--kubernetes $(KUBERNETES)) $(ARGS)

kind-status: ## Say how it is with the cluster: what runs, what does not and why, its addresses
	@$(cluster) status

kind-logs: ## Collect the cluster's logs into build/kind/logs
	@$(cluster) logs

kind-down: ## Remove the local kind cluster, with all that is stored in it
	@$(cluster) down

e2e: setup ## From nothing to the first settled forecast, on a local kind cluster; takes about an hour and a half
	@$(cluster) up $(if $(KUBERNETES),--kubernetes $(KUBERNETES)) --values manifests/kind/e2e-values.yaml $(ARGS)
	@$(BIN)/pytest tests/cluster

# The two below do the work of setup and setup-drift when there is work to do.
environment:
	@if [ "$$($(call place,$(VENV)))" = "$$(pwd)" ] && $(BIN)/python -c 'import uv' 2>/dev/null; then \
	  echo "[1/4] Keeping $(VENV): only its requirements changed"; \
	else \
	  $(call find,$(PYTHONS),99); \
	  if [ -z "$$python" ]; then \
	    echo "There is no Python 3.11 or newer among: $(PYTHONS)." >&2; \
	    echo "Install one (Debian, Ubuntu: python3.11 and python3.11-venv; macOS: brew install python@3.11), or name" >&2; \
	    echo "one that you have: make setup PYTHON=/path/to/python3.11" >&2; exit 1; \
	  fi; \
	  echo "[1/4] Making $(VENV) with $$($$python --version)"; \
	  rm -rf $(VENV) && $$python -m venv $(VENV) || { \
	    echo "$$python cannot make an environment: install its venv module (Debian, Ubuntu: python3-venv)." >&2; exit 1; }; \
	fi
	@rm -f $(VENV)/.state
	@echo "[2/4] Installing the installer, uv"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.txt
	@echo "[3/4] Installing $$(cat $(LOCKED) | $(call count,-)) locked packages (450 MB to download the first time)"
	@$(BIN)/uv $(INSTALL) --python $(BIN)/python $(addprefix -r ,$(LOCKED)) || { \
	  echo "Not finished. 'make setup' again goes on with what was downloaded." >&2; exit 1; }
	@echo "[4/4] Installing CryptoSentinel itself"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@{ $(call state,$(MADE_OF)); } >$(VENV)/.state

drift-environment:
	@$(call find,$(BIN)/python $(PYTHONS),13); \
	[ -n "$$python" ] || { echo "alibi-detect needs Python 3.11 or 3.12: make setup-drift PYTHON=/path/to/python3.11" >&2; exit 1; }; \
	echo "[1/2] Making $(DRIFT_VENV) with $$($$python --version)"; \
	rm -rf $(DRIFT_VENV) && $(BIN)/uv venv --quiet --python $$python $(DRIFT_VENV)
	@echo "[2/2] Installing $$($(call count,requirements/drift.txt)) locked packages"
	@$(BIN)/uv $(INSTALL) --python $(DRIFT_VENV)/bin/python -r requirements/drift.txt
	@{ $(call state,requirements/drift.txt); } >$(DRIFT_VENV)/.state

##@ Help
help: ## Show this help
	@echo "CryptoSentinel. Usage: make TARGET [VARIABLE=value]"
	@awk '/^##@ / { print "\n" substr($$0, 5) ":" } \
	  /^[a-zA-Z0-9-]+ *[?:][^#]*## / { name = $$1; sub(/:$$/, "", name); sub(/^[^#]*## /, ""); printf "  %-13s %s\n", name, $$0 }' \
	  $(firstword $(MAKEFILE_LIST))

##@ Variables
KUBERNETES ?= ## Of kind-up and e2e: 1.34, 1.35 or 1.36
ARGS   ?= ## What run, test, bench and lock pass on: make run ARGS="--once --source simulated"
IMAGES ?= $(ALL_IMAGES) ## What images builds
REGISTRY ?= cryptosentinel ## Where images are to be pushed: a registry and a project
TAG    ?= $(VERSION)-python3.11 ## Of the images
BASE   ?= python:3.11-slim-bookworm ## What the images are built on
PYTHON ?= ## The interpreter for setup, 3.11 or newer; by default the first suitable one on PATH
