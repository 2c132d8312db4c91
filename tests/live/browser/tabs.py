"""A tab of Chromium, and what can be seen in it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page

# Connections are kept where a test can ask for their figures; times are of the first connection and its first picture.
_WATCHING = """
window.peers = [];
window.times = {};
window.videoOf = (id) => document.getElementById(id);
window.RTCPeerConnection = class extends RTCPeerConnection {
  constructor(...words) {
    super(...words);
    window.peers.push(this);
    this.addEventListener("connectionstatechange", () => { window.times[this.connectionState] ??= performance.now(); });
  }
};
document.addEventListener("DOMContentLoaded", () => {
  document.getElementById("depth-video")?.requestVideoFrameCallback(() => { window.times.shown = performance.now(); });
});
"""
_DECODED = """
async () => {
  const reports = await Promise.all(window.peers.map((peer) => peer.getStats()));
  const all = reports.flatMap((report) => [...report.values()]);
  return all.filter(({ type }) => type === "inbound-rtp").reduce((sum, one) => sum + (one.framesDecoded ?? 0), 0);
}
"""
_PICTURE = """
(id) => {
  const video = document.getElementById(id);
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [64, 48];
  const context = canvas.getContext("2d");
  context.drawImage(video, 0, 0, 64, 48);
  return [...context.getImageData(0, 0, 64, 48).data];
}
"""
_FLAGS = (
    "--no-sandbox",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream=fps=30",
    "--allow-loopback-in-peer-connection",
)


@dataclass(slots=True)
class Tab:
    """One page, and what it complained of."""

    page: Page
    complaints: list[str] = field(default_factory=list)

    def text(self, name: str) -> str:
        """Of the element of that id."""
        element = self.page.query_selector(f"#{name}")
        return (element.text_content() if element else None) or ""

    def number(self, name: str) -> float:
        """In the element of that id; NaN where there is none."""
        try:
            return float(self.text(name))
        except ValueError:
            return float("nan")

    def picture(self, video: str = "depth-video") -> NDArray[np.int_]:
        """What a video shows now, shrunk: [48, 64, 3] RGB."""
        values = self.page.evaluate(_PICTURE, video)
        return np.array(values).reshape(48, 64, 4)[..., :3]

    def shape(self, video: str = "depth-video") -> tuple[int, int]:
        """(height, width) of a video."""
        height, width = self.page.evaluate("(id) => [videoOf(id).videoHeight, videoOf(id).videoWidth]", video)
        return int(height), int(width)

    def decoded(self) -> int:
        """Pictures that have been decoded, over all connections."""
        return int(self.page.evaluate(_DECODED))

    def times(self) -> dict[str, float]:
        """Milliseconds at which the first connection came about, and the first picture was shown."""
        return dict(self.page.evaluate("window.times"))

    def until(self, seen: Callable[[], Any], timeout_s: float = 30) -> None:
        """Wait for something to be seen."""
        deadline = time.monotonic() + timeout_s
        while not seen():
            assert time.monotonic() < deadline, f"not seen in {timeout_s} s: {self.text('status')} {self.complaints}"
            self.page.wait_for_timeout(50)

    def focused(self) -> str:
        """The id of the element that the keyboard is at."""
        return str(self.page.evaluate("document.activeElement.id"))

    def is_live(self) -> bool:
        """The page says so."""
        return self.text("status").startswith("Live")


@contextmanager
def opened_browser(path: str, camera: Path | None = None) -> Iterator[Browser]:
    """Chromium without a window. camera: the file that its camera plays."""
    from playwright.sync_api import sync_playwright

    flags = [*_FLAGS, *([f"--use-file-for-fake-video-capture={camera}"] if camera else [])]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=flags)
        try:
            yield browser
        finally:
            browser.close()


def opened_tab(browser: Browser, url: str, **options: Any) -> Tab:
    """A tab of its own, as large as a small laptop's unless `options` say otherwise."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 860}, **options})
    tab = Tab(context.new_page())
    tab.page.add_init_script(_WATCHING)

    def heed(message: ConsoleMessage) -> None:
        if message.type == "error":
            tab.complaints.append(message.text)

    tab.page.on("console", heed)
    tab.page.on("pageerror", lambda error: tab.complaints.append(str(error)))
    tab.page.goto(url)
    return tab


def colourfulness(picture: NDArray[np.int_]) -> float:
    """Mean distance of the channels of a picture; 0 for grey."""
    return float(np.ptp(picture, axis=-1).mean())
