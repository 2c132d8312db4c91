"""The process that turns videos into depth, one after another; the service talks to it over its standard streams.

It is a process of its own so that a video which breaks a decoder ends the job and not the service, that work can be
ended at once, and that the service answers while the network computes. It ends when the service does.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import IO

from depthcast.errors import DepthcastError, ModelError, UsageError
from depthcast.job import Job, Prepared, prepared
from depthcast.models import NANO, find
from depthcast.outputs import Look
from depthcast.plan import THIS_MACHINE, Mode, Wanted, checkpoint_of, steps_to_readiness
from depthcast.service.jobs.folders import INPUT, RAW, VIDEO
from depthcast.service.jobs.task import Task, line_of
from depthcast.service.probe import probe
from depthcast.settings import Settings
from depthcast.signals import finishing_signals
from engines.errors import EngineError
from stream.colour import Colormap
from stream.errors import CutRecordingError, StreamError
from stream.frame import DepthFrame, Frame
from stream.pipeline import Estimate, OverFrames
from stream.sinks.file import Resolution
from stream.stats import Stats
from stream.uris import FileIn, FileOut

_RAW_BYTES = 8
"""A float32 for each pixel of each frame, twice: they wait in a file of their own until their number is known."""
_BROKEN = "the service failed while working on this video; its log says how"


class Courtesy:
    """Makes room for live streams: while there are any, work pauses so that it takes only a share of the time."""

    __slots__ = ("_changed", "_live", "_share")

    def __init__(self, share: float) -> None:
        self._share = share
        self._live = False
        self._changed = threading.Condition()

    def set_live(self, live: bool) -> None:
        """Whether anybody watches a live stream; a pause ends when nobody does."""
        with self._changed:
            self._live = live
            self._changed.notify_all()

    def pause(self, worked_s: float) -> None:
        """Wait after work that took so long."""
        with self._changed:
            if self._live:
                self._changed.wait_for(lambda: not self._live, worked_s * (1 / self._share - 1))

    def shared(self, estimate: Estimate) -> Estimate:
        """The same estimate, pausing between frames."""
        if isinstance(estimate, OverFrames):
            apply = estimate.apply
            return OverFrames(lambda frames: apply(self._paced(frames)))

        def step(frame: Frame) -> DepthFrame:
            began = time.monotonic()
            depth_frame = estimate(frame)
            self.pause(time.monotonic() - began)
            return depth_frame

        return step

    def _paced(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        for frame in frames:
            began = time.monotonic()
            yield frame
            self.pause(time.monotonic() - began)


class Reporter:
    """Tells the service what happens."""

    __slots__ = ("_channel", "_frames")

    def __init__(self, channel: IO[bytes]) -> None:
        self._channel = channel
        self._frames: int | None = None

    def say(self, **message: object) -> None:
        """One message."""
        self._channel.write(line_of(message))
        self._channel.flush()

    def began(self, frames: int | None) -> None:
        """Frames that are expected, where that is known."""
        self._frames = frames
        self.frames(0)

    def frames(self, done: int) -> None:
        """Frames of depth so far."""
        self.say(phase="estimating", steps_done=done, steps=self._frames)

    def phase(self, _phase: str, done: int, steps: int) -> None:
        """Work on a network before its first run."""
        self.say(phase="preparing", steps_done=done, steps=steps)


def do(task: Task, settings: Settings, reporter: Reporter, courtesy: Courtesy) -> tuple[str, ...]:
    """Turn the video in the task's folder, the present one, into its results; what the client should know of them.

    Raises DepthcastError, StreamError or EngineError.
    """
    info = probe(Path(INPUT), task.limits, task.max_frames)
    if task.include_raw_depths and (info.frames or 0) * info.height * info.width * _RAW_BYTES > task.room:
        raise UsageError("there is no room for the raw depth of this video: ask for fewer frames, or without it")
    rate = None if task.output_fps is None else Fraction(task.output_fps)
    job = Job(
        FileIn(Path(INPUT)),
        (FileOut(Path(VIDEO)), *((FileOut(Path(RAW)),) if task.include_raw_depths else ())),
        Wanted(find(task.depth_model), Mode(task.mode), threads=task.threads),
        Look(Colormap(task.colormap), Resolution(task.resolution), task.side_by_side, rate),
        task.max_frames if info.frames else task.limits.max_frames,
        rate,
    )
    with ExitStack() as opened:
        ready, notes = _opened(job, task, settings, reporter, opened)
        reporter.began(ready.source.info.frames)

        def progress(stats: Stats) -> None:
            reporter.frames(stats.frames_out)

        outcome = replace(ready, estimate=courtesy.shared(ready.estimate)).run(progress)
    if not outcome.stats.frames_out:
        raise StreamError(f"no frame of {INPUT} can be decoded: the file is damaged or empty; encode it again")
    return (*notes, *outcome.notes)


def _opened(
    job: Job, task: Task, settings: Settings, reporter: Reporter, opened: ExitStack
) -> tuple[Prepared, tuple[str, ...]]:
    try:
        return opened.enter_context(prepared(job, settings, _log, reporter.phase)), ()
    except ModelError as error:
        missing = steps_to_readiness(job.wanted, checkpoint_of(job.wanted, settings), THIS_MACHINE)
        if not missing:
            raise
        if not task.fallback:
            raise ModelError(
                f"{task.depth_model} cannot run on this service yet: first {' and '.join(missing)}"
            ) from error
    nano = replace(job, wanted=replace(job.wanted, model=find(NANO)))
    note = f"made with depthcast-nano: {task.depth_model} is not installed on this service"
    return opened.enter_context(prepared(nano, settings, _log, reporter.phase)), (note,)


def _log(line: str) -> None:
    print(f"depthcast: {line}", file=sys.stderr, flush=True)


def limit_files(size: int) -> None:
    """Let no file that this process writes grow beyond `size` bytes, where the system can hold it to that."""
    if sys.platform == "win32":
        return
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))


def _attempt(task: Task, settings: Settings, reporter: Reporter, courtesy: Courtesy) -> None:
    try:
        os.chdir(task.folder)
        limit_files(task.room)
        notes = do(task, settings, reporter, courtesy)
    except CutRecordingError as error:
        # What is left goes with the job's folder.
        reporter.say(failed=" ".join(error.reason.split()))
    except (DepthcastError, StreamError, EngineError) as error:
        reporter.say(failed=" ".join(str(error).split()))
    except Exception:
        # The boundary of a job: its trace belongs in the log, and the next job is to run.
        traceback.print_exc()
        reporter.say(failed=_BROKEN)
    else:
        reporter.say(done=notes)


def _listen(commands: IO[bytes], take: Callable[[Task], None], courtesy: Courtesy) -> None:
    """Follow the service's commands, and end with it."""
    try:
        for line in commands:
            message = json.loads(line)
            if "live" in message:
                courtesy.set_live(message["live"])
            if "task" in message:
                take(Task.read(message["task"]))
    except Exception:  # a thread's boundary: the service sees that this process has ended, and its log says why
        traceback.print_exc()
    finally:
        _end_all()


def _end_all() -> None:
    """End this process and whatever libraries have started from it."""
    if sys.platform != "win32":
        os.killpg(0, signal.SIGKILL)
    os._exit(0)


def main(share: float, niceness: int) -> None:
    """Work until the service closes our standard input.

    share: of the time, while there are live streams. niceness: by which whatever answers or streams live goes first.
    """
    # What libraries print must not get between our lines, and a process that they fork must not wait for our input:
    # it would close `sys.stdin` and find the lock held by the thread that reads commands.
    channel, commands = os.fdopen(os.dup(1), "wb"), os.fdopen(os.dup(0), "rb")
    os.dup2(2, 1)
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    # Those are for the service, which may have a while to finish; it kills us when that is over.
    for number in finishing_signals():
        signal.signal(number, signal.SIG_IGN)
    if sys.platform != "win32":
        os.nice(niceness)
    settings, reporter, courtesy = Settings.from_environment(), Reporter(channel), Courtesy(share)
    tasks: queue.SimpleQueue[Task] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(commands, tasks.put, courtesy), name="commands", daemon=True).start()
    while True:
        _attempt(tasks.get(), settings, reporter, courtesy)


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
