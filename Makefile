# `make demo` and `make test` set up everything they need in .venv; no GPU and no Hugging Face Hub required.
PYTHON ?= python3
BIN := .venv/bin
DEMO := outputs/demo-$(shell date +%Y%m%d-%H%M%S)
export HF_HUB_DISABLE_TELEMETRY := 1

.PHONY: demo test slow lint setup lock audit coverage

# Everything but torch comes with its hash: requirements.lock, made by `make lock` from constraints.txt. torch's builds
# differ by machine (CPU, CUDA), and its CUDA packages by its build; it is pinned by version. What comes as source
# (deepspeed, rouge_score) is built with the hashed setuptools and wheel.
LOCKED := install --quiet --require-hashes --no-deps --no-build-isolation --requirement

.venv/ready: pyproject.toml requirements.lock requirements-build.lock
	@$(PYTHON) -c 'import sys; (3, 11) <= sys.version_info < (3, 15) or sys.exit("error: Python " + \
		sys.version.split()[0] + ": 3.11 to 3.14 is needed; say which, as in make PYTHON=python3.12 demo")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip $(LOCKED) requirements-build.lock
	DS_BUILD_OPS=0 $(BIN)/pip $(LOCKED) requirements.lock
	$(BIN)/pip install --quiet --constraint constraints.txt "torch==2.13.0"
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

setup: .venv/ready

demo: .venv/ready
	$(BIN)/dialsum demo $(DEMO)

# Two workers; the tests of a file share a trained model, so each file runs on one worker.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile

test: .venv/ready
	$(PYTEST)

slow: .venv/ready
	$(PYTEST) -m slow

# Lines of the package that the default suite runs, in the processes it starts too. Left out: a test in whose processes
# no file may grow, the coverage database neither.
SMALL_DISK := test_a_command_ends_with_one_line_and_exit_code_1_and_goes_on_when_there_is_room
coverage: export OMP_NUM_THREADS := 1
coverage: .venv/ready
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest --deselect tests/training/test_no_room.py::$(SMALL_DISK)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

# The rest needs a network. uv and pip-audit have their own environment, because they are not locked.
.venv-tools/ready:
	$(PYTHON) -m venv .venv-tools
	.venv-tools/bin/pip install --quiet "uv==0.13.9" "pip-audit==2.10.1"
	touch $@

COMPILE := .venv-tools/bin/uv pip compile --quiet --no-deps --universal --python-version 3.11 --generate-hashes \
	--no-annotate --custom-compile-command "make lock"
lock: .venv-tools/ready
	grep -v "^torch==" constraints.txt | $(COMPILE) - --output-file requirements.lock
	grep -E "^(setuptools|wheel)==" constraints.txt | $(COMPILE) - --output-file requirements-build.lock

# Known vulnerabilities of the locked packages; also fails when a package cannot be looked up.
audit: .venv-tools/ready
	.venv-tools/bin/pip-audit --strict --disable-pip --require-hashes --requirement requirements.lock
