"""A service that fetches what strangers name can be sent nowhere but to the public internet."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path

import httpcore
import httpx
import pytest

from depthcast.errors import UsageError
from depthcast.service.addresses import Allowed
from depthcast.service.fetch import FetchRules, fetch
from depthcast.service.reach import FetchError, Network, resolved

PUBLIC = "93.184.215.14"
OTHER_PUBLIC = "2606:2800:21f:cb07:6820:80da:af6b:8b2c"
PRIVATE_V4 = [
    "0.0.0.0",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.0.1",
    "169.254.169.254",
    "169.254.170.2",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.31.196.1",
    "192.52.193.1",
    "192.88.99.1",
    "192.168.0.1",
    "192.175.48.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
]
PRIVATE_V6 = [
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:7f00:1",
    "::ffff:93.184.215.14",
    "::127.0.0.1",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::169.254.169.254",
    "64:ff9b:1::a00:1",
    "100::1",
    "2001::1",
    "2001:0:7f00:1::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:7f00:1::1",
    "2002:a9fe:a9fe::",
    "2620:4f:8000::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fd20:ce::254",
    "fe80::1",
    "fe80::1%1",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
    "2606:2800:21f:cb07:0:5efe:127.0.0.1",
    "2606:2800:21f:cb07:200:5efe:10.0.0.1",
]
LITERALS = [
    *(f"http://{address}/v.mp4" for address in PRIVATE_V4),
    *(f"https://{address}/v.mp4" for address in PRIVATE_V4),
    *(f"http://[{address.replace('%', '%25')}]/v.mp4" for address in PRIVATE_V6),
]
DISGUISED = [
    "http://2130706433/",  # decimal
    "http://017700000001/",  # octal
    "http://0x7f000001/",  # hexadecimal
    "http://0x7f.0x0.0x0.0x1/",
    "http://0177.0.0.1/",
    "http://127.1/",  # short
    "http://127.0.1/",
    "http://0/",
    "http://0x/",
    "http://0xA9FEA9FE/",
    "http://2852039166/",  # metadata
    "http://169.254.43518/",
    "http://00000010.0.0.1/",
    "http://127.0.0.1./",
    "http://127。0。0。1/",  # full stops that IDNA takes for dots
    "http://１２７.0.0.1/",
    "http://①②⑦.⓪.⓪.①/",
    "http://%31%32%37.0.0.1/",
    "http://[::ffff:127.0.0.1]:80/",
    "http://[0:0:0:0:0:ffff:7f00:0001]/",
    "http://localhost/",
    "http://LOCALHOST:80/",
    "http://ⓛocalhost/",
    "http://4294967297/",  # one more than 2**32
    "http://256.256.256.256/",
]
TRICKS = [
    f"http://{PUBLIC}@127.0.0.1/",
    f"http://{PUBLIC}:80@127.0.0.1/",
    f"http://127.0.0.1@{PUBLIC}/",
    f"http://127.0.0.1#@{PUBLIC}/",
    f"http://127.0.0.1?@{PUBLIC}/",
    f"http://127.0.0.1\\@{PUBLIC}/",
    f"http://127.0.0.1/@{PUBLIC}/",
    f"http://{PUBLIC}:80:80/",
    f"http://{PUBLIC}%00.example/",
    f"http://{PUBLIC}\r\nHost: x/",
    "http://127.0.0.1\t/",
    "http:127.0.0.1/",
    "http:/127.0.0.1/",
    "http:///127.0.0.1/",
    "//127.0.0.1/",
    "127.0.0.1/v.mp4",
    "",
    " ",
    "http://",
    "http://:80/",
    "http://[::1/",
    "http://[v1.x]/",
    "http://exa mple.com/",
    f"http://{PUBLIC}:99999/",
    f"http://{PUBLIC}:22/",
    f"http://{PUBLIC}:25/",
    f"http://{PUBLIC}:0/",
    f"http://{PUBLIC}/{'a' * 9000}",
    "file:///etc/passwd",
    "ftp://93.184.215.14/v.mp4",
    "gopher://127.0.0.1:6379/_x",
    "rtsp://93.184.215.14/v",
    "data:video/mp4;base64,AAAA",
    "concat:http://93.184.215.14/a|file:///etc/passwd",
    "jar:http://93.184.215.14!/",
    "unix:///var/run/docker.sock",
    "http+unix://%2Fvar%2Frun%2Fdocker.sock/x",
]


class Nowhere(httpcore.AsyncNetworkBackend):
    """Writes down where a connection was wanted and makes none."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        del port, timeout, local_address, socket_options
        self.asked.append(host)
        raise httpcore.ConnectError("nobody is there")


