"""An HTTP server that runs beside the work of a process, in a thread of its own."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn
from fastapi import FastAPI

from depthcast.errors import UsageError
from depthcast.service.connections import Waiting, protocol_of
from depthcast.service.logs import make_discreet
from depthcast.signals import finishing_signals, is_hangup, leave_terminal

_WAITING = Waiting()
_STARTING_S = 30.0
_LEAVING_S = 3
_NOT_STARTED = "the HTTP server did not start: the lines above say why"


@contextmanager
def serving(app: FastAPI, host: str, port: int, waiting: Waiting = _WAITING) -> Iterator[str]:
    """Serve the application inside the block; yields its URL. port 0 takes a free one; an empty host is every address.

    waiting: for clients that do not ask for anything.
    Raises UsageError where the address cannot be listened on or the application does not start.
    """
    with _listening(host, port) as listener:
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                log_level="warning",
                access_log=False,
                http=protocol_of(waiting),
                timeout_graceful_shutdown=_LEAVING_S,
                # What we send over WebSockets is compressed already.
                ws_per_message_deflate=False,
            )
        )
        ended = threading.Event()
        thread = threading.Thread(target=_run, args=(server, listener, ended), name="http")
        thread.start()
        try:
            _wait_until(lambda: server.started, ended)
            yield _url(listener)
        finally:
            server.should_exit = True
            thread.join()


def serve_until_stopped(
    app: FastAPI, host: str, port: int, on_stop: Callable[[], None] | None = None, leaving_s: int = _LEAVING_S
) -> None:
    """Serve the application in the calling thread until Ctrl-C, SIGTERM or SIGHUP. Raises UsageError as `serving` does.

    on_stop: called at the first of these, while requests are still being answered. leaving_s: given to those.
    """
    with _listening(host, port) as listener:
        print(f"serving {_url(listener)}", flush=True)
        config = uvicorn.Config(
            app, log_level="info", access_log=False, timeout_graceful_shutdown=leaving_s, http=protocol_of(_WAITING)
        )
        make_discreet("", "uvicorn")
        server = _Told(config, on_stop or (lambda: None))
        try:
            with _hanging_up(server):
                server.run([listener])
        except (KeyboardInterrupt, SystemExit):
            # uvicorn raises its signal again when all is closed: then nothing is left to be interrupted.
            if not server.started:
                raise
        if not server.started:
            raise UsageError(_NOT_STARTED)


@contextmanager
def _hanging_up(server: uvicorn.Server) -> Iterator[None]:
    """Inside the block SIGHUP ends the server as SIGTERM does, which uvicorn knows by itself."""

    def stop(number: int, frame: FrameType | None) -> None:
        leave_terminal()
        server.handle_exit(number, frame)

    before = {number: signal.signal(number, stop) for number in finishing_signals() if is_hangup(number)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Told(uvicorn.Server):
    """A server that says when it begins to stop: responses without an end of their own must be told."""

    def __init__(self, config: uvicorn.Config, on_stop: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_stop = on_stop

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, then wait for the answers that are under way."""
        self._on_stop()
        await super().shutdown(sockets)


def _run(server: uvicorn.Server, listener: socket.socket, ended: threading.Event) -> None:
    try:
        server.run([listener])
    finally:
        ended.set()


def _wait_until(started: Callable[[], bool], ended: threading.Event) -> None:
    step_s = 0.01
    for _ in range(round(_STARTING_S / step_s)):
        if started():
            return
        if ended.wait(step_s):
            break
    raise UsageError(_NOT_STARTED)


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    # An IPv6 socket on every address takes IPv4 too, where the machine has IPv6 at all.
    everywhere = not host and socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if everywhere or ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, dualstack_ipv6=everywhere)
    except (OSError, OverflowError) as error:
        raise UsageError(f"cannot listen on {host or 'any address'}, port {port}: {error}; choose another") from error
    with listener:
        # asyncio sets this for sockets of its own only; without it an answer's body waits 40 ms for its head's receipt.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    shown = {"::": "localhost", "0.0.0.0": "localhost"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{port}"
