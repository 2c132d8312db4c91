"""Fetching over HTTP: whole or not at all, resumed, within limits, and what goes wrong said in a sentence."""

from __future__ import annotations

import asyncio
import gzip
import ssl
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from depthcast.service.addresses import Allowed
from depthcast.service.fetch import Fetched, FetchRules, fetch
from depthcast.service.reach import FetchError, Network

TRUST = httpx.create_ssl_context()
RULES = FetchRules(max_s=20, attempts=3, pause_s=0, allow=Allowed.of(["127.0.0.1"]))
VIDEO = bytes(range(256)) * 12_000
"""Three blocks, all different."""

Answer = Callable[[str, asyncio.StreamWriter], Awaitable[None]]


@dataclass(slots=True)
class Server:
    """Gives the next answer each time, the last one for good, and keeps the requests."""

    answers: list[Answer]
    requests: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.requests.append((await reader.readuntil(b"\r\n\r\n")).decode())
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            await answer(self.requests[-1], writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the other side had enough
        finally:
            writer.close()


def saying(head: str, body: bytes = b"", *, whole: bool = True) -> Answer:
    """An answer of this status line and headers; the length of the body is added where it is whole."""

    async def answer(_request: str, writer: asyncio.StreamWriter) -> None:
        length = f"Content-Length: {len(body)}\r\n" if whole else ""
        writer.write(f"HTTP/1.1 {head}\r\n{length}\r\n".encode() + body)

    return answer


def breaking_off(after: int, headers: str = 'ETag: "1"\r\n') -> Answer:
    """The whole file is promised, its first bytes come."""
    return saying(f"200 OK\r\n{headers}Content-Length: {len(VIDEO)}", VIDEO[:after], whole=False)


async def the_rest(request: str, writer: asyncio.StreamWriter) -> None:
    start = int(request.partition("Range: bytes=")[2].partition("-")[0])
    head = f"206 Partial Content\r\nContent-Range: bytes {start}-{len(VIDEO) - 1}/{len(VIDEO)}"
    await saying(f'{head}\r\nETag: "1"', VIDEO[start:])(request, writer)


async def never(_request: str, _writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


def fetched(
    into: Path, server: Server, rules: FetchRules = RULES, path: str = "/v.mp4", seen: list[int] | None = None
) -> Fetched:
    """Fetch from a server that lives as long as that takes."""

    async def run() -> Fetched:
        async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listening:
            port = listening.sockets[0].getsockname()[1]
            url = f"http://127.0.0.1:{port}{path}"
            took = [] if seen is None else seen
            return await fetch(url, into, rules, lambda done, _total: took.append(done), Network(trust=TRUST))

    return asyncio.run(run())


@pytest.fixture
def into(tmp_path: Path) -> Iterator[Path]:
    """Where to; nothing else is left beside it."""
    yield tmp_path / "v"
    assert {path.name for path in tmp_path.iterdir()} <= {"v"}


def test_file_arrives_whole_and_progress_is_told(into: Path) -> None:
    seen: list[int] = []
    got = fetched(into, Server([saying("200 OK\r\nContent-Type: Video/MP4; x=y", VIDEO)]), seen=seen)
    assert into.read_bytes() == VIDEO
    assert got == Fetched(into, len(VIDEO), "video/mp4")
    assert seen == sorted(seen)
    assert len(seen) >= 3
    assert seen[-1] == len(VIDEO)


def test_body_of_unknown_length_arrives(into: Path) -> None:
    chunked = f"{len(VIDEO):x}\r\n".encode() + VIDEO + b"\r\n0\r\n\r\n"
    assert fetched(into, Server([saying("200 OK\r\nTransfer-Encoding: chunked", chunked, whole=False)])).size == len(
        VIDEO
    )
    assert into.read_bytes() == VIDEO


@pytest.mark.parametrize("headers", ['ETag: "1"\r\n', "Last-Modified: Mon, 02 Nov 2026 10:00:00 GMT\r\n", ""])
def test_interrupted_transfer_goes_on_where_it_stopped(into: Path, headers: str) -> None:
    server = Server([breaking_off(2_000_000, headers), the_rest])
    fetched(into, server)
    assert into.read_bytes() == VIDEO
    assert "Range: bytes=2000000-" in server.requests[1]
    assert ("If-Range: " in server.requests[1]) == bool(headers)


@pytest.mark.parametrize(
    "second",
    [
        saying("200 OK", VIDEO),
        saying(f"206 Partial Content\r\nContent-Range: bytes 7-{len(VIDEO)}/{len(VIDEO)}", VIDEO),
        saying("416 Range Not Satisfiable"),
    ],
    ids=["whole file", "another part", "refusal"],
)
def test_file_that_cannot_be_gone_on_with_is_fetched_anew(into: Path, second: Answer) -> None:
    fetched(into, Server([breaking_off(2_000_000), second, saying("200 OK", VIDEO)]))
    assert into.read_bytes() == VIDEO


def test_what_is_compressed_on_the_way_is_not_blown_up(into: Path) -> None:
    squeezed = gzip.compress(bytes(50_000_000))
    assert fetched(into, Server([saying("200 OK\r\nContent-Encoding: gzip", squeezed)])).size == len(squeezed)
    assert into.read_bytes() == squeezed


def test_busy_server_is_asked_again(into: Path) -> None:
    server = Server([saying("503 Busy"), saying("429 Slow down"), saying("200 OK", VIDEO)])
    fetched(into, server)
    assert len(server.requests) == 3


def test_redirects_are_followed_without_secrets(into: Path) -> None:
    server = Server([saying("302 Found\r\nLocation: ../x/v.mp4?sig=1\r\nSet-Cookie: a=b"), saying("200 OK", VIDEO)])
    fetched(into, server, path="/a/b/c.mp4?token=secret")
    assert server.requests[1].startswith("GET /a/x/v.mp4?sig=1 ")
    assert not {"secret", "Referer", "Cookie"} & set(server.requests[1].replace("=", " ").split())


FAILS: dict[str, tuple[list[Answer], str]] = {
    "login asked for": ([saying("401 Unauthorized")], r"not open to everyone \(401\)"),
    "forbidden": ([saying("403 Forbidden")], r"not open to everyone \(403\)"),
    "absent": ([saying("404 Not Found")], "there is nothing at .*404"),
    "refused": ([saying("418 No")], "refused by its server"),
    "always busy": ([saying("503 Busy")], "its server answered 503"),
    "always broken": ([saying("200 OK\r\nContent-Length: 5", whole=False)], "the connection failed or broke off"),
    "no HTTP": ([saying("", b"220 smtp\r\n")], "the connection failed or broke off"),
    "redirect to nowhere": ([saying("302 Found")], "redirects to nowhere"),
    "redirect to no URL": ([saying("302 Found\r\nLocation: http://a:b:c/")], "something that is not a URL"),
    "too large, announced": ([saying("200 OK", VIDEO)], "larger than the 1 MB"),
    "too large, found out": ([saying("200 OK", VIDEO, whole=False)], "larger than the 1 MB"),
    "a part unasked": ([saying("206 Partial Content\r\nContent-Range: bytes 0-1/2", b"ab")], "not asked for"),
}


@pytest.mark.parametrize("name", FAILS)
def test_failure_is_a_sentence_and_leaves_nothing(name: str, into: Path) -> None:
    answers, words = FAILS[name]
    with pytest.raises(FetchError, match=words) as failure:
        fetched(into, Server(answers), replace(RULES, max_bytes=1_000_000), path="/v.mp4?sig=secret")
    assert "secret" not in str(failure.value)
    assert not into.exists()


def test_slow_server_is_left_after_the_time_allowed(into: Path) -> None:
    with pytest.raises(FetchError, match=r"took longer than 0\.2 s"):
        fetched(into, Server([never]), replace(RULES, max_s=0.2))


def self_signed(folder: Path) -> ssl.SSLContext:
    """A server's side of TLS, vouched for by nobody."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    file = folder / "server.pem"
    file.write_bytes(key.private_bytes(*pem) + certificate.public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


def test_tls_is_spoken_and_its_certificate_checked(tmp_path: Path) -> None:
    own = self_signed(tmp_path)

    async def run(trust: ssl.SSLContext) -> None:
        server = Server([saying("200 OK", VIDEO)])
        async with await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=own) as listening:
            url = f"https://127.0.0.1:{listening.sockets[0].getsockname()[1]}/"
            await fetch(url, tmp_path / "v", RULES, lambda _done, _total: None, Network(trust=trust))

    with pytest.raises(FetchError, match=r"the certificate of 127\.0\.0\.1 is not valid"):
        asyncio.run(run(TRUST))
    asyncio.run(run(ssl.create_default_context(cafile=tmp_path / "server.pem")))
    assert (tmp_path / "v").read_bytes() == VIDEO


def test_cancelled_fetch_leaves_nothing(into: Path) -> None:
    async def run() -> None:
        begun = asyncio.Event()
        server = Server([breaking_off(2_000_000), never])
        async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listening:
            url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v.mp4"
            task = asyncio.create_task(fetch(url, into, RULES, lambda _done, _total: begun.set(), Network(trust=TRUST)))
            await asyncio.wait_for(begun.wait(), 20)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(run())
    assert not into.exists()


def test_full_disk_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "v.part").symlink_to("/dev/full")
    with pytest.raises(FetchError, match="no room"):
        fetched(tmp_path / "v", Server([saying("200 OK", VIDEO)]))
    assert not list(tmp_path.iterdir())
