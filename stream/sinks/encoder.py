"""H.264 for those who watch now: no picture waits for a later one. Which encoder runs is found out by trying."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType

from stream.errors import SinkError
from stream.frame import DepthFrame
from stream.pacing import LIVE_TIME_BASE, TICKS_PER_S
from stream.rtsp.h264 import KEY_SLICE, PARAMETER_SETS, type_of, units_of
from stream.rtsp.rtp import AccessUnit
from stream.sinks.picture import Painter

_LOG = logging.getLogger(__name__)
_KEY_EVERY_S = 2
_UNKNOWN_RATE = Fraction(30)
_DELIMITER_TYPE = 9
_CHOICES = MappingProxyType(
    {
        "h264_nvenc": {
            "preset": "p1", "tune": "ull", "zerolatency": "1", "delay": "0", "bf": "0", "forced-idr": "1",
            "rc": "vbr", "cq": "23",
        },
        "libx264": {"preset": "ultrafast", "tune": "zerolatency", "crf": "23", "forced-idr": "1"},
    }
)  # fmt: skip
"""In order of preference."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a stream must keep to.

    baseline: the constrained baseline profile, which every browser decodes.
    bitrate: at most so many bits per second, held over half a second; None: what the pictures need.
    """

    baseline: bool = False
    bitrate: int | None = None

    @property
    def options(self) -> dict[str, str]:
        """For FFmpeg's encoders."""
        options = {"profile": "baseline"} if self.baseline else {}
        if self.bitrate is not None:
            options |= {"maxrate": str(self.bitrate), "bufsize": str(self.bitrate // 2)}
        return options


FREE = Terms()


@dataclass(frozen=True, slots=True)
class Choice:
    """An encoder that works here; parameter_sets: SPS and PPS of its stream."""

    name: str
    parameter_sets: tuple[bytes, ...]
    terms: Terms = FREE


def choose_encoder(painter: Painter, rate: Fraction | None, terms: Terms = FREE) -> Choice:
    """The first that can encode the painter's pictures. Raises SinkError where none can."""
    height, width = painter.size
    black = av.VideoFrame.from_ndarray(np.zeros((height, width, 3), np.uint8), format="rgb24")
    picture = black.reformat(format="yuv420p")
    picture.pts, picture.time_base = 0, LIVE_TIME_BASE
    for name in _CHOICES:
        try:
            context = _opened(name, painter, rate, terms)
            packets = [*context.encode(picture), *context.encode(None)]
        except (av.FFmpegError, OSError, ValueError):
            continue
        sets = tuple(one for packet in packets for one in units_of(bytes(packet)) if type_of(one) in PARAMETER_SETS)
        if len(sets) >= len(PARAMETER_SETS):
            _LOG.info("H.264 %sx%s by %s", width, height, name)
            return Choice(name, sets, terms)
    raise SinkError(f"no H.264 encoder takes pictures of {width}x{height}: install PyAV with libx264")


def options_of(name: str) -> dict[str, str]:
    """Of an encoder that `choose_encoder` named."""
    return dict(_CHOICES[name])


class LiveEncoder:
    """One encoder for all who watch one output; times are mended so that they rise.

    Opened again, beginning with a key picture, when a new style of the painter's makes pictures of another size.
    """

    __slots__ = ("_choice", "_context", "_painter", "_rate", "_times")

    def __init__(self, choice: Choice, painter: Painter, rate: Fraction | None) -> None:
        self._choice = choice
        self._painter = painter
        self._rate = rate
        self._times = RisingTimes()
        with encoder_errors():
            self._context = _opened(choice.name, painter, rate, choice.terms)

    def encode(self, depth_frame: DepthFrame, key: bool) -> AccessUnit:
        """One picture.

        key: it is to be decodable alone. Raises SinkError.
        """
        picture = self._painter.yuv(depth_frame)
        picture.pts, picture.time_base = self._times.after(depth_frame), LIVE_TIME_BASE
        if key:
            picture.pict_type = PictureType.I
        with encoder_errors():
            if not fits(self._context, picture):
                size = picture.height, picture.width
                self._context = _opened(self._choice.name, self._painter, self._rate, self._choice.terms, size)
            stream = b"".join(bytes(packet) for packet in self._context.encode(picture))
        units = tuple(one for one in units_of(stream) if type_of(one) != _DELIMITER_TYPE)
        is_key = any(type_of(one) == KEY_SLICE for one in units)
        return AccessUnit(units, picture.pts, is_key)


class RisingTimes:
    """Times of what is shown, in ticks of `LIVE_TIME_BASE`: held pictures may run ahead of those that follow."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last = -1

    def after(self, depth_frame: DepthFrame) -> int:
        """The frame's own time, or just behind the one before it."""
        frame = depth_frame.frame
        self._last = max(self._last + 1, round(frame.pts * frame.time_base * TICKS_PER_S))
        return self._last


@contextmanager
def encoder_errors() -> Iterator[None]:
    """Turns failures of the encoder into a SinkError."""
    try:
        yield
    except (av.FFmpegError, OSError) as error:
        raise SinkError(f"the H.264 encoder failed: {error}") from error


def fits(context: VideoCodecContext, picture: av.VideoFrame) -> bool:
    """The encoder was opened for pictures of this size."""
    return (context.height, context.width) == (picture.height, picture.width)


def set_up(
    context: VideoCodecContext, painter: Painter, rate: Fraction | None, size: tuple[int, int] | None = None
) -> None:
    """What both our own server and others are sent: the painter's pictures, a key picture every two seconds."""
    painter.describe_to(context, size)
    context.framerate = rate or _UNKNOWN_RATE
    context.time_base = LIVE_TIME_BASE
    context.gop_size = max(1, round(_KEY_EVERY_S * context.framerate))
    context.max_b_frames = 0
    context.thread_count = 2


def _opened(
    name: str, painter: Painter, rate: Fraction | None, terms: Terms, size: tuple[int, int] | None = None
) -> VideoCodecContext:
    context = av.CodecContext.create(name, "w")
    assert isinstance(context, VideoCodecContext)
    set_up(context, painter, rate, size)
    context.options = options_of(name) | terms.options
    context.open()
    return context
