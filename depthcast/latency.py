"""Glass to glass: from the capture of a frame until another process has its depth decoded, through everything real.

The scene carries frame numbers; they are drawn into the depth maps, travel through encoder, network and decoder, and
are read by a viewer in a process of its own (`depthcast.viewer`).
"""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from depthcast.errors import DepthcastError
from depthcast.job import Job, prepared
from depthcast.models import NANO, find
from depthcast.outputs import Look, opened_outputs
from depthcast.plan import Wanted
from depthcast.settings import Settings
from stream.barcode import draw
from stream.frame import DepthFrame, Frame
from stream.pipeline import run
from stream.sinks import Sink, kind_of
from stream.uris import TestIn, parse_sink

TRANSPORTS = MappingProxyType(
    {
        "rtsp-tcp": ("rtsp://@127.0.0.1:{port}/depth", "rtsp://127.0.0.1:{port}/depth"),
        "rtsp-udp": ("rtsp://@127.0.0.1:{port}/depth", "rtsp://127.0.0.1:{port}/depth#udp"),
        "ws": ("ws://@127.0.0.1:{port}/raw", "ws://127.0.0.1:{port}/raw"),
        "webrtc": ("webrtc://@127.0.0.1:{port}/depth", "http://127.0.0.1:{port}/whep/depth"),
    }
)
"""Output, and what the viewer is told (`depthcast.viewer`), by name."""
_STAGES = ("wait", "network", "encode", "transport")
_WARM_UP_S = 1.0
_MINUTE_NS = 60_000_000_000
_MOST_OF_A_MINUTE_NS = 40_000_000_000
"""What is left over at the end is no minute."""


class LatencyError(DepthcastError):
    """Nothing could be measured."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What to measure. size: (height, width); hold_ms: how long the viewer looks at each picture."""

    transport: str
    size: tuple[int, int] = (480, 640)
    rate: Fraction = Fraction(30)
    seconds: float = 10.0
    threads: int | None = None
    hold_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Milliseconds of one stage; `total` is glass to glass."""

    name: str
    p50_ms: float
    p95_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Latency:
    """What was seen. frames: shown; drops: captured meanwhile and never shown.

    stages: wait (for the network), network (with resizing before and after it), encode (and handing over), transport
    (with decoding). minutes: p95 of the whole way in each minute, an incomplete last one left out.
    """

    transport: str
    frames: int
    drops: int
    total: Quantiles
    stages: tuple[Quantiles, ...]
    minutes: tuple[float, ...]


@dataclass(slots=True)
class _Stamps:
    """Times of one frame on the monotonic clock, nanoseconds; 0: not there yet."""

    captured: int
    begun: int
    done: int
    written: int = 0
    seen: int = 0


class _Stamping:
    """A sink that notes when another, which it owns, has written a frame."""

    def __init__(self, sink: Sink, stamps: dict[int, _Stamps]) -> None:
        self._sink = sink
        self._stamps = stamps

    @property
    def kind(self) -> str:
        """The other sink's."""
        return kind_of(self._sink)

    def write(self, depth_frame: DepthFrame) -> None:
        """Write and note."""
        self._sink.write(depth_frame)
        self._stamps[depth_frame.frame.index].written = time.monotonic_ns()

    def close(self) -> None:
        """Close the sink."""
        self._sink.close()

    def abort(self) -> None:
        """Abort the sink."""
        self._sink.abort()


def measure(wish: Wish, settings: Settings, say: Callable[[str], None]) -> Latency:
    """Run for `wish.seconds` after a second of warm-up. Raises LatencyError where no frame arrives."""
    port = _free_port()
    output, view = (uri.format(port=port) for uri in TRANSPORTS[wish.transport])
    job = Job(TestIn(wish.size, wish.rate), (parse_sink(output),), Wanted(find(NANO), threads=wish.threads), Look())
    stamps: dict[int, _Stamps] = {}
    stop = threading.Event()
    with prepared(job, settings, say) as ready:
        assert callable(ready.estimate)
        estimate = _stamped(ready.estimate, stamps)
        with (
            opened_outputs(job.outputs, ready.live, job.look, ready.sound, settings, ready.ports) as sinks,
            _watched(wish.transport, view, wish.hold_ms) as viewer,
        ):
            watching = threading.Thread(target=_note, args=(viewer, stamps, stop, wish.seconds))
            watching.start()
            try:
                run(ready.source, estimate, [_Stamping(sink, stamps) for sink in sinks], stop=stop)
            finally:
                stop.set()
                viewer.terminate()
                watching.join()
    return summed_up(wish.transport, stamps)


