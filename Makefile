# Everything runs in .venv, which is made on first use with nothing but Python 3.11, pip and make.
# PyTorch's build for NVIDIA GPUs needs about 6 GB of disk.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
OUT ?= demo
BIN := .venv/bin
# One test file at a time to each core, and one thread to each: threads that wait for each other on a
# core that is taken cost more than they bring. The slowest tests are listed at the end.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --durations=25

.PHONY: demo test claims lint docs bench clean

demo: .venv/installed
	$(BIN)/layerwise demo --out $(OUT)

test: .venv/installed
	$(PYTEST)

# Measures every claim anew and keeps the numbers; the README and the documentation show them.
claims: .venv/developing
	rm -f build/claims.json
	$(PYTEST)
	cp build/claims.json tests/claims.json
	$(BIN)/python docs/pages.py

lint: .venv/developing
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: .venv/developing
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: .venv/installed
	for file in benchmarks/[a-z]*.py; do $(BIN)/python $$file || exit 1; done

clean:
	rm -rf .venv build site

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet -e '.[test]'
	touch $@

.venv/developing: .venv/installed
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	touch $@
