"""A running WebRTC output on 127.0.0.1, and what its viewers see."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from fractions import Fraction

from depthcast.service.app import create_app
from depthcast.service.server import serving
from depthcast.service.whip import sessions_router
from stream.barcode import read
from stream.colour import Colormap
from stream.estimator import DepthEstimator
from stream.pipeline import run
from stream.preprocess import to_rgb
from stream.sinks.picture import Painter
from stream.sinks.webrtc import Viewing, WebRtcSink
from stream.sinks.whip import WhipPublishSink
from stream.sources.paced import Paced
from stream.sources.synthetic import SyntheticSource
from stream.webrtc.corrections import Ice
from stream.webrtc.watch import watch
from stream.webrtcuris import WhipPublish
from tests.fakes import FakeSession

LOOPBACK = Ice(("127.0.0.1",))
HEIGHT, WIDTH = 120, 160


@dataclass(frozen=True, slots=True)
class Shown:
    """An output and where it is watched."""

    sink: WebRtcSink
    url: str


@contextmanager
def shown(
    viewing: Viewing | None = None,
    token: str | None = None,
    rate: int = 30,
    colormap: Colormap = Colormap.GRAYSCALE,
) -> Iterator[Shown]:
    """The test scene beside its depth."""
    source = Paced(SyntheticSource(HEIGHT, WIDTH, Fraction(rate)))
    sink = WebRtcSink(source.info, Painter(source.info, colormap, side_by_side=True), LOOPBACK, viewing or Viewing())
    stop, estimator = threading.Event(), DepthEstimator(FakeSession())
    running = threading.Thread(target=run, args=(source, estimator.step, [sink]), kwargs={"stop": stop})
    with serving(create_app(sessions_router("/whep/depth", sink.door, token)), "127.0.0.1", 0) as url:
        running.start()
        try:
            yield Shown(sink, f"{url}/whep/depth")
        finally:
            stop.set()
            running.join()


def numbers(url: str, count: int = 6, token: str | None = None) -> list[int | None]:
    """What a viewer sees in the pictures' source half."""
    with closing(watch(url, token=token)) as pictures:
        return [
            read(to_rgb(picture, HEIGHT, 2 * WIDTH)[:, :WIDTH])
            for (picture, _), _ in zip(pictures, range(count), strict=False)
        ]


@contextmanager
def published(url: str, token: str | None = None, timeout_s: float = 2.0) -> Iterator[WhipPublishSink]:
    """The test scene beside its depth, brought to a server."""

    async def soon(_seconds: float) -> None:
        await asyncio.sleep(0.05)

    source = Paced(SyntheticSource(120, 160, Fraction(30)))
    painter = Painter(source.info, side_by_side=True)
    sink = WhipPublishSink(WhipPublish(url, url, token), source.info, painter, LOOPBACK, 4_000_000, timeout_s, soon)
    stop, estimator = threading.Event(), DepthEstimator(FakeSession())
    running = threading.Thread(target=run, args=(source, estimator.step, [sink]), kwargs={"stop": stop})
    running.start()
    try:
        yield sink
    finally:
        stop.set()
        running.join()
