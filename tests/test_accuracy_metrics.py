"""Accuracy and consistency on hand-made cases whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.metrics import (
    Alignment,
    Camera,
    Floats,
    aligned_depth,
    alignment_errors,
    errors,
    flicker,
    reprojection_error,
)
from engines.spec import Unit

CAMERA = Camera(20.0, 20.0, 9.5, 7.5)
CAP = 10.0


def room(frames: int = 3) -> Floats:
    """Depth of a floor that comes nearer with every frame."""
    rows = np.linspace(1, 8, 16, dtype=np.float32)[:, None]
    return np.stack([np.repeat(rows, 20, axis=1) / (1 + 0.1 * frame) for frame in range(frames)])


def inverse(truth: Floats, scale: float = 1.0, shift: float = 0.0) -> Floats:
    """Maps that are right but for these two; what has no reading is 1 m."""
    maps: Floats = (scale / np.where(truth > 0, truth, 1) + shift).astype(np.float32)
    return maps


def forward(metres: float) -> NDArray[np.float64]:
    """Pose of a camera that has gone forward."""
    pose = np.eye(4)
    pose[2, 3] = metres
    return pose


def test_maps_right_but_for_scale_and_shift_have_no_error() -> None:
    truth = room()
    found = errors(aligned_depth(inverse(truth, 7, 3), truth, CAP, Unit.RELATIVE), truth, CAP)
    assert found.frames == (0, 1, 2)
    np.testing.assert_allclose(found.abs_rel, 0, atol=1e-5)
    np.testing.assert_array_equal(found.delta1, 1)


def test_a_constant_map_of_two_depths() -> None:
    truth = np.array([[[1.0, 2.0]]], np.float32)  # inverse 1 and 0.5: fitted to 0.75, so 4/3 m in both places
    found = errors(aligned_depth(np.ones_like(truth), truth, CAP, Unit.RELATIVE), truth, CAP)
    assert found.abs_rel == pytest.approx((1 / 3 + 1 / 3) / 2)
    assert found.delta1 == pytest.approx(0)


def test_one_fit_for_the_sequence_keeps_drift_that_a_fit_for_each_frame_forgives() -> None:
    truth = room(2)
    maps = inverse(truth)
    maps[1] *= 2  # the second frame is said to be twice as near
    kinds: tuple[Alignment, ...] = ("each frame", "first frame")
    depths = {kind: aligned_depth(maps, truth, CAP, Unit.RELATIVE, kind) for kind in kinds}
    assert errors(depths["each frame"], truth, CAP).abs_rel == pytest.approx([0, 0], abs=1e-5)
    assert errors(depths["first frame"], truth, CAP).abs_rel == pytest.approx([0, 0.5], abs=1e-5)
    whole = errors(aligned_depth(maps, truth, CAP, Unit.RELATIVE), truth, CAP)
    assert whole.abs_rel.min() > 0.05


def test_the_first_frame_with_readings_is_the_one_that_is_fitted() -> None:
    truth = room(3)
    truth[0] = 0
    depth = aligned_depth(inverse(truth, 5), truth, CAP, Unit.RELATIVE, "first frame")
    found = errors(depth, truth, CAP)
    assert found.frames == (1, 2)
    np.testing.assert_allclose(found.abs_rel, 0, atol=1e-5)


def test_what_has_no_reading_or_lies_beyond_the_cap_does_not_count() -> None:
    truth = np.array([[[1.0, 2.0, 0.0, 40.0, 4.0]]], np.float32)
    maps = np.array([[[1.0, 0.5, 9.0, 9.0, 0.25]]], np.float32)
    depth = aligned_depth(maps, truth, CAP, Unit.RELATIVE)
    assert errors(depth, truth, CAP).abs_rel == pytest.approx(0, abs=1e-5)
    assert depth.max() <= CAP
    assert depth.min() > 0


def test_metric_maps_are_taken_as_they_are() -> None:
    truth = room(1)
    found = errors(aligned_depth(truth * 1.3, truth, 80, Unit.METRE), truth, 80)
    assert found.abs_rel == pytest.approx(0.3, abs=1e-5)
    assert found.delta1 == pytest.approx(0)


def test_a_sequence_without_readings_is_refused() -> None:
    empty = np.zeros((2, 4, 4), np.float32)
    with pytest.raises(ValueError, match="no pixel of the sequence has a reading"):
        aligned_depth(empty + 1, empty, CAP, Unit.RELATIVE)


def test_a_wall_that_one_walks_towards_is_consistent_when_its_depth_falls() -> None:
    wall = np.stack([np.full((16, 20), metres, np.float32) for metres in (4, 3)])
    assert alignment_errors(wall, [forward(0), forward(1)], CAMERA) == pytest.approx(0, abs=1e-9)


def test_a_wall_whose_depth_stays_is_wrong_in_both_directions() -> None:
    wall = np.full((2, 16, 20), 4, np.float32)
    # Moved it is at 3 m where 4 are seen (1/4 of 4), and at 5 m where 4 are seen (1/4 of 4): 25 percent.
    assert alignment_errors(wall, [forward(0), forward(1)], CAMERA) == pytest.approx(25)


def test_scale_that_jumps_between_frames_is_seen() -> None:
    wall = np.stack([np.full((16, 20), metres, np.float32) for metres in (2, 4)])
    found = alignment_errors(wall, [np.eye(4), np.eye(4)], CAMERA)
    assert found == pytest.approx(100 * (0.5 + 1.0) / 2)  # 2 against 4, and 4 against 2


def test_frames_that_share_nothing_are_left_out() -> None:
    turned = np.diag([-1.0, 1.0, -1.0, 1.0])
    wall = np.full((2, 16, 20), 4, np.float32)
    assert np.isnan(alignment_errors(wall, [np.eye(4), turned], CAMERA)).all()


def test_a_step_aside_moves_pixels_by_focal_length_over_depth() -> None:
    wall = np.full((16, 20), 4, np.float32)
    other = wall.copy()
    other[:, :1] = 0  # at 4 m and focal length 20 a step of 0.2 m moves the wall by one pixel; nothing fills the first
    aside = np.eye(4)
    aside[0, 3] = 0.2
    assert reprojection_error(wall, other, aside, CAMERA) == pytest.approx(0)
    other[:, 1:] = 5
    assert reprojection_error(wall, other, aside, CAMERA) == pytest.approx(0.2)


def test_flicker() -> None:
    still = np.repeat(np.linspace(0, 1, 100, dtype=np.float32).reshape(1, 10, 10), 5, axis=0)
    assert flicker(still) == 0.0
    shaken = still + np.array([0, 0.1, 0, 0.1, 0], np.float32)[:, None, None]
    assert flicker(shaken) == pytest.approx(10, rel=0.1)
