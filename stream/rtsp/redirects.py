"""FFmpeg takes the login of an RTSP address along to whatever server it is redirected to, so we look there first."""

from __future__ import annotations

import ssl
from dataclasses import replace
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from stream.errors import SourceError
from stream.redact import redacted_url
from stream.rtsp.conversation import PORTS, Conversation, Refused
from stream.uris import Remote

_REDIRECTIONS = 3


def keep_login(remote: Remote, timeout_s: float, trusted: Path | None) -> None:
    """Raise SourceError where a server would have the login given to another one.

    trusted: see `Address`. Raises OSError where the server cannot be reached; what it refuses is not looked at.
    """
    at = remote
    for _ in range(_REDIRECTIONS):
        location = _redirection(at, timeout_s, trusted)
        if location is None:
            return
        try:
            parts = urlsplit(urljoin(at.url, location))
            origin = parts.scheme, parts.hostname, parts.port or PORTS.get(parts.scheme)
        except ValueError:
            raise SourceError(f"{remote} redirects to something that is no address") from None
        if origin != (at.scheme, at.host, at.port or PORTS[at.scheme]):
            raise SourceError(
                f"{remote} redirects to another server, which is not given the login: "
                f"write {redacted_url(parts.geturl())} with a login of its own, if you trust it"
            )
        at = replace(at, path=parts.path or "/", query=parts.query)
    raise SourceError(f"{remote} redirects without end")


def _redirection(remote: Remote, timeout_s: float, trusted: Path | None) -> str | None:
    """Where its answers lead instead; None: nowhere."""
    talk = Conversation(remote, timeout_s, lambda: _trust(trusted))
    try:
        talk.ask("OPTIONS", talk.url)
        talk.ask("DESCRIBE", talk.url, (("Accept", "application/sdp"),))
    except Refused as refused:
        return refused.location
    finally:
        talk.cut()
    return None


def _trust(trusted: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=None if trusted is None else str(trusted))
    if trusted is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
