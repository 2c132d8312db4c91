"""`depthcast devices`: the cameras of this machine, and what they can do."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated

import typer

from depthcast.errors import UsageError

if TYPE_CHECKING:
    from stream.sources.v4l2 import Camera, Format, Size


def devices(as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False) -> None:
    """List the cameras of this machine with their formats, sizes and frame rates (Linux)."""
    if sys.platform != "linux":
        raise UsageError("cameras are listed on Linux only; network cameras need no list: rtsp://HOST/PATH")
    from stream.sources.v4l2 import cameras

    found = cameras()
    print(json.dumps([_plain(camera) for camera in found], indent=1) if as_json else "\n".join(lines(found)))


def lines(found: Sequence[Camera]) -> Iterator[str]:
    """The list for people."""
    if not found:
        yield "no cameras: there is no /dev/video* here that gives pictures; `test:` is a scene to try with"
    for camera in found:
        number = camera.device.removeprefix("/dev/video")
        if camera.problem:
            yield f"camera:{number}  {camera.device}  cannot be asked: {camera.problem}"
            continue
        yield f"camera:{number}  {camera.device}  {camera.name} ({camera.driver})"
        yield from map(_format, camera.formats)
        if wish := _best(camera):
            yield f"    depthcast run 'camera:{number}?{wish}' -o …"


def _format(one: Format) -> str:
    return f"    {one.code:<4} {one.name}: {'; '.join(map(_size, one.sizes)) or 'any size'}"


def _size(one: Size) -> str:
    to = f" to {one.to[1]}x{one.to[0]}" if one.to else ""
    rates = f" at {', '.join(f'{float(rate):g}' for rate in one.rates)}" if one.rates else ""
    return f"{one.width}x{one.height}{to}{rates}"


def _best(camera: Camera) -> str:
    """The largest size up to 1280x720 at its fastest."""
    sizes = [size for one in camera.formats for size in one.sizes if size.rates and size.height <= 720]
    if not sizes:
        return ""
    best = max(sizes, key=lambda size: (max(size.rates) >= 25, size.height * size.width, max(size.rates)))
    return f"size={best.width}x{best.height}&rate={_rate(max(best.rates))}"


def _rate(rate: Fraction) -> str:
    return str(rate.numerator) if rate.denominator == 1 else f"{rate.numerator}/{rate.denominator}"


def _plain(camera: Camera) -> dict[str, object]:
    return {
        "uri": f"camera:{camera.device.removeprefix('/dev/video')}",
        "device": camera.device,
        "name": camera.name,
        "driver": camera.driver,
        "problem": camera.problem,
        "formats": [
            {
                "code": one.code,
                "name": one.name,
                "sizes": [
                    {
                        "height": size.height,
                        "width": size.width,
                        "to": list(size.to) if size.to else None,
                        "rates": [float(rate) for rate in size.rates],
                    }
                    for size in one.sizes
                ],
            }
            for one in camera.formats
        ],
    }
