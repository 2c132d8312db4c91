"""`depthcast latency`: glass to glass, for each transport."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated

import typer

from depthcast.commands.console import tell
from depthcast.errors import UsageError
from depthcast.settings import Settings
from stream.errors import UriError
from stream.uris import TestIn, parse_source

if TYPE_CHECKING:
    from depthcast.latency import Latency


def latency(
    transport: Annotated[
        list[str] | None, typer.Option("--transport", "-t", help="One or several; without it all.")
    ] = None,
    size: Annotated[str, typer.Option(metavar="WxH", help="Of the scene.")] = "640x480",
    rate: Annotated[str, typer.Option(metavar="F", help="Frames per second of the scene.")] = "30",
    seconds: Annotated[float, typer.Option(min=1, help="To measure, for each transport.")] = 10.0,
    hold: Annotated[float, typer.Option(min=0, metavar="MS", help="A slow viewer: looks so long at each picture.")] = 0,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of the engine.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Measure the way of a frame from capture to another process's decoder, with the embedded model."""
    from depthcast.latency import TRANSPORTS, Wish, measure

    chosen = transport or list(TRANSPORTS)
    for name in chosen:
        if name not in TRANSPORTS:
            raise UsageError(f"unknown transport {name!r}: known are {', '.join(TRANSPORTS)}")
    scene = _scene(size, rate)
    found: list[Latency] = []
    for name in chosen:
        wish = Wish(name, scene.size, Fraction(scene.rate), seconds, threads, hold)
        found.append(measure(wish, Settings.from_environment(), tell))
        if not as_json:
            print("\n".join(lines(found[-1])), flush=True)
    if as_json:
        print(json.dumps([asdict(one) for one in found], indent=1))


def lines(one: Latency) -> Iterator[str]:
    """The table for people."""
    yield f"{one.transport}: {one.frames} frames shown, {one.drops} dropped"
    yield f"    {'':<16}{'p50':>8}{'p95':>8}{'p99':>8} ms"
    for stage in (*one.stages, one.total):
        name = "glass to glass" if stage is one.total else stage.name
        yield f"    {name:<16}{stage.p50_ms:>8.1f}{stage.p95_ms:>8.1f}{stage.p99_ms:>8.1f}"
    if len(one.minutes) > 1:
        yield f"    p95 in each minute: {', '.join(f'{ms:.0f}' for ms in one.minutes)} ms"


def _scene(size: str, rate: str) -> TestIn:
    try:
        scene = parse_source(f"test:?size={size}&rate={rate}")
    except UriError as error:
        raise UsageError(str(error)) from error
    assert isinstance(scene, TestIn)
    return scene
