"""Pictures as a pinhole would have taken them: the lens's distortion is undone before the network sees them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from engines.closing import Closing
from stream.aspect import SQUARE
from stream.camera import Camera, Intrinsics, Lens, LensModel
from stream.frame import Frame
from stream.light import SDR
from stream.preprocess import shown
from stream.sources import Source, SourceInfo

Coordinates = NDArray[np.float64]


def bent(lens: Lens, x: Coordinates, y: Coordinates) -> tuple[Coordinates, Coordinates]:
    """Where rays that a pinhole would see at (x, y) arrive; both divided by the focal length. Formulas: OpenCV."""
    r2 = x * x + y * y
    if lens.model is LensModel.EQUIDISTANT:
        r = np.sqrt(r2)
        angle = np.arctan(r)
        a2 = angle * angle
        k1, k2, k3, k4 = lens.coefficients
        bent_angle = angle * (1 + a2 * (k1 + a2 * (k2 + a2 * (k3 + a2 * k4))))
        factor = np.divide(bent_angle, r, out=np.ones_like(r), where=r > 1e-9)
        return x * factor, y * factor
    k1, k2, p1, p2, k3, *upper = lens.coefficients
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    if upper:
        k4, k5, k6 = upper
        radial = radial / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)))
    xy = x * y
    return (
        x * radial + 2 * p1 * xy + p2 * (r2 + 2 * x * x),
        y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * xy,
    )


class Straightener:
    """Straightens pictures of one camera: the same focal lengths and centre, no distortion; black where nothing was.

    camera: with a lens.
    """

    __slots__ = ("_places", "_seen", "_weights", "camera")

    def __init__(self, camera: Intrinsics) -> None:
        assert camera.lens is not None
        self.camera = replace(camera, lens=None)
        rows, columns = np.mgrid[: camera.height, : camera.width].astype(np.float64)
        x, y = bent(camera.lens, (columns - camera.cx) / camera.fx, (rows - camera.cy) / camera.fy)
        x, y = x * camera.fx + camera.cx, y * camera.fy + camera.cy
        self._seen = (x > -0.5) & (x < camera.width - 0.5) & (y > -0.5) & (y < camera.height - 0.5)
        x, y = np.clip(x, 0, camera.width - 1), np.clip(y, 0, camera.height - 1)
        left = np.minimum(x.astype(np.intp), max(camera.width - 2, 0))
        top = np.minimum(y.astype(np.intp), max(camera.height - 2, 0))
        right, below = min(camera.width - 1, 1), min(camera.height - 1, 1) * camera.width
        first = top * camera.width + left
        self._places = np.stack([first, first + right, first + below, first + right + below])
        u, v = x - left, y - top
        weights = np.stack([(1 - u) * (1 - v), u * (1 - v), (1 - u) * v, u * v])
        self._weights = (weights * self._seen).astype(np.float32)

    def straight(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """uint8 [H, W, 3] of uint8 [H, W, 3]."""
        pixels = image.reshape(-1, 3)
        total = np.zeros((*self._seen.shape, 3), np.float32)
        for places, weights in zip(self._places, self._weights, strict=True):
            total += pixels.take(places, axis=0) * weights[..., None]
        return np.rint(total).astype(np.uint8)


class Straightened(Closing):
    """Frames of another source, which it owns, without the distortion of its camera's lens.

    Frames of a shape that the camera was not calibrated for pass as they are.
    """

    __slots__ = ("_camera", "_converter", "_source", "_straightener")

    def __init__(self, source: Source, camera: Camera) -> None:
        self._source = source
        self._camera = camera
        self._converter = VideoReformatter()
        self._straightener: Straightener | None = None

    @property
    def info(self) -> SourceInfo:
        """The other source's."""
        return self._source.info

    @property
    def damaged(self) -> int:
        """The other source's."""
        return self._source.damaged

    @property
    def reconnects(self) -> int:
        """The other source's."""
        return self._source.reconnects

    def __iter__(self) -> Iterator[Frame]:
        for frame in self._source:
            straightener = self._for(frame.height, frame.width)
            if straightener is None:
                yield frame
                continue
            image = shown(frame, *frame.size, self._converter)
            picture = av.VideoFrame.from_ndarray(straightener.straight(image), format="rgb24")
            yield replace(frame, picture=picture, aspect=SQUARE, light=SDR)

    def _for(self, height: int, width: int) -> Straightener | None:
        known = self._straightener
        if known is None or (known.camera.height, known.camera.width) != (height, width):
            camera = self._camera.at(height, width, self.info.orientation, self.info.aspect)
            self._straightener = known = None if camera is None or camera.lens is None else Straightener(camera)
        return known

    def close(self) -> None:
        """Close the other source."""
        self._source.close()
