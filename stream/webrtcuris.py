"""URIs of what travels over WebRTC: streams that others bring to us or fetch from us, and ours brought to others."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote

from stream.errors import UriError
from stream.redact import redacted_url

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HTTP_PORT = 8080
_CARRIED_BY = {"whip": "http", "whips": "https"}


@dataclass(frozen=True, slots=True)
class WebRtcIn:
    """A publisher comes to us (WHIP). host: to listen on, empty for all; token: what it must know, if anything."""

    host: str
    port: int
    name: str
    token: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"whip://@{bracketed(self.host)}:{self.port}/{self.name}"


@dataclass(frozen=True, slots=True)
class WebRtcServe:
    """Viewers come to us (WHEP). host and token: as of WebRtcIn."""

    host: str
    port: int
    name: str
    token: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"webrtc://@{bracketed(self.host)}:{self.port}/{self.name}"


@dataclass(frozen=True, slots=True)
class WhipPublish:
    """A server that takes our stream (WHIP). url: http or https, in full; name: without secrets, for people."""

    url: str = field(repr=False)
    name: str
    token: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return self.name


def our_place(parts: SplitResult, is_ours: bool, example: str) -> tuple[str, int, str, str | None]:
    """Of a stream that others come to over HTTP: host, port, name, and the token that they must bring.

    is_ours: an @ marks our own server.
    """
    port = _HTTP_PORT if parts.port is None else parts.port
    hint = f"write {parts.scheme}://@:{port}/{example}"
    if not is_ours:
        raise UriError(f"an @ before its address marks a server of ours: {hint}")
    name = parts.path.removeprefix("/")
    if not _NAME.fullmatch(name):
        raise UriError(f"a stream needs a name of letters, digits and . _ -: {hint}")
    if parts.query or parts.fragment:
        raise UriError(f"{parts.scheme}:// takes no options here: viewers and bitrate are settings")
    token = unquote(parts.netloc.rpartition("@")[0].removesuffix("@"))
    return parts.hostname or "", port, name, token or None


def whip_publish(parts: SplitResult) -> WhipPublish:
    """Of another's WHIP server; a login before the host is its bearer token."""
    login, marked, place = parts.netloc.rpartition("@")
    if marked and (not login or login.endswith("@")):
        raise UriError(
            "whip:// as an output is another's server; for viewers that come to us write webrtc://@:8080/depth"
        )
    if not parts.hostname:
        raise UriError(f"{parts.scheme}:// names no host: write {parts.scheme}://HOST[:PORT]/PATH")
    where = f"{place}{parts.path or '/'}"
    query = f"?{parts.query}" if parts.query else ""
    shown = redacted_url(f"{parts.scheme}://{login}{'@' if login else ''}{where}{query}")
    return WhipPublish(f"{_CARRIED_BY[parts.scheme]}://{where}{query}", shown, unquote(login) or None)


def bracketed(host: str) -> str:
    """As a URL has it."""
    return f"[{host}]" if ":" in host else host
