# Two commands: `make demo` and `make test`. Both create .venv when it is not there and say what they do.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
STAMP = $(VENV)/.installed

.PHONY: demo test lint env clean

demo: env
	@echo "== training the embedded default (about four minutes on two cores)"
	$(BIN)/rlvr train --out runs/demo-$$(date +%Y%m%d-%H%M%S)

test: env
	@echo "== style and types"
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@echo "== tests"
	$(BIN)/python -m pytest

lint: env
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/mypy

env: $(STAMP)

# a machine without an NVIDIA driver gets the torch that is known to run on a CPU; elsewhere pip chooses
$(STAMP): pyproject.toml
	@echo "== creating $(VENV) and installing (minutes the first time)"
	$(PYTHON) -m venv $(VENV)
	@if command -v nvidia-smi >/dev/null 2>&1; then echo "== NVIDIA driver found"; \
	 else echo "== no NVIDIA driver: CPU torch"; $(BIN)/pip install --quiet torch==2.13.0; fi
	$(BIN)/pip install --quiet --editable '.[test]'
	@touch $(STAMP)

clean:
	rm -rf $(VENV) build dist *.egg-info
