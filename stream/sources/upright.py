"""Pictures as they are meant to be shown: laid upright, and what is known of their pixels and their light.

What FFmpeg's demuxers and decoders know of that travels beside each picture: the display matrix of MP4, Matroska and
HEIF, of H.264's and HEVC's SEI messages and of EXIF; the brightness of HDR; ICC profiles.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from fractions import Fraction
from itertools import pairwise
from typing import cast

import av
from av.filter import Graph
from av.sidedata.sidedata import SideData, Type
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from stream.aspect import SQUARE, believed
from stream.errors import SourceError
from stream.icc import RgbProfile, read_profile
from stream.light import SDR, light_of
from stream.orientation import UPRIGHT, Orientation

_UNREADABLE = (15, *range(28, 40))
"""Side data on which PyAV 18 fails: an ICC profile (15) is freed twice where it has a name, as in PNG files; kinds that
are newer than PyAV, such as EXIF (31), are not known to it.
"""
_TRANSPOSE = {
    (False, False): "cclock_flip",
    (True, False): "clock",
    (False, True): "cclock",
    (True, True): "clock_flip",
}
"""Mirrored across, mirrored down → how FFmpeg calls it after a transposition."""

Step = tuple[str, str | None]


class Upright:
    """Lays the pictures of one stream upright; knows of the last one how it was turned and how it is to be shown."""

    __slots__ = (
        "_container_aspect",
        "_kind",
        "_peak_nits",
        "_peek",
        "_profile",
        "_turn",
        "_video",
        "aspect",
        "light",
        "orientation",
    )

    def __init__(self, video: VideoStream) -> None:
        self._video = video
        # What a container states counts, as in players; what it has from the codec may change with the codec's.
        stated, coded = video.sample_aspect_ratio, video.codec_context.sample_aspect_ratio
        self._container_aspect = stated if stated != coded else None
        form = video.container.format.name
        if form == "image2" or form.endswith("_pipe"):
            # Of a still it is the resolution in print, which no viewer goes by and which FFmpeg turns upside down.
            self._container_aspect = SQUARE
        self._peek, self._turn = _Filter(), _Filter()
        self._kind: tuple[object, ...] = ()
        self._profile: RgbProfile | None = None
        self._peak_nits: float | None = None
        self.orientation = UPRIGHT
        self.aspect = SQUARE
        """Of the upright picture's pixels."""
        self.light = SDR

    @property
    def notes(self) -> tuple[str, ...]:
        """A sentence where the last picture's colours are converted."""
        return (self.light.note,) if self.light.note else ()

    def turned(self, picture: av.VideoFrame) -> av.VideoFrame:
        """The picture, upright. To be called before any other thread has the picture."""
        side_data = self._side_data(picture)
        # FFmpeg gives what H.264's messages say to one picture, and they mean all that follow.
        self.orientation = orientation_of(side_data) or self.orientation
        self._peak_nits = peak_nits_of(side_data) or self._peak_nits
        kind = (picture.width, picture.height, picture.format.name)
        if kind != self._kind:
            # Not of every picture: that takes longer than all else here, and a stream keeps its profile.
            self._kind, self._profile = kind, _profile_of(picture)
        self.light = light_of(picture, self._peak_nits, self._profile)
        self.aspect = believed(self._container_aspect or self._video.codec_context.sample_aspect_ratio)
        if self.orientation.transposed:
            self.aspect = 1 / self.aspect
        if self.orientation == UPRIGHT:
            return picture
        turned = self._turn.applied(picture, _steps(self.orientation))
        if turned is None:
            raise SourceError(f"pictures of {picture.format.name} cannot be turned upright: convert the video")
        turned.pts = picture.pts
        return turned

    def _side_data(self, picture: av.VideoFrame) -> tuple[SideData, ...]:
        """Of a copy of one corner: a picture whose own side data were asked for stays in memory until Python's
        collector of cycles comes by, and there may be gigabytes of them by then.
        """
        seen = self._peek.applied(picture, (*_corner(picture), *_WITHOUT_UNREADABLE))
        return () if seen is None else tuple(cast(Iterable[SideData], seen.side_data))


