"""Depth as numbered pictures: 16-bit PNG, or OpenEXR with the float32 values as they are; and point clouds.

Beside the pictures `frames.jsonl` says what their values mean and when each was taken: one line of description, then
one line a frame. It grows as the pictures do, so that what is recorded is of use whenever the recording ends.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from numpy.typing import NDArray

from stream.camera import described
from stream.cloudfile import WRITERS
from stream.errors import SinkError
from stream.frame import DepthFrame
from stream.pointcloud import CloudRule, cloud_of
from stream.preprocess import shown
from stream.raw.codes import Codes
from stream.sinks.gray16 import scale_for
from stream.sinks.numbered import numbered
from stream.sinks.unfinished import check_name, reason_of, shortened

FORMAT = 1
_NAME_BYTES = 240


class NumberedFiles:
    """Files named by a pattern such as `depth/%06d.png`; each appears under its name when it is complete."""

    __slots__ = ("_is_kept", "_temporary", "_written", "path")

    def __init__(self, path: Path) -> None:
        self.path = path
        self._written = 0
        self._is_kept = False
        check_name(numbered(path, 0))
        if not path.parent.is_dir():
            raise SinkError(f"there is no folder {path.parent} for {path.name}: make it first")
        # One name for all, so that a killed run leaves one file, which the next run takes.
        self._temporary = path.with_name(f".{shortened(path.name, _NAME_BYTES)}.part")

    @property
    def index_path(self) -> Path:
        """Where the frames are listed: the pattern with `frames` for its number."""
        return index_of(self.path)

    def write(self, data: bytes) -> str:
        """Write the next file; returns its name. Raises SinkError."""
        path = numbered(self.path, self._written)
        try:
            self._temporary.write_bytes(data)
            os.replace(self._temporary, path)
        except BaseException as error:
            self._temporary.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise SinkError(f"cannot write {path}: {self.failed(error)}") from error
            raise
        self._written += 1
        return path.name

    def failed(self, error: OSError) -> str:
        """Why nothing more can be written, and what is left: from now on nothing is removed."""
        self._is_kept = self._written > 0
        left = f"; the {self._written} before it are kept" if self._is_kept else ""
        return f"{reason_of(error)}{left}"

    @property
    def is_kept(self) -> bool:
        """The files stay: a disk was full, or the like."""
        return self._is_kept

    def discard(self) -> None:
        """Remove all that were written."""
        if self._is_kept:
            return
        for index in range(self._written):
            numbered(self.path, index).unlink(missing_ok=True)
        self._written = 0


def index_of(pattern: Path) -> Path:
    """The list of a pattern's frames."""
    head, _, tail = pattern.stem.partition("%")
    return pattern.with_name(f"{head}frames{tail.partition('d')[2]}.jsonl")


class StillsSink:
    """16-bit `.png` or float32 `.exr`, one for each frame, at the frame's size.

    PNG values are `offset + scale · code`: metres as millimetres up to 65.535 m, relative depth with the first frame's
    scale; code 0 is no value. Raises SinkError.
    """

    kind = "stills"

    __slots__ = ("_codes", "_files", "_list")

    def __init__(self, path: Path) -> None:
        self._files = NumberedFiles(path)
        self._codes: Codes | None = None
        check_name(self._files.index_path)
        try:
            self._list = self._files.index_path.open("w", encoding="utf-8")
        except OSError as error:
            raise SinkError(f"cannot write {self._files.index_path}: {error.strerror}") from error

    def write(self, depth_frame: DepthFrame) -> None:
        """Write one map."""
        if depth_frame.stale:
            return
        if self._codes is None:
            self._codes = self._described(depth_frame)
        if self._files.path.suffix.lower() == ".png":
            data = still(self._codes.encode(depth_frame.depth), "png", "gray16be", {"pred": "up"})
        else:
            data = still(depth_frame.depth, "exr", "grayf32le", {"format": "float", "compression": "zip16"})
        frame = depth_frame.frame
        name = self._files.write(data)
        self._line({"file": name, "pts": frame.pts, "captured_ns": frame.captured_ns, "reset": depth_frame.reset})

    def close(self) -> None:
        """Finish the list."""
        if self._codes is None:
            self.abort()
            return
        try:
            self._list.close()
        except OSError as error:
            raise SinkError(f"cannot write {self._files.index_path}: {error.strerror}") from error

    def abort(self) -> None:
        """Remove what was written."""
        if self._list.closed:
            return
        with suppress(OSError):
            self._list.close()
        if not self._files.is_kept:
            self._files.index_path.unlink(missing_ok=True)
        self._files.discard()

    def _described(self, first: DepthFrame) -> Codes:
        codes = Codes(1.0, 0.0)
        if self._files.path.suffix.lower() == ".png":
            scale = scale_for(first)
            codes = Codes(scale.scale, scale.offset)
        self._line(
            {
                "format": FORMAT,
                "unit": first.unit.value,
                "polarity": first.unit.polarity,
                "scale": codes.scale,
                "offset": codes.offset,
                "time_base": str(first.frame.time_base),
                "camera": described(first.intrinsics),
            }
        )
        return codes

    def _line(self, fields: dict[str, Any]) -> None:
        try:
            self._list.write(json.dumps(fields) + "\n")
            self._list.flush()
        except OSError as error:
            raise SinkError(f"cannot write {self._files.index_path}: {self._files.failed(error)}") from error


def still(pixels: NDArray[Any], codec: str, layout: str, options: dict[str, str]) -> bytes:
    """One picture as a file. Raises SinkError where FFmpeg refuses."""
    try:
        encoder = av.CodecContext.create(codec, "w")
        assert isinstance(encoder, VideoCodecContext)
        encoder.height, encoder.width = pixels.shape[:2]
        encoder.pix_fmt, encoder.time_base, encoder.options = layout, Fraction(1), options
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format=layout)
        return b"".join(bytes(packet) for packet in [*encoder.encode(picture), *encoder.encode(None)])
    except av.FFmpegError as error:
        height, width = pixels.shape[:2]
        raise SinkError(f"a picture of {height}x{width} cannot be written as {codec}: {error.strerror}") from error


class CloudSink:
    """A coloured point cloud for each frame, `.ply` or `.pcd`.

    PCD files stay organised unless the rule thins them; PLY files list the points that have a reading.
    left_out: frames, behind the first, of a shape for which the camera is not known.
    Raises SinkError; CameraError and UnitError where there is no camera or no metres.
    """

    kind = "clouds"

    __slots__ = ("_files", "_has_begun", "_rule", "left_out")

    def __init__(self, path: Path, rule: CloudRule) -> None:
        self._files = NumberedFiles(path)
        self._rule = rule
        self._has_begun = False
        self.left_out = 0

    def write(self, depth_frame: DepthFrame) -> None:
        """Write one cloud."""
        if depth_frame.stale:
            return
        if depth_frame.intrinsics is None and self._has_begun:
            self.left_out += 1
            return
        self._has_begun = True
        height, width = depth_frame.depth.shape
        colours = shown(depth_frame.frame, height, width)
        points = cloud_of(depth_frame, self._rule, colours)
        suffix = self._files.path.suffix.lower()
        self._files.write(WRITERS[suffix](points.listed() if suffix == ".ply" else points))

    def close(self) -> None:
        """Nothing is left to do."""
        self._files = NumberedFiles(self._files.path)

    def abort(self) -> None:
        """Remove what was written."""
        self._files.discard()
