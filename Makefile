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

# the Python of an environment is settled when it is made
env: $(STAMP)
	@found=$$($(BIN)/python -V); $(if $(filter file,$(origin PYTHON)),,asked=$$($(PYTHON) -V); test "$$found" = "$$asked" || { \
	 echo "$(VENV) is $$found, not $$asked: make clean first, or add VENV=.venv-other" >&2; exit 2; })

# without an NVIDIA driver: the torch that is known to run on a CPU, from pip's own sources where they have
# that build, else whatever build there is; with one, pip chooses
TORCH = 2.13.0

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	 found=$$($(PYTHON) -V 2>/dev/null) || found="not there"; \
	 echo "rlvr needs Python 3.11 to 3.13 and $(PYTHON) is $$found; try: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 2; }
	@echo "== creating or updating $(VENV) (minutes the first time)"
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	@if command -v nvidia-smi >/dev/null 2>&1; then echo "== NVIDIA driver found: pip chooses torch"; else \
	 echo "== no NVIDIA driver: torch $(TORCH) for CPU"; \
	 $(BIN)/pip install --quiet torch==$(TORCH)+cpu 2>/dev/null || \
	 $(BIN)/pip install --quiet torch==$(TORCH); fi
	@echo "== installing rlvr and what its tests need"
	@$(BIN)/pip install --quiet --editable '.[test]'
	@touch $(STAMP)

clean:
	rm -rf $(VENV) build dist *.egg-info
