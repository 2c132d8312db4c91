"""Browsers' cameras, with aiortc as the browser: depth comes back, each has its own window, nothing is left behind."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import pytest
from aiortc import RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, VideoStreamTrack

from depthcast.errors import ModelError
from depthcast.plan import Wanted
from depthcast.service.app import create_app
from depthcast.service.camera import camera_router, camera_view
from depthcast.service.cameras import CameraLimits, Cameras
from depthcast.service.server import serving
from depthcast.settings import Settings
from depthcast.sharing import SharedSessions
from engines.session import Session
from stream.estimator import DepthEstimator
from stream.preprocess import to_rgb
from stream.sources.synthetic import SyntheticSource
from stream.webrtc.corrections import Peer
from stream.webrtc.loop import LoopThread
from stream.webrtc.notes import CHANNEL
from tests.conditions import until
from tests.fakes import FakeSession, spec
from tests.rtc import HEIGHT, LOOPBACK, SDP, WIDTH, offer


@pytest.fixture(autouse=True)
def no_thread_stays() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        # OpenVINO, where it is installed, keeps one of its own from the first look at what could run.
        if thread.name.startswith("ThreadPoolExecutor"):
            continue
        thread.join(5)
        assert not thread.is_alive(), thread.name


class Scene(VideoStreamTrack):
    """The test scene, as a browser's camera. is_turned: from the next picture on it stands on its side."""

    def __init__(self) -> None:
        super().__init__()
        self.is_turned = False
        self._scene = SyntheticSource(HEIGHT, WIDTH)
        self._index = 0

    async def recv(self) -> av.VideoFrame:
        image = self._scene.render(self._index)
        image = np.ascontiguousarray(np.rot90(image)) if self.is_turned else image
        picture = av.VideoFrame.from_ndarray(image, format="rgb24")
        picture.pts, picture.time_base = await self.next_timestamp()
        self._index += 1
        return picture


@dataclass(slots=True)
class Browser:
    """What comes back to one, and what it is told."""

    session: str
    peer: Peer
    pictures: list[av.VideoFrame] = field(default_factory=list)
    notes: list[dict[str, Any]] = field(default_factory=list)

    def chroma(self) -> float:
        """Of the last picture; 0 for grey."""
        if not self.pictures:
            return 0.0
        return float(np.ptp(to_rgb(self.pictures[-1], HEIGHT, WIDTH).astype(int), axis=-1).mean())


@dataclass(slots=True)
class Service:
    """Cameras that are served, and the sessions of the network that they share."""

    client: httpx.Client
    cameras: Cameras
    opened: list[FakeSession]
    loop: LoopThread
    peers: list[Peer] = field(default_factory=list)

    def begin(self, query: str = "") -> Browser:
        browser = self.loop.submit(_begun(self.client, query)).result(20)
        self.peers.append(browser.peer)
        return browser

    def leave(self) -> None:
        for peer in self.peers:
            self.loop.submit(peer.close()).result(10)
        self.loop.close()

    def stats(self, browser: Browser) -> dict[str, Any]:
        found = self.client.get(browser.session)
        return dict(found.json()["stats"]) if found.status_code == 200 else {}


async def _begun(client: httpx.Client, query: str) -> Browser:
    peer = Peer(LOOPBACK)
    peer.addTransceiver(Scene(), direction="sendrecv")
    channel = peer.createDataChannel(CHANNEL, ordered=False, maxRetransmits=0)
    await peer.setLocalDescription()
    sdp = peer.localDescription.sdp
    answer = await asyncio.to_thread(client.post, f"/live/camera{query}", content=sdp, headers=SDP)
    if answer.status_code != 201:
        await peer.close()
    answer.raise_for_status()
    browser = Browser(answer.headers["Location"], peer)
    channel.on("message", lambda message: browser.notes.append(json.loads(message)))
    channel.on("open", lambda: channel.send(json.dumps({"ping_ms": 1234.5})))
    channel.on("open", lambda: channel.send("no JSON"))
    await peer.setRemoteDescription(RTCSessionDescription(answer.text, "answer"))
    asyncio.get_running_loop().create_task(_watch(browser))
    return browser


