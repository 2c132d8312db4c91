"""Slots and windows of TensorRT sessions, on a device made of arrays: what a frame sees, copies, order, overlap."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.device import Rows
from engines.lanes import ALIGNMENT
from engines.session import StepPlan
from engines.spec import VDA_WINDOW, ModelSpec, WindowRule
from engines.tensorrt import TensorRtCache, TensorRtSession
from engines.window import FeatureWindow
from tests.fake_device import FakeDevice, FakeNetwork
from tests.toy_engine import MASKED, spec_of, toy, wanted_map

SEEDS = range(4)


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
