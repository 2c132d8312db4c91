"""One opening of a stream through FFmpeg: what is known of it, and its pictures. One thread reads it at a time."""

from __future__ import annotations

import errno
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from engines.closing import Closing
from stream.errors import SourceError
from stream.pacing import has_end
from stream.reasons import reason_of
from stream.sources.file import clock_of, presentation_of
from stream.sources.opening import is_tile, main_track
from stream.sources.progressive import Deinterlacer, fields_of
from stream.sources.times import FileClock, Shown
from stream.sources.upright import Upright
from stream.sources.verified import VerifiedWeb

_PLAUSIBLE_RATES = (Fraction(1, 10), Fraction(240))
_SEGMENTED = frozenset({"hls", "dash"})
"""Formats whose pictures come in pieces of some seconds."""
_PUSHED = "mpjpeg"
"""Pictures that a camera pushes (multipart/x-mixed-replace); without a length they have no end."""
_ANY_PARTS = (("probesize", "32"), ("analyzeduration", "0"))
_ODD = av.error.InvalidDataError, av.error.ExitError
_ONE_BY_ONE = {"http_persistent": "0", "http_multiple": "0"}
"""FFmpeg's own connections, which it would keep and use again."""
_SEGMENT_S = 60.0
"""How long the next segment may take to appear. A connection that hangs ends by its own, shorter limit."""
_FASTER = 1.5
_MOST_AHEAD = 1000
"""Packets that are looked at to know a file: at more than so many in a second it is one."""
_NO_TIMESTAMPS = 0x80
"""FFmpeg's AVFMT_NOTIMESTAMPS: what times there are, are made up."""
_RAW_RATE = Fraction(25)
"""Of pictures that nothing is known of, as FFmpeg has it."""
_FIRST_PICTURE_S = 60.0
"""How long packets may come without a picture: key pictures may be far apart."""


