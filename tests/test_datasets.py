"""The folder layouts, each made by hand with one or two frames."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.datasets import LAYOUTS, DatasetError, Sequence, open_sequences
from benchmarks.datasets.poses import associate, pose_of
from benchmarks.datasets.sequence import at_depth


def picture(path: Path, height: int = 480, width: int = 640) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((height, width, 3), 90, np.uint8)).save(path)


def depth(path: Path, raw: int, height: int = 480, width: int = 640) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.full((height, width), raw, np.uint16)
    values[0, 0] = 0
    Image.fromarray(values).save(path)


def text(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def make_scannet(root: Path) -> None:
    for number in (2, 10):
        picture(root / f"scene0/color/{number}.jpg", 968, 1296)
        depth(root / f"scene0/depth/{number}.png", 2000)
        text(root / f"scene0/pose/{number}.txt", "1 0 0 0.5", "0 1 0 0", "0 0 1 0", "0 0 0 1")
    text(root / "scene0/intrinsic/intrinsic_depth.txt", "577 0 318 0", "0 578 242 0", "0 0 1 0", "0 0 0 1")


def make_kitti(root: Path) -> None:
    drive = "2011_09_26_drive_0002_sync"
    depth(root / f"val/{drive}/proj_depth/groundtruth/image_02/0000000005.png", 512, 375, 1242)
    picture(root / f"raw/2011_09_26/{drive}/image_02/data/0000000005.png", 375, 1242)


def make_listed(root: Path, name: str) -> None:
    folder = root / name
    picture(folder / "rgb/1.00.png")
    depth(folder / "depth/1.01.png", 10000)
    text(folder / "rgb.txt", "# comment", "1.00 rgb/1.00.png", "5.00 rgb/without-depth.png")
    text(folder / "depth.txt", "1.01 depth/1.01.png")
    text(folder / "groundtruth.txt", "# comment", "1.005 0.5 0 0 0 0 0 1", "9 0 0 0 0 0 0 1")


def make_nyuv2(root: Path) -> None:
    picture(root / "kitchen/rgb/00001.jpg")
    depth(root / "kitchen/depth/00001.png", 12000)


def make_sintel(root: Path) -> None:
    picture(root / "training/clean/alley/frame_0001.png", 436, 1024)
    for folder in ("depth", "camdata_left"):
        (root / f"training/{folder}/alley").mkdir(parents=True)
    metres = np.full((436, 1024), 2, "<f4")
    metres[0, 0] = 0
    head = struct.pack("<fii", 202021.25, 1024, 436)
    (root / "training/depth/alley/frame_0001.dpt").write_bytes(head + metres.tobytes())
    matrix = struct.pack("<f9d", 202021.25, 600, 0, 512, 0, 601, 218, 0, 0, 1)
    (root / "training/camdata_left/alley/frame_0001.cam").write_bytes(matrix)


def make_seven_scenes(root: Path) -> None:
    stem = root / "chess/seq-01/frame-000000"
    picture(Path(f"{stem}.color.png"))
    depth(Path(f"{stem}.depth.png"), 2000)
    text(Path(f"{stem}.pose.txt"), "1 0 0 0.5", "0 1 0 0", "0 0 1 0", "0 0 0 1")


def make_plain(root: Path) -> None:
    picture(root / "desk/rgb/0007.jpg", 240, 320)
    depth(root / "desk/depth/0007.png", 2000, 120, 160)
    meta = {"width": 320, "fx": 258.0, "fy": 258.0, "cx": 160.0, "cy": 120.0, "depth_width": 160}
    text(root / "desk/meta.json", json.dumps(meta))


Make = Callable[[Path], None]
CASES: dict[str, tuple[Make, int, tuple[int, int], float, bool]] = {
    # layout: (maker, frames, size of the depth map, cap in metres, poses)
    "scannet": (make_scannet, 2, (464, 618), 10, True),
    "kitti": (make_kitti, 1, (374, 1242), 80, False),
    "bonn": (lambda root: make_listed(root, "rgbd_bonn_balloon"), 1, (480, 640), 10, False),
    "nyuv2": (make_nyuv2, 1, (426, 560), 10, False),
    "sintel": (make_sintel, 1, (436, 1024), 70, False),
    "tum": (lambda root: make_listed(root, "rgbd_dataset_freiburg1_rpy"), 1, (480, 640), 10, True),
    "7-scenes": (make_seven_scenes, 1, (480, 640), 10, True),
    "plain": (make_plain, 1, (120, 160), 10, False),
}


def test_every_layout_is_tried() -> None:
    assert set(CASES) == set(LAYOUTS)


@pytest.mark.parametrize("layout", CASES)
def test_layout(layout: str, tmp_path: Path) -> None:
    make, frames, size, cap_m, has_poses = CASES[layout]
    make(tmp_path)
    [sequence] = open_sequences(layout, tmp_path)
    assert len(sequence.shots) == frames
    metres = sequence.depth(0)
    assert metres.shape == size
    assert np.median(metres) == pytest.approx(2)
    assert sequence.cap_m == cap_m
    assert at_depth(sequence.picture(0), size).shape == (*size, 3)
    assert (sequence.poses is not None) == has_poses
    if sequence.poses is not None:
        assert sequence.poses[0][0, 3] == pytest.approx(0.5)


def test_pixels_without_a_reading_are_zero(tmp_path: Path) -> None:
    make_seven_scenes(tmp_path)
    depth(tmp_path / "chess/seq-01/frame-000000.depth.png", 65535)
    assert open_sequences("7-scenes", tmp_path)[0].depth(0).max() == 0


def test_frames_are_ordered_by_number_and_cut_to_a_part(tmp_path: Path) -> None:
    make_scannet(tmp_path)
    [sequence] = open_sequences("scannet", tmp_path)
    assert [shot.picture.stem for shot in sequence.shots] == ["2", "10"]
    assert [shot.picture.stem for shot in sequence.part(1, 5, 1).shots] == ["10"]
    assert len(sequence.part(0, 2, 2).shots) == 1


def test_the_crop_moves_the_camera(tmp_path: Path) -> None:
    make_scannet(tmp_path)
    camera = open_sequences("scannet", tmp_path)[0].cropped_camera
    assert camera is not None
    assert (camera.fx, camera.cx, camera.cy) == (577, 318 - 11, 242 - 8)


def test_the_camera_belongs_to_the_depth_map(tmp_path: Path) -> None:
    make_plain(tmp_path)
    camera = open_sequences("plain", tmp_path)[0].camera
    assert camera is not None
    assert (camera.fx, camera.cx) == (129, 80)


def test_poses_beside_plain_frames_are_found_by_time(tmp_path: Path) -> None:
    make_plain(tmp_path)
    text(tmp_path / "desk/frames.csv", "frame,time_s", "0007,3.0")
    text(tmp_path / "desk/groundtruth.txt", "3.01 1 2 3 0 0 0 1")
    poses = open_sequences("plain", tmp_path)[0].poses
    assert poses is not None
    np.testing.assert_array_equal(poses[0][:3, 3], [1, 2, 3])


def test_an_empty_folder_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no tum sequence in .*expected rgbd_dataset"):
        open_sequences("tum", tmp_path)
    with pytest.raises(DatasetError, match="unknown layout 'other': choose from scannet"):
        open_sequences("other", tmp_path)


def test_a_file_that_is_no_depth_map_is_named(tmp_path: Path) -> None:
    make_sintel(tmp_path)
    wrong = tmp_path / "training/depth/alley/frame_0001.dpt"
    wrong.write_bytes(b"no such thing")
    sequence: Sequence = open_sequences("sintel", tmp_path)[0]
    with pytest.raises(DatasetError, match=r"frame_0001\.dpt is no Sintel depth file"):
        sequence.depth(0)


def test_quaternions_and_times() -> None:
    quarter = pose_of(np.zeros(3), np.array([0, 0, 1.0, 1.0]))
    np.testing.assert_allclose(quarter[:3, :3] @ [1, 0, 0], [0, 1, 0], atol=1e-12)
    times = {1.0: "a", 2.0: "b"}
    assert associate(1.9, times, 0.2) == 2.0
    assert associate(1.5, times, 0.2) is None
    assert associate(0.9, times, 0.2) == 1.0
    assert associate(1.0, {}, 1.0) is None
