"""A run: one thread captures, the calling thread infers, one thread for each sink writes. Every queue is bounded."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from stream.frame import DepthFrame, Frame
from stream.mailbox import Mailbox, Overflow
from stream.sinks import Sink
from stream.sources import Source
from stream.stats import StageTimes, Stats

_SINK_PLACES = 2
_PROGRESS_EVERY_NS = 100_000_000


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
) -> Stats:
    """Drive a source through an estimate into sinks until the source ends or `stop` is set.

    The sinks are closed at the end (their files are finished), aborted when anything fails. The source is left open.
    estimate: one frame at a time (`DepthEstimator.step`), or `OverFrames`; runs in the calling thread.
    progress: called in the calling thread at most ten times a second, and once after the last frame.
    stop: ends the run after what is in flight; looked at between two frames of the source.
    timings: stages recorded elsewhere (`DepthEstimator.timings`), to be listed with the run's own.
    Raises the first error of any worker; the other workers have ended by then.
    """
    return _Run(source, sinks, stop or threading.Event(), timings or StageTimes()).finish(estimate, progress)


class _Run:
    """The threads, boxes and counts of one run."""

    def __init__(self, source: Source, sinks: Sequence[Sink], stop: threading.Event, timings: StageTimes) -> None:
        overflow = Overflow.REPLACE if source.info.live else Overflow.WAIT
        self._source = source
        self._sinks = {_label(sink, number): sink for number, sink in enumerate(sinks)}
        self._stop = stop
        self._timings = timings
        self._ages = StageTimes()
        self._frames: Mailbox[Frame] = Mailbox(1, overflow)
        self._outboxes: dict[str, Mailbox[DepthFrame]] = {
            label: Mailbox(_SINK_PLACES, overflow) for label in self._sinks
        }
        self._failing = threading.Lock()
        self._error: BaseException | None = None
        self._began_ns = self._reported_ns = time.monotonic_ns()
        self._frames_in = self._frames_out = self._resets = 0

    def finish(self, estimate: Estimate, progress: Callable[[Stats], None] | None) -> Stats:
        writers = [threading.Thread(target=self._write, args=(label,), name=label) for label in self._sinks]
        workers = [threading.Thread(target=self._capture, name="capture"), *writers]
        for worker in workers:
            worker.start()
        try:
            self._infer(estimate, progress)
        except BaseException as error:
            self._fail(error)
        for outbox in self._outboxes.values():
            outbox.close()
        for worker in workers:
            worker.join()
        self._settle()
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
                self._frames.put(frame)
            self._frames.close()
        except BaseException as error:
            self._fail(error)

    def _infer(self, estimate: Estimate, progress: Callable[[Stats], None] | None) -> None:
        transform = estimate.apply if isinstance(estimate, OverFrames) else partial(map, estimate)
        for depth_frame in transform(self._frames):
            for outbox in self._outboxes.values():
                outbox.put(depth_frame)
            self._frames_out += 1
            self._resets += depth_frame.reset
            now_ns = time.monotonic_ns()
            if progress is not None and now_ns - self._reported_ns >= _PROGRESS_EVERY_NS:
                self._reported_ns = now_ns
                progress(self._stats())

    def _write(self, label: str) -> None:
        sink = self._sinks[label]
        try:
            for depth_frame in self._outboxes[label]:
                with self._timings.timed(label):
                    sink.write(depth_frame)
                self._ages.add(label, (time.monotonic_ns() - depth_frame.frame.captured_ns) / 1e6)
        except BaseException as error:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        """Keep the first error and wake every worker with it."""
        with self._failing:
            self._error = self._error or error
        self._frames.close(self._error)
        for outbox in self._outboxes.values():
            outbox.close(self._error)

    def _settle(self) -> None:
        """Finish every output, or, after the first error, undo those that are not finished."""
        waiting = list(self._sinks.values())
        while waiting and self._error is None:
            try:
                waiting[0].close()
                waiting.pop(0)
            except BaseException as error:
                self._error = error
        for sink in waiting:
            sink.abort()
        if self._error is not None:
            raise self._error

    def _stats(self) -> Stats:
        return Stats(
            frames_in=self._frames_in,
            frames_out=self._frames_out,
            dropped=self._frames.dropped,
            sink_dropped=sum(outbox.dropped for outbox in self._outboxes.values()),
            resets=self._resets,
            elapsed_s=(time.monotonic_ns() - self._began_ns) / 1e9,
            ages=self._ages.summary(),
            stages=self._timings.summary(),
        )


def _label(sink: Sink, number: int) -> str:
    """Names a sink in figures; the number keeps two of a kind apart."""
    return type(sink).__name__ if number == 0 else f"{type(sink).__name__} {number + 1}"
