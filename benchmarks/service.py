"""The service under load: how long clients wait that poll while a job runs, and what a job costs a live stream.

python -m benchmarks.service --seconds 20
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Annotated

import av
import httpx
import numpy as np
import typer

from benchmarks.machine import Conditions, conditions, write_result
from depthcast.models import NANO, find
from depthcast.networks import step_session
from depthcast.plan import Mode, Wanted
from depthcast.service.addresses import Allowed
from depthcast.service.api.catalog import MODEL
from depthcast.service.app import create_app
from depthcast.service.fetch import FetchRules
from depthcast.service.hosted import jobs_router
from depthcast.service.server import serving
from depthcast.service.settings import ServiceSettings
from depthcast.settings import Settings
from stream.estimator import DepthEstimator
from stream.preprocess import to_rgb
from stream.sources.synthetic import SyntheticSource

RESULTS = Path(__file__).parent / "results"
_SIZE = (480, 640)
_LIVE_RATE = 15


@dataclass(frozen=True, slots=True)
class Polling:
    """Clients that each ask for the state of a job once a second, and listeners to events, while jobs run.

    events: completions that a listener was told of, the fewest of all listeners; jobs: those that ended meanwhile.
    """

    clients: int
    listeners: int
    seconds: float
    requests: int
    errors: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    jobs: int
    events: int


@dataclass(frozen=True, slots=True)
class Live:
    """Milliseconds of a live stream's steps at 15 frames a second, and the frames a second of a job beside it.

    beside: nothing, a job that makes room, a job that does not (as though nobody watched).
    """

    beside: str
    p50_ms: float
    p95_ms: float
    job_fps: float


@dataclass(frozen=True, slots=True)
class ServiceLoad:
    """Both, on one machine: 640x480, the embedded model, the clients on the same processors as the service."""

    benchmark: str
    polling: Polling
    live: tuple[Live, ...]
    conditions: Conditions


class _Flag:
    """Whether somebody watches live."""

    __slots__ = ("up",)

    def __init__(self) -> None:
        self.up = False

    def __call__(self) -> bool:
        return self.up


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Nothing is printed."""


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Who cancels a job hangs up in the middle of its video."""


def main(
    seconds: Annotated[float, typer.Option(min=1, help="Of polling, and of each live measurement's rounds.")] = 20,
    clients: Annotated[int, typer.Option(min=1)] = 100,
    listeners: Annotated[int, typer.Option(min=1)] = 10,
    results: Annotated[Path, typer.Option(help="Folder of the JSON file.")] = RESULTS,
) -> None:
    """Measure, print two lines, and write JSON."""
    where = conditions("onnx")
    flag = _Flag()
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        files = opened.enter_context(_clips(folder))
        with _process(folder / "polled") as url:
            polling = asyncio.run(_polled(url, files, seconds, clients, listeners))
        typer.echo(f"GET beside a job: p50 {polling.p50_ms}, p95 {polling.p95_ms} ms, {polling.errors} errors")
        fetch = FetchRules(allow=Allowed.of(["127.0.0.1"]))
        settings = ServiceSettings(folder / "live", fallback=True, mode=Mode.STREAM, threads=1, fetch=fetch, grace_s=0)
        url = opened.enter_context(serving(create_app(jobs_router(settings, flag)), "127.0.0.1", 0))
        live = _watched(url, files, flag, seconds)
    load = ServiceLoad("service", polling, live, where)
    write_result(results / "service.json", asdict(load))
    for row in live:
        typer.echo(f"live beside {row.beside}: p50 {row.p50_ms}, p95 {row.p95_ms} ms; job {row.job_fps} fps")


@contextmanager
def _clips(folder: Path) -> Iterator[str]:
    """A short clip and a long one on 127.0.0.1."""
    place = folder / "clips"
    place.mkdir()
    for name, frames in (("short.mp4", 30), ("long.mp4", 3000)):
        _write_clip(place / name, frames)
    with _Server(("127.0.0.1", 0), partial(_Quiet, directory=str(place))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@contextmanager
def _process(data: Path) -> Iterator[str]:
    """`depthcast serve` as its users start it."""
    words = (sys.executable, "-m", "depthcast", "serve", "--port", "0", "--data", str(data), "--fallback", "nano")
    more = ("--allow", "127.0.0.1", "--mode", "stream", "--threads", "1", "--grace", "0")
    with subprocess.Popen((*words, *more), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1]
        process.terminate()


def _write_clip(path: Path, frames: int) -> None:
    height, width = _SIZE
    with av.open(path, "w") as container:
        video = container.add_stream("libx264", 30, options={"preset": "ultrafast"})
        video.height, video.width, video.pix_fmt = height, width, "yuv420p"
        for frame in SyntheticSource(height, width, Fraction(30), frames):
            rgb = to_rgb(frame.picture, height, width)
            container.mux(video.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        container.mux(video.encode(None))


async def _polled(url: str, files: str, seconds: float, clients: int, listeners: int) -> Polling:
    async with httpx.AsyncClient(base_url=url, timeout=60) as http:
        ids = [name for _ in range(25) for name in await _enqueue(http, f"{files}/short.mp4", 4)]
        heard: list[set[str]] = [set() for _ in range(listeners)]
        listening = [asyncio.create_task(_listen(url, each)) for each in heard]
        end_s = time.monotonic() + seconds
        polled = await asyncio.gather(*(_poll(url, ids[n % len(ids)], n / clients, end_s) for n in range(clients)))
        ended = {name for name in ids if (await _row(http, name))["status"] in ("succeeded", "failed")}
        # What ended in the last moment is on its way yet.
        await asyncio.sleep(1)
        for task in listening:
            task.cancel()
        await asyncio.gather(*listening, return_exceptions=True)
        for name in ids:
            await http.delete(f"/api/ai/queue/{name}")
    ms = [one for taken, _ in polled for one in taken]
    p50, p95, p99 = (round(float(value), 1) for value in np.percentile(ms, (50, 95, 99)))
    errors = sum(failed for _, failed in polled)
    told = min(len(each & ended) for each in heard)
    return Polling(clients, listeners, seconds, len(ms), errors, p50, p95, p99, len(ended), told)


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection of one's own. A client library would take more of the processor than the service does."""
    host, _, port = url.removeprefix("http://").partition(":")
    read, write = await asyncio.open_connection(host, int(port))
    try:
        yield read, write
    finally:
        write.close()


