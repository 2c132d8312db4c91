"""`depthcast run`: a video or a camera in, its depth out."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from math import inf
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from depthcast.commands.console import frame_progress, phase_progress, tell, told_logs
from depthcast.commands.sensing import (
    CameraOption,
    EdgeOption,
    EveryOption,
    FarOption,
    NearOption,
    ScaleOption,
    UndistortOption,
    UnitOption,
    VoxelOption,
    cloud_rule,
    sensing_of,
)
from depthcast.errors import UsageError
from depthcast.job import Job, prepared
from depthcast.models import NANO, find
from depthcast.outputs import Look
from depthcast.plan import Engine, Mode, Precision, Wanted
from depthcast.settings import Settings
from stream.colour import Colormap
from stream.errors import UriError
from stream.pointcloud import STEEPEST
from stream.sinks.file import Resolution
from stream.stats import Stats
from stream.uris import FileOut, SinkUri, SourceUri, parse_sink, parse_source


def frame_rate(text: str) -> Fraction:
    """Frames per second, above zero; UsageError for anything else."""
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if rate <= 0:
        raise UsageError(f"frames per second are a number above zero, such as 25 or 30000/1001; got {text!r}")
    return rate


Outputs = Annotated[
    list[str],
    typer.Option(
        "--output",
        "-o",
        metavar="SINK",
        help="Coloured .mp4 or rtsp://…, depth as .mkv, .npz, %06d.png, ws://…, clouds %06d.ply, null:. Repeatable.",
    ),
]
Checkpoint = Annotated[
    Path | None, typer.Option(help="Weights of your own (.pth, .safetensors), or an exported .onnx.")
]
InputSize = Annotated[
    int | None, typer.Option(min=14, max=4096, help="Pixels of the network's input; smaller is faster.")
]
OutputFps = Annotated[
    Fraction | None,
    typer.Option(parser=frame_rate, metavar="F", help="Frames per second to take: 12, 29.97, 30000/1001."),
]
SideBySide = Annotated[bool, typer.Option("--side-by-side", help="The picture beside its depth.")]
SceneCut = Annotated[bool, typer.Option("--scene-cut/--no-scene-cut", help="Start anew at hard cuts.")]
LargestSize = Annotated[Resolution, typer.Option(help="Of the video; auto keeps the input's up to 1080p.")]


def run(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A video file, rtsp://…, http://…, /dev/video0, camera:0 or test:.")
    ],
    output: Outputs,
    model: Annotated[str, typer.Option(help="nano, VDA-Small, VDA-Base or VDA-Large.")] = NANO,
    metric: Annotated[bool, typer.Option("--metric", help="Metres instead of relative depth (VDA).")] = False,
    checkpoint: Checkpoint = None,
    engine: Annotated[Engine, typer.Option(help="What runs the network.")] = Engine.AUTO,
    precision: Annotated[Precision, typer.Option(help="Arithmetic of the network.")] = Precision.AUTO,
    input_size: InputSize = None,
    mode: Annotated[Mode, typer.Option(help="Frame by frame, or windows that look ahead.")] = Mode.STREAM,
    colormap: Annotated[Colormap, typer.Option(help="Colours of video.")] = Colormap.GRAYSCALE,
    resolution: LargestSize = Resolution.AUTO,
    max_frames: Annotated[int | None, typer.Option(min=1, help="Stop after so many frames.")] = None,
    output_fps: OutputFps = None,
    side_by_side: SideBySide = False,
    raw: Annotated[Path | None, typer.Option(help="Also write float32 maps to this .npz.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of the engine.")] = None,
    scene_cut: SceneCut = True,
    camera: CameraOption = None,
    undistort: UndistortOption = False,
    unit: UnitOption = None,
    near: NearOption = 0.0,
    far: FarOption = inf,
    scale_to: ScaleOption = None,
    every: EveryOption = 1,
    voxel: VoxelOption = None,
    edge: EdgeOption = STEEPEST,
) -> None:
    """Turn a video or a camera's pictures into temporally consistent depth."""
    wanted = Wanted(find(model, metric), mode, engine, precision, checkpoint, input_size, threads)
    look = Look(colormap, resolution, side_by_side)
    sensing = sensing_of(camera, undistort, unit, near, far, scale_to, cloud_rule(every, voxel, edge))
    job = Job(_source(source), _outputs(output, raw), wanted, look, max_frames, output_fps, scene_cut, sensing)
    _perform(job)


def _perform(job: Job) -> None:
    """Do it, telling how it goes; leaves with the signal's status where one ended it."""
    stop = Stop()
    with ExitStack() as opened:
        with phase_progress() as progress:
            ready = opened.enter_context(prepared(job, Settings.from_environment(), tell, progress))
        frames = ready.source.info.frames
        with frame_progress(ready.source.info.name, frames) as advance, stop.on_signals(), told_logs():
            outcome = ready.run(lambda stats: advance(stats.frames_out), stop.event)
    for note in outcome.notes:
        tell(note)
    print(summary(job, outcome.stats))
    if stop.status:
        tell("interrupted: the output ends with the last finished frame")
        raise typer.Exit(stop.status)


def _source(text: str) -> SourceUri:
    try:
        return parse_source(text)
    except UriError as error:
        raise UsageError(str(error)) from error


def _outputs(texts: list[str], raw: Path | None) -> tuple[SinkUri, ...]:
    if raw is not None and raw.suffix.lower() != ".npz":
        raise UsageError(f"--raw writes a .npz file, got {raw.name}")
    try:
        outputs = tuple(parse_sink(text) for text in texts)
    except UriError as error:
        raise UsageError(str(error)) from error
    return outputs if raw is None else (*outputs, FileOut(raw))


class Stop:
    """Turns the first Ctrl-C or SIGTERM into a wish to finish; a second one ends the run at once."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self.status = 0

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Listens inside the block."""
        before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.event.is_set():
            raise KeyboardInterrupt
        self.status = 128 + number
        self.event.set()


def summary(job: Job, stats: Stats) -> str:
    """The closing line: what was written, how fast, and where the time went."""
    stages = ", ".join(f"{stage.name} {stage.p50_ms:.1f}/{stage.p95_ms:.1f}" for stage in stats.stages)
    written = ", ".join(str(uri) for uri in job.outputs) if stats.frames_out else "nothing written"
    lost = "".join(
        f", {count} {what}"
        for count, what in (
            (stats.dropped, "dropped"),
            (stats.sink_dropped, "dropped at slow outputs"),
            (stats.reconnects, "reconnects"),
        )
        if count
    )
    steady = "" if stats.flicker is None else f"; flicker {stats.flicker:.2%}"
    speed = f"{stats.frames_out} frames in {stats.elapsed_s:.1f} s ({stats.fps:.1f} fps{lost})"
    return f"{written}: {speed}; p50/p95 ms: {stages}{steady}"
