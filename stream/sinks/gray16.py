"""Depth as 16-bit gray video, lossless (FFV1 in Matroska), and back.

A value is `offset + scale · code`. Metres are stored as millimetres, up to 65.535 m; farther counts as that, and code 0
is no reading. Relative depth takes its scale from the first frame, with room for values four times as large; code steps
are then at most a sixteen-thousandth of the first frame's largest value. Values that are not finite become code 0.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from numpy.typing import NDArray

from engines.spec import Unit
from stream.aspect import SQUARE, stored_size
from stream.camera import described
from stream.errors import SourceError
from stream.frame import DepthFrame
from stream.shape import are_alike
from stream.sinks.fit import map_in
from stream.sinks.mkvaspect import write_aspect
from stream.sinks.unfinished import Unfinished
from stream.sinks.video import has_picture
from stream.sources import SourceInfo

_TOP = 65535
_METRES_PER_CODE = 0.001
_HEADROOM = 4.0
_UNKNOWN_RATE = Fraction(30)
_MOST_TOGETHER = 12
_SLICED_FROM = 16
"""Pixels of a side; FFV1 does not divide smaller pictures."""


@dataclass(frozen=True, slots=True)
class Gray16Scale:
    """What a code means: depth = offset + scale · code, in `unit`. Stored as container tags DEPTH_*."""

    scale: float
    offset: float
    unit: Unit

    def encode(self, depth: NDArray[np.float32]) -> NDArray[np.uint16]:
        """Codes uint16 [H, W] of depth float32 [H, W]."""
        codes = np.rint((depth - np.float32(self.offset)) * np.float32(1 / self.scale))
        finite = np.nan_to_num(codes, nan=0, posinf=0, neginf=0)
        clipped: NDArray[np.float32] = np.clip(finite, 0, _TOP)
        return clipped.astype(np.uint16)

    def decode(self, codes: NDArray[np.uint16]) -> NDArray[np.float32]:
        """Depth float32 [H, W] of codes uint16 [H, W]; NaN for metres without a reading."""
        depth = codes * np.float32(self.scale) + np.float32(self.offset)
        if self.unit is Unit.METRE:
            depth[codes == 0] = np.nan
        return depth


class Gray16Sink:
    """Writes every depth frame at the first one's size; `clipped` counts the frames with values beyond the top code.

    Maps of another shape keep it, between bars of code 0; `barred` counts them where the camera is told, which is not
    theirs.
    Pixels have the aspect that the source's have. A run without a single frame leaves no file. Raises SinkError.
    """

    kind = "gray16"

    __slots__ = (
        "_aspect",
        "_container",
        "_file",
        "_has_camera",
        "_meant",
        "_rate",
        "_scale",
        "_stream",
        "barred",
        "clipped",
    )

    def __init__(self, path: Path, info: SourceInfo) -> None:
        self._file = Unfinished(path, has_picture)
        self._rate = info.rate or _UNKNOWN_RATE
        self._aspect = info.aspect
        self._scale: Gray16Scale | None = None
        self._meant = info.size
        self._has_camera = False
        self.barred = self.clipped = 0
        try:
            with self._file.errors():
                container_options = {"flush_packets": "1"}
                self._container = av.open(self._file, "w", format="matroska", container_options=container_options)
            height, width = stored_size(info.height, info.width, info.aspect)
            slices = "4" if min(height, width) >= _SLICED_FROM else "1"
            options = {"level": "3", "slices": slices, "slicecrc": "1"}
            self._stream = self._container.add_stream("ffv1", rate=self._rate, options=options)
            context = self._stream.codec_context
            context.height, context.width = height, width
            context.pix_fmt, context.time_base = "gray16le", info.time_base
            # What reaches the disk together: no more than a second.
            context.gop_size = min(_MOST_TOGETHER, max(1, round(self._rate)))
        except BaseException:
            self._file.discard()
            raise

    def write(self, depth_frame: DepthFrame) -> None:
        """Encode one map."""
        if depth_frame.stale:
            return
        context = self._stream.codec_context
        if self._scale is None:
            self._scale = scale_for(depth_frame)
            camera = depth_frame.intrinsics
            self._has_camera = camera is not None
            self._container.metadata.update(
                DEPTH_SCALE=repr(self._scale.scale),
                DEPTH_OFFSET=repr(self._scale.offset),
                DEPTH_UNIT=self._scale.unit.value,
                DEPTH_POLARITY=self._scale.unit.polarity,
                DEPTH_CAMERA=json.dumps(described(camera and camera.scaled(context.height, context.width))),
            )
        depth = map_in(depth_frame.depth, (context.height, context.width), self._meant)
        self.barred += self._has_camera and not are_alike(self._meant, depth_frame.frame.size)
        codes = self._scale.encode(depth)
        self.clipped += bool(np.any(codes == _TOP))
        picture = av.VideoFrame.from_ndarray(codes, format="gray16le")
        picture.pts, picture.time_base = depth_frame.frame.pts, depth_frame.frame.time_base
        with self._file.errors():
            self._container.mux(self._stream.encode(picture))

    def close(self) -> None:
        """Finish the file and give it its name."""
        if self._file.is_over:
            return
        if self._scale is None:
            self.abort()
            return
        with self._file.errors():
            self._container.mux(self._stream.encode(None))
            with self._file.finishing():
                self._container.close()
            if self._aspect != SQUARE:
                write_aspect(self._file.temporary, self._aspect)
        self._file.commit()

    def abort(self) -> None:
        """Drop the file."""
        self._file.discard()
        with suppress(OSError, av.FFmpegError):
            self._container.close()


def read_gray16(path: Path) -> Iterator[NDArray[np.float32]]:
    """Depth float32 [H, W] of every frame of a file that `Gray16Sink` wrote. Raises SourceError for another file."""
    with av.open(f"file:{path}") as container:
        scale = read_scale(container, path)
        for picture in container.decode(video=0):
            yield scale.decode(picture.to_ndarray().astype(np.uint16, copy=False))


def read_scale(container: InputContainer, path: Path) -> Gray16Scale:
    """The scale that a file states. Raises SourceError for one that states none."""
    tags = container.metadata
    try:
        return Gray16Scale(float(tags["DEPTH_SCALE"]), float(tags["DEPTH_OFFSET"]), Unit(tags["DEPTH_UNIT"]))
    except (KeyError, ValueError) as error:
        raise SourceError(f"{path} carries no depth scale (DEPTH_SCALE, DEPTH_OFFSET, DEPTH_UNIT)") from error


def scale_for(first: DepthFrame) -> Gray16Scale:
    """What codes mean in a recording that begins with this frame."""
    if first.unit is Unit.METRE:
        return Gray16Scale(_METRES_PER_CODE, 0.0, first.unit)
    finite = first.depth[np.isfinite(first.depth)]
    largest = max(float(finite.max()) if finite.size else 0.0, 1e-3)
    return Gray16Scale(_HEADROOM * largest / _TOP, 0.0, first.unit)
