"""Pages of other sites: every route of every server is tried with a foreign origin."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import httpx
import numpy as np
import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute, APIWebSocketRoute
from starlette.routing import BaseRoute
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin, Subprotocol

from depthcast.board import Board
from depthcast.commands.serve import ServeOptions, application
from depthcast.dataouts import opened_data
from depthcast.live import LiveStreams
from depthcast.outputs import check_outputs
from depthcast.sensing import NO_SENSING
from depthcast.service.app import create_app
from depthcast.service.camera import browser_routers, cameras_of
from depthcast.service.live import live_routers
from depthcast.service.metrics import metrics_router
from depthcast.service.ports import HttpPorts
from depthcast.service.raw import raw_router
from depthcast.service.server import serving
from depthcast.service.whip import sessions_router
from depthcast.settings import Settings
from stream.controls import Controls
from stream.dataouts import FoxgloveServe
from stream.sinks.raw import RawSink
from tests.fakes import ListSource, depth_frame, frame
from tests.served import settings
from tests.test_live_api import stream

INFO = ListSource([frame(np.zeros((4, 6, 3), np.uint8))]).info
DOOR: Any = None
FOREIGN = (
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": ""},
    {"Origin": "http://127.0.0.1:1"},
    {"Origin": "http://localhost:1", "Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Host": "evil.example"},
    {"Host": "evil.example", "Origin": "http://evil.example"},
)
"""What a browser sends for a page of another site; the last two: one whose name was made to lead here."""
READS = {"GET", "HEAD", "OPTIONS"}
OPEN = re.compile(r"/(healthz|readyz|docs|openapi\.json|[\w-]+\.\w+)?|/api/(ai/models|evaluations|repos)(/.*)?")
"""What shows nothing that is not everybody's."""


@dataclass(frozen=True)
class Place:
    """One method of one route."""

    method: str
    path: str


def routes_of(router: Any) -> Iterator[BaseRoute]:
    for route in router.routes:
        inner = getattr(route, "original_router", None)
        if inner is None:
            yield route
        else:
            yield from routes_of(inner)


def places_of(router: Any) -> set[Place]:
    found = set()
    for route in routes_of(router):
        path = re.sub(r"{\w+}", "door", getattr(route, "path", ""))
        if isinstance(route, APIWebSocketRoute):
            found.add(Place("WEBSOCKET", path))
        else:
            found |= {Place(method, path) for method in getattr(route, "methods", None) or ()}
    return found


def run_routers(token: str | None = None) -> list[APIRouter]:
    """Of the HTTP servers of `run`: the page, the live API, WHIP, WHEP, raw depth, figures."""
    own = Settings(Path("nowhere"))
    return [
        *live_routers(LiveStreams(), own),
        sessions_router("/whep/depth", DOOR, token),
        sessions_router("/whip/camera", DOOR, token),
        raw_router("/raw", RawSink(INFO), token),
        metrics_router(Board()),
    ]


@contextmanager
def served(*routers: APIRouter) -> Iterator[tuple[str, set[Place]]]:
    """As `run` serves them."""
    ports = HttpPorts()
    for router in routers:
        ports.mount("127.0.0.1", 0, router)
    with ports.serving() as (url,):
        yield url, places_of(ports._running["127.0.0.1", 0])


def status(client: httpx.Client, place: Place, headers: dict[str, str]) -> int:
    """Of the answer; 101 where a WebSocket is opened."""
    if place.method == "WEBSOCKET":
        upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
        keyed = {**upgrade, "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==", **headers}
        with client.stream("GET", place.path, headers=keyed) as answer:
            return answer.status_code
    with client.stream(place.method, place.path, headers=headers) as answer:
        return answer.status_code


def check_all(url: str, places: set[Place]) -> None:
    with httpx.Client(base_url=url) as client:
        for place in places:
            for headers in FOREIGN:
                if place.method == "WEBSOCKET" and "Origin" not in headers and "Sec-Fetch-Site" not in headers:
                    continue
                is_read, is_open = place.method in READS, place.method == "OPTIONS" or OPEN.fullmatch(place.path)
                is_refused = not is_read or ("Host" in headers and not is_open)
                assert (status(client, place, headers) == 403) == is_refused, (place, headers)


def test_every_route_of_the_servers_of_run_refuses_pages_of_other_sites() -> None:
    with served(*run_routers()) as (url, places):
        assert {
            Place("POST", "/live/streams/door/reset"),
            Place("PATCH", "/live/streams/door"),
            Place("POST", "/whep/depth"),
            Place("PATCH", "/whip/camera/door"),
            Place("DELETE", "/whep/depth/door"),
            Place("WEBSOCKET", "/raw"),
            Place("GET", "/metrics"),
            Place("GET", "/"),
        } <= places
        check_all(url, places)


def test_every_route_of_serve_refuses_pages_of_other_sites(tmp_path: Path) -> None:
    app = application(ServeOptions(), settings(tmp_path / "data"), Settings(tmp_path))
    places = places_of(app)
    assert {
        Place("POST", "/api/ai/queue"),
        Place("POST", "/api/ai/videos/generate"),
        Place("DELETE", "/api/ai/queue/door"),
        Place("POST", "/live/camera"),
        Place("POST", "/live/camera/door/reset"),
    } <= places
    with serving(app, "127.0.0.1", 0) as url:
        check_all(url, {place for place in places if place.path != "/api/events"})


