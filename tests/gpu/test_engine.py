"""Engines on a real GPU: the goldens of the official code, parity, overlap, batches, memory."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from numpy.typing import NDArray

from engines.backend import Complaints
from engines.compiled import TensorRtNetwork
from engines.errors import OutOfDeviceMemory
from engines.store import BuildOptions
from engines.tensorrt import TensorRtSession, TensorRtWindowSession
from engines.window import FeatureWindow
from export.config import CONFIGS
from export.to_onnx import export_window
from export.to_tensorrt import Check, build_engine, request
from tests.gpu.conftest import Machine
from tests.standin import checkpoint, golden, normalised
from tests.test_network import stream

pytestmark = pytest.mark.gpu
SIZE = (70, 98)


def relative_error(got: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
    """Of the worst frame, relative to its mean."""
    return float((np.abs(got - wanted).mean(axis=(1, 2)) / wanted.mean(axis=(1, 2))).max())


@pytest.mark.parametrize(("model", "name"), [("VDA-Small", "stream_vits_70x98"), ("VDA-Base", "stream_vitb_70x112")])
def test_a_float16_stream_stays_within_one_percent_of_the_golden(machine: Machine, model: str, name: str) -> None:
    wanted = golden(name)
    images = normalised(wanted["frames"])
    with machine.session(model, (images.shape[2], images.shape[3])) as session:
        got = stream(session, images)
    assert len(got) == 60
    assert relative_error(got, wanted["depth"]) <= 1e-2


def test_a_build_verifies_itself_over_60_frames(machine: Machine) -> None:
    record = machine.engine(machine.graph("VDA-Small", (56, 70)), Check()).record
    assert record.verified is not None
    assert record.verified.frames == 60
    assert record.verified.relative <= 1e-2


def test_the_step_is_recorded_in_a_graph(machine: Machine) -> None:
    with machine.session("VDA-Small", SIZE) as session:
        assert session.new_cache().how == "recorded in a CUDA graph"


def test_recorded_and_enqueued_steps_and_two_in_flight_agree_bit_for_bit(machine: Machine) -> None:
    images = normalised(golden("stream_vits_70x98")["frames"][:20])
    with machine.session("VDA-Small", SIZE) as session:
        alone = stream(session, images)
        cache, window, maps = session.new_cache(), FeatureWindow(session.spec.window), []
        for t, image in enumerate(images):
            cache.image[0] = image
            session.submit(cache, [window.plan()])
            if t:
                maps.append(session.collect(cache)[0].copy())
        maps.append(session.collect(cache)[0].copy())
        assert np.array_equal(np.stack(maps), alone)
        plain, window = session.new_cache(), FeatureWindow(session.spec.window)
        execution = session._open_network().execution(plain.memory.lanes[0].addresses, 1)
        plain.memory.runs[0] = execution.enqueue
        for t, image in enumerate(images):
            plain.image[0] = image
            assert np.array_equal(session.step(plain, [window.plan()])[0], alone[t])


def test_streams_that_take_turns_equal_each_alone_bit_for_bit(machine: Machine) -> None:
    frames = golden("stream_vits_70x98")["frames"][:12]
    both = normalised(frames), normalised(frames[::-1])
    with machine.session("VDA-Small", SIZE) as session:
        alone = [stream(session, images) for images in both]
        caches = [session.new_cache() for _ in both]
        windows = [FeatureWindow(session.spec.window) for _ in both]
        for t in range(12):
            for images, cache, window, wanted in zip(both, caches, windows, alone, strict=True):
                cache.image[0] = images[t]
                assert np.array_equal(session.step(cache, [window.plan()])[0], wanted[t])


def test_a_row_of_a_batch_equals_the_golden_beside_a_late_one(machine: Machine) -> None:
    wanted = golden("stream_vits_70x98")
    images = normalised(wanted["frames"])
    with machine.session("VDA-Small", SIZE, batch=2) as session:
        cache, windows = session.new_cache(2), [FeatureWindow(session.spec.window) for _ in range(2)]
        maps: list[list[NDArray[np.float32]]] = [[], []]
        for t in range(60):
            cache.image[0], cache.image[1] = images[t], images[t // 2]
            depth = session.step(cache, [windows[0].plan(), None if t % 2 else windows[1].plan()])
            for row in range(2 if t % 2 == 0 else 1):
                maps[row].append(depth[row].copy())
    assert relative_error(np.stack(maps[0]), wanted["depth"]) <= 1e-2
    assert relative_error(np.stack(maps[1]), wanted["depth"][:30]) <= 1e-2


def test_a_window_equals_the_golden(machine: Machine) -> None:
    wanted, path = golden("window_vits_84x112"), machine.folder / "window.onnx"
    weights = checkpoint("VDA-Small", machine.folder)
    export_window(CONFIGS["VDA-Small"], weights, path, (84, 112), precision="fp16")
    asked = request(path, machine.backend, machine.device, BuildOptions())
    network = TensorRtNetwork(build_engine(asked).engine, machine.backend, machine.device)
    with TensorRtWindowSession(network, asked.spec, machine.device) as session:
        got = session.run(normalised(wanted["frames"]))
    assert relative_error(got, wanted["depth"]) <= 1e-2


def test_memory_comes_back(machine: Machine) -> None:
    with machine.session("VDA-Small", SIZE) as session:
        session.step(session.new_cache(), [FeatureWindow(session.spec.window).plan()])
        gc.collect()
        before = machine.device.memory().free_bytes
        for _ in range(20):
            session.step(session.new_cache(), [FeatureWindow(session.spec.window).plan()])
        gc.collect()
        # The driver keeps pools of its own for graphs; twenty leaked caches would be much more.
        assert before - machine.device.memory().free_bytes < 10 * session.new_cache().bytes_per_stream


def test_out_of_memory_is_told_and_survived(machine: Machine) -> None:
    with pytest.raises(OutOfDeviceMemory, match="cudaMalloc failed: cudaErrorMemoryAllocation"):
        machine.device.allocate(machine.device.memory().total_bytes * 2)
    with machine.session("VDA-Small", SIZE) as session:
        session.step(session.new_cache(), [None])


def test_the_engine_has_the_layers_of_the_network(machine: Machine) -> None:
    engine = machine.engine(machine.graph("VDA-Small", SIZE), Check(frames=0))
    trt = machine.backend.trt
    loaded = trt.Runtime(Complaints(trt).sink).deserialize_cuda_engine(engine.path.read_bytes())
    assert loaded.num_layers > 20
    described = loaded.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    assert "Layers" in described


def test_one_session_serves_until_it_is_closed(machine: Machine) -> None:
    engine = machine.engine(machine.graph("VDA-Small", SIZE), Check(frames=0))
    for _ in range(3):
        with TensorRtSession.open(engine.path, machine.backend, machine.device) as session:
            assert np.isfinite(session.step(session.new_cache(), [FeatureWindow(session.spec.window).plan()])).all()
