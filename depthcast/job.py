"""One source in, depth out: everything a run needs, checked before any of it begins."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction

from depthcast.dataouts import check_clouds
from depthcast.errors import UsageError
from depthcast.exports import Progress, Say
from depthcast.networks import step_session, window_session
from depthcast.outputs import Look, check_outputs, file_paths, is_live, opened_outputs
from depthcast.plan import Mode, Wanted
from depthcast.sensing import NO_SENSING, Sensing, refinement_of, seen_through
from depthcast.settings import Settings
from engines.spec import ModelSpec
from stream.estimator import DepthEstimator
from stream.offline import offline
from stream.pipeline import Estimate, OverFrames, run
from stream.refine import refined
from stream.sinks import Sink
from stream.sinks.file import Gray16Sink, VideoSink
from stream.sources import Source
from stream.sources.choose import open_source
from stream.stats import StageTimes, Stats
from stream.uris import FileIn, SinkUri, SourceUri, TestIn

_GAP_S = 1.0
"""A longer pause between two frames restarts the window, unless the source is slower than that."""
_GAP_FRAMES = 3


@dataclass(frozen=True, slots=True)
class Job:
    """What a person asked for, in full.

    output_fps: at most so many frames a second. A file is played at its own pace when an output is live.
    """

    source: SourceUri
    outputs: tuple[SinkUri, ...]
    wanted: Wanted
    look: Look
    max_frames: int | None = None
    output_fps: Fraction | None = None
    scene_cut: bool = True
    sensing: Sensing = NO_SENSING

    @property
    def played(self) -> SourceUri:
        """The source, made to keep its own pace where somebody watches."""
        if isinstance(self.source, FileIn | TestIn) and any(map(is_live, self.outputs)):
            return replace(self.source, realtime=True)
        return self.source


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished run: its figures, and what a person should know about it, a line each."""

    stats: Stats
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A job whose source and network are open; `run` does it."""

    job: Job
    source: Source
    model: str
    estimate: Estimate
    timings: StageTimes

    def run(self, progress: Callable[[Stats], None] | None = None, stop: threading.Event | None = None) -> Outcome:
        """Do it; the outputs appear under their names when they are complete, and not at all without a frame.

        progress: told the figures so far, about ten times a second.
        stop: ends the run early; what is done by then is finished and kept.
        Raises StreamError or EngineError; no output is left then.
        """
        job, uri = self.job, self.job.played
        sound_of = uri.path if isinstance(uri, FileIn) else None
        with opened_outputs(job.outputs, self.source.info, job.look, self.model, sound_of, job.sensing) as sinks:
            stats = run(self.source, self.estimate, sinks, progress=progress, stop=stop, timings=self.timings)
        return Outcome(stats, tuple(self._notes(sinks)))

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
    check_outputs(job.source, job.outputs, job.look.side_by_side)
    with ExitStack() as opened:
        source = opened.enter_context(open_source(job.played, job.max_frames, job.output_fps))
        if source.info.live and job.wanted.mode is Mode.OFFLINE:
            raise UsageError(f"--mode offline looks ahead, {job.source} is live: use --mode stream")
        seen = seen_through(source, job.sensing)
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
            estimator = DepthEstimator(session, job.scene_cut, _gap_s(source.info.rate))
            spec, timings, estimate = session.spec, estimator.timings, estimator.step
        refinement = refinement_of(job.sensing, source.info)
        check_clouds(file_paths(job.outputs), job.sensing, refinement.check(spec.unit))
        yield Prepared(job, seen, spec.name, refined(estimate, refinement), timings)


def _gap_s(rate: Fraction | None) -> float:
    return max(_GAP_S, float(_GAP_FRAMES / rate)) if rate else _GAP_S
