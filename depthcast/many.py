"""Many streams in one process: each with a thread, a window and outputs of its own; the networks are shared."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from depthcast.board import Board, State
from depthcast.errors import DepthcastError
from depthcast.job import Job, Outcome, prepared
from depthcast.networks import step_session
from depthcast.service.ports import HttpPorts
from depthcast.settings import Settings
from depthcast.sharing import Open, SharedSessions
from engines.errors import EngineError
from stream.dataouts import FoxgloveServe, RawServe
from stream.errors import StreamError
from stream.pacing import wait_before_try_s
from stream.reasons import reason_of
from stream.stats import Stats
from stream.uris import CameraIn, FileIn, HttpIn, RtspIn, TestIn
from stream.webrtcuris import WebRtcIn, WebRtcServe

_LOG = logging.getLogger(__name__)
_LEAVE_S = 1.0
"""How long a stream that is being opened may take to notice that it is to stop."""
Wait = Callable[[threading.Event, float], object]


@dataclass(frozen=True, slots=True)
class NamedJob:
    """A job that is told apart from others by its name."""

    name: str
    job: Job

    def is_tried_again(self, has_run: bool) -> bool:
        """After a failure: what may be there again later always, other endless sources if they have run at all.

        A file fails again in the same way.
        """
        match self.job.source:
            case RtspIn() | HttpIn() | CameraIn() | WebRtcIn():
                return True
            case FileIn(loop=True) | TestIn(frames=None):
                return has_run
            case _:
                return False


def announced(jobs: Sequence[NamedJob], ports: HttpPorts) -> HttpPorts:
    """The ports with every address at which any of the jobs is reached: none belongs to one of them alone."""
    for one in jobs:
        for uri in (one.job.source, *one.job.outputs):
            if isinstance(uri, WebRtcIn | WebRtcServe | RawServe | FoxgloveServe):
                ports.announce(uri.host, uri.port)
    return ports


@dataclass(frozen=True, slots=True)
class Ended:
    """How a stream went. outcome: of its last run, None where that failed; error: why, in a line."""

    name: str
    outcome: Outcome | None
    error: str = ""


class Streams:
    """Runs jobs side by side; the failure of one is its own.

    One whose source may come back (a camera, a network) is begun again whenever it fails, at growing intervals; a file
    that failed has failed.
    say: told what people should know, with the stream's name before it.
    ports: HTTP servers, shared by all; to be served while they run, see `announced`.
    open_session: opens what is shared. wait: sleeps so many seconds, or until the event is set. Replaced in tests.
    """

    def __init__(
        self,
        jobs: Sequence[NamedJob],
        settings: Settings,
        say: Callable[[str], None],
        board: Board,
        ports: HttpPorts | None = None,
        open_session: Open = step_session,
        wait: Wait = threading.Event.wait,
    ) -> None:
        self._jobs = tuple(jobs)
        self._settings = settings
        self._say = say
        self._board = board
        self._ports = HttpPorts() if ports is None else ports
        self._wait = wait
        self._sessions = SharedSessions(len(self._jobs), settings, open_session)

    def run(self, stop: threading.Event) -> tuple[Ended, ...]:
        """Run until all have ended, or `stop` is set and what was in flight is finished; in the order of the jobs."""
        ended: dict[str, Ended] = {}
        threads = [
            threading.Thread(target=self._live, args=(one, stop, ended), name=one.name, daemon=True)
            for one in self._jobs
        ]
        for thread in threads:
            thread.start()
        for one, thread in zip(self._jobs, threads, strict=True):
            while thread.is_alive() and not self._is_left(one, stop):
                thread.join(_LEAVE_S)
            thread.join(_LEAVE_S)
        return tuple(ended.get(one.name, Ended(one.name, None, "stopped before it began")) for one in self._jobs)

    def _is_left(self, one: NamedJob, stop: threading.Event) -> bool:
        """It is to stop and has nothing to finish: it may wait long for a publisher or an address."""
        return stop.is_set() and self._board.status(one.name).state is State.OPENING

    def _live(self, one: NamedJob, stop: threading.Event, ended: dict[str, Ended]) -> None:
        """A stream's thread."""
        try:
            ended[one.name] = self._lived(one, stop)
        except Exception as error:  # a thread's boundary: the other streams go on
            _LOG.exception("stream %s", one.name)
            ended[one.name] = Ended(one.name, None, f"an error that was not expected: {reason_of(error)}")
        end = ended[one.name]
        state = State.FAILED if end.error else State.ENDED
        self._board.put(replace(self._board.status(one.name), state=state, error=end.error))

    def _lived(self, one: NamedJob, stop: threading.Event) -> Ended:
        """Run after run."""
        failures = 0
        while True:
            before = self._board.status(one.name).stats
            try:
                return Ended(one.name, self._run_once(one, stop))
            except DepthcastError as error:
                reason, is_final = " ".join(str(error).split()), True
            except (StreamError, EngineError, OSError) as error:
                reason, is_final = " ".join(str(error).split()), False
            last = self._board.status(one.name).stats
            if is_final or stop.is_set() or not one.is_tried_again(last is not None):
                self._say(f"{one.name}: {reason}")
                return Ended(one.name, None, reason)
            failures = failures + 1 if last is before else 1
            pause_s = wait_before_try_s(failures)
            self._say(f"{one.name}: {reason}; again in {pause_s:g} s")
            now = self._board.status(one.name)
            self._board.put(replace(now, state=State.WAITING, restarts=now.restarts + 1, error=reason))
            self._wait(stop, pause_s)
            if stop.is_set():
                return Ended(one.name, None, reason)

    def _run_once(self, one: NamedJob, stop: threading.Event) -> Outcome:
        def told(stats: Stats) -> None:
            # Until the first frame is out, it is no success yet.
            if stats.frames_out:
                self._board.tell(one.name, stats)

        self._board.put(replace(self._board.status(one.name), state=State.OPENING))
        with ExitStack() as opened:
            say = lambda line: self._say(f"{one.name}: {line}")  # noqa: E731
            ready = opened.enter_context(prepared(one.job, self._settings, say, None, self._sessions.lent, self._ports))
            return ready.run(told, stop)
