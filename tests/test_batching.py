"""Streams that share runs: when frames go is a matter of numbers; rows, errors and endings with real threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from engines.errors import EngineError, StepError
from engines.onnx import OnnxSession
from engines.session import Cache, Session, StepPlan
from engines.spec import VDA_WINDOW, WindowRule
from engines.tensorrt import TensorRtSession
from engines.window import FeatureWindow
from stream.batching import BatchedSession, Verdict, decide
from stream.estimator import DepthEstimator
from tests.fake_device import FakeDevice, FakeNetwork
from tests.tiny import tiny_network
from tests.toy_engine import MASKED, spec_of, wanted_map

MS = 1_000_000
FOR_EVER = 3600.0


def test_nothing_waits() -> None:
    assert decide({}, {0: 0}, 5, 3, 10) == Verdict(run=False)


def test_a_lone_stream_waits_for_nobody() -> None:
    assert decide({2: 7}, {2: 7}, 7, 3 * MS, 500 * MS) == Verdict(run=True)


def test_a_frame_waits_for_a_living_stream_until_its_deadline() -> None:
    seen = {0: 10 * MS, 1: 9 * MS}
    assert decide({0: 10 * MS}, seen, 11 * MS, 3 * MS, 500 * MS) == Verdict(run=False, until_ns=13 * MS)
    assert decide({0: 10 * MS}, seen, 13 * MS, 3 * MS, 500 * MS) == Verdict(run=True)


def test_once_all_have_come_they_go() -> None:
    assert decide({0: 10, 1: 11}, {0: 10, 1: 11}, 12, 3 * MS, 500 * MS).run


def test_a_silent_stream_is_not_waited_for() -> None:
    assert decide({0: 600 * MS}, {0: 600 * MS, 1: 0}, 600 * MS, 3 * MS, 500 * MS).run


Times = st.dictionaries(st.integers(0, 7), st.integers(0, 100), max_size=8)


@given(Times, Times, st.integers(100, 200), st.integers(0, 50), st.integers(0, 300))
def test_no_frame_waits_longer_than_it_may(
    since: dict[int, int], others: dict[int, int], now: int, gather: int, idle: int
) -> None:
    verdict = decide(since, others | since, now, gather, idle)
    if since and now - min(since.values()) >= gather:
        assert verdict.run
    if since and not verdict.run:
        assert verdict.until_ns is not None
        assert now < verdict.until_ns <= min(since.values()) + gather
        assert decide(since, others | since, verdict.until_ns, gather, idle).run


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), max_size=40), st.integers(0, 6))
def test_every_frame_of_any_traffic_leaves_in_time_and_in_turn(traffic: list[tuple[int, int]], gather: int) -> None:
    """Frames arrive after pauses; a stream sends its next only when the last is back. Runs take no time."""
    now, since, seen, waits = 0, dict[int, int](), dict.fromkeys(range(4), 0), list[int]()

    def run_until(end: int) -> None:
        nonlocal now
        while since:
            verdict = decide(since, seen, now, gather, 1000)
            if verdict.run:
                waits.extend(now - arrived for arrived in since.values())
                since.clear()
            elif verdict.until_ns is not None and verdict.until_ns <= end:
                now = verdict.until_ns
            else:
                break
        now = max(now, end)

    for row, pause in traffic:
        run_until(now + pause)
        if row not in since:
            since[row] = seen[row] = now
        run_until(now)
    run_until(now + gather)
    assert not since
    assert all(wait <= gather for wait in waits)


@contextmanager
def batched(
    rows: int, rule: WindowRule = MASKED, gather_s: float = FOR_EVER
) -> Iterator[tuple[BatchedSession, FakeDevice]]:
    device = FakeDevice()
    with (
        TensorRtSession(FakeNetwork(spec_of(rule), device), spec_of(rule), device) as session,
        BatchedSession(session, rows, gather_s, idle_s=FOR_EVER) as shared,
    ):
        yield shared, device


def play(session: BatchedSession, rule: WindowRule, frames: int, first: int) -> list[float]:
    """Maps of a stream; each must be one number everywhere."""
    window, maps = FeatureWindow(rule), []
    with session.new_cache() as cache:
        for t in range(frames):
            cache.image[0] = first + t
            depth = session.step(cache, [window.plan()])
            assert depth.shape == (1, 14, 28)
            assert (depth == depth[0, 0, 0]).all()
            maps.append(float(depth[0, 0, 0]))
    return maps


@pytest.mark.parametrize("rule", [VDA_WINDOW, MASKED], ids=["repeat", "mask"])
def test_streams_of_different_length_each_get_their_own_maps(rule: WindowRule) -> None:
    """They gather for an hour: it ends only because each goes once all that live have come, and leaves when done."""
    lengths, firsts = (50, 20, 35), (100, 400, 700)
    with batched(3, rule) as (session, _), ThreadPoolExecutor(3) as pool:
        played = [pool.submit(play, session, rule, n, first) for n, first in zip(lengths, firsts, strict=True)]
        for n, first, maps in zip(lengths, firsts, played, strict=True):
            assert maps.result(60) == [wanted_map(rule, t, first) for t in range(n)]
        assert session.streams == 0


def test_frames_that_wait_together_share_a_run() -> None:
    with batched(3) as (session, device), ThreadPoolExecutor(3) as pool:
        caches = [session.new_cache() for _ in range(3)]
        device.calls()
        plans = [FeatureWindow(MASKED).plan() for _ in caches]
        maps = [pool.submit(session.step, cache, [plan]) for cache, plan in zip(caches, plans, strict=True)]
        assert [depth.result(60).shape for depth in maps] == [(1, 14, 28)] * 3
        assert device.calls().count("copy_in") == 1


def test_a_row_is_wiped_for_its_next_stream() -> None:
    with batched(1) as (session, _):
        assert play(session, MASKED, 10, 100)[0] == wanted_map(MASKED, 0, 100)
        assert play(session, MASKED, 10, 500) == [wanted_map(MASKED, t, 500) for t in range(10)]


def test_more_streams_than_rows_is_one_clear_error() -> None:
    with batched(2) as (session, _):
        held = [session.new_cache(), session.new_cache()]
        with pytest.raises(EngineError, match="all 2 rows of this session are taken"):
            session.new_cache()
        held[0].close()
        held[0].close()
        assert session.streams == 1
        assert session.new_cache().row in (0, 1)


def test_the_map_is_the_callers_own() -> None:
    with batched(1) as (session, _):
        cache, window = session.new_cache(), FeatureWindow(MASKED)
        cache.image[0] = 100
        first = session.step(cache, [window.plan()])
        kept = first.copy()
        cache.image[0] = 200
        session.step(cache, [window.plan()])
        assert np.array_equal(first, kept)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda _: [], "got 0 plans"),
        (lambda _: [None], "got 1 plans"),
        (lambda plan: [plan, plan], "got 2 plans"),
        (lambda plan: [replace(plan, positions=plan.positions[:-1])], "has 7 slots, the plan is for 6"),
        (lambda plan: [replace(plan, write=(7,))], r"slots are 0 to 6, the plan writes \(7,\)"),
    ],
)
def test_a_wrong_plan_fails_alone(change: Callable[[StepPlan], list[StepPlan | None]], message: str) -> None:
    with batched(2) as (session, _), ThreadPoolExecutor(1) as pool:
        good, bad = session.new_cache(), session.new_cache()
        good.image[0] = 100
        other = pool.submit(session.step, good, [FeatureWindow(MASKED).plan()])
        with pytest.raises(ValueError, match=message):
            session.step(bad, change(FeatureWindow(MASKED).plan()))
        bad.close()
        assert (other.result(60) == wanted_map(MASKED, 0, 100)).all()


def test_streams_are_told_when_the_thread_that_runs_them_has_ended() -> None:
    """Nobody may wait for a run that never comes."""

    def clock() -> int:
        if armed.is_set() and threading.current_thread().name == "batching":
            raise OverflowError("the clock has run over")
        return 0

    armed, device = threading.Event(), FakeDevice()
    with (
        TensorRtSession(FakeNetwork(spec_of(MASKED), device), spec_of(MASKED), device) as session,
        BatchedSession(session, 2, clock=clock) as shared,
    ):
        cache, plan = shared.new_cache(), FeatureWindow(MASKED).plan()
        armed.set()
        for expected in (OverflowError, EngineError):
            with ThreadPoolExecutor(1) as pool, pytest.raises(expected):
                pool.submit(shared.step, cache, [plan]).result(30)


def test_a_failed_run_reaches_those_who_shared_it_and_they_can_start_again() -> None:
    with batched(2) as (session, device), ThreadPoolExecutor(2) as pool:
        caches = [session.new_cache(), session.new_cache()]
        device.failing = "replay"
        runs = [pool.submit(session.step, cache, [FeatureWindow(MASKED).plan()]) for cache in caches]
        for run in runs:
            with pytest.raises(StepError, match=r"in a run shared by streams: .* replay failed"):
                run.result(60)
        device.failing = None
        for cache in caches:
            cache.clear()
        first = pool.submit(session.step, caches[0], [FeatureWindow(MASKED).plan()])
        caches[1].image[0] = 300
        assert (session.step(caches[1], [FeatureWindow(MASKED).plan()]) == wanted_map(MASKED, 0, 300)).all()
        assert first.result(60).shape == (1, 14, 28)


def test_one_stream_in_two_threads_is_the_callers_error() -> None:
    with batched(2) as (session, _), ThreadPoolExecutor(1) as pool:
        cache, idle = session.new_cache(), session.new_cache()
        taken = threading.Event()

        def step() -> NDArray[np.float32]:
            taken.set()
            return session.step(cache, [FeatureWindow(MASKED).plan()])

        waiting = pool.submit(step)
        taken.wait()
        while not session._waiting:
            pass
        with pytest.raises(ValueError, match="a stream steps from one thread"):
            session.step(cache, [FeatureWindow(MASKED).plan()])
        idle.close()
        assert waiting.result(60).shape == (1, 14, 28)


@pytest.mark.parametrize("part", ["decide", "map"])
def test_an_error_of_the_thread_itself_reaches_those_who_wait(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody may wait for a thread that has ended; nor for a map that the network did not give."""

    def failing(*_: object) -> Verdict:
        raise MemoryError("a fault")

    with batched(1) as (session, _):
        if part == "decide":
            monkeypatch.setattr("stream.batching.decide", failing)
        else:
            monkeypatch.setattr(session._session, "step", lambda *_: None)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(session.step, session.new_cache(), [FeatureWindow(MASKED).plan()])
            with pytest.raises((MemoryError, TypeError)):
                waiting.result(60)


