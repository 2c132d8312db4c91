"""What is corrected in aiortc, each with what it does without the correction where that can be shown."""

from __future__ import annotations

import asyncio
import datetime
import socket
from contextlib import closing
from importlib.metadata import version

import aioice.ice
import pytest
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.codecs import CODECS
from aiortc.jitterbuffer import JitterBuffer
from aiortc.mediastreams import MediaStreamTrack, VideoStreamTrack
from aiortc.rtcdtlstransport import RTCCertificate
from aiortc.rtp import RtcpSenderInfo, RtcpSrPacket, RtpPacket
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa

from stream.errors import StreamError
from stream.webrtc.corrections import (
    Certificate,
    CodedQueue,
    Ice,
    IceServer,
    NewestQueue,
    Peer,
    Pictures,
    PromptBuffer,
    SenderClock,
    check_version,
    hear_only,
    offer_only,
)
from tests.rtc import LOOPBACK

PERIOD = 3000
"""Of 30 pictures a second, in ticks."""


def packet(number: int, time: int, end: bool = False, data: bytes | None = None) -> RtpPacket:
    one = RtpPacket(payload_type=96, marker=int(end), sequence_number=number & 0xFFFF, timestamp=time & 0xFFFFFFFF)
    one._data = bytes((number & 0xFF,)) if data is None else data  # type: ignore[attr-defined]
    return one


def fed(buffer: JitterBuffer, packets: list[RtpPacket]) -> list[tuple[bool, list[bytes]]]:
    """For each packet: whether a key picture is asked for, and the pictures that come out."""
    answers = []
    for one in packets:
        wants_key, frame = buffer.add(one)
        more = frame.more if isinstance(frame, Pictures) else ()
        answers.append((wants_key, [each.data for each in (frame, *more) if each is not None]))
    return answers


def test_only_the_version_that_is_known_is_touched() -> None:
    check_version(version("aiortc"))
    for other in ("1.17.0", "1.15.0", "2.0.0"):
        with pytest.raises(StreamError, match=rf"aiortc 1.16.x, got {other}"):
            check_version(other)


def test_a_picture_ends_at_its_marker() -> None:
    packets = [packet(1, 0), packet(2, 0, end=True), packet(3, PERIOD, end=True)]
    assert fed(PromptBuffer(512), packets) == [(False, []), (False, [b"\1\2"]), (False, [b"\3"])]
    plain = JitterBuffer(512, is_video=True)
    assert [frame for _, frame in map(plain.add, packets[:2])] == [None, None]


def test_a_picture_without_a_marker_ends_with_the_next_one() -> None:
    packets = [packet(1, 0), packet(2, 0), packet(3, PERIOD), packet(4, PERIOD, end=True)]
    assert [out for _, out in fed(PromptBuffer(512), packets)] == [[], [], [b"\1\2"], [b"\3\4"]]


def test_padding_makes_no_picture() -> None:
    packets = [packet(1, 0, end=True), packet(2, 0, data=b""), packet(3, PERIOD, end=True)]
    assert [out for _, out in fed(PromptBuffer(512), packets)] == [[b"\1"], [], [b"\3"]]


def test_all_that_waited_for_a_packet_comes_with_it() -> None:
    """aiortc gives one picture for each packet and so stays behind by as many as came meanwhile (#543)."""
    late = packet(2, PERIOD, end=True)
    packets = [packet(1, 0, end=True), *(packet(n, (n - 1) * PERIOD, end=True) for n in (3, 4, 5)), late]
    answers = fed(PromptBuffer(512), [*packets, packet(6, 5 * PERIOD, end=True)])
    assert [out for _, out in answers] == [[b"\1"], [], [], [], [b"\2", b"\3", b"\4", b"\5"], [b"\6"]]
    assert not any(wants_key for wants_key, _ in answers)


