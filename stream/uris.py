"""One grammar for where pictures come from and where depth goes. Parsing only: nothing is opened here.

`stream.uritable` lists the forms.
What could be a secret (logins, query strings, parts of paths) never appears in `str`, `repr` or a message.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction
from pathlib import Path
from typing import TypeAlias
from urllib.parse import SplitResult, parse_qsl, quote, unquote

from stream.dataouts import OPTIONS, DataOut, data_out
from stream.errors import UriError
from stream.redact import redacted_url
from stream.sinks import numbered
from stream.uriparts import encoded, shown, split
from stream.uritable import SINKS, SOURCES, Row
from stream.urivalues import count_of, flag_of, rate_of, size_of
from stream.webrtcuris import WebRtcIn, WebRtcServe, WhipPublish, bracketed, our_place, whip_publish

FILE_SUFFIXES = (".mp4", ".mkv", ".npz", ".mcap", *numbered.SUFFIXES)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(//)?")
_RTSP_PORT = 8554
STANDARD_INPUT = Path("/dev/stdin")
_INSECURE = "insecure"
_STREAMS = (Path("-"), Path("/dev/stdout"), Path("/dev/stderr"), Path("/dev/fd/1"))


class Transport(StrEnum):
    """What carries RTP."""

    TCP = "tcp"
    UDP = "udp"


@dataclass(frozen=True, slots=True)
class Login:
    """Who asks; the password is never shown."""

    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Remote:
    """A place on another machine.

    path: percent-encoded, begins with a slash; query: without the question mark.
    Both may hold secrets, as the login does: `str` gives what may be shown.
    """

    scheme: str
    host: str
    port: int | None
    path: str = field(repr=False)
    query: str = field(default="", repr=False)
    login: Login | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """In full, credentials included: for opening, never for showing."""
        login = "" if self.login is None else f"{quote(self.login.user, '')}:{quote(self.login.password, '')}@"
        query = f"?{self.query}" if self.query else ""
        port = "" if self.port is None else f":{self.port}"
        return f"{self.scheme}://{login}{bracketed(self.host)}{port}{self.path}{query}"

    def __str__(self) -> str:
        return redacted_url(self.url)


@dataclass(frozen=True, slots=True)
class FileIn:
    """A video file or a pipe. loop: from the start again at its end; realtime: at its own pace, as a camera would."""

    path: Path
    loop: bool = False
    realtime: bool = False

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, slots=True)
class RtspIn:
    """A camera or server that is asked for its stream.

    insecure: its TLS certificate is not verified, whoever is trusted.
    """

    remote: Remote
    transport: Transport = Transport.TCP
    insecure: bool = False

    def __str__(self) -> str:
        return str(self.remote)


@dataclass(frozen=True, slots=True)
class HttpIn:
    """A video, or the parts of a motion JPEG stream, over HTTP. insecure: as of RtspIn."""

    remote: Remote
    insecure: bool = False

    def __str__(self) -> str:
        return str(self.remote)


@dataclass(frozen=True, slots=True)
class CameraIn:
    """A V4L2 device; what is None is left to the driver."""

    device: str
    size: tuple[int, int] | None = None
    """(height, width) in pixels."""
    rate: Fraction | None = None

    def __str__(self) -> str:
        return self.device


@dataclass(frozen=True, slots=True)
class TestIn:
    """The synthetic scene; frames: None for ever. realtime: at its own pace."""

    __test__ = False

    size: tuple[int, int] = (480, 640)
    """(height, width) in pixels."""
    rate: Fraction = Fraction(30)
    frames: int | None = None
    realtime: bool = True

    def __str__(self) -> str:
        return "test:"


@dataclass(frozen=True, slots=True)
class FileOut:
    """A file; its suffix says what is written."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, slots=True)
class RtspPublish:
    """A server that takes our stream (ANNOUNCE, RECORD)."""

    remote: Remote
    transport: Transport = Transport.TCP

    def __str__(self) -> str:
        return str(self.remote)


