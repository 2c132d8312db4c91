"""The client's side of WHIP and WHEP (RFC 9725): an offer is posted, a session left, over plain HTTP."""

from __future__ import annotations

import http.client
import ssl
from contextlib import closing, suppress
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urljoin, urlsplit

_SDP = "application/sdp"
_BODY_LIMIT = 65536
_REDIRECTIONS = 3
_REDIRECTED = (307, 308)
_PORTS = {"http": 80, "https": 443}


class Refused(Exception):
    """The server answered, and not with yes; the message holds its status and reason."""


@dataclass(frozen=True, slots=True)
class Session:
    """url: of the session, to be deleted; sdp: the server's answer; token: that may be sent to the url, if any."""

    url: str
    sdp: str
    token: str | None = field(default=None, repr=False)


def begin(url: str, offer: str, token: str | None, timeout_s: float) -> Session:
    """Post an offer; redirections are followed, the token is sent to no other server than the first.

    Raises Refused, or OSError where the server cannot be reached.
    """
    at_first = url
    for _ in range(_REDIRECTIONS):
        allowed = token if is_same_server(at_first, url) else None
        status, location, body = _asked("POST", url, offer.encode(), allowed, timeout_s)
        if status in _REDIRECTED and location:
            url = _redirected(url, location)
            continue
        if status in (401, 403) and allowed != token:
            raise Refused(f"HTTP {status}: redirected to {urlsplit(url).netloc}, which is not given the token")
        if status != 201:
            raise Refused(f"HTTP {status}: {body.decode(errors='replace').strip()[:200]}")
        session = _redirected(url, location or "")
        return Session(session, body.decode(errors="replace"), allowed if is_same_server(url, session) else None)
    raise Refused("redirected without end")


def leave(session: Session, timeout_s: float) -> None:
    """Say good-bye, if that is heard."""
    with suppress(OSError, Refused):
        _asked("DELETE", session.url, b"", session.token, timeout_s)


def is_same_server(one: str, other: str) -> bool:
    """Whether what is secret may go from one URL to the other: the same origin, or that host's TLS (RFC 6454)."""
    both = [urlsplit(url) for url in (one, other)]
    ends = [(parts.scheme, parts.port or _PORTS.get(parts.scheme)) for parts in both]
    is_one_host = both[0].hostname == both[1].hostname
    return is_one_host and (ends[0] == ends[1] or ends == [("http", 80), ("https", 443)])


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
    """Never from https to http, where the stream's keys would be in the clear, nor to another scheme."""
    try:
        target = urljoin(url, location)
        parts = urlsplit(target)
        _ = parts.port
    except ValueError:
        raise Refused("redirected to something that is no URL") from None
    if parts.scheme not in {"https", urlsplit(url).scheme}:
        raise Refused("redirected to another protocol")
    return target
