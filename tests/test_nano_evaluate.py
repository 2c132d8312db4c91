"""The measurements on hand-made cases."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from export.nano.data import RealFrames
from export.nano.evaluate import FARTHEST, accuracy, constant_map, flicker, frame_accuracy, row_plane


def test_a_perfect_map_up_to_scale_and_shift() -> None:
    inverse = np.linspace(0.2, 2.0, 120, dtype=np.float32).reshape(10, 12)
    found = frame_accuracy(inverse * 5 - 3, inverse)
    assert found.abs_rel == pytest.approx(0, abs=1e-5)
    assert found.delta1 == 1.0


def test_a_constant_map_on_two_depths() -> None:
    inverse = np.array([[1.0, 0.5]], np.float32)  # fitted to 0.75 everywhere: 1/0.75 m against 1 m and 2 m
    found = frame_accuracy(np.ones((1, 2), np.float32), inverse)
    assert found.abs_rel == pytest.approx((1 / 3 + 1 / 3) / 2)
    assert found.delta1 == 0.0


def test_pixels_without_a_reading_are_left_out() -> None:
    inverse = np.array([[1.0, 0.5, -1.0]], np.float32)
    predicted = np.array([[2.0, 1.0, 99.0]], np.float32)
    assert frame_accuracy(predicted, inverse).abs_rel == pytest.approx(0, abs=1e-6)


def test_a_fit_below_zero_is_bounded() -> None:
    inverse = np.array([[0.1, 0.1, 0.1, 2.0, 2.0, 2.0, 0.1]], np.float32)
    predicted = np.array([[0.0, 0.0, 0.0, 1.0, 1.0, 1.0, -5.0]], np.float32)
    assert frame_accuracy(predicted, inverse).abs_rel < FARTHEST * 2


def test_row_plane_explains_a_floor_and_a_constant_does_not() -> None:
    rgb = torch.zeros(20, 30, 3, dtype=torch.uint8)
    inverse = np.repeat(np.linspace(0.1, 1, 20, dtype=np.float32)[:, None], 30, 1)
    assert frame_accuracy(row_plane(rgb), inverse).abs_rel == pytest.approx(0, abs=1e-5)
    assert frame_accuracy(constant_map(rgb), inverse).abs_rel > 0.3


def test_flicker() -> None:
    still = np.repeat(np.linspace(0, 1, 100, dtype=np.float32).reshape(1, 10, 10), 5, 0)
    assert flicker(still) == 0.0
    shaken = still + np.array([0, 0.1, 0, 0.1, 0], np.float32)[:, None, None]
    assert flicker(shaken) == pytest.approx(0.1 / 1.0, rel=0.1)


def test_a_stream_is_fed_every_frame_and_scored_on_some() -> None:
    frames = RealFrames.__new__(RealFrames)
    frames.rgb = np.zeros((7, 10, 20, 3), np.uint8)
    frames.inverse = np.ones((7, 10, 20), np.float32)
    calls = []

    def predict(rgb: torch.Tensor) -> NDArray[np.float32]:
        calls.append(rgb)
        return np.ones(rgb.shape[:2], np.float32)

    assert accuracy(predict, frames, 3, stream=True).abs_rel == pytest.approx(0, abs=1e-6)
    assert len(calls) == 7
    accuracy(predict, frames, 3)
    assert len(calls) == 7 + 3