class _Filter:
    """A chain of FFmpeg's filters, kept for as long as pictures of one kind come."""

    __slots__ = ("_graph", "_kind")

    def __init__(self) -> None:
        self._graph: Graph | None = None
        self._kind: tuple[object, ...] = ()

    def applied(self, picture: av.VideoFrame, steps: tuple[Step, ...]) -> av.VideoFrame | None:
        """What comes out; None where the chain lets nothing through, or cannot have pictures of this kind."""
        kind = (steps, picture.width, picture.height, picture.format.name)
        try:
            if self._graph is None or kind != self._kind:
                self._graph, self._kind = _graph_for(picture, steps), kind
            self._graph.push(picture)
            filtered = self._graph.pull()
        except av.FFmpegError:
            return None
        assert isinstance(filtered, av.VideoFrame)
        return filtered


_WITHOUT_UNREADABLE: tuple[Step, ...] = tuple(("sidedata", f"mode=delete:type={number}") for number in _UNREADABLE)


def _corner(picture: av.VideoFrame) -> tuple[Step, ...]:
    return ("crop", f"{min(4, picture.width)}:{min(4, picture.height)}:0:0:exact=1"), ("copy", None)


def _steps(orientation: Orientation) -> tuple[Step, ...]:
    mirrored = orientation.mirrored_across, orientation.mirrored_down
    if orientation.transposed:
        return (("transpose", _TRANSPOSE[mirrored]),)
    return tuple((name, None) for name, wanted in zip(("hflip", "vflip"), mirrored, strict=True) if wanted)


def _graph_for(picture: av.VideoFrame, names: tuple[Step, ...]) -> Graph:
    graph = Graph()
    time_base = picture.time_base or Fraction(1, 1000)
    steps = [
        graph.add_buffer(width=picture.width, height=picture.height, format=picture.format, time_base=time_base),
        *(graph.add(name, arguments) for name, arguments in names),
        graph.add("buffersink"),
    ]
    for step, following in pairwise(steps):
        step.link_to(following)
    graph.configure()
    return graph


def orientation_of(side_data: Iterable[SideData]) -> Orientation | None:
    """As the first display matrix says; None where there is none."""
    data = _bytes_of(side_data, Type.DISPLAYMATRIX)
    return Orientation.of_matrix(struct.unpack("=9i", data)) if len(data) == 36 else None


def peak_nits_of(side_data: Iterable[SideData]) -> float | None:
    """The brightest that HDR says it shows: MaxCLL, or else what the mastering display could show (SMPTE ST 2086)."""
    side_data = tuple(side_data)
    level = _bytes_of(side_data, Type.CONTENT_LIGHT_LEVEL)
    if len(level) >= 4 and (most := struct.unpack_from("=I", level)[0]):
        return float(most)
    mastering = _bytes_of(side_data, Type.MASTERING_DISPLAY_METADATA)
    if len(mastering) < _MASTERING.size:
        return None
    *_, above, below, _, has_luminance = _MASTERING.unpack_from(mastering)
    return above / below if has_luminance and below else None


_MASTERING = struct.Struct("=16i 2i 2i 2i")
"""AVMasteringDisplayMetadata: primaries and white as eight ratios, least and most luminance, what of it is there."""


def _profile_of(picture: av.VideoFrame) -> RgbProfile | None:
    """The ICC profile, by way of a PNG of the corner: PyAV frees a PNG's profile twice."""
    wanted = (("sidedata", "mode=select:type=ICC_PROFILE"), ("format", "rgb24"))
    seen = _Filter().applied(picture, (*_corner(picture), *wanted))
    return None if seen is None else read_profile(_profile_in(_png(seen)))


def _png(picture: av.VideoFrame) -> bytes:
    encoder = av.CodecContext.create("png", "w")
    assert isinstance(encoder, VideoCodecContext)
    encoder.height, encoder.width, encoder.pix_fmt = picture.height, picture.width, picture.format.name
    encoder.time_base = Fraction(1)
    return b"".join(bytes(packet) for packet in [*encoder.encode(picture), *encoder.encode(None)])


def _profile_in(png: bytes) -> bytes:
    """Of the chunk iCCP: a name, a zero, the method, the profile compressed."""
    at = 8
    while at + 8 <= len(png):
        length, kind = struct.unpack_from(">I4s", png, at)
        if kind == b"iCCP":
            _, _, packed = png[at + 8 : at + 8 + length].partition(b"\0")
            return zlib.decompress(packed[1:])
        at += 12 + length
    return b""


def _bytes_of(side_data: Iterable[SideData], kind: Type) -> bytes:
    return next((bytes(one) for one in side_data if one.type is kind), b"")
