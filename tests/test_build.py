"""Real engines, built without a GPU by TensorRT for RTX from real exports; what only TensorRT would do, by a double."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
import torch
from safetensors.torch import save_file

import export.to_tensorrt
from engines.backend import Backend, load_backend
from engines.compiled import TensorRtNetwork, check_step, check_window
from engines.errors import EngineError
from engines.spec import sha256_of
from engines.store import BatchRange, BuildOptions, EngineFile, EngineStore, Verification, read_record, record_path
from export.errors import BuildError, ParityError
from export.nano.model import NanoNetwork
from export.nano.to_onnx import export_nano
from export.to_tensorrt import Check, Request, build_engine, ready_engine, request
from export.verify import Departure
from tests.exported import UNCHECKED
from tests.fake_device import FakeDevice, FakeNetwork
from tests.tiny import tiny_network

needs_rtx = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx_bindings") is None,
    reason="TensorRT for RTX is not installed: pip install 'depthcast[rtx]'",
)


@pytest.fixture(scope="session")
def rtx() -> Backend:
    """The back end that builds without a GPU."""
    return load_backend("tensorrt_rtx")


def names(wanted: Request) -> list[str]:
    caches = wanted.spec.caches
    return [
        *("image", "positions", "mask"),
        *(cache.name for cache in caches),
        "depth",
        *(cache.feature for cache in caches),
    ]


@needs_rtx
@pytest.mark.slow
def test_vda_small_becomes_a_float16_engine(small_half_step: Path, rtx: Backend) -> None:
    phases: list[tuple[str, int, int]] = []
    wanted = request(small_half_step, rtx, None, BuildOptions(level=0))
    built = build_engine(wanted, progress=lambda *report: phases.append(report))
    assert built.layers > 500
    assert [binding.name for binding in built.bindings] == names(wanted)
    assert all(binding.shape[0] == 1 for binding in built.bindings)
    check_step(built.bindings, wanted.spec)
    dtypes = {binding.name: binding.dtype for binding in built.bindings}
    assert dtypes["image"] == dtypes["depth"] == "float32"
    assert dtypes["positions"] == "int64"
    assert {dtypes[cache.name] for cache in wanted.spec.caches} == {"float16"}
    # Smaller than the 111 MB of the weights in float32, larger than a network that lost them.
    assert 50e6 < len(built.engine) < 90e6
    assert phases[0][1:] == (0, phases[0][2])
    assert phases[-1][1] == phases[-1][2] > 0


@needs_rtx
@pytest.mark.slow
def test_the_embedded_model_is_built_for_the_size_asked_for(tmp_path: Path, rtx: Backend) -> None:
    torch.manual_seed(0)
    weights, path = tmp_path / "nano.safetensors", tmp_path / "nano.onnx"
    save_file(NanoNetwork().state_dict(), weights)
    export_nano(weights, path, UNCHECKED)
    wanted = request(path, rtx, None, BuildOptions(level=0), size=(96, 128))
    built = build_engine(wanted)
    assert built.layers > 100
    assert [binding.name for binding in built.bindings] == names(wanted)
    check_step(built.bindings, wanted.spec)
    shapes = {binding.name: binding.shape for binding in built.bindings}
    assert shapes["image"] == (1, 3, 96, 128)
    assert shapes["cache_1_0"][1] == 48
    assert len(built.engine) > 1e6


@needs_rtx
@pytest.mark.slow
def test_bytes_in_a_map_of_another_size_out_and_any_batch(tiny_open_step: Path, rtx: Backend) -> None:
    for batch, first in ((BatchRange(1, 2, 4), -1), (BatchRange(3, 3, 3), 3)):
        wanted = request(tiny_open_step, rtx, None, BuildOptions(batch, level=0))
        built = build_engine(wanted)
        check_step(built.bindings, wanted.spec)
        found = {binding.name: (binding.dtype, binding.shape) for binding in built.bindings}
        assert found["image"] == ("uint8", (first, 28, 42, 3))
        assert found["depth"] == ("float32", (first, 20, 30))
        assert {shape[0] for _, shape in found.values()} == {first}


@needs_rtx
def test_a_window_graph_becomes_an_engine(tiny_window: Path, rtx: Backend) -> None:
    wanted = request(tiny_window, rtx, None, BuildOptions(level=0))
    built = build_engine(wanted)
    check_window(built.bindings, wanted.spec)
    assert built.layers > 50


@needs_rtx
def test_a_free_batch_gets_its_range(tmp_path: Path, rtx: Backend) -> None:
    wanted = request(tiny_network(tmp_path), rtx, None, BuildOptions(BatchRange(1, 2, 4)), size=(64, 96))
    built = build_engine(wanted)
    assert {binding.name: binding.shape for binding in built.bindings} == {
        "image": (-1, 3, 64, 96),
        "positions": (-1, 3),
        "mask": (-1, 3),
        "depth": (-1, 64, 96),
    }


@needs_rtx
def test_an_engine_can_be_built_for_cards_that_are_not_here(tmp_path: Path, rtx: Backend) -> None:
    path = tiny_network(tmp_path)
    build_engine(request(path, rtx, None, BuildOptions(targets=("8.6", "8.9")), size=(64, 64)))
    with pytest.raises(BuildError, match=r"TensorRT-RTX .* builds for SM75, .*, asked for 9\.0"):
        build_engine(request(path, rtx, None, BuildOptions(targets=("9.0",)), size=(64, 64)))


@needs_rtx
def test_a_graph_that_the_parser_refuses_is_one_clear_error(tmp_path: Path, rtx: Backend) -> None:
    path = tiny_network(tmp_path)
    model = onnx.load(path)
    model.graph.node[0].op_type, model.graph.node[0].name = "Det", "the_node"
    del model.graph.node[0].input[1:]
    del model.graph.node[0].attribute[:]
    onnx.save_model(model, path)
    resign(path)
    with pytest.raises(BuildError, match=r"cannot read tiny\.onnx: Det the_node: .*; export the network again"):
        build_engine(request(path, rtx, None, BuildOptions(), size=(64, 64)))


@needs_rtx
def test_a_free_dimension_of_unknown_name_is_refused(tmp_path: Path, rtx: Backend) -> None:
    path = tiny_network(tmp_path)
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.shape.dim[3].dim_param = "breadth"
    onnx.save_model(model, path)
    resign(path)
    with pytest.raises(BuildError, match=r"image of tiny has a free dimension that nothing sets: .*breadth"):
        build_engine(request(path, rtx, None, BuildOptions(), size=(64, 64)))


def resign(path: Path) -> None:
    """Let the spec belong to a file that was changed."""
    sidecar = path.with_suffix(".json")
    sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | {"onnx_sha256": sha256_of(path)}))


@needs_rtx
def test_control_c_ends_a_build(tmp_path: Path, rtx: Backend) -> None:
    def interrupt(_phase: str, _done: int, _steps: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_engine(request(tiny_network(tmp_path), rtx, None, BuildOptions(), (64, 64)), progress=interrupt)


@needs_rtx
def test_bytes_that_are_no_engine_are_refused(rtx: Backend) -> None:
    with pytest.raises(EngineError, match=r"TensorRT-RTX .* cannot load this engine: .*; build it again"):
        TensorRtNetwork(b"no engine", rtx, FakeDevice())


@needs_rtx
def test_an_engine_is_built_once_then_found(tmp_path: Path, rtx: Backend) -> None:
    said: list[str] = []
    wanted = request(tiny_network(tmp_path), rtx, None, BuildOptions(), size=(64, 64))
    store = EngineStore(tmp_path / "engines")
    first = ready_engine(wanted, store, said.append)
    assert (first.record.verified, first.record.note) == (None, "not verified: built without a GPU")
    assert first.record.layers > 0
    assert store.find(wanted.key) == first
    assert ready_engine(wanted, store, said.append) == first
    first.path.write_bytes(b"harm")
    again = ready_engine(wanted, store, said.append)
    assert again.record.engine_bytes == again.path.stat().st_size > 4
    assert read_record(record_path(again.path)) == again.record
    label = rtx.label
    assert said == [
        f"building the engine of tiny at 64x64 with {label}: there is none for this network and size yet",
        f"building the engine of tiny at 64x64 with {label}: the one here is truncated: 4 of "
        f"{first.record.engine_bytes} bytes",
    ]


class Stand:
    """Parts of the build replaced, as if there were a GPU."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, rtx: Backend) -> None:
        self.said: list[str] = []
        self.store = EngineStore(tmp_path / "engines")
        self.wanted = request(tiny_network(tmp_path), rtx, FakeDevice(), BuildOptions(), size=(64, 64))
        self.found = Departure(2e-4, 0.1, 60)
        self.loads = True
        self.compared: list[int] = []
        monkeypatch.setattr(export.to_tensorrt, "TensorRtNetwork", self.load)
        monkeypatch.setattr(export.to_tensorrt, "engine_departure", self.compare)

    def load(self, serialised: bytes, _: Backend, device: FakeDevice) -> FakeNetwork:
        assert serialised
        if not self.loads:
            raise EngineError("the driver is too old")
        return FakeNetwork(self.wanted.spec, device)

    def compare(self, *arguments: object) -> Departure:
        frames = arguments[-1]
        assert isinstance(frames, int)
        self.compared.append(frames)
        return self.found

    def ready(self, check: Check | None = None) -> EngineFile:
        return ready_engine(self.wanted, self.store, self.said.append, check)


