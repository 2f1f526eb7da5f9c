# The door to everything: `make help` lists what is behind it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# uv installs exactly what uv.lock says; pip only brings uv.
UV_VERSION := 0.13.9
# Some container images set it for all. The tests start hundreds of programs, each of which would then compile
# every module anew: half of what a start costs.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help: ## what each target does
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

$(BIN)/uv-$(UV_VERSION):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "vanadium-cluster needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@touch $@

$(VENV)/installed: $(BIN)/uv-$(UV_VERSION) pyproject.toml uv.lock
	$(BIN)/uv sync --quiet --locked
	@touch $@

.PHONY: install
install: $(VENV)/installed ## the environment, exactly as locked, in .venv

.PHONY: lock
lock: $(BIN)/uv-$(UV_VERSION) ## resolve pyproject.toml into uv.lock anew
	$(BIN)/uv lock

.PHONY: format
format: install ## rewrite the code as ruff formats it
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: lint
lint: install ## formatting, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# Two processes more than there are cores: the one with the real node mostly waits, and others often do
# (tests/distribution.py).
TEST_PROCESSES ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 2)

.PHONY: test
test: install ## every test, on several processes; builds the control plane for them where it is missing
	$(BIN)/pytest --numprocesses=$(TEST_PROCESSES) --durations=20 $(PYTEST_ARGS)

.PHONY: fuzz
fuzz: install ## every parser of what others send, guided by coverage; Linux on x86-64
	$(BIN)/uv sync --quiet --locked --group fuzz
	$(BIN)/python -m tests.fuzz all $(or $(FUZZ_ARGS),--runs 5000)

.PHONY: cluster-test
cluster-test: install ## on a real node: install, every kind of workload, what goes wrong, upgrade, removal
	VANADIUM_TEST_CONTEXT=$(VANADIUM_TEST_CONTEXT) $(BIN)/pytest tests/cluster --durations=10 $(PYTEST_ARGS)

.PHONY: demo
demo: install ## the product in local mode, step by step, in under a minute
	$(BIN)/python examples/demo.py

.PHONY: controlplane
controlplane: install ## build or find the Kubernetes programs that tests need
	$(BIN)/python -m tests.controlplane build
