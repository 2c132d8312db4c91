"""A URI taken apart, whatever it is for, and shown without what could be secret."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, quote, urlsplit

from stream.errors import UriError
from stream.redact import redacted_url

_ESCAPES = "/ ? # @ in a password are written %2F %3F %23 %40"


def split(text: str) -> SplitResult:
    """Its parts. Raises UriError where it is no address, or one that hides a login."""
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        # Its message may quote a part of the password.
        raise UriError(f"{shown(text)} is no address: a port is a number up to 65535, and {_ESCAPES}") from None
    if _may_hide_a_login(parts):
        raise UriError(f"{shown(text)} has an @ behind the host: {_ESCAPES}, and an @ in a path is written %40")
    try:
        (parts.hostname or "").encode("idna")
    except UnicodeError:
        raise UriError(f"{shown(text)} names no host: each part of a name has 1 to 63 letters or digits") from None
    return parts


def _may_hide_a_login(parts: SplitResult) -> bool:
    """A password with a bare / ? or # ends the authority too early: the host would be wrong, and the rest no secret."""
    if parts.path:
        # An IPv6 address has colons too.
        return "@" in parts.path and bool(re.search("[@:]", re.sub(r"\[.*\]", "", parts.netloc)))
    return "@" in parts.query + parts.fragment


def encoded(text: str) -> str:
    """Percent-encoded where a URL may not have a character as it is; what is encoded already stays."""
    return re.sub(r"[^\x21-\x7e]+", lambda found: quote(found[0], ""), text)


def shown(text: str) -> str:
    """What a person wrote, for a message."""
    return repr(redacted_url(text))