def test_closing_ends_what_waits() -> None:
    with batched(2) as (session, _), ThreadPoolExecutor(1) as pool:
        cache, _other = session.new_cache(), session.new_cache()
        waiting = pool.submit(session.step, cache, [FeatureWindow(MASKED).plan()])
        while not session._waiting:
            pass
        session.close()
        with pytest.raises(EngineError, match="closed while a frame waited"):
            waiting.result(60)
        with pytest.raises(EngineError, match="session of Toy is closed"):
            session.step(cache, [FeatureWindow(MASKED).plan()])


def test_a_closed_stream_is_refused_and_its_waiting_frame_fails() -> None:
    with batched(2) as (session, _), ThreadPoolExecutor(1) as pool:
        cache, other = session.new_cache(), session.new_cache()
        waiting = pool.submit(session.step, cache, [FeatureWindow(MASKED).plan()])
        while not session._waiting:
            pass
        cache.close()
        with pytest.raises(EngineError, match="closed while its frame waited"):
            waiting.result(60)
        with pytest.raises(EngineError, match="memory is closed"):
            session.step(cache, [FeatureWindow(MASKED).plan()])
        other.image[0] = 100
        assert (session.step(other, [FeatureWindow(MASKED).plan()]) == wanted_map(MASKED, 0, 100)).all()