@pytest.mark.parametrize("start", [1, 0xFFF0])
def test_what_does_not_come_is_given_up(start: int) -> None:
    """Two packets a picture, one lost: its picture is dropped, the others come out, a key picture is asked for."""
    times = [0xFFFFC000 + n // 2 * PERIOD for n in range(40)]
    packets = [packet(start + n, times[n], end=n % 2 == 1) for n in range(40) if n != 6]
    answers = fed(PromptBuffer(512), packets)
    out = [picture for _, pictures in answers for picture in pictures]
    lost = bytes(((start + 6) & 0xFF, (start + 7) & 0xFF))
    expected = [bytes(((start + n) & 0xFF, (start + n + 1) & 0xFF)) for n in range(0, 40, 2)]
    assert out == [one for one in expected if one != lost]
    asked = [place for place, (wants_key, _) in enumerate(answers) if wants_key]
    assert len(asked) == 1
    assert asked[0] < 30


def test_two_gaps_are_given_up_in_turn() -> None:
    packets = [packet(n, n * PERIOD, end=True) for n in range(40) if n not in (5, 9)]
    out = [picture for _, pictures in fed(PromptBuffer(512), packets) for picture in pictures]
    # Whether the first picture behind a gap was cut cannot be seen: it goes too.
    assert out == [bytes((n,)) for n in range(40) if n not in (5, 6, 9, 10)]


def test_nothing_is_given_up_for_a_packet_that_comes_late() -> None:
    old = packet(3, 0)
    buffer = PromptBuffer(512)
    fed(buffer, [packet(n, n * PERIOD, end=True) for n in range(3, 12)])
    assert fed(buffer, [old]) == [(False, [])]


def test_decoded_pictures_give_way_to_newer_ones() -> None:
    async def put_five() -> tuple[list[object], int]:
        one = NewestQueue(4)
        for number in range(5):
            await one.put(number)
        return [one.get_nowait() for _ in range(one.qsize())], one.dropped

    assert asyncio.run(put_five()) == ([1, 2, 3, 4], 1)


def test_coded_pictures_are_put_one_by_one_with_their_times() -> None:
    first, second = Pictures(b"a", 0xFFFFFFFF), Pictures(b"b", PERIOD - 1)
    first.more = (second,)
    first.timestamp = 70
    one = CodedQueue(30, lambda: None)
    one.put((CODECS["video"][0], first))
    taken = [one.get_nowait() for _ in range(2)]
    assert [(picture.data, picture.timestamp) for _, picture in taken] == [(b"a", 70), (b"b", 70 + PERIOD)]


def test_a_decoder_that_cannot_keep_up_asks_for_a_key_picture() -> None:
    asked: list[bool] = []
    one = CodedQueue(3, lambda: asked.append(True))
    for number in range(5):
        one.put((CODECS["video"][0], Pictures(bytes((number,)), number)))
    assert asked == [True]
    one.put(None)
    assert [None if item is None else item[1].data for item in (one.get_nowait() for _ in range(3))] == [
        b"\3",
        b"\4",
        None,
    ]


class Colourless(VideoStreamTrack):
    """aiortc's own green pictures."""


async def joined(sender: RTCPeerConnection, receiver: RTCPeerConnection) -> MediaStreamTrack | None:
    """Connect the two; the receiver's track, None where the connection fails."""
    sender.addTrack(Colourless())
    done = asyncio.Event()
    for peer in (sender, receiver):
        peer.on("connectionstatechange", done.set)
    await sender.setLocalDescription()
    await receiver.setRemoteDescription(RTCSessionDescription(sender.localDescription.sdp, "offer"))
    await receiver.setLocalDescription()
    await sender.setRemoteDescription(RTCSessionDescription(receiver.localDescription.sdp, "answer"))
    while {sender.connectionState, receiver.connectionState} != {"connected"}:
        if "failed" in (sender.connectionState, receiver.connectionState):
            return None
        await asyncio.wait_for(done.wait(), 10)
        done.clear()
    track = receiver.getReceivers()[0].track
    assert track is not None
    return track


async def parted(*peers: RTCPeerConnection) -> None:
    for peer in peers:
        await peer.close()


def with_rsa(peer: Peer, kind: type[RTCCertificate]) -> None:
    """Such as GStreamer's peers have."""
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "rsa")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now - datetime.timedelta(1))
    certificate = builder.not_valid_after(now + datetime.timedelta(1)).sign(key, hashes.SHA256())
    peer._set("certificates", [kind(key=key, cert=certificate)])  # type: ignore[arg-type]


