"""When things are due, as functions of times that are passed in: pace of playing, waits between tries, live clocks."""

from __future__ import annotations

from fractions import Fraction
from statistics import median

TICKS_PER_S = 90_000
LIVE_TIME_BASE = Fraction(1, TICKS_PER_S)
"""Of every live stream: the clock of RTP video (RFC 3551)."""
_FIRST_WAIT_S = 0.25
_LONGEST_WAIT_S = 5.0
_LATE_S = 1.0
_GAPS = 9
_GAPS_AWAY = 3
_APART_S = 1.0


def wait_before_try_s(failures: int) -> float:
    """How long to wait after so many failures in a row, 1 or more: a quarter of a second, doubling to five."""
    return min(_FIRST_WAIT_S * 2.0 ** min(failures - 1, 16), _LONGEST_WAIT_S)


class Pace:
    """Plays frames at the speed of their own times, from the first one on.

    One that is late is due at once; after more than a second of lateness the clock starts anew, so that the frames
    behind it do not rush.
    """

    __slots__ = ("_start_s",)

    def __init__(self) -> None:
        self._start_s: float | None = None

    def delay_s(self, time_s: float, now_s: float) -> float:
        """Seconds to wait at `now_s` for a frame of stream time `time_s`; 0 or more."""
        if self._start_s is None or now_s - (self._start_s + time_s) > _LATE_S:
            self._start_s = now_s - time_s
        return max(0.0, self._start_s + time_s - now_s)


class Rhythm:
    """How far apart a live source's frames are, so that a slow one is not taken for one that has gone.

    rate: what the source says of itself, if anything; it counts until frames tell.
    """

    __slots__ = ("_gaps_s", "_last_s")

    def __init__(self, rate: Fraction | None = None) -> None:
        self._gaps_s: tuple[float, ...] = (float(1 / rate),) if rate else ()
        self._last_s: float | None = None

    def note(self, captured_s: float) -> None:
        """A frame has come at this time of the monotonic clock."""
        if self._last_s is not None:
            # A new value each time: another thread may be looking at the one before.
            self._gaps_s = (*self._gaps_s, captured_s - self._last_s)[-_GAPS:]
        self._last_s = captured_s

    def away_after_s(self, least_s: float) -> float:
        """Seconds without a frame after which the source is away: three usual gaps, but no less than `least_s`."""
        return max(least_s, _GAPS_AWAY * median(self._gaps_s)) if self._gaps_s else least_s


class LiveClock:
    """Times of a live stream that rise strictly through every reconnect and every jump of the camera's own clock.

    The camera's clock is followed as long as it agrees with ours to a second; after that, or without one, a new start
    is made from the moment the frame arrived.
    """

    __slots__ = ("_begin_s", "_last", "_offset_s")

    def __init__(self) -> None:
        self._begin_s: float | None = None
        self._offset_s: float | None = None
        self._last = -1

    def restart(self) -> None:
        """The next frame comes over a new connection, whose clock has nothing to do with the one before."""
        self._offset_s = None

    def pts(self, camera_s: float | None, arrived_s: float) -> int:
        """Presentation time in ticks of `LIVE_TIME_BASE`, 0 for the first frame.

        camera_s: the frame's own time, if it has one; arrived_s: our monotonic clock. Both in seconds.
        """
        if self._begin_s is None:
            self._begin_s = arrived_s
        now_s = arrived_s - self._begin_s
        if camera_s is not None:
            if self._offset_s is None or abs(camera_s + self._offset_s - now_s) > _APART_S:
                self._offset_s = now_s - camera_s
            now_s = camera_s + self._offset_s
        self._last = max(self._last + 1, round(now_s * TICKS_PER_S))
        return self._last
