# `make demo` and `make test` set up everything they need in .venv; no GPU and no Hugging Face Hub required.
PYTHON ?= python3
BIN := .venv/bin
DEMO := outputs/demo-$(shell date +%Y%m%d-%H%M%S)
LAUNCH := $(BIN)/accelerate launch --quiet --config_file accelerate_configs/cpu.yaml
export HF_HUB_DISABLE_TELEMETRY := 1

.PHONY: demo test slow lint setup

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt "torch==2.13.0"
	DS_BUILD_OPS=0 $(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev,deepspeed]"
	$(BIN)/pip install --quiet --constraint constraints.txt --no-deps llama-models dashscope
	touch $@

setup: .venv/ready

# The main job on the toy is the first line; the second takes its adapter through the rest of the pipeline. One thread: the
# toy is too small for more, and threads that wait for one another spin.
demo: export HF_HUB_OFFLINE := 1
demo: export OMP_NUM_THREADS := 1
demo: .venv/ready
	$(LAUNCH) recipes/sft_llama3b.py --config recipes/demo.yaml --output_dir $(DEMO)/adapter
	$(BIN)/python -m dialsum_trl.tiny.story $(DEMO)/adapter $(DEMO)

test: .venv/ready
	$(BIN)/python -m pytest

slow: .venv/ready
	$(BIN)/python -m pytest -m slow

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
