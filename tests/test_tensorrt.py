"""The bookkeeping of TensorRT sessions, on a device made of arrays: slots, copies, order, overlap, memory, failures."""

from __future__ import annotations

import gc
import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.compiled import Binding, check_step
from engines.device import Rows
from engines.errors import EngineError, OutOfDeviceMemory, SpecError, StepError
from engines.lanes import ALIGNMENT, lay_out
from engines.session import StepPlan
from engines.spec import VDA_WINDOW, CacheSpec, ModelSpec, Unit, WindowRule
from engines.tensorrt import TensorRtCache, TensorRtSession, TensorRtWindowSession
from stream.window import FeatureWindow, frames_of
from tests.fake_device import FakeDevice, FakeNetwork

MASKED = WindowRule(tuple(range(7, -1, -1)), young="mask", first_alone=False)
SEEDS = range(4)


def spec_of(rule: WindowRule = VDA_WINDOW) -> ModelSpec:
    return ModelSpec(
        name="Toy",
        kind="step",
        unit=Unit.RELATIVE,
        precision="fp16",
        height=14,
        width=28,
        multiple=14,
        input_size=518,
        resample="cubic",
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        window=rule,
        caches=(CacheSpec("cache_0", "feature_0", 14, 3), CacheSpec("cache_1", "feature_1", 7, 5)),
        frames=1,
        licence="",
        source="",
        weights_sha256="",
        onnx_sha256="",
    )


def toy(
    device: FakeDevice, rule: WindowRule = VDA_WINDOW, batches: tuple[int, int] = (1, 4), positions: str = "int64"
) -> TensorRtSession:
    spec = spec_of(rule)
    return TensorRtSession(FakeNetwork(spec, device, batches, positions), spec, device)


def wanted_map(rule: WindowRule, t: int, first: int) -> float:
    """Map of frame t of a stream whose frames are numbered from `first` on."""
    return float(sum((k + 1) * (first + frame) for k, frame in enumerate(frames_of(rule, t)) if frame is not None))


def cached_numbers(cache: TensorRtCache, device: FakeDevice, spec: ModelSpec, index: int) -> np.ndarray:
    """What cache number `index` of a single stream holds: [P, S, C]."""
    cached = spec.caches[index]
    cells = cached.cells(*spec.size)
    address = cache.memory.lanes[0].addresses[cached.name]
    memory = device.at(address, cells * spec.window.slots * cached.channels * 2)
    return memory.view(np.float16).reshape(cells, spec.window.slots, cached.channels)


@pytest.mark.parametrize("rule", [VDA_WINDOW, MASKED], ids=["repeat", "mask"])
@pytest.mark.parametrize("positions", ["int64", "int32"])
@pytest.mark.parametrize("seed", SEEDS)
def test_sixty_frames_see_exactly_the_window_of_the_rule(rule: WindowRule, positions: str, seed: int) -> None:
    with toy(FakeDevice(seed=seed), rule, positions=positions) as session:
        cache, window = session.new_cache(), FeatureWindow(rule)
        for t in range(60):
            cache.image[0] = 100 + t
            depth = session.step(cache, [window.plan()])
            assert depth.shape == (1, 14, 28)
            assert depth.dtype == np.float32
            assert (depth == wanted_map(rule, t, 100)).all()


def test_every_cell_of_a_slot_is_written_and_no_other_slot() -> None:
    device, spec = FakeDevice(), spec_of()
    with toy(device) as session:
        cache, window = session.new_cache(), FeatureWindow(spec.window)
        held = np.zeros(spec.window.slots)
        for t in range(60):
            plan = window.plan()
            cache.image[0] = 100 + t
            session.step(cache, [plan])
            device.synchronise(session._queues.compute)
            held[list(plan.write)] = 100 + t
            for index in range(2):
                numbers = cached_numbers(cache, device, spec, index)
                assert (numbers == (held + index)[None, :, None]).all()


