"""The networks of one stream: its pictures may change shape, and each shape has an input size of its own."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, Self

from depthcast.builds import has_engine
from depthcast.errors import DepthcastError
from depthcast.exports import Progress, Say
from depthcast.networks import Opened, step_session, window_session
from depthcast.plan import Engine, Route, Wanted, is_stored, plan, size_text
from depthcast.settings import Settings
from engines.errors import EngineError
from engines.session import Session, WindowSession
from stream.errors import StreamError

KEPT = 2
"""Networks that a stream keeps open: the one in use, and the one before it, since what was turned is turned back."""
Lend = Callable[[Wanted, tuple[int, int], Say, Progress | None], AbstractContextManager[Opened]]
"""Gives a network for frames of size (height, width), for as long as a block lasts: `SharedSessions.lent`."""


@dataclass(frozen=True, slots=True)
class _Held(Generic[Opened]):
    size: tuple[int, int]
    session: Opened
    loan: AbstractContextManager[Opened]


class ShapedSessions(Generic[Opened]):
    """Plans the network's input for each shape of a stream's pictures, and opens what was planned.

    wanted: network; lend: gives it; say: told what is opened, and what cannot be.
    waits: the stream can wait for an export or a build. One that cannot keeps the network it has where another would
        first have to be made.
    Leave it with the error that ended the stream: an engine's failure gives shared networks up.
    """

    def __init__(
        self,
        wanted: Wanted,
        lend: Lend[Opened],
        settings: Settings,
        say: Say,
        progress: Progress | None = None,
        waits: bool = True,
    ) -> None:
        self._wanted = wanted
        self._lend: Lend[Opened] = lend
        self._settings = settings
        self._say = say
        self._progress = progress
        self._waits = waits
        self._held: list[_Held[Opened]] = []
        self.notes: list[str] = []
        """What a person should know about the pictures that fit no network, a line each."""

    def session_for(self, height: int, width: int) -> Opened:
        """The network for pictures that are shown at height × width pixels.

        Where none can be had for another shape in mid-stream, it is the one in use, and the notes say so.
        Raises DepthcastError, EngineError or StreamError where there is none in use.
        """
        try:
            route = plan(self._wanted, height, width, self._settings)
            held = next((one for one in self._held if one.size == route.size), None)
            if held is None:
                if self._held and not self._waits:
                    _require_ready(route, self._wanted)
                held = self._opened(route.size, (height, width))
        except (DepthcastError, EngineError, StreamError) as error:
            if not self._held:
                raise
            held = self._held[-1]
            self._note(held, (height, width), str(error))
        else:
            if route.stretches:
                self._note(held, (height, width), "its input size is fixed")
        if held in self._held:
            self._held.remove(held)
        self._held.append(held)
        return held.session

    def _opened(self, size: tuple[int, int], frame: tuple[int, int]) -> _Held[Opened]:
        while len(self._held) >= KEPT:
            self._held.pop(0).loan.__exit__(None, None, None)
        loan = self._lend(self._wanted, frame, self._say, self._progress)
        return _Held(size, loan.__enter__(), loan)

    def _note(self, held: _Held[Opened], frame: tuple[int, int], reason: str) -> None:
        note = f"pictures of {size_text(frame)} are stretched to the network's {size_text(held.size)}: {reason}"
        if note in self.notes:
            return
        self.notes.append(note)
        if self._held:
            self._say(note)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._held:
            self._held.pop().loan.__exit__(kind, error, trace)

    def close(self) -> None:
        """Give all networks back; harmless when repeated."""
        self.__exit__(None, None, None)


def _require_ready(route: Route, wanted: Wanted) -> None:
    """Raise DepthcastError where the network must first be exported, or its engine built."""
    made = route.engine is Engine.TORCH or (route.network is not None and is_stored(route.network))
    if made and route.accelerator is not None:
        assert route.network is not None
        assert route.engines is not None
        made = has_engine(route.network, route.size, route.accelerator, route.engines)
    if not made:
        command = "build" if route.accelerator is not None else "export"
        raise DepthcastError(
            f"there is no network of {size_text(route.size)} yet, and a live stream does not wait for one: "
            f"run `depthcast {command} {wanted.model.pull_options} --size {size_text(route.size)}` beforehand"
        )


def own_steps(settings: Settings) -> Lend[Session]:
    """Networks of one's own, stepping frame by frame."""
    return lambda wanted, frame, say, progress: step_session(wanted, frame, settings, say, progress)


def own_windows(settings: Settings) -> Lend[WindowSession]:
    """Networks of one's own, seeing whole windows."""
    return lambda wanted, frame, say, progress: window_session(wanted, frame, settings, say, progress)
