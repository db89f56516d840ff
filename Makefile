# Every command sets up what it needs in .venv; only Python 3.11 or 3.12 and make must be there.
PYTHON ?= $(shell for p in python3.12 python3.11 python3 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
PACKAGES := config connectors events flows operators tidewax

.DEFAULT_GOAL := help
.PHONY: help install demo test check bench soak clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.venv/installed: pyproject.toml
	@test -n "$(PYTHON)" || { echo "Tidewax needs Python 3.11 or 3.12 (Bytewax has no wheels for others): install one, or name it with make PYTHON=..."; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

.venv/developed: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

install: .venv/installed ## install into .venv

demo: .venv/installed ## run live on a local exchange for a minute, and print what came out
	$(BIN)/tidewax demo

check: .venv/developed ## lint, types, import contracts, fast tests: under two minutes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m 'not slow and not kafka'

test: .venv/developed ## everything: lint, types, contracts, laws, crashes, command line, a Kafka broker, doctests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder --doctest-modules $(PACKAGES) tests

# what it is compared with must not share its environment; without a connection its rows are left out
.cache/nautilus-venv/tried: .venv/installed
	$(BIN)/python -m venv .cache/nautilus-venv
	.cache/nautilus-venv/bin/python -m pip install --quiet --disable-pip-version-check --only-binary :all: nautilus_trader \
		&& touch $@ || echo "nautilus_trader could not be installed: the benchmarks go on without it"

.cache/quix-venv/tried: .venv/installed
	$(BIN)/python -m venv .cache/quix-venv
	.cache/quix-venv/bin/python -m pip install --quiet --disable-pip-version-check --only-binary :all: quixstreams \
		&& touch $@ || echo "quixstreams could not be installed: the benchmarks go on without it"

bench: .venv/developed .cache/nautilus-venv/tried .cache/quix-venv/tried ## print the benchmark tables
	$(BIN)/python -m benchmarks

soak: .venv/developed ## the long runs: every law and fault with many seeds, many kills; then docs/soak.md
	rm -rf .cache/soak
	TIDEWAX_SOAK=1 $(BIN)/python -m pytest -q -n 2 --dist worksteal tests
	$(BIN)/python tests/soak_rows.py > docs/soak.md

clean: ## remove what was installed and generated
	rm -rf .venv .cache demo build *.egg-info
