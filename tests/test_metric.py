"""Units, limits, scale from known points, and what a refinement makes of a frame."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from PIL import Image

from engines.spec import Unit
from stream.camera import Camera, Intrinsics, Lens, LensModel
from stream.errors import SourceError, UnitError
from stream.frame import DepthFrame, DisplayRange
from stream.metric import Limits, check_conversion, converted, in_unit, limited
from stream.pipeline import OverFrames
from stream.references import PointTable, read_references
from stream.refine import Refinement, refined
from stream.scalefit import Points, ScaleTracker, fit, sampled
from tests.fakes import depth_frame

SIZED = st.tuples(st.integers(1, 9), st.integers(1, 9))


@given(arrays.arrays(np.float32, SIZED, elements=st.floats(2.0**-60, 2.0**60, width=32)))
def test_metres_and_inverse_metres_turn_into_each_other(depth: NDArray[np.float32]) -> None:
    back = converted(converted(depth, Unit.METRE, Unit.INVERSE_METRE), Unit.INVERSE_METRE, Unit.METRE)
    assert np.allclose(back, depth, rtol=3e-7)


def test_the_ends_of_distance_convert() -> None:
    depth = np.array([[0.0, -0.0, inf, np.nan, -1.0, 4.0]], np.float32)
    expected = np.array([[inf, inf, 0.0, np.nan, np.nan, 0.25]], np.float32)
    assert np.array_equal(converted(depth, Unit.METRE, Unit.INVERSE_METRE), expected, equal_nan=True)


@pytest.mark.parametrize("other", [Unit.METRE, Unit.INVERSE_METRE])
def test_relative_depth_converts_to_nothing_and_nothing_to_it(other: Unit) -> None:
    check_conversion(Unit.RELATIVE, Unit.RELATIVE)
    for unit, wanted in ((Unit.RELATIVE, other), (other, Unit.RELATIVE)):
        with pytest.raises(UnitError, match="no scale"):
            converted(np.ones((2, 2), np.float32), unit, wanted)


def test_every_unit_says_which_way_it_grows() -> None:
    assert {unit: unit.polarity for unit in Unit} == {
        Unit.METRE: "larger is farther",
        Unit.RELATIVE: "larger is nearer",
        Unit.INVERSE_METRE: "larger is nearer",
    }


@pytest.mark.parametrize("unit", [Unit.METRE, Unit.INVERSE_METRE])
def test_what_is_too_near_stays_and_what_is_too_far_goes(unit: Unit) -> None:
    metres = np.array([[0.0, 0.1, 0.5, 8.0, 8.1, inf, np.nan]], np.float32)
    depth = converted(metres, Unit.METRE, unit)
    kept = converted(limited(depth, unit, Limits(0.5, 8.0)), unit, Unit.METRE)
    assert np.allclose(kept, [[0.5, 0.5, 0.5, 8.0, np.nan, np.nan, np.nan]], equal_nan=True)
    assert limited(depth, unit, Limits()) is depth


def test_limits_need_metres_and_sense() -> None:
    with pytest.raises(UnitError, match="limits are metres"):
        limited(np.ones((1, 1), np.float32), Unit.RELATIVE, Limits(1, 2))
    with pytest.raises(ValueError, match="near < far"):
        Limits(2, 1)


def test_a_frame_takes_its_range_along() -> None:
    shown = replace(depth_frame(np.full((2, 2), 4, np.float32), 0, Unit.METRE), range=DisplayRange(2.0, 8.0))
    turned = in_unit(shown, Unit.INVERSE_METRE)
    assert turned.unit is Unit.INVERSE_METRE
    assert turned.depth[0, 0] == 0.25
    assert (turned.range.low, turned.range.high) == pytest.approx((0.125, 0.5))
    assert in_unit(turned, Unit.INVERSE_METRE) is turned


def truth(seed: int, count: int, noise: float = 0.0) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(relative depths, metres) of points under the scale 1/m = 0.05 d + 0.02."""
    random = np.random.default_rng(seed)
    depth = random.uniform(0.5, 12, count)
    metres = 1 / (0.05 * depth + 0.02)
    return depth, metres * (1 + noise * random.standard_normal(count))


@pytest.mark.parametrize("count", [2, 3, 20, 5000])
def test_an_exact_scale_is_found(count: int) -> None:
    scale = fit(*truth(1, count))
    assert scale is not None
    assert (scale.factor, scale.shift) == pytest.approx((0.05, 0.02))
    assert scale.inliers == 1
    assert scale.error < 1e-9


