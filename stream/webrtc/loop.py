"""An event loop in a thread of its own, which ends with nothing left running."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from aiortc.exceptions import InvalidStateError

from stream.errors import StreamError

_LOG = logging.getLogger(__name__)
T = TypeVar("T")


class LoopEnded(StreamError):
    """Work was given to a loop that has been closed."""


class LoopThread:
    """Runs coroutines that other threads hand to it until `close`, which cancels what is left."""

    __slots__ = ("_closed", "_ended", "_lock", "_loop", "_thread")

    def __init__(self, name: str) -> None:
        self._lock = threading.Lock()
        self._closed = False
        started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        self._thread = threading.Thread(target=_run, args=(started,), name=name)
        self._thread.start()
        self._loop, self._ended = started.result()

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Begin work on the loop; the future is cancelled where the loop ends first. Raises LoopEnded after that."""
        with self._lock:
            if self._closed:
                work.close()
                raise LoopEnded("this end of WebRTC has been closed")
            return asyncio.run_coroutine_threadsafe(work, self._loop)

    def call(self, function: Callable[[], object]) -> None:
        """Have a short function called on the loop, or not at all after its end."""
        with self._lock:
            if not self._closed:
                self._loop.call_soon_threadsafe(function)

    def close(self) -> None:
        """Cancel all work and wait for the thread's end; harmless when repeated."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()


def _run(started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]) -> None:
    try:
        with asyncio.Runner() as runner:
            runner.run(_until_ended(started))
    except BaseException as error:  # a thread's boundary: who waits for its beginning is told
        if started.done():
            raise
        started.set_exception(error)


def _note(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Of work that nobody waits for: aiortc's, when a peer has left while it was connecting."""
    error = context.get("exception")
    level = logging.DEBUG if isinstance(error, InvalidStateError | ConnectionError) else logging.WARNING
    _LOG.log(level, "WebRTC: %s: %r", context["message"], error)


async def _until_ended(started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]) -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().set_exception_handler(_note)
    started.set_result((asyncio.get_running_loop(), ended))
    await ended.wait()
