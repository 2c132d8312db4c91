"""WHIP and WHEP, both RFC 9725 in shape: an offer is posted, the answer comes back, the session is a resource."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import quote

from fastapi import APIRouter, Depends, Request, Response

from depthcast.service.openapi import outside
from depthcast.service.security import TOKEN_ASKED
from stream.webrtc.corrections import IceServer
from stream.webrtc.door import Answer, Door, Full, OfferError, OfferRefused
from stream.webrtc.loop import LoopEnded

T = TypeVar("T")
_SDP = "application/sdp"
_TRICKLE = "application/trickle-ice-sdpfrag"
_SDP_LIMIT = 65536
_PATIENCE_S = 15.0
_RETRY_S = "5"
_NO_SESSION = "there is no such session"
_CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "ETag, Link, Location, Retry-After",
}
_PREFLIGHT = {
    "Access-Control-Allow-Methods": "OPTIONS, POST, PATCH, DELETE",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, If-Match",
}


def sessions_router(path: str, door: Door, token: str | None = None, servers: Sequence[IceServer] = ()) -> APIRouter:
    """Peers come in through `door` by offers posted at `path`, such as `/whep/depth`.

    token: what they must bring as `Authorization: Bearer …`, if anything.
    servers: that they are told of, those with a password only where a token was brought.
    """
    marks = [] if token is None else [Depends(TOKEN_ASKED)]
    links = links_of(servers, with_secrets=token is not None)
    router, endpoint = APIRouter(tags=["webrtc"], dependencies=marks), _Endpoint(path, door, token, links)
    for place in (path, path + "/{session}"):
        router.add_api_route(place, endpoint.describe, methods=["OPTIONS"], include_in_schema=False)
    router.add_api_route(path, endpoint.begin, methods=["POST"], status_code=201)
    router.add_api_route(path + "/{session}", endpoint.trickle, methods=["PATCH"], status_code=204)
    router.add_api_route(path + "/{session}", endpoint.end, methods=["DELETE"])
    return router


@dataclass(frozen=True, slots=True)
class _Endpoint:
    path: str
    door: Door
    token: str | None
    links: str | None

    async def describe(self) -> Response:
        """What a browser asks before it posts from another site's page."""
        preflight = {} if self.token is None else _PREFLIGHT
        return self._open(Response(status_code=204, headers={"Accept-Post": _SDP, **preflight}))

    async def begin(self, request: Request) -> Response:
        """Bring an SDP offer; answered with the SDP answer and, as Location, the session's address."""
        refusal = _refusal(request, self.token, _SDP)
        return self._open(refusal or await begun(request, self.path, self.door.open, self.links))

    async def trickle(self, session: str, request: Request) -> Response:
        """Bring further ICE candidates."""
        return self._open(_refusal(request, self.token, _TRICKLE) or await self._trickled(session, request))

    async def end(self, session: str, request: Request) -> Response:
        """Leave."""
        return self._open(_refusal(request, self.token, None) or await self._ended(session))

    def _open(self, response: Response) -> Response:
        """The same, which pages of other sites may read where they had to bring a token."""
        if self.token is not None:
            response.headers.update(_CORS)
        return response

    async def _trickled(self, session: str, request: Request) -> Response:
        fragment = await _body(request)
        if fragment is None:
            return _said(413, f"a fragment has at most {_SDP_LIMIT} bytes of UTF-8")
        if not self.door.knows(session):
            return _said(404, _NO_SESSION)
        if unmet := unmet_condition(request.headers.get("if-match"), session):
            return _said(*unmet)
        try:
            is_there = await result_of(self.door.trickle(session, fragment))
        except OfferError as error:
            return _said(400, str(error))
        except OfferRefused as error:
            return _said(422, str(error))
        except (LoopEnded, TimeoutError):
            is_there = False
        return Response(status_code=204) if is_there else _said(404, _NO_SESSION)

    async def _ended(self, session: str) -> Response:
        try:
            is_there = await result_of(self.door.close(session))
        except (LoopEnded, TimeoutError):
            is_there = False
        return Response(status_code=200) if is_there else _said(404, _NO_SESSION)


