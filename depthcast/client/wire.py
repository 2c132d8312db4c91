"""How requests look on the wire and how answers come apart: what both clients share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import httpx

from depthcast.client.steps import Ask
from depthcast.client.values import Advanced, ClientError, Ended, event_of
from stream.errors import SourceError
from stream.redact import redacted_url
from stream.sources.pipe import Pipe, is_pipe, name_of

SERVICE = "http://127.0.0.1:8080"
SILENCE_S = 60.0
"""A service says something every 15 s; one that is silent for longer is gone."""
RECONNECTIONS = 30
_REMEMBERED = 1000
_NAME_BYTES = 249


def base_of(url: str) -> httpx.URL:
    """The address of a service. Raises ClientError where it is none."""
    try:
        base = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ClientError(f"{redacted_url(url)!r} is not the address of a service; write {SERVICE}") from error
    if base.scheme not in ("http", "https") or not base.host:
        raise ClientError(f"{redacted_url(url)!r} is not the address of a service; write {SERVICE}")
    return base


def place_of(base: httpx.URL, path: str) -> httpx.URL:
    """A route of a service, which may itself lie below a path."""
    return base.copy_with(path=base.path.rstrip("/") + path)


def part_of(path: Path) -> Path:
    """What a file is called while it arrives; no longer than file systems allow (255 bytes)."""
    return path.with_name(f".{path.name.encode()[:_NAME_BYTES].decode(errors='ignore')}.part")


def headers_for(url: httpx.URL, base: httpx.URL, key: str | None) -> dict[str, str]:
    """The key, for the service itself and nobody else."""
    is_own = (url.scheme, url.host, url.port) == (base.scheme, base.host, base.port)
    return {"Authorization": f"Bearer {key}"} if key and is_own else {}


@contextmanager
def content_of(ask: Ask) -> Iterator[dict[str, Any]]:
    """Arguments of an httpx request; the file that is sent stays open inside the block.

    A pipe is read to its end first: a request says how long it is.
    """
    with ExitStack() as opened:
        if ask.upload is None:
            yield {"json": ask.body, "params": ask.query}
            return
        try:
            reader: IO[bytes] = _all_of(ask.upload) if is_pipe(ask.upload) else ask.upload.open("rb")
        except OSError as error:
            raise ClientError(f"{name_of(ask.upload)} cannot be read: {error.strerror}") from error
        file = opened.enter_context(reader)
        yield {"data": _form(ask.body or {}), "files": {"video": (ask.upload.name, file, "application/octet-stream")}}


def _all_of(path: Path) -> IO[bytes]:
    """A pipe's content, in a file without a name. Raises OSError."""
    with ExitStack() as undone:
        try:
            pipe = undone.enter_context(Pipe(path))
        except SourceError as error:
            raise ClientError(str(error)) from error
        kept = TemporaryFile()  # noqa: SIM115 -- whoever asked for it closes it
        undone.callback(kept.close)
        pipe.copy_to(kept)
        undone.pop_all()
        pipe.close()
        return kept


def _form(body: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in body.items()}


class EventReader:
    """Server-sent events out of their lines (WHATWG HTML, 9.2.6), each ending told once over all connections."""

    __slots__ = ("_data", "_ended", "_kind")

    def __init__(self) -> None:
        self._kind = ""
        self._data: list[str] = []
        self._ended: dict[str, None] = {}

    def restart(self) -> None:
        """Forget an event that was cut off: a new connection begins."""
        self._kind, self._data = "", []

    def feed(self, line: str) -> Advanced | Ended | None:
        """Take a line; an event where it completes one of ours."""
        if line:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "event":
                self._kind = value
            elif name == "data":
                self._data.append(value)
            return None
        kind, data = self._kind, "\n".join(self._data)
        self.restart()
        event = event_of(kind, data)
        return None if isinstance(event, Ended) and not self._is_new(event) else event

    def _is_new(self, event: Ended) -> bool:
        if event.id in self._ended:
            return False
        self._ended[event.id] = None
        if len(self._ended) > _REMEMBERED:
            del self._ended[next(iter(self._ended))]
        return True
