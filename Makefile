# Everything is set up in .venv from the lock; the first target that needs it makes it.
PYTHON ?= python3
PORT ?= 8000
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
export SHIPLOCK_DATA_DIR ?= $(CURDIR)/.data

WHAT ?= domain
SAMPLE ?= all
SEED ?= 1
ONLY ?=

.PHONY: run test lint mutants bench crashes rebuilds tamperings story lock clean

run: $(READY)  ## Serve the program on the embedded database with sample data
	$(BIN)/shiplock demo --serve --port $(PORT)

test: lint  ## Style, types, layers, and every test, over all cores
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

mutants: $(READY)  ## Changes of the code that no test notices: WHAT=domain|commands|views SAMPLE=200 SEED=1
	$(BIN)/python -m tests.mutants $(WHAT) --sample $(SAMPLE) --seed $(SEED) --only "$(ONLY)"

bench: $(READY)  ## What the benchmarks claim, measured here
	$(BIN)/python -m benchmarks

crashes: $(READY)  ## Twenty kills under load, and whether anything acknowledged was lost or doubled
	$(BIN)/python -m benchmarks.crashes

rebuilds: $(READY)  ## A rebuild under load: killed, resumed, verified, activated, gone back from
	$(BIN)/python -m benchmarks.rebuilds

tamperings: $(READY)  ## Nine ways to tamper with a log, and what verification says of each
	$(BIN)/python -m benchmarks.tamperings

story: $(READY)  ## A SKU sells beyond its stock, and how a shop gets out of it, over HTTP
	$(BIN)/python -m benchmarks.story

lock:  ## Lock the newest versions that pyproject.toml admits
	$(PYTHON) -m venv $(VENV)-lock && $(VENV)-lock/bin/pip install --quiet uv
	$(VENV)-lock/bin/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-annotate --no-header --upgrade --quiet -o requirements.lock
	$(VENV)-lock/bin/uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-annotate --no-header --upgrade --quiet -o requirements-dev.lock
	rm -rf $(VENV)-lock

clean:
	rm -rf $(VENV) .data build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

$(READY): requirements-dev.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Shiplock needs Python 3.11 or later.")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $(READY)
