"""Runs: order, back-pressure, failures of every worker, and a graceful stop."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise, takewhile
from pathlib import Path

import pytest

from engines.errors import StepError
from stream import pipeline
from stream.controls import Controls, steered
from stream.errors import CutRecordingError, SinkError, SourceError
from stream.estimator import DepthEstimator
from stream.frame import DepthFrame, Frame
from stream.offline import offline
from stream.pipeline import OverFrames, run
from stream.sinks import NullSink, Sink
from stream.sources import SourceInfo
from stream.sources.synthetic import SyntheticSource
from stream.stats import Stats
from tests.fakes import FakeSession, FakeWindowSession, ListSink, ListSource, clip

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def no_thread_stays() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


def step() -> DepthEstimator:
    return DepthEstimator(FakeSession())


def indices(sink: ListSink) -> list[int]:
    return [one.frame.index for one in sink.taken]


def test_every_frame_reaches_every_sink_in_order() -> None:
    sinks: list[Sink] = [ListSink(), ListSink(), NullSink()]
    estimator = step()
    stats = run(ListSource(clip(40)), estimator.step, sinks, timings=estimator.timings)
    for sink in sinks[:2]:
        assert isinstance(sink, ListSink)
        assert indices(sink) == list(range(40))
        assert sink.closed
        assert not sink.aborted
    assert (stats.frames_in, stats.frames_out, stats.dropped, stats.resets) == (40, 40, 0, 1)
    assert {stage.name for stage in stats.stages} == {
        "capture", "preprocess", "infer", "postprocess", "list", "list 2", "null",
    }  # fmt: skip
    assert [age.count for age in stats.ages] == [40, 40, 40]
    assert stats.fps > 0


def test_offline_fits_too() -> None:
    sink = ListSink()
    run(ListSource(clip(50)), OverFrames(lambda frames: offline(frames, FakeWindowSession())), [sink])
    assert indices(sink) == list(range(50))


def test_a_run_without_sinks_only_counts() -> None:
    assert run(SyntheticSource(24, 32, frames=5), step().step, []).frames_out == 5


def test_progress_is_told_at_the_end() -> None:
    told: list[Stats] = []
    stats = run(ListSource(clip(5)), step().step, [NullSink()], progress=told.append)
    assert told[-1] == stats


def test_an_error_of_the_source_aborts_the_sinks() -> None:
    sinks = [ListSink(), ListSink()]
    with pytest.raises(SourceError, match="unplugged"):
        run(ListSource(clip(5), error=SourceError("unplugged")), step().step, sinks)
    assert all(sink.aborted and not sink.closed for sink in sinks)


@pytest.mark.parametrize("fail_at", [0, 3])
def test_an_error_of_the_estimate_aborts_the_sinks(fail_at: int) -> None:
    sink = ListSink()
    estimator = DepthEstimator(FakeSession(fail_at=fail_at))
    with pytest.raises(StepError):
        run(SyntheticSource(24, 32), estimator.step, [sink])
    assert sink.aborted


def test_an_error_of_one_sink_ends_an_endless_run_and_aborts_all() -> None:
    full = SinkError("disk full")
    sinks = [ListSink(), ListSink(fail_at=4, error=full)]
    with pytest.raises(SinkError) as caught:
        run(SyntheticSource(24, 32), step().step, sinks)
    assert caught.value is full
    assert all(sink.aborted and not sink.closed for sink in sinks)


def test_an_error_while_closing_aborts_the_sinks_not_yet_closed() -> None:
    sinks = [ListSink(), ListSink(close_error=SinkError("disk full")), ListSink()]
    with pytest.raises(SinkError, match="disk full"):
        run(ListSource(clip(3)), step().step, sinks)
    assert [sink.closed for sink in sinks] == [True, False, False]
    assert [sink.aborted for sink in sinks] == [False, True, True]


def test_a_recording_that_a_full_disk_ends_is_kept_and_the_others_are_finished() -> None:
    full = CutRecordingError("cannot write a.mkv: the disk is full", "a.part.mkv")
    sinks = [ListSink(), ListSink(fail_at=3, error=full, close_error=full)]
    with pytest.raises(CutRecordingError, match=r"until then is in a\.part\.mkv"):
        run(ListSource(clip(12)), DepthEstimator(FakeSession()).step, sinks)
    assert [(sink.closed, sink.aborted) for sink in sinks] == [(True, False), (False, True)]


def test_an_interrupt_in_the_calling_thread_aborts() -> None:
    def interrupted(_: Frame) -> DepthFrame:
        raise KeyboardInterrupt

    sink = ListSink()
    with pytest.raises(KeyboardInterrupt):
        run(SyntheticSource(24, 32), interrupted, [sink])
    assert sink.aborted


def test_stop_finishes_what_is_in_flight() -> None:
    stop, sink, estimator = threading.Event(), ListSink(), step()

    def stepped(frame: Frame) -> DepthFrame:
        if frame.index == 7:
            stop.set()
        return estimator.step(frame)

    stats = run(SyntheticSource(24, 32), stepped, [sink], stop=stop)
    assert sink.closed
    assert indices(sink) == list(range(stats.frames_in))
    assert 8 <= stats.frames_in <= 11


def test_stop_before_the_start_writes_nothing() -> None:
    stop, sink = threading.Event(), ListSink()
    stop.set()
    assert run(SyntheticSource(24, 32), step().step, [sink], stop=stop).frames_out == 0
    assert sink.closed


def test_stop_in_offline_mode_writes_all_that_was_taken() -> None:
    stop, sink = threading.Event(), ListSink()

    def stopping(frames: Iterable[Frame]) -> Iterator[DepthFrame]:
        for one in offline(frames, FakeWindowSession()):
            stop.set()
            yield one

    stats = run(SyntheticSource(24, 32), OverFrames(stopping), [sink], stop=stop)
    assert indices(sink) == list(range(stats.frames_in))


def test_live_frames_are_dropped_when_the_estimate_is_slow() -> None:
    captured, sink, estimator = threading.Event(), ListSink(), step()
    frames = clip(30)

    class Live(ListSource):
        def __iter__(self) -> Iterator[Frame]:
            yield from super().__iter__()
            captured.set()

    def waits_for_capture(frame: Frame) -> DepthFrame:
        captured.wait(10)
        return estimator.step(frame)

    stats = run(Live(frames, live=True), waits_for_capture, [sink])
    assert stats.frames_in == 30
    assert stats.dropped >= 28
    assert indices(sink)[-1] == 29


class Away(ListSource):
    """A live source that has gone after its last frame: it sends nothing more, and does not end until it is closed."""

    def __init__(self, frames: Sequence[Frame], live: bool = True) -> None:
        super().__init__(frames, live)
        self.left = threading.Event()

    def __iter__(self) -> Iterator[Frame]:
        yield from super().__iter__()
        self.left.wait(30)

    def close(self) -> None:
        super().close()
        self.left.set()


class FailsOn(ListSink):
    """Fails at the first held map, or at the first frame."""

    def __init__(self, stale: bool) -> None:
        super().__init__()
        self._stale = stale

    def write(self, depth_frame: DepthFrame) -> None:
        if depth_frame.stale is self._stale:
            raise SinkError("disk full")
        super().write(depth_frame)


@pytest.mark.parametrize("stale", [True, False])
def test_a_sink_that_fails_while_the_camera_is_away_ends_the_run(stale: bool) -> None:
    source, sinks = Away(clip(2)), [ListSink(), FailsOn(stale)]
    with pytest.raises(SinkError, match="disk full"):
        run(source, step().step, sinks, stale_after_s=0.01)
    assert source.closed
    assert all(sink.aborted and not sink.closed for sink in sinks)


@pytest.mark.parametrize("error", [ZeroDivisionError(), KeyboardInterrupt()])
def test_whoever_is_told_the_figures_may_fail_while_the_camera_is_away(error: BaseException) -> None:
    def told(stats: Stats) -> None:
        if stats.held:
            raise error

    source, sink = Away(clip(2)), ListSink()
    with pytest.raises(type(error)):
        run(source, step().step, [sink], progress=told, stale_after_s=0.01)
    assert source.closed
    assert sink.aborted


def test_a_sink_that_fails_in_a_pause_ends_the_run() -> None:
    controls, source = Controls(), Away(clip(1))

    class Pausing(FailsOn):
        def write(self, depth_frame: DepthFrame) -> None:
            controls.paused = True
            super().write(depth_frame)

    with pytest.raises(SinkError):
        run(source, step().step, [Pausing(stale=True)], stale_after_s=0.01, controls=controls)
    assert source.closed


def test_an_estimate_that_fails_leaves_its_camera() -> None:
    def fails(_: Frame) -> DepthFrame:
        raise ZeroDivisionError

    source = Away(clip(1))
    with pytest.raises(ZeroDivisionError):
        run(source, fails, [ListSink()])
    assert source.closed


def test_an_interrupt_while_the_sinks_finish_undoes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second Ctrl-C comes when a sink takes long with its last frame."""
    writing, released = threading.Event(), threading.Event()

    class Slow(ListSink):
        def write(self, depth_frame: DepthFrame) -> None:
            writing.set()
            released.wait(30)
            super().write(depth_frame)

    wait_for = pipeline._Run._wait_for
    calls: list[int] = []

    def interrupted(self: pipeline._Run, workers: Sequence[threading.Thread]) -> None:
        calls.append(1)
        if len(calls) == 1:
            assert writing.wait(30)
            raise KeyboardInterrupt
        released.set()
        wait_for(self, workers)

    monkeypatch.setattr(pipeline._Run, "_wait_for", interrupted)
    sink = Slow()
    with pytest.raises(KeyboardInterrupt):
        run(ListSource(clip(1)), step().step, [sink])
    assert (sink.closed, sink.aborted, len(calls)) == (False, True, 2)


