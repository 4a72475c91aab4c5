# `make demo` and `make test` need Python 3.11 or newer, git and make; they set up the rest.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
WORKERS ?= 4
READY  := $(VENV)/.ready
# Agents' frameworks that cannot live beside those of $(VENV).
FRAMEWORKS := .venv-frameworks
# Twice as many as there usually are processors: tests wait for more than half of their time. What
# takes long to start is started by one of the workers.
PYTEST := $(BIN)/python -m pytest $(if $(filter-out 0 1,$(WORKERS)),-n $(WORKERS) \
	--dist loadgroup --no-loadscope-reorder)

export PREFECT_SERVER_ANALYTICS_ENABLED := false
export DO_NOT_TRACK := 1

.PHONY: install demo check test lint docs browser frameworks faults bench lock prefect schema clean

install: $(READY)

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name it: make PYTHON=python3.12"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $(READY)

demo: install
	$(BIN)/kodosumi-prefect demo

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Builds the site into site/; a broken link or reference is an error (with --quiet it is none).
docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

check: lint docs
	$(PYTEST) -m pure

test: lint browser frameworks
	$(PYTEST)

# What frameworks do as spans, in their newest versions: half a minute.
frameworks: $(FRAMEWORKS)/.ready
	$(FRAMEWORKS)/bin/python -m pytest --confcutdir=tests/frameworks tests/frameworks

$(FRAMEWORKS)/.ready: tests/frameworks/requirements.lock pyproject.toml
	test -x $(FRAMEWORKS)/bin/python || $(PYTHON) -m venv $(FRAMEWORKS)
	$(FRAMEWORKS)/bin/python -m pip install --quiet --disable-pip-version-check \
		-r tests/frameworks/requirements.lock
	$(FRAMEWORKS)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

# A Chromium for tests/browser: the system's, else Debian's (as root), else Playwright's.
browser: install
	@$(BIN)/python -m tests.browser.chromium

# Kills of every process around a run, on a Ray cluster of several nodes: some twenty minutes.
faults: install
	$(BIN)/python -m pytest -o addopts="-ra --strict-markers --strict-config" \
		tests/faults tests/e2e/test_service_faults.py

bench: install
	$(BIN)/python -m tests.benchmarks

# Needs uv; pins what was tested, for every platform and Python from 3.11 on.
lock:
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 \
		--no-emit-index-url --no-annotate --no-header --output-file requirements.lock
	uv pip compile pyproject.toml tests/frameworks/requirements.in --extra serve --extra trace --universal \
		--python-version 3.11 --no-emit-index-url --no-annotate --no-header \
		--output-file tests/frameworks/requirements.lock

# Another Prefect than the lock's, such as: make prefect PREFECT='>=3.9,<3.10'
prefect: install
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "prefect$(PREFECT)"

# Makes or upgrades the schema in the configured Postgres.
schema: install
	$(BIN)/kodosumi-prefect db upgrade

clean:
	rm -rf $(VENV) $(FRAMEWORKS) .kodosumi build dist site .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