async def _watch(browser: Browser) -> None:
    track = browser.peer.getReceivers()[0].track
    with suppress(MediaStreamError):
        while True:
            picture = await track.recv()
            assert isinstance(picture, av.VideoFrame)
            browser.pictures.append(picture)


@contextmanager
def service(tmp_path: Path, places: int = 4, fail_at: int | None = None) -> Iterator[Service]:
    opened: list[FakeSession] = []

    def open_session(wanted: Wanted, frame: tuple[int, int], *_: object) -> Session:
        assert (wanted.model.name, frame) == ("nano", (HEIGHT, WIDTH))
        opened.append(FakeSession(fail_at=fail_at))
        return opened[-1]

    settings = Settings(tmp_path)
    lend = SharedSessions(places, settings, open_session).lent
    cameras = Cameras(lend, settings, LOOPBACK, CameraLimits(places, 2_000_000))
    loop = LoopThread("browsers")
    with (
        serving(create_app(camera_router(cameras, settings)), "127.0.0.1", 0) as url,
        httpx.Client(base_url=url, timeout=20) as client,
    ):
        served = Service(client, cameras, opened, loop)
        try:
            yield served
        finally:
            served.leave()


def test_depth_comes_back_and_its_age_is_told(tmp_path: Path) -> None:
    with service(tmp_path) as served:
        browser = served.begin("?colormap=turbo")
        until(lambda: len(browser.pictures) > 5)
        assert (browser.pictures[-1].height, browser.pictures[-1].width) == (HEIGHT, WIDTH)
        assert browser.chroma() > 60
        until(lambda: any(note.get("clock") == "browser" for note in browser.notes))
        pong, note = ([one for one in browser.notes if key in one][-1] for key in ("ping_ms", "clock"))
        assert pong["ping_ms"] == 1234.5
        # Both are Unix times in milliseconds, of a test that is over within the hour.
        assert [abs(told - time.time() * 1000) < 3.6e6 for told in (pong["server_ms"], note["captured_ms"])] == [
            True
        ] * 2
        view = served.client.get(browser.session).json()
        assert (view["width"], view["height"], view["colormap"], view["viewers"]) == (WIDTH, HEIGHT, "turbo", 1)
        assert served.client.delete(browser.session).status_code == 204
        assert served.client.get(browser.session).status_code == 404
        assert served.client.delete(browser.session).status_code == 404
        until(lambda: served.cameras.running == 0)


def test_settings_change_while_it_runs(tmp_path: Path) -> None:
    with service(tmp_path) as served:
        browser = served.begin()
        until(lambda: len(browser.pictures) > 2)
        assert browser.chroma() < 12
        assert served.client.patch(browser.session, json={"colormap": "turbo"}).status_code == 200
        until(lambda: browser.chroma() > 60)
        served.client.patch(browser.session, json={"side_by_side": True})
        until(lambda: browser.pictures[-1].width == 2 * WIDTH)

        served.client.patch(browser.session, json={"paused": True})
        until(lambda: served.stats(browser)["held"] > 0)
        frames = served.stats(browser)["frames_out"]
        until(lambda: served.stats(browser)["held"] > 2)
        assert served.stats(browser)["frames_out"] == frames
        served.client.patch(browser.session, json={"paused": False})
        until(lambda: served.stats(browser)["frames_out"] > frames)

        resets = served.stats(browser)["resets"]
        assert served.client.post(f"{browser.session}/reset").status_code == 204
        until(lambda: served.stats(browser)["resets"] > resets)


def test_cameras_share_a_network_and_a_further_one_is_told_to_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However long a busy machine lets a camera wait: that is no reason to start anew here.
    monkeypatch.setattr("depthcast.service.cameras.DepthEstimator", partial(DepthEstimator, gap_s=3600))
    with service(tmp_path, places=2) as served:
        browsers = [served.begin(), served.begin()]
        until(lambda: all(served.stats(one).get("frames_out", 0) > 3 for one in browsers))
        assert len(served.opened) == 1
        full = served.client.post("/live/camera", content=offer(direction="sendrecv"), headers=SDP)
        assert (full.status_code, full.headers["Retry-After"]) == (503, "5")
        # Whoever closes the connection without a word makes room.
        served.loop.submit(browsers[0].peer.close()).result(10)
        until(lambda: served.cameras.running == 1)
        third = served.begin()
        until(lambda: served.stats(third).get("frames_out", 0) > 1)
        assert served.client.get(browsers[1].session).json()["stats"]["resets"] == 1