@dataclass(frozen=True, slots=True)
class RtspServe:
    """Our own server. host: the address to listen on, empty for all; login: what viewers must know, if anything."""

    host: str
    port: int
    path: str
    login: Login | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"rtsp://@{bracketed(self.host)}:{self.port}{self.path}"


@dataclass(frozen=True, slots=True)
class NullOut:
    """Nowhere: for measuring."""

    def __str__(self) -> str:
        return "null:"


SourceUri: TypeAlias = FileIn | RtspIn | HttpIn | CameraIn | TestIn | WebRtcIn
SinkUri: TypeAlias = FileOut | RtspPublish | RtspServe | WebRtcServe | WhipPublish | NullOut | DataOut


def parse_source(text: str) -> SourceUri:
    """What a person wrote for a source. Raises UriError, with what to write instead."""
    match _scheme_of(text):
        case "rtsp" | "rtsps":
            parts = split(text)
            words = _fragment(parts, (*Transport, _INSECURE))
            return RtspIn(_remote(parts), _transport(words), _INSECURE in words)
        case "http" | "https":
            parts = split(text)
            return HttpIn(_remote(parts), _INSECURE in _fragment(parts, (_INSECURE,)))
        case "file":
            parts = split(text)
            options = _options(parts, ("loop", "realtime"))
            return FileIn(_path(parts), flag_of(options, "loop", False), flag_of(options, "realtime", False))
        case "whip" | "webrtc":
            parts = split(text)
            return WebRtcIn(*our_place(parts, _is_ours(parts), "camera"))
        case "camera":
            return _camera(text)
        case "test":
            return _test(text)
        case None if text == "-":
            return FileIn(STANDARD_INPUT)
        case None if re.fullmatch(r"/dev/video[0-9]+", text):
            return CameraIn(text)
        case None if text:
            return FileIn(Path(text))
        case _:
            raise UriError(f"cannot read from {shown(text)}: the sources are {_forms(SOURCES)}")


def parse_sink(text: str) -> SinkUri:
    """What a person wrote for an output. Raises UriError, with what to write instead."""
    match _scheme_of(text):
        case "rtsp" | "rtsps":
            parts = split(text)
            if _is_ours(parts):
                return _serve(parts)
            return RtspPublish(_remote(parts), _transport(_fragment(parts, tuple(Transport))))
        case "webrtc":
            parts = split(text)
            return WebRtcServe(*our_place(parts, _is_ours(parts), "depth"))
        case "whip" | "whips":
            return whip_publish(split(text))
        case "file":
            parts = split(text)
            _options(parts, ())
            return _file_out(_path(parts))
        case "ws" | "foxglove" | "zenoh" as scheme:
            parts = split(text)
            return data_out(parts, _is_ours(parts), _options(parts, OPTIONS[scheme]))
        case "null":
            return NullOut()
        case None if text:
            return _file_out(Path(text))
        case _:
            raise UriError(f"cannot write to {shown(text)}: the outputs are {_forms(SINKS)}")


def _file_out(path: Path) -> FileOut:
    if path in _STREAMS:
        raise UriError("depth is not written to standard output: name a file, such as depth.mp4 or depth.mkv")
    if path.suffix.lower() not in FILE_SUFFIXES:
        raise UriError(f"the output's suffix must be one of {', '.join(FILE_SUFFIXES)}, got {path.name}")
    if path.suffix.lower() in numbered.SUFFIXES and not numbered.is_numbered(path):
        raise UriError(f"there is one {path.suffix} for each frame: number them, such as depth/%06d{path.suffix}")
    return FileOut(path)


def _scheme_of(text: str) -> str | None:
    """Lower case; None for a path."""
    found = _SCHEME.match(text)
    if found is None:
        return None
    scheme = found[1].lower()
    return scheme if found[2] or scheme in ("camera", "test", "null", "file", "zenoh") else None


