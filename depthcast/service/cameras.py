"""Cameras of browsers: each has a window of its own, and all share the networks."""

from __future__ import annotations

import asyncio
import logging
import threading
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from depthcast.board import Board
from depthcast.errors import DepthcastError
from depthcast.live import LiveRun, LiveStream
from depthcast.plan import Wanted
from depthcast.settings import Settings
from depthcast.shapes import Lend, ShapedSessions
from engines.errors import EngineError
from engines.session import Session
from stream.controls import Controls, steered
from stream.errors import StreamError
from stream.estimator import DepthEstimator
from stream.pipeline import run
from stream.sinks.picture import Painter, Style
from stream.sources.synthetic import SyntheticSource
from stream.webrtc.camera import Camera
from stream.webrtc.coding import Codec, choose_codecs
from stream.webrtc.corrections import Ice
from stream.webrtc.door import Answer, Door
from stream.webrtc.encoding import BroadcastSink
from stream.webrtc.loop import LoopEnded, LoopThread

_LOG = logging.getLogger(__name__)
_PROBE = 480, 640
_FIRST_PICTURE_S = 20.0
_LEAVE_S = 3.0
_LAST_WORDS_S = 0.25
"""Between telling a browser why it is left and leaving it."""


@dataclass(frozen=True, slots=True)
class CameraWish:
    """What somebody wants of their camera's pictures."""

    wanted: Wanted
    style: Style


@dataclass(frozen=True, slots=True)
class CameraLimits:
    """places: cameras at a time; bitrate: bits per second, at most, of what is sent back to one."""

    places: int
    bitrate: int


@dataclass(slots=True)
class _Session:
    """One camera, from the answer to its offer until it is left; `stream` is there from its first picture on."""

    wish: CameraWish
    camera: Camera
    controls: Controls = field(default_factory=Controls)
    stream: LiveStream | None = None
    thread: threading.Thread | None = None
    is_gone: bool = False


class Cameras:
    """Sessions of browsers that send their pictures and are sent depth in return; taken inside its block.

    lend: gives a network for as long as a session lasts. board: is told how they do, by number: a name is what
    the owner of a session alone knows. Newer pictures replace older ones wherever they would wait.
    Who goes without a word is left when ICE finds out, after half a minute.
    """

    def __init__(
        self, lend: Lend[Session], settings: Settings, ice: Ice, limits: CameraLimits, board: Board | None = None
    ) -> None:
        self.places = limits.places
        """Cameras at a time."""
        self._lend = lend
        self._settings = settings
        self._board = Board() if board is None else board
        self.ice = ice
        """How browsers are to find us."""
        self._bitrate = limits.bitrate
        self._lock = threading.Lock()
        self._sessions: dict[str, _Session] = {}
        self._preferred: tuple[Codec, ...] = ()

    def __enter__(self) -> Self:
        probe = SyntheticSource(*_PROBE).info
        self._preferred = choose_codecs(Painter(probe), probe.rate, self._bitrate).preferred
        self._loop = LoopThread("cameras")
        self._door = Door(self._loop, self.ice, self.places, lambda: Camera(self._loop, self._preferred))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            threads = [one.thread for one in self._sessions.values() if one.thread is not None]
        with suppress(LoopEnded, TimeoutError, CancelledError):
            self._loop.submit(self._door.leave_all()).result(_LEAVE_S)
        for thread in threads:
            thread.join(_LEAVE_S)
        self._loop.close()

    @property
    def running(self) -> int:
        """Sessions now."""
        return len(self._sessions)

    def open(self, offer: str, wish: CameraWish) -> Future[Answer]:
        """Answer an offer; fails as `Door.open` does."""
        session = _Session(wish, Camera(self._loop, self._preferred))
        session.camera.gone = lambda: self._forget(session)
        opening = self._door.open(offer, lambda: session.camera)
        opening.add_done_callback(lambda answered: self._begin(answered, session))
        return opening

    def close(self, name: str) -> Future[bool]:
        """Leave a camera; False: there is none of that name."""
        return self._door.close(name)

    def knows(self, name: str) -> bool:
        """There is a session of that name."""
        return name in self._sessions

    def find(self, name: str) -> LiveStream | None:
        """The stream of a session that has begun."""
        session = self._sessions.get(name)
        return None if session is None else session.stream

    def _begin(self, answered: Future[Answer], session: _Session) -> None:
        """On the loop, before anybody hears of the answer."""
        if answered.cancelled() or answered.exception() is not None:
            return
        name = answered.result().session
        with self._lock:
            if session.is_gone:
                return
            self._sessions[name] = session
            session.thread = threading.Thread(target=self._live, args=(name, session), name="camera", daemon=True)
            try:
                session.thread.start()
            except RuntimeError:  # There are too many threads: nobody would ever leave this camera.
                _LOG.exception("a camera is left")
                session.thread = None
                self._door.close(name)

    def _forget(self, session: _Session) -> None:
        with self._lock:
            session.is_gone = True
            for name in [name for name, one in self._sessions.items() if one is session]:
                del self._sessions[name]

    def _live(self, name: str, session: _Session) -> None:
        """A session's thread."""
        reason = "the camera has gone"
        try:
            self._run(name, session)
        except (DepthcastError, StreamError, EngineError) as error:
            reason = " ".join(str(error).split())
            _LOG.warning("a camera is left: %s", reason)
        except Exception:  # a thread's boundary: the other cameras go on
            reason = "something is wrong in the server: its log says what"
            _LOG.exception("a camera is left")
        with suppress(LoopEnded):
            self._loop.submit(self._left(name, session, reason))

    def _run(self, name: str, session: _Session) -> None:
        camera, style = session.camera, session.wish.style
        info = camera.wait(_FIRST_PICTURE_S)
        with (
            self._board.place("browser") as told,
            ShapedSessions(session.wish.wanted, self._lend, self._settings, _LOG.info, waits=False) as networks,
            DepthEstimator(
                network := networks.session_for(*info.size), rate=info.rate, session_for=networks.session_for
            ) as estimator,
        ):
            painter = Painter(info, style.colormap, side_by_side=style.side_by_side)
            codecs = choose_codecs(painter, info.rate, self._bitrate)
            sink = BroadcastSink(codecs, painter, info.rate, camera.broadcast)
            live = LiveRun(info, network.spec, session.controls)
            session.stream = LiveStream(name, live, painter, viewers=lambda: sink.viewers)
            run(
                camera,
                steered(estimator, session.controls),
                [sink],
                progress=live.noting(told),
                timings=estimator.timings,
                controls=session.controls,
            )

    async def _left(self, name: str, session: _Session, reason: str) -> None:
        try:
            if not session.is_gone:
                session.camera.end(reason)
                await asyncio.sleep(_LAST_WORDS_S)
        finally:
            self._door.close(name)
