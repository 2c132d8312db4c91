"""URIs of what travels over WebRTC: streams that others bring to us or fetch from us, and ours brought to others."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote

from stream.errors import UriError

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HTTP_PORT = 8080


@dataclass(frozen=True, slots=True)
class WebRtcServe:
    """Viewers come to us (WHEP). host: to listen on, empty for all; token: what they must know, if anything."""

    host: str
    port: int
    name: str
    token: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"webrtc://@{bracketed(self.host)}:{self.port}/{self.name}"


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


def bracketed(host: str) -> str:
    """As a URL has it."""
    return f"[{host}]" if ":" in host else host
