"""Recordings of depth, read back: exactly what was written, with its unit, times and camera.

One that was cut off, because its run was killed or the power failed, is read up to its last whole map; the log says so.
"""

from __future__ import annotations

import importlib
import json
import logging
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from tempfile import NamedTemporaryFile
from types import MappingProxyType
from typing import BinaryIO

import av
import numpy as np
from numpy.typing import NDArray

from engines.spec import Unit
from stream.aspect import SQUARE, believed
from stream.camera import Intrinsics, camera_of
from stream.errors import SourceError
from stream.extras import need
from stream.raw.codes import Codes
from stream.sinks import numbered
from stream.sinks.gray16 import read_scale
from stream.sinks.mapfile import MapsHead, next_map
from stream.sinks.stills import FORMAT, index_of
from stream.sinks.unfinished import left_behind
from stream.sources.pipe import Pipe, is_pipe

_LOG = logging.getLogger(__name__)
_FIRST_BYTES = MappingProxyType(
    {b"\x1aE\xdf\xa3": ".mkv", b"PK\x03\x04": ".npz", b'{"kind"': ".npz", b"\x89MCAP0": ".ros2.mcap"}
)
_READABLE = ".mkv, .npz, .ros2.mcap, numbered .png or .exr"


@dataclass(frozen=True, slots=True)
class RecordedDepth:
    """One recorded map.

    depth: float32 [H, W] in `unit`; NaN for no value.
    index: of the recording; pts, time_base: the time it was recorded with.
    intrinsics: for maps of this size. aspect: of their pixels; see `stream.aspect`.
    """

    depth: NDArray[np.float32]
    unit: Unit
    index: int
    pts: int
    time_base: Fraction
    intrinsics: Intrinsics | None = None
    aspect: Fraction = SQUARE

    @property
    def time_s(self) -> Fraction:
        """Seconds, exactly."""
        return self.pts * self.time_base


def read(path: Path) -> Iterator[RecordedDepth]:
    """The maps of a recording: `.mkv`, `.npz`, `.ros2.mcap`, or numbered pictures such as `depth/%06d.png`; the first
    three through a pipe as well.

    Raises SourceError for a file that is no recording of depth, ExtraMissing where a package is needed for it.
    """
    if is_pipe(path):
        return _piped(path)
    suffix = path.suffix.lower()
    if suffix in (".png", ".exr") and numbered.is_numbered(path):
        return _stills(path)
    if not path.is_file():
        left = "".join(f"; {part.name} is what an interrupted run left of it" for part in left_behind(path)[-1:])
        raise SourceError(f"there is no recording {path}{left}")
    match suffix:
        case ".mkv":
            return _gray16(path)
        case ".npz":
            return _npz(path)
        case ".mcap":
            need("mcap_ros2", "ros2", f"reading {path.name}")
            maps: Iterator[RecordedDepth] = importlib.import_module("stream.sinks.ros2").read(path)
            return maps
        case _:
            raise SourceError(f"a recording of depth is {_READABLE}; got {path.name}")


def tell_cut(path: Path, count: int) -> None:
    """Say that a recording has no end."""
    _LOG.warning("%s was cut off while it was recorded: it holds %d whole maps", path.name, count)


def _piped(path: Path) -> Iterator[RecordedDepth]:
    """Of a pipe, by way of a temporary file: most readers of recordings go back and forth."""
    with Pipe(path) as pipe:
        head = pipe.head(8)
        suffix = next((suffix for first, suffix in _FIRST_BYTES.items() if head.startswith(first)), None)
        if suffix is None:
            raise SourceError(f"a recording of depth through a pipe is .mkv, .npz or .ros2.mcap; {pipe.name} is none")
        with NamedTemporaryFile(prefix="recording-", suffix=suffix) as kept:
            pipe.copy_to(kept)
            yield from read(Path(kept.name))