def _remote(parts: SplitResult) -> Remote:
    if not parts.hostname:
        raise UriError(f"{shown(parts.geturl())} names no host: write {parts.scheme}://HOST[:PORT]/PATH")
    path, query = encoded(parts.path or "/"), encoded(parts.query)
    return Remote(parts.scheme, parts.hostname, parts.port, path, query, _login(parts))


def _login(parts: SplitResult) -> Login | None:
    if not parts.username:
        return None
    return Login(unquote(parts.username), unquote(parts.password or ""))


def _fragment(parts: SplitResult, allowed: Sequence[str]) -> list[str]:
    """The words behind the `#`, with commas between them."""
    words = parts.fragment.split(",") if parts.fragment else []
    if any(word not in allowed for word in words):
        # Not shown: it may be the rest of a password.
        known = ", ".join(f"#{word}" for word in allowed)
        raise UriError(f"{parts.scheme}:// knows {known}; write a # in a password as %23")
    return words


def _transport(words: Sequence[str]) -> Transport:
    return next((Transport(word) for word in words if word in tuple(Transport)), Transport.TCP)


def _is_ours(parts: SplitResult) -> bool:
    """An `@` directly before the address, or no address at all: a server of ours, not one to publish to."""
    login, marked, address = parts.netloc.rpartition("@")
    return bool(marked) and (not login or login.endswith("@") or address.startswith(":"))


def _serve(parts: SplitResult) -> RtspServe:
    if parts.scheme != "rtsp":
        raise UriError("our server speaks rtsp://, not rtsps://: put a TLS proxy before it")
    if parts.path in ("", "/"):
        raise UriError(f"a stream needs a name: write rtsp://@:{parts.port or _RTSP_PORT}/depth")
    if parts.query or parts.fragment:
        raise UriError("our RTSP server takes no options: viewers choose TCP or UDP themselves")
    port = _RTSP_PORT if parts.port is None else parts.port
    user, _, password = parts.netloc.rpartition("@")[0].removesuffix("@").partition(":")
    return RtspServe(parts.hostname or "", port, parts.path, Login(unquote(user), unquote(password)) if user else None)


def _camera(text: str) -> CameraIn:
    parts = split(text)
    if not re.fullmatch(r"[0-9]{1,3}", parts.path):
        raise UriError(f"cameras have numbers: write camera:0, got {text!r}")
    options = _options(parts, ("size", "rate"))
    size = size_of(options["size"]) if "size" in options else None
    return CameraIn(f"/dev/video{int(parts.path)}", size, rate_of(options["rate"]) if "rate" in options else None)


def _test(text: str) -> TestIn:
    parts = split(text)
    if parts.path or parts.netloc:
        raise UriError(f"the test scene has no name: write test: or test:?size=640x480&rate=30, got {text!r}")
    options = _options(parts, ("size", "rate", "frames", "realtime"))
    plain = TestIn()
    return TestIn(
        size_of(options["size"]) if "size" in options else plain.size,
        rate_of(options["rate"]) if "rate" in options else plain.rate,
        count_of(options["frames"]) if "frames" in options else None,
        flag_of(options, "realtime", True),
    )


def _path(parts: SplitResult) -> Path:
    if parts.netloc not in ("", "localhost"):
        raise UriError(f"file:// names a file of this machine: write file:///{parts.netloc}{parts.path}")
    if not parts.path:
        raise UriError("file:// names no file: write file:///folder/name.mp4")
    return Path(unquote(parts.path))


def _options(parts: SplitResult, allowed: tuple[str, ...]) -> dict[str, str]:
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    for name in options:
        if name not in allowed:
            known = f"the options are {', '.join(allowed)}" if allowed else "there are no options here"
            raise UriError(f"{parts.scheme}: knows no option {name!r}: {known}")
    return options


def _forms(rows: tuple[Row, ...]) -> str:
    return ", ".join(row.form for row in rows)
