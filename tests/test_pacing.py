"""Pace, waits and live clocks, with numbers."""

from __future__ import annotations

import random
import threading
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest

from stream.pacing import TICKS_PER_S, LiveClock, Pace, Rhythm, has_end, wait_before_try_s
from stream.sources.choose import open_source
from stream.sources.limited import Limited
from stream.sources.paced import Looped, Paced
from stream.sources.synthetic import SyntheticSource
from stream.uris import parse_source
from tests.fakes import ListSource, clip
from tests.tiny import make_clip


def test_waits_double_up_to_five_seconds() -> None:
    waits = [wait_before_try_s(failures) for failures in (1, 2, 3, 4, 5, 6, 7, 10_000)]
    assert waits == [0.25, 0.5, 1, 2, 4, 5, 5, 5]


def test_pace_follows_the_frames_own_times() -> None:
    pace = Pace()
    assert pace.delay_s(10.0, 100.0) == 0
    assert pace.delay_s(10.5, 100.1) == pytest.approx(0.4)
    assert pace.delay_s(10.6, 100.9) == 0


def test_pace_starts_anew_after_a_second_of_lateness() -> None:
    pace = Pace()
    pace.delay_s(0.0, 0.0)
    assert pace.delay_s(0.1, 5.0) == 0
    assert pace.delay_s(0.2, 5.0) == pytest.approx(0.1)


def ticks(seconds: float) -> int:
    return round(seconds * TICKS_PER_S)


def test_a_live_clock_follows_the_camera_not_the_network() -> None:
    clock = LiveClock()
    assert clock.pts(7.0, 100.0) == 0
    assert clock.pts(7.1, 100.3) == ticks(0.1)
    assert clock.pts(7.2, 100.2) == ticks(0.2)


@pytest.mark.parametrize("camera_s", [0.0, 5000.0])
def test_a_jump_of_the_camera_clock_does_not_reach_the_stream(camera_s: float) -> None:
    clock = LiveClock()
    clock.pts(1000.0, 50.0)
    clock.pts(1000.1, 50.1)
    assert clock.pts(camera_s, 50.2) == ticks(0.2)
    assert clock.pts(camera_s + 0.1, 50.3) == pytest.approx(ticks(0.3), abs=1)


def test_a_small_jump_back_still_rises() -> None:
    clock = LiveClock()
    clock.pts(10.0, 0.0)
    last = clock.pts(10.5, 0.5)
    assert clock.pts(10.2, 0.6) == last + 1


def test_a_new_connection_goes_on_where_the_time_is() -> None:
    clock = LiveClock()
    clock.pts(10.0, 0.0)
    clock.restart()
    assert clock.pts(10.1, 4.0) == ticks(4)


def test_frames_without_a_time_take_the_moment_they_came() -> None:
    clock = LiveClock()
    assert [clock.pts(None, 1 + 0.1 * n) for n in range(3)] == [0, ticks(0.1), ticks(0.2)]


HOUR_S = 3600


@pytest.mark.parametrize("ppm", [100, -100, 500, -500])
def test_a_clock_that_runs_otherwise_than_ours_is_steered_without_a_leap(ppm: int) -> None:
    """Two days at a frame a second, each up to 0.2 s late: 100 ppm are off by a second every 2.8 hours."""
    clock, jitter, camera_s, gaps = LiveClock(), random.Random(1), 7.0, set[int]()
    last, delays_s = 0, []
    for number in range(48 * HOUR_S):
        late_s = 0.2 * jitter.random() if number else 0.0
        pts = clock.pts(camera_s, 50 + number + late_s)
        delays_s.append(pts / TICKS_PER_S - number)
        gaps.add(pts - last)
        last, camera_s = pts, camera_s + (1 + ppm / 1e6)
    gaps.discard(0)  # Of the first frame.
    # The camera's own steps, but for what is steered: half a per cent at most, once; later as much as it drifts.
    assert min(gaps) >= ticks(0.994)
    assert max(gaps) <= ticks(1.006)
    assert max(map(abs, delays_s)) < 0.1


