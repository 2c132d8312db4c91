"""Real depth (TUM RGB-D, fr1/rpy): where its points lie, and what 20 known pixels make of relative depth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

import depthcast
from engines.spec import Unit
from stream.camera import Intrinsics
from stream.pointcloud import CloudRule, cloud_from, projected
from stream.scalefit import Points, fit, sampled

FIRST, COUNT = 600, 24
"""Frames that the embedded model was not trained on; the last third is measured."""
KNOWN = 20


@pytest.fixture(scope="module")
def sequence(real_clips: Path) -> Path:
    folder = real_clips / "tum_fr1_rpy"
    if not folder.is_dir():
        pytest.skip("needs the RGB-D sequence tum_fr1_rpy in DEPTHCAST_DATA")
    return folder


def image(path: Path, layout: str) -> NDArray[Any]:
    with av.open(str(path)) as container:
        return next(container.decode(video=0)).to_ndarray(format=layout)


def metres(sequence: Path, index: int) -> NDArray[np.float32]:
    """float32 [120, 160]; NaN for no reading."""
    codes = image(sequence / "depth" / f"{index:04}.png", "gray16le")
    return np.where(codes, codes * np.float32(0.001), np.float32(np.nan))


def camera_of(sequence: Path) -> Intrinsics:
    said = json.loads((sequence / "meta.json").read_text())
    return Intrinsics(said["height"], said["width"], said["fx"], said["fy"], said["cx"], said["cy"])


@pytest.mark.parametrize("index", [0, 300, 700])
def test_points_of_true_depth_are_seen_where_the_picture_has_them(sequence: Path, index: int) -> None:
    camera, depth = camera_of(sequence), metres(sequence, index)
    points = cloud_from(depth, camera.scaled(120, 160), CloudRule(edge_degrees=90)).points
    seen = np.isfinite(points).all(axis=-1)
    assert seen.mean() > 0.4
    x, y = projected(points[seen].astype(np.float64), camera)
    rows, columns = np.nonzero(seen)
    assert np.abs(x - 2 * columns).max() <= 1
    assert np.abs(y - 2 * rows).max() <= 1


def relative_maps(sequence: Path, first: int, count: int) -> list[NDArray[np.float32]]:
    """What the embedded model makes of consecutive frames, at 120x160."""
    with depthcast.DepthStream(threads=1) as stream:
        frames = [
            stream.step(image(sequence / "rgb" / f"{first + index:04}.jpg", "rgb24"), time_s=index / 30)
            for index in range(count)
        ]
    assert frames[0].unit is Unit.RELATIVE
    return [frame.depth[::2, ::2] for frame in frames]


def error_from_known(depth: NDArray[np.float32], truth: NDArray[np.float32], seed: int) -> float:
    """Mean |error| / truth of all other pixels, once 20 random ones gave the scale."""
    rows, columns = np.nonzero(np.isfinite(truth))
    chosen = np.random.default_rng(seed).choice(rows.size, KNOWN, replace=False)
    known = truth[rows[chosen], columns[chosen]].astype(np.float64)
    points = Points(columns[chosen].astype(np.float64), rows[chosen].astype(np.float64), known)
    scale = fit(sampled(depth, points), points.metres)
    assert scale is not None
    rest = np.isfinite(truth)
    rest[rows[chosen], columns[chosen]] = False
    fitted = np.minimum(scale.metres(depth), 10)
    return float(np.mean(np.abs(fitted[rest] - truth[rest]) / truth[rest]))


def test_twenty_known_pixels_give_relative_depth_its_scale(sequence: Path) -> None:
    maps = relative_maps(sequence, FIRST, COUNT)
    errors = [error_from_known(maps[index], metres(sequence, FIRST + index), seed=index) for index in range(16, COUNT)]
    flat = np.mean(
        [
            np.nanmean(np.abs(np.nanmedian(truth) - truth) / truth)
            for truth in (metres(sequence, FIRST + index) for index in range(16, COUNT))
        ]
    )
    assert np.mean(errors) < 0.2
    assert np.mean(errors) < 0.8 * flat
