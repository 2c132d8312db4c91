"""Behind nginx, at its root and below a path, with both of its usual Host headers: the page, WHEP, data, jobs."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from websockets.sync.client import connect
from websockets.typing import Origin

import depthcast as client_of
from stream.raw.codec import decode
from tests.live.browser.conftest import Running, free_port
from tests.live.browser.firefox import Firefox
from tests.live.browser.nginx import HOSTS, nginx_before
from tests.live.browser.tabs import Tab, opened_browser, opened_tab
from tests.tiny import make_clip, tiny_network

pytestmark = pytest.mark.live
PLACES = [("", False), ("/svc", False), ("/svc", True)]
"""What all paths begin with outside, and whether nginx leaves it there."""
WAYS = [(place, host) for place in PLACES for host in HOSTS if not place[1] or host == "as-asked"]


@contextmanager
def proxied(
    depthcast: Running, words: list[str], place: tuple[str, bool], host: str, folder: Path, **settings: str
) -> Iterator[str]:
    """A server of ours behind nginx; yields what it is reached by, with a slash at its end."""
    prefix, keeps = place
    port, behind = free_port(), free_port()
    public = f"http://127.0.0.1:{port}{prefix}"
    with (
        nginx_before(behind, port, prefix, HOSTS[host], folder, keeps),
        depthcast(*words, "--public-url", public, settings=settings, port=behind),
    ):
        yield f"{public}/"


@pytest.fixture
def scene_words(tmp_path: Path) -> list[str]:
    outputs = [f"-o{uri}" for uri in ("webrtc://@127.0.0.1:{port}/scene", "ws://@127.0.0.1:{port}/raw")]
    return ["run", "test:?size=320x240", "--checkpoint", str(tiny_network(tmp_path)), *outputs]


@pytest.mark.parametrize(("place", "host"), WAYS)
def test_a_stream_is_watched_and_its_values_are_taken(
    chromium: str, depthcast: Running, scene_words: list[str], place: tuple[str, bool], host: str, tmp_path: Path
) -> None:
    with proxied(depthcast, scene_words, place, host, tmp_path) as url, opened_browser(chromium) as browser:
        tab = opened_tab(browser, url)
        tab.until(tab.is_live)
        first = tab.picture()
        tab.until(lambda: np.abs(tab.picture() - first).mean() > 1)
        session = tab.page.evaluate("performance.getEntriesByType('resource').map((one) => one.name)")
        assert f"{url}whep/scene" in session
        tab.page.get_by_role("button", name="Pause").click()
        tab.until(lambda: streams(url)[0]["paused"])
        tab.page.get_by_role("button", name="Stop").click()
        # Its DELETE has found the session; else ICE would notice after half a minute only.
        tab.until(lambda: streams(url)[0]["viewers"] == 0, 10)
        assert tab.complaints == []
        origin = url.removesuffix("/").removesuffix(place[0])
        with connect(url.replace("http", "ws") + "raw", origin=Origin(origin), max_size=None) as socket:
            message = socket.recv(timeout=20)
            assert isinstance(message, bytes)
            assert decode(message).header.width == 320


def streams(url: str) -> list[dict[str, object]]:
    with urllib.request.urlopen(f"{url}live/streams") as answer:
        found: list[dict[str, object]] = json.load(answer)["streams"]
    return found


def status_of(url: str) -> int:
    try:
        with urllib.request.urlopen(url) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def sessions(tab: Tab) -> set[str]:
    asked = tab.page.evaluate("performance.getEntriesByType('resource').map((one) => one.name)")
    return {one for one in asked if "/live/camera/" in one}


@pytest.mark.parametrize(("place", "host"), WAYS)
def test_depth_of_a_camera_comes_back(
    chromium: str, scene: Path, depthcast: Running, place: tuple[str, bool], host: str, tmp_path: Path
) -> None:
    words = ["serve", "--port", "{port}"]
    with (
        proxied(depthcast, words, place, host, tmp_path) as url,
        opened_browser(chromium, scene) as browser,
    ):
        tab = opened_tab(browser, url)
        tab.page.get_by_role("button", name="Start").click()
        tab.until(tab.is_live, 60)
        # It asks for its session once a second: where that was not found, it would be lost.
        tab.until(lambda: sessions(tab))
        (session,) = sessions(tab)
        assert session.startswith(f"{url}live/camera/")
        tab.page.get_by_label("turbo").check(force=True)
        tab.until(lambda: np.ptp(tab.picture(), axis=-1).mean() > 60)
        tab.page.get_by_role("button", name="Stop").click()
        tab.until(lambda: status_of(session) == 404, 10)
        assert tab.complaints == []


@pytest.mark.parametrize("place", PLACES)
def test_firefox_watches_and_is_watched(
    firefox: Firefox, depthcast: Running, place: tuple[str, bool], tmp_path: Path
) -> None:
    words = ["serve", "--port", "{port}"]
    with proxied(depthcast, words, place, "as-asked", tmp_path, DEPTHCAST_ICE_ADDRESSES="") as url:
        firefox.open(url)
        firefox.until("return document.getElementById('status').textContent === 'Ready.'")
        firefox.click("start")
        firefox.until("return document.getElementById('status').textContent.startsWith('Live')", 60)
        firefox.until("return document.getElementById('depth-video').currentTime > 2")
        firefox.click("start")


@pytest.mark.parametrize(("place", "host"), WAYS)
def test_jobs_go_in_and_their_results_come_out(
    depthcast: Running, place: tuple[str, bool], host: str, tmp_path: Path
) -> None:
    """An upload, the events of its work as they happen, and its results at the outer address."""
    video = make_clip(tmp_path / "clip.mp4", 10)
    words = ["serve", "--port", "{port}", "--mode", "stream", "--fallback", "nano", "--data", str(tmp_path / "data")]
    with proxied(depthcast, words, place, host, tmp_path) as url, client_of.Client(url) as client:
        queued = client.submit(video, client_of.Options(include_raw_depths=True))
        made = client.wait(queued.id)
        with urllib.request.urlopen(f"{url}api/ai/queue/{queued.id}") as answer:
            row = answer.read().decode()
        assert f"{url}api/repos/" in row
        client.download(made, tmp_path / "depth.mp4")
        client.download_raw(made, tmp_path / "depth.npz")
        with urllib.request.urlopen(f"{url}api/events", timeout=20) as events:
            # Those of the last hour come at once, and no buffer of the proxy's holds them back.
            assert any(b"media_generation_completed" in line for line in iter(events.readline, b""))
        assert status_of(f"{url}docs") == status_of(f"{url}openapi.json") == 200