@pytest.mark.parametrize("burst_s", [2, 6])
def test_what_comes_in_bursts_keeps_the_times_of_its_camera(burst_s: int) -> None:
    """A server that sends a fragment at a time: its first frame is late by the fragment's length, its last is not."""
    clock = LiveClock()
    times = [clock.pts(n / 5, 50 + burst_s * (n // (5 * burst_s) + 1)) for n in range(5 * 600)]
    steps = [b - a for a, b in pairwise(times[10 * burst_s :])]
    # Half a per cent of the time between two bursts, all at once, is what is steered.
    assert ticks(0.2 - 0.006 * burst_s) <= min(steps) <= max(steps) <= ticks(0.202)


def test_a_leap_is_mended_at_once_also_after_a_day_of_drift() -> None:
    clock, camera_s = LiveClock(), 0.0
    for number in range(24 * HOUR_S):
        clock.pts(camera_s, float(number))
        camera_s += 1.0001
    before = clock.pts(camera_s, 24 * HOUR_S)
    assert clock.pts(camera_s + 5000, 24 * HOUR_S + 1) - before == pytest.approx(ticks(1), abs=ticks(0.01))
    assert clock.pts(camera_s + 5001, 24 * HOUR_S + 2) - before == pytest.approx(ticks(2), abs=ticks(0.01))
    assert clock.pts(3.0, 24 * HOUR_S + 3) - before == pytest.approx(ticks(3), abs=ticks(0.01))


def test_a_first_frame_that_came_late_is_no_delay_for_ever() -> None:
    clock = LiveClock()
    pts = [clock.pts(float(n), n + (0.8 if n == 0 else 0.0)) for n in range(1200)]
    assert all(a < b for a, b in pairwise(pts))
    # Ours counts from the moment when the first one came.
    assert pts[-1] / TICKS_PER_S - (1199 - 0.8) == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize(
    ("played_s", "open_s", "looked_s", "verdict"),
    [
        (0.04, 0.3, 0.0, None),  # one packet tells nothing
        (30.0, 0.4, 0.1, True),  # a file comes as fast as it can
        (8.0, 4.0, 0.3, None),  # what was kept by the server and received while opening comes at once
        (8.5, 4.5, 1.1, False),  # and no more than that
        (2.5, 2.8, 0.3, False),
        (9.0, 1.3, 1.0, True),  # a file over a line of seven times its rate
    ],
)
def test_a_stream_of_unknown_length_is_known_by_its_pace(
    played_s: float, open_s: float, looked_s: float, verdict: bool | None
) -> None:
    assert has_end(played_s, open_s, looked_s) is verdict


def test_pace_starts_anew_where_the_times_leap() -> None:
    pace = Pace(longest_s=30)
    pace.delay_s(10.0, 100.0)
    assert pace.delay_s(20.0, 100.0) == pytest.approx(10)
    assert pace.delay_s(9000.0, 110.0) == 0
    assert pace.delay_s(9000.5, 110.0) == pytest.approx(0.5)
    assert pace.delay_s(3.0, 110.5) == 0


class Time:
    """A clock that waiting moves."""

    def __init__(self) -> None:
        self.now = 5.0
        self.waits: list[float] = []

    def wait(self, _closing: threading.Event, seconds: float) -> None:
        self.waits.append(round(seconds, 6))
        self.now += seconds


def test_a_paced_source_is_live_and_waits_for_each_frame() -> None:
    time = Time()
    source = Paced(ListSource(clip(4)), lambda: time.now, time.wait)
    frames = list(source)
    assert source.info.live
    assert time.waits == [0, *[pytest.approx(1 / 30, abs=1e-5)] * 3]
    assert [frame.captured_ns for frame in frames] == [round(1e9 * (5 + n / 30)) for n in range(4)]


@pytest.mark.parametrize(("pace", "live"), [("", True), ("&realtime=0", False)])
def test_the_scene_is_as_its_address_says(pace: str, live: bool) -> None:
    with open_source(parse_source(f"test:?size=64x48&rate=120&frames=3{pace}")) as source:
        info = source.info
        assert (info.width, info.height, info.rate, info.live) == (64, 48, Fraction(120), live)
        assert [frame.pts * frame.time_base for frame in source] == [0, Fraction(1, 120), Fraction(2, 120)]


def test_a_paced_source_ends_when_it_is_closed() -> None:
    source = Paced(SyntheticSource(24, 32))
    frames = iter(source)
    next(frames)
    source.close()
    assert next(frames, None) is None


def test_a_looped_file_goes_on_for_ever_with_rising_times(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mp4", frames=4, rate=24)
    with Limited(Looped(path), max_frames=10) as source:
        frames = list(source)
        assert source.info.frames == 10
    times = [frame.pts * frame.time_base for frame in frames]
    assert times == [Fraction(n, 24) for n in range(10)]
    assert [frame.index for frame in frames] == list(range(10))


def test_a_limited_source_is_thinned() -> None:
    source = Limited(SyntheticSource(24, 32, Fraction(30)), 5, Fraction(10))
    assert [frame.pts for frame in source] == [0, 3, 6, 9, 12]
    assert source.info.rate == 10


def test_a_slow_source_is_given_three_of_its_own_gaps() -> None:
    rhythm = Rhythm()
    assert rhythm.away_after_s(1.5) == 1.5
    for second in range(3):
        rhythm.note(float(second))
    assert rhythm.away_after_s(1.5) == 3.0
    assert rhythm.away_after_s(5) == 5


def test_what_a_source_says_of_its_rate_counts_until_frames_tell() -> None:
    rhythm = Rhythm(Fraction(1, 2))
    assert rhythm.away_after_s(1.5) == 6.0
    for tick in range(8):
        rhythm.note(tick / 30)
    assert rhythm.away_after_s(1.5) == 1.5


def test_one_long_absence_does_not_make_a_source_slow() -> None:
    rhythm = Rhythm()
    times = [tick / 30 for tick in range(5)] + [60 + tick / 30 for tick in range(3)]
    for time_s in times:
        rhythm.note(time_s)
    assert rhythm.away_after_s(1.5) == 1.5
