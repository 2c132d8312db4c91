"""How much each client may ask for: buckets that fill steadily and are emptied by requests. No clock is read here."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network

_MOST_CLIENTS = 4096
_SITE_BITS = 64


@dataclass(frozen=True, slots=True)
class Rate:
    """Requests a second in the long run, and at most `burst` at once."""

    per_s: float
    burst: int


@dataclass(frozen=True, slots=True)
class Rates:
    """Of one client. reads: what changes nothing; writes: everything else."""

    reads: Rate = Rate(500, 2000)
    writes: Rate = Rate(5, 200)


@dataclass(slots=True)
class Bucket:
    """What is left of one rate at `at_s` of some monotonic clock."""

    rate: Rate
    left: float
    at_s: float

    def take(self, now_s: float) -> float:
        """Take one; how long to wait where there is none, in seconds, else 0."""
        self.left = min(self.rate.burst, self.left + max(0.0, now_s - self.at_s) * self.rate.per_s)
        self.at_s = max(now_s, self.at_s)
        if self.left >= 1:
            self.left -= 1
            return 0
        return (1 - self.left) / self.rate.per_s


class Buckets:
    """One for each client and kind of request, the 4096 seen last; one forgotten starts full."""

    __slots__ = ("_buckets", "_rates")

    def __init__(self, rates: Rates) -> None:
        self._rates = rates
        self._buckets: OrderedDict[tuple[str, bool], Bucket] = OrderedDict()

    def take(self, client: str, writes: bool, now_s: float) -> float:
        """Let a request pass, 0, or the seconds it has to wait."""
        rate = self._rates.writes if writes else self._rates.reads
        bucket = self._buckets.setdefault((client, writes), Bucket(rate, rate.burst, now_s))
        self._buckets.move_to_end((client, writes))
        if len(self._buckets) > _MOST_CLIENTS:
            self._buckets.popitem(last=False)
        return bucket.take(now_s)


def site_of(address: str) -> str:
    """Who an address stands for: with IPv6 a whole network is one client's."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ip_network((int(parsed), _SITE_BITS), strict=False))
    return str(parsed)
