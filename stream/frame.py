"""What travels through the pipeline: a picture in, a depth map out, with the clocks of its capture."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray

from engines.spec import Unit
from stream.aspect import SQUARE, display_size
from stream.camera import Intrinsics
from stream.light import Light
from stream.shape import Shape


@dataclass(frozen=True, slots=True)
class Frame:
    """One captured picture.

    picture: as decoded, upright (rotation metadata already applied), in the decoder's pixel format.
    index: 0, 1, 2 … in order of presentation, counted by the source; dropped frames leave a gap.
    pts: presentation time in units of `time_base` seconds, strictly rising within a stream.
    captured_ns: monotonic clock at which the frame reached us.
    aspect: of the picture's pixels; see `stream.aspect`.
    light: how its code values are to be read; None: as its tags say.
    """

    picture: av.VideoFrame
    index: int
    pts: int
    time_base: Fraction
    captured_ns: int
    aspect: Fraction = SQUARE
    light: Light | None = None

    @property
    def size(self) -> Shape:
        """(height, width) of the picture as it is shown, in square pixels: what everything downstream goes by."""
        return display_size(self.picture.height, self.picture.width, self.aspect)

    @property
    def height(self) -> int:
        """Square pixels, upright."""
        return self.size[0]

    @property
    def width(self) -> int:
        """Square pixels, upright."""
        return self.size[1]


@dataclass(frozen=True, slots=True)
class DisplayRange:
    """Depth values shown as the two ends of the colour map, smoothed over time."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class DepthFrame:
    """Depth of one frame.

    depth: float32 [H, W] at the frame's size, in `unit`, not normalised.
    range: what a picture of it should span.
    reset: the temporal window was restarted with this frame (first frame, new size, scene cut, gap).
    stale: no new frame: the last map again, while a live source is away; its frame carries the time of showing.
    intrinsics: of the camera, for pictures of the map's size; None where they are not known.
    """

    frame: Frame
    depth: NDArray[np.float32]
    unit: Unit
    range: DisplayRange
    reset: bool
    stale: bool = False
    intrinsics: Intrinsics | None = None


def held(last: DepthFrame, now_ns: int) -> DepthFrame:
    """The last map shown again at `now_ns` of the monotonic clock: stale, with the time of showing."""
    frame = last.frame
    age_ns = now_ns - frame.captured_ns
    pts = frame.pts + max(1, round(age_ns / (frame.time_base * 10**9)))
    return replace(last, frame=replace(frame, pts=pts, captured_ns=now_ns), reset=False, stale=True)


def after(depth_frame: DepthFrame, pts: int) -> DepthFrame:
    """As it is where its time is after `pts`, else at the next tick."""
    frame = depth_frame.frame
    return depth_frame if frame.pts > pts else replace(depth_frame, frame=replace(frame, pts=pts + 1))
