"""What aiortc 1.16 does otherwise than a live stream needs, corrected for our own peers and for no other.

It reaches into aiortc's private names, so it refuses to work with a version that it does not know.
"""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from ipaddress import ip_address
from typing import Any

import aioice.ice
from aiortc import (
    RTCConfiguration,
    RTCIceServer,
    RTCPeerConnection,
    RTCRtpReceiver,
    RTCRtpSender,
    RTCRtpTransceiver,
    RTCSessionDescription,
)
from aiortc.codecs import is_rtx
from aiortc.jitterbuffer import JitterBuffer, JitterFrame
from aiortc.rtcdtlstransport import RTCCertificate, SRTPProtectionProfile
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from aiortc.rtcrtpreceiver import RemoteStreamTrack
from aiortc.rtp import AnyRtcpPacket, RtcpSrPacket, RtpPacket
from aiortc.utils import uint32_add
from OpenSSL import SSL

from stream.errors import StreamError

KNOWN = "1.16."
_CAPACITY = 512
_GATHERING_S = 0.8
"""For STUN and TURN servers to answer: an answer that waits longer is a viewer who waits."""
_LATE_TICKS = 27_000
"""0.3 s of video's 90 kHz: what has not been sent again by then is given up."""
_CODED_PLACES = 30
_FRAME_PLACES = 4
_NTP_TO_UNIX_MS = 2_208_988_800_000
_TICKS_PER_MS = 90
_SUITES = b":".join(
    b"ECDHE-" + key + b"-" + suite
    for key in (b"ECDSA", b"RSA")
    for suite in (b"AES128-GCM-SHA256", b"CHACHA20-POLY1305", b"AES128-SHA", b"AES256-SHA")
)


@dataclass(frozen=True, slots=True)
class IceServer:
    """A STUN or TURN server: `stun:host:port`, `turn:host:port`."""

    url: str
    user: str | None = None
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Ice:
    """How peers are to find us.

    addresses: our own that are offered; none: every one of this machine but loopback's.
    servers: none are asked unless named here.
    only_here: for peers on this machine. Firefox pairs no loopback address, so this machine's others are offered
        beside `addresses`; what other machines send there is not heard.
    """

    addresses: tuple[str, ...] = ()
    servers: tuple[IceServer, ...] = ()
    only_here: bool = False


def check_version(found: str) -> None:
    """Raise StreamError for an aiortc that is not the one corrected here."""
    if not found.startswith(KNOWN):
        raise StreamError(f"WebRTC works with aiortc {KNOWN}x, got {found}: install that")


class Peer(RTCPeerConnection):
    """A connection whose parts are corrected as soon as they are there.

    key_wanted: called when the other side asks for a key picture.
    """

    def __init__(self, ice: Ice, key_wanted: Callable[[], None] = lambda: None) -> None:
        check_version(version("aiortc"))
        servers = [RTCIceServer(one.url, one.user, one.password) for one in ice.servers]
        super().__init__(RTCConfiguration(iceServers=servers))
        self._ice = ice
        self._key_wanted = key_wanted
        self._corrected: set[object] = set()
        self._set("certificates", [Certificate.generateCertificate()])

    async def setLocalDescription(self, sessionDescription: RTCSessionDescription | None = None) -> None:
        """As aiortc's; nothing has been sent or gathered before."""
        self._correct()
        await super().setLocalDescription(sessionDescription)

    async def setRemoteDescription(self, sessionDescription: RTCSessionDescription) -> None:
        """As aiortc's; nothing has been received before."""
        await super().setRemoteDescription(sessionDescription)
        self._correct()

    @property
    def unsent_bytes(self) -> int:
        """Waiting in this process because the system takes no more."""
        transports = [one.transport for ice in self._get("iceTransports") for one in ice._connection._protocols]
        return sum(one.get_write_buffer_size() for one in transports if isinstance(one, asyncio.WriteTransport))

    @property
    def received_packets(self) -> int:
        """So far, reports on what was sent included."""
        return sum(one._RTCDtlsTransport__rx_packets for one in self._get("dtlsTransports"))

    def _correct(self) -> None:
        for sender in self.getSenders():
            # aiortc asks its own encoder, which pictures that come encoded do not pass (#939).
            setattr(sender, "_send_keyframe", self._key_wanted)  # noqa: B010 - mypy forbids to assign to a method
        for ice in self._get("iceTransports"):
            offer_only(self._ice, ice._connection)
        for receiver in self.getReceivers():
            # Its track comes later than the receiver where the offer is ours.
            if isinstance(receiver.track, RemoteStreamTrack) and receiver not in self._corrected:
                self._corrected.add(receiver)
                keep_bounded(receiver, receiver.track)

    def _get(self, name: str) -> Any:
        return getattr(self, f"_RTCPeerConnection__{name}")

    def _set(self, name: str, value: object) -> None:
        setattr(self, f"_RTCPeerConnection__{name}", value)


