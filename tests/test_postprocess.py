"""The display range: out fast, in slowly, never thrown off by one frame."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from stream.frame import DisplayRange
from stream.postprocess import update_range

FRAME_S = 1 / 30


def ramp(low: float, high: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.linspace(low, high, 64 * 48, dtype=np.float32).reshape(48, 64)


def after(seconds: float, start: DisplayRange, low: float, high: float) -> DisplayRange:
    shown = start
    for _ in range(round(seconds / FRAME_S)):
        shown = update_range(shown, ramp(low, high), FRAME_S)
    return shown


def test_first_map_sets_the_range() -> None:
    shown = update_range(None, ramp(2, 12), 0)
    assert shown.low == pytest.approx(2.1, abs=0.01)
    assert shown.high == pytest.approx(11.9, abs=0.01)


def test_few_outliers_do_not_count() -> None:
    depth = ramp(2, 12)
    depth[0, :8] = 1e6
    assert update_range(None, depth, 0).high < 13


def test_widening_is_quick() -> None:
    shown = after(0.5, DisplayRange(0, 10), -5, 20)
    assert shown.high > 19
    assert shown.low < -4


def test_narrowing_is_slow() -> None:
    shown = after(0.5, DisplayRange(0, 10), 4, 6)
    assert shown.high > 9
    assert shown.low < 1
    assert after(15, DisplayRange(0, 10), 4, 6).high < 6.2


def test_one_frame_moves_little() -> None:
    shown = update_range(DisplayRange(0, 10), ramp(0, 20), FRAME_S)
    assert 10 < shown.high < 13


def test_speed_does_not_depend_on_the_frame_rate() -> None:
    slow = update_range(DisplayRange(0, 10), ramp(0, 20), 0.2)
    quick = DisplayRange(0, 10)
    for _ in range(10):
        quick = update_range(quick, ramp(0, 20), 0.02)
    assert slow.high == pytest.approx(quick.high)


def test_a_constant_map_has_a_range() -> None:
    shown = update_range(None, np.full((4, 4), 5, np.float32), 0)
    assert shown.low < 5 < shown.high


def test_maps_without_a_finite_value_change_nothing() -> None:
    empty = np.full((4, 4), np.nan, np.float32)
    assert update_range(DisplayRange(1, 2), empty, FRAME_S) == DisplayRange(1, 2)
    assert update_range(None, empty, 0) == DisplayRange(0, 1)


@given(
    arrays.arrays(
        np.float32, (3, 5), elements=st.floats(-(2.0**99), 2.0**99, width=32) | st.sampled_from([np.nan, np.inf])
    ),
    st.floats(0, 100),
)
def test_the_range_is_always_open_and_finite(
    depth: np.ndarray[tuple[int, ...], np.dtype[np.float32]], dt: float
) -> None:
    shown = update_range(update_range(None, depth, 0), depth, dt)
    assert np.isfinite([shown.low, shown.high]).all()
    assert shown.low < shown.high
