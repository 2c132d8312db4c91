"""RTP packets and RTCP sender reports: RFC 3550."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from stream.rtsp.h264 import payloads_of

CLOCK_HZ = 90_000
PAYLOAD_TYPE = 96
PAYLOAD_LIMIT = 1380
"""Bytes: with the headers of RTP, UDP and IPv6 a packet stays below the usual 1500, tunnels included."""
_VERSION = 0x80
_SENDER_REPORT, _DESCRIPTION, _NAME = 200, 202, 1
_NTP_EPOCH_S = 2_208_988_800
"""From 1900 to 1970."""


@dataclass(frozen=True, slots=True)
class AccessUnit:
    """One encoded picture.

    units: its NAL units, without start codes; timestamp: in ticks of 90 kHz; is_key: can be decoded alone.
    """

    units: tuple[bytes, ...]
    timestamp: int
    is_key: bool


class Sender:
    """Numbers and counts the packets of one stream; every viewer is sent the same ones.

    ssrc, sequence, offset: random starts, as RFC 3550 asks for.
    """

    __slots__ = ("_octets", "_offset", "_packets", "sequence", "ssrc", "timestamp")

    def __init__(self, ssrc: int, sequence: int, offset: int) -> None:
        self.ssrc = ssrc
        self.sequence = sequence & 0xFFFF
        """Of the next packet."""
        self._offset = offset
        self.timestamp = offset & 0xFFFFFFFF
        """Of the last access unit."""
        self._packets = self._octets = 0

    def packets(self, unit: AccessUnit) -> list[bytes]:
        """An access unit as RTP packets, the last one marked."""
        self.timestamp = (unit.timestamp + self._offset) & 0xFFFFFFFF
        payloads = [payload for nal in unit.units for payload in payloads_of(nal, PAYLOAD_LIMIT)]
        return list(self._framed(payloads))

    def _framed(self, payloads: Sequence[bytes]) -> Iterator[bytes]:
        for place, payload in enumerate(payloads):
            marker = 0x80 if place == len(payloads) - 1 else 0
            head = struct.pack("!BBHII", _VERSION, marker | PAYLOAD_TYPE, self.sequence, self.timestamp, self.ssrc)
            self.sequence = (self.sequence + 1) & 0xFFFF
            self._packets += 1
            self._octets += len(payload)
            yield head + payload

    def report(self, time_s: float, behind_s: float) -> bytes:
        """A sender report with a source description.

        time_s: of the wall clock, since 1970; behind_s: how long ago the last access unit was captured.
        """
        ntp = round((time_s + _NTP_EPOCH_S) * 2**32) & 0xFFFFFFFFFFFFFFFF
        now = (self.timestamp + round(behind_s * CLOCK_HZ)) & 0xFFFFFFFF
        counts = self._packets & 0xFFFFFFFF, self._octets & 0xFFFFFFFF
        report = struct.pack("!BBHIQIII", _VERSION, _SENDER_REPORT, 6, self.ssrc, ntp, now, *counts)
        name = b"depthcast"
        item = bytes((_NAME, len(name))) + name
        item += bytes(4 - len(item) % 4)
        return report + struct.pack("!BBHI", _VERSION | 1, _DESCRIPTION, 1 + len(item) // 4, self.ssrc) + item
