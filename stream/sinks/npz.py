"""Raw depth as a NumPy archive, written with the memory of one frame."""

from __future__ import annotations

import json
import zipfile
from array import array
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from stream.camera import described
from stream.frame import DepthFrame
from stream.shape import are_alike
from stream.sinks.fit import map_in
from stream.sinks.mapfile import MapsHead, next_map, record
from stream.sinks.unfinished import Unfinished
from stream.sources import SourceInfo


class NpzSink:
    """Writes `depths` float32 [N, H, W], unit-true, at the first frame's size, with `min_depth`, `max_depth` (finite
    values only), `fps` (float64 scalars), `model`, `unit`, `polarity` (unicode scalars), `shape` (int64 [3]: N, H, W),
    `pts` (int64 [N]) in units of `time_base` (int64 [2]: numerator and denominator of seconds), and `camera`, JSON.

    Maps of another shape keep it, between bars of NaN; `barred` counts them where the camera is told, which is not
    theirs.
    Until the number of maps is known they are recorded as `stream.sinks.mapfile` says, which `depthcast.read` reads:
    twice the space is needed at the end. A run without a single frame leaves no file. Raises SinkError.
    """

    kind = "npz"

    __slots__ = ("_file", "_fps", "_head", "_highest", "_lowest", "_model", "_times", "barred")

    def __init__(self, path: Path, info: SourceInfo, model: str) -> None:
        self._fps = float(info.rate or 0)
        self._model = model
        self._head: MapsHead | None = None
        self._times = array("q")
        self._lowest, self._highest = np.inf, -np.inf
        self.barred = 0
        self._file = Unfinished(path, lambda _: bool(self._times))

    def write(self, depth_frame: DepthFrame) -> None:
        """Append one map."""
        if depth_frame.stale:
            return
        with self._file.errors():
            if self._head is None:
                self._head = self._described(depth_frame)
                self._file.write(self._head.line())
            size = self._head.height, self._head.width
            sized = map_in(depth_frame.depth, size, size)
            self.barred += self._head.camera is not None and not are_alike(size, depth_frame.frame.size)
            self._file.write(record(depth_frame.frame.pts, sized))
        self._times.append(depth_frame.frame.pts)
        finite = sized[np.isfinite(sized)]
        if finite.size:
            self._lowest = min(self._lowest, float(finite.min()))
            self._highest = max(self._highest, float(finite.max()))

    def close(self) -> None:
        """Write the archive and give it its name."""
        if self._file.is_over:
            return
        if self._head is None:
            self.abort()
            return
        with self._file.errors():
            self._file.rewrite(partial(self._archive, self._head))
        self._file.commit()

    def abort(self) -> None:
        """Drop the file."""
        self._file.discard()

    def _described(self, first: DepthFrame) -> MapsHead:
        height, width = first.depth.shape
        base = first.frame.time_base
        return MapsHead(
            height=height,
            width=width,
            unit=first.unit.value,
            polarity=first.unit.polarity,
            time_base=(base.numerator, base.denominator),
            camera=described(first.intrinsics),
            model=self._model,
            fps=self._fps,
        )

    def _archive(self, head: MapsHead, source: BinaryIO, target: BinaryIO) -> None:
        known = np.isfinite(self._lowest)
        with zipfile.ZipFile(target, "w", allowZip64=True) as archive:
            self._write_maps(archive, head, source)
            _write_array(archive, "min_depth", np.array(self._lowest if known else np.nan))
            _write_array(archive, "max_depth", np.array(self._highest if known else np.nan))
            _write_array(archive, "fps", np.array(head.fps))
            _write_array(archive, "model", np.array(head.model))
            _write_array(archive, "shape", np.array([len(self._times), head.height, head.width], np.int64))
            _write_array(archive, "unit", np.array(head.unit))
            _write_array(archive, "polarity", np.array(head.polarity))
            _write_array(archive, "pts", np.array(self._times, np.int64))
            _write_array(archive, "time_base", np.array(head.time_base, np.int64))
            _write_array(archive, "camera", np.array(json.dumps(head.camera)))

    def _write_maps(self, archive: zipfile.ZipFile, head: MapsHead, source: BinaryIO) -> None:
        shape = (len(self._times), head.height, head.width)
        MapsHead.read(source)
        with archive.open("depths.npy", "w", force_zip64=True) as member:
            np.lib.format.write_array_header_1_0(member, {"descr": "<f4", "fortran_order": False, "shape": shape})
            for _ in self._times:
                found = next_map(source, head)
                assert found is not None
                member.write(found[1].data)


def _write_array(archive: zipfile.ZipFile, name: str, array: NDArray[np.generic]) -> None:
    with archive.open(f"{name}.npy", "w") as member:
        np.lib.format.write_array(member, array, allow_pickle=False)
