"""Raw depth over WebSocket on one machine: from a map to the same map in another process, at a camera's pace.

python -m benchmarks.raw --frames 300

The client is a process of its own, with the reference reader's libraries. Ages are taken with the machine's one
monotonic clock, from before encoding until the map is decoded.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated

import av
import numpy as np
import typer
from numpy.typing import NDArray
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from benchmarks.machine import Conditions, conditions, write_result
from depthcast.service.app import create_app
from depthcast.service.raw import raw_router
from depthcast.service.server import serving
from engines.spec import Unit
from stream.frame import DepthFrame, DisplayRange, Frame
from stream.raw.codec import decode
from stream.raw.header import Kind
from stream.raw.payload import Unpacker
from stream.sinks.raw import RawSink
from stream.sources.synthetic import SyntheticSource

RESULTS = Path(__file__).parent / "results"
_WARM_UP = 30
_MAPS = 16
_NOISE_M = 0.003


@dataclass(frozen=True, slots=True)
class Transport:
    """Milliseconds for one map, p50 and p95. end_to_end: encode, send, decode.

    codec_share: of one core, both directions, at the rate, by the processor time that they took.
    noise_m: standard deviation of what was added to the maps.
    """

    benchmark: str
    size: str
    rate: float
    values: str
    noise_m: float
    frames: int
    dropped: int
    message_kb: float
    encode_ms: tuple[float, float]
    decode_ms: tuple[float, float]
    end_to_end_ms: tuple[float, float]
    codec_share: float
    conditions: Conditions


def main(
    size: Annotated[str, typer.Option(metavar="WxH")] = "640x480",
    rate: Annotated[float, typer.Option(min=1)] = 30,
    frames: Annotated[int, typer.Option(min=1)] = 300,
    values: Annotated[str, typer.Option(help="uint16, float16 or float32.")] = "uint16",
    noise_m: Annotated[float, typer.Option(min=0, help="Metres of noise; a network's maps have less.")] = _NOISE_M,
    listen: Annotated[str, typer.Option(hidden=True, help="Be the client of this address.")] = "",
    results: Annotated[Path, typer.Option(help="Folder of the JSON file.")] = RESULTS,
) -> None:
    """Measure, print a line, and write JSON."""
    if listen:
        hear(listen)
        return
    width, height = (int(side) for side in size.split("x"))
    measured = measure(height, width, rate, frames, Kind[values.upper()], noise_m)
    write_result(results / f"raw-{size}-{values}.json", asdict(measured))
    typer.echo(
        f"{size} {values} {measured.message_kb:.0f} kB: encode {measured.encode_ms}, decode {measured.decode_ms}, "
        f"end to end {measured.end_to_end_ms} ms (p50, p95); codec {measured.codec_share:.1%} of a core"
    )


def measure(height: int, width: int, rate: float, frames: int, values: Kind, noise_m: float) -> Transport:
    """Send at the rate, to one client in a process of its own."""
    maps = some_maps(height, width, noise_m)
    sink = RawSink(SyntheticSource(height, width, Fraction(rate).limit_denominator(1001)).info, values)
    began_at = conditions("onnx")
    with serving(create_app(raw_router("/raw", sink)), "127.0.0.1", 0) as url:
        client = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.raw", "--listen", f"{url.replace('http', 'ws')}/raw"],
            stdout=subprocess.PIPE,
            text=True,
        )
        encoding_ns = sent(sink, maps, rate, _WARM_UP + frames)[_WARM_UP:]
        sink.close()
        told, _ = client.communicate(timeout=60)
    heard = np.array(json.loads(told), np.float64)
    heard = heard[heard[:, 0] >= _WARM_UP]
    codec_s = (encoding_ns[:, 1].mean() + heard[:, 4].mean()) / 1e9
    return Transport(
        benchmark="raw",
        size=f"{width}x{height}",
        rate=rate,
        values=values.name.lower(),
        noise_m=noise_m,
        frames=frames,
        dropped=frames - len(heard),
        message_kb=round(float(heard[:, 3].mean()) / 1000, 1),
        encode_ms=_p50_p95(encoding_ns[:, 0] / 1e6),
        decode_ms=_p50_p95(heard[:, 2] / 1e6),
        end_to_end_ms=_p50_p95(heard[:, 1] / 1e6),
        codec_share=round(float(codec_s) * rate, 4),
        conditions=began_at,
    )


def sent(sink: RawSink, maps: list[NDArray[np.float32]], rate: float, frames: int) -> NDArray[np.float64]:
    """Give the sink so many frames once somebody listens: [N, 2] nanoseconds of each, by the clock and of processor."""
    height, width = maps[0].shape
    picture = av.VideoFrame(width, height, "gray")
    spent: list[tuple[int, int]] = []
    pace = threading.Event()
    while not sink.viewers:
        pace.wait(0.02)
    start_s = time.monotonic()
    for index in range(frames):
        pace.wait(max(0.0, start_s + index / rate - time.monotonic()))
        began, began_cpu = time.monotonic_ns(), time.thread_time_ns()
        frame = Frame(picture, index, index, Fraction(1, 30), began)
        sink.write(DepthFrame(frame, maps[index % _MAPS], Unit.METRE, DisplayRange(0.5, 5), False))
        spent.append((time.monotonic_ns() - began, time.thread_time_ns() - began_cpu))
    pace.wait(1 / rate)
    return np.array(spent, np.float64)


def hear(address: str) -> None:
    """The client: (pts, age when decoded, time of decoding, bytes, processor time of decoding) of each message.

    As JSON on standard output; times are nanoseconds.
    """
    rows: list[tuple[int, int, int, int, int]] = []
    unpacker = Unpacker()
    with connect(address, max_size=None, compression=None) as socket:
        while True:
            try:
                message = socket.recv(decode=False)
            except ConnectionClosed:
                break
            began, began_cpu = time.monotonic_ns(), time.thread_time_ns()
            header = decode(message, unpacker).header
            now = time.monotonic_ns()
            spent = time.thread_time_ns() - began_cpu
            rows.append((header.pts, now - header.captured_ns, now - began, len(message), spent))
    print(json.dumps(rows))


def some_maps(height: int, width: int, noise_m: float) -> list[NDArray[np.float32]]:
    """Metres of a floor, a wall and a ball that moves, with noise."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width] / height
    room = np.where(y > 0.55, 1 / np.maximum(y - 0.3, 0.1), 4.0).astype(np.float32)
    maps = []
    for index in range(_MAPS):
        ball = (x - 0.3 - 0.04 * index) ** 2 + (y - 0.5) ** 2 < 0.04
        seen = np.where(ball, np.float32(1.5), room)
        maps.append((seen + noise_m * random.standard_normal(seen.shape)).astype(np.float32))
    return maps


def _p50_p95(ms: NDArray[np.float64]) -> tuple[float, float]:
    p50, p95 = np.percentile(ms, (50, 95))
    return round(float(p50), 2), round(float(p95), 2)


if __name__ == "__main__":
    typer.run(main)
