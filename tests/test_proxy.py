"""Behind a proxy: at its root or below a path of it, which it takes away or not, with either of its Host headers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from fastapi import APIRouter, FastAPI, WebSocket
from websockets.sync.client import connect
from websockets.typing import Origin

from depthcast.commands.serve import ServeOptions, application, settings_of
from depthcast.errors import UsageError
from depthcast.publicurl import PublicUrl
from depthcast.service.app import create_app
from depthcast.service.camera import camera_router, cameras_of
from depthcast.service.live import live_routers
from depthcast.service.ports import HttpPorts
from depthcast.service.server import serving
from depthcast.service.webrtc import ice_of
from depthcast.service.whip import sessions_router
from depthcast.settings import Settings
from stream.sources.webrtc import Reception
from stream.webrtc.corrections import Ice, IceServer
from tests.rtc import LOOPBACK, SDP, offer

PUBLIC = "http://lab.example/svc"
SENT = {**SDP, "Origin": "http://lab.example"}


@pytest.mark.parametrize(
    ("text", "origin", "path", "shown"),
    [
        ("https://lab.example", "https://lab.example", "", "https://lab.example"),
        ("https://Lab.Example:443/", "https://lab.example", "", "https://lab.example"),
        ("http://lab.example:80/a/b/", "http://lab.example", "/a/b", "http://lab.example/a/b"),
        ("https://lab.example:8443/svc", "https://lab.example:8443", "/svc", "https://lab.example:8443/svc"),
        ("http://[::1]:81/x", "http://[::1]:81", "/x", "http://[::1]:81/x"),
        ("https://b\xfccher.example/t\xfcr", "https://xn--bcher-kva.example", "/t\xfcr",
         "https://xn--bcher-kva.example/t%C3%BCr"),
        ("https://lab.example/t%C3%BCr%20a", "https://lab.example", "/t\xfcr a", "https://lab.example/t%C3%BCr%20a"),
    ],
)  # fmt: skip
def test_an_address_is_read(text: str, origin: str, path: str, shown: str) -> None:
    public = PublicUrl.of(text)
    assert (public.origin, public.path, str(public)) == (origin, path, shown)


@pytest.mark.parametrize(
    "text",
    ["lab.example", "ftp://lab.example", "https://", "https://ann@lab.example", "https://lab.example/?x=1",
     "https://lab.example/#x", "https://lab.example:x/", "https://lab.example/../x", "https://lab.example//x",
     "https://lab.example/a%22b", f"https://{'a' * 64}/", ""],
)  # fmt: skip
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--public-url is written https://HOST"):
        PublicUrl.of(text)


def served(tmp_path: Path, url: str | None = PUBLIC) -> FastAPI:
    """The page and the cameras of browsers, whose doors open for nobody."""
    settings = Settings(tmp_path)
    cameras = cameras_of(settings, "127.0.0.1")
    public = None if url is None else PublicUrl.of(url)
    routers = live_routers(HttpPorts(public).live("127.0.0.1", 0, settings), settings)
    return create_app(*routers, camera_router(cameras, settings), public=public)


@contextmanager
def asking(app: FastAPI, host: str) -> Iterator[httpx.Client]:
    """A client of it, that a proxy sends on under this name."""
    with (
        serving(app, "127.0.0.1", 0) as url,
        httpx.Client(base_url=url, headers={"Host": host}, timeout=20) as client,
    ):
        yield client


@pytest.mark.parametrize("prefix", ["", "/svc"])
def test_a_proxy_may_take_the_prefix_away_or_not(tmp_path: Path, prefix: str) -> None:
    with asking(served(tmp_path), "lab.example") as client:
        for path in ("/", "/app.js", "/live/options", "/live/streams", "/docs", "/docs/", "/openapi.json", "/healthz"):
            assert client.get(prefix + path).status_code == 200
            assert client.get(f"{prefix}/nothing{path}").status_code == 404


@pytest.mark.parametrize("name", ["live", "docs", "live/there"])
def test_a_prefix_may_be_named_as_paths_of_ours_are(tmp_path: Path, name: str) -> None:
    with asking(served(tmp_path, f"http://lab.example/{name}"), "lab.example") as client:
        for path in ("/live/options", "/docs", "/app.js"):
            assert client.get(path).status_code == client.get(f"/{name}{path}").status_code == 200


def test_the_page_is_below_its_path_where_it_finds_its_files(tmp_path: Path) -> None:
    with asking(served(tmp_path), "127.0.0.1") as client:
        answer = client.get("/svc")
        assert (answer.status_code, answer.headers["Location"]) == (307, "/svc/")
        assert 'src="app.js"' in client.get("/svc/").text
        assert client.get("/svc/openapi.json").json()["servers"] == [{"url": "/svc"}]
        assert "url: 'openapi.json'" in client.get("/svc/docs").text
    with asking(served(tmp_path, None), "127.0.0.1") as client:
        assert "servers" not in client.get("/openapi.json").json()


@pytest.mark.parametrize("path", ["/whip/in", "/svc/whip/in", "/whip/in/"])
def test_a_session_is_below_the_path_too(path: str) -> None:
    reception = Reception("in", LOOPBACK)
    try:
        app = create_app(sessions_router("/whip/in", reception.door), public=PublicUrl.of(PUBLIC))
        with asking(app, "127.0.0.1:8080") as client:
            begun = client.post(path, content=offer(direction="sendonly"), headers=SENT)
            place = begun.headers["Location"]
            assert (begun.status_code, place.rpartition("/")[0]) == (201, "/svc/whip/in")
            assert client.delete(place, headers={"Origin": "http://lab.example"}).status_code == 200
            assert client.delete(place.removeprefix("/svc")).status_code == 404
    finally:
        reception.close()


def test_its_own_page_is_let_in_whatever_host_the_proxy_names() -> None:
    app = create_app(sessions_router("/whip/in", None), public=PublicUrl.of(PUBLIC))  # type: ignore[arg-type]
    origins = {
        "http://lab.example": 415,
        "http://lab.example:81": 403,
        "http://elsewhere.example": 403,
        "http://lab.example.elsewhere.example": 403,
        "null": 403,
    }
    with asking(app, "") as client:
        for host in ("127.0.0.1:8080", "lab.example", "lab.example:80"):
            sent = [{"Host": host, "Origin": origin, "Content-Type": "text/plain"} for origin in origins]
            assert [client.post("/whip/in", headers=one).status_code for one in sent] == list(origins.values())


def test_a_page_of_another_site_is_no_page_of_the_proxys(tmp_path: Path) -> None:
    with asking(served(tmp_path), "elsewhere.example") as client:
        assert client.get("/live/streams").status_code == 403


def test_a_socket_at_the_prefix_is_one_at_the_root() -> None:
    router = APIRouter()

    @router.websocket("/")
    async def hello(client: WebSocket) -> None:
        await client.accept()
        await client.send_text(client.url.path)
        await client.close()

    with serving(create_app(router, public=PublicUrl.of(PUBLIC)), "127.0.0.1", 0) as url:
        for path in ("/svc", "/svc/", "/"):
            with connect(url.replace("http", "ws") + path, origin=Origin("http://lab.example")) as client:
                assert client.recv(timeout=20) == "/"


@pytest.mark.parametrize(
    ("public", "offered"),
    [
        (None, Ice(("127.0.0.1",), only_here=True)),
        ("http://localhost:81/svc", Ice(("127.0.0.1",), only_here=True)),
        ("https://lab.example/svc", Ice()),
    ],
)
def test_peers_that_come_through_a_proxy_are_elsewhere(public: str | None, offered: Ice) -> None:
    """A server that listens on loopback is reached from outside where a proxy stands before it."""
    settings = Settings(Path("home"), public_url=None if public is None else PublicUrl.of(public))
    assert ice_of(settings, "127.0.0.1") == offered


def test_peers_that_need_a_server_are_elsewhere() -> None:
    settings = Settings(Path("home"), ice_servers=("stun:stun.example:3478",))
    assert ice_of(settings, "127.0.0.1") == Ice((), (IceServer("stun:stun.example:3478"),))


class _Proxy(BaseHTTPRequestHandler):
    """Passes on what is below /svc/, without that, under the name of the server behind, as nginx does."""

    behind = ""

    def _pass_on(self) -> None:
        if not self.path.startswith("/svc/"):
            self.send_error(404)
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        connection = HTTPConnection(self.behind, timeout=10)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "connection")}
        connection.request(self.command, self.path.removeprefix("/svc"), body, headers)
        answer = connection.getresponse()
        content = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        connection.close()

    do_GET = do_POST = do_DELETE = do_PATCH = _pass_on

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def behind_a_proxy(make: type[BaseHTTPRequestHandler] = _Proxy) -> Iterator[tuple[ThreadingHTTPServer, str]]:
    with ThreadingHTTPServer(("127.0.0.1", 0), make) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield proxy, f"http://127.0.0.1:{proxy.server_port}/svc"
        finally:
            proxy.shutdown()
            thread.join()


@pytest.mark.usefixtures("no_thread_stays")
def test_a_session_from_beginning_to_end_through_a_proxy(tmp_path: Path) -> None:
    """What a page does, step by step: relative to itself, as its own origin."""
    with behind_a_proxy() as (proxy, url):
        own = Settings(tmp_path, public_url=PublicUrl.of(url))
        options = ServeOptions(data=tmp_path / "data")
        app = application(options, settings_of(options, own), own)
        with serving(app, "127.0.0.1", 0) as behind, httpx.Client(timeout=20) as client:
            _Proxy.behind = behind.removeprefix("http://")
            page, origin = httpx.URL(f"{url}/"), {"Origin": f"http://127.0.0.1:{proxy.server_port}"}
            assert client.get(page).status_code == 200
            assert client.get(page.join("live/options")).json()["camera"]["models"]
            sent = client.post(
                page.join("live/camera?model=nano"), content=offer(direction="sendrecv"), headers=SDP | origin
            )
            assert sent.status_code == 201
            session = page.join(sent.headers["Location"])
            assert session.path.startswith("/svc/live/camera/")
            assert client.get(session).status_code == 425
            assert client.delete(session, headers=origin).status_code == 204
            assert client.delete(session, headers=origin).status_code == 404
            assert client.post(page.join("api/ai/queue"), json={}, headers=origin).status_code == 400
            foreign = {"Origin": "http://elsewhere.example"}
            assert client.post(page.join("api/ai/queue"), json={}, headers=foreign).status_code == 403