async def _poll(url: str, name: str, offset_s: float, end_s: float) -> tuple[list[float], int]:
    """Milliseconds of each answer, and the number of those that were no success."""
    taken, failed = [], 0
    await asyncio.sleep(offset_s)
    async with _connected(url) as (read, write):
        while time.monotonic() < end_s:
            began_s = time.monotonic()
            write.write(f"GET /api/ai/queue/{name} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            head = await read.readuntil(b"\r\n\r\n")
            await read.readexactly(int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0]))
            failed += not head.startswith(b"HTTP/1.1 200 ")
            taken.append((time.monotonic() - began_s) * 1e3)
            await asyncio.sleep(max(0.0, began_s + 1 - time.monotonic()))
    return taken, failed


async def _listen(url: str, heard: set[str]) -> None:
    async with _connected(url) as (read, write):
        write.write(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        name = b""
        while line := await read.readline():
            if line.startswith(b"event: "):
                name = line
            elif line.startswith(b"data: ") and name == b"event: media_generation_completed\n":
                heard.add(json.loads(line.removeprefix(b"data: "))["generation_id"])


async def _enqueue(http: httpx.AsyncClient, video_url: str, count: int) -> list[str]:
    body = {"model": MODEL, "video_url": video_url, "num_generations": count}
    answer = await http.post("/api/ai/queue", json=body)
    return [generation["generation_id"] for generation in answer.raise_for_status().json()["generations"]]


async def _row(http: httpx.AsyncClient, name: str) -> dict[str, str]:
    row: dict[str, str] = (await http.get(f"/api/ai/queue/{name}")).json()
    return row


def _watched(url: str, files: str, flag: _Flag, seconds: float) -> tuple[Live, ...]:
    """A live stream alone, then beside a job that makes room and one that does not, in turn."""
    rounds = 3
    kinds = {"nothing": False, "a job that makes room": True, "a job that does not": False}
    ms: dict[str, list[float]] = {kind: [] for kind in kinds}
    fps: dict[str, list[float]] = {kind: [] for kind in kinds}
    wanted = Wanted(find(NANO), threads=1)
    with (
        step_session(wanted, _SIZE, Settings.from_environment(), typer.echo) as session,
        httpx.Client(base_url=url) as http,
    ):
        estimator = DepthEstimator(session)
        for _ in range(rounds):
            job = ""
            for kind, makes_room in kinds.items():
                if kind != "nothing" and not job:
                    job = _started(http, f"{files}/long.mp4")
                flag.up = makes_room
                time.sleep(1)
                before, began_s = _frames_done(http, job), time.monotonic()
                ms[kind] += _live_steps(estimator, seconds / rounds)
                fps[kind].append((_frames_done(http, job) - before) / (time.monotonic() - began_s))
            http.delete(f"/api/ai/queue/{job}")
    return tuple(_summed(kind, ms[kind], fps[kind]) for kind in kinds)


def _summed(beside: str, ms: list[float], fps: list[float]) -> Live:
    p50, p95 = (round(float(value), 1) for value in np.percentile(ms, (50, 95)))
    return Live(beside, p50, p95, round(float(np.mean(fps)), 1))


def _started(http: httpx.Client, video_url: str) -> str:
    answer = http.post("/api/ai/queue", json={"model": MODEL, "video_url": video_url}).json()
    job = str(answer["generations"][0]["generation_id"])
    while not _frames_done(http, job):
        time.sleep(0.1)
    return job


def _frames_done(http: httpx.Client, job: str) -> float:
    if not job:
        return 0
    row = http.get(f"/api/ai/queue/{job}").json()
    return 3000 * (row.get("progress") or 0) if row.get("phase") == "estimating" else 0


def _live_steps(estimator: DepthEstimator, seconds: float) -> list[float]:
    taken = []
    due_s = time.monotonic()
    for frame in SyntheticSource(*_SIZE, Fraction(_LIVE_RATE), round(seconds * _LIVE_RATE)):
        time.sleep(max(0.0, due_s - time.monotonic()))
        began_s = time.monotonic()
        estimator.step(frame)
        taken.append((time.monotonic() - began_s) * 1e3)
        due_s = max(due_s + 1 / _LIVE_RATE, time.monotonic())
    return taken


if __name__ == "__main__":
    typer.run(main)
