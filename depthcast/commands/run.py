"""`depthcast run`: a video or a camera in, its depth out."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Annotated

import typer

from depthcast.board import Board
from depthcast.commands.console import frame_progress, phase_progress, tell, told_logs
from depthcast.commands.ending import Stop, summary
from depthcast.commands.metrics import Metrics, measured
from depthcast.commands.sensing import (
    CameraOption,
    CloudOption,
    LimitsOption,
    ScaleOption,
    UndistortOption,
    UnitOption,
    sensing_of,
)
from depthcast.commands.streams import run_streams
from depthcast.errors import UsageError
from depthcast.job import Job, prepared
from depthcast.models import NANO, find
from depthcast.outputs import Look, segment_length
from depthcast.plan import Engine, Mode, Precision, Wanted
from depthcast.publicurl import PublicUrl
from depthcast.service.ports import HttpPorts
from depthcast.settings import Settings
from stream.colour import Colormap
from stream.errors import UriError
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
        help=".mp4: coloured video; .mkv: 16-bit depth; .npz: float32 maps; rtsp://…; null:. May be repeated.",
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
Segment = Annotated[
    Fraction | None,
    typer.Option(
        parser=segment_length,
        metavar="TIME",
        help="A new file every so often: 30s, 10m, 1h. Names: night-%03d.mp4, night-%H%M.mp4, or night-001.mp4 and on.",
    ),
]
LargestSize = Annotated[Resolution, typer.Option(help="Of the video; auto keeps the input's up to 1080p.")]


PublicUrlText = Annotated[
    str | None,
    typer.Option("--public-url", metavar="URL", help="What its HTTP outputs are reached by, behind a proxy."),
]
Config = Annotated[
    Path | None, typer.Option(help="A TOML file with many streams, in place of SOURCE and all other options.")
]
SourceText = Annotated[
    str | None, typer.Argument(metavar="SOURCE", help="A video file, rtsp://…, http://…, /dev/video0, camera:0, test:.")
]


def run(
    context: typer.Context,
    source: SourceText = None,
    output: Outputs = (),  # type: ignore[assignment]
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
    segment: Segment = None,
    side_by_side: SideBySide = False,
    raw: Annotated[Path | None, typer.Option(help="Also write float32 maps to this .npz.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of the engine.")] = None,
    scene_cut: SceneCut = True,
    camera: CameraOption = None,
    undistort: UndistortOption = False,
    unit: UnitOption = None,
    limits: LimitsOption = None,
    scale_to: ScaleOption = None,
    cloud: CloudOption = None,
    config: Config = None,
    metrics: Metrics = None,
    public_url: PublicUrlText = None,
) -> None:
    """Turn a video or a camera's pictures into temporally consistent depth."""
    if config is not None:
        _refuse_beside_config(context)
        run_streams(config, metrics)
        return
    wanted = Wanted(find(model, metric), mode, engine, precision, checkpoint, input_size, threads)
    look = Look(colormap, resolution, side_by_side)
    sensing = sensing_of(camera, undistort, unit, limits, scale_to, cloud)
    job = Job(_source(source), _outputs(output, raw), wanted, look, max_frames, output_fps, scene_cut, sensing, segment)
    _run_one(job, metrics, None if public_url is None else PublicUrl.of(public_url))


def _run_one(job: Job, metrics: str | None, public: PublicUrl | None) -> None:
    stop, ports, board = Stop(), HttpPorts(public), Board()
    settings = replace(Settings.from_environment(), public_url=public)
    measured(metrics, board, ports)
    with ExitStack() as opened:
        with phase_progress() as progress:
            ready = opened.enter_context(prepared(job, settings, tell, progress, ports=ports))
        frames = ready.source.info.frames or job.max_frames
        with frame_progress(ready.source.info.name, frames) as advance, stop.on_signals(), told_logs():

            def told(stats: Stats) -> None:
                advance(stats.frames_out)
                board.tell(ready.source.info.name, stats)

            outcome = ready.run(told, stop.event)
    for note in outcome.notes:
        tell(note)
    print(summary(job, outcome.stats))
    if stop.status:
        tell("interrupted: the output ends with the last finished frame")
        raise typer.Exit(stop.status)


def _refuse_beside_config(context: typer.Context) -> None:
    """What the file says may not be said twice."""
    given = [
        parameter.opts[0] if parameter.opts[0].startswith("-") else "SOURCE"
        for parameter in context.command.params
        if parameter.name not in ("config", "metrics", None)
        and (origin := context.get_parameter_source(str(parameter.name))) is not None
        and origin.name == "COMMANDLINE"
    ]
    if given:
        raise UsageError(f"--config takes everything but --metrics from its file: write {', '.join(given)} there")


def _source(text: str | None) -> SourceUri:
    if text is None:
        raise UsageError("nothing to read from: write SOURCE -o SINK, or --config FILE")
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