def test_a_page_elsewhere_resets_no_stream_and_our_own_does() -> None:
    streams, door = LiveStreams(), stream("door")
    with streams.listed(door), served(*live_routers(streams, Settings(Path("nowhere")))) as (url, _):
        place = f"{url}/live/streams/door"
        for headers in FOREIGN:
            assert httpx.post(f"{place}/reset", headers=headers).status_code == 403
            assert httpx.patch(place, headers=headers, json={"paused": True}).status_code == 403
        controls: Controls = door.run.controls
        assert (controls.takes_reset(), controls.paused) == (False, False)
        for own in ({}, {"Origin": url, "Sec-Fetch-Site": "same-origin"}):
            assert httpx.post(f"{place}/reset", headers=own).status_code == 204
            assert controls.takes_reset()


def test_what_is_mounted_while_a_server_runs_is_guarded_too() -> None:
    ports = HttpPorts()
    ports.announce("127.0.0.1", 0)
    with ports.serving() as (url,):
        for token, expected in ((None, 403), ("s3cret", 401), (None, 403)):
            ports.mount("127.0.0.1", 0, sessions_router("/whep/depth", DOOR, token))
            asked = httpx.post(f"{url}/whep/depth", headers={"Origin": "https://evil.example"})
            assert asked.status_code == expected


def test_a_token_opens_its_own_routes_to_other_sites_and_no_others() -> None:
    headers = {"Origin": "https://player.example", "Authorization": "Bearer s3cret"}
    with served(*run_routers("s3cret")) as (url, _):
        # 415: it has come as far as the type of its body.
        assert httpx.post(f"{url}/whep/depth", headers=headers).status_code == 415
        assert httpx.post(f"{url}/live/streams/door/reset", headers=headers).status_code == 403
        place = f"{url.replace('http', 'ws')}/raw"
        with connect(f"{place}?token=s3cret", origin=Origin("https://player.example")):
            pass
        with pytest.raises(InvalidStatus), connect(place, origin=Origin("https://player.example")):
            pass


FOXGLOVE = (
    (None, True),
    ("https://app.foxglove.dev", True),
    ("https://embed.foxglove.dev", True),
    ("file://", True),
    ("https://evil.example", False),
    ("https://foxglove.dev.evil.example", False),
    ("https://notfoxglove.dev", False),
    ("http://app.foxglove.dev", False),
    ("http://[", False),
    ("null", False),
    ("", False),
)


def test_foxglove_is_for_programs_and_its_own_pages() -> None:
    pytest.importorskip("foxglove", reason="needs foxglove-sdk")
    ports, kind = HttpPorts(), [Subprotocol("foxglove.sdk.v1")]
    sink = opened_data(FoxgloveServe("127.0.0.1", 0), INFO, NO_SENSING, ports)
    try:
        sink.write(depth_frame(np.ones((4, 6), np.float32), 0))
        with ports.serving() as (url,):
            place = url.replace("http", "ws")
            for origin, is_served in FOXGLOVE:
                given = None if origin is None else Origin(origin)
                if is_served:
                    with connect(place, origin=given, subprotocols=kind, max_size=None) as client:
                        assert client.subprotocol == kind[0]
                        assert json.loads(cast(str, client.recv(timeout=20)))["op"] == "serverInfo"
                else:
                    with pytest.raises(InvalidStatus) as refused, connect(place, origin=given, subprotocols=kind):
                        pass
                    assert refused.value.response.status_code == 403, origin
            # The library itself asks for its protocol, which is passed on.
            with pytest.raises(InvalidStatus), connect(place):
                pass
            sink.close()
            with pytest.raises(InvalidStatus), connect(place, subprotocols=kind):
                pass
    finally:
        sink.abort()


def test_two_foxglove_outputs_at_one_address_are_refused() -> None:
    from depthcast.errors import UsageError
    from stream.uris import parse_source

    one = FoxgloveServe("127.0.0.1", 8765)
    with pytest.raises(UsageError, match="different ports"):
        check_outputs(parse_source("test:"), [one, one], False)


def test_applications_and_servers_are_made_in_one_place() -> None:
    """Whatever serves HTTP comes from `create_app` and `serving`, or it would be without its guard."""
    root = Path(__file__).parents[1]
    made: dict[str, set[str]] = {}
    for folder in ("depthcast", "stream", "engines", "export"):
        for path in (root / folder).rglob("*.py"):
            for word in re.findall(
                r"(?<!class )\b(FastAPI|Application|Starlette|uvicorn\.Config|start_server)\(", path.read_text()
            ):
                made.setdefault(word, set()).add(str(path.relative_to(root)))
    assert made == {
        "Application": {"depthcast/service/app.py"},
        "uvicorn.Config": {"depthcast/service/server.py"},
        "start_server": {"stream/rtsp/server.py", "stream/sinks/foxglove.py"},
    }


def test_pages_with_a_camera_are_guarded_as_the_rest(tmp_path: Path) -> None:
    own = Settings(tmp_path)
    app = create_app(*browser_routers(own, cameras_of(own, "127.0.0.1")))
    assert all(
        isinstance(route, APIRoute) for route in routes_of(app) if getattr(route, "path", "").startswith("/live")
    )
    with serving(app, "127.0.0.1", 0) as url:
        check_all(url, places_of(app))
