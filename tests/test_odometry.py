"""Motion of a camera before a textured wall, rendered from both places."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.metrics import Camera
from benchmarks.odometry import View, exponential, motion, trajectory

CAMERA = Camera(100.0, 100.0, 63.5, 47.5)
NORMAL, DISTANCE = np.array([0.2, 0.35, -1.0]), -2.5
"""The wall: points p with normal · p = distance."""


def seen_from(pose: NDArray[np.float64]) -> View:
    """The wall from a camera with this pose (camera to world)."""
    v, u = np.mgrid[0:96, 0:128]
    rays = np.stack([(u - CAMERA.cx) / CAMERA.fx, (v - CAMERA.cy) / CAMERA.fy, np.ones(u.shape)]).reshape(3, -1)
    depth = (DISTANCE - NORMAL @ pose[:3, 3]) / (NORMAL @ pose[:3, :3] @ rays)
    x, y, z = pose[:3, :3] @ (rays * depth) + pose[:3, 3:]
    shade = 128 + 50 * np.sin(5 * x + 2 * z) + 45 * np.sin(6 * y - 1.5 * x) + 25 * np.sin(14 * x + 9 * y)
    return View(shade.reshape(u.shape), depth.reshape(u.shape))


def backwards(step: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.linalg.inv(step), np.float64)


@pytest.mark.parametrize(
    "twist",
    [(0.03, -0.02, 0.04, 0, 0, 0), (0, 0, 0, 0.02, -0.03, 0.01), (0.02, 0.01, -0.03, -0.02, 0.02, 0.03)],
)
def test_motion_of_a_rendered_wall_is_found(twist: tuple[float, ...]) -> None:
    step = exponential(np.array(twist, np.float64))
    found = motion(seen_from(np.eye(4)), seen_from(backwards(step)), CAMERA)
    np.testing.assert_allclose(found, step, atol=2e-3)


def test_holes_in_the_depth_do_not_matter() -> None:
    step = exponential(np.array([0.02, 0.0, 0.02, 0.0, 0.02, 0.0]))
    views = [seen_from(np.eye(4)), seen_from(backwards(step))]
    for view in views:
        view.depth[20:50, 30:80] = 0
    np.testing.assert_allclose(trajectory(views, CAMERA)[1], np.linalg.inv(step), atol=2e-3)


def test_nothing_to_compare_leaves_the_guess() -> None:
    blind = View(np.zeros((96, 128)), np.zeros((96, 128)))
    guess = exponential(np.array([0.1, 0, 0, 0, 0, 0]))
    np.testing.assert_array_equal(motion(blind, blind, CAMERA, guess), guess)


def test_exponential_of_a_quarter_turn() -> None:
    turned = exponential(np.array([0, 0, 0, 0, 0, np.pi / 2]))
    np.testing.assert_allclose(turned[:3, :3] @ [1, 0, 0], [0, 1, 0], atol=1e-12)
    np.testing.assert_array_equal(exponential(np.zeros(6)), np.eye(4))