def test_a_sink_that_hangs_is_left_behind_when_another_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "_LEAVE_S", 0.05)
    writing, released = threading.Event(), threading.Event()

    class Hanging(ListSink):
        def write(self, _: DepthFrame) -> None:
            writing.set()
            released.wait(30)

    class Fails(ListSink):
        def write(self, _: DepthFrame) -> None:
            assert writing.wait(30)
            raise SinkError("disk full")

    hanging, fails = Hanging(), Fails()
    with pytest.raises(SinkError, match="disk full"):
        run(Away(clip(1)), step().step, [hanging, fails])
    assert fails.aborted
    assert not hanging.aborted, "another thread is still writing it"
    (writer,) = [one for one in threading.enumerate() if one.name == Hanging.kind]
    assert writer.daemon
    released.set()
    writer.join()


def test_stop_ends_a_run_whose_file_waits_for_its_writer() -> None:
    source, stop = Away(clip(3), live=False), threading.Event()

    class Stopping(ListSink):
        def write(self, depth_frame: DepthFrame) -> None:
            super().write(depth_frame)
            if depth_frame.frame.index == 2:
                stop.set()

    sink = Stopping()
    stats = run(source, step().step, [sink], stop=stop)
    assert (stats.frames_out, indices(sink), sink.closed) == (3, [0, 1, 2], True)
    assert "capture" not in [one.name for one in threading.enumerate()]


