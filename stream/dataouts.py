"""Outputs of depth as data, to programs rather than eyes: how they are written. `stream.uris` reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias
from urllib.parse import SplitResult, unquote

from stream.errors import UriError
from stream.raw.header import Kind

VALUES = {"uint16": Kind.UINT16, "float16": Kind.FLOAT16, "float32": Kind.FLOAT32}
OPTIONS = {"ws": ("values",), "foxglove": (), "zenoh": ("values", "connect", "listen")}
"""What may stand behind the question mark."""
_FOXGLOVE_PORT = 8765


@dataclass(frozen=True, slots=True)
class RawServe:
    """Our own WebSocket server. host: the address to listen on, empty for all; token: what clients must bring."""

    host: str
    port: int
    path: str
    values: Kind = Kind.UINT16
    token: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"ws://@{_shown(self.host)}:{self.port}{self.path}"


@dataclass(frozen=True, slots=True)
class FoxgloveServe:
    """A server that Foxglove connects to. host: the address to listen on, empty for all."""

    host: str
    port: int = _FOXGLOVE_PORT

    def __str__(self) -> str:
        return f"foxglove://@{_shown(self.host)}:{self.port}"


@dataclass(frozen=True, slots=True)
class ZenohOut:
    """A key of a zenoh network. connect, listen: endpoints such as tcp/192.0.2.1:7447; neither: peers are searched."""

    key: str
    values: Kind = Kind.UINT16
    connect: str | None = None
    listen: str | None = None

    def __str__(self) -> str:
        return f"zenoh:{self.key}"


DataOut: TypeAlias = RawServe | FoxgloveServe | ZenohOut


def data_out(parts: SplitResult, is_ours: bool, options: Mapping[str, str]) -> DataOut:
    """An output from its parts. is_ours: marked as a server of our own. Raises UriError."""
    if parts.scheme == "zenoh":
        key = unquote(parts.path).strip("/")
        if not key or parts.netloc:
            raise UriError("a zenoh stream needs a key: write zenoh:robot/depth")
        return ZenohOut(key, _values(options), options.get("connect"), options.get("listen"))
    token = unquote(parts.netloc.rpartition("@")[0].removesuffix("@")) or None
    if not is_ours or (token and parts.scheme == "foxglove"):
        place = "/raw" if parts.scheme == "ws" else ""
        login = "" if parts.scheme == "ws" else " and asks for no login"
        raise UriError(f"{parts.scheme}:// is served here{login}: write {parts.scheme}://@:8080{place}")
    if parts.scheme == "foxglove":
        return FoxgloveServe(parts.hostname or "", _FOXGLOVE_PORT if parts.port is None else parts.port)
    if parts.path in ("", "/") or parts.port is None:
        raise UriError("raw depth needs a port and a name: write ws://@:8080/raw")
    return RawServe(parts.hostname or "", parts.port, parts.path, _values(options), token)


def _values(options: Mapping[str, str]) -> Kind:
    text = options.get("values", "uint16")
    if text not in VALUES:
        raise UriError(f"values are {', '.join(VALUES)}; got {text!r}")
    return VALUES[text]


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
