"""A video from an address that a stranger gave: streamed to disk within limits, and only from where it may come."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path

import httpcore
import httpx

from depthcast.service.addresses import Allowed
from depthcast.service.reach import Broken, FetchError, Guard, Network, checked, redirected, shown

_BLOCK = 1 << 20
_TIMEOUTS = {"connect": 10.0, "read": 30.0, "write": 30.0, "pool": 30.0}
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_UNREACHED = (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError)
_REDIRECTS = frozenset({301, 302, 303, 307, 308})

OnBytes = Callable[[int, int | None], None]
"""Told the bytes on disk so far and, where known, the bytes of the whole file; from the event loop's thread."""


@dataclass(frozen=True, slots=True)
class FetchRules:
    """What may be fetched.

    max_bytes, max_s: size of the file and time that fetching it may take, retries included.
    allow: beyond the public internet.
    attempts: tries in a row that bring nothing. pause_s: before the second, doubled before each further one.
    """

    max_bytes: int = 2 << 30
    max_s: float = 900.0
    allow: Allowed = field(default_factory=Allowed)
    max_redirects: int = 5
    attempts: int = 4
    pause_s: float = 1.0


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file on disk.

    media_type: what the server said it is, in lower case and not to be trusted; empty where it said nothing.
    """

    path: Path
    size: int
    media_type: str


async def fetch(url: str, into: Path, rules: FetchRules, on_bytes: OnBytes, network: Network | None = None) -> Fetched:
    """Fetch `url` to the file `into`, whole or not at all. A cancelled or failed fetch leaves nothing.

    An interrupted transfer goes on where it stopped, where the server can. What arrives is not looked into.
    Raises FetchError.
    """
    network = network or Network()
    part = into.with_name(f"{into.name}.part")
    guard = Guard(rules.allow, network)
    try:
        async with (
            asyncio.timeout(rules.max_s),
            httpcore.AsyncConnectionPool(network.trust, max_keepalive_connections=0, network_backend=guard) as pool,
        ):
            with part.open("wb", buffering=0) as file:
                transfer = _Transfer(checked(url, rules.allow), file, rules, on_bytes)
                await transfer.run(pool)
        part.replace(into)
    except TimeoutError as error:
        raise FetchError(
            f"{shown(url)} took longer than {rules.max_s:g} s; use a faster server or upload the file"
        ) from error
    finally:
        part.unlink(missing_ok=True)
    return Fetched(into, transfer.done, transfer.media_type)


class _Transfer:
    """One file on its way: what has arrived, and what a next request must match to go on from there."""

    __slots__ = ("_file", "_on_bytes", "_rules", "_total", "_url", "_validator", "done", "media_type")

    def __init__(self, url: httpx.URL, file: FileIO, rules: FetchRules, on_bytes: OnBytes) -> None:
        self._url = url
        self._file = file
        self._rules = rules
        self._on_bytes = on_bytes
        self._total: int | None = None
        self._validator = ""
        self.done = 0
        self.media_type = ""

    async def run(self, pool: httpcore.AsyncConnectionPool) -> None:
        """Ask until all is here; FetchError when that is hopeless."""
        failures = 0
        while True:
            before = self.done
            try:
                return await self._ask(pool)
            except Broken as error:
                failures = 1 if self.done > before else failures + 1
                if failures >= self._rules.attempts:
                    raise FetchError(f"{shown(self._url)} could not be downloaded: {error}") from error
            await asyncio.sleep(self._rules.pause_s * 2 ** (failures - 1))

    async def _ask(self, pool: httpcore.AsyncConnectionPool) -> None:
        url = self._url
        for _ in range(self._rules.max_redirects + 1):
            try:
                async with pool.stream(
                    "GET", _target(url), headers=self._headers(url), extensions={"timeout": _TIMEOUTS}
                ) as answer:
                    headers = httpx.Headers(answer.headers)
                    if answer.status not in _REDIRECTS:
                        return await self._take(answer, headers)
            except _UNREACHED as error:
                raise _explained(error, url) from error
            url = redirected(url, headers.get("Location", ""), self._rules.allow)
        raise FetchError(
            f"{shown(self._url)} redirects more than {self._rules.max_redirects} times; name the file itself"
        )

    def _headers(self, url: httpx.URL) -> list[tuple[bytes, bytes]]:
        headers = [(b"Host", url.netloc), (b"User-Agent", b"depthcast"), (b"Accept", b"video/*, */*;q=0.5")]
        headers.append((b"Accept-Encoding", b"identity"))
        if self.done:
            headers.append((b"Range", b"bytes=%d-" % self.done))
            if self._validator:
                headers.append((b"If-Range", self._validator.encode("latin-1")))
        return headers

    async def _take(self, answer: httpcore.Response, headers: httpx.Headers) -> None:
        if self.done and answer.status in (206, 416) and not self._continues(answer.status, headers):
            self._start_over()
            raise Broken("the file changed while it was being downloaded")
        if answer.status not in (200, 206):
            raise _refusal(answer.status, self._url)
        if answer.status == 206 and not self.done:
            raise FetchError(f"{shown(self._url)} answered with a part of the file that was not asked for")
        if self.done and answer.status == 200:
            self._start_over()
        length = headers.get("Content-Length", "")
        self._total = self.done + int(length) if length.isdecimal() else None
        self._check_size(self._total or 0)
        self._validator = _validator(headers)
        self.media_type = headers.get("Content-Type", "").partition(";")[0].strip().lower()
        waiting = bytearray()
        try:
            async for chunk in answer.aiter_stream():
                waiting += chunk
                self._check_size(self.done + len(waiting))
                if len(waiting) >= _BLOCK:
                    await self._write(waiting)
        except _UNREACHED:
            await self._write(waiting)
            raise
        await self._write(waiting)

    def _continues(self, status: int, headers: httpx.Headers) -> bool:
        unit, _, places = headers.get("Content-Range", "").partition(" ")
        span, _, total = places.partition("/")
        fits = self._total is None or total in ("*", str(self._total))
        return status == 206 and unit == "bytes" and span.partition("-")[0] == str(self.done) and fits

    def _start_over(self) -> None:
        self._file.seek(0)
        self._file.truncate()
        self.done = 0

    def _check_size(self, size: int) -> None:
        if size > self._rules.max_bytes:
            raise FetchError(
                f"{shown(self._url)} is larger than the {_megabytes(self._rules.max_bytes)} that are taken here; "
                "cut or compress the video"
            )

    async def _write(self, waiting: bytearray) -> None:
        # A disk can be slow, and this loop answers every other client too.
        try:
            await asyncio.to_thread(_put, self._file, bytes(waiting))
        except OSError as error:
            raise FetchError("the service has no room for the video; try again later") from error
        self.done += len(waiting)
        waiting.clear()
        self._on_bytes(self.done, self._total)


def _put(file: FileIO, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


def _target(url: httpx.URL) -> httpcore.URL:
    return httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)


def _validator(headers: httpx.Headers) -> str:
    tag: str = headers.get("ETag", "")
    changed: str = headers.get("Last-Modified", "")
    return tag if tag.startswith('"') else changed


def _refusal(status: int, url: httpx.URL) -> Exception:
    if status in _TRANSIENT:
        return Broken(f"its server answered {status}")
    if status in (401, 403):
        return FetchError(f"{shown(url)} is not open to everyone ({status}); use a link that needs no login")
    if status in (404, 410):
        return FetchError(f"there is nothing at {shown(url)} ({status}); check the address")
    return FetchError(f"{shown(url)} was refused by its server ({status}); check the address")


def _explained(error: Exception, url: httpx.URL) -> Exception:
    causes: list[BaseException] = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(cause)
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
        return FetchError(f"the certificate of {url.host} is not valid; use another address")
    if any(isinstance(cause, ssl.SSLError) for cause in causes):
        return FetchError(f"{url.host} does not speak TLS that is accepted here; use another address")
    if isinstance(error, httpcore.TimeoutException):
        return Broken("its server did not answer in time")
    return Broken("the connection failed or broke off")


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB" if size >= 1e6 else f"{size} bytes"
