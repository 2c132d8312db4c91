"""Points from metres: where they lie, which are left out, what the files hold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from engines.spec import Unit
from stream.camera import Intrinsics
from stream.cloudfile import pcd, ply
from stream.errors import CameraError, UnitError
from stream.pointcloud import Cloud, CloudRule, cloud_from, cloud_of, deprojected, is_flying, projected, rays, thinned
from tests.fakes import depth_frame

CAMERA = Intrinsics(48, 64, 60.0, 58.0, 30.5, 22.0)


def floor(height_m: float = 1.0) -> NDArray[np.float32]:
    """Metres of a floor below the camera; NaN above the horizon."""
    down = rays(CAMERA)[..., 1]
    return np.where(down > 0.05, height_m / np.maximum(down, 0.05), np.nan).astype(np.float32)


def test_points_lie_where_they_are_seen() -> None:
    depth = np.random.default_rng(0).uniform(0.3, 9, (48, 64)).astype(np.float32)
    points = deprojected(depth, CAMERA)
    assert np.array_equal(points[..., 2], depth)
    x, y = projected(points, CAMERA)
    rows, columns = np.mgrid[:48, :64]
    assert np.abs(x - columns).max() < 1e-3
    assert np.abs(y - rows).max() < 1e-3


def test_a_floor_is_flat_and_none_of_it_flies() -> None:
    metres = floor()
    points = deprojected(metres, CAMERA)
    seen = np.isfinite(metres)
    assert np.allclose(points[seen][:, 1], 1, atol=1e-5)
    assert not is_flying(metres, CAMERA, 88)[seen].any()


def test_points_between_an_edge_and_its_background_fly() -> None:
    metres = np.full((48, 64), 1, np.float32)
    metres[:, 30:] = 4
    metres[:, 28:32] = [1.3, 2, 3, 3.6]
    kept = cloud_from(metres, CAMERA, CloudRule(edge_degrees=80)).points[..., 2]
    assert np.isnan(kept[:, 28:32]).all()
    assert np.isfinite(kept[:, :26]).all()
    assert np.isfinite(kept[:, 34:]).all()
    assert np.isfinite(cloud_from(metres, CAMERA, CloudRule(edge_degrees=90)).points).all()


def test_what_is_no_distance_is_no_point() -> None:
    metres = np.full((48, 64), 2, np.float32)
    metres[0, :4] = np.nan, np.inf, 0, -1
    points = cloud_from(metres, CAMERA, CloudRule(edge_degrees=90)).points
    assert np.isnan(points[0, :4]).all()
    assert np.isfinite(points).all(axis=-1).sum() == 48 * 64 - 4


def test_every_nth_pixel_keeps_rows_and_colours() -> None:
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    thin = cloud_from(np.full((48, 64), 2, np.float32), CAMERA, CloudRule(every=5), image)
    assert thin.is_organised
    assert thin.points.shape == (10, 13, 3)
    assert thin.colours is not None
    assert np.array_equal(thin.colours, image[::5, ::5])


def test_voxels_hold_the_means_of_their_points() -> None:
    points = np.array([[0.01, 0.01, 1.01], [0.03, 0.05, 1.05], [0.31, 0, 1], [np.nan, 0, 1]], np.float32)
    colours = np.array([[0, 0, 10], [0, 100, 20], [7, 7, 7], [9, 9, 9]], np.uint8)
    few = thinned(Cloud(points, colours), 0.1)
    assert few.colours is not None
    order = np.argsort(few.points[:, 0])
    assert np.allclose(few.points[order], [[0.02, 0.03, 1.03], [0.31, 0, 1]])
    assert few.colours[order].tolist() == [[0, 50, 15], [7, 7, 7]]
    assert len(thinned(Cloud(np.full((2, 3), np.nan, np.float32), None), 1.0).points) == 0


def test_a_frame_needs_its_camera_and_metres() -> None:
    metric = depth_frame(np.full((48, 64), 2, np.float32), 0, Unit.METRE)
    with pytest.raises(CameraError, match="--camera"):
        cloud_of(metric, CloudRule())
    seen = replace(metric, intrinsics=CAMERA)
    inverse = replace(seen, depth=np.full((48, 64), 0.5, np.float32), unit=Unit.INVERSE_METRE)
    assert np.array_equal(cloud_of(seen, CloudRule()).points, cloud_of(inverse, CloudRule()).points)
    with pytest.raises(UnitError):
        cloud_of(replace(seen, unit=Unit.RELATIVE), CloudRule())


@pytest.mark.parametrize("rule", [{"every": 0}, {"edge_degrees": 91}, {"voxel_m": 0.0}])
def test_rules_that_keep_nothing_are_refused(rule: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="a cloud takes"):
        CloudRule(**rule)  # type: ignore[arg-type]


def test_a_map_of_another_size_is_our_callers_fault() -> None:
    with pytest.raises(ValueError, match="48x64"):
        deprojected(np.ones((3, 3), np.float32), CAMERA)


def some_cloud(organised: bool, coloured: bool) -> Cloud:
    random = np.random.default_rng(1)
    shape = (5, 7, 3) if organised else (11, 3)
    points = random.uniform(-3, 3, shape).astype(np.float32)
    points[0] = np.nan
    return Cloud(points, random.integers(0, 256, shape, np.uint8) if coloured else None)


@pytest.mark.parametrize("organised", [True, False])
@pytest.mark.parametrize("coloured", [True, False])
def test_ply_files_are_read_by_others(tmp_path: Path, organised: bool, coloured: bool) -> None:
    plyfile = pytest.importorskip("plyfile", reason="needs the package plyfile")
    sent = some_cloud(organised, coloured)
    (tmp_path / "a.ply").write_bytes(ply(sent))
    data = plyfile.PlyData.read(tmp_path / "a.ply")
    vertex = data["vertex"]
    points = np.stack([vertex[axis] for axis in "xyz"], axis=-1)
    assert np.array_equal(points.reshape(sent.points.shape), sent.points, equal_nan=True)
    assert data.obj_info == (["num_cols 7", "num_rows 5"] if organised else [])
    if sent.colours is not None:
        colours = np.stack([vertex[name] for name in ("red", "green", "blue")], axis=-1)
        assert np.array_equal(colours.reshape(sent.colours.shape), sent.colours)


@pytest.mark.parametrize("organised", [True, False])
@pytest.mark.parametrize("coloured", [True, False])
def test_pcd_files_are_read_by_others(tmp_path: Path, organised: bool, coloured: bool) -> None:
    pypcd4 = pytest.importorskip("pypcd4", reason="needs the package pypcd4")
    sent = some_cloud(organised, coloured)
    (tmp_path / "a.pcd").write_bytes(pcd(sent))
    read = pypcd4.PointCloud.from_path(tmp_path / "a.pcd")
    assert (read.metadata.height, read.metadata.width) == ((5, 7) if organised else (1, 11))
    points = read.numpy(("x", "y", "z")).reshape(sent.points.shape)
    assert np.array_equal(points, sent.points, equal_nan=True)
    if sent.colours is not None:
        colours = pypcd4.PointCloud.decode_rgb(read.pc_data["rgb"])
        assert np.array_equal(colours.reshape(sent.colours.shape), sent.colours)
