"""The life of TensorRT sessions, on a device made of arrays: recording, memory, failures, closing, what is refused."""

from __future__ import annotations

import gc
import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.compiled import Binding, check_step
from engines.errors import EngineError, OutOfDeviceMemory, SpecError, StepError
from engines.lanes import ALIGNMENT, lay_out
from engines.spec import VDA_WINDOW
from engines.tensorrt import TensorRtSession, TensorRtWindowSession
from engines.window import FeatureWindow
from tests.fake_device import FakeDevice, FakeNetwork
from tests.toy_engine import spec_of, toy, wanted_map


def test_in_flight_means_two_at_most() -> None:
    with toy(FakeDevice()) as session:
        cache, window = session.new_cache(), FeatureWindow(VDA_WINDOW)
        with pytest.raises(ValueError, match="nothing is in flight"):
            session.collect(cache)
        session.submit(cache, [window.plan()])
        with pytest.raises(ValueError, match="1 frames are in flight: collect them first"):
            session.step(cache, [window.plan()])
        session.submit(cache, [window.plan()])
        with pytest.raises(ValueError, match="2 frames are in flight: collect one first"):
            session.submit(cache, [window.plan()])
        with pytest.raises(ValueError, match="collect one first"):
            _ = cache.image


def test_the_wrong_number_of_plans_is_the_callers_error() -> None:
    with toy(FakeDevice()) as session, pytest.raises(ValueError, match="holds 2 streams, got 1 plans"):
        session.step(session.new_cache(2), [None])


def test_the_engine_runs_once_to_warm_up_and_is_then_recorded() -> None:
    device = FakeDevice()
    network = FakeNetwork(spec_of(), device)
    with TensorRtSession(network, spec_of(), device) as session:
        cache = session.new_cache()
        assert network.runs == 1
        assert device.calls() == ["fill_zero", "capture"]
        assert cache.how == "recorded in a CUDA graph"


def test_an_engine_that_cannot_be_recorded_is_enqueued_and_says_so() -> None:
    device, window = FakeDevice(), FeatureWindow(VDA_WINDOW)
    network = FakeNetwork(spec_of(), device)
    network.refusal = "it may not be captured"
    with TensorRtSession(network, spec_of(), device) as session:
        cache = session.new_cache()
        assert cache.how == "enqueued one by one: it may not be captured"
        for t in range(50):
            cache.image[0] = 100 + t
            assert (session.step(cache, [window.plan()]) == wanted_map(VDA_WINDOW, t, 100)).all()


def test_a_recording_that_fails_is_enqueued_and_says_so() -> None:
    device = FakeDevice()
    with toy(device) as session:
        device.failing = "capture"
        cache = session.new_cache()
        assert cache.how.startswith("enqueued one by one: capture failed: cudaErrorLaunchFailure (719)")


def test_out_of_memory_says_how_many_streams_fit() -> None:
    with toy(FakeDevice()) as session:
        of_three = session.new_cache(3).bytes_per_stream * 3
    device = FakeDevice(capacity=of_three + ALIGNMENT)
    with toy(device) as session:
        with pytest.raises(
            OutOfDeviceMemory, match=r"4 streams need 0\.1 MB .* of Fake GPU are free: 3 fit \(cudaMalloc"
        ):
            session.new_cache(4)
        assert device.device_bytes == 0
        session.new_cache(3)


def test_a_batch_that_the_engine_was_not_built_for_says_what_to_run() -> None:
    with (
        toy(FakeDevice(), batches=(2, 2)) as session,
        pytest.raises(EngineError, match=r"steps 2 streams at once, asked for 1: run `depthcast build --batch 1`"),
    ):
        session.new_cache()


@pytest.mark.parametrize("call", ["copy_in", "replay", "copy_out", "synchronise"])
def test_a_failing_call_is_named_and_the_stream_can_start_again(call: str) -> None:
    device, window = FakeDevice(), FeatureWindow(VDA_WINDOW)
    with toy(device) as session:
        cache = session.new_cache()
        session.step(cache, [window.plan()])
        device.failing = call
        with pytest.raises(StepError, match=f"step of Toy failed on Fake GPU: {call} failed: cudaErrorLaunchFailure"):
            session.step(cache, [window.plan()])
        device.failing = None
        cache.clear()
        window.reset()
        for t in range(45):
            cache.image[0] = 100 + t
            assert (session.step(cache, [window.plan()]) == wanted_map(VDA_WINDOW, t, 100)).all()


