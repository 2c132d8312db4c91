"""A live stream through FFmpeg: read in a thread of its own, newest frame first, connected again when it is lost."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from types import TracebackType
from typing import Self

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from engines.closing import Closing
from stream.errors import SourceError
from stream.frame import Frame
from stream.mailbox import Mailbox, MailboxClosed, Overflow
from stream.pacing import LIVE_TIME_BASE, LiveClock, wait_before_try_s
from stream.reasons import reason_of
from stream.sources import SourceInfo
from stream.sources.upright import Upright

_LOG = logging.getLogger(__name__)
_LEAVE_S = 0.5
"""How long `close` waits for the reader; a call into FFmpeg that hangs ends by its own time limit, a little later."""
_PLAUSIBLE_RATES = (Fraction(1, 10), Fraction(240))


@dataclass(frozen=True, slots=True)
class Address:
    """How FFmpeg is to open a stream.

    url: with credentials; name: without, for people.
    format: None lets FFmpeg find out.
    timeout_s: of opening, and of every wait for more.
    """

    url: str = field(repr=False)
    name: str
    options: tuple[tuple[str, str], ...] = ()
    format: str | None = None
    timeout_s: float = 5.0


class LiveSource(Closing):
    """Opens a stream and keeps it open. Frames that are not taken in time are replaced by newer ones.

    What has a known length, such as a file on a web server, is read like a file: nothing is lost, and it ends.
    An error at the first opening is the caller's to know: SourceError. After that the stream is connected to again
    until `close`, at growing intervals.
    wait: sleeps so many seconds, or until the event is set; replaced in tests.
    """

    def __init__(
        self, address: Address, wait: Callable[[threading.Event, float], object] = threading.Event.wait
    ) -> None:
        self._address = address
        self._wait = wait
        self._closing = threading.Event()
        self._clock = LiveClock()
        self._index = 0
        self.damaged = 0
        """Packets that could not be decoded and frames that were decoded with errors, so far."""
        self.reconnects = 0
        """Times the stream went away and came back, so far."""
        connection = _Connection(address)
        self._has_end = connection.has_end
        self._frames: Mailbox[Frame] = Mailbox(1, Overflow.WAIT if self._has_end else Overflow.REPLACE)
        # A daemon: a reader that hangs in FFmpeg must not keep the program alive until its time limit.
        self._reader = threading.Thread(target=self._read, args=(connection,), name="reader", daemon=True)
        self._reader.start()
        try:
            self._first: Frame | None = self._frames.take(2 * address.timeout_s)
        except (TimeoutError, MailboxClosed):
            self.close()
            raise SourceError(f"{address.name} sends no pictures that can be decoded") from None
        except BaseException:
            self.close()
            raise
        self._info = SourceInfo(
            height=self._first.height,
            width=self._first.width,
            rate=connection.rate,
            time_base=LIVE_TIME_BASE,
            frames=None,
            duration_s=connection.duration_s,
            live=not self._has_end,
            audio=False,
            name=address.name,
            turned=connection.turned,
        )

    @property
    def info(self) -> SourceInfo:
        """Of the first connection; later ones may bring frames of another size."""
        return self._info

    def __iter__(self) -> Iterator[Frame]:
        first, self._first = self._first, None
        if first is not None and self._has_end:
            yield first
        yield from self._frames

    def close(self) -> None:
        """End the iteration and leave the stream, from any thread."""
        self._closing.set()
        self._frames.close()
        if self._reader is not threading.current_thread():
            self._reader.join(_LEAVE_S)

    def _read(self, connection: _Connection) -> None:
        """The reader's life: connection after connection."""
        try:
            self._deliver(connection)
            failures = 1
            while not self._has_end and not self._closing.is_set():
                self._wait(self._closing, wait_before_try_s(failures))
                failures = 1 if self._came_back() else failures + 1
            self._frames.close()
        except MailboxClosed:
            pass
        except BaseException as error:
            self._frames.close(error)

    def _came_back(self) -> bool:
        """Connect once more and deliver until the stream is lost again; False where not one picture came."""
        if self._closing.is_set():
            return False
        self._clock.restart()
        try:
            connection = _Connection(self._address)
        except SourceError as error:
            _LOG.info("%s", error)
            return False
        return self._deliver(connection, is_back=True)

    def _deliver(self, connection: _Connection, is_back: bool = False) -> bool:
        came = False
        with connection:
            for picture in connection.pictures():
                if self._closing.is_set():
                    return came
                self.damaged += connection.taken_damage()
                if is_back and not came:
                    self.reconnects += 1
                    _LOG.info("%s is back", self._address.name)
                came = True
                self._frames.put(self._stamped(picture))
        self.damaged += connection.taken_damage()
        if came and not self._has_end and not self._closing.is_set():
            _LOG.warning("%s is lost, connecting again", self._address.name)
        return came

    def _stamped(self, picture: av.VideoFrame) -> Frame:
        now_ns = time.monotonic_ns()
        camera_s = None if picture.pts is None or picture.time_base is None else float(picture.pts * picture.time_base)
        # A file's frames come as fast as they are wanted: their own times alone count.
        arrived_s = camera_s if self._has_end and camera_s is not None else now_ns / 1e9
        frame = Frame(picture, self._index, self._clock.pts(camera_s, arrived_s), LIVE_TIME_BASE, now_ns)
        self._index += 1
        return frame


class _Connection:
    """One opening of a stream, for as long as it lasts."""

    def __init__(self, address: Address) -> None:
        self._container = _open(address)
        if not self._container.streams.video:
            self._container.close()
            raise SourceError(f"{address.name} has no video")
        self._video: VideoStream = self._container.streams.video[0]
        # Threads that work on several frames at once hold back as many.
        self._video.thread_type = "SLICE"
        self._damage = 0
        self._upright = Upright()

    @property
    def turned(self) -> int:
        """Counter-clockwise degrees by which the last picture was turned to be upright."""
        return self._upright.degrees

    @property
    def duration_s(self) -> float | None:
        """None for what has no end."""
        duration = self._container.duration
        return duration / av.time_base if duration and duration > 0 else None

    @property
    def has_end(self) -> bool:
        return self.duration_s is not None

    @property
    def rate(self) -> Fraction | None:
        """Frames per second, where what the stream says can be believed."""
        low, high = _PLAUSIBLE_RATES
        rates = (self._video.average_rate, self._video.guessed_rate, self._video.base_rate)
        return next((rate for rate in rates if rate and low <= rate <= high), None)

    def taken_damage(self) -> int:
        """Errors since this was last asked."""
        damage, self._damage = self._damage, 0
        return damage

    def pictures(self) -> Iterator[av.VideoFrame]:
        """Until the stream ends, is cut, or sends nothing for too long."""
        packets = self._container.demux(self._video)
        while True:
            try:
                packet = next(packets, None)
            except (av.FFmpegError, OSError):
                return
            if packet is None:
                return
            try:
                pictures = packet.decode()
            except av.FFmpegError:
                self._damage += 1
                continue
            for picture in pictures:
                assert isinstance(picture, av.VideoFrame)
                self._damage += picture.is_corrupt
                yield self._upright.turned(picture)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._container.close()


def _open(address: Address) -> InputContainer:
    try:
        return av.open(
            address.url,
            format=address.format,
            options=dict(address.options),
            timeout=(address.timeout_s, address.timeout_s),
            metadata_errors="replace",
        )
    except (av.FFmpegError, OSError, ValueError) as error:
        # Not chained: FFmpeg's own words hold the address with its password.
        raise SourceError(f"{address.name} cannot be opened: {reason_of(error)}") from None
