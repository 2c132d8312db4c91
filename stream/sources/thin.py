"""Fewer frames than a source has."""

from __future__ import annotations

from fractions import Fraction
from math import floor


class Thinner:
    """Keeps the first frame of each period of `rate`."""

    __slots__ = ("_last", "_slack_s", "_start_s", "rate")

    def __init__(self, rate: Fraction | None, source_rate: Fraction | None) -> None:
        self.rate = rate
        # Times are rounded to the container's clock; without slack a frame may fall short of its own period.
        self._slack_s = 1 / (4 * source_rate) if source_rate else Fraction(0)
        self._start_s: Fraction | None = None
        self._last = -1

    def keeps(self, time_s: Fraction) -> bool:
        """Whether the frame of this time is the first of its period; times rise from call to call."""
        if self.rate is None:
            return True
        if self._start_s is None:
            self._start_s = time_s
        period = floor((time_s - self._start_s + self._slack_s) * self.rate)
        if period <= self._last:
            return False
        self._last = period
        return True
