"""One stream's estimator: what restarts it, and that streams do not touch each other."""

from __future__ import annotations

import gc
import tracemalloc
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from engines.errors import StepError
from engines.spec import Unit
from stream.estimator import DepthEstimator
from stream.frame import DepthFrame, Frame
from stream.policy import WindowPolicy
from stream.sources.synthetic import SyntheticSource
from tests.fakes import FakeSession, clip, frame, spec, textured


def depths(estimator: DepthEstimator, frames: list[Frame]) -> list[DepthFrame]:
    return [estimator.step(one) for one in frames]


def assert_same(one: list[DepthFrame], other: list[DepthFrame]) -> None:
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a.depth, b.depth)
        assert (a.range, a.reset) == (b.range, b.reset)


def resets(frames: list[DepthFrame]) -> list[int]:
    return [number for number, one in enumerate(frames) if one.reset]


def test_depth_has_the_frames_size_and_unit() -> None:
    estimator = DepthEstimator(FakeSession(spec(unit=Unit.METRE)))
    got = estimator.step(clip(1)[0])
    assert got.depth.shape == (36, 64)
    assert got.depth.dtype == np.float32
    assert got.unit is Unit.METRE
    assert got.reset


def test_the_past_matters() -> None:
    frames = clip(8)
    together = depths(DepthEstimator(FakeSession()), frames)
    alone = DepthEstimator(FakeSession()).step(frames[-1])
    assert not np.array_equal(together[-1].depth, alone.depth)


def test_two_streams_on_one_session_are_each_as_alone() -> None:
    one, other = clip(60, seed=1), clip(60, seed=2)
    session = FakeSession()
    first, second = DepthEstimator(session), DepthEstimator(session)
    mixed = [(first.step(a), second.step(b)) for a, b in zip(one, other, strict=True)]
    assert_same([a for a, _ in mixed], depths(DepthEstimator(FakeSession()), one))
    assert_same([b for _, b in mixed], depths(DepthEstimator(FakeSession()), other))


def test_after_reset_a_run_is_byte_equal_to_a_first_one() -> None:
    estimator = DepthEstimator(FakeSession())
    first = depths(estimator, clip(50, seed=1))
    depths(estimator, clip(23, seed=9))
    estimator.reset()
    assert_same(depths(estimator, clip(50, seed=1)), first)


def cut_clip() -> list[Frame]:
    second = [replace(one, index=one.index + 10, pts=one.pts + 10) for one in clip(10, seed=7)]
    return clip(10, seed=1) + second


def test_a_hard_cut_restarts_window_and_range() -> None:
    got = depths(DepthEstimator(FakeSession()), cut_clip())
    assert resets(got) == [0, 10]
    fresh = DepthEstimator(FakeSession()).step(clip(1, seed=7)[0])
    np.testing.assert_array_equal(got[10].depth, fresh.depth)
    assert got[10].range == fresh.range


def test_cuts_are_seen_in_bytes_as_well() -> None:
    got = depths(DepthEstimator(FakeSession(spec(pixels="uint8"))), cut_clip())
    assert resets(got) == [0, 10]


def test_scene_cuts_can_be_left_alone() -> None:
    assert resets(depths(DepthEstimator(FakeSession(), scene_cut=False), cut_clip())) == [0]


def test_a_new_size_restarts_the_window_but_not_the_range() -> None:
    larger = [frame(textured(0, 72, 128), 5), frame(textured(0, 72, 128), 6)]
    got = depths(DepthEstimator(FakeSession(), scene_cut=False), [*clip(5), *larger])
    assert resets(got) == [0, 5]
    assert got[5].depth.shape == (72, 128)
    assert got[5].range != DepthEstimator(FakeSession()).step(larger[0]).range


@pytest.mark.parametrize(("pause", "restarts"), [(30, False), (31, True), (-5, True)])
def test_a_long_gap_restarts_the_window(pause: int, restarts: bool) -> None:
    frames = clip(4)
    late = replace(frames[3], pts=frames[2].pts + pause)
    got = depths(DepthEstimator(FakeSession()), [*frames[:3], late])
    assert got[3].reset is restarts


def test_a_slow_stream_keeps_its_window() -> None:
    """Frames further apart than a gap may be: that is the stream's way, and three of its own gaps are a pause."""
    frames = [replace(one, pts=40 * one.index) for one in clip(8)]
    assert resets(depths(DepthEstimator(FakeSession()), frames)) == [0]
    sparse = [*frames[:5], *(replace(one, pts=160 + 121 + 40 * (one.index - 5)) for one in frames[5:])]
    assert resets(depths(DepthEstimator(FakeSession()), sparse)) == [0, 5]


def test_after_a_failed_step_the_stream_restarts() -> None:
    frames = clip(20)
    estimator = DepthEstimator(FakeSession(fail_at=10))
    depths(estimator, frames[:10])
    with pytest.raises(StepError):
        estimator.step(frames[10])
    assert_same(depths(estimator, frames[11:]), depths(DepthEstimator(FakeSession()), frames[11:]))


def test_arrays_can_be_stepped_directly() -> None:
    images = [textured(3) for _ in range(3)]
    estimator = DepthEstimator(FakeSession())
    got = [estimator.step_array(image) for image in images]
    assert [one.frame.index for one in got] == [0, 1, 2]
    assert_same(got, depths(DepthEstimator(FakeSession()), [frame(image, i) for i, image in enumerate(images)]))


def test_stages_are_timed() -> None:
    estimator = DepthEstimator(FakeSession())
    depths(estimator, clip(3))
    stages = estimator.timings.summary()
    assert [(stage.name, stage.count) for stage in stages] == [("preprocess", 3), ("infer", 3), ("postprocess", 3)]


def test_memory_of_a_long_stream_does_not_grow() -> None:
    estimator = DepthEstimator(FakeSession())
    frames = iter(SyntheticSource(24, 32, Fraction(30)))

    def run(count: int) -> int:
        for _ in range(count):
            estimator.step(next(frames))
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        settled = run(60)
        assert run(400) - settled < 50_000
    finally:
        tracemalloc.stop()


def test_a_policy_may_ignore_cuts() -> None:
    stubborn = WindowPolicy("cuts ignored", resets_at_cuts=False)
    assert resets(depths(DepthEstimator(FakeSession(), policy=stubborn), cut_clip())) == [0]
