"""`depthcast export`: a checkpoint as ONNX with its spec beside it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from depthcast.commands.console import tell
from depthcast.errors import UsageError
from depthcast.models import find
from depthcast.networks import export_to
from depthcast.plan import Engine, Mode, Precision, Wanted, size_text
from depthcast.settings import Settings


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
    batch: Annotated[int, typer.Option(min=1, help="Streams that step together in one call.")] = 1,
) -> None:
    """Write ONNX and its spec, for machines that have no torch."""
    wanted = Wanted(find(model, metric), mode, Engine.ONNX, precision, checkpoint)
    print(export_to(output, wanted, parse_size(size), Settings.from_environment(), tell, batch=batch))


def parse_size(text: str) -> tuple[int, int]:
    """(height, width) of `HxW`; UsageError for anything else."""
    match = re.fullmatch(r"(\d{1,5})[xX](\d{1,5})", text)
    if match is None:
        raise UsageError(f"a size is written {size_text((280, 364))} (height x width), got {text!r}")
    height, width = int(match[1]), int(match[2])
    if height % 14 or width % 14 or not height or not width:
        raise UsageError(f"height and width must be multiples of 14, got {text}")
    return height, width
