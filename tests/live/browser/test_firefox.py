"""Firefox on the same machine: it pairs no loopback address, bundles in its own way and sends VP8."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.live.browser.conftest import Running
from tests.live.browser.firefox import Firefox
from tests.tiny import tiny_network

pytestmark = pytest.mark.live
AS_USERS_HAVE_IT = {"DEPTHCAST_ICE_ADDRESSES": ""}
PICTURE = """
const context = Object.assign(document.createElement("canvas"), { width: 64, height: 48 }).getContext("2d");
context.drawImage(document.getElementById("depth-video"), 0, 0, 64, 48);
return [...context.getImageData(0, 0, 64, 48).data];
"""
SESSION = """
return (async (url, sections) => {
  const peer = window.peer = new RTCPeerConnection();
  const camera = await navigator.mediaDevices.getUserMedia({ video: true });
  for (const section of sections) {
    if (section === "data") peer.createDataChannel("frames");
    else if (section === "sound") peer.addTransceiver("audio", { direction: "recvonly" });
    else if (section === "recvonly") peer.addTransceiver("video", { direction: section });
    else peer.addTransceiver(camera.getVideoTracks()[0], { direction: section, streams: [camera] });
  }
  await peer.setLocalDescription();
  while (peer.iceGatheringState !== "complete") await new Promise((resolve) => setTimeout(resolve, 20));
  const headers = { "Content-Type": "application/sdp" };
  const answer = await fetch(url, { method: "POST", body: peer.localDescription.sdp, headers });
  const sdp = await answer.text();
  if (answer.ok) await peer.setRemoteDescription({ type: "answer", sdp });
  return answer.status;
})(...arguments)
"""
FIGURES = """
return window.peer.getStats().then((report) => {
  const all = [...report.values()].filter(({ kind }) => kind === "video");
  const most = (type, name) => Math.max(0, ...all.filter((one) => one.type === type).map((one) => one[name] ?? 0));
  return [peer.connectionState, most("inbound-rtp", "framesDecoded"), most("outbound-rtp", "framesEncoded")];
})
"""


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """A quick run of the test scene."""
    network = str(tiny_network(tmp_path))
    return ["run", "test:?size=320x240", "--checkpoint", network, "-o", "webrtc://@127.0.0.1:{port}/scene"]


def picture(firefox: Firefox) -> NDArray[np.int_]:
    """The depth that is shown, shrunk: [48, 64, 3] RGB."""
    return np.array(firefox.run(PICTURE)).reshape(48, 64, 4)[..., :3]


def moves(firefox: Firefox) -> None:
    """Wait until a picture of depth is shown, and then another one."""
    firefox.until("return document.getElementById('status').textContent.startsWith('Live')", timeout_s=60)
    firefox.until("return document.getElementById('depth-video').currentTime > 1")
    first = picture(firefox)
    assert first.mean() > 5
    firefox.wait_for(lambda: np.abs(picture(firefox) - first).mean() > 1)
    assert np.ptp(picture(firefox)) > 40


def test_a_running_stream_is_shown(firefox: Firefox, depthcast: Running, words: list[str]) -> None:
    with depthcast(*words, settings=AS_USERS_HAVE_IT) as url:
        firefox.open(url)
        moves(firefox)
        assert firefox.text("depth-name") == "scene"
        firefox.until("return Number(document.getElementById('fps').textContent) > 1")
        firefox.until("return Number(document.getElementById('latency').textContent) > 0")


def test_depth_of_its_camera_comes_back(firefox: Firefox, depthcast: Running) -> None:
    with depthcast("serve", "--port", "{port}", settings=AS_USERS_HAVE_IT) as url:
        firefox.open(url)
        firefox.until("return document.getElementById('status').textContent === 'Ready.'")
        firefox.click("start")
        moves(firefox)
        firefox.click("start")
        firefox.until("return document.getElementById('status').textContent === 'Stopped.'")


@pytest.mark.parametrize(
    "sections",
    [
        ["recvonly", "recvonly"],
        ["sendonly", "recvonly"],
        ["sound", "recvonly", "data", "recvonly"],
        ["data", "sendrecv", "sendrecv"],
    ],
)
def test_a_viewer_may_offer_several_sections(
    firefox: Firefox, depthcast: Running, words: list[str], sections: list[str]
) -> None:
    with depthcast(*words, settings=AS_USERS_HAVE_IT) as url:
        firefox.open(f"{url}healthz")
        assert firefox.run(SESSION, f"{url}whep/scene", sections) == 201
        firefox.wait_for(lambda: firefox.run(FIGURES)[1] > 10)
        assert firefox.run(FIGURES)[0] == "connected"
        firefox.run("window.peer.close()")


@pytest.mark.parametrize(
    "sections", [["sendrecv", "sendrecv"], ["recvonly", "sendrecv"], ["sound", "data", "sendrecv"]]
)
def test_a_camera_may_offer_several_sections(firefox: Firefox, depthcast: Running, sections: list[str]) -> None:
    with depthcast("serve", "--port", "{port}", settings=AS_USERS_HAVE_IT) as url:
        firefox.open(f"{url}healthz")
        assert firefox.run(SESSION, f"{url}live/camera", sections) == 201
        firefox.wait_for(lambda: firefox.run(FIGURES)[1] > 5, 60)
        firefox.run("window.peer.close()")


@pytest.mark.parametrize("sections", [["sendonly"], ["sendonly", "sendonly"], ["recvonly", "sendonly"]])
def test_a_publisher_may_offer_several_sections(
    firefox: Firefox, depthcast: Running, words: list[str], sections: list[str]
) -> None:
    """What it sends is seen by who watches."""
    words[1] = "whip://@127.0.0.1:{port}/in"
    with depthcast(*words, settings=AS_USERS_HAVE_IT) as url:
        firefox.open(f"{url}healthz")
        assert firefox.run(SESSION, f"{url}whip/in", sections) == 201
        firefox.wait_for(lambda: firefox.run(FIGURES)[2] > 10)
        firefox.wait_for(lambda: "scene" in firefox.run("return fetch('/live/streams').then((all) => all.text())"))
        firefox.run("window.sending = window.peer")
        assert firefox.run(SESSION, f"{url}whep/scene", ["recvonly"]) == 201
        firefox.wait_for(lambda: firefox.run(FIGURES)[1] > 10)
        firefox.run("window.peer.close(); window.sending.close()")