def wanted_codecs(transceiver: RTCRtpTransceiver) -> frozenset[str]:
    """Types, such as `video/H264`, that the maker of an offer can be sent; none where it does not want to be."""
    if transceiver.kind != "video" or transceiver._offerDirection not in ("sendonly", "sendrecv"):
        return frozenset()
    return frozenset(one.mimeType for one in transceiver._codecs)


def agree_on(transceiver: RTCRtpTransceiver, codec: str) -> None:
    """Answer with this codec of the offer's and no other; aiortc has preferences, but only before it sees the offer."""
    kept = [one for one in transceiver._codecs if one.mimeType == codec]
    numbers = {one.payloadType for one in kept}
    again = [one for one in transceiver._codecs if is_rtx(one) and one.parameters.get("apt") in numbers]
    transceiver._codecs = kept + again


def agreed_codec(transceiver: RTCRtpTransceiver) -> str:
    """The type that both sides have agreed on, which is sent. Raises ValueError before that."""
    if not transceiver._codecs:
        raise ValueError("nothing has been agreed on")
    return str(transceiver._codecs[0].mimeType)


def sent_timestamp(sender: RTCRtpSender) -> int:
    """RTP time stamp of the last picture that was sent; aiortc begins at a number that it tells nobody."""
    return int(getattr(sender, "_RTCRtpSender__rtp_timestamp"))  # noqa: B009 - mypy knows no private names


class SenderClock:
    """When a picture was captured, by the clock of the peer that sends it.

    Its reports tie RTP time stamps to its clock (RFC 3550, 6.4.1); aiortc keeps only their statistics.
    """

    __slots__ = ("_mapper", "_report")

    def __init__(self, receiver: RTCRtpReceiver) -> None:
        self._mapper = getattr(receiver, "_RTCRtpReceiver__timestamp_mapper")  # noqa: B009 - as above
        self._report: tuple[int, int] | None = None
        handle = receiver._handle_rtcp_packet

        async def noting(packet: AnyRtcpPacket) -> None:
            if isinstance(packet, RtcpSrPacket):
                self._report = packet.sender_info.ntp_timestamp, packet.sender_info.rtp_timestamp
            await handle(packet)

        setattr(receiver, "_handle_rtcp_packet", noting)  # noqa: B010 - mypy forbids to assign to a method

    def captured_ms(self, pts: int) -> float | None:
        """Milliseconds since 1970 of a decoded picture's time, in ticks of 90 kHz; None before the first report."""
        if self._report is None or self._mapper._origin is None:
            return None
        ntp, rtp = self._report
        ticks = uint32_add(pts + self._mapper._origin, -rtp)
        return ntp * 1000 / (1 << 32) - _NTP_TO_UNIX_MS + (ticks - (ticks >> 31 << 32)) / _TICKS_PER_MS


class Certificate(RTCCertificate):
    """Lets those in who have an RSA certificate, such as GStreamer (aiortc #1392, #1421, #1434)."""

    def _create_ssl_context(self, srtp_profiles: list[SRTPProtectionProfile]) -> SSL.Context:
        context = super()._create_ssl_context(srtp_profiles)
        context.set_cipher_list(_SUITES)
        return context


def own_addresses() -> tuple[str, ...]:
    """Those of this machine's interfaces, without loopback's and without those that hold on one link only."""
    return tuple(aioice.ice.get_host_addresses(use_ipv4=True, use_ipv6=True))


def offer_only(ice: Ice, connection: aioice.ice.Connection) -> None:
    """Listen on the wanted addresses and offer no other (aioice #2); servers that are silent are not waited for.

    Without any all of this machine's are offered, or loopback's where there is nothing else.
    """
    gather: Callable[..., Any] = connection.get_component_candidates

    async def corrected(component: int, addresses: list[str], timeout: float = _GATHERING_S) -> Any:
        wanted = [*ice.addresses, *addresses] if ice.only_here else list(ice.addresses) or addresses
        candidates = await gather(component, list(dict.fromkeys(wanted)) or ["127.0.0.1"], timeout)
        if ice.only_here:
            for protocol in connection._protocols:
                hear_only(frozenset(addresses), protocol)
        return candidates

    setattr(connection, "get_component_candidates", corrected)  # noqa: B010 - mypy forbids to assign to a method


def hear_only(addresses: frozenset[str], protocol: asyncio.DatagramProtocol) -> None:
    """Pass over datagrams that come neither from these addresses nor from loopback's.

    The kernel drops those of other machines that claim to come from an address of this one.
    """
    hear = protocol.datagram_received

    def heard(data: bytes, sender: tuple[str, int]) -> None:
        if sender[0] in addresses or ip_address(sender[0]).is_loopback:
            hear(data, sender)

    setattr(protocol, "datagram_received", heard)  # noqa: B010 - as above