def test_a_frame_costs_one_copy_in_and_one_out() -> None:
    device, spec = FakeDevice(), spec_of()
    with toy(device) as session:
        cache, window = session.new_cache(2), FeatureWindow(spec.window)
        other = FeatureWindow(spec.window)
        session.step(cache, [window.plan(), other.plan()])
        device.log.clear()
        for _ in range(60):
            session.step(cache, [window.plan(), other.plan()])
            transfers = {name: detail for name, detail in device.log if name in ("copy_in", "copy_out")}
            slots, image = (spec.window.slots + 1) * 2, 2 * 3 * 14 * 28 * 4
            staged = sum(-(-part // ALIGNMENT) * ALIGNMENT for part in (image, slots * 8)) + slots * 4
            assert transfers == {"copy_in": staged, "copy_out": 2 * 14 * 28 * 4}
            # The step, then for each stream one slot of two caches.
            assert [d for name, d in device.log if name == "replay"] == [1, 2, 2]
            assert device.calls() == ["copy_in", "replay", "copy_out", "replay", "replay"]


def test_slots_are_recorded_once_and_then_replayed() -> None:
    device = FakeDevice()
    with toy(device) as session:
        cache, window = session.new_cache(), FeatureWindow(VDA_WINDOW)
        device.calls()
        session.step(cache, [window.plan()])
        first = device.calls()
        assert first.count("capture") == 42
        assert first.count("copy_rows") == 42 * 2
        for _ in range(100):
            session.step(cache, [window.plan()])
        assert set(device.calls()) == {"copy_in", "replay", "copy_out"}


def test_a_slot_is_a_strided_copy() -> None:
    device, spec = FakeDevice(), spec_of(MASKED)
    with toy(device, MASKED) as session:
        cache = session.new_cache(2)
        device.log.clear()
        window = FeatureWindow(MASKED)
        window.plan()
        session.step(cache, [None, window.plan()])
        rows = [detail for name, detail in device.log if name == "copy_rows"]
        start = cache.memory.lanes[0].addresses
        assert rows == [
            Rows(start["cache_0"] + (2 * 7 + 1) * 6, 7 * 6, start["feature_0"] + 2 * 6, 6, 6, 2),
            Rows(start["cache_1"] + (8 * 7 + 1) * 10, 7 * 10, start["feature_1"] + 8 * 10, 10, 10, 8),
        ]
        assert spec.window.slots == 7


@pytest.mark.parametrize("seed", SEEDS)
def test_streams_that_take_turns_never_see_each_other(seed: int) -> None:
    with toy(FakeDevice(seed=seed)) as session:
        caches = [session.new_cache(), session.new_cache()]
        windows = [FeatureWindow(VDA_WINDOW), FeatureWindow(VDA_WINDOW)]
        for t in range(45):
            for stream in range(2):
                caches[stream].image[0] = 100 + 500 * stream + t
                depth = session.step(caches[stream], [windows[stream].plan()])
                assert (depth == wanted_map(VDA_WINDOW, t, 100 + 500 * stream)).all()


def test_a_row_without_a_frame_keeps_its_window() -> None:
    with toy(FakeDevice(), batches=(2, 2)) as session:
        cache = session.new_cache(2)
        windows = [FeatureWindow(VDA_WINDOW), FeatureWindow(VDA_WINDOW)]
        for t in range(50):
            cache.image[0], cache.image[1] = 100 + t, 700 + t // 2
            late = t % 2 == 0
            depth = session.step(cache, [windows[0].plan(), windows[1].plan() if late else None])
            assert (depth[0] == wanted_map(VDA_WINDOW, t, 100)).all()
            if late:
                assert (depth[1] == wanted_map(VDA_WINDOW, t // 2, 700)).all()


@pytest.mark.parametrize("seed", range(12))
def test_two_frames_in_flight_give_what_one_at_a_time_gives(seed: int) -> None:
    with toy(FakeDevice(seed=seed)) as session:
        cache, window = session.new_cache(), FeatureWindow(VDA_WINDOW)
        for t in range(60):
            cache.image[0] = 100 + t
            session.submit(cache, [window.plan()])
            if t:
                assert (session.collect(cache) == wanted_map(VDA_WINDOW, t - 1, 100)).all()
        assert (session.collect(cache) == wanted_map(VDA_WINDOW, 59, 100)).all()


def test_collected_maps_stay_until_the_next_submit() -> None:
    with toy(FakeDevice()) as session:
        cache, window = session.new_cache(), FeatureWindow(VDA_WINDOW)
        for number in (100, 101):
            cache.image[0] = number
            session.submit(cache, [window.plan()])
        first, second = session.collect(cache), session.collect(cache)
        assert (first == 100).all()
        assert (second == wanted_map(VDA_WINDOW, 1, 100)).all()


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


def test_clear_zeroes_the_caches_and_nothing_else() -> None:
    device, spec = FakeDevice(), spec_of()
    with toy(device) as session:
        cache = session.new_cache()
        cache.image[0] = 5
        session.step(cache, [FeatureWindow(VDA_WINDOW).plan()])
        cache.clear()
        device.synchronise(session._queues.compute)
        assert not any(cached_numbers(cache, device, spec, index).any() for index in range(2))
        assert (cache.image == 5).all()


def test_memory_goes_back_with_the_cache_but_not_under_a_map() -> None:
    device = FakeDevice()
    session = toy(device)
    cache = session.new_cache()
    cache.image[0] = 7
    depth = session.step(cache, [FeatureWindow(VDA_WINDOW).plan()])
    assert (device.device_bytes > 0, device.host_blocks) == (True, 1)
    del cache
    gc.collect()
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
    gc.collect()
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


@given(st.integers(0, 2**32), st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30))
@settings(max_examples=25, deadline=None)
def test_any_mix_of_rows_and_overlap_gives_the_maps_of_the_rule(seed: int, story: list[tuple[bool, bool]]) -> None:
    device = FakeDevice(seed=seed)
    with toy(device, MASKED) as session:
        cache, windows, taken = session.new_cache(2), [FeatureWindow(MASKED) for _ in range(2)], [0, 0]
        due: list[list[float | None]] = []
        for present in story:
            plans: list[StepPlan | None] = []
            image, maps = cache.image, [None, None]
            for row in range(2):
                image[row] = 100 * (row + 1) + taken[row]
                plans.append(windows[row].plan() if present[row] else None)
                if present[row]:
                    maps[row] = wanted_map(MASKED, taken[row], 100 * (row + 1))  # type: ignore[call-overload]
                    taken[row] += 1
            session.submit(cache, plans)
            due.append(list(maps))
            if len(due) == 2:
                _check(session.collect(cache), due.pop(0))
        _check(session.collect(cache), due.pop(0)) if due else None


def _check(depth: np.ndarray, wanted: list[float | None]) -> None:
    for row, value in enumerate(wanted):
        assert value is None or (depth[row] == value).all()


def test_bytes_go_in_and_maps_of_another_size_come_out() -> None:
    device = FakeDevice()
    spec = replace(spec_of(), pixels="uint8", resized_to=(20, 30), batch=None)
    with TensorRtSession(FakeNetwork(spec, device), spec, device) as session:
        cache, window = session.new_cache(2), FeatureWindow(VDA_WINDOW)
        assert cache.image.shape == (2, 14, 28, 3)
        assert cache.image.dtype == np.uint8
        for t in range(50):
            cache.image[0] = 100 + t
            depth = session.step(cache, [window.plan(), None])
            assert depth.shape == (2, 20, 30)
            assert (depth[0] == wanted_map(VDA_WINDOW, t, 100)).all()
