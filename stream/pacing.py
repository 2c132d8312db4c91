"""When things are due, as functions of times that are passed in: pace of playing, waits between tries, live clocks."""

from __future__ import annotations

from fractions import Fraction
from math import inf
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
_LATEST_S = 10.0
"""How late a frame may come, of a stream that arrives in bursts or was held up on its way."""
_STEER_EVERY_S = 10.0
"""A live clock is compared with ours by the least delayed frame of so many seconds."""
_STEER_GAIN = 0.25
"""Of a difference, made good until the next comparison: that shows in the one after it, and more would swing."""
_STEEREST = 0.005
"""Of each second: the fastest that a live clock is steered. Clocks of cameras are off by a tenth of that at most."""
_BURST_S = 5.0
_FILE_SPEED = 3.0
_LOOK_S = 1.0
_GLANCE_S = 0.25


def wait_before_try_s(failures: int) -> float:
    """How long to wait after so many failures in a row, 1 or more: a quarter of a second, doubling to five."""
    return min(_FIRST_WAIT_S * 2.0 ** min(failures - 1, 16), _LONGEST_WAIT_S)


class Pace:
    """Plays frames at the speed of their own times, from the first one on.

    One that is late is due at once; after more than a second of lateness the clock starts anew, so that the frames
    behind it do not rush. So it does where a frame would have to wait longer than `longest_s`: the times have leapt.
    """

    __slots__ = ("_longest_s", "_start_s")

    def __init__(self, longest_s: float = inf) -> None:
        self._longest_s = longest_s
        self._start_s: float | None = None

    def delay_s(self, time_s: float, now_s: float) -> float:
        """Seconds to wait at `now_s` for a frame of stream time `time_s`; 0 or more."""
        if self._start_s is None or not -_LATE_S <= self._start_s + time_s - now_s <= self._longest_s:
            self._start_s = now_s - time_s
        return max(0.0, self._start_s + time_s - now_s)


def has_end(played_s: float, open_s: float, looked_s: float) -> bool | None:
    """Whether a stream of unknown length is a file, by its pace; None: look on.

    A live stream may begin with what the server has kept, and with what was received while it was opened; after that
    it comes no faster than time goes by.
    played_s: stream time received so far; open_s: since opening began; looked_s: since it was first looked at.
    """
    if played_s > _BURST_S + _FILE_SPEED * open_s:
        return True
    is_behind = played_s < open_s and looked_s > _GLANCE_S
    return False if is_behind or looked_s > _LOOK_S else None


class Rhythm:
    """How far apart a live source's frames are, so that a slow one is not taken for one that has gone.

    rate: what the source says of itself, if anything; it counts until frames tell.
    """

    __slots__ = ("_gaps_s", "_last_s", "has_told")

    def __init__(self, rate: Fraction | None = None) -> None:
        self._gaps_s: tuple[float, ...] = (float(1 / rate),) if rate else ()
        self._last_s: float | None = None
        self.has_told = False
        """Frames have shown how far apart they are; before, there is at most the source's word for it."""

    def note(self, captured_s: float) -> None:
        """A frame has come at this time of the monotonic clock."""
        if self._last_s is not None:
            # A new value each time: another thread may be looking at the one before.
            self._gaps_s = (*self._gaps_s, captured_s - self._last_s)[-_GAPS:]
            self.has_told = True
        self._last_s = captured_s

    def away_after_s(self, least_s: float) -> float:
        """Seconds without a frame after which the source is away: three usual gaps, but no less than `least_s`."""
        return max(least_s, _GAPS_AWAY * median(self._gaps_s)) if self._gaps_s else least_s


class LiveClock:
    """Times of a live stream that rise strictly through every reconnect and every jump of the camera's own clock.

    The camera's clock is followed until it leaps: a second back, a second ahead of ours or ten behind it (a frame may
    be late). After that, or without one, a new start is made from the moment the frame arrived. No two clocks run alike
    (100 ppm are a second in 2.8 hours), so the offset between them is steered, too slowly to be seen. The least delayed
    frames count: the rest is jitter.
    """

    __slots__ = ("_begin_s", "_camera_s", "_compared_s", "_last", "_least_late_s", "_offset_s", "_slope", "_steered_s")

    def __init__(self) -> None:
        self._begin_s: float | None = None
        self._offset_s: float | None = None
        self._camera_s = self._slope = self._steered_s = self._compared_s = 0.0
        self._least_late_s = inf
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
            now_s = camera_s + self._steered(camera_s, now_s)
        self._last = max(self._last + 1, round(now_s * TICKS_PER_S))
        return self._last

    def _steered(self, camera_s: float, now_s: float) -> float:
        """The offset from the camera's clock to ours, in seconds."""
        if self._offset_s is None or self._has_leapt(camera_s, now_s - self._offset_s):
            self._offset_s = now_s - camera_s
            self._slope, self._compared_s, self._least_late_s = 0.0, now_s, inf
        else:
            self._offset_s += self._slope * max(0.0, min(now_s - self._steered_s, _STEER_EVERY_S))
            self._least_late_s = min(self._least_late_s, now_s - camera_s - self._offset_s)
        if now_s - self._compared_s >= _STEER_EVERY_S:
            wished = _STEER_GAIN * self._least_late_s / _STEER_EVERY_S
            self._slope = max(-_STEEREST, min(_STEEREST, wished))
            self._compared_s, self._least_late_s = now_s, inf
        self._steered_s, self._camera_s = now_s, camera_s
        return self._offset_s

    def _has_leapt(self, camera_s: float, due_s: float) -> bool:
        """due_s: what the camera's clock should show."""
        return not due_s - _LATEST_S <= camera_s <= due_s + _APART_S or camera_s < self._camera_s - _APART_S