def _gray16(path: Path) -> Iterator[RecordedDepth]:
    try:
        with av.open(f"file:{path}") as container:
            index = -1
            scale = read_scale(container, path)
            camera = camera_of(json.loads(container.metadata.get("DEPTH_CAMERA", "null")))
            aspect = believed(container.streams.video[0].sample_aspect_ratio)
            for index, picture in enumerate(container.decode(video=0)):
                depth = scale.decode(picture.to_ndarray().astype(np.uint16, copy=False))
                assert picture.pts is not None
                assert picture.time_base is not None
                yield RecordedDepth(depth, scale.unit, index, picture.pts, picture.time_base, camera, aspect)
            # How long it is, is written last.
            if container.duration is None:
                tell_cut(path, index + 1)
    except av.FFmpegError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from error


def _npz(path: Path) -> Iterator[RecordedDepth]:
    try:
        with path.open("rb") as file:
            if head := MapsHead.read(file):
                yield from _unfinished_npz(path, file, head)
                return
        with np.load(path, allow_pickle=False) as archive:
            unit, pts = Unit(str(archive["unit"])), archive["pts"]
            time_base = Fraction(*(int(part) for part in archive["time_base"]))
            camera = camera_of(json.loads(str(archive["camera"])))
        with zipfile.ZipFile(path) as archive_file, archive_file.open("depths.npy") as member:
            np.lib.format.read_magic(member)
            (count, height, width), _, dtype = np.lib.format.read_array_header_1_0(member)
            for index in range(count):
                depth = np.frombuffer(member.read(height * width * dtype.itemsize), dtype).reshape(height, width)
                yield RecordedDepth(depth, unit, index, int(pts[index]), time_base, camera)
    except (KeyError, ValueError, zipfile.BadZipFile, OSError) as error:
        raise SourceError(f"{path} is no recording of depth ({error}): `-o FILE.npz` writes one") from error


def _unfinished_npz(path: Path, file: BinaryIO, head: MapsHead) -> Iterator[RecordedDepth]:
    unit, time_base, camera = Unit(head.unit), Fraction(*head.time_base), camera_of(head.camera)
    count = 0
    while found := next_map(file, head):
        yield RecordedDepth(found[1], unit, count, found[0], time_base, camera)
        count += 1
    tell_cut(path, count)


def _stills(pattern: Path) -> Iterator[RecordedDepth]:
    index_path = index_of(pattern)
    try:
        with index_path.open(encoding="utf-8") as lines:
            head = json.loads(lines.readline())
            if head["format"] != FORMAT:
                raise SourceError(f"{index_path} is of format {head['format']}, this version reads {FORMAT}")
            unit, time_base, camera = Unit(head["unit"]), Fraction(head["time_base"]), camera_of(head["camera"])
            codes = Codes(head["scale"], head["offset"])
            for index, line in enumerate(lines):
                frame = json.loads(line) if line.endswith("\n") else None
                if frame is None or _is_empty(pattern.with_name(frame["file"])):
                    tell_cut(index_path, index)
                    return
                depth = _still(pattern.with_name(frame["file"]), codes)
                # The list tells that of its first frame; what was turned since has another.
                is_its_own = camera is not None and depth.shape == (camera.height, camera.width)
                known = camera if is_its_own else None
                yield RecordedDepth(depth, unit, index, frame["pts"], time_base, known)
    except OSError as error:
        raise SourceError(f"{error.filename or index_path} cannot be read: {error.strerror}") from error
    except (KeyError, ValueError, TypeError) as error:
        raise SourceError(f"{index_path} is not a list of frames ({error!r})") from error


def _is_empty(path: Path) -> bool:
    """Its name reached the disk, its content did not."""
    return path.is_file() and path.stat().st_size == 0


def _still(path: Path, codes: Codes) -> NDArray[np.float32]:
    try:
        with av.open(f"file:{path}") as container:
            pixels = next(container.decode(video=0)).to_ndarray()
    except (av.FFmpegError, StopIteration) as error:
        raise SourceError(f"{path} cannot be read") from error
    if pixels.dtype == np.float32:
        return np.asarray(pixels, np.float32)
    return codes.decode(pixels.astype(np.uint16, copy=False))
