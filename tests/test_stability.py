"""The two figures of steadiness, against scenes whose answer is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from engines.spec import Unit
from stream.camera import Intrinsics
from stream.frame import DepthFrame, DisplayRange
from stream.pointcloud import rays
from stream.stability import Flicker, alignment_error, relative_change
from tests.fakes import frame, textured

SCENE = textured(3, 120, 160)


def shown(index: int, depth: NDArray[np.float32], image: NDArray[np.uint8] = SCENE) -> DepthFrame:
    return DepthFrame(frame(image, index), depth, Unit.RELATIVE, DisplayRange(0, 10), reset=index == 0)


def flat(value: float) -> NDArray[np.float32]:
    return np.full((120, 160), value, np.float32)


def test_a_steady_stream_does_not_flicker() -> None:
    flicker = Flicker()
    assert flicker.median is None
    for index in range(3):
        flicker.add(shown(index, flat(4)))
    assert flicker.median == 0


def test_flicker_is_the_relative_change_of_still_places() -> None:
    flicker = Flicker()
    moved = SCENE.copy()
    moved[:, 100:] = 255 - moved[:, 100:]
    for index in range(6):
        depth = flat(4 if index % 2 else 4 * 1.02)
        depth[:, 96:] = index + 1
        flicker.add(shown(index, depth, moved if index % 2 else SCENE))
    assert flicker.median == pytest.approx(0.02 / 1.01, rel=1e-3)


def test_frames_that_begin_anew_or_are_held_are_no_comparison() -> None:
    flicker = Flicker()
    flicker.add(shown(0, flat(1)))
    flicker.add(replace(shown(1, flat(2)), reset=True))
    flicker.add(replace(shown(2, flat(3)), stale=True))
    assert flicker.median is None
    flicker.add(shown(3, flat(2)))
    assert flicker.median == 0


def test_where_everything_moves_nothing_is_said() -> None:
    flicker = Flicker()
    for index in range(4):
        flicker.add(shown(index, flat(index + 1), np.full((120, 160, 3), 60 * index, np.uint8)))
    assert flicker.median is None


def test_missing_values_do_not_count() -> None:
    before, now = np.array([[np.nan, 0, 2, -1, np.inf]], np.float32), np.array([[1, 0, 3, 1, 1]], np.float32)
    change = relative_change(before, now)
    assert np.array_equal(change[0, :4], np.array([np.nan, 0, 0.4, 2], np.float32), equal_nan=True)
    assert not np.isfinite(change[0, 4])


CAMERA = Intrinsics(48, 64, 60.0, 60.0, 31.5, 23.5)


def wall(distance_m: float) -> NDArray[np.float32]:
    """Metres of a wall straight ahead."""
    return np.full((48, 64), distance_m, np.float32)


def floor(camera_height_m: float) -> NDArray[np.float32]:
    down = rays(CAMERA)[..., 1]
    return np.where(down > 0.1, camera_height_m / np.maximum(down, 0.1), np.nan).astype(np.float32)


def moved(x: float, y: float, z: float) -> NDArray[np.float64]:
    """Takes points to a camera that has gone by (x, y, z)."""
    pose = np.eye(4)
    pose[:3, 3] = -x, -y, -z
    return pose


@pytest.mark.parametrize(
    ("first", "second", "pose"),
    [
        (wall(4), wall(3), moved(0, 0, 1)),
        (floor(1), floor(1), moved(0.2, 0, 0.5)),
        (floor(1), floor(1.5), moved(0, -0.5, 0)),
    ],
)
def test_true_depth_and_true_poses_align(
    first: NDArray[np.float32], second: NDArray[np.float32], pose: NDArray[np.float64]
) -> None:
    assert alignment_error(first, second, CAMERA, pose) < 0.025


def test_a_wrong_scale_shows_as_its_share() -> None:
    error = alignment_error(wall(4), wall(4) * np.float32(1.1), CAMERA, np.eye(4))
    assert error == pytest.approx((0.1 / 1.1 + 0.1) / 2, rel=1e-3)


def test_views_that_share_nothing_have_no_error() -> None:
    assert np.isnan(alignment_error(wall(4), wall(4), CAMERA, moved(0, 0, 9)))