def test_settings_are_checked() -> None:
    device = FakeDevice()
    with TensorRtSession(FakeNetwork(spec_of(), device), spec_of(), device) as session:
        for rows, gather_s in ((0, 0.0), (1, -1.0)):
            with pytest.raises(ValueError, match="rows from 1, times from 0"):
                BatchedSession(session, rows, gather_s)


def test_a_row_is_for_one_stream() -> None:
    with batched(1) as (session, _):
        cache: Cache = session.new_cache()
        assert cache.image.shape == (1, 3, 14, 28)
        with pytest.raises(ValueError, match="a stream has one row, asked for 2"):
            session.new_cache(2)


def test_estimators_need_not_know_that_they_share_runs(tmp_path: Path) -> None:
    pictures = np.random.default_rng(0).integers(0, 255, (2, 8, 64, 96, 3), np.uint8)

    def depths(session: Session, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        estimator = DepthEstimator(session, scene_cut=False)
        return np.stack([estimator.step_array(frame).depth for frame in frames])

    with OnnxSession(tiny_network(tmp_path), (64, 96), threads=1) as session:
        alone = [depths(session, frames) for frames in pictures]
        with BatchedSession(session, 2, gather_s=FOR_EVER, idle_s=FOR_EVER) as shared, ThreadPoolExecutor(2) as pool:
            together = [pool.submit(depths, shared, frames) for frames in pictures]
            for wanted, got in zip(alone, together, strict=True):
                np.testing.assert_allclose(got.result(60), wanted, rtol=1e-5)
