"""The way to an address that a stranger gave: only where it may lead, and to exactly the address that was checked.

Names are resolved here and the connection goes to the addresses that were checked, so that a name which changes its
address in between leads nowhere else. That is why this works on httpcore, below httpx: its network backend is the
public place between a name and a socket.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field

import httpcore
import httpx

from depthcast.errors import DepthcastError
from depthcast.service.addresses import Allowed, is_disguised
from stream.redact import redacted_url

_WEB_PORTS = frozenset({80, 443})
_FIRST_FREE_PORT = 1024
_LONGEST_URL = 8192
_MOST_ADDRESSES = 4


class FetchError(DepthcastError):
    """An address that is not fetched from, or could not be. The message names no address of this network."""


class Broken(Exception):
    """The connection broke or the server is busy; what has arrived stays and the rest may be asked for again."""


async def resolved(host: str, port: int) -> Sequence[str]:
    """The addresses of a host, as the system resolves it."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


@dataclass(frozen=True, slots=True)
class Network:
    """The way out: how names become addresses, how addresses become connections, and whom TLS trusts."""

    resolve: Callable[[str, int], Awaitable[Sequence[str]]] = resolved
    backend: httpcore.AsyncNetworkBackend = field(default_factory=httpcore.AnyIOBackend)
    trust: ssl.SSLContext = field(default_factory=httpx.create_ssl_context)


class Guard(httpcore.AsyncNetworkBackend):
    """Connects to addresses that were checked, never to a name."""

    def __init__(self, allow: Allowed, network: Network) -> None:
        self._allow = allow
        self._network = network

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        addresses = await self._addresses(host, port)
        failure: Exception = httpcore.ConnectError("it has no address")
        for address in addresses[:_MOST_ADDRESSES]:
            try:
                stream = await self._network.backend.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
                continue
            if _is_here(stream) and not (self._allow.names(host) or self._allow.opens(address)):
                await stream.aclose()
                raise _forbidden(host)
            return stream
        raise failure

    async def _addresses(self, host: str, port: int) -> Sequence[str]:
        try:
            addresses = await self._network.resolve(host, port)
        except socket.gaierror as error:
            if error.errno == socket.EAI_AGAIN:
                raise Broken(f"the name {host} cannot be looked up at the moment") from error
            raise FetchError(f"there is no host {host}; check the address") from error
        except UnicodeError as error:
            raise FetchError(f"{host} is not the name of a host; check the address") from error
        if not self._allow.names(host) and not all(map(self._allow.permits, addresses)):
            raise _forbidden(host)
        return addresses


def checked(url: str, allow: Allowed) -> httpx.URL:
    """An address whose form is acceptable; where its host leads is checked when connecting."""
    if len(url) > _LONGEST_URL:
        raise FetchError(f"the address of the video has {len(url)} characters; at most {_LONGEST_URL} are read")
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise FetchError("the address of the video is not a valid URL; write https://host/path") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise FetchError(
            "the address of the video must begin with https:// or http:// and a host; files can be uploaded"
        )
    if parsed.userinfo:
        raise FetchError("the address of the video holds a login, which is not used here; use a link that needs none")
    host, port = parsed.raw_host.decode("ascii"), parsed.port
    if allow.names(host):
        return parsed
    if is_disguised(host):
        raise _forbidden(host)
    if port is not None and port not in _WEB_PORTS and not _FIRST_FREE_PORT <= port <= 65535:
        raise FetchError(f"port {port} is not fetched from; use 80, 443 or one from {_FIRST_FREE_PORT} to 65535")
    return parsed


def redirected(url: httpx.URL, location: str, allow: Allowed) -> httpx.URL:
    """Where a redirect leads, checked as the first address was."""
    if not location:
        raise FetchError(f"{shown(url)} redirects to nowhere; name the file itself")
    try:
        target = url.join(location)
    except httpx.InvalidURL as error:
        raise FetchError(f"{shown(url)} redirects to something that is not a URL; name the file itself") from error
    return checked(str(target), allow)


def _is_here(stream: httpcore.AsyncNetworkStream) -> bool:
    """Whether both ends of a connection are this machine: one of its own public addresses was named."""
    own, other = stream.get_extra_info("client_addr"), stream.get_extra_info("server_addr")
    return own is not None and other is not None and own[0] == other[0]


def _forbidden(host: str) -> FetchError:
    return FetchError(
        f"{host} is not fetched from: it leads to a private, local or reserved address; "
        "use a public address or upload the file"
    )


def shown(url: httpx.URL | str) -> str:
    """An address without what could be a secret, short enough for a line."""
    shown = redacted_url(str(httpx.URL(url)))
    return shown if len(shown) <= 120 else f"{shown[:119]}…"