def test_a_camera_whose_network_fails_is_told_why_and_left(tmp_path: Path) -> None:
    class Broken(FakeSession):
        def step(self, *_: Any) -> Any:
            raise ModelError("the network is gone")

    with service(tmp_path) as served:
        served.cameras._lend = _lending(Broken())
        browser = served.begin()
        until(lambda: served.cameras.running == 0)
        until(lambda: {"ended": "the network is gone"} in browser.notes)


def test_a_camera_whose_pictures_cannot_be_taken_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The task that takes them ended in silence, and the session stayed."""

    def failing(*_: object) -> None:
        raise RuntimeError("a fault")

    monkeypatch.setattr("stream.webrtc.camera.LiveClock.pts", failing)
    with service(tmp_path) as served:
        browser = served.begin()
        until(lambda: served.cameras.running == 0)
        until(lambda: {"ended": "something is wrong in the server: its log says what"} in browser.notes)


def _lending(session: Session) -> Any:
    @contextmanager
    def lent(*_: object) -> Iterator[Session]:
        yield session

    return lent


def test_a_telephone_that_is_turned_gets_a_network_of_its_new_shape(tmp_path: Path) -> None:
    asked: list[tuple[int, int]] = []

    @contextmanager
    def lent(_wanted: Wanted, frame: tuple[int, int], *_: object) -> Iterator[Session]:
        asked.append(frame)
        yield FakeSession(spec(size=frame, multiple=2))

    with service(tmp_path) as served:
        served.cameras._lend = lent
        browser = served.begin("?colormap=turbo")
        until(lambda: len(browser.pictures) > 5, 20)
        scene = browser.peer.getSenders()[0].track
        assert isinstance(scene, Scene)
        scene.is_turned = True
        until(lambda: len(asked) > 1, 20)
        resets = served.stats(browser)["resets"]
        seen = len(browser.pictures)
        until(lambda: len(browser.pictures) > seen + 10, 20)
        # What comes back keeps its size, and shows the new shape between bars.
        shown = to_rgb(browser.pictures[-1], HEIGHT, WIDTH).astype(int)
        bar = (WIDTH - HEIGHT * HEIGHT // WIDTH) // 2 - 8
        assert shown[:, :bar].mean() < 25
        assert shown[:, -bar:].mean() < 25
        assert shown[:, WIDTH // 2 - 20 : WIDTH // 2 + 20].mean() > 50
        assert resets >= 1
        scene.is_turned = False
        until(lambda: to_rgb(browser.pictures[-1], HEIGHT, WIDTH)[:, :bar].mean() > 50, 20)
    assert asked == [(HEIGHT, WIDTH), (WIDTH, HEIGHT)]


@pytest.mark.parametrize(
    ("query", "sdp", "kind", "status", "reason"),
    [
        ("", "recvonly", SDP, 422, "sendrecv"),
        ("", "nonsense", SDP, 400, "no SDP"),
        ("?model=huge", "sendrecv", SDP, 422, "unknown model"),
        ("?model=VDA-Small", "sendrecv", SDP, 422, "depthcast pull VDA-Small"),
        ("?colormap=plaid", "sendrecv", SDP, 422, "colormap"),
        ("", "sendrecv", {"Content-Type": "text/plain"}, 415, "application/sdp"),
    ],
)
def test_offers_that_cannot_be_met_are_refused(
    tmp_path: Path, query: str, sdp: str, kind: dict[str, str], status: int, reason: str
) -> None:
    body = sdp if sdp == "nonsense" else offer(direction=sdp)
    with service(tmp_path) as served:
        answer = served.client.post(f"/live/camera{query}", content=body, headers=kind)
        assert answer.status_code == status, answer.text
        assert reason in answer.text
        assert served.cameras.running == 0


def test_only_models_that_can_run_here_are_offered(tmp_path: Path) -> None:
    cameras = Cameras(_lending(FakeSession()), Settings(Path("unused")), LOOPBACK, CameraLimits(3, 1))
    view = camera_view(cameras, Settings(tmp_path))
    assert [(model.name, model.note) for model in view.models] == [("nano", "")]
    assert view.places == 3
