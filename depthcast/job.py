"""One file in, depth out: everything a run needs, checked before any of it begins."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from depthcast.errors import UsageError
from depthcast.networks import Say, open_step, open_window
from depthcast.plan import Mode, Route, Wanted, plan, size_text
from depthcast.settings import Settings
from stream.colour import Colormap
from stream.estimator import DepthEstimator
from stream.offline import offline
from stream.pipeline import Estimate, OverFrames, run
from stream.sinks import Sink
from stream.sinks.file import Gray16Sink, Resolution, VideoSink
from stream.sinks.npz import NpzSink
from stream.sources.file import FileSource
from stream.stats import StageTimes, Stats

KINDS = (".mp4", ".mkv", ".npz")


@dataclass(frozen=True, slots=True)
class Job:
    """What a person asked for, in full.

    output: its suffix chooses what is written: .mp4 a coloured video, .mkv lossless 16-bit depth, .npz float32 maps.
    raw: a further .npz beside the output.
    """

    source: Path
    output: Path
    wanted: Wanted
    colormap: Colormap = Colormap.GRAYSCALE
    resolution: Resolution = Resolution.AUTO
    side_by_side: bool = False
    raw: Path | None = None
    max_frames: int | None = None
    output_fps: float | None = None
    scene_cut: bool = True

    @property
    def outputs(self) -> tuple[Path, ...]:
        """All files to be written."""
        return (self.output,) if self.raw is None else (self.output, self.raw)


def check_paths(job: Job) -> None:
    """Raise UsageError where what is to be written cannot be, or would destroy what is to be read."""
    if job.output.suffix.lower() not in KINDS:
        raise UsageError(f"the output's suffix must be one of {', '.join(KINDS)}, got {job.output.name}")
    if job.raw is not None and job.raw.suffix.lower() != ".npz":
        raise UsageError(f"--raw writes a .npz file, got {job.raw.name}")
    if job.raw is not None and job.raw.resolve() == job.output.resolve():
        raise UsageError(f"--raw and the output are the same file: {job.raw}")
    if job.side_by_side and job.output.suffix.lower() != ".mp4":
        raise UsageError(f"--side-by-side makes a video: the output must be .mp4, got {job.output.name}")
    for path in job.outputs:
        if path.resolve() == job.source.resolve():
            raise UsageError(f"the output would overwrite the input {job.source}: choose another name")
        if path.is_dir():
            raise UsageError(f"the output {path} is a folder: give it a file name")
        if not path.parent.is_dir():
            raise UsageError(f"there is no folder {path.parent} for the output: make it first")


def run_job(
    job: Job,
    settings: Settings,
    *,
    say: Say,
    progress: Callable[[Stats, int | None], None] | None = None,
    stop: threading.Event | None = None,
) -> Stats:
    """Do it; the outputs appear under their names when they are complete.

    progress: told the figures so far and, where known, how many frames there will be.
    stop: ends the run early; what is done by then is finished and kept.
    Raises DepthcastError, StreamError or EngineError.
    """
    check_paths(job)
    with ExitStack() as opened:
        source = opened.enter_context(FileSource(job.source, job.max_frames, job.output_fps))
        info = source.info
        route = plan(job.wanted, info.height, info.width, settings)
        timings = StageTimes()
        estimate = opened.enter_context(_estimate(job, route, timings, say))
        say(f"{job.wanted.model.label} at {size_text(route.size)} on {route.engine.value}: {route.why}")
        report = None if progress is None else lambda stats: progress(stats, info.frames)
        return run(source, estimate, _sinks(job, source), progress=report, stop=stop, timings=timings)


@contextmanager
def _estimate(job: Job, route: Route, timings: StageTimes, say: Say) -> Iterator[Estimate]:
    if job.wanted.mode is Mode.OFFLINE:
        with open_window(route, job.wanted, say) as window_session:
            yield OverFrames(lambda frames: offline(frames, window_session, timings))
        return
    with open_step(route, job.wanted, say) as session:
        estimator = DepthEstimator(session, job.scene_cut)
        yield estimator.step
