"""One RGB-D sequence on disk: where its frames are, and how they become arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.metrics import Camera, Floats


class DatasetError(Exception):
    """A folder does not hold what its layout says; one line, what was looked for and what to do."""


@dataclass(frozen=True, slots=True)
class Shot:
    """A frame. pose: camera to world, 4×4 float64; None where the dataset has none."""

    picture: Path
    depth: Path
    pose: NDArray[np.float64] | None = None


@dataclass(frozen=True, slots=True)
class Crop:
    """Rows and columns of the depth map that count: [top, bottom) and [left, right); None: to the end."""

    top: int = 0
    bottom: int | None = None
    left: int = 0
    right: int | None = None

    def of(self, image: NDArray[np.generic]) -> NDArray[np.generic]:
        """A view of the part."""
        return image[self.top : self.bottom, self.left : self.right]


@dataclass(frozen=True, slots=True)
class Sequence:
    """Frames in order.

    read_depth: depth file to float32 [H, W], metres, 0 where there is no reading.
    cap_m: readings from here on do not count.
    camera: of the whole depth map, before the crop; None where it is not known.
    """

    name: str
    shots: tuple[Shot, ...]
    read_depth: Callable[[Path], Floats]
    cap_m: float
    camera: Camera | None = None
    crop: Crop = Crop()

    def part(self, first: int, frames: int | None, step: int) -> Sequence:
        """Every step-th of so many frames from `first` on."""
        end = None if frames is None else first + frames * step
        return replace(self, shots=self.shots[first:end:step])

    @property
    def poses(self) -> list[NDArray[np.float64]] | None:
        """Of all frames, or None where one has none."""
        poses = [shot.pose for shot in self.shots if shot.pose is not None]
        return poses if len(poses) == len(self.shots) and poses else None

    @property
    def cropped_camera(self) -> Camera | None:
        """Camera of the cropped depth map."""
        if self.camera is None:
            return None
        return replace(self.camera, cx=self.camera.cx - self.crop.left, cy=self.camera.cy - self.crop.top)

    def depth(self, index: int) -> Floats:
        """float32 [h, w], metres, 0 where there is no reading; cropped."""
        cropped = self.crop.of(self.read_depth(self.shots[index].depth))
        return np.ascontiguousarray(cropped, np.float32)

    def picture(self, index: int) -> NDArray[np.uint8]:
        """uint8 [H, W, 3] RGB.

        Of the depth map's size and cropped like it, or larger by a whole factor (see `at_depth`).
        """
        shot = self.shots[index]
        with Image.open(shot.picture) as file:
            rgb = file.convert("RGB")
        height, width = self.read_depth(shot.depth).shape
        if self.crop == Crop() and rgb.width % width == 0 and rgb.height % height == 0:
            return np.asarray(rgb)
        if rgb.size != (width, height):
            rgb = rgb.resize((width, height), Image.Resampling.BOX)
        return np.ascontiguousarray(self.crop.of(np.asarray(rgb)), np.uint8)


def at_depth(image: NDArray[np.generic], shape: tuple[int, ...]) -> NDArray[np.generic]:
    """The pixels of `image` [H, W, …] that the pixels of a depth map of `shape` (h, w) belong to.

    Pixel (y, x) of a map that is smaller by s belongs to pixel (s·y, s·x). Raises DatasetError for other sizes.
    """
    rows, columns = image.shape[0] / shape[0], image.shape[1] / shape[1]
    if rows != columns or not rows.is_integer():
        raise DatasetError(f"pictures of {image.shape[:2]} do not fit depth maps of {shape}: is the layout right?")
    return image[:: int(rows), :: int(rows)]


def scaled_png(factor: float, none: int = 0) -> Callable[[Path], Floats]:
    """Reader of 16-bit pictures holding metres × factor; `none` marks pixels without a reading, as 0 does."""

    def read(path: Path) -> Floats:
        with Image.open(path) as file:
            raw = np.asarray(file)
        if raw.ndim != 2:
            raise DatasetError(f"{path} is no depth map: expected one channel of 16 bits")
        metres = raw.astype(np.float32) / np.float32(factor)
        return np.where(raw == none, np.float32(0), metres)

    return read
