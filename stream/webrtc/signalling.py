"""The client's side of WHIP and WHEP (RFC 9725): an offer is posted, a session left, over plain HTTP."""

from __future__ import annotations

import http.client
import ssl
from contextlib import closing, suppress
from dataclasses import dataclass
from urllib.parse import SplitResult, urljoin, urlsplit

_SDP = "application/sdp"
_BODY_LIMIT = 65536
_REDIRECTIONS = 3
_REDIRECTED = (307, 308)


class Refused(Exception):
    """The server answered, and not with yes; the message holds its status and reason."""


@dataclass(frozen=True, slots=True)
class Session:
    """url: of the session, to be deleted; sdp: the server's answer."""

    url: str
    sdp: str


def begin(url: str, offer: str, token: str | None, timeout_s: float) -> Session:
    """Post an offer; redirections are followed. Raises Refused, or OSError where the server cannot be reached."""
    for _ in range(_REDIRECTIONS):
        status, location, body = _asked("POST", url, offer.encode(), token, timeout_s)
        if status in _REDIRECTED and location:
            url = _redirected(url, location)
            continue
        if status != 201:
            raise Refused(f"HTTP {status}: {body.decode(errors='replace').strip()[:200]}")
        return Session(urljoin(url, location or ""), body.decode(errors="replace"))
    raise Refused("redirected without end")


def leave(session: Session, token: str | None, timeout_s: float) -> None:
    """Say good-bye, if that is heard."""
    with suppress(OSError, Refused):
        _asked("DELETE", session.url, b"", token, timeout_s)


def _asked(method: str, url: str, body: bytes, token: str | None, timeout_s: float) -> tuple[int, str | None, bytes]:
    """Status, location and body of the answer."""
    parts = urlsplit(url)
    headers = {"Content-Type": _SDP} if body else {}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    with closing(_connection(parts, timeout_s)) as connection:
        try:
            connection.request(method, f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}", body, headers)
            answer = connection.getresponse()
            return answer.status, answer.headers.get("Location"), answer.read(_BODY_LIMIT)
        except http.client.HTTPException as error:
            raise Refused(f"no HTTP: {type(error).__name__}") from error


def _connection(parts: SplitResult, timeout_s: float) -> http.client.HTTPConnection:
    host = parts.hostname or ""
    if parts.scheme == "https":
        return http.client.HTTPSConnection(host, parts.port, timeout=timeout_s, context=ssl.create_default_context())
    return http.client.HTTPConnection(host, parts.port, timeout=timeout_s)


def _redirected(url: str, location: str) -> str:
    """Never from https to http, where the token would be in the clear, nor to another scheme."""
    target = urljoin(url, location)
    if urlsplit(target).scheme not in {"https", urlsplit(url).scheme}:
        raise Refused("redirected to another protocol")
    return target