@dataclass(frozen=True, slots=True)
class Address:
    """How FFmpeg is to open a stream.

    url: with credentials; name: without, for people.
    format: None lets FFmpeg find out.
    timeout_s: of opening, and of every wait for more.
    on_web: it may be a file, a playlist, or what a camera pushes.
    trusted: certificates (PEM) that the servers of a playlist's parts are verified against; None: they are not.
    check: called before each opening. Raises SourceError or OSError where that must not be.
    """

    url: str = field(repr=False)
    name: str
    options: tuple[tuple[str, str], ...] = ()
    format: str | None = None
    timeout_s: float = 5.0
    on_web: bool = False
    trusted: Path | None = None
    check: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a stream once its first picture is there.

    rate: frames per second, where what the stream says can be believed.
    duration_s: None where it is unknown or endless.
    has_end: it is a file: nothing of it may be lost, and it ends.
    is_segmented: it comes in pieces of some seconds, and is to be shown at its own pace.
    has_times: its pictures bring their own times; False: they are FFmpeg's guess.
    has_sound: there is a sound track beside the pictures.
    """

    rate: Fraction | None
    time_base: Fraction
    duration_s: float | None
    has_end: bool
    is_segmented: bool
    has_times: bool
    has_sound: bool


class Unreadable(SourceError):
    """Something came, but no picture that FFmpeg finds in it."""


class Connection(Closing):
    """An open stream, read up to its first picture.

    A container must not be touched by two threads, nor after it is closed. So all that is to be known is in `facts`,
    and whoever reads `pictures` is the only one to use anything else.
    closing: ends the reading. Raises SourceError.
    """

    def __init__(self, address: Address, closing: threading.Event) -> None:
        self._address = address
        self._closing = closing
        self._began_s = time.monotonic()
        self._container = _open(address)
        try:
            self._video = self._find_video()
            self._damage = 0
            self.is_cut = False
            """Its end has not arrived."""
            self.is_malformed = False
            """What is pushed is not in the form that its reader knows: see `searched`."""
            self._opening: list[int] = []
            """Of the packets that were looked at while it was opened, a number for each that tells it from others."""
            self._played_s = 0.0
            self._ahead: deque[Packet[VideoStream]] = deque()
            self._packets = self._received()
            self.upright = Upright(self._video)
            self.deinterlacer = Deinterlacer(fields_of(self._video))
            self._order = presentation_of(self._container, self._video)
            pictures = self._decoded()
            self.first = self._first_of(pictures)
            self.pictures: Iterator[av.VideoFrame] = chain((self.first,), pictures)
            """From the first on, until the stream ends, is cut, or sends nothing for too long."""
            self.facts = self._found()
            self.clock: FileClock = clock_of(self._video, self.facts.rate or _RAW_RATE)
            """Mends the times of a file."""
        except BaseException:
            self._container.close()
            raise

    def taken_damage(self) -> int:
        """Errors since this was last asked."""
        damage, self._damage = self._damage, 0
        return damage

    @property
    def was_file(self) -> bool:
        """What has ended came faster than it plays, and of its own accord: no camera does that for long."""
        may_end = self._address.on_web and not self.facts.is_segmented and self._container.format.name != _PUSHED
        elapsed_s = time.monotonic() - self._began_s
        return may_end and not self.is_cut and self._played_s > _FASTER * elapsed_s

    def repeats(self, other: Connection) -> bool:
        """It begins with the same pictures as the other: what is sent is a file, and sent again from its start.

        A camera may send one picture over and over, as where it has no signal; a file is known by several.
        """
        both = [(mine, its) for mine, its in zip(self._opening, other._opening, strict=False)]
        return len({mine for mine, _ in both}) > 1 and all(mine == its for mine, its in both)

    def close(self) -> None:
        """Leave the stream."""
        self._container.close()

    def _find_video(self) -> VideoStream:
        video = main_track(self._container)
        if video is None:
            raise SourceError(f"{self._address.name} has no video")
        if is_tile(video):
            raise SourceError(f"{self._address.name} is a still in tiles: download it, and give the file itself")
        if video.codec_context is None:
            raise SourceError(f"{self._address.name} sends video in a codec that cannot be decoded here")
        # Threads that work on several frames at once hold back as many.
        video.thread_type = "SLICE"
        return video

    def _first_of(self, pictures: Iterator[av.VideoFrame]) -> av.VideoFrame:
        first = next(pictures, None)
        if first is None:
            index = "; an MP4 with its index at its end needs a server that gives parts (Range), or to be downloaded"
            is_mp4 = "mp4" in self._container.format.name
            raise Unreadable(f"{self._address.name} sends no pictures that can be decoded{index if is_mp4 else ''}")
        return first

    def _found(self) -> Facts:
        form, video, duration = self._container.format, self._video, self._container.duration
        low, high = _PLAUSIBLE_RATES
        rates = (video.average_rate, video.guessed_rate, video.base_rate)
        duration_s = duration / av.time_base if duration and duration > 0 else None
        is_segmented = form.name in _SEGMENTED
        # A playlist has a length, and yet no end.
        has_length = duration_s is not None or (not is_segmented and self._address.on_web and self._container.size > 0)
        may_end = self._address.on_web and not is_segmented and form.name != _PUSHED
        return Facts(
            rate=next((rate for rate in rates if rate and low <= rate <= high), None),
            time_base=video.time_base or Fraction(1, 1000),
            duration_s=duration_s,
            has_end=has_length or (may_end and self._ends()),
            is_segmented=is_segmented and duration_s is None,
            has_times=not form.flags & _NO_TIMESTAMPS,
            has_sound=bool(self._container.streams.audio),
        )

    def _ends(self) -> bool:
        """Read on until it shows whether this is a file that is sent without its length.

        What is searched for JPEGs is pushed as fast as its camera likes: it is a file only where it has ended.
        """
        began_s, verdict = time.monotonic(), None
        while verdict is None and len(self._ahead) < _MOST_AHEAD:
            packet = next(self._packets, None)
            if packet is None:
                return not self.is_cut
            self._ahead.append(packet)
            self._opening.append(hash(bytes(packet)))
            now_s = time.monotonic()
            verdict = has_end(self._played_s, now_s - self._began_s, now_s - began_s)
        return verdict is not False and self._address.format is None

    def _received(self) -> Iterator[Packet[VideoStream]]:
        packets = self._container.demux(self._video)
        begin_s = None
        while not self._closing.is_set():
            try:
                packet = next(packets, None)
            except (av.FFmpegError, OSError) as error:
                # FFmpeg ends a body without a length so, however whole it is.
                is_end = isinstance(error, OSError) and error.errno == errno.EIO
                self.is_cut = not is_end or self._container.size > 0
                self.is_malformed = self._container.format.name == _PUSHED and isinstance(error, _ODD)
                return
            if packet is None:
                return
            if packet.pts is not None and packet.time_base is not None:
                now_s = float(packet.pts * packet.time_base)
                begin_s = now_s if begin_s is None else begin_s
                self._played_s = max(self._played_s, now_s - begin_s)
            yield packet

    def _decoded(self) -> Iterator[av.VideoFrame]:
        came = False
        while packet := self._ahead.popleft() if self._ahead else next(self._packets, None):
            if not came and time.monotonic() - self._began_s > self._longest_wait_s():
                return
            if self._order.by_decoding and packet.size:
                self._order.sending(packet)
            try:
                pictures = self._video.decode(packet)
            except av.FFmpegError:
                # What comes before the first key picture cannot be decoded, and is whole.
                self._damage += came
                continue
            came = came or bool(pictures)
            yield from self._finished(pictures)
        if not self._closing.is_set():
            with suppress(av.FFmpegError):  # Where the end has come, it is empty already.
                yield from self._finished(self._video.decode(None))
            yield from self._whole(self._order.rest())
            yield from map(self.upright.turned, self.deinterlacer.rest())

    def _finished(self, pictures: list[av.VideoFrame]) -> Iterator[av.VideoFrame]:
        """With their times, whole, and upright."""
        for picture in pictures:
            self._damage += picture.is_corrupt
            yield from self._whole(self._order.shown(picture, self._order.by_decoding))

    def _whole(self, pictures: Iterator[Shown]) -> Iterator[av.VideoFrame]:
        for shown in pictures:
            # What is left in the decoder at a broken end comes without its time base.
            shown.picture.pts, shown.picture.time_base = shown.pts, self._video.time_base
            yield from map(self.upright.turned, self.deinterlacer.progressive(shown.picture))

    def _longest_wait_s(self) -> float:
        """For the first picture, while packets come. Of motion JPEG every picture is a key picture."""
        return 2 * self._address.timeout_s if self._video.name == "mjpeg" else _FIRST_PICTURE_S


def connect(address: Address, closing: threading.Event) -> Connection:
    """Open a stream; what a camera pushes in a form of its own is searched for JPEGs. Raises SourceError."""
    try:
        return Connection(address, closing)
    except Unreadable as unreadable:
        if not address.on_web or closing.is_set():
            raise
        try:
            return Connection(searched(address), closing)
        except SourceError:
            raise unreadable from None


def searched(address: Address) -> Address:
    """The same, to be searched for JPEGs, in whatever parts they come."""
    return replace(address, format="mjpeg", options=(*address.options, *_ANY_PARTS))


def _open(address: Address) -> InputContainer:
    container = _opened(address, None)
    if address.trusted is None or container.format.name not in _SEGMENTED:
        return container
    # FFmpeg verifies who gives the playlist, and nobody who gives a part of it.
    container.close()
    return _opened(address, VerifiedWeb(address.trusted, address.timeout_s))


def _opened(address: Address, web: VerifiedWeb | None) -> InputContainer:
    try:
        if address.check is not None:
            address.check()
        return av.open(
            address.url,
            format=address.format,
            options={**dict(address.options), **({} if web is None else _ONE_BY_ONE)},
            timeout=(address.timeout_s, _SEGMENT_S if address.on_web else address.timeout_s),
            metadata_errors="replace",
            io_open=None if web is None else web.open,
        )
    except (av.FFmpegError, OSError, ValueError) as error:
        # EIO: a body without a length has ended while FFmpeg was looking what it is.
        is_odd = isinstance(error, _ODD) or (isinstance(error, OSError) and error.errno == errno.EIO)
        kind = Unreadable if is_odd else SourceError
        # Not chained: FFmpeg's own words hold the address with its password.
        reason = web.failure if web is not None and web.failure else reason_of(error)
        raise kind(f"{address.name} cannot be opened: {reason}") from None
