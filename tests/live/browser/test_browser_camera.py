"""The browser's camera goes to `depthcast serve` and comes back as depth."""

from __future__ import annotations

import json
import signal
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stream.barcode import read
from tests.live.browser.conftest import FRAMES, WIDTH, Running, port_of
from tests.live.browser.tabs import Tab, colourfulness, opened_browser, opened_tab

pytestmark = pytest.mark.live
BOTH = """
() => ["picture", "depth"].map((name) => {
  const video = document.getElementById(`${name}-video`);
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [320, 240];
  const context = canvas.getContext("2d");
  context.drawImage(video, 0, 0, name === "depth" ? 640 : 320, 240);
  return String.fromCharCode(...context.getImageData(0, 0, 320, 24).data);
})
"""


def session_of(tab: Tab) -> str:
    """The address of the tab's own session, seen in what it asks the server."""
    with tab.page.expect_response(lambda response: "/live/camera/" in response.url) as found:
        pass
    url: str = found.value.url
    return url


def stats_of(url: str) -> dict[str, float]:
    with urllib.request.urlopen(url) as answer:
        stats: dict[str, float] = json.load(answer)["stats"]
    return stats


def is_gone(session: str) -> bool:
    try:
        stats_of(session)
    except urllib.error.HTTPError as error:
        return error.code == 404
    return False


def started(tab: Tab) -> str:
    tab.page.get_by_role("button", name="Start").click()
    tab.until(tab.is_live, 60)
    return session_of(tab)


def change(session: str, wishes: dict[str, bool]) -> None:
    body = json.dumps(wishes).encode()
    request = urllib.request.Request(session, body, {"Content-Type": "application/json"}, method="PATCH")
    urllib.request.urlopen(request).close()


def both_pictures(tab: Tab) -> list[NDArray[np.uint8]]:
    """The top of what the camera shows and of what comes back, at one moment, uint8 [24, 320, 3], without depth."""
    values = [one.encode("latin-1") for one in tab.page.evaluate(BOTH)]
    return [np.frombuffer(one, np.uint8).reshape(-1, WIDTH, 4)[..., :3] for one in values]


@pytest.mark.parametrize("film", ["scene", "footage"])
def test_depth_comes_back_and_follows_the_scene(
    film: str, request: pytest.FixtureRequest, chromium: str, depthcast: Running
) -> None:
    camera: Path = request.getfixturevalue(film)
    with depthcast("serve", "--port", "{port}") as url, opened_browser(chromium, camera) as browser:
        tab = opened_tab(browser, url)
        started(tab)
        before = tab.decoded()
        tab.until(lambda: tab.decoded() >= before + 20, 60)
        first = tab.picture()
        assert first.mean() > 20
        assert first.std() > 20
        tab.until(lambda: np.abs(tab.picture() - first).mean() > 8)
        tab.until(lambda: 0 < tab.number("latency") < 5000)
        assert tab.number("fps") > 0
        assert 0 <= tab.number("drops") <= 100
        assert tab.complaints == []


def test_colours_pause_and_reset(chromium: str, scene: Path, depthcast: Running) -> None:
    with depthcast("serve", "--port", "{port}") as url, opened_browser(chromium, scene) as browser:
        tab = opened_tab(browser, url)
        session = started(tab)
        assert colourfulness(tab.picture()) > 30
        tab.page.get_by_label("grayscale").check(force=True)
        tab.until(lambda: colourfulness(tab.picture()) < 5)
        tab.page.get_by_label("turbo").check(force=True)
        tab.until(lambda: colourfulness(tab.picture()) > 60)

        tab.page.get_by_role("button", name="Pause").click()
        tab.until(lambda: stats_of(session)["held"] > 0)
        assert tab.page.locator("#badge").is_visible()
        frames = stats_of(session)["frames_out"]
        held = stats_of(session)["held"]
        tab.until(lambda: stats_of(session)["held"] > held + 2)
        assert stats_of(session)["frames_out"] == frames
        tab.page.get_by_role("button", name="Go on").click()
        tab.until(lambda: stats_of(session)["frames_out"] > frames)
        assert not tab.page.locator("#badge").is_visible()

        resets = stats_of(session)["resets"]
        tab.page.get_by_role("button", name="Reset").click()
        tab.until(lambda: stats_of(session)["resets"] > resets)
        tab.until(lambda: tab.text("status") == "Started anew.")
        tab.until(lambda: tab.text("status") == "Live: your camera.")

        tab.page.get_by_role("button", name="Stop").click()
        tab.until(lambda: is_gone(session))
        assert tab.page.evaluate("document.getElementById('picture-video').srcObject") is None
        assert tab.complaints == []


def test_latency_is_what_a_barcode_says(chromium: str, scene: Path, depthcast: Running) -> None:
    """The picture that comes back beside its depth, and the one that the camera shows meanwhile, carry numbers."""
    with depthcast("serve", "--port", "{port}") as url, opened_browser(chromium, scene) as browser:
        tab = opened_tab(browser, url)
        change(started(tab), {"side_by_side": True})
        tab.until(lambda: tab.shape()[1] > 2 * tab.shape()[0])
        tab.until(lambda: tab.number("latency") > 0)
        by_barcode_ms, told_ms = list[float](), list[float]()

        def seen() -> bool:
            sent, returned = (read(picture) for picture in both_pictures(tab))
            if sent is not None and returned is not None:
                by_barcode_ms.append((sent - returned) % FRAMES * 1000 / 30)
                told_ms.append(tab.number("latency"))
            return len(by_barcode_ms) > 40

        tab.until(seen, 120)
    # The picture beside has itself been on its way from the camera to the screen, for two frames or so.
    measured_ms = float(np.median(by_barcode_ms))
    assert abs(float(np.median(told_ms)) - measured_ms) < 120 + measured_ms / 2


