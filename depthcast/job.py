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
from depthcast.live import LiveRun
from depthcast.outputs import Look, check_outputs, file_paths, is_live, left_behind_by_others, opened_outputs
from depthcast.plan import Mode, Wanted
from depthcast.sensing import NO_SENSING, Sensing, refinement_of, seen_through
from depthcast.service.ports import HttpPorts
from depthcast.settings import Settings
from depthcast.shapes import Lend, ShapedSessions, own_steps, own_windows
from depthcast.sources import opened_source
from engines.session import Session, WindowSession
from engines.spec import ModelSpec
from stream.controls import Controls, steered
from stream.estimator import DepthEstimator
from stream.offline import offline_by_shape
from stream.pipeline import Estimate, OverFrames, run
from stream.refine import refined
from stream.sinks import Sink
from stream.sinks.file import Gray16Sink, NpzSink, VideoSink
from stream.sinks.repeated import Repeated
from stream.sinks.segments import Segmented
from stream.sinks.stills import CloudSink
from stream.sources import Source, SourceInfo
from stream.sources.file import FileSource
from stream.sources.paced import Paced
from stream.sources.sound import Sound
from stream.stats import StageTimes, Stats
from stream.uris import FileIn, HttpIn, SinkUri, SourceUri, TestIn


@dataclass(frozen=True, slots=True)
class Job:
    """What a person asked for, in full.

    output_fps: at most so many frames a second. A file is played at its own pace when an output is live.
    segment_s: length of the files of a recording, in seconds; None: there is one.
    """

    source: SourceUri
    outputs: tuple[SinkUri, ...]
    wanted: Wanted
    look: Look
    max_frames: int | None = None
    output_fps: Fraction | None = None
    scene_cut: bool = True
    sensing: Sensing = NO_SENSING
    segment_s: Fraction | None = None

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
    """A job whose source and network are open; `run` does it. sound: the source's, for each output that wants it."""

    job: Job
    source: Source
    live: LiveRun
    estimate: Estimate
    timings: StageTimes
    settings: Settings
    ports: HttpPorts
    sound: Callable[[], Sound | None]
    fit_notes: Sequence[str]
    """What is known by now of pictures that fit no network."""

    def run(self, progress: Callable[[Stats], None] | None = None, stop: threading.Event | None = None) -> Outcome:
        """Do it; the outputs appear under their names when they are finished, and not at all without a frame.

        progress: told the figures so far, about ten times a second.
        stop: ends the run early; what is done by then is finished and kept.
        Raises StreamError or EngineError; no output is left then, but what a full disk ended, and those beside it.
        """
        job = self.job
        with opened_outputs(
            job.outputs, self.live, job.look, self.sound, self.settings, self.ports, job.sensing, job.segment_s
        ) as sinks:
            stats = run(
                self.source,
                self.estimate,
                sinks,
                progress=self.live.noting(progress),
                stop=stop,
                timings=self.timings,
                controls=self.live.controls,
                max_frames=job.max_frames,
            )
        return Outcome(stats, tuple(self._notes(sinks)))

    def _notes(self, sinks: Sequence[Sink]) -> Iterator[str]:
        yield from self.source.info.notes
        yield from self.fit_notes
        if self.source.damaged:
            yield f"{self.job.source} is damaged in {self.source.damaged} places; what could be decoded was used"
        for outer in sinks:
            sink = outer.sink if isinstance(outer, Repeated | Segmented) else outer
            if isinstance(sink, VideoSink) and sink.note:
                yield sink.note
            if isinstance(sink, Gray16Sink) and sink.clipped:
                yield f"{sink.clipped} frames have values beyond what 16 bits hold; those were set to the largest"
            if isinstance(sink, Gray16Sink | NpzSink) and sink.barred:
                yield f"{sink.barred} frames of another shape stand between bars: the recording's camera is not theirs"
            if isinstance(sink, CloudSink) and sink.left_out:
                yield f"{sink.left_out} frames have no point cloud: the camera is not known for pictures of their shape"


@contextmanager
def prepared(
    job: Job,
    settings: Settings,
    say: Say,
    progress: Progress | None = None,
    lend: Lend[Session] | None = None,
    ports: HttpPorts | None = None,
) -> Iterator[Prepared]:
    """Check the job, open its source and its network; exports the network and builds its engine first where needed.

    lend: gives the session that steps frame by frame; None: it has one of its own.
    ports: HTTP servers that source and outputs may share with what is mounted there already.
    Raises DepthcastError, StreamError or EngineError.
    """
    _check(job, say)
    with ExitStack() as opened:
        ports = HttpPorts() if ports is None else ports
        source = opened.enter_context(opened_source(job.played, settings, say, ports, job.max_frames, job.output_fps))
        source = _at_its_pace(source, job)
        if source.info.live and job.wanted.mode is Mode.OFFLINE:
            raise UsageError(f"--mode offline looks ahead, {job.source} is live: use --mode stream")
        seen, info = seen_through(source, job.sensing), source.info
        controls = Controls()
        if job.wanted.mode is Mode.OFFLINE:
            whole = ShapedSessions(job.wanted, own_windows(settings), settings, say, progress)
            estimate, spec, timings = _over_windows(opened.enter_context(whole), info)
            fit_notes = whole.notes
        else:
            steps = ShapedSessions(job.wanted, lend or own_steps(settings), settings, say, progress, not info.live)
            session = opened.enter_context(steps).session_for(*info.size)
            estimator = opened.enter_context(
                DepthEstimator(session, job.scene_cut, rate=info.rate, session_for=steps.session_for)
            )
            spec, timings, estimate = session.spec, estimator.timings, steered(estimator, controls)
            fit_notes = steps.notes
        estimate, spec = _as_wanted(estimate, spec, job, source.info)
        live, sound = LiveRun(info, spec, controls), _sound_of(source)
        yield Prepared(job, seen, live, estimate, timings, settings, ports, sound, fit_notes)


def _over_windows(windows: ShapedSessions[WindowSession], info: SourceInfo) -> tuple[Estimate, ModelSpec, StageTimes]:
    """The estimate that looks ahead, the spec of its network, and where it notes its times."""
    timings = StageTimes()
    spec = windows.session_for(*info.size).spec
    return OverFrames(lambda frames: offline_by_shape(frames, windows.session_for, timings)), spec, timings


def _check(job: Job, say: Say) -> None:
    check_outputs(job.source, job.outputs, job.look.side_by_side, job.segment_s)
    for line in left_behind_by_others(job.outputs, job.segment_s):
        say(line)


def _at_its_pace(source: Source, job: Job) -> Source:
    """A file on the web is known as one only when it is open; it keeps its pace where somebody watches."""
    is_file = isinstance(job.source, HttpIn) and not source.info.live
    return Paced(source) if is_file and any(map(is_live, job.outputs)) else source


def _as_wanted(estimate: Estimate, spec: ModelSpec, job: Job, info: SourceInfo) -> tuple[Estimate, ModelSpec]:
    """The estimate in the unit and limits that were asked for, and the spec that says so."""
    refinement = refinement_of(job.sensing, info)
    unit = refinement.check(spec.unit)
    check_clouds(file_paths(job.outputs), job.sensing, unit)
    return refined(estimate, refinement), replace(spec, unit=unit)


def _sound_of(source: Source) -> Callable[[], Sound | None]:
    """Gives an output its share of the sound; None for what has none."""
    return source.sound if isinstance(source, FileSource) else lambda: None
