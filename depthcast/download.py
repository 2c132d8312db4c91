"""One file over HTTP, whole and unchanged or not at all: resumed, retried, checked, renamed into place."""

from __future__ import annotations

import hashlib
import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import IO

from depthcast.errors import PullError
from stream.redact import redacted_url

CHUNK = 1 << 18
TIMEOUT_S = 30.0
TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})

Progress = Callable[[int, int | None], None]
"""Told the bytes on disk so far and, where known, the bytes of the whole file."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What the file must be; None where nothing is known beforehand."""

    size: int | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Retry:
    """How long to hold out against a bad connection.

    attempts: tries in a row that bring nothing; one that brings bytes starts the count again.
    pause_s: before the second try, doubled before each further one.
    """

    attempts: int = 5
    pause_s: float = 1.0
    sleep: Callable[[float], None] = time.sleep


class _Interrupted(Exception):
    """The connection broke; what has arrived stays and the rest may be asked for again."""


class _AnnouncedByHub(urllib.request.HTTPRedirectHandler):
    """Follows redirects and keeps the first answer's headers.

    The hub names a large file's size and digest (X-Linked-Size, X-Linked-ETag) only there.
    """

    def __init__(self) -> None:
        self.size: int | None = None
        self.sha256: str | None = None

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        self.read(headers)
        return super().redirect_request(req, fp, code, msg, headers, newurl)

    def read(self, headers: Message) -> None:
        size = headers.get("X-Linked-Size", "")
        digest = headers.get("X-Linked-ETag", "").strip('"').lower()
        if size.isdigit():
            self.size = int(size)
        if len(digest) == 64 and not set(digest) - set("0123456789abcdef"):
            self.sha256 = digest


def download(
    url: str,
    target: Path,
    expected: Expected,
    progress: Progress | None = None,
    retry: Retry | None = None,
) -> None:
    """Fetch `url` into `target`.

    An interrupted download leaves `target.part`; the next call goes on from there where the server allows it.
    Raises PullError when the file is absent, refused, incomplete after the last try, or not the expected one.
    """
    retry = retry or Retry()
    progress = progress or _unseen
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    failures = 0
    while True:
        before = _size_of(part)
        try:
            announced = _continue(url, part, expected, progress)
            break
        except _Interrupted as error:
            failures = 1 if _size_of(part) > before else failures + 1
            if failures >= retry.attempts:
                raise PullError(
                    f"{redacted_url(url)} could not be read: {error}; the same command goes on where it stopped"
                ) from error
            retry.sleep(retry.pause_s * 2 ** (failures - 1))
    _verify(part, announced, url)
    part.replace(target)


def _unseen(_done: int, _total: int | None) -> None:
    pass


def _continue(url: str, part: Path, expected: Expected, progress: Progress) -> Expected:
    """Ask for the rest of `part` and append it; returns what the whole file must be."""
    offset = _size_of(part)
    if expected.size is not None and offset == expected.size:
        return expected
    hub = _AnnouncedByHub()
    try:
        response = _open(url, offset, hub)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:
            part.unlink()
            raise _Interrupted("the partial file did not fit the one on the server") from error
        raise _explained(url, error) from error
    with response:
        hub.read(response.headers)
        known = Expected(expected.size or hub.size, expected.sha256 or hub.sha256)
        start = offset if response.status == 206 and _starts_at(response, offset) else 0
        length = response.headers.get("Content-Length", "")
        total = start + int(length) if length.isdigit() else known.size
        _append(response, part, start, total, progress)
    return Expected(known.size or total, known.sha256)


def _open(url: str, offset: int, hub: _AnnouncedByHub) -> http.client.HTTPResponse:
    request = urllib.request.Request(url, headers={"User-Agent": "depthcast", "Accept-Encoding": "identity"})
    if offset:
        request.add_header("Range", f"bytes={offset}-")
    try:
        response: http.client.HTTPResponse = urllib.request.build_opener(hub).open(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError:
        raise
    except (OSError, http.client.HTTPException) as error:
        raise _Interrupted(_reason(error)) from error
    return response


def _append(response: http.client.HTTPResponse, part: Path, start: int, total: int | None, progress: Progress) -> None:
    done = start
    with part.open("r+b" if start else "wb") as file:
        file.seek(start)
        progress(done, total)
        while chunk := _read(response):
            try:
                file.write(chunk)
            except OSError as error:
                raise PullError(
                    f"{part} could not be written: {error.strerror}; make room, or set DEPTHCAST_HOME to another folder"
                ) from error
            done += len(chunk)
            progress(done, total)
    if total is not None and done < total:
        raise _Interrupted(f"the connection ended after {done} of {total} bytes")


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read1(CHUNK)
    except (OSError, http.client.HTTPException) as error:
        raise _Interrupted(_reason(error)) from error


def _starts_at(response: http.client.HTTPResponse, offset: int) -> bool:
    if str(response.headers.get("Content-Range", "")).startswith(f"bytes {offset}-"):
        return True
    raise _Interrupted("the server answered with another part than was asked for")


def _verify(part: Path, expected: Expected, url: str) -> None:
    found = _size_of(part)
    if expected.size is not None and found != expected.size:
        part.unlink()
        raise PullError(
            f"{redacted_url(url)} has {found} bytes instead of {expected.size}: not the file expected; discarded"
        )
    if expected.sha256 is None:
        return
    with part.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != expected.sha256:
        part.unlink()
        raise PullError(
            f"{redacted_url(url)} is not the file expected "
            f"(sha256 {digest[:12]}… instead of {expected.sha256[:12]}…); discarded"
        )


def _explained(url: str, error: urllib.error.HTTPError) -> Exception:
    if error.code in TRANSIENT:
        return _Interrupted(f"the server answered {error.code} {error.reason}")
    if error.code == 404:
        return PullError(f"there is no file at {redacted_url(url)} (404); check DEPTHCAST_HUB")
    if error.code in (401, 403):
        return PullError(
            f"{redacted_url(url)} is not open to everyone ({error.code}); download it by hand and use --checkpoint"
        )
    return PullError(f"{redacted_url(url)} was refused: {error.code} {error.reason}")


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", None) or error or "the connection broke")


def _size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