class Answers(Nowhere):
    """Plays servers: what the one at an address says, whoever asks."""

    def __init__(self, said: dict[str, bytes]) -> None:
        super().__init__()
        self._said = said

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        del port, timeout, local_address, socket_options
        self.asked.append(host)
        return httpcore.AsyncMockStream([self._said[host]])


class Names:
    """A resolver that gives the next answer each time; the last for good."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self._answers = list(answers)

    async def __call__(self, _host: str, _port: int) -> Sequence[str]:
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


TRUST = httpx.create_ssl_context()
"""One for all: reading the certificates takes longer than a test."""


def network(resolve: Callable[[str, int], Awaitable[Sequence[str]]], backend: Nowhere) -> Network:
    return Network(resolve, backend, TRUST)


def fetched(url: str, folder: Path, way: Network, allow: Sequence[str] = ()) -> bytes:
    rules = FetchRules(max_s=20, attempts=2, pause_s=0, allow=Allowed.of(allow))
    asyncio.run(fetch(url, folder / "v.mp4", rules, lambda _done, _total: None, way))
    return (folder / "v.mp4").read_bytes()


def assert_refused(url: str, folder: Path, way: Network) -> None:
    with pytest.raises(FetchError) as refused:
        fetched(url, folder, way)
    sentence = str(refused.value)
    assert "\n" not in sentence
    assert 20 < len(sentence) < 400
    assert not list(folder.iterdir())


@pytest.mark.parametrize("url", [*LITERALS, *DISGUISED, *TRICKS])
def test_address_is_refused_without_a_connection(url: str, tmp_path: Path) -> None:
    nowhere = Nowhere()
    assert_refused(url, tmp_path, network(_numeric, nowhere))
    assert nowhere.asked == []


async def _numeric(host: str, port: int) -> Sequence[str]:
    """The system's reading of numbers and of its own names; nobody is asked about any other."""
    if host.endswith((".example", ".com")):
        raise socket.gaierror(socket.EAI_NONAME, "unknown")
    return await resolved(host, port)


@pytest.mark.parametrize("address", [*PRIVATE_V4, *PRIVATE_V6])
def test_name_that_leads_to_it_is_refused_without_a_connection(address: str, tmp_path: Path) -> None:
    for answers in ([address], [PUBLIC, address], [address, OTHER_PUBLIC]):
        nowhere = Nowhere()
        assert_refused("https://video.example/v.mp4", tmp_path, network(Names(answers), nowhere))
        assert nowhere.asked == []


@pytest.mark.parametrize("address", [PUBLIC, OTHER_PUBLIC])
def test_public_address_is_connected_to(address: str, tmp_path: Path) -> None:
    """The table above refuses for the right reason: the same request to a public address is made."""
    nowhere = Nowhere()
    host = f"[{address}]" if ":" in address else address
    assert_refused(f"http://{host}/v.mp4", tmp_path, network(resolved, nowhere))
    assert nowhere.asked == [address] * 2


