"""From a depth map to the picture that an encoder takes."""

from __future__ import annotations

from dataclasses import dataclass

import av
import numpy as np
from av.codec.context import CodecContext
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation, VideoReformatter
from numpy.typing import NDArray

from engines.spec import Unit
from stream.aspect import SQUARE, stored_size
from stream.colour import Colormap, colourise
from stream.frame import DepthFrame
from stream.preprocess import resize_map, shown
from stream.shape import fitted
from stream.sinks.fit import between_bars
from stream.sinks.size import Resolution, fit_resolution
from stream.sources import SourceInfo

_BT709_MATRIX = 1
"""ITU-T H.273's number, which is not libswscale's."""


@dataclass(frozen=True, slots=True)
class Style:
    """What may change between two pictures. side_by_side puts the original to the left of its depth."""

    colormap: Colormap = Colormap.GRAYSCALE
    side_by_side: bool = False


def meaning(unit: Unit) -> str:
    """What pictures of such depth show, for people and for headers."""
    return f"depth, {unit.value}; near is bright"


class Painter:
    """Draws one output's pictures, all of one size whatever the size of the frames, until another style is set.

    Frames of another shape than the first one's keep it, between black bars.
    resolution: limits the size of one picture.
    as_stored: pictures keep the source's own pixels, whose aspect the encoder is told; else they are square.
    A stale map is drawn at half its brightness.
    """

    __slots__ = ("_aspect", "_converter", "_meant", "_size", "_to_yuv", "style")

    def __init__(
        self,
        info: SourceInfo,
        colormap: Colormap = Colormap.GRAYSCALE,
        resolution: Resolution = Resolution.AUTO,
        side_by_side: bool = False,
        as_stored: bool = False,
    ) -> None:
        self.style = Style(colormap, side_by_side)
        """Of the pictures from the next one on; may be set from any thread."""
        self._aspect = info.aspect if as_stored else SQUARE
        shape = stored_size(info.height, info.width, info.aspect) if as_stored else (info.height, info.width)
        self._size = fit_resolution(*shape, resolution)
        self._meant = info.size
        self._converter, self._to_yuv = VideoReformatter(), VideoReformatter()

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the pictures."""
        height, width = self._size
        return height, 2 * width if self.style.side_by_side else width

    def rgb(self, depth_frame: DepthFrame) -> NDArray[np.uint8]:
        """uint8 [H, W, 3] RGB."""
        style = self.style
        height, width = fitted(self._size, self._meant, depth_frame.frame.size)
        depth = depth_frame.depth
        if depth.shape != (height, width):
            depth = resize_map(depth, height, width)
        image = between_bars(colourise(depth, depth_frame.range, depth_frame.unit, style.colormap), self._size, 0)
        if style.side_by_side:
            original = shown(depth_frame.frame, height, width, self._converter)
            image = np.hstack([between_bars(original, self._size, 0), image])
        return image // np.uint8(2) if depth_frame.stale else image

    def yuv(self, depth_frame: DepthFrame) -> av.VideoFrame:
        """yuv420p, BT.709, limited range; without a time."""
        return self._to_yuv.reformat(
            av.VideoFrame.from_ndarray(self.rgb(depth_frame), format="rgb24"),
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            src_color_range=ColorRange.JPEG,
            dst_color_range=ColorRange.MPEG,
            interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND,
            threads=1,
        )

    def describe_to(self, context: CodecContext, size: tuple[int, int] | None = None) -> None:
        """Tell an encoder what `yuv` gives it. size: (height, width) of pictures of an earlier or a later style."""
        assert isinstance(context, VideoCodecContext)
        context.height, context.width = size or self.size
        context.pix_fmt = "yuv420p"
        if self._aspect != SQUARE:
            context.sample_aspect_ratio = self._aspect
        context.colorspace, context.color_range = _BT709_MATRIX, ColorRange.MPEG
        context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