def keep_bounded(receiver: RTCRtpReceiver, track: RemoteStreamTrack) -> None:
    """Give a receiver queues that do not grow (aiortc #642, #1192), and one of video its pictures at once (#461)."""
    track._queue = NewestQueue(_FRAME_PLACES)
    if track.kind != "video":
        return
    private = "_RTCRtpReceiver__"
    lost = getattr(receiver, f"{private}decoder_error")
    setattr(receiver, f"{private}decoder_queue", CodedQueue(_CODED_PLACES, lost.set))
    setattr(receiver, f"{private}jitter_buffer", PromptBuffer(_CAPACITY))


class NewestQueue(asyncio.Queue[Any]):
    """Decoded pictures: the oldest gives way when nobody takes them (aiortc #642, #1192)."""

    def __init__(self, places: int) -> None:
        super().__init__(places)
        self.dropped = 0

    async def put(self, item: object) -> None:
        """Never waits."""
        if self.full():
            self.get_nowait()
            self.dropped += 1
        self.put_nowait(item)


class CodedQueue(queue.Queue[Any]):
    """Coded pictures: a decoder that cannot keep up is given none of those that wait, and a key picture is asked for.

    (aiortc #1192.) None, which ends the decoder, is always taken.
    """

    def __init__(self, places: int, lost: Callable[[], None]) -> None:
        super().__init__()
        self._places = places
        self._lost = lost

    def put(self, item: tuple[RTCRtpCodecParameters, Pictures] | None, *_: object) -> None:
        """Never waits; pictures that came together are put one by one, the first with the time that it was given."""
        if item is None:
            super().put(None)
            return
        codec, first = item
        for picture in (first, *first.more):
            if self.qsize() >= self._places:
                with self.mutex:
                    self.queue.clear()
                self._lost()
            picture.timestamp = first.timestamp + uint32_add(picture.sent, -first.sent)
            super().put((codec, picture))


class Pictures(JitterFrame):
    """A coded picture and those behind it that became complete with it; sent: its time as it was sent."""

    def __init__(self, data: bytes, timestamp: int) -> None:
        super().__init__(data, timestamp)
        self.sent = timestamp
        self.more: tuple[Pictures, ...] = ()


class PromptBuffer(JitterBuffer):
    """Ends a picture at its marker instead of the next picture's first packet, a frame period later.

    The marker is RFC 6184's and RFC 7741's. The buffer is that of aiortc #461, which stays behind for ever after a loss
    (#543). What is still missing after 0.3 s is given up and a key picture asked for, before 512 packets are held.
    """

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity, is_video=True)

    def add(self, packet: RtpPacket) -> tuple[bool, Pictures | None]:
        """Whether to ask for a key picture, and what can be decoded now."""
        wants_key, found = super().add(packet)
        pictures = [found] if isinstance(found, Pictures) else []
        pictures += iter(self._taken, None)
        while self._is_late(packet):
            self._give_up()
            wants_key = True
            pictures += iter(self._taken, None)
        if not pictures:
            return wants_key, None
        first, *more = pictures
        first.more = tuple(more)
        return wants_key, first

    def _remove_frame(self, _sequence_number: int) -> Pictures | None:
        return self._taken()

    def _taken(self) -> Pictures | None:
        """The first picture, if it is complete."""
        held: list[RtpPacket] = []
        for packet in self._contiguous():
            is_next = bool(held) and packet.timestamp != held[0].timestamp
            if not is_next:
                held.append(packet)
            if is_next or packet.marker:
                self.remove(len(held))
                data = b"".join(one._data for one in held)  # type: ignore[attr-defined]
                # Packets of mere padding make no picture.
                return Pictures(data, held[0].timestamp) if data else self._taken()
        return None

    def _contiguous(self) -> Iterator[RtpPacket]:
        assert self._origin is not None
        for count in range(self.capacity):
            packet = self._packets[(self._origin + count) % self.capacity]
            if packet is None:
                return
            yield packet

    def _is_late(self, newest: RtpPacket) -> bool:
        """A picture waits for what should have come long before the newest packet, which waits too."""
        if self._packets[newest.sequence_number % self.capacity] is not newest:
            return False
        assert self._origin is not None
        places = (self._packets[(self._origin + count) % self.capacity] for count in range(self.capacity))
        oldest = next(packet for packet in places if packet is not None)
        return _LATE_TICKS < uint32_add(newest.timestamp, -oldest.timestamp) < 1 << 31

    def _give_up(self) -> None:
        """Drop what stands before the first gap, the gap, and the picture that it may have cut."""
        self.remove(sum(1 for _ in self._contiguous()))
        while next(self._contiguous(), None) is None:
            self.remove(1)
        cut = next(self._contiguous()).timestamp
        self.remove(sum(1 for packet in self._contiguous() if packet.timestamp == cut))
