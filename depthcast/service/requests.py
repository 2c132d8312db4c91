"""What holds for every request: HEAD where there is GET, and a size and a pace that bodies keep."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import anyio
import anyio.lowlevel
from fastapi import Request
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LARGEST_BODY = 1 << 20
"""Bytes, where a route does not say otherwise."""
_BODY = "depthcast.body"


@dataclass(frozen=True, slots=True)
class Pace:
    """Of bodies. part_s: until more of one comes; grace_s, least_rate: bytes per second of all of it, after a while."""

    part_s: float = 30.0
    grace_s: float = 60.0
    least_rate: int = 4096


@dataclass(slots=True)
class Body:
    """The body of one request. most: bytes, checked before anything is read and again while it comes."""

    announced: int
    pace: Pace
    most: int = LARGEST_BODY
    received: int = 0
    began_s: float | None = None

    def check(self) -> None:
        """Raise HTTPException where it is, or is announced to be, too large."""
        if max(self.announced, self.received) > self.most:
            raise HTTPException(413, f"at most {self.most:,} bytes are taken")

    def patience_s(self, now_s: float) -> float:
        """How long to wait for more, from `now_s` of a monotonic clock."""
        if self.began_s is None:
            self.began_s = now_s
        end_s = self.began_s + self.pace.grace_s + self.received / self.pace.least_rate
        return max(0.0, min(self.pace.part_s, end_s - now_s))


def body_of(request: Request) -> Body:
    """The body of a request, for a route that takes more than others."""
    body = request.scope[_BODY]
    assert isinstance(body, Body)
    return body


class Requests:
    """ASGI middleware."""

    __slots__ = ("_app", "_pace")

    def __init__(self, app: ASGIApp, pace: Pace) -> None:
        self._app = app
        self._pace = pace

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what a route sees of a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("Content-Length", "")
        body = Body(int(announced) if announced.isdecimal() else 0, self._pace)
        seen = {**scope, _BODY: body}
        if scope["method"] == "HEAD":
            await self._head_only(seen, receive, send)
        else:
            await self._app(seen, _limited(receive, body), send)

    async def _head_only(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The head of what GET answers. Nothing more of the body is made than its first part.

        Ranges are not defined for HEAD (RFC 9110, 14.2).
        """
        answering = anyio.CancelScope()
        headers = [(name, value) for name, value in scope["headers"] if name not in (b"range", b"if-range")]

        async def send_head(message: Message) -> None:
            if message["type"] == "http.response.body":
                await send({"type": "http.response.body"})
                answering.cancel()
                await anyio.lowlevel.checkpoint()
            await send(message)

        with answering:
            await self._app({**scope, "method": "GET", "headers": headers}, receive, send_head)


def _limited(receive: Receive, body: Body) -> Receive:
    is_whole = False

    async def received() -> Message:
        nonlocal is_whole
        if is_whole:
            return await receive()
        body.check()
        patience_s = body.patience_s(asyncio.get_running_loop().time())
        try:
            async with asyncio.timeout(patience_s):
                message = await receive()
        except TimeoutError:
            raise HTTPException(408, "the body comes too slowly, or has stopped coming") from None
        body.received += len(message.get("body", b""))
        body.check()
        is_whole = not message.get("more_body", False)
        return message

    return received
