"""Pictures for browsers: H.264 where it can be encoded, VP8 elsewhere and for those who do not know H.264."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Any, Protocol

import av
from aiortc import RTCRtpSender
from aiortc.rtcrtpparameters import RTCRtpCodecCapability
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType

from stream.errors import SinkError
from stream.frame import DepthFrame
from stream.pacing import LIVE_TIME_BASE
from stream.sinks.encoder import Choice, LiveEncoder, RisingTimes, Terms, choose_encoder, encoder_errors, fits, set_up
from stream.sinks.picture import Painter

_LOG = logging.getLogger(__name__)
_START_CODE = b"\0\0\0\1"
_VP8_OPTIONS = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0", "crf": "10", "static-thresh": "1"}


class Codec(StrEnum):
    """Those that aiortc can carry."""

    H264 = "video/H264"
    VP8 = "video/VP8"


@dataclass(frozen=True, slots=True)
class Coded:
    """One picture as every viewer is sent it; is_key: it can be decoded alone; captured_ns: the frame's."""

    packet: av.Packet[Any]
    is_key: bool
    captured_ns: int


class PictureEncoder(Protocol):
    """One for all who watch one output in one codec."""

    def coded(self, depth_frame: DepthFrame, key: bool) -> Coded:
        """key: it is to be decodable alone. Raises SinkError."""
        ...


@dataclass(frozen=True, slots=True)
class Codecs:
    """What can be encoded here, found out by trying; the first is preferred. bitrate: bits per second at most."""

    h264: Choice | None
    bitrate: int

    @property
    def preferred(self) -> tuple[Codec, ...]:
        return (Codec.VP8,) if self.h264 is None else (Codec.H264, Codec.VP8)

    def encoder(self, codec: Codec, painter: Painter, rate: Fraction | None) -> PictureEncoder:
        """Open one. Raises SinkError."""
        if codec is Codec.VP8 or self.h264 is None:
            return Vp8(painter, rate, self.bitrate)
        return H264(self.h264, painter, rate)


def choose_codecs(painter: Painter, rate: Fraction | None, bitrate: int) -> Codecs:
    """NVENC, else x264, else VP8; the log says which."""
    try:
        return Codecs(choose_encoder(painter, rate, Terms(baseline=True, bitrate=bitrate)), bitrate)
    except SinkError:
        height, width = painter.size
        _LOG.info("VP8 %sx%s by libvpx: no H.264 encoder works here", width, height)
        return Codecs(None, bitrate)


def capabilities(preferred: Sequence[Codec]) -> list[RTCRtpCodecCapability]:
    """What to offer, in this order; constrained baseline before baseline."""
    known = RTCRtpSender.getCapabilities("video").codecs
    ours = [one for codec in preferred for one in reversed(known) if one.mimeType == codec]
    return ours + [one for one in known if one.name == "rtx"]


class H264:
    """By the encoder that was chosen."""

    __slots__ = ("_encoder",)

    def __init__(self, choice: Choice, painter: Painter, rate: Fraction | None) -> None:
        self._encoder = LiveEncoder(choice, painter, rate)

    def coded(self, depth_frame: DepthFrame, key: bool) -> Coded:
        """See PictureEncoder."""
        unit = self._encoder.encode(depth_frame, key)
        packet = av.Packet(b"".join(_START_CODE + one for one in unit.units))
        packet.pts, packet.time_base = unit.timestamp, LIVE_TIME_BASE
        return Coded(packet, unit.is_key, depth_frame.frame.captured_ns)


class Vp8:
    """By libvpx, in real time."""

    __slots__ = ("_bitrate", "_context", "_painter", "_rate", "_times")

    def __init__(self, painter: Painter, rate: Fraction | None, bitrate: int) -> None:
        self._painter = painter
        self._rate = rate
        self._bitrate = bitrate
        self._times = RisingTimes()
        with encoder_errors():
            self._context = self._opened(painter.size)

    def _opened(self, size: tuple[int, int]) -> VideoCodecContext:
        context = av.CodecContext.create("libvpx", "w")
        assert isinstance(context, VideoCodecContext)
        set_up(context, self._painter, self._rate, size)
        context.bit_rate = self._bitrate
        context.options = dict(_VP8_OPTIONS)
        context.open()
        return context

    def coded(self, depth_frame: DepthFrame, key: bool) -> Coded:
        """See PictureEncoder."""
        picture = self._painter.yuv(depth_frame)
        picture.pts, picture.time_base = self._times.after(depth_frame), LIVE_TIME_BASE
        if key:
            picture.pict_type = PictureType.I
        with encoder_errors():
            if not fits(self._context, picture):
                self._context = self._opened((picture.height, picture.width))
            packets = self._context.encode(picture)
        if len(packets) != 1:
            raise SinkError(f"the VP8 encoder gave {len(packets)} packets for one picture")
        packets[0].pts, packets[0].time_base = picture.pts, LIVE_TIME_BASE
        return Coded(packets[0], packets[0].is_keyframe, depth_frame.frame.captured_ns)