def test_a_sink_that_cannot_be_undone_keeps_no_other_from_it(caplog: pytest.LogCaptureFixture) -> None:
    class Stuck(ListSink):
        def abort(self) -> None:
            raise OSError("read-only file system")

    last = ListSink()
    with pytest.raises(SinkError, match="disk full"):
        run(ListSource(clip(3)), step().step, [ListSink(fail_at=0, error=SinkError("disk full")), Stuck(), last])
    assert last.aborted
    assert "read-only file system" in caplog.text


def test_a_limited_live_run_gives_every_sink_exactly_so_many_frames() -> None:
    """The source is faster than the estimate, and one sink is behind: it loses some of what the other one gets."""
    left, ahead = threading.Event(), threading.Event()

    class Quick(ListSink):
        def write(self, depth_frame: DepthFrame) -> None:
            super().write(depth_frame)
            if len(self.taken) == 10:
                ahead.set()

    class Behind(ListSink):
        def write(self, depth_frame: DepthFrame) -> None:
            assert ahead.wait(30)
            super().write(depth_frame)

    class Live(SyntheticSource):
        @property
        def info(self) -> SourceInfo:
            return replace(super().info, live=True)

        def __iter__(self) -> Iterator[Frame]:
            return takewhile(lambda _: not left.is_set(), super().__iter__())

        def close(self) -> None:
            left.set()

    quick, behind = Quick(), Behind()
    stats = run(Live(24, 32), step().step, [quick, behind], max_frames=30)
    assert (len(quick.taken), len(behind.taken)) == (30, 30)
    assert stats.sinks[1].dropped >= 5
    assert left.is_set()


def test_a_limited_run_without_sinks_ends() -> None:
    assert run(SyntheticSource(24, 32), step().step, [], max_frames=7).frames_out == 7


def test_held_maps_do_not_count_towards_the_limit() -> None:
    held = threading.Event()

    class Late(ListSource):
        def __iter__(self) -> Iterator[Frame]:
            frames = super().__iter__()
            yield next(frames)
            assert held.wait(30)
            for frame in frames:
                yield frame
                seen.acquire(timeout=30)

        def close(self) -> None:
            seen.release()

    class Seen(ListSink):
        def write(self, depth_frame: DepthFrame) -> None:
            super().write(depth_frame)
            if depth_frame.stale:
                held.set()
            else:
                seen.release()

    seen, sink = threading.Semaphore(0), Seen()
    run(Late(clip(9), live=True), step().step, [sink], stale_after_s=0.01, max_frames=5)
    assert sum(not one.stale for one in sink.taken) == 5
    assert any(one.stale for one in sink.taken)


