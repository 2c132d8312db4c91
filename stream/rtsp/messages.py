"""RTSP requests and answers as text (RFC 2326), and the limits of what is read."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import unquote, urlsplit

HEAD_LIMIT = 8192
"""Bytes of a request's head."""
HEADERS_LIMIT = 40
BODY_LIMIT = 4096
"""Bytes."""
_TOKEN = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
_ABSOLUTE = re.compile(r"rtsps?://", re.IGNORECASE)
_REASONS = MappingProxyType(
    {
        200: "OK",
        400: "Bad Request",
        401: "Unauthorized",
        404: "Not Found",
        405: "Method Not Allowed",
        413: "Request Entity Too Large",
        454: "Session Not Found",
        455: "Method Not Valid in This State",
        459: "Aggregate Operation Not Allowed",
        461: "Unsupported Transport",
        501: "Not Implemented",
        503: "Service Unavailable",
        505: "RTSP Version Not Supported",
        551: "Option not supported",
    }
)


class BadRequest(Exception):
    """A request that cannot be answered as asked.

    status: of the answer; is_fatal: what follows on this connection cannot be understood.
    """

    def __init__(self, status: int, is_fatal: bool = False) -> None:
        super().__init__(f"{status} {_REASONS[status]}")
        self.status = status
        self.is_fatal = is_fatal


@dataclass(frozen=True, slots=True)
class Request:
    """One request's head. Header names are in lower case."""

    method: str
    url: str
    headers: Mapping[str, str]

    @property
    def path(self) -> str:
        """Of the URL, see `plain_path`."""
        return plain_path(urlsplit(self.url).path)

    @property
    def sequence(self) -> str:
        """CSeq, to be repeated in the answer."""
        return self.headers.get("cseq", "0")

    @property
    def body_length(self) -> int:
        """Bytes that follow the head."""
        text = self.headers.get("content-length", "0")
        if not re.fullmatch("[0-9]{1,9}", text):
            raise BadRequest(400, is_fatal=True)
        if int(text) > BODY_LIMIT:
            raise BadRequest(413, is_fatal=True)
        return int(text)


def plain_path(path: str) -> str:
    """The path of a URL as people read it, without a slash at the end: the same for each of its spellings.

    Characters may be percent-encoded or not, and letters with marks composed or not (RFC 3987, 5.3.2.2).
    """
    return unicodedata.normalize("NFC", unquote(path)).rstrip("/")


def parse_request(head: bytes) -> Request:
    """A request's head, up to and with its empty line. Raises BadRequest."""
    try:
        first, *lines = head.decode().removesuffix("\r\n\r\n").split("\r\n")
    except UnicodeDecodeError:
        raise BadRequest(400, is_fatal=True) from None
    # FFmpeg sends a path as it was typed, spaces and all.
    found = re.fullmatch(r"(\S+) ([^\x00-\x1f\x7f]+) (\S+)", first)
    if found is None or not _TOKEN.fullmatch(found[1]):
        raise BadRequest(400, is_fatal=True)
    method, url, protocol = found.groups()
    if protocol != "RTSP/1.0":
        raise BadRequest(505, is_fatal=True)
    if " " in url and not _ABSOLUTE.match(url):
        raise BadRequest(400, is_fatal=True)
    if len(lines) > HEADERS_LIMIT:
        raise BadRequest(413, is_fatal=True)
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not _TOKEN.fullmatch(name.strip()):
            raise BadRequest(400, is_fatal=True)
        headers[name.strip().lower()] = value.strip()
    if not re.fullmatch("[0-9]{1,10}", headers.get("cseq", "")):
        raise BadRequest(400, is_fatal=True)
    try:
        urlsplit(url)
    except ValueError:
        raise BadRequest(400, is_fatal=True) from None
    return Request(method.upper(), url, headers)


def answer(status: int, sequence: str, headers: tuple[tuple[str, str], ...] = (), body: bytes = b"") -> bytes:
    """An answer as it is sent."""
    lines = [f"RTSP/1.0 {status} {_REASONS[status]}", f"CSeq: {sequence}", "Server: depthcast"]
    lines += [f"{name}: {value}" for name, value in headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


@dataclass(frozen=True, slots=True)
class Interleaved:
    """RTP and RTCP within the connection, on these channels."""

    rtp: int
    rtcp: int


@dataclass(frozen=True, slots=True)
class Datagrams:
    """RTP and RTCP over UDP, to these ports of the viewer."""

    rtp: int
    rtcp: int


def parse_transport(header: str) -> Interleaved | Datagrams:
    """The first transport in the list that this server has. Raises BadRequest 461 where there is none."""
    for choice in header.split(","):
        protocol, *parameters = (part.strip() for part in choice.split(";"))
        if "multicast" in parameters or any(part.lower() == "mode=record" for part in parameters):
            continue
        pairs = dict(part.partition("=")[::2] for part in parameters)
        if protocol.upper() == "RTP/AVP/TCP":
            low, high = _pair(pairs.get("interleaved", "0-1"), 255)
            return Interleaved(low, high)
        if protocol.upper() in ("RTP/AVP", "RTP/AVP/UDP") and "client_port" in pairs:
            low, high = _pair(pairs["client_port"], 65535)
            if low >= 1024:
                return Datagrams(low, high)
    raise BadRequest(461)


def _pair(text: str, limit: int) -> tuple[int, int]:
    found = re.fullmatch("([0-9]{1,5})(?:-([0-9]{1,5}))?", text)
    if found is None:
        raise BadRequest(461)
    low = int(found[1])
    high = int(found[2]) if found[2] else low + 1
    if not low < high <= limit:
        raise BadRequest(461)
    return low, high
