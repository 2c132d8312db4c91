"""A source that redirects: the login of its address is given to no other server (`tests/test_webrtc_publishers.py` has
what is published).
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

import pytest

from stream.errors import SourceError
from stream.sources.choose import open_source
from stream.uris import parse_source

pytestmark = pytest.mark.usefixtures("no_thread_stays")
Answer = Callable[[str], str]


def head_of(lines: BinaryIO) -> str:
    """Of the next request; empty at the end."""
    head = b""
    while (line := lines.readline()) not in (b"\r\n", b""):
        head += line
    return head.decode()


@contextmanager
def answering(answer: Answer, protocol: str) -> Iterator[tuple[int, list[str]]]:
    """A server that gives each request's head an answer; yields its port, and the heads."""
    heads: list[str] = []
    conversations: list[threading.Thread] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def converse(asker: socket.socket) -> None:
            with asker, asker.makefile("rb") as lines:
                while head := head_of(lines):
                    heads.append(head)
                    sequence = next((line for line in head.split("\r\n") if line.startswith("CSeq")), "X: x")
                    try:
                        said = f"{protocol} {answer(head)}\r\n{sequence}\r\nContent-Length: 0\r\n\r\n"
                        asker.sendall(said.encode())
                    except OSError:
                        return

        def serve() -> None:
            while True:
                asker, _ = listener.accept()
                if ended.is_set():
                    asker.close()
                    return
                conversations.append(threading.Thread(target=converse, args=(asker,)))
                conversations[-1].start()

        ended, serving = threading.Event(), threading.Thread(target=serve)
        serving.start()
        port = int(listener.getsockname()[1])
        try:
            yield port, heads
        finally:
            ended.set()
            socket.create_connection(("127.0.0.1", port)).close()
            serving.join()
            for one in conversations:
                one.join()


def asking(head: str, redirect: str, method: str) -> str:
    """Of a camera that wants to know who asks, and then redirects."""
    if "Authorization: " not in head:
        return '401 Unauthorized\r\nWWW-Authenticate: Basic realm="camera"'
    return redirect if head.startswith(method) else "200 OK\r\nPublic: DESCRIBE"


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "305 Use Proxy"])
@pytest.mark.parametrize("method", ["OPTIONS", "DESCRIBE"])
def test_an_rtsp_camera_cannot_have_its_login_sent_elsewhere(method: str, status: str) -> None:
    with answering(lambda _: '401 Unauthorized\r\nWWW-Authenticate: Basic realm="x"', "RTSP/1.0") as (other, stolen):
        redirect = f"{status}\r\nLocation: rtsp://127.0.0.1:{other}/token-of-another"
        with (
            answering(lambda head: asking(head, redirect, method), "RTSP/1.0") as (port, heads),
            pytest.raises(SourceError, match="redirects to another server, which is not given the login") as said,
        ):
            open_source(parse_source(f"rtsp://ann:s3cret@127.0.0.1:{port}/cam"), timeout_s=5)
    assert any("Authorization: Basic" in head for head in heads)
    assert stolen == []
    assert "s3cret" not in str(said.value)


def test_a_redirection_on_the_same_camera_is_followed() -> None:
    redirects: list[str] = []

    def answer(head: str) -> str:
        if "/new" in head.partition("\r\n")[0]:
            return "404 Not Found"
        return asking(head, redirects[0], "DESCRIBE")

    with answering(answer, "RTSP/1.0") as (port, heads):
        redirects.append(f"302 Found\r\nLocation: rtsp://127.0.0.1:{port}/new")
        with pytest.raises(SourceError, match="404"):
            open_source(parse_source(f"rtsp://ann:s3cret@127.0.0.1:{port}/old"), timeout_s=5)
    assert any("/new RTSP/1.0" in head for head in heads)


@pytest.mark.parametrize("status", ["302 Found", "307 Temporary Redirect"])
def test_a_web_server_cannot_have_its_login_sent_elsewhere(status: str) -> None:
    with answering(lambda _: '401 Unauthorized\r\nWWW-Authenticate: Basic realm="x"', "HTTP/1.1") as (other, stolen):
        redirect = f"{status}\r\nLocation: http://127.0.0.1:{other}/v.mp4"
        with (
            answering(lambda head: asking(head, redirect, "GET"), "HTTP/1.1") as (port, heads),
            pytest.raises(SourceError, match="cannot be opened"),
        ):
            open_source(parse_source(f"http://ann:s3cret@127.0.0.1:{port}/v.mp4"), timeout_s=5)
    assert any("Authorization: Basic" in head for head in heads)
    assert len(stolen) > 0
    assert not any("Authorization" in head for head in stolen)
