"""A running stream in the browser: on its page, and in a player that knows nothing of us but WHEP."""

from __future__ import annotations

import json
import signal
import threading
import urllib.request
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.live.browser.conftest import Running, port_of
from tests.live.browser.tabs import colourfulness, opened_browser, opened_tab
from tests.tiny import tiny_network

pytestmark = pytest.mark.live
WHEP = Path(__file__).parents[1] / "node_modules" / "whip-whep" / "whep.js"
PLAYER = """<!doctype html><link rel="icon" href="data:,">
<video id="depth-video" muted autoplay playsinline></video>
<script type="module">
import { WHEPClient } from "./whep.js";
const peer = new RTCPeerConnection();
const stream = new MediaStream();
peer.addTransceiver("video", { direction: "recvonly" });
peer.ontrack = ({ track }) => { stream.addTrack(track); document.getElementById("depth-video").srcObject = stream; };
window.player = new WHEPClient();
await window.player.view(peer, new URLSearchParams(location.search).get("url"), "s3cret");
</script>
"""


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """A quick run of the test scene."""
    network = str(tiny_network(tmp_path))
    return ["run", "test:?size=320x240", "--checkpoint", network, "-o", "webrtc://@127.0.0.1:{port}/scene"]


class Quiet(SimpleHTTPRequestHandler):
    """Tells nobody what it serves."""

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Another web site: its address, and the folder of its files."""
    if not WHEP.exists():
        pytest.skip("needs npm's whip-whep: run tests/live/install.sh")
    folder = tmp_path / "site"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield f"http://127.0.0.1:{server.server_port}/", folder
        server.shutdown()
        serving.join()


def stream_of(url: str, token: str = "") -> dict[str, Any]:
    asked = urllib.request.Request(f"{url}live/streams/scene", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(asked) as answer:
        stream: dict[str, Any] = json.load(answer)
    return stream


def test_a_stream_is_found_shown_and_changed(chromium: str, depthcast: Running, words: list[str]) -> None:
    with depthcast(*words) as url, opened_browser(chromium) as browser:
        tab = opened_tab(browser, url)
        tab.until(tab.is_live)
        assert tab.text("depth-name") == "scene"
        assert tab.page.title() == "scene – depthcast"
        assert not tab.page.get_by_label("Model").is_visible()
        tab.until(lambda: 0 < tab.number("latency") < 2000)
        assert colourfulness(tab.picture()) < 5

        tab.page.get_by_label("turbo").check(force=True)
        tab.until(lambda: colourfulness(tab.picture()) > 60)
        height, width = tab.shape()
        tab.page.get_by_role("switch", name="Side by side").check()
        tab.until(lambda: tab.shape() == (height, 2 * width))
        before = tab.decoded()
        tab.until(lambda: tab.decoded() > before + 10)

        tab.page.get_by_role("button", name="Pause").click()
        # The frame that was in hand is still given out.
        tab.until(lambda: stream_of(url)["stats"]["held"] > 0)
        assert stream_of(url)["paused"]
        frames = stream_of(url)["stats"]["frames_out"]
        other = opened_tab(browser, url)
        other.until(lambda: other.picture().std() > 10)
        other.until(lambda: other.page.locator("#badge").is_visible() and other.text("status") == "Paused.")
        assert stream_of(url)["viewers"] == 2
        assert stream_of(url)["stats"]["frames_out"] == frames
        other.page.get_by_role("button", name="Go on").click()
        tab.until(lambda: tab.text("pause") == "Pause" and tab.text("status") == "Live: scene.")
        assert tab.complaints == other.complaints == []


def test_who_comes_late_sees_a_picture_within_a_second(chromium: str, depthcast: Running, words: list[str]) -> None:
    with depthcast(*words) as url, opened_browser(chromium) as browser:
        first = opened_tab(browser, url)
        first.until(lambda: first.decoded() > 45)
        late = opened_tab(browser, url)
        late.until(lambda: "shown" in late.times())
        times = late.times()
        assert times["shown"] - times["connected"] < 1000
        assert np.ptp(late.picture()) > 40


@pytest.mark.parametrize(
    ("ending", "reason"),
    [(signal.SIGINT, "The stream has ended."), (signal.SIGKILL, "The server cannot be reached.")],
)
def test_a_stream_that_ends_is_said_to_and_found_again(
    chromium: str, depthcast: Running, words: list[str], ending: signal.Signals, reason: str
) -> None:
    with opened_browser(chromium) as browser:
        with depthcast(*words, ending=ending) as url:
            tab = opened_tab(browser, url)
            tab.until(tab.is_live)
        tab.until(lambda: not tab.is_live())
        assert (tab.text("status"), tab.text("hint")) == (reason, f"{reason}\nTrying again…")
        with depthcast(*words, port=port_of(url)):
            tab.until(tab.is_live)
            assert tab.text("hint") == ""
        tab.until(lambda: not tab.is_live())
        tab.page.get_by_role("button", name="Stop").click()
        assert (tab.text("status"), tab.text("hint")) == ("Stopped.", "Not playing.")


def test_a_stream_with_a_token_is_shown_to_who_knows_it(chromium: str, depthcast: Running, words: list[str]) -> None:
    words[-1] = "webrtc://s3cret@@127.0.0.1:{port}/scene"
    with depthcast(*words) as url, opened_browser(chromium) as browser:
        tab = opened_tab(browser, url)
        tab.page.get_by_label("API key").fill("s3cret")
        tab.page.get_by_role("button", name="Go on").click()
        tab.until(tab.is_live)


def test_a_whep_client_plays_a_stream(
    chromium: str, depthcast: Running, words: list[str], site: tuple[str, Path]
) -> None:
    address, folder = site
    (folder / "whep.js").write_text(WHEP.read_text())
    (folder / "index.html").write_text(PLAYER)
    words[-1] = "webrtc://s3cret@@127.0.0.1:{port}/scene"
    with depthcast(*words, "--side-by-side") as url, opened_browser(chromium) as browser:
        tab = opened_tab(browser, f"{address}?url={url}whep/scene")
        tab.until(lambda: tab.decoded() > 30)
        assert tab.shape() == (240, 640)
        assert tab.picture().std() > 10
        tab.page.evaluate("window.player.stop()")
        tab.until(lambda: stream_of(url, "s3cret")["viewers"] == 0)