async def begun(
    request: Request, path: str, opened: Callable[[str], Future[Answer]], links: str | None = None
) -> Response:
    """Open a session with the offer that a request brings: 201 with the answer, or why not.

    path: what the session's address begins with. links: see `links_of`.
    """
    offer = await _body(request)
    if offer is None:
        return _said(413, f"an offer has at most {_SDP_LIMIT} bytes of UTF-8")
    try:
        answer = await result_of(opened(offer))
    except OfferError as error:
        return _said(400, str(error))
    except OfferRefused as error:
        return _said(422, str(error))
    except Full as error:
        return _said(503, str(error), {"Retry-After": _RETRY_S})
    except (LoopEnded, TimeoutError):
        return _said(503, "this stream is ending", {"Retry-After": _RETRY_S})
    headers = {"Location": outside(request, f"{path}/{answer.session}"), "ETag": tag_of(answer.session)}
    return Response(answer.sdp, 201, headers | ({"Link": links} if links else {}), media_type=_SDP)


def tag_of(session: str) -> str:
    """The entity tag of a session's ICE (RFC 9725, 4.3.1): there is one for each session, as it is never restarted."""
    return f'"{session}"'


def unmet_condition(if_match: str | None, session: str) -> tuple[int, str] | None:
    """Status and reason where a PATCH does not name the ICE that it is for (RFC 9725, 4.3.1; RFC 9110, 13.1.1)."""
    if if_match is None:
        return 428, f"If-Match must bring the ETag that the offer was answered with, {tag_of(session)}"
    if "*" in (tags := [tag.strip() for tag in if_match.split(",")]) or tag_of(session) in tags:
        return None
    return 412, f"If-Match is not the ETag that the offer was answered with, {tag_of(session)}"


def links_of(servers: Sequence[IceServer], with_secrets: bool) -> str | None:
    """The `Link` header that tells a peer of STUN and TURN servers (RFC 9725, 4.6); None: there are none to tell of."""
    told = [one for one in servers if with_secrets or one.password is None]
    return ", ".join(map(_link, told)) or None


def _link(server: IceServer) -> str:
    words = [f'<{server.url}>; rel="ice-server"']
    if server.user is not None and server.password is not None:
        words += [_parameter("username", server.user), _parameter("credential", server.password)]
        words.append('credential-type="password"')
    return "; ".join(words)


def _parameter(name: str, value: str) -> str:
    """RFC 9110's quoted string, or what RFC 8187 has for letters beyond ASCII."""
    if not (value.isascii() and value.isprintable()):
        return f"{name}*=UTF-8''{quote(value, safe='')}"
    return '{}="{}"'.format(name, re.sub(r'(["\\])', r"\\\1", value))


async def result_of(future: Future[T]) -> T:
    """What another thread's loop comes to; TimeoutError where it takes too long, or ends."""
    waiting = asyncio.wrap_future(future)
    done, _ = await asyncio.wait([waiting], timeout=_PATIENCE_S)
    if not done or waiting.cancelled():
        waiting.cancel()
        raise TimeoutError
    return waiting.result()


def _refusal(request: Request, token: str | None, media_type: str | None) -> Response | None:
    if token is not None:
        given = request.headers.get("authorization", "")
        if not secrets.compare_digest(given.encode(), f"Bearer {token}".encode()):
            return _said(401, "a bearer token is needed", {"WWW-Authenticate": "Bearer"})
    if media_type is not None:
        given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if given != media_type:
            return _said(415, f"the body must be {media_type}, got {given or 'no type'}")
    return None


async def _body(request: Request) -> str | None:
    """None where it is too long, or no text."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _SDP_LIMIT:
            return None
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None


def _said(status: int, words: str, headers: dict[str, str] | None = None) -> Response:
    return Response(words + "\n", status, headers, media_type="text/plain")
