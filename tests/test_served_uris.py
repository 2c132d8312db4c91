"""Outputs and sources that a running process serves, asked from outside: as the rows of the URI tables say."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from stream.dataouts import ZenohOut
from stream.raw.codec import decode
from stream.raw.header import Kind
from stream.webrtc.watch import watch
from tests.conditions import until
from tests.rtc import SDP, offer
from tests.tiny import tiny_network

START_S = 60
BEARER = {"Authorization": "Bearer t0ken"}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


def is_listened_on(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


@contextmanager
def running(folder: Path, port: int, *words: str) -> Iterator[None]:
    """`depthcast run` in a process of its own; inside the block the port is listened on."""
    command = [sys.executable, "-m", "depthcast", "run", *words, "--checkpoint", str(tiny_network(folder))]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: process.poll() is not None or is_listened_on(port), START_S)
        assert process.poll() is None
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


@dataclass(frozen=True, slots=True)
class Served:
    """Of a process with an output of each kind: the ports of HTTP and of Foxglove, and the values sent over zenoh."""

    http: int
    foxglove: int
    kinds: list[Kind]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    zenoh = pytest.importorskip("zenoh", reason="needs eclipse-zenoh")
    from stream.sinks.zenoh import config_of

    here = Served(free_port(), free_port(), [])
    place = f"tcp/127.0.0.1:{free_port()}"
    outputs = [
        f"webrtc://t0ken@@127.0.0.1:{here.http}/depth",
        f"ws://t0ken@@127.0.0.1:{here.http}/raw?values=float16",
        f"foxglove://@127.0.0.1:{here.foxglove}",
        f"zenoh:robot/depth?connect={place}&values=float32",
    ]
    words = [word for output in outputs for word in ("-o", output)]
    with (
        zenoh.open(config_of(ZenohOut("x", listen=place))) as session,
        running(tmp_path_factory.mktemp("served"), here.http, "test:?size=160x120", *words),
    ):
        session.declare_subscriber(
            "robot/depth", lambda sample: here.kinds.append(decode(bytes(sample.payload)).header.kind)
        )
        yield here


def test_viewers_have_a_page_and_bring_the_token(served: Served) -> None:
    page = httpx.get(f"http://127.0.0.1:{served.http}/")
    assert (page.status_code, page.headers["Content-Type"].partition(";")[0]) == (200, "text/html")
    url = f"http://127.0.0.1:{served.http}/whep/depth"
    assert httpx.post(url, content=offer(), headers=SDP).status_code == 401
    with closing(watch(url, token="t0ken")) as pictures:
        assert next(pictures)[0].width == 160


def test_programs_bring_the_token_and_get_the_values_that_were_asked_for(served: Served) -> None:
    place = f"ws://127.0.0.1:{served.http}/raw"
    with pytest.raises(InvalidStatus) as refused:
        connect(place, max_size=None)
    assert refused.value.response.status_code == 403
    with connect(place, max_size=None, compression=None, additional_headers=BEARER) as client:
        raw = decode(client.recv(timeout=20, decode=False))
    assert (raw.header.kind, raw.values.shape) == (Kind.FLOAT16, (120, 160))


def test_foxglove_connects(served: Served) -> None:
    with connect(
        f"ws://127.0.0.1:{served.foxglove}", subprotocols=[Subprotocol("foxglove.sdk.v1")], max_size=None
    ) as client:
        topics: set[str] = set()
        while "/depth/image" not in topics:
            told = client.recv(timeout=20)
            heard: dict[str, Any] = json.loads(told) if isinstance(told, str) else {}
            topics |= {channel["topic"] for channel in heard.get("channels", [])}


def test_zenoh_is_connected_to_and_told_the_values_that_were_asked_for(served: Served) -> None:
    until(lambda: served.kinds)
    assert set(served.kinds) == {Kind.FLOAT32}


@pytest.mark.parametrize("scheme", ["whip", "webrtc"])
def test_publishers_bring_the_token(tmp_path: Path, scheme: str) -> None:
    port = free_port()
    with running(tmp_path, port, f"{scheme}://t0ken@@127.0.0.1:{port}/camera", "-o", "null:"):
        url = f"http://127.0.0.1:{port}/whip/camera"
        sent = offer(direction="sendonly")
        assert httpx.post(url, content=sent, headers=SDP).status_code == 401
        assert httpx.post(url, content=sent, headers=SDP | BEARER).status_code == 201