def test_name_is_resolved_once_and_the_checked_address_is_the_one_connected_to(tmp_path: Path) -> None:
    """DNS rebinding: the second answer of the resolver is private, so whoever asks twice is lost."""
    answers = Answers({PUBLIC: b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"})
    way = network(Names([PUBLIC], ["127.0.0.1"]), answers)
    assert fetched("http://video.example/v.mp4", tmp_path, way) == b"abc"
    assert answers.asked == [PUBLIC]


def test_name_is_checked_again_for_a_second_try(tmp_path: Path) -> None:
    """A connection that breaks off is the attacker's way to a second look-up."""
    answers = Answers({PUBLIC: b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"})
    assert_refused("http://video.example/v.mp4", tmp_path, network(Names([PUBLIC], ["127.0.0.1"]), answers))
    assert answers.asked == [PUBLIC]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "location",
    [
        *LITERALS[::9],
        *DISGUISED[::5],
        "//127.0.0.1/",
        "file:///etc/passwd",
        "http://rebound.example/",
        "http://u:p@x.example/",
    ],
)
def test_redirect_is_refused_as_the_address_itself_is(status: int, location: str, tmp_path: Path) -> None:
    redirect = f"HTTP/1.1 {status} Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()
    answers = Answers({PUBLIC: redirect})

    async def resolve(host: str, port: int) -> Sequence[str]:
        known = {"video.example": [PUBLIC], "rebound.example": ["169.254.169.254"]}
        return known[host] if host in known else await _numeric(host, port)

    assert_refused("http://video.example/v.mp4", tmp_path, network(resolve, answers))
    assert answers.asked == [PUBLIC]


def test_redirects_end(tmp_path: Path) -> None:
    answers = Answers({PUBLIC: b"HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n"})
    assert_refused("http://video.example/v.mp4", tmp_path, network(Names([PUBLIC]), answers))
    assert len(answers.asked) == FetchRules().max_redirects + 1


def test_own_public_address_is_refused(tmp_path: Path) -> None:
    """A connection whose two ends have one address stays on this machine, whatever the address."""

    class Mirror(httpcore.AsyncMockStream):
        def get_extra_info(self, info: str) -> object:
            return (PUBLIC, 1) if info in ("client_addr", "server_addr") else None

    class Here(Nowhere):
        async def connect_tcp(self, host: str, *_: object, **__: object) -> httpcore.AsyncNetworkStream:
            self.asked.append(host)
            return Mirror([b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"])

    assert_refused("http://video.example/v.mp4", tmp_path, network(Names([PUBLIC]), Here()))
    assert (
        fetched("http://video.example/v.mp4", tmp_path, network(Names([PUBLIC]), Here()), ["video.example"]) == b"abc"
    )


@pytest.mark.parametrize(
    ("entry", "address", "opened"),
    [
        ("media.lan", "10.0.0.7", True),
        ("MEDIA.lan", "fd00::7", True),
        ("10.0.0.0/8", "10.0.0.7", True),
        ("10.0.0.7", "10.0.0.7", True),
        ("fd00::/8", "fd00::7", True),
        ("10.0.0.8", "10.0.0.7", False),
        ("lan", "10.0.0.7", False),
        ("other.media.lan", "10.0.0.7", False),
        ("10.0.0.0/8", "::ffff:10.0.0.7", False),
    ],
)
def test_operator_opens_hosts_and_networks(entry: str, address: str, opened: bool, tmp_path: Path) -> None:
    answers = Answers({address: b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"})
    way = network(Names([address]), answers)
    if opened:
        assert fetched("http://media.lan/v.mp4", tmp_path, way, [entry]) == b"abc"
    else:
        with pytest.raises(FetchError):
            fetched("http://media.lan/v.mp4", tmp_path, way, [entry])
        assert answers.asked == []


@pytest.mark.parametrize("entry", ["", "http://media.lan", "10.0.0.0/33", "10.0.0.1/8", "127.1", "a b", "-x", "*"])
def test_opening_what_is_neither_host_nor_network_fails(entry: str) -> None:
    with pytest.raises(UsageError, match="neither a host nor a network"):
        Allowed.of([entry])
