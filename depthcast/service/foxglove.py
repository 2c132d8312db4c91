"""Foxglove's server behind ours: its library lets in every page of the web, so it listens where nobody else looks."""

from __future__ import annotations

import asyncio
import secrets
import sys
from contextlib import suppress
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, WebSocket, WebSocketDisconnect
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

from depthcast.service.security import Admits

_APP = "foxglove.dev"
_LEAVE_S = 2.0


def hidden_host() -> str:
    """An address of this machine alone, where pages that try every port of 127.0.0.1 do not look."""
    if sys.platform != "linux":
        return "127.0.0.1"
    return ".".join(["127", *(str(1 + secrets.randbelow(254)) for _ in range(3))])


def foxglove_router(host: str, port: int) -> APIRouter:
    """A WebSocket route at `/` that leads to the library's server there, for programs and for pages of Foxglove."""
    router = APIRouter(dependencies=[Depends(Admits(_is_of_foxglove))])

    @router.websocket("/")
    async def relay(socket: WebSocket) -> None:
        asked = [Subprotocol(one) for one in socket.scope["subprotocols"]]
        try:
            # The library drops what a slow viewer misses: nothing may wait on the way.
            server = await connect(
                f"ws://{host}:{port}",
                subprotocols=asked or None,
                compression=None,
                max_size=None,
                max_queue=1,
                ping_interval=None,
                proxy=None,
                close_timeout=_LEAVE_S,
            )
        except (OSError, InvalidHandshake):
            await socket.close()
            return
        async with server:
            await socket.accept(server.subprotocol)
            await _relayed(socket, server)

    return router


def _is_of_foxglove(origin: str) -> bool:
    """A page of theirs, or their desktop application."""
    try:
        parts = urlsplit(origin)
        name = parts.hostname or ""
    except ValueError:
        return False
    return origin == "file://" or (parts.scheme == "https" and (name == _APP or name.endswith(f".{_APP}")))


async def _relayed(socket: WebSocket, server: ClientConnection) -> None:
    """Pass messages on in both directions until one side goes."""
    ways = asyncio.create_task(_there(socket, server)), asyncio.create_task(_back(socket, server))
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        with suppress(RuntimeError, WebSocketDisconnect):
            await socket.close()


async def _there(socket: WebSocket, server: ClientConnection) -> None:
    while (message := await socket.receive())["type"] != "websocket.disconnect":
        text = message.get("text")
        await server.send(message["bytes"] if text is None else text)


async def _back(socket: WebSocket, server: ClientConnection) -> None:
    with suppress(ConnectionClosed):
        async for message in server:
            await (socket.send_text(message) if isinstance(message, str) else socket.send_bytes(message))