def test_memory_goes_back_with_the_cache_but_not_under_a_map() -> None:
    device = FakeDevice()
    session = toy(device)
    cache = session.new_cache()
    cache.image[0] = 7
    depth = session.step(cache, [FeatureWindow(VDA_WINDOW).plan()])
    assert (device.device_bytes > 0, device.host_blocks) == (True, 1)
    cache.close()
    assert (device.device_bytes, device.host_blocks) == (0, 1)
    assert (depth == 7).all()
    del depth
    gc.collect()
    assert device.host_blocks == 0


def test_a_closed_session_frees_its_caches_and_refuses() -> None:
    device = FakeDevice()
    session = toy(device)
    cache = session.new_cache()
    session.close()
    assert device.device_bytes == 0
    with pytest.raises(EngineError, match="closed"):
        session.step(cache, [None])
    with pytest.raises(EngineError, match="closed"):
        session.new_cache()


def test_spans_name_the_stages() -> None:
    device = FakeDevice()
    with toy(device) as session:
        cache = session.new_cache()
        device.log.clear()
        session.step(cache, [None])
        spans = [detail for name, detail in device.log if name == "span"]
        assert spans == ["upload", "step", "download", "slots", "collect"]


def test_a_window_graph_is_no_engine_for_a_stream() -> None:
    device, spec = FakeDevice(), replace(spec_of(), kind="window")
    with pytest.raises(SpecError, match="a stream needs a step graph"):
        TensorRtSession(FakeNetwork(spec, device), spec, device)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda bindings: bindings[:-1], "it has or lacks feature_1"),
        (lambda bindings: [Binding("image", True, "float16", (1, 3, 14, 28)), *bindings[1:]], "image is float16"),
        (lambda bindings: [Binding("image", True, "float32", (1, 3, 14, 14)), *bindings[1:]], r"\[3, 14, 14\], needed"),
    ],
)
def test_an_engine_of_something_else_is_refused(change: object, message: str) -> None:
    assert callable(change)
    bindings = FakeNetwork(spec_of(), FakeDevice()).bindings
    with pytest.raises(EngineError, match=message):
        check_step(change(bindings), spec_of())


def test_windows_go_through_one_copy_each_way() -> None:
    device = FakeDevice()
    spec = replace(spec_of(), kind="window", frames=4, caches=())
    network = FakeNetwork(spec, device)
    network.bindings = [
        Binding("images", True, "float32", (4, 3, 14, 28)),
        Binding("depth", False, "float32", (4, 14, 28)),
    ]
    images = np.random.default_rng(0).random((4, 3, 14, 28), np.float32)

    def double(addresses: dict[str, int], _: int) -> None:
        seen = device.at(addresses["images"], images.nbytes).view(np.float32).reshape(images.shape)
        device.at(addresses["depth"], images.nbytes // 3).view(np.float32)[:] = (2 * seen[:, 0]).ravel()

    network.run = double  # type: ignore[assignment, method-assign]
    with TensorRtWindowSession(network, spec, device) as session:
        first, second = session.run(images), session.run(-images)
        assert np.array_equal(first, 2 * images[:, 0])
        assert np.array_equal(second, -first)
        assert device.calls() == ["copy_in", "copy_out"] * 2
        with pytest.raises(ValueError, match=r"a window is \[4, 3, 14, 28\], got \[1, 3, 14, 28\]"):
            session.run(images[:1])
    with pytest.raises(EngineError, match="closed"):
        session.run(images)


@given(st.lists(st.integers(0, 5000), max_size=12))
@settings(max_examples=50, deadline=None)
def test_parts_of_a_block_are_aligned_and_apart(sizes: list[int]) -> None:
    spans = lay_out(sizes)
    assert [span.nbytes for span in spans] == sizes
    assert all(span.offset % ALIGNMENT == 0 for span in spans)
    assert all(first.end <= second.offset for first, second in itertools.pairwise(spans))
