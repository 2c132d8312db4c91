"""One file in, depth out: everything a run needs, checked before any of it begins."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from depthcast.errors import UsageError
from depthcast.exports import Progress, Say
from depthcast.networks import step_session, window_session
from depthcast.plan import Mode, Wanted
from depthcast.settings import Settings
from engines.spec import ModelSpec
from stream.colour import Colormap
from stream.estimator import DepthEstimator
from stream.offline import offline
from stream.pipeline import Estimate, OverFrames, run
from stream.sinks import Sink
from stream.sinks.file import Gray16Sink, NpzSink, Resolution, VideoSink
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
    output_fps: Fraction | None = None
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


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished run: its figures, and what a person should know about it, a line each."""

    stats: Stats
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A job whose source and network are open; `run` does it."""

    job: Job
    source: FileSource
    model: str
    estimate: Estimate
    timings: StageTimes

    def run(self, progress: Callable[[Stats], None] | None = None, stop: threading.Event | None = None) -> Outcome:
        """Do it; the outputs appear under their names when they are complete, and not at all without a frame.

        progress: told the figures so far, about ten times a second.
        stop: ends the run early; what is done by then is finished and kept.
        Raises StreamError or EngineError; no output is left then.
        """
        sinks = self._open_sinks()
        stats = run(self.source, self.estimate, sinks, progress=progress, stop=stop, timings=self.timings)
        return Outcome(stats, tuple(self._notes(sinks)))

    def _open_sinks(self) -> list[Sink]:
        """Where one cannot be opened, those before it are undone."""
        with ExitStack() as undone:
            sinks = []
            for path in self.job.outputs:
                sink = self._sink(path)
                undone.callback(sink.abort)
                sinks.append(sink)
            undone.pop_all()
        return sinks

    def _sink(self, path: Path) -> Sink:
        info, job = self.source.info, self.job
        match path.suffix.lower():
            case ".npz":
                return NpzSink(path, info, self.model)
            case ".mkv":
                return Gray16Sink(path, info)
            case _:
                return VideoSink(path, info, job.colormap, job.resolution, job.side_by_side, job.source)

    def _notes(self, sinks: Sequence[Sink]) -> Iterator[str]:
        if self.source.damaged:
            yield f"{self.job.source} is damaged in {self.source.damaged} places; what could be decoded was used"
        for sink in sinks:
            if isinstance(sink, VideoSink) and sink.note:
                yield sink.note
            if isinstance(sink, Gray16Sink) and sink.clipped:
                yield f"{sink.clipped} frames have values beyond what 16 bits hold; those were set to the largest"


@contextmanager
def prepared(job: Job, settings: Settings, say: Say, progress: Progress | None = None) -> Iterator[Prepared]:
    """Check the job, open its source and its network; exports the network and builds its engine first where needed.

    Raises DepthcastError, StreamError or EngineError.
    """
    check_paths(job)
    with ExitStack() as opened:
        source = opened.enter_context(FileSource(job.source, job.max_frames, job.output_fps))
        frame = source.info.height, source.info.width
        spec: ModelSpec
        estimate: Estimate
        if job.wanted.mode is Mode.OFFLINE:
            timings = StageTimes()
            windows = opened.enter_context(window_session(job.wanted, frame, settings, say, progress))
            spec = windows.spec
            estimate = OverFrames(lambda frames: offline(frames, windows, timings))
        else:
            session = opened.enter_context(step_session(job.wanted, frame, settings, say, progress))
            estimator = DepthEstimator(session, job.scene_cut)
            spec, timings, estimate = session.spec, estimator.timings, estimator.step
        yield Prepared(job, source, spec.name, estimate, timings)