@pytest.mark.parametrize("seed", range(8))
def test_two_points_in_five_may_be_wrong(seed: int) -> None:
    depth, metres = truth(seed, 30, noise=0.01)
    metres[:12] = np.random.default_rng(seed + 100).uniform(0.5, 30, 12)
    scale = fit(depth, metres)
    assert scale is not None
    assert scale.factor == pytest.approx(0.05, rel=0.1)
    assert np.abs(scale.metres(depth[12:].astype(np.float32)) / metres[12:] - 1).max() < 0.08
    assert 0.5 <= scale.inliers <= 0.75


def test_one_point_gives_a_factor_alone() -> None:
    scale = fit(np.array([4.0, 4.0]), np.array([2.0, 2.0]))
    assert scale is not None
    assert (scale.factor, scale.shift) == pytest.approx((0.125, 0))


def test_points_that_contradict_depth_have_no_scale() -> None:
    assert fit(np.array([-1.0, -2.0, -3.0]), np.array([1.0, 2.0, 3.0])) is not None
    assert fit(np.array([-3.0, -2.0, -1.0]), np.array([1.0, 2.0, 3.0])) is None
    assert fit(np.array([np.nan, 1.0]), np.array([1.0, -1.0])) is None


def ramp(index: int, factor: float = 1.0, reset: bool | None = None) -> DepthFrame:
    """Relative depth 1 … 12 over the columns, times a factor."""
    plain = depth_frame(np.tile(np.linspace(1, 12, 12, dtype=np.float32) * factor, (4, 1)), index)
    return plain if reset is None else replace(plain, reset=reset)


def metres_of_ramp() -> NDArray[np.float32]:
    return (1 / (0.05 * ramp(0).depth + 0.02)).astype(np.float32)


class Known:
    """The true distances of the ramp, in every frame but those named."""

    def __init__(self, missing: tuple[int, ...] = ()) -> None:
        self._missing = missing

    def points(self, index: int, height: int, width: int) -> Points | None:
        if index in self._missing:
            return None
        y, x = np.mgrid[:height, :width].astype(np.float64).reshape(2, -1)
        return Points(x, y, metres_of_ramp().reshape(-1).astype(np.float64))


def test_a_stream_gets_metres() -> None:
    scaled = ScaleTracker(Known()).scaled(ramp(0))
    assert scaled.unit is Unit.METRE
    assert np.allclose(scaled.depth, metres_of_ramp(), rtol=1e-5)
    assert scaled.range.low < scaled.range.high


def test_a_drifting_scale_is_followed_and_a_gap_is_bridged() -> None:
    tracker = ScaleTracker(Known(missing=(150,)), memory_s=1.0)
    for index in range(151):
        scaled = tracker.scaled(ramp(index, 1 + 0.001 * index))
    assert np.allclose(scaled.depth, metres_of_ramp(), rtol=0.04)
    before = tracker.scale
    tracker.scaled(ramp(150))
    assert tracker.scale == before


def test_before_the_first_fit_and_after_a_restart_there_is_no_reading() -> None:
    tracker = ScaleTracker(Known(missing=(0, 2)))
    assert np.isnan(tracker.scaled(ramp(0)).depth).all()
    assert np.isfinite(tracker.scaled(ramp(1)).depth).all()
    assert np.isnan(tracker.scaled(ramp(2, reset=True)).depth).all()


def test_a_fit_that_points_contradict_is_counted_and_left_out() -> None:
    tracker = ScaleTracker(Known())
    upside_down = replace(ramp(0), depth=-ramp(0).depth)
    assert np.isnan(tracker.scaled(upside_down).depth).all()
    assert tracker.misfits == 1


def test_metres_need_no_scale() -> None:
    with pytest.raises(UnitError, match="relative depth a scale"):
        ScaleTracker(Known()).scaled(replace(ramp(0), unit=Unit.METRE))


def test_beyond_the_scale_is_infinitely_far() -> None:
    scale = fit(*truth(0, 9))
    assert scale is not None
    metres = scale.metres(np.array([[-1.0, np.nan]], np.float32))
    assert np.array_equal(metres, np.array([[inf, np.nan]], np.float32), equal_nan=True)


def test_points_outside_the_map_have_no_value() -> None:
    depth = np.arange(6, dtype=np.float32).reshape(2, 3)
    points = Points(np.array([0.4, 2.0, 3.0, -1.0]), np.array([0.0, 1.0, 0.0, 0.0]), np.ones(4))
    assert np.array_equal(sampled(depth, points), [0, 5, np.nan, np.nan], equal_nan=True)


