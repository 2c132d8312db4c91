"""Where the usual RGB-D benchmarks keep pictures, depth, poses and intrinsics, and what of them counts.

Caps, crops and factors are those of the evaluation of Video Depth Anything; its sequences of up to 500 frames.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.datasets.poses import Doubles, associate, read_list, read_sintel_camera, read_tum_poses
from benchmarks.datasets.sequence import Crop, DatasetError, Sequence, Shot, scaled_png
from benchmarks.metrics import Camera, Floats

INDOOR_CAP_M, KITTI_CAP_M, SINTEL_CAP_M = 10.0, 80.0, 70.0
LAST_SECONDS = 0.02
"""Largest difference of time stamps between picture, depth and pose of a frame."""

KINECT = {
    "freiburg1": Camera(517.3, 516.5, 318.6, 255.3),
    "freiburg2": Camera(520.9, 521.0, 325.1, 249.7),
    "freiburg3": Camera(535.4, 539.2, 320.1, 247.6),
}
"""Intrinsics that the TUM RGB-D benchmark publishes for its three cameras."""
SEVEN_SCENES = Camera(585.0, 585.0, 320.0, 240.0)
BONN = Camera(542.822841, 542.576870, 315.593520, 237.756098)
_SINTEL_TAG = 202021.25


@dataclass(frozen=True, slots=True)
class Layout:
    """find: the sequences below a folder. frames, step: what of each the protocol takes."""

    name: str
    tree: str
    find: Callable[[Path], Iterator[Sequence]]
    frames: int | None = 500


def open_sequences(layout: str, folder: Path) -> list[Sequence]:
    """All sequences below `folder`. Raises DatasetError where there are none, or one is incomplete."""
    if layout not in LAYOUTS:
        raise DatasetError(f"unknown layout {layout!r}: choose from {', '.join(LAYOUTS)}")
    found = [sequence for sequence in LAYOUTS[layout].find(folder) if sequence.shots]
    if not found:
        raise DatasetError(f"no {layout} sequence in {folder}: expected {LAYOUTS[layout].tree}")
    return found


def plain(folder: Path) -> Iterator[Sequence]:
    """Pictures and depth of equal names, one file of intrinsics."""
    for description in _below(folder, "meta.json"):
        root, meta = description.parent, json.loads(description.read_text())
        scale = meta["width"] / meta.get("depth_width", meta["width"])
        camera = Camera(*(meta[name] / scale for name in ("fx", "fy", "cx", "cy")))
        stamps = [float(line.split(",")[1]) for line in _lines(root / "frames.csv")[1:]]
        poses = _by_time(root / "groundtruth.txt", stamps)
        shots = _same_names(root / "rgb", root / "depth")
        if poses and len(poses) == len(shots):
            shots = [Shot(shot.picture, shot.depth, pose) for shot, pose in zip(shots, poses, strict=True)]
        yield Sequence(root.name, tuple(shots), scaled_png(1000), INDOOR_CAP_M, camera)


def tum(folder: Path) -> Iterator[Sequence]:
    """TUM RGB-D: files listed with their times, poses of a motion capture system."""
    for listing in _below(folder, "rgb.txt"):
        camera = next((camera for name, camera in KINECT.items() if name in listing.parent.name), KINECT["freiburg3"])
        yield _listed(listing.parent, camera, with_poses=True)


def bonn(folder: Path) -> Iterator[Sequence]:
    """Bonn RGB-D Dynamic: as TUM, but the poses are those of a marker, and people move: none are given."""
    for listing in _below(folder, "rgb.txt"):
        yield _listed(listing.parent, BONN, with_poses=False)


def _listed(root: Path, camera: Camera, with_poses: bool) -> Sequence:
    pictures, depths = read_list(root / "rgb.txt"), read_list(root / "depth.txt")
    poses = read_tum_poses(root / "groundtruth.txt") if with_poses else {}
    shots = []
    for time_s in sorted(pictures):
        depth_s = associate(time_s, depths, LAST_SECONDS)
        pose_s = associate(time_s, poses, LAST_SECONDS)
        if depth_s is not None and (pose_s is not None or not poses):
            pose = None if pose_s is None else poses[pose_s]
            shots.append(Shot(root / pictures[time_s], root / depths[depth_s], pose))
    return Sequence(root.name, tuple(shots), scaled_png(5000), INDOOR_CAP_M, camera)


def scannet(folder: Path) -> Iterator[Sequence]:
    """ScanNet as its reader exports it. The border, where the registered picture is black, is cut off."""
    for intrinsics in _below(folder, "intrinsic/intrinsic_depth.txt"):
        root, matrix = intrinsics.parent.parent, np.loadtxt(intrinsics)
        shots = []
        for picture in _numbered(root / "color", ".jpg"):
            pose = np.loadtxt(root / "pose" / f"{picture.stem}.txt")
            known = pose if np.isfinite(pose).all() else None
            shots.append(Shot(picture, root / "depth" / f"{picture.stem}.png", known))
        yield Sequence(root.name, tuple(shots), scaled_png(1000), INDOOR_CAP_M, _camera(matrix), Crop(8, -8, 11, -11))


def kitti(folder: Path) -> Iterator[Sequence]:
    """KITTI depth: annotated maps of camera 2, pictures of the raw data, even sizes."""
    for maps in _below(folder, "*/proj_depth/groundtruth/image_02"):
        drive = maps.parent.parent.parent.name
        found = (folder / drive[:10] / drive, folder / drive, *folder.rglob(f"{drive[:10]}/{drive}"))
        raw = next((path for path in found if (path / "image_02" / "data").is_dir()), None)
        if raw is None:
            raise DatasetError(f"pictures of {drive} are missing: expected {drive[:10]}/{drive}/image_02/data")
        pairs = [(raw / "image_02" / "data" / path.name, path) for path in _numbered(maps, ".png")]
        shots = tuple(Shot(picture, depth) for picture, depth in pairs if picture.exists())
        yield Sequence(drive, shots, scaled_png(256), KITTI_CAP_M, None, Crop(0, 374, 0, 1242))


def nyuv2(folder: Path) -> Iterator[Sequence]:
    """NYUv2 video, registered, its white frame cut off; depth in 1/6000 m as the official extraction writes it."""
    for depths in _below(folder, "depth"):
        shots = tuple(_same_names(depths.parent / "rgb", depths))
        yield Sequence(depths.parent.name, shots, scaled_png(6000), INDOOR_CAP_M, None, Crop(45, 471, 41, 601))


def sintel(folder: Path) -> Iterator[Sequence]:
    """MPI Sintel, training, clean pass; depth and cameras of its extension. The scenes move: TAE is not for them."""
    for scene in sorted(path for path in (folder / "training" / "depth").glob("*") if path.is_dir()):
        shots, camera = [], None
        for depth in _numbered(scene, ".dpt"):
            shots.append(Shot(folder / "training" / "clean" / scene.name / f"{depth.stem}.png", depth))
            pose_file = folder / "training" / "camdata_left" / scene.name / f"{depth.stem}.cam"
            if camera is None and pose_file.exists():
                camera = _camera(read_sintel_camera(pose_file))
        yield Sequence(scene.name, tuple(shots), read_sintel_depth, SINTEL_CAP_M, camera)


def seven_scenes(folder: Path) -> Iterator[Sequence]:
    """7-Scenes: three files a frame; 65535 marks pixels without a reading."""
    roots = sorted({path.parent for path in folder.rglob("frame-*.color.png")})
    for root in roots:
        shots = [
            Shot(
                picture,
                picture.with_name(picture.name.replace(".color.", ".depth.")),
                np.loadtxt(picture.with_name(picture.name.replace(".color.png", ".pose.txt"))),
            )
            for picture in sorted(root.glob("frame-*.color.png"))
        ]
        name = f"{root.parent.name}/{root.name}"
        yield Sequence(name, tuple(shots), scaled_png(1000, none=65535), INDOOR_CAP_M, SEVEN_SCENES)


def read_sintel_depth(path: Path) -> Floats:
    """A `.dpt` file: a tag, width, height, metres."""
    with path.open("rb") as file:
        tag = np.fromfile(file, "<f4", 1)
        if not tag.size or tag[0] != np.float32(_SINTEL_TAG):
            raise DatasetError(f"{path} is no Sintel depth file: its tag is wrong")
        width, height = np.fromfile(file, "<i4", 2)
        metres: Floats = np.fromfile(file, "<f4").reshape(height, width)
    return metres


def _below(folder: Path, name: str) -> list[Path]:
    return sorted({*folder.glob(name), *folder.glob(f"*/{name}"), *folder.glob(f"*/*/{name}")})


def _lines(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


def _numbered(folder: Path, suffix: str) -> list[Path]:
    """Files by the number in their names: 2.jpg comes before 10.jpg."""
    return sorted(
        folder.glob(f"*{suffix}"), key=lambda path: (int("".join(filter(str.isdigit, path.stem)) or 0), path.name)
    )


def _same_names(pictures: Path, depths: Path) -> list[Shot]:
    by_stem = {path.stem: path for path in sorted(pictures.glob("*")) if path.suffix in (".jpg", ".png", ".ppm")}
    return [Shot(by_stem[path.stem], path) for path in _numbered(depths, ".png") if path.stem in by_stem]


def _by_time(path: Path, stamps: list[float]) -> list[Doubles]:
    """Poses of frames with these times, or none where one has no pose."""
    poses = read_tum_poses(path)
    near = [associate(stamp, poses, LAST_SECONDS) for stamp in stamps]
    return [poses[stamp] for stamp in near if stamp is not None]


def _camera(matrix: Doubles) -> Camera:
    return Camera(float(matrix[0, 0]), float(matrix[1, 1]), float(matrix[0, 2]), float(matrix[1, 2]))


LAYOUTS = {
    layout.name: layout
    for layout in (
        Layout("scannet", "scene*/{color/N.jpg,depth/N.png,pose/N.txt,intrinsic/intrinsic_depth.txt}", scannet),
        Layout("kitti", "<drive>/proj_depth/groundtruth/image_02/N.png, <date>/<drive>/image_02/data/N.png", kitti),
        Layout("bonn", "rgbd_bonn_*/{rgb.txt,depth.txt} and the files they list", bonn),
        Layout("nyuv2", "<scene>/{rgb/NAME.jpg,depth/NAME.png}", nyuv2),
        Layout("sintel", "training/{clean,depth,camdata_left}/<scene>/frame_N.*", sintel, frames=100),
        Layout("tum", "rgbd_dataset_*/{rgb.txt,depth.txt,groundtruth.txt} and the files they list", tum),
        Layout("7-scenes", "<scene>/seq-NN/frame-N.{color.png,depth.png,pose.txt}", seven_scenes),
        Layout("plain", "{rgb/NAME.jpg,depth/NAME.png,meta.json}", plain),
    )
}
"""The folders that `benchmarks.accuracy` reads."""
