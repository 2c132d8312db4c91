"""Raw depth over WebSocket: one binary message a frame, as docs/raw-depth.md describes it."""

from __future__ import annotations

import asyncio
import logging
import secrets
from contextlib import suppress

from fastapi import APIRouter, Depends, WebSocket, WebSocketDisconnect

from depthcast.service.security import TOKEN_ASKED
from stream.sinks.raw import RawSink, Subscription

_LOG = logging.getLogger(__name__)
_MOST_CLIENTS = 16
_TRY_LATER = 1013
_GOING_AWAY = 1001
_POLICY = 1008
_BROKEN = 1011


def raw_router(path: str, sink: RawSink, token: str | None = None, most_clients: int = _MOST_CLIENTS) -> APIRouter:
    """A WebSocket route that gives each client the newest frame it can take.

    token: what clients must bring, as bearer or as `?token=`, which browsers can; others are answered 403.
    most_clients: at the same time; a further one is sent away with code 1013.
    """
    router = APIRouter(dependencies=[] if token is None else [Depends(TOKEN_ASKED)])

    @router.websocket(path)
    async def raw(socket: WebSocket) -> None:
        if token is not None and not _brings(socket, token):
            await socket.close(_POLICY)
            return
        await socket.accept()
        if sink.viewers >= most_clients:
            await socket.close(_TRY_LATER, f"{most_clients} clients are the most, try later")
            return
        loop, news = asyncio.get_running_loop(), asyncio.Event()

        def tell() -> None:
            # The loop may have ended while the run still writes its last frame.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(news.set)

        subscription = sink.subscribe(tell)
        leaving = asyncio.create_task(_left(socket))
        sending = asyncio.create_task(_sent(socket, subscription, news))
        try:
            await asyncio.wait((leaving, sending), return_when=asyncio.FIRST_COMPLETED)
            error = None if leaving.done() else sending.exception()
            if error is not None and not isinstance(error, WebSocketDisconnect):
                _LOG.error("%s: a client is left", path, exc_info=error)
                await socket.close(_BROKEN)
        finally:
            subscription.close()
            for task in (leaving, sending):
                task.cancel()
            await asyncio.gather(leaving, sending, return_exceptions=True)

    return router


def _brings(socket: WebSocket, token: str) -> bool:
    scheme, _, bearer = socket.headers.get("Authorization", "").partition(" ")
    given = bearer if scheme.lower() == "bearer" else socket.query_params.get("token", "")
    return secrets.compare_digest(given.encode(), token.encode())


async def _left(socket: WebSocket) -> None:
    """Returns when the client goes; what it says is not listened to."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass


async def _sent(socket: WebSocket, subscription: Subscription, news: asyncio.Event) -> None:
    """Send the newest message whenever the client can take one, until there are no more."""
    while True:
        await news.wait()
        news.clear()
        message = subscription.take()
        if message is not None:
            await socket.send_bytes(message)
        elif subscription.ended:
            await socket.close(_GOING_AWAY, "the stream has ended")
            return
