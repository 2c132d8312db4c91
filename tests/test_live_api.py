"""The page's files and the routes about running streams, without any video."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction

import httpx
import pytest
from fastapi import APIRouter

from depthcast.live import LiveRun, LiveStream, LiveStreams
from depthcast.service.app import create_app
from depthcast.service.live import CameraView, ModelView, options_router, streams_router
from depthcast.service.page import WEB, page_router
from depthcast.service.server import serving
from stream.colour import Colormap
from stream.controls import Controls
from stream.sinks.picture import Painter, Style
from stream.sources import SourceInfo
from stream.stats import StageStats, Stats
from tests.fakes import spec

INFO = SourceInfo(480, 640, Fraction(30), Fraction(1, 30), None, None, True, False, "test")
STATS = Stats(10, 8, 2, 1, 1, 0, 0, 0, 3, 0.5, (StageStats("sink", 8, 10.126, 20, 30),), ())


def stream(name: str, token: str | None = None) -> LiveStream:
    return LiveStream(name, LiveRun(INFO, spec(), Controls()), Painter(INFO), f"whep/{name}", lambda: 3, token)


@contextmanager
def talking_to(*routers: APIRouter) -> Iterator[httpx.Client]:
    with serving(create_app(*routers), "127.0.0.1", 0) as url, httpx.Client(base_url=url) as client:
        yield client


@pytest.fixture
def door() -> LiveStream:
    return stream("door")


@pytest.fixture
def client(door: LiveStream) -> Iterator[httpx.Client]:
    streams = LiveStreams()
    with streams.listed(door), talking_to(streams_router(streams)) as client:
        yield client


def test_every_file_of_the_page_is_served_with_a_strict_policy() -> None:
    with talking_to(page_router()) as client:
        for path in WEB.iterdir():
            answer = client.get("/" if path.name == "index.html" else f"/{path.name}")
            assert answer.status_code == 200
            assert answer.content == path.read_bytes()
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert answer.headers["Content-Type"].startswith(
                {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}[
                    path.suffix
                ]
            )
            again = client.get(answer.request.url.path, headers={"If-None-Match": answer.headers["ETag"]})
            assert (again.status_code, again.content) == (304, b"")
        assert client.get("/../live.py").status_code == 404


def test_the_page_needs_nothing_that_its_policy_forbids() -> None:
    page = (WEB / "index.html").read_text()
    assert "style=" not in page
    assert "<style" not in page
    assert "://" not in page.replace("https:// pages", "")
    assert page.count("<script") == page.count('<script type="module" src="app.js"></script>') == 1


def test_running_streams_are_listed_and_shown(client: httpx.Client, door: LiveStream) -> None:
    door.run.note(STATS)
    door.run.note(replace(STATS, frames_in=40, frames_out=32, elapsed_s=1.5))
    shown = client.get("/live/streams/door").json()
    assert client.get("/live/streams").json() == {"streams": [shown]}
    assert {key: shown[key] for key in ("name", "model", "width", "height", "fps", "viewers", "watch")} == {
        "name": "door", "model": "fake", "width": 640, "height": 480, "fps": 24.0, "viewers": 3, "watch": "whep/door",
    }  # fmt: skip
    assert (shown["colormap"], shown["paused"], shown["side_by_side"]) == ("grayscale", False, False)
    stats = shown["stats"]
    assert (stats["frames_in"], stats["dropped"], stats["reconnects"]) == (40, 2, 3)
    assert stats["ages"] == [{"name": "sink", "p50_ms": 10.13, "p95_ms": 20, "p99_ms": 30}]


def test_the_rate_is_that_of_the_last_two_seconds(door: LiveStream) -> None:
    for tenth in range(101):
        frames = tenth if tenth <= 50 else 50 + 3 * (tenth - 50)
        door.run.note(replace(STATS, frames_out=frames, elapsed_s=tenth / 10))
    assert door.run.fps == pytest.approx(30)


def test_settings_change_one_by_one(client: httpx.Client, door: LiveStream) -> None:
    assert client.patch("/live/streams/door", json={"colormap": "turbo"}).json()["colormap"] == "turbo"
    assert client.patch("/live/streams/door", json={"side_by_side": True}).status_code == 200
    assert door.painter.style == Style(Colormap.TURBO, side_by_side=True)
    assert client.patch("/live/streams/door", json={"paused": True}).json()["paused"] is True
    assert door.run.controls.paused
    assert client.patch("/live/streams/door", json={"paused": False}).json()["colormap"] == "turbo"
    assert not door.run.controls.paused


@pytest.mark.parametrize("wrong", [{"colormap": "plaid"}, {"paused": "yes"}, {"colour": "turbo"}, [], None])
def test_settings_that_make_no_sense_change_nothing(client: httpx.Client, door: LiveStream, wrong: object) -> None:
    assert client.patch("/live/streams/door", json=wrong).status_code == 422
    assert door.painter.style == Style()


def test_a_reset_reaches_the_run_once(client: httpx.Client, door: LiveStream) -> None:
    assert client.post("/live/streams/door/reset").status_code == 204
    assert [door.run.controls.takes_reset() for _ in range(2)] == [True, False]


def test_a_stream_that_does_not_run_is_not_found(client: httpx.Client) -> None:
    for answer in (
        client.get("/live/streams/yard"),
        client.patch("/live/streams/yard", json={}),
        client.post("/live/streams/yard/reset"),
    ):
        assert answer.status_code == 404
        assert "yard" in answer.json()["detail"]


def test_a_stream_with_a_token_is_for_those_who_bring_it() -> None:
    streams = LiveStreams()
    key = {"Authorization": "Bearer s3cret"}
    with talking_to(streams_router(streams)) as client:
        with streams.listed(stream("door", "s3cret")):
            for path in ("/live/streams", "/live/streams/door"):
                assert client.get(path).status_code == 401
                assert client.get(path, headers={"Authorization": "Bearer wrong"}).status_code == 401
                assert client.get(path, headers=key).status_code == 200
                assert client.get(path, headers={"Authorization": "bearer s3cret"}).status_code == 200
            assert client.patch("/live/streams/door", json={"paused": True}).status_code == 401
            assert client.post("/live/streams/door/reset").status_code == 401
            with streams.listed(stream("yard")):
                assert [one["name"] for one in client.get("/live/streams").json()["streams"]] == ["yard"]
                assert len(client.get("/live/streams", headers=key).json()["streams"]) == 2
        assert client.get("/live/streams").json() == {"streams": []}


def test_a_stream_that_took_the_name_of_another_stays_when_that_ends(door: LiveStream) -> None:
    streams, second = LiveStreams(), stream("door")
    with streams.listed(second):
        with streams.listed(door):
            assert streams.find("door") is door
            with streams.listed(second):
                pass
        assert streams.find("door") is None


def test_options_tell_what_can_be_chosen() -> None:
    camera = CameraView(models=[ModelView(name="nano", note="")], places=2)
    with talking_to(options_router(["stun:192.0.2.1:3478"], lambda: camera)) as client:
        options = client.get("/live/options").json()
    assert options["colormaps"] == [one.value for one in Colormap]
    assert options["camera"] == {"models": [{"name": "nano", "note": ""}], "places": 2}
    assert options["ice_servers"] == [{"urls": "stun:192.0.2.1:3478"}]
    with talking_to(options_router()) as client:
        assert client.get("/live/options").json()["camera"] is None
