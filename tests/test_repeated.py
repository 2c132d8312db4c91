"""Frames shown again until the next one's time."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from stream.estimator import DepthEstimator
from stream.frame import DepthFrame
from stream.sinks.repeated import Repeated
from stream.sources.synthetic import SyntheticSource
from tests.fakes import FakeSession


class Kept:
    """What a sink was told."""

    def __init__(self) -> None:
        self.shown: list[tuple[int, Fraction]] = []
        self.ends: list[str] = []

    def write(self, depth_frame: DepthFrame) -> None:
        frame = depth_frame.frame
        self.shown.append((frame.index, frame.pts * frame.time_base))

    def close(self) -> None:
        self.ends.append("close")

    def abort(self) -> None:
        self.ends.append("abort")


@pytest.mark.parametrize(
    ("rate", "indices"), [(Fraction(20), [0, 0, 1, 1, 2, 2]), (Fraction(25), [0, 0, 0, 1, 1, 2, 2, 2])]
)
def test_each_frame_stays_until_the_next_and_the_last_for_its_period(rate: Fraction, indices: list[int]) -> None:
    kept, estimator = Kept(), DepthEstimator(FakeSession())
    sink = Repeated(kept, rate, Fraction(10))
    for frame in SyntheticSource(48, 64, Fraction(10), 3):
        depth_frame = estimator.step(frame)
        sink.write(depth_frame)
        sink.write(replace(depth_frame, stale=True))
    sink.close()
    assert kept.shown == [(index, number / rate) for number, index in enumerate(indices)]
    assert kept.ends == ["close"]


def test_nothing_is_shown_of_nothing() -> None:
    kept = Kept()
    sink = Repeated(kept, Fraction(20), Fraction(10))
    sink.close()
    sink.abort()
    assert (kept.shown, kept.ends) == ([], ["close", "abort"])
