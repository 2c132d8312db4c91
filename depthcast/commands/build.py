"""`depthcast build`: a network compiled by TensorRT."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from depthcast.builds import Plan, keep_copy, size_to_build
from depthcast.builds import build as build_engine
from depthcast.commands.console import phase_progress, tell
from depthcast.commands.sizes import parse_size
from depthcast.errors import UsageError
from depthcast.gpu import workshop
from depthcast.models import NANO, find
from depthcast.plan import Engine, Mode, Precision, Wanted
from depthcast.settings import Settings
from engines.store import BatchRange, BuildOptions, EngineFile

Targets = Annotated[
    list[str] | None,
    typer.Option("--target", metavar="8.9", help="Compute capability of other machines' GPUs; may be repeated."),
]
Checkpoint = Annotated[
    Path | None, typer.Option(help="Weights of your own (.pth, .safetensors), or an exported .onnx.")
]
ParityLimit = Annotated[
    float | None, typer.Option(min=0, help="Largest mean departure from ONNX, of the mean depth; fp16 0.01.")
]


def build(
    model: Annotated[str, typer.Argument(help="nano, VDA-Small, VDA-Base or VDA-Large.")] = NANO,
    size: Annotated[str | None, typer.Option(metavar="HxW", help="Input of the network.")] = None,
    metric: Annotated[bool, typer.Option("--metric", help="The variant that gives metres.")] = False,
    checkpoint: Checkpoint = None,
    precision: Annotated[
        Precision, typer.Option(help="auto: fp16, or that of a network that is there already.")
    ] = Precision.AUTO,
    mode: Annotated[Mode, typer.Option(help="The network of streams, or of whole windows.")] = Mode.STREAM,
    batch: Annotated[int, typer.Option(min=1, help="Most streams that step together.")] = 1,
    workspace: Annotated[int | None, typer.Option(min=1, help="Most megabytes for one layer while building.")] = None,
    level: Annotated[int | None, typer.Option(min=0, max=5, help="How long to look for fast kernels.")] = None,
    target: Targets = None,
    parity_limit: ParityLimit = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A .engine file for a copy of it, with its two sidecars.")
    ] = None,
) -> None:
    """Compile a network with TensorRT, or on RTX cards TensorRT for RTX, which needs no GPU to build."""
    if output is not None and (output.suffix != ".engine" or not output.parent.is_dir()):
        raise UsageError(f"an engine is written to a .engine file in a folder that is there, got {output}")
    settings = Settings.from_environment()
    wanted = Wanted(find(model, metric), mode, Engine.TENSORRT, precision, checkpoint)
    options = BuildOptions(BatchRange(1, batch, batch), workspace, level, tuple(target or ()))
    sides = size_to_build(wanted, None if size is None else parse_size(size))
    with phase_progress() as progress:
        asked = Plan(wanted, sides, options, parity_limit)
        engine = build_engine(asked, settings, workshop(options.targets), tell, progress)
    print(summary(engine if output is None else keep_copy(engine, output)))


def summary(engine: EngineFile) -> str:
    """The closing line: where it is, how large, how long it took, and whether it was verified."""
    record, verified = engine.record, engine.record.verified
    check = record.note
    if verified is not None:
        check = (
            f"verified over {verified.frames} frames: departs by {verified.relative:.1e} of the mean depth "
            f"(limit {verified.limit:.0e})"
        )
    size_mb = record.engine_bytes / 1e6
    return f"{engine.path}: {size_mb:.1f} MB, {record.layers} layers, built in {record.build_s:.1f} s, {check}"
