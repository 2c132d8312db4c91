"""A run: one thread captures, the calling thread infers, one thread for each sink writes. Every queue is bounded."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import inf

from engines.errors import StepError
from stream.controls import Controls
from stream.errors import CutRecordingError, SinkError
from stream.frame import DepthFrame, Frame, after, held
from stream.mailbox import Mailbox, MailboxClosed, Overflow
from stream.pacing import Rhythm
from stream.sinks import Sink, Watched, labels_of
from stream.sources import Source
from stream.stability import Flicker
from stream.stats import SinkStats, StageTimes, Stats

_LOG = logging.getLogger(__name__)
_SINK_PLACES = 2
_PROGRESS_EVERY_NS = 100_000_000
_FAILURES_IN_ROW = 5
_LOOK_EVERY_S = 0.25
"""How long a run waits for a frame before it looks whether it is to stop, or to show the last map again."""
_LEAVE_S = 5.0
"""How long a worker that is no longer needed is waited for; one that hangs longer is left behind."""


@dataclass(frozen=True, slots=True)
class OverFrames:
    """An estimate that looks at frames beyond the present one, such as `stream.offline.offline`.

    apply: turns the stream of frames into the stream of depth frames, in order.
    """

    apply: Callable[[Iterable[Frame]], Iterator[DepthFrame]]


Estimate = Callable[[Frame], DepthFrame] | OverFrames


def run(
    source: Source,
    estimate: Estimate,
    sinks: Sequence[Sink],
    *,
    progress: Callable[[Stats], None] | None = None,
    stop: threading.Event | None = None,
    timings: StageTimes | None = None,
    stale_after_s: float = 1.5,
    controls: Controls | None = None,
    max_frames: int | None = None,
) -> Stats:
    """Drive a source through an estimate into sinks until the source ends or `stop` is set.

    The sinks are closed at the end (their files are finished), aborted when anything fails. The source is closed when
    the run ends, in whatever way.
    estimate: one frame at a time (`DepthEstimator.step`), or `OverFrames`; runs in the calling thread.
    progress: called in the calling thread at most ten times a second, and once after the last frame.
    stop: ends the run after what is in flight; looked at between two frames, and while a live source sends none.
    stale_after_s: a live source that sends nothing for so long, and for three times the usual, is away: its last map
        is given to the sinks again, marked stale, a few times a second.
    timings: stages recorded elsewhere (`DepthEstimator.timings`), to be listed with the run's own.
    controls: while they say so, a live run is paused: its frames are let go and its last map is held as above.
    max_frames: end when every sink has been given so many; those that were dropped, and held maps, do not count.
    Raises the first error of any worker; the other workers have ended by then, unless one hangs for five seconds: it is
    left behind, and its sink as it is. A live source's run goes on after a StepError, unless five come in a row.
    """
    wish, times, asked = stop or threading.Event(), timings or StageTimes(), controls or Controls()
    return _Run(source, sinks, wish, times, stale_after_s, asked, max_frames).finish(estimate, progress)


class _Run:
    """The threads, boxes and counts of one run."""

    def __init__(
        self,
        source: Source,
        sinks: Sequence[Sink],
        stop: threading.Event,
        timings: StageTimes,
        stale_after_s: float,
        controls: Controls,
        max_frames: int | None,
    ) -> None:
        overflow = Overflow.REPLACE if source.info.live else Overflow.WAIT
        self._source = source
        self._sinks = dict(zip(labels_of(sinks), sinks, strict=True))
        self._stop = stop
        self._timings = timings
        self._stale_after_s = stale_after_s
        self._look_every_s = min(_LOOK_EVERY_S, stale_after_s)
        self._controls = controls
        self._rhythm = Rhythm(source.info.rate)
        self._flicker = Flicker()
        self._last: DepthFrame | None = None
        self._shown_pts: int | None = None
        """Of what was given to the sinks last, once a map was held: its time may be a little ahead of the source's."""
        self._ages = StageTimes()
        self._frames: Mailbox[Frame] = Mailbox(1, overflow)
        self._outboxes: dict[str, Mailbox[DepthFrame]] = {
            label: Mailbox(_SINK_PLACES, overflow) for label in self._sinks
        }
        self._least_out = inf if max_frames is None else max_frames
        self._owed: dict[str, float] = dict.fromkeys(self._sinks, self._least_out)
        """Frames that each sink is still to be given."""
        self._failing = threading.Lock()
        self._error: BaseException | None = None
        self._left_at_s = inf
        self._began_ns = self._reported_ns = self._held_ns = time.monotonic_ns()
        self._frames_in = self._frames_out = self._resets = self._held = self._failures = 0

    def finish(self, estimate: Estimate, progress: Callable[[Stats], None] | None) -> Stats:
        # Daemons: one that hangs must not keep the process alive.
        capture = threading.Thread(target=self._capture, name="capture", daemon=True)
        writers = {
            label: threading.Thread(target=self._write, args=(label,), name=label, daemon=True) for label in self._sinks
        }
        workers = [capture, *writers.values()]
        try:
            for worker in workers:
                worker.start()
            self._infer(estimate, progress)
            self._end()
            self._wait_for(workers)
        except BaseException as error:
            self._fail(error)
            self._wait_for(workers)
        self._settle([label for label, writer in writers.items() if writer.is_alive()])
        stats = self._stats()
        if progress is not None:
            progress(stats)
        return stats

    def _capture(self) -> None:
        try:
            frames = iter(self._source)
            while not self._stop.is_set():
                with self._timings.timed("capture"):
                    frame = next(frames, None)
                if frame is None:
                    break
                self._frames_in += 1
                self._rhythm.note(frame.captured_ns / 1e9)
                self._frames.put(frame)
            self._frames.close()
        except MailboxClosed:
            pass  # Enough frames have come out.
        except BaseException as error:
            self._fail(error)

    def _infer(self, estimate: Estimate, progress: Callable[[Stats], None] | None) -> None:
        transform = estimate.apply if isinstance(estimate, OverFrames) else partial(self._stepped, estimate)
        for depth_frame in transform(self._arriving(progress)):
            if self._shown_pts is not None:
                depth_frame = after(depth_frame, self._shown_pts)
                self._shown_pts = depth_frame.frame.pts
            self._last = depth_frame
            self._give(depth_frame)
            self._frames_out += 1
            self._resets += depth_frame.reset
            # Once the frame is on its way.
            self._flicker.add(depth_frame)
            self._report(progress)
            if self._frames_out >= self._least_out and not any(self._owed.values()):
                return

    def _stepped(self, step: Callable[[Frame], DepthFrame], frames: Iterable[Frame]) -> Iterator[DepthFrame]:
        """One step for each frame. A live stream outlives an engine that stumbles now and then."""
        in_row = 0
        for frame in frames:
            try:
                depth_frame = step(frame)
            except StepError as error:
                self._failures += 1
                in_row += 1
                if not self._source.info.live or in_row == _FAILURES_IN_ROW:
                    raise
                _LOG.warning("the stream starts anew: %s", error)
                continue
            in_row = 0
            yield depth_frame

    def _give(self, depth_frame: DepthFrame) -> None:
        for label, outbox in self._outboxes.items():
            if not self._owed[label]:
                continue
            dropped = outbox.put(depth_frame)
            self._owed[label] -= not depth_frame.stale
            self._owed[label] += dropped is not None and not dropped.stale

    def _report(self, progress: Callable[[Stats], None] | None) -> None:
        now_ns = time.monotonic_ns()
        if progress is not None and now_ns - self._reported_ns >= _PROGRESS_EVERY_NS:
            self._reported_ns = now_ns
            progress(self._stats())

    def _arriving(self, progress: Callable[[Stats], None] | None) -> Iterator[Frame]:
        """The frames as they come; meanwhile looks for a wish to stop and holds the picture of an absent source."""
        is_live = self._source.info.live
        while True:
            if self._stop.is_set():
                self._source.close()
            try:
                frame = self._frames.take(self._look_every_s)
                if not (is_live and self._controls.paused):
                    yield frame
                    continue
            except MailboxClosed:
                return
            except TimeoutError:
                pass
            if is_live:
                self._hold(time.monotonic_ns())
                self._report(progress)

    def _hold(self, now_ns: int) -> None:
        """Show the last map again, once it is old and has not just been shown."""
        if self._last is None or now_ns - self._held_ns < self._look_every_s * 5e8:
            return
        age_ns = now_ns - self._last.frame.captured_ns
        if age_ns < self._rhythm.away_after_s(self._stale_after_s) * 1e9:
            return
        shown = held(self._last, now_ns)
        self._shown_pts = shown.frame.pts
        self._give(shown)
        self._held_ns = now_ns
        self._held += 1

    def _write(self, label: str) -> None:
        sink = self._sinks[label]
        try:
            for depth_frame in self._outboxes[label]:
                with self._timings.timed(label):
                    sink.write(depth_frame)
                if not depth_frame.stale:
                    self._ages.add(label, (time.monotonic_ns() - depth_frame.frame.captured_ns) / 1e6)
        except BaseException as error:
            self._fail(error)

    def _end(self) -> None:
        """Nothing more is captured, and the sinks are given nothing more."""
        self._frames.close()
        self._leave_source()
        for outbox in self._outboxes.values():
            outbox.close()

    def _fail(self, error: BaseException) -> None:
        """Keep the first error and wake every worker with it."""
        with self._failing:
            if self._error is None:
                self._error = error
                self._left_at_s = time.monotonic() + _LEAVE_S
        self._frames.close(self._error)
        for outbox in self._outboxes.values():
            outbox.close(self._error)
        self._leave_source()

    def _leave_source(self) -> None:
        """End the source: its next frame may never come."""
        try:
            self._source.close()
        except Exception:  # a thread's boundary: there is an error to be told already, or an end
            _LOG.exception("%s cannot be left", self._source.info.name)

    def _wait_for(self, workers: Sequence[threading.Thread]) -> None:
        """Sinks finish what they have, as long as that takes; capture, and all after a failure, have `_LEAVE_S`."""
        capture, *writers = workers
        until_s = time.monotonic() + _LEAVE_S
        while capture.is_alive() and time.monotonic() < until_s:
            capture.join(_LOOK_EVERY_S)
        for worker in writers:
            while worker.is_alive() and (self._error is None or time.monotonic() < self._left_at_s):
                worker.join(_LOOK_EVERY_S)
        for worker in workers:
            if worker.is_alive():
                _LOG.error("%s hangs and is left behind", worker.name)

    def _settle(self, busy: Collection[str]) -> None:
        """Finish every output, or, after the first error, undo those that are not finished and not being written."""
        waiting = dict(self._sinks)
        while waiting and self._error is None:
            label = next(iter(waiting))
            try:
                waiting[label].close()
                del waiting[label]
            except BaseException as error:
                self._error = error
        # Where a full disk has ended one recording, which is kept, those beside it are finished.
        keeps = isinstance(self._error, CutRecordingError)
        for label, sink in waiting.items():
            if label in busy or (keeps and _is_closed(sink)):
                continue
            try:
                sink.abort()
            except Exception:  # the first error is the one that is raised
                _LOG.exception("%s cannot be undone", label)
        if self._error is not None:
            raise self._error

    def _stats(self) -> Stats:
        return Stats(
            frames_in=self._frames_in,
            frames_out=self._frames_out,
            dropped=self._frames.dropped,
            sink_dropped=sum(outbox.dropped for outbox in self._outboxes.values()),
            resets=self._resets,
            held=self._held,
            failures=self._failures,
            damaged=self._source.damaged,
            reconnects=self._source.reconnects,
            elapsed_s=(time.monotonic_ns() - self._began_ns) / 1e9,
            ages=self._ages.summary(),
            stages=self._timings.summary(),
            waiting=len(self._frames),
            flicker=self._flicker.median,
            sinks=tuple(self._sink_stats(label, sink) for label, sink in self._sinks.items()),
        )

    def _sink_stats(self, label: str, sink: Sink) -> SinkStats:
        outbox = self._outboxes[label]
        if isinstance(sink, Watched):
            return SinkStats(label, len(outbox), outbox.dropped + sink.dropped, sink.viewers, sink.sent_bytes)
        return SinkStats(label, len(outbox), outbox.dropped)


def _is_closed(sink: Sink) -> bool:
    """Finish an output, if that can be done."""
    try:
        sink.close()
    except SinkError:
        return False
    return True