@pytest.mark.parametrize("ours", [Certificate, RTCCertificate])
def test_peers_with_rsa_certificates_come_in_only_as_corrected(ours: type[RTCCertificate]) -> None:
    async def meet() -> bool:
        theirs, mine = Peer(LOOPBACK), Peer(LOOPBACK)
        with_rsa(theirs, Certificate)
        mine._set("certificates", [ours.generateCertificate()])
        try:
            return await joined(theirs, mine) is not None
        finally:
            await parted(theirs, mine)

    assert asyncio.run(meet()) is (ours is Certificate)


def test_key_pictures_are_asked_for_through_the_hook() -> None:
    async def ask() -> bool:
        asked = asyncio.Event()
        sender, receiver = Peer(LOOPBACK, asked.set), Peer(LOOPBACK)
        track = await joined(sender, receiver)
        assert track is not None
        await track.recv()
        await receiver.getReceivers()[0]._send_rtcp_pli(sender.getSenders()[0]._ssrc)
        try:
            return await asyncio.wait_for(asked.wait(), 5)
        finally:
            await parted(sender, receiver)

    assert asyncio.run(ask())


def test_the_receiver_has_the_corrected_parts_and_the_pictures_come() -> None:
    async def look() -> None:
        sender, receiver = Peer(LOOPBACK), Peer(LOOPBACK)
        track = await joined(sender, receiver)
        assert track is not None
        parts = vars(receiver.getReceivers()[0])
        assert isinstance(parts["_RTCRtpReceiver__jitter_buffer"], PromptBuffer)
        assert isinstance(parts["_RTCRtpReceiver__decoder_queue"], CodedQueue)
        assert isinstance(track._queue, NewestQueue)  # type: ignore[attr-defined]
        for _ in range(3):
            await asyncio.wait_for(track.recv(), 10)
        assert sender.unsent_bytes == 0
        await parted(sender, receiver)

    asyncio.run(look())


def test_only_the_addresses_that_were_set_are_offered() -> None:
    async def offered(ice: Ice) -> set[str]:
        peer = Peer(ice)
        peer.addTransceiver("video")
        await peer.setLocalDescription()
        lines = peer.localDescription.sdp.splitlines()
        await peer.close()
        return {line.split()[4] for line in lines if line.startswith("a=candidate:")}

    assert asyncio.run(offered(LOOPBACK)) == {"127.0.0.1"}


def test_loopback_is_offered_where_there_is_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    async def gathered() -> set[str]:
        connection = aioice.ice.Connection(ice_controlling=True)
        offer_only(Ice(), connection)
        await connection.gather_candidates()
        found = {candidate.host for candidate in connection.local_candidates}
        await connection.close()
        return found

    monkeypatch.setattr(aioice.ice, "get_host_addresses", lambda **_: [])
    assert asyncio.run(gathered()) == {"127.0.0.1"}


