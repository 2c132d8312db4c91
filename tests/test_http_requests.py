"""What players, download tools and load balancers ask of an HTTP server: HEAD, ranges, conditions; and slow clients."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from email.utils import formatdate
from pathlib import Path

import httpx
import pytest
from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import StreamingResponse

from depthcast.commands.serve import ServeOptions, application
from depthcast.service.app import create_app
from depthcast.service.connections import Waiting
from depthcast.service.files import StoredFile
from depthcast.service.page import page_router
from depthcast.service.requests import LARGEST_BODY, Pace
from depthcast.service.server import serving
from depthcast.settings import Settings
from tests.served import settings
from tests.test_cross_site import places_of, run_routers, served

CONTENT = bytes(range(100))
WRITTEN_S = 1_700_000_000.75
LAST_MODIFIED = "Tue, 14 Nov 2023 22:13:20 GMT"
WAITING, PACE = Waiting(), Pace()


class Wish(BaseModel):
    word: str


def _routes(folder: Path) -> APIRouter:
    router = APIRouter()
    file, empty = folder / "file.bin", folder / "empty.bin"
    file.write_bytes(CONTENT)
    empty.touch()
    os.utime(file, (WRITTEN_S, WRITTEN_S))

    @router.get("/file")
    async def whole() -> StoredFile:
        return StoredFile(file, stat_result=file.stat())

    @router.get("/empty")
    async def nothing() -> StoredFile:
        return StoredFile(empty, stat_result=empty.stat())

    @router.post("/wish")
    async def wish(wanted: Wish) -> str:
        return wanted.word

    @router.post("/raw")
    async def raw(request: Request) -> int:
        return sum([len(part) async for part in request.stream()])

    @router.get("/endless")
    async def endless() -> StreamingResponse:
        async def parts() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield bytes(65536)
                    await asyncio.sleep(0)
            finally:
                LEFT.set()

        return StreamingResponse(parts())

    return router


LEFT = threading.Event()
"""Nobody is sent the endless answer any more."""


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    app = create_app(_routes(tmp_path_factory.mktemp("files")), page_router())
    with serving(app, "127.0.0.1", 0) as url, httpx.Client(base_url=url) as client:
        yield client


def check_heads(url: str, paths: list[str]) -> None:
    """HEAD answers as GET does, without the body."""
    with httpx.Client(base_url=url) as client:
        for path in paths:
            head = client.head(path)
            with client.stream("GET", path) as get:
                assert head.status_code == get.status_code, path
                for name in ("Content-Type", "Content-Length", "ETag", "Last-Modified", "Accept-Ranges", "Allow"):
                    if path != "/metrics" or name != "Content-Length":
                        assert head.headers.get(name) == get.headers.get(name), (path, name)
            assert head.content == b"", path


def test_every_route_of_the_servers_of_run_answers_head() -> None:
    with served(*run_routers()) as (url, places):
        paths = [place.path for place in places if place.method == "GET"]
        assert {"/healthz", "/metrics", "/", "/app.js", "/live/streams", "/live/options", "/openapi.json"} <= {*paths}
        check_heads(url, paths)
        assert httpx.head(f"{url}/whep/depth").status_code == 405
        assert httpx.head(f"{url}/nowhere").status_code == 404


def test_every_route_of_serve_answers_head(tmp_path: Path) -> None:
    app = application(ServeOptions(), settings(tmp_path / "data"), Settings(tmp_path))
    with serving(app, "127.0.0.1", 0) as url:
        paths = [place.path for place in places_of(app) if place.method == "GET"]
        assert {"/healthz", "/readyz", "/metrics", "/api/ai/models", "/api/ai/queue", "/api/events"} <= {*paths}
        check_heads(url, paths)
        assert httpx.head(f"{url}/api/events").headers["Content-Type"].startswith("text/event-stream")
        assert httpx.head(f"{url}/api/ai/videos/generate").status_code == 405


@pytest.mark.parametrize(
    ("wanted", "status", "part"),
    [
        ("bytes=0-4", 206, CONTENT[:5]),
        ("bytes=90-", 206, CONTENT[90:]),
        ("bytes=-5", 206, CONTENT[-5:]),
        ("bytes=-500", 206, CONTENT),
        ("bytes=95-200", 206, CONTENT[95:]),
        ("Bytes = 0-4", 206, CONTENT[:5]),
        ("bytes=0-4,200-300", 206, CONTENT[:5]),
        ("bytes=0-4, 3-9", 206, CONTENT[:10]),
        ("bytes=0-4,,", 206, CONTENT[:5]),
        ("bytes=100-", 416, b""),
        ("bytes=-0", 416, b""),
        ("bytes=100-,-0", 416, b""),
        ("items=0-4", 200, CONTENT),
        ("bytes=4-2", 200, CONTENT),
        ("bytes=0-4,9-8", 200, CONTENT),
        ("bytes=a-b", 200, CONTENT),
        ("bytes=0-4,x", 200, CONTENT),
        ("bytes=-", 200, CONTENT),
        ("bytes=", 200, CONTENT),
        ("bytes", 200, CONTENT),
        ("", 200, CONTENT),
        ("bytes=" + ",".join(f"{at}-{at}" for at in range(0, 60, 2)), 200, CONTENT),
        ("bytes=" + "9" * 40 + "-", 200, CONTENT),
        ("bytes=٣-٤", 200, CONTENT),
    ],
)
def test_ranges(client: httpx.Client, wanted: str, status: int, part: bytes) -> None:
    answer = client.get("/file", headers={b"Range": wanted.encode()})
    assert (answer.status_code, answer.content) == (status, part)
    if status == 416:
        assert answer.headers["Content-Range"] == "bytes */100"
    if status == 206:
        first = CONTENT.index(part)
        assert answer.headers["Content-Range"] == f"bytes {first}-{first + len(part) - 1}/100"


def test_several_ranges_come_as_parts(client: httpx.Client) -> None:
    answer = client.get("/file", headers={"Range": "bytes=0-1, 50-51,-2, 300-"})
    assert answer.status_code == 206
    kind, _, boundary = answer.headers["Content-Type"].partition("; boundary=")
    assert kind == "multipart/byteranges"
    parts = [part.partition(b"\r\n\r\n") for part in answer.content.split(f"--{boundary}".encode())[1:-1]]
    assert [body.removesuffix(b"\r\n") for _, _, body in parts] == [CONTENT[:2], CONTENT[50:52], CONTENT[-2:]]
    assert [head.partition(b"Content-Range: ")[2] for head, _, _ in parts] == [
        b"bytes 0-1/100",
        b"bytes 50-51/100",
        b"bytes 98-99/100",
    ]


def test_an_empty_file_has_no_ranges(client: httpx.Client) -> None:
    answer = client.get("/empty", headers={"Range": "bytes=0-"})
    assert (answer.status_code, answer.content) == (200, b"")


def test_ranges_are_for_get_alone(client: httpx.Client) -> None:
    head = client.head("/file", headers={"Range": "bytes=0-4"})
    assert (head.status_code, head.headers["Content-Length"], head.headers["Accept-Ranges"]) == (200, "100", "bytes")


@pytest.mark.parametrize(
    ("condition", "status"),
    [
        ({"If-None-Match": "{etag}"}, 304),
        ({"If-None-Match": "W/{etag}"}, 304),
        ({"If-None-Match": '"a", W/{etag} ,"b"'}, 304),
        ({"If-None-Match": "*"}, 304),
        ({"If-None-Match": '"a"'}, 200),
        ({"If-None-Match": ""}, 200),
        ({"If-Modified-Since": LAST_MODIFIED}, 304),
        ({"If-Modified-Since": formatdate(WRITTEN_S + 3600, usegmt=True)}, 304),
        ({"If-Modified-Since": "Tuesday, 14-Nov-23 22:13:20 GMT"}, 304),
        ({"If-Modified-Since": "Tue Nov 14 22:13:20 2023"}, 304),
        ({"If-Modified-Since": formatdate(WRITTEN_S - 1, usegmt=True)}, 200),
        ({"If-Modified-Since": "yesterday"}, 200),
        ({"If-None-Match": '"a"', "If-Modified-Since": LAST_MODIFIED}, 200),
        ({"If-None-Match": "{etag}", "Range": "bytes=0-4"}, 304),
        ({"If-Match": "{etag}"}, 200),
        ({"If-Match": "*"}, 200),
        ({"If-Match": '"a"'}, 412),
        ({"If-Match": "W/{etag}"}, 412),
        ({"If-Unmodified-Since": LAST_MODIFIED}, 200),
        ({"If-Unmodified-Since": formatdate(WRITTEN_S - 1, usegmt=True)}, 412),
        ({"If-Range": "{etag}", "Range": "bytes=0-4"}, 206),
        ({"If-Range": LAST_MODIFIED, "Range": "bytes=0-4"}, 206),
        ({"If-Range": "W/{etag}", "Range": "bytes=0-4"}, 200),
        ({"If-Range": '"a"', "Range": "bytes=0-4"}, 200),
        ({"If-Range": formatdate(WRITTEN_S - 1, usegmt=True), "Range": "bytes=0-4"}, 200),
    ],
)
def test_conditions(client: httpx.Client, condition: dict[str, str], status: int) -> None:
    first = client.head("/file").headers
    assert first["Last-Modified"] == LAST_MODIFIED
    headers = {name: value.replace("{etag}", first["ETag"]) for name, value in condition.items()}
    for method in ("GET", "HEAD") if "Range" not in condition else ("GET",):
        answer = client.request(method, "/file", headers=headers)
        assert answer.status_code == status
        length = {200: 100, 206: 5}.get(status, 0)
        assert len(answer.content) == (length if method == "GET" else 0)
        if status == 304:
            assert (answer.headers["ETag"], answer.headers["Last-Modified"]) == (first["ETag"], LAST_MODIFIED)


def test_the_page_is_not_sent_twice(client: httpx.Client) -> None:
    first = client.get("/app.js")
    for condition in ("If-None-Match", first.headers["ETag"]), ("If-Modified-Since", first.headers["Last-Modified"]):
        again = client.get("/app.js", headers=dict([condition]))
        assert (again.status_code, again.content) == (304, b"")
        for name in ("Content-Security-Policy", "Cache-Control"):
            assert again.headers[name] == first.headers[name]


def test_bodies_that_no_route_needs_so_large_are_refused_before_they_are_read(client: httpx.Client) -> None:
    large = {"word": "a" * LARGEST_BODY}
    for path in ("/wish", "/raw"):
        assert client.post(path, json=large).status_code == 413
        assert client.post(path, content=iter([b"a" * 65536] * 17)).status_code == 413, "of unknown length"
    assert client.post("/wish", json={"word": "yes"}).json() == "yes"
    assert client.post("/raw", content=b"a" * LARGEST_BODY).json() == LARGEST_BODY
    with closing(call(client)) as caller:
        caller.sendall(
            b"POST /raw HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999999\r\nExpect: 100-continue\r\n\r\n"
        )
        assert caller.recv(12) == b"HTTP/1.1 413"


def call(client: httpx.Client) -> socket.socket:
    return socket.create_connection(("127.0.0.1", client.base_url.port or 0), 10)


def ended(caller: socket.socket) -> bytes:
    """What comes until the other side has closed the connection."""
    said = b""
    try:
        while part := caller.recv(65536):
            said += part
    except ConnectionError:
        pass
    return said


@contextmanager
def impatient(folder: Path, waiting: Waiting = WAITING, pace: Pace = PACE) -> Iterator[httpx.Client]:
    app = create_app(_routes(folder), pace=pace)
    with serving(app, "127.0.0.1", 0, waiting) as url, httpx.Client(base_url=url) as client:
        yield client


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nHost: localhost\r\nX: "])
def test_a_connection_without_a_request_is_left(said: bytes, tmp_path: Path) -> None:
    with impatient(tmp_path, Waiting(head_s=0.3)) as client, closing(call(client)) as caller:
        caller.sendall(said)
        assert ended(caller) == b""
        assert client.get("/healthz").status_code == 200


def test_a_second_request_that_never_comes_whole_is_left_too(tmp_path: Path) -> None:
    with impatient(tmp_path, Waiting(head_s=0.3)) as client, closing(call(client)) as caller:
        caller.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /hea")
        assert ended(caller).count(b"HTTP/1.1 200") == 1


def test_idle_connections_lock_nobody_out(tmp_path: Path) -> None:
    with impatient(tmp_path, Waiting(connections=4)) as client:
        idle = [call(client) for _ in range(8)]
        for _ in range(3):
            assert client.get("/healthz", headers={"Connection": "close"}).status_code == 200
        assert all(ended(caller) == b"" for caller in idle[:4]), "those that came first"
        for caller in idle:
            caller.close()


def test_a_request_that_is_answered_keeps_its_place(tmp_path: Path) -> None:
    with impatient(tmp_path, Waiting(connections=2)) as client, closing(call(client)) as busy:
        busy.sendall(b"POST /raw HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        assert busy.recv(12) == b"HTTP/1.1 100"
        idle = [call(client) for _ in range(4)]
        assert client.get("/healthz").status_code == 200
        busy.sendall(b"abcdGET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert ended(busy).count(b"HTTP/1.1 200") == 2
        for caller in idle:
            caller.close()


def test_a_client_that_does_not_read_is_left(tmp_path: Path) -> None:
    LEFT.clear()
    with impatient(tmp_path, Waiting(stuck_s=0.3)) as client, closing(call(client)) as caller:
        caller.sendall(b"GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert caller.recv(12) == b"HTTP/1.1 200"
        assert LEFT.wait(60)
        assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize("path", ["/raw", "/wish"])
def test_a_body_that_stops_coming_ends_the_request(path: str, tmp_path: Path) -> None:
    with impatient(tmp_path, Waiting(head_s=0.3), Pace(part_s=0.3)) as client, closing(call(client)) as caller:
        caller.sendall(f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 40\r\n\r\n".encode() + b'{"word":')
        said = ended(caller)
        assert said.startswith(b"HTTP/1.1 408")
        assert b"has stopped coming" in said
        assert client.get("/healthz").status_code == 200


def test_a_body_that_trickles_has_its_time() -> None:
    from depthcast.service.requests import Body

    body = Body(0, Pace(part_s=30, grace_s=60, least_rate=1000))
    assert body.patience_s(100.0) == 30
    assert body.patience_s(150.0) == 10
    body.received = 50_000
    assert body.patience_s(150.0) == 30
    assert body.patience_s(209.0) == 1
    assert body.patience_s(300.0) == 0