@pytest.fixture
def stand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, rtx: Backend) -> Stand:
    return Stand(monkeypatch, tmp_path, rtx)


@needs_rtx
def test_where_there_is_a_gpu_the_engine_is_verified_and_the_result_kept(stand: Stand) -> None:
    record = stand.ready().record
    assert (record.key.gpu, record.key.capability) == ("Fake GPU", "9.0")
    assert record.verified == Verification(frames=60, relative=2e-4, largest=0.1, limit=1e-3)
    assert stand.compared == [60]
    assert "verifying it over 60 frames against ONNX Runtime" in stand.said


@needs_rtx
@pytest.mark.parametrize("relative", [0.5, float("nan")])
def test_an_engine_that_departs_or_gives_nan_is_not_kept(stand: Stand, relative: float) -> None:
    stand.found = Departure(relative, 1.0, 60)
    with pytest.raises(ParityError, match=r"departs from its ONNX graph by .* and was not kept"):
        stand.ready()
    assert not isinstance(stand.store.find(stand.wanted.key), EngineFile)


@needs_rtx
def test_who_does_not_want_a_check_has_that_recorded(stand: Stand) -> None:
    assert stand.ready(Check(frames=0)).record.note == "not verified: not asked for"
    assert stand.compared == []


@needs_rtx
def test_a_found_engine_that_does_not_load_is_built_again(stand: Stand) -> None:
    stand.ready(Check(frames=0))
    stand.said.clear()
    stand.loads = False
    stand.ready(Check(frames=0))
    assert stand.said[0].endswith("the one here does not load (the driver is too old)")


def test_building_needs_no_torch() -> None:
    code = "import sys, export.to_tensorrt; assert not {'torch', 'onnx', 'tensorrt'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent.parent, check=True)


def test_a_key_tells_builds_apart(tmp_path: Path) -> None:
    backend = Backend("tensorrt", "11.4.0", None)
    wanted = request(tiny_network(tmp_path), backend, FakeDevice(), BuildOptions(), size=(64, 64))
    key = wanted.key
    assert (key.backend, key.version, key.gpu, key.capability) == ("tensorrt", "11.4.0", "Fake GPU", "9.0")
    stems = {
        key.stem,
        replace(wanted, device=None).key.stem,
        replace(wanted, spec=wanted.spec.at(64, 64)).key.stem,
        replace(wanted, options=BuildOptions(level=5)).key.stem,
        replace(wanted, backend=replace(backend, version="11.5.0")).key.stem,
    }
    assert len(stems) == 4
