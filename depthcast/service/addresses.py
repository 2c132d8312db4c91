"""Which addresses a service may be sent to by a stranger: public ones, and those that its operator named."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Self

from depthcast.errors import UsageError

Address = IPv4Address | IPv6Address

_CLOSED_V4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network; 0.0.0.0 reaches this machine
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT; 100.100.100.200 is a cloud's metadata
        "127.0.0.0/8",
        "168.63.129.16/32",  # public by number, yet the metadata of Azure's machines
        "169.254.0.0/16",  # link-local; 169.254.169.254 is most clouds' metadata
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocol assignments; 192.0.0.192 is Oracle's metadata
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
_OPEN_V6 = IPv6Network("2000::/3")
"""Global unicast. All else is local, reserved or, as NAT64 and mapped addresses are, IPv4 in disguise."""
_CLOSED_V6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments, Teredo among them
        "2001:db8::/32",
        "2002::/16",  # 6to4
        "2620:4f:8000::/48",
        "3fff::/20",
    )
)
_ISATAP = frozenset({0x00005EFE, 0x02005EFE})
"""Third quarter of an address whose last quarter is an IPv4 address to tunnel to (RFC 5214)."""
_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*", re.ASCII)


def is_public(address: Address) -> bool:
    """Whether an address is an ordinary one of the public internet (IANA's special-purpose registries, RFC 6890)."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _CLOSED_V4)
    if address.scope_id or address not in _OPEN_V6 or any(address in network for network in _CLOSED_V6):
        return False
    return int(address) >> 32 & 0xFFFFFFFF not in _ISATAP


def is_disguised(host: str) -> bool:
    """Whether a host is a number that some resolvers read as an IPv4 address: 2130706433, 0x7f.1, 127.1."""
    last = host.rstrip(".").rpartition(".")[2].lower()
    if not (last.isdigit() or re.fullmatch(r"0x[0-9a-f]*", last)):
        return False
    try:
        return str(IPv4Address(host)) != host
    except ValueError:
        return True


@dataclass(frozen=True, slots=True)
class Allowed:
    """What an operator opened beyond the public internet.

    hosts: names, in lower case, wherever they lead. networks: addresses, whatever name leads there.
    """

    hosts: frozenset[str] = frozenset()
    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    @classmethod
    def of(cls, entries: Iterable[str]) -> Self:
        """Read `media.lan`, `192.168.1.7`, `10.0.0.0/8` or `fd00::/8`; UsageError where an entry is none of these."""
        hosts, networks = set[str](), list[IPv4Network | IPv6Network]()
        for entry in entries:
            try:
                networks.append(ip_network(entry.strip("[]")))
            except ValueError as error:
                if not _NAME.fullmatch(entry.lower()) or is_disguised(entry):
                    raise UsageError(
                        f"{entry!r} is neither a host nor a network; write media.lan, 192.168.1.7 or 10.0.0.0/8"
                    ) from error
                hosts.add(entry.lower())
        return cls(frozenset(hosts), tuple(networks))

    def names(self, host: str) -> bool:
        """Whether a host may be fetched from wherever its name leads."""
        return host.lower().rstrip(".") in self.hosts

    def opens(self, address: str) -> bool:
        """Whether an address, written as a resolver writes it, lies in a network that was named."""
        parsed = _parsed(address)
        return parsed is not None and any(parsed in network for network in self.networks)

    def permits(self, address: str) -> bool:
        """Whether an address, written as a resolver writes it, may be connected to."""
        parsed = _parsed(address)
        return parsed is not None and (is_public(parsed) or self.opens(address))


def _parsed(address: str) -> Address | None:
    try:
        return ip_address(address)
    except ValueError:
        return None