def test_a_tab_that_is_closed_leaves_nothing_and_a_further_camera_waits_for_its_place(
    chromium: str, scene: Path, depthcast: Running
) -> None:
    settings = {"DEPTHCAST_MAX_CAMERAS": "1"}
    with depthcast("serve", "--port", "{port}", settings=settings) as url, opened_browser(chromium, scene) as browser:
        first, second = opened_tab(browser, url), opened_tab(browser, url)
        session = started(first)
        second.page.get_by_role("button", name="Start").click()
        second.until(lambda: "1 here already" in second.text("status"))
        first.page.close()
        second.until(second.is_live, 60)
        assert is_gone(session)


def test_everything_can_be_done_with_the_keyboard(chromium: str, scene: Path, depthcast: Running) -> None:
    with depthcast("serve", "--port", "{port}") as url, opened_browser(chromium, scene) as browser:
        tab = opened_tab(browser, url)
        tab.until(lambda: tab.text("status") == "Ready.")
        named: list[tuple[Any, str]] = [
            ("button", "Start"), ("button", "Pause"), ("button", "Reset"), ("button", "Full screen"),
            ("switch", "Side by side"), ("combobox", "Source"), ("combobox", "Model"), ("radio", "inferno"),
        ]  # fmt: skip
        for role, name in named:
            assert tab.page.get_by_role(role, name=name).count() == 1, name
        keyboard = tab.page.keyboard
        keyboard.press("Tab")
        assert tab.page.evaluate("document.activeElement.className") == "skip"
        keyboard.press("Enter")
        keyboard.press("Tab")
        assert tab.focused() == "start"
        keyboard.press("Enter")
        tab.until(tab.is_live, 60)
        keyboard.press("Tab")
        assert tab.focused() == "pause"
        keyboard.press("Space")
        tab.until(lambda: tab.text("status") == "Paused.")
        tab.page.locator("input[value=inferno]").focus()
        keyboard.press("ArrowLeft")
        assert tab.page.locator("#ramp").get_attribute("data-colormap") == "turbo"


def test_the_full_screen_has_the_controls_and_can_be_left(chromium: str, scene: Path, depthcast: Running) -> None:
    with depthcast("serve", "--port", "{port}") as url, opened_browser(chromium, scene) as browser:
        tab = opened_tab(browser, url)
        session, keyboard = started(tab), tab.page.keyboard
        tab.page.locator("#fullscreen").focus()
        keyboard.press("Enter")
        tab.until(lambda: tab.text("fullscreen") == "Leave full screen")
        assert tab.focused() == "fullscreen"
        keyboard.press("Shift+Tab")
        keyboard.press("Shift+Tab")
        assert tab.focused() == "pause"
        assert tab.page.locator("#controls").evaluate("(controls) => getComputedStyle(controls).opacity") == "1"
        box = tab.page.locator("#pause").bounding_box()
        assert box is not None
        assert box["y"] + box["height"] <= 860
        keyboard.press("Space")
        tab.until(lambda: stats_of(session)["held"] > 0)
        keyboard.press("Tab")
        keyboard.press("Tab")
        keyboard.press("Enter")
        tab.until(lambda: tab.text("fullscreen") == "Full screen")
        assert tab.focused() == "fullscreen"


def test_a_server_that_is_killed_is_waited_for_with_the_camera(chromium: str, scene: Path, depthcast: Running) -> None:
    with opened_browser(chromium, scene) as browser:
        with depthcast("serve", "--port", "{port}", ending=signal.SIGKILL) as url:
            tab = opened_tab(browser, url)
            started(tab)
        tab.until(lambda: tab.text("hint") == f"{tab.text('status')}\nTrying again…")
        assert tab.text("start") == "Stop"
        assert tab.page.locator("#picture-video").is_visible()
        with depthcast("serve", "--port", "{port}", port=port_of(url)):
            tab.until(tab.is_live, 60)
            tab.until(lambda: tab.picture().std() > 20)
            tab.page.get_by_role("button", name="Stop").click()
            tab.until(lambda: tab.text("status") == "Stopped.")
        assert tab.page.evaluate("document.getElementById('picture-video').srcObject") is None


def test_it_fits_a_phone(chromium: str, scene: Path, depthcast: Running) -> None:
    with depthcast("serve", "--port", "{port}") as url, opened_browser(chromium, scene) as browser:
        phone = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
        tab = opened_tab(browser, url, **phone)
        started(tab)
        assert tab.page.evaluate("document.documentElement.scrollWidth") <= 390
        for name in ("start", "pause", "reset", "fullscreen", "source", "model"):
            box = tab.page.locator(f"#{name}").bounding_box()
            assert box is not None
            assert box["height"] >= 44, name
        videos = [tab.page.locator(f"#{name}-video").bounding_box() for name in ("picture", "depth")]
        assert all(box is not None and box["width"] > 300 for box in videos)
