"""The address that clients reach an HTTP server by, where a proxy stands before it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Self
from urllib.parse import quote, unquote, urlsplit

from depthcast.errors import UsageError

_PORTS = {"http": 80, "https": 443}
_PATH = re.compile(r"""(?:/(?!\.{1,2}(?:/|$))[^/\x00-\x1f\x7f\\"'<>]+)*""")


@dataclass(frozen=True, slots=True)
class PublicUrl:
    """Such as https://lab.example/depth.

    origin: as browsers write it, without a port that is the usual one. host: its name.
    path: what all paths begin with outside, as it is decoded, such as `/depth`; empty at the root.
    """

    origin: str
    host: str
    path: str = ""

    @classmethod
    def of(cls, text: str) -> Self:
        """Read one. Raises UsageError."""
        refusal = UsageError(f"--public-url is written https://HOST[:PORT][/PATH], got {text!r}")
        try:
            parts = urlsplit(text)
            port, host = parts.port, (parts.hostname or "").encode("idna").decode()
        except (ValueError, UnicodeError):
            raise refusal from None
        path = unquote(parts.path).rstrip("/")
        is_path = re.fullmatch(r"(?:/[^/\x00-\x1f\x7f\\\"'<>]+)*", path) and not re.search(r"/\.{1,2}(?:/|$)", path)
        if (
            parts.scheme not in _PORTS
            or not host
            or not is_path
            or parts.query
            or parts.fragment
            or "@" in parts.netloc
        ):
            raise refusal
        ending = "" if port in (None, _PORTS[parts.scheme]) else f":{port}"
        return cls(f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{ending}", host, path)

    @property
    def encoded_path(self) -> str:
        """The path as it is written in URLs."""
        return quote(self.path)

    @property
    def is_here(self) -> bool:
        """Whether only this machine reaches it."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost" or self.host.endswith(".localhost")

    def __str__(self) -> str:
        return f"{self.origin}{self.encoded_path}"