def test_peers_on_this_machine_find_more_than_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Firefox pairs no loopback address. What other machines send to the others is passed over."""

    async def gathered() -> tuple[list[str], list[bytes]]:
        connection = aioice.ice.Connection(ice_controlling=True)
        offer_only(Ice(("127.0.0.1",), only_here=True), connection)
        await connection.gather_candidates()
        heard: list[bytes] = []
        monkeypatch.setattr(connection, "data_received", lambda data, _: heard.append(data))
        for sender in ("127.0.0.1", "198.51.100.7", "127.0.0.2", "2001:db8::1", "::1"):
            connection._protocols[0].datagram_received(sender.encode(), (sender, 9))
        found = [candidate.host for candidate in connection.local_candidates]
        await connection.close()
        return found, heard

    monkeypatch.setattr(aioice.ice, "get_host_addresses", lambda **_: ["127.0.0.2", "127.0.0.1"])
    assert asyncio.run(gathered()) == (["127.0.0.1", "127.0.0.2"], [b"127.0.0.1", b"127.0.0.2", b"::1"])


def test_an_own_address_that_is_no_loopback_is_heard_too() -> None:
    heard: list[str] = []

    class Protocol(asyncio.DatagramProtocol):
        def datagram_received(self, _: bytes, sender: tuple[str, int]) -> None:
            heard.append(sender[0])

    protocol = Protocol()
    hear_only(frozenset({"192.0.2.1"}), protocol)
    for sender in ("192.0.2.1", "192.0.2.2", "127.0.0.1"):
        protocol.datagram_received(b"", (sender, 9))
    assert heard == ["192.0.2.1", "127.0.0.1"]


def test_a_server_that_is_silent_is_not_waited_for() -> None:
    """5 seconds are aioice's own, before each answer."""
    given: list[float] = []

    async def gather(_component: int, _addresses: list[str], timeout: float) -> list[object]:
        given.append(timeout)
        return []

    async def gathered() -> set[str]:
        with closing(socket.socket(type=socket.SOCK_DGRAM)) as silent:
            silent.bind(("127.0.0.1", 0))
            peer = Peer(Ice(("127.0.0.1",), (IceServer(f"stun:127.0.0.1:{silent.getsockname()[1]}"),)))
            peer.addTransceiver("video")
            await peer.setLocalDescription()
            lines = peer.localDescription.sdp.splitlines()
            await peer.close()
            return {line.split()[7] for line in lines if line.startswith("a=candidate:")}

    async def asked() -> None:
        connection = aioice.ice.Connection(ice_controlling=True)
        setattr(connection, "get_component_candidates", gather)  # noqa: B010 - mypy forbids to assign to a method
        offer_only(Ice(), connection)
        await connection.gather_candidates()
        await connection.close()

    asyncio.run(asked())
    assert given == [0.8]
    assert asyncio.run(gathered()) == {"host"}


def test_no_server_is_asked_unless_it_is_named() -> None:
    async def servers(ice: Ice) -> object:
        peer = Peer(ice)
        peer.addTransceiver("video")
        connection = peer.getTransceivers()[0].receiver.transport.transport._connection
        await peer.close()
        return connection.stun_server

    assert asyncio.run(servers(Ice())) is None


@pytest.mark.parametrize("origin", [0, 4_294_960_000])
def test_a_report_ties_time_stamps_to_the_senders_clock(origin: int) -> None:
    """Of pictures before and after it, across the wrap of the time stamps too."""

    async def drive() -> None:
        peer = Peer(LOOPBACK)
        receiver = peer.addTransceiver("video", direction="recvonly").receiver
        clock = SenderClock(receiver)
        mapper = receiver._RTCRtpReceiver__timestamp_mapper  # type: ignore[attr-defined]
        mapper.map(origin)
        assert clock.captured_ms(0) is None
        seconds = 2_208_988_800 + 1_000_000_000
        info = RtcpSenderInfo((seconds << 32) + (1 << 31), (origin + 9000) & 0xFFFFFFFF, 0, 0)
        await receiver._handle_rtcp_packet(RtcpSrPacket(1, info))
        assert [clock.captured_ms(pts) for pts in (0, 9000, 18_000)] == pytest.approx(
            [1e12 + 400, 1e12 + 500, 1e12 + 600]
        )
        await peer.close()

    asyncio.run(drive())
