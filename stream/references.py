"""Known distances: a table of points, or the sparse maps of a depth sensor."""

from __future__ import annotations

import csv
from pathlib import Path

import av
import numpy as np

from stream.errors import SourceError
from stream.scalefit import Points, References
from stream.sinks import numbered

_METRES_PER_CODE = 0.001
_COLUMNS = ("x", "y", "metres")


def read_references(path: Path) -> References:
    """A `.csv` (see `PointTable`) or numbered 16-bit `.png` (see `SensorMaps`). Raises SourceError."""
    if path.suffix.lower() == ".csv":
        return PointTable(path)
    if path.suffix.lower() == ".png" and numbered.is_numbered(path):
        return SensorMaps(path)
    raise SourceError(f"known distances are a .csv of x,y,metres, or a sensor's maps: sensor/%06d.png; got {path}")


class PointTable:
    """A CSV with the columns x, y (pixels of the picture) and metres, and optionally frame (counted from 0).

    Without `frame` the points hold for every frame: a camera that stands still. Raises SourceError.
    """

    def __init__(self, path: Path) -> None:
        try:
            with path.open(newline="") as file:
                rows = list(csv.DictReader(file, skipinitialspace=True))
            frames = [int(row.get("frame") or -1) for row in rows]
            table = np.array([[float(row[name]) for name in _COLUMNS] for row in rows], np.float64).reshape(-1, 3)
        except OSError as error:
            raise SourceError(f"{path} cannot be read: {error.strerror}") from error
        except (KeyError, TypeError, ValueError) as error:
            raise SourceError(f"{path} needs the columns x,y,metres and numbers in them: {error}") from error
        if not len(table) or not (table[:, 2] > 0).all():
            raise SourceError(f"{path} needs at least one point, and distances above zero")
        self._frames = np.array(frames)
        self._table = table

    def points(self, index: int, height: int, width: int) -> Points | None:  # noqa: ARG002 -- written in pixels
        """See `stream.scalefit.References`."""
        chosen = (self._frames == index) | (self._frames < 0)
        if not chosen.any():
            return None
        x, y, metres = self._table[chosen].T
        return Points(x, y, metres)


class SensorMaps:
    """16-bit maps in millimetres, 0 for no reading, one for each frame, numbered as the frames are; of any size.

    Missing numbers are frames without a reading.
    """

    def __init__(self, path: Path) -> None:
        if not path.parent.is_dir():
            raise SourceError(f"there is no folder {path.parent} of a sensor's maps")
        self._path = path

    def points(self, index: int, height: int, width: int) -> Points | None:
        """See `stream.scalefit.References`. Raises SourceError for a map that cannot be read."""
        path = numbered.numbered(self._path, index)
        if not path.is_file():
            return None
        try:
            with av.open(f"file:{path}") as container:
                codes = next(container.decode(video=0)).to_ndarray()
        except (av.FFmpegError, StopIteration) as error:
            raise SourceError(f"{path} is not a picture that can be read") from error
        if codes.ndim != 2 or codes.dtype != np.uint16:
            raise SourceError(f"{path} is not a 16-bit grey picture: millimetres are needed")
        y, x = np.nonzero(codes)
        rows, columns = codes.shape
        metres = codes[y, x].astype(np.float64) * _METRES_PER_CODE
        return Points((x + 0.5) * width / columns - 0.5, (y + 0.5) * height / rows - 0.5, metres)