def test_a_table_of_points_may_name_frames(tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    path.write_text("x, y, metres\n3,4,1.5\n5,6,2\n")
    table = read_references(path)
    always = table.points(17, 48, 64)
    assert always is not None
    assert (always.x.tolist(), always.y.tolist(), always.metres.tolist()) == ([3, 5], [4, 6], [1.5, 2])
    path.write_text("frame,x,y,metres\n2,3,4,1.5\n,5,6,2\n")
    both = PointTable(path).points(2, 1, 1)
    assert both is not None
    assert both.metres.tolist() == [1.5, 2]
    some = PointTable(path).points(0, 1, 1)
    assert some is not None
    assert some.metres.tolist() == [2]
    path.write_text("frame,x,y,metres\n2,3,4,1.5\n")
    assert PointTable(path).points(0, 1, 1) is None


@pytest.mark.parametrize("text", ["x,y\n1,2\n", "x,y,metres\n", "x,y,metres\n1,2,0\n", "x,y,metres\n1,2,far\n"])
def test_a_table_without_points_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "points.csv"
    path.write_text(text)
    with pytest.raises(SourceError, match=r"points\.csv needs"):
        read_references(path)


def test_a_sensor_map_of_another_size_lies_over_the_picture(tmp_path: Path) -> None:
    codes = np.zeros((2, 3), np.uint16)
    codes[1, 2] = 2500
    Image.fromarray(codes).save(tmp_path / "000004.png")
    maps = read_references(tmp_path / "%06d.png")
    points = maps.points(4, 20, 30)
    assert points is not None
    assert (points.x.tolist(), points.y.tolist(), points.metres.tolist()) == ([24.5], [14.5], [2.5])
    assert maps.points(5, 20, 30) is None
    Image.fromarray(np.zeros((2, 3), np.uint8)).save(tmp_path / "000006.png")
    with pytest.raises(SourceError, match="millimetres"):
        maps.points(6, 20, 30)
    (tmp_path / "000007.png").write_bytes(b"no picture")
    with pytest.raises(SourceError, match="can be read"):
        maps.points(7, 20, 30)


@pytest.mark.parametrize("name", ["missing.csv", "missing/%06d.png", "one.png", "points.txt"])
def test_references_that_are_not_there_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SourceError):
        read_references(tmp_path / name)


def test_a_refinement_does_all_of_it_in_order() -> None:
    lens = Lens(LensModel.PLUMB_BOB, (0.1, 0.0, 0.0, 0.0, 0.0))
    camera = Camera(Intrinsics(8, 24, 20.0, 20.0, 11.5, 3.5, lens))
    refinement = Refinement(
        camera=camera,
        straightened=True,
        tracker=ScaleTracker(Known()),
        unit=Unit.INVERSE_METRE,
        limits=Limits(2.0, 8.0),
    )
    assert refinement.check(Unit.RELATIVE) is Unit.INVERSE_METRE
    got = refinement.apply(ramp(0))
    assert got.unit is Unit.INVERSE_METRE
    expected = 1 / metres_of_ramp()
    expected[expected < 1 / 8] = np.nan
    assert np.allclose(got.depth, np.minimum(expected, 0.5), rtol=1e-4, equal_nan=True)
    assert got.intrinsics == Intrinsics(4, 12, 10.0, 10.0, 5.5, 1.5)


@pytest.mark.parametrize(
    ("refinement", "unit", "hint"),
    [
        (Refinement(unit=Unit.METRE), Unit.RELATIVE, "no scale"),
        (Refinement(limits=Limits(1, 2)), Unit.RELATIVE, "no scale"),
        (Refinement(tracker=ScaleTracker(Known())), Unit.METRE, "this model's depth is metre"),
    ],
)
def test_what_cannot_be_is_refused_beforehand(refinement: Refinement, unit: Unit, hint: str) -> None:
    with pytest.raises(UnitError, match=hint):
        refinement.check(unit)


def test_both_kinds_of_estimate_are_refined() -> None:
    refinement = Refinement(unit=Unit.INVERSE_METRE)
    metric = depth_frame(np.full((2, 2), 4, np.float32), 0, Unit.METRE)
    step = refined(lambda _: metric, refinement)
    assert not isinstance(step, OverFrames)
    assert step(metric.frame).depth[0, 0] == 0.25
    over = refined(OverFrames(lambda frames: (replace(metric, frame=frame) for frame in frames)), refinement)
    assert isinstance(over, OverFrames)
    assert [one.depth[0, 0] for one in over.apply([metric.frame] * 2)] == [0.25, 0.25]
    assert refined(over, Refinement()) is over
