"""Cameras: calibrations as people write them, resizing, turning, distortion undone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.calibration import read_camera
from stream.camera import Camera, Intrinsics, Lens, LensModel
from stream.errors import CameraError
from stream.orientation import Orientation
from stream.pointcloud import deprojected, projected, rays
from stream.sources.file import FileSource
from stream.undistort import Straightened, Straightener, bent
from tests.fakes import ListSource, frame
from tests.videos import write_video

BARREL = Lens(LensModel.PLUMB_BOB, (-0.28, 0.09, 0.001, -0.0015, -0.01))
LENSES = [
    BARREL,
    Lens(LensModel.RATIONAL, (0.3, 0.1, 0.0005, 0.0008, 0.01, 0.5, 0.1, 0.02)),
    Lens(LensModel.EQUIDISTANT, (0.02, -0.01, 0.003, -0.001)),
]
CAMERA = Intrinsics(48, 64, 50.0, 51.0, 30.5, 24.25)

ROS = """\
image_width: 640
image_height: 480
camera_name: front
camera_matrix:
  rows: 3
  cols: 3
  data: [525.0, 0.0, 319.5, 0.0, 526.0, 239.5, 0.0, 0.0, 1.0]
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [-0.28, 0.09, 0.001, -0.0015, -0.01]}
"""
TOML = """\
width = 640
height = 480
fx = 525
fy = 526.0
cx = 319.5
cy = 239.5
distortion = [-0.28, 0.09, 0.001, -0.0015, -0.01]
"""


@pytest.mark.parametrize(("name", "text"), [("a.yaml", ROS), ("a.toml", TOML)])
def test_calibrations_of_both_kinds_say_the_same(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    expected = Intrinsics(480, 640, 525.0, 526.0, 319.5, 239.5, BARREL)
    assert read_camera(str(tmp_path / name)) == Camera(expected)


def test_a_lens_that_bends_nothing_is_none(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text(TOML.replace("-0.28, 0.09, 0.001, -0.0015, -0.01", "0, 0"))
    assert read_camera(str(path)).lens is None
    path.write_text(TOML.replace("distortion = [-0.28, 0.09, 0.001, -0.0015, -0.01]", "distortion = [0.1]"))
    assert read_camera(str(path)).lens == Lens(LensModel.PLUMB_BOB, (0.1, 0.0, 0.0, 0.0, 0.0))


@pytest.mark.parametrize(
    ("name", "text", "hint"),
    [
        ("a.toml", "width = 640", "says nothing of fx"),
        ("a.toml", TOML.replace("525", '"wide"'), "describes no camera"),
        ("a.toml", TOML.replace("fx = 525", "fx = 0"), "above zero"),
        ("a.toml", "= 3", "not TOML"),
        ("a.toml", TOML + 'model = "mirror"', "mirror"),
        ("a.yaml", "a: [", "not YAML"),
        ("a.yaml", "just words", "no camera_info"),
        ("a.yaml", ROS.replace("camera_matrix", "matrix"), "camera_matrix"),
        ("a.txt", "", "fov=DEGREES"),
    ],
)
def test_what_describes_no_camera_is_refused(tmp_path: Path, name: str, text: str, hint: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(CameraError, match=hint):
        read_camera(str(tmp_path / name))


@pytest.mark.parametrize("text", ["fov=0", "fov=wide", "fov=180", "missing.toml", "missing.yaml"])
def test_more_that_describes_no_camera(text: str) -> None:
    with pytest.raises(CameraError):
        read_camera(text)


def test_a_field_of_view_is_that_of_the_sensor() -> None:
    camera = read_camera("fov=90")
    lying = camera.at(480, 640)
    assert lying is not None
    assert (lying.fx, lying.cx, lying.cy) == pytest.approx((320, 319.5, 239.5))
    standing = camera.at(640, 480, Orientation.turn(90))
    assert standing is not None
    assert standing.fx == pytest.approx(320)


def test_a_calibration_of_another_shape_is_not_guessed_at() -> None:
    assert Camera(CAMERA).at(48, 85) is None
    assert Camera(CAMERA).at(24, 32) == CAMERA.scaled(24, 32)


@given(st.integers(1, 200), st.integers(1, 200), st.floats(-2, 2), st.floats(-2, 2))
def test_resizing_keeps_every_ray_at_its_place_in_the_picture(
    height: int, width: int, across: float, down: float
) -> None:
    ray = np.array([across, down, 1.0])
    x, y = projected(ray, CAMERA)
    small_x, small_y = projected(ray, CAMERA.scaled(height, width))
    assert (small_x + 0.5) / width == pytest.approx((x + 0.5) / CAMERA.width)
    assert (small_y + 0.5) / height == pytest.approx((y + 0.5) / CAMERA.height)


@pytest.mark.parametrize("lens", [None, *LENSES], ids=str)
@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_turning_and_mirroring_move_pixels_as_they_move_the_picture(
    lens: Lens | None, degrees: int, across: bool
) -> None:
    camera = replace(CAMERA, lens=lens)
    marked = np.zeros((48, 64), np.uint8)
    marked[9, 41] = 255
    upright = np.rot90(marked, degrees // 90)
    if across:
        upright = np.fliplr(upright)
    (row,), (column,) = np.nonzero(upright)
    ray = rays(camera)[9, 41]
    turn = Orientation.turn(degrees)
    oriented = camera.oriented(replace(turn, mirrored_across=turn.mirrored_across ^ across))
    assert (oriented.height, oriented.width) == upright.shape
    quarter = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    mirror = np.diag([-1.0, 1.0, 1.0]) if across else np.eye(3)
    x, y = projected(mirror @ np.linalg.matrix_power(quarter, degrees // 90) @ ray, oriented)
    assert (float(x), float(y)) == pytest.approx((column, row), abs=1e-3)


@pytest.mark.parametrize("lens", LENSES, ids=lambda lens: lens.model)
def test_points_of_a_bent_picture_come_back_to_their_pixels(lens: Lens) -> None:
    camera = replace(CAMERA, lens=lens)
    x, y = projected(deprojected(np.full((48, 64), 2, np.float32), camera), camera)
    rows, columns = np.mgrid[:48, :64]
    assert np.abs(x - columns).max() < 0.01
    assert np.abs(y - rows).max() < 0.01


def test_a_straightened_picture_is_what_a_pinhole_sees() -> None:
    camera = Intrinsics(120, 160, 110.0, 110.0, 80.0, 60.0, BARREL)

    def world(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        wave = 127 + 60 * np.sin(9 * x) + 60 * np.cos(8 * y)
        return np.repeat(wave[..., None], 3, axis=-1).astype(np.uint8)

    pinhole = rays(replace(camera, lens=None))
    seen = rays(camera)
    straight = Straightener(camera).straight(world(seen[..., 0], seen[..., 1]))
    expected = world(pinhole[..., 0], pinhole[..., 1])
    inner = np.s_[20:-20, 25:-25]
    assert np.abs(straight[inner].astype(int) - expected[inner]).max() <= 4


def test_where_nothing_was_seen_is_black() -> None:
    pincushion = Lens(LensModel.PLUMB_BOB, (0.5, 0.0, 0.0, 0.0, 0.0))
    straight = Straightener(Intrinsics(48, 64, 50.0, 50.0, 31.5, 23.5, pincushion))
    assert straight.straight(np.full((48, 64, 3), 200, np.uint8))[0, 0].tolist() == [0, 0, 0]


def test_a_source_is_straightened_frame_by_frame() -> None:
    images = [np.full((48, 64, 3), 40 * index, np.uint8) for index in range(3)]
    odd = frame(np.zeros((48, 90, 3), np.uint8), 3)
    source = ListSource([*(frame(image, index) for index, image in enumerate(images)), odd])
    with Straightened(source, Camera(replace(CAMERA, lens=BARREL))) as straightened:
        frames = list(straightened)
    assert [one.index for one in frames] == [0, 1, 2, 3]
    assert frames[2].picture.to_ndarray()[24, 32].tolist() == [80, 80, 80]
    assert frames[3] is odd
    assert source.closed


@pytest.mark.parametrize("degrees", [0, 90, 270])
def test_a_file_tells_how_it_was_turned(tmp_path: Path, degrees: int) -> None:
    clip = write_video(tmp_path / "clip.mp4", [np.zeros((48, 64, 3), np.uint8)] * 2, rotation=degrees)
    with FileSource(clip) as source:
        assert source.info.orientation == Orientation.turn(degrees)
        assert (source.info.height, source.info.width) == ((64, 48) if degrees else (48, 64))


def test_a_ray_through_the_middle_is_not_bent() -> None:
    for lens in LENSES:
        x, y = bent(lens, np.zeros(1), np.zeros(1))
        assert (float(x[0]), float(y[0])) == (0, 0)


def test_lenses_count_their_coefficients() -> None:
    with pytest.raises(ValueError, match="has 4 coefficients, got 2"):
        Lens(LensModel.EQUIDISTANT, (1.0, 2.0))
