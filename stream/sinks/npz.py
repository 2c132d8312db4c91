"""Raw depth as a NumPy archive, written with the memory of one frame."""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from array import array
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stream.camera import described
from stream.frame import DepthFrame
from stream.sinks.fit import map_in
from stream.sinks.unfinished import Unfinished
from stream.sources import SourceInfo

_COPY_BYTES = 1 << 20


class NpzSink:
    """Writes `depths` float32 [N, H, W], unit-true, at the first frame's size, with `min_depth`, `max_depth` (finite
    values only), `fps` (float64 scalars), `model`, `unit`, `polarity` (unicode scalars), `shape` (int64 [3]: N, H, W),
    `pts` (int64 [N]) in units of `time_base` (int64 [2]: numerator and denominator of seconds), and `camera`, JSON.

    Maps of another shape keep it, between bars of NaN.
    Maps wait in an unnamed file beside `path` until their number is known: twice the space is needed at the end.
    A run without a single frame leaves no file. Raises SinkError.
    """

    kind = "npz"

    __slots__ = ("_file", "_first", "_fps", "_highest", "_lowest", "_maps", "_model", "_shape", "_times")

    def __init__(self, path: Path, info: SourceInfo, model: str) -> None:
        self._file = Unfinished(path)
        self._fps = float(info.rate or 0)
        self._model = model
        self._shape: tuple[int, ...] = (0,)
        self._first: DepthFrame | None = None
        self._times = array("q")
        self._lowest, self._highest = np.inf, -np.inf
        try:
            with self._file.errors():
                self._maps = tempfile.TemporaryFile(dir=path.parent)  # noqa: SIM115 -- lives as long as the sink
        except BaseException:
            self._file.discard()
            raise

    def write(self, depth_frame: DepthFrame) -> None:
        """Append one map."""
        if depth_frame.stale:
            return
        depth = depth_frame.depth
        if self._shape == (0,):
            self._shape = (0, *depth.shape)
            self._first = depth_frame
        self._times.append(depth_frame.frame.pts)
        count, height, width = self._shape
        sized = map_in(depth, (height, width), (height, width))
        finite = sized[np.isfinite(sized)]
        if finite.size:
            self._lowest = min(self._lowest, float(finite.min()))
            self._highest = max(self._highest, float(finite.max()))
        with self._file.errors():
            self._maps.write(sized.data)
        self._shape = (count + 1, height, width)

    def close(self) -> None:
        """Write the archive and give it its name."""
        if self._shape == (0,):
            self.abort()
            return
        with self._file.errors(), zipfile.ZipFile(self._file.temporary, "w", allowZip64=True) as archive:
            self._write_maps(archive)
            known = np.isfinite(self._lowest)
            _write_array(archive, "min_depth", np.array(self._lowest if known else np.nan))
            _write_array(archive, "max_depth", np.array(self._highest if known else np.nan))
            _write_array(archive, "fps", np.array(self._fps))
            _write_array(archive, "model", np.array(self._model))
            _write_array(archive, "shape", np.array(self._shape, np.int64))
            self._write_meaning(archive)
        self._maps.close()
        self._file.commit()

    def abort(self) -> None:
        """Drop the file."""
        self._maps.close()
        self._file.discard()

    def _write_meaning(self, archive: zipfile.ZipFile) -> None:
        first = self._first
        assert first is not None
        base = first.frame.time_base
        _write_array(archive, "unit", np.array(first.unit.value))
        _write_array(archive, "polarity", np.array(first.unit.polarity))
        _write_array(archive, "pts", np.array(self._times, np.int64))
        _write_array(archive, "time_base", np.array([base.numerator, base.denominator], np.int64))
        _write_array(archive, "camera", np.array(json.dumps(described(first.intrinsics))))

    def _write_maps(self, archive: zipfile.ZipFile) -> None:
        header = {"descr": "<f4", "fortran_order": False, "shape": self._shape}
        self._maps.seek(0)
        with archive.open("depths.npy", "w", force_zip64=True) as member:
            np.lib.format.write_array_header_1_0(member, header)
            shutil.copyfileobj(self._maps, member, _COPY_BYTES)


def _write_array(archive: zipfile.ZipFile, name: str, array: NDArray[np.generic]) -> None:
    with archive.open(f"{name}.npy", "w") as member:
        np.lib.format.write_array(member, array, allow_pickle=False)
