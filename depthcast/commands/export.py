"""`depthcast export`: a checkpoint as ONNX with its spec beside it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from depthcast.commands.console import phase_progress, tell
from depthcast.commands.sizes import parse_batch, parse_size
from depthcast.exports import PARITY_FRAMES, Form, export_to
from depthcast.models import find
from depthcast.plan import Engine, Mode, Precision, Wanted
from depthcast.settings import Settings

VDA_MULTIPLE = 14


class Pixels(StrEnum):
    """What the network takes of a picture."""

    FLOAT32 = "float32"
    UINT8 = "uint8"


Bytes = Annotated[Pixels, typer.Option(help="uint8: the picture's bytes as they are, a quarter of float32.")]
ParityFrames = Annotated[int, typer.Option(min=0, help="Frames compared with torch before writing; 0: none.")]
ParityLimit = Annotated[
    float | None, typer.Option(min=0, help="Largest mean departure, of the mean depth; fp32 0.001, fp16 0.01.")
]


def export(
    model: Annotated[str, typer.Argument(help="VDA-Small, VDA-Base or VDA-Large.")],
    size: Annotated[str, typer.Option(metavar="HxW", help="Input of the network, multiples of 14.")] = "518x518",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A .onnx file; without it, the model store.")
    ] = None,
    metric: Annotated[bool, typer.Option("--metric", help="The variant that gives metres.")] = False,
    checkpoint: Annotated[Path | None, typer.Option(help="Weights other than those of `depthcast pull`.")] = None,
    precision: Annotated[Precision, typer.Option(help="Arithmetic of the network; auto is fp32.")] = Precision.AUTO,
    mode: Annotated[Mode, typer.Option(help="The network of streams, or of whole windows.")] = Mode.STREAM,
    batch: Annotated[str, typer.Option(metavar="N|any", help="Streams that step together in one call.")] = "1",
    pixels: Bytes = Pixels.FLOAT32,
    resized_to: Annotated[
        str | None, typer.Option(metavar="HxW", help="Size of the map; without it, that of the input.")
    ] = None,
    parity_frames: ParityFrames = PARITY_FRAMES,
    parity_limit: ParityLimit = None,
) -> None:
    """Write ONNX and its spec, for machines that have no torch; nothing is written that departs from torch."""
    wanted = Wanted(find(model, metric), mode, Engine.ONNX, precision, checkpoint)
    sides = None if resized_to is None else parse_size(resized_to)
    form = Form(parse_batch(batch), pixels.value, sides, parity_frames, parity_limit)
    shape, settings = parse_size(size, VDA_MULTIPLE), Settings.from_environment()
    with phase_progress() as progress:
        network = export_to(output, wanted, shape, settings, tell, form=form, progress=progress)
    print(network)
