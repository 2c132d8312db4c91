"""Networks that several streams use at once: opened by the first that needs one, closed behind the last."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from depthcast.exports import Progress, Say
from depthcast.networks import step_session
from depthcast.plan import Wanted, plan
from depthcast.settings import Settings
from engines.errors import EngineError
from engines.session import Session
from engines.tensorrt import TensorRtSession
from stream.batching import BatchedSession
from stream.turns import Turns, TurnSession

Open = Callable[[Wanted, tuple[int, int], Settings, Say, Progress | None], Session]
"""`depthcast.networks.step_session`, or what stands for it."""
_Key = tuple[Wanted, tuple[int, int]]


@dataclass(slots=True)
class _Shared:
    session: Session
    opened: ExitStack = field(repr=False)
    users: int = 0


class SharedSessions:
    """One session for all streams that want the same network at the same input size.

    Networks that take several streams a call run them together (`stream.batching`); of the others every stream has its
    turn (`stream.turns`). All share one order of turns, since all share one processor.
    streams: most at a time.
    """

    def __init__(self, streams: int, settings: Settings, open_session: Open = step_session) -> None:
        self._streams = streams
        self._settings = settings
        self._open_session = open_session
        self._turns = Turns()
        self._lock = threading.Lock()
        self._shared: dict[_Key, _Shared] = {}

    @property
    def open(self) -> int:
        """Networks that are open now."""
        return len(self._shared)

    @contextmanager
    def lent(self, wanted: Wanted, frame: tuple[int, int], say: Say, progress: Progress | None) -> Iterator[Session]:
        """A session for one stream of frames of size (height, width), for as long as the block lasts.

        A block that ends with an EngineError gives the network up: who comes next opens it anew.
        Raises what `step_session` raises.
        """
        key = wanted, plan(wanted, *frame, self._settings).size
        with self._lock:
            # Streams that need another network wait too: what takes long here, an export or a build, takes all cores.
            shared = self._shared.get(key) or self._opened(wanted, frame, say, progress)
            self._shared[key] = shared
            shared.users += 1
        try:
            yield shared.session
        except EngineError:
            self._forget(key, shared)
            raise
        finally:
            with self._lock:
                shared.users -= 1
                is_unused = not shared.users
            if is_unused:
                self._forget(key, shared)
                shared.opened.close()

    def _forget(self, key: _Key, shared: _Shared) -> None:
        with self._lock:
            if self._shared.get(key) is shared:
                del self._shared[key]

    def _opened(self, wanted: Wanted, frame: tuple[int, int], say: Say, progress: Progress | None) -> _Shared:
        with ExitStack() as opened:
            session = opened.enter_context(self._open_session(wanted, frame, self._settings, say, progress))
            rows = _rows(session, self._streams)
            one: Session = TurnSession(session, self._turns)
            if rows > 1:
                one = opened.enter_context(BatchedSession(one, rows))
            return _Shared(one, opened.pop_all())


def _rows(session: Session, streams: int) -> int:
    """Streams a call; 1: they take turns."""
    if streams == 1 and session.spec.batch in (None, 1):
        return 1
    if isinstance(session, TensorRtSession):
        smallest, largest = session.batches
        return 1 if largest == 1 else max(smallest, streams)
    return session.spec.batch or streams