def marked(depth_frame: DepthFrame) -> DepthFrame:
    """The frame with its index as a barcode (`stream.barcode`) of the two ends of what a picture of it spans.

    It survives every kind of output: black and white in pictures, numbers in raw maps.
    """
    strip = np.full((*depth_frame.depth.shape, 3), 128, np.uint8)
    draw(strip, depth_frame.frame.index)
    low, high = depth_frame.range.low, depth_frame.range.high
    depth = np.select([strip[..., 0] < 128, strip[..., 0] > 128], [low, high], depth_frame.depth)
    return replace(depth_frame, depth=depth.astype(np.float32))


def _stamped(step: Callable[[Frame], DepthFrame], stamps: dict[int, _Stamps]) -> Callable[[Frame], DepthFrame]:
    def stepped(frame: Frame) -> DepthFrame:
        begun = time.monotonic_ns()
        depth_frame = step(frame)
        stamps[frame.index] = _Stamps(frame.captured_ns, begun, time.monotonic_ns())
        return marked(depth_frame)

    return stepped


@contextmanager
def _watched(transport: str, url: str, hold_ms: float) -> Iterator[subprocess.Popen[str]]:
    words = [sys.executable, "-m", "depthcast.viewer", transport, url, str(hold_ms)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as viewer:
        try:
            yield viewer
        finally:
            viewer.terminate()


def _note(viewer: subprocess.Popen[str], stamps: Mapping[int, _Stamps], stop: threading.Event, seconds: float) -> None:
    """Note what the viewer sees, for `seconds` after the first picture and the warm-up; then end the run."""
    assert viewer.stdout is not None
    first_ns: int | None = None
    try:
        for line in viewer.stdout:
            number, seen_ns = map(int, line.split())
            first_ns = first_ns or seen_ns
            since_s = (seen_ns - first_ns) / 1e9
            if since_s > _WARM_UP_S + seconds:
                break
            if since_s > _WARM_UP_S and number in stamps:
                stamps[number].seen = stamps[number].seen or seen_ns
    finally:
        stop.set()


def summed_up(transport: str, stamps: Mapping[int, _Stamps]) -> Latency:
    """Figures of all frames between the first and the last one that were seen. LatencyError where none was."""
    seen = {number: one for number, one in stamps.items() if one.seen}
    if not seen:
        raise LatencyError(f"{transport}: no picture arrived; `depthcast run test: -o {_output(transport)}` says why")
    times = np.array([[one.captured, one.begun, one.done, one.written, one.seen] for one in seen.values()], np.int64)
    # What a viewer has seen before the sink's `write` returned has cost no transport.
    times[:, 3] = np.where(times[:, 3] == 0, times[:, 4], np.minimum(times[:, 3], times[:, 4]))
    steps = np.diff(times, axis=1) / 1e6
    whole = (times[:, 4] - times[:, 0]) / 1e6
    minute = (times[:, 4] - times[0, 4]) // _MINUTE_NS
    stages = tuple(_quantiles(name, steps[:, column]) for column, name in enumerate(_STAGES))
    minutes = tuple(
        round(float(np.percentile(whole[minute == one], 95)), 2)
        for one in np.unique(minute)
        if one == 0 or np.ptp(times[minute == one, 4]) > _MOST_OF_A_MINUTE_NS
    )
    drops = max(seen) - min(seen) + 1 - len(seen)
    return Latency(transport, len(seen), drops, _quantiles("total", whole), stages, minutes)


def _quantiles(name: str, ms: NDArray[np.float64]) -> Quantiles:
    return Quantiles(name, *(round(float(value), 2) for value in np.percentile(ms, (50, 95, 99))))


def _output(transport: str) -> str:
    return TRANSPORTS[transport][0].format(port=8554)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
