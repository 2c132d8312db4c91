"""A running WebRTC output on 127.0.0.1, what its viewers see, and the offers that they make."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from fractions import Fraction

from aiortc import RTCRtpReceiver

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
from stream.webrtc.corrections import Ice, IceServer, Peer
from stream.webrtc.watch import watch
from stream.webrtcuris import WhipPublish
from tests.fakes import FakeSession

SDP = {"Content-Type": "application/sdp"}
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
    servers: tuple[IceServer, ...] = (),
) -> Iterator[Shown]:
    """The test scene beside its depth."""
    source = Paced(SyntheticSource(HEIGHT, WIDTH, Fraction(rate)))
    sink = WebRtcSink(source.info, Painter(source.info, colormap, side_by_side=True), LOOPBACK, viewing or Viewing())
    stop, estimator = threading.Event(), DepthEstimator(FakeSession())
    running = threading.Thread(target=run, args=(source, estimator.step, [sink]), kwargs={"stop": stop})
    with serving(create_app(sessions_router("/whep/depth", sink.door, token, servers)), "127.0.0.1", 0) as url:
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


def is_rising(seen: list[int | None]) -> bool:
    """All could be read, and each is larger than the one before."""
    return None not in seen and seen == sorted(set(seen))  # type: ignore[type-var]


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


def offer(codecs: str | None = None, direction: str = "recvonly") -> str:
    """A browser's, without a peer behind it."""

    async def made() -> str:
        peer = Peer(LOOPBACK)
        transceiver = peer.addTransceiver("video", direction=direction)
        known = RTCRtpReceiver.getCapabilities("video")
        assert known is not None
        if codecs is not None:
            transceiver.setCodecPreferences([one for one in known.codecs if re.search(codecs, one.mimeType)])
        await peer.setLocalDescription()
        try:
            return str(peer.localDescription.sdp)
        finally:
            await peer.close()

    return asyncio.run(made())


def lose_every(peer: Peer, count: int) -> None:
    """One in `count` of the datagrams that go to it."""
    transport = peer.getTransceivers()[0].receiver.transport.transport
    send, sent = transport._send, iter(range(1 << 30))

    async def lossy(data: bytes) -> None:
        if next(sent) % count:
            await send(data)

    transport._send = lossy