class Stepwise(ListSource):
    """A live source whose next frame comes when the one before has been looked at."""

    def __init__(self, frames: Sequence[Frame]) -> None:
        super().__init__(frames, live=True)
        self.seen = threading.Event()

    def __iter__(self) -> Iterator[Frame]:
        for one in super().__iter__():
            self.seen.clear()
            yield one
            self.seen.wait(10)


@pytest.mark.parametrize(("broken", "is_survived"), [([3, 4, 5, 6], True), ([3, 4, 5, 6, 7], False)])
def test_a_live_run_outlives_an_engine_that_stumbles(broken: list[int], is_survived: bool) -> None:
    source, sink, estimator = Stepwise(clip(12)), ListSink(), step()

    def stepped(frame: Frame) -> DepthFrame:
        source.seen.set()
        if frame.index in broken:
            estimator.reset()
            raise StepError("the engine stumbled")
        return estimator.step(frame)

    if not is_survived:
        with pytest.raises(StepError):
            run(source, stepped, [sink])
        return
    stats = run(source, stepped, [sink])
    assert (stats.failures, stats.resets, stats.frames_out) == (4, 2, 8)


def test_a_paused_run_holds_its_last_map_and_goes_on_with_the_newest_frame() -> None:
    controls, go, held, estimator = Controls(), threading.Event(), threading.Event(), step()

    class Pausing(ListSource):
        def __iter__(self) -> Iterator[Frame]:
            frames = super().__iter__()
            yield next(frames)
            assert go.wait(10)
            yield from (next(frames) for _ in range(5))
            assert held.wait(10)
            controls.paused = False
            yield from frames

    class Seen(ListSink):
        def write(self, depth_frame: DepthFrame) -> None:
            super().write(depth_frame)
            controls.paused = controls.paused or not go.is_set()
            go.set()
            if depth_frame.stale:
                held.set()

    sink = Seen()
    stats = run(Pausing(clip(8), live=True), estimator.step, [sink], stale_after_s=0.01, controls=controls)
    fresh = [one.frame.index for one in sink.taken if not one.stale]
    assert fresh[0] == 0
    assert fresh[-1] == 7
    assert not {1, 2, 3, 4, 5}.intersection(fresh)
    assert stats.held >= 1
    assert {one.frame.index for one in sink.taken if one.stale} == {0}


def test_times_rise_also_where_a_source_that_is_back_is_behind_what_was_held() -> None:
    held = threading.Event()

    class Behind(ListSource):
        def __iter__(self) -> Iterator[Frame]:
            frames = super().__iter__()
            first = next(frames)
            yield first
            assert held.wait(10)
            for tick, frame in enumerate(frames, 1):
                yield replace(frame, pts=first.pts + tick)

    class Seen(ListSink):
        def write(self, depth_frame: DepthFrame) -> None:
            super().write(depth_frame)
            if depth_frame.stale:
                held.set()

    sink, estimator = Seen(), step()
    fine = [replace(frame, pts=0, time_base=Fraction(1, 90_000)) for frame in clip(4)]
    run(Behind(fine, live=True), estimator.step, [sink], stale_after_s=0.01)
    assert sink.taken[-1].frame.index == 3
    assert all(a.frame.pts < b.frame.pts for a, b in pairwise(sink.taken))


def test_a_reset_that_was_wished_for_comes_with_the_next_frame() -> None:
    controls, sink = Controls(), ListSink()
    steered_step = steered(step(), controls)

    def stepped(frame: Frame) -> DepthFrame:
        if frame.index == 3:
            controls.reset()
        return steered_step(frame)

    assert run(ListSource(clip(6)), stepped, [sink]).resets == 2
    assert [one.frame.index for one in sink.taken if one.reset] == [0, 3]


def test_a_slow_sink_slows_a_file_down_but_loses_nothing() -> None:
    go = threading.Event()

    class Slow(ListSink):
        def write(self, depth_frame: DepthFrame) -> None:
            go.wait(10)
            super().write(depth_frame)

    slow, quick = Slow(), ListSink()
    threading.Timer(0.05, go.set).start()
    stats = run(ListSource(clip(30)), step().step, [slow, quick])
    assert indices(slow) == indices(quick) == list(range(30))
    assert stats.sink_dropped == 0


@pytest.mark.slow
def test_memory_of_a_long_run_does_not_grow(tmp_path: Path) -> None:
    """From minute to minute of stream time, encoders, queues and statistics included."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.long_run", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    resident = [float(line) for line in done.stdout.splitlines()]
    assert len(resident) == 4
    assert resident[-1] - resident[0] < 8
