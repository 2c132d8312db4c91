"""Figures that stay small."""

from __future__ import annotations

import numpy as np
import pytest

from stream.stats import Durations, StageTimes


def test_quantiles_are_good_to_two_percent() -> None:
    durations = Durations()
    values = np.random.default_rng(0).lognormal(2, 1, 5000)
    for value in values:
        durations.add(float(value))
    for share in (0.5, 0.95, 0.99):
        assert durations.quantile_ms(share) == pytest.approx(np.quantile(values, share), rel=0.03)


def test_extremes_are_counted() -> None:
    durations = Durations()
    for value in (0.0, -1.0, 1e12):
        durations.add(value)
    assert durations.summary("x").count == 3


def test_nothing_gives_zero() -> None:
    assert Durations().quantile_ms(0.5) == 0


def test_stages_come_in_order_of_first_use() -> None:
    times = StageTimes()
    for name in ("b", "a", "b"):
        with times.timed(name):
            pass
    assert [(stage.name, stage.count) for stage in times.summary()] == [("b", 2), ("a", 1)]


def test_a_failed_stage_is_not_counted() -> None:
    times = StageTimes()
    with pytest.raises(OSError), times.timed("a"):
        raise OSError
    assert times.summary() == ()
