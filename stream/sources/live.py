"""A live stream through FFmpeg: read in a thread of its own, newest frame first, connected again when it is lost."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator

import av

from engines.closing import Closing
from stream.aspect import display_size
from stream.errors import SourceError
from stream.frame import Frame
from stream.mailbox import Mailbox, MailboxClosed, Overflow
from stream.pacing import LIVE_TIME_BASE, LiveClock, Pace, wait_before_try_s
from stream.sources import SourceInfo
from stream.sources.connection import Address, Connection, connect, searched

_LOG = logging.getLogger(__name__)
_LEAVE_S = 0.5
"""How long `close` waits for the reader; a call into FFmpeg that hangs ends by its own time limit, a little later."""
_LONGEST_PAUSE_S = 30.0
"""Between two pictures of a segmented stream; a longer one is a leap of its times."""


class LiveSource(Closing):
    """Opens a stream and keeps it open. Frames that are not taken in time are replaced by newer ones.

    What has an end, such as a file on a web server, is read like a file: nothing is lost, and it ends. A segmented
    stream comes in bursts and is played at its own pace.
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
        self._is_over = False
        self.damaged = 0
        """Packets that could not be decoded and frames that were decoded with errors, so far."""
        self.reconnects = 0
        """Times the stream went away and came back, so far."""
        connection = connect(address, self._closing)
        self._facts = connection.facts
        self._info = self._described(connection)
        self._frames: Mailbox[Frame] = Mailbox(1, Overflow.WAIT if self._facts.has_end else Overflow.REPLACE)
        # A daemon: a reader that hangs in FFmpeg must not keep the program alive until its time limit.
        self._reader = threading.Thread(target=self._read, args=(connection,), name="reader", daemon=True)
        self._reader.start()

    @property
    def info(self) -> SourceInfo:
        """Of the first connection; later ones may bring frames of another size."""
        return self._info

    def __iter__(self) -> Iterator[Frame]:
        yield from self._frames

    def close(self) -> None:
        """End the iteration and leave the stream, from any thread."""
        self._closing.set()
        self._frames.close()
        if self._reader is not threading.current_thread():
            self._reader.join(_LEAVE_S)

    def _described(self, connection: Connection) -> SourceInfo:
        facts, name, upright = connection.facts, self._address.name, connection.upright
        height, width = display_size(connection.first.height, connection.first.width, upright.aspect)
        sound = f"the sound of {name} is left out: only that of a file on this machine is kept"
        return SourceInfo(
            height=height,
            width=width,
            rate=facts.rate,
            time_base=facts.time_base if facts.has_end else LIVE_TIME_BASE,
            frames=None,
            duration_s=facts.duration_s,
            live=not facts.has_end,
            audio=False,
            name=name,
            orientation=upright.orientation,
            aspect=upright.aspect,
            notes=(*((sound,) if facts.has_sound else ()), *connection.deinterlacer.notes, *upright.notes),
        )

    def _read(self, connection: Connection) -> None:
        """The reader's life: connection after connection."""
        try:
            self._deliver(connection)
            failures = 1
            while not self._is_over and not self._closing.is_set():
                self._wait(self._closing, wait_before_try_s(failures))
                failures += 1
                if (back := self._connected_again()) is None:
                    continue
                if self._is_again(back, connection):
                    back.close()
                    break
                failures = 1
                self.reconnects += 1
                _LOG.info("%s is back", self._address.name)
                self._deliver(back)
            self._frames.close()
        except MailboxClosed:
            pass
        except BaseException as error:  # a thread's boundary: whoever takes the frames gets it
            self._frames.close(error)

    def _is_again(self, back: Connection, first: Connection) -> bool:
        """What is back is what has been read: a playlist that was completed in the meantime, or a file."""
        if self._facts.is_segmented:
            return back.facts.has_end
        return not first.is_cut and back.repeats(first)

    def _connected_again(self) -> Connection | None:
        """None where not one picture came."""
        if self._closing.is_set():
            return None
        self._clock.restart()
        try:
            return connect(self._address, self._closing)
        except SourceError as error:
            _LOG.info("%s", error)
            return None

    def _deliver(self, connection: Connection) -> None:
        """Give on all pictures of a connection, until the stream is lost; the connection is closed then."""
        pace = Pace(_LONGEST_PAUSE_S) if connection.facts.is_segmented else None
        with connection:
            for picture in connection.pictures:
                if pace is not None and picture.pts is not None:
                    self._wait(self._closing, pace.delay_s(_time_s(picture), time.monotonic()))
                if self._closing.is_set():
                    return
                self.damaged += connection.taken_damage()
                self._frames.put(self._stamped(picture, connection))
            self.damaged += connection.taken_damage()
            self._is_over = self._facts.has_end or connection.was_file
            if connection.is_malformed:
                self._address = searched(self._address)
            if self._facts.has_end and connection.is_cut and not self._closing.is_set():
                self.damaged += 1
                _LOG.warning("%s was cut off before its end", self._address.name)
        if not self._is_over and not self._closing.is_set():
            _LOG.warning("%s is lost, connecting again", self._address.name)

    def _stamped(self, picture: av.VideoFrame, connection: Connection) -> Frame:
        now_ns, time_base = time.monotonic_ns(), self._info.time_base
        is_told = connection.facts.has_times and picture.pts is not None
        if self._facts.has_end:
            pts = connection.clock.mended(picture.pts if is_told else None)
        else:
            pts = self._clock.pts(_time_s(picture) if is_told else None, now_ns / 1e9)
        upright = connection.upright
        frame = Frame(picture, self._index, pts, time_base, now_ns, upright.aspect, upright.light)
        self._index += 1
        return frame


def _time_s(picture: av.VideoFrame) -> float:
    assert picture.pts is not None
    assert picture.time_base is not None
    return float(picture.pts * picture.time_base)
