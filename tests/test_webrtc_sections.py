"""Offers with more sections than one: what is shown to aiortc, and how the rest is refused."""

from __future__ import annotations

import asyncio
import re

import httpx
import pytest

from stream.webrtc.corrections import Peer
from stream.webrtc.sections import Offer, read_offer
from tests.rtc import LOOPBACK, SDP, shown

WATCHES = frozenset({"recvonly", "sendrecv"})
SESSION = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {}\r\na=fingerprint:x\r\n"


def section(mid: str, kind: str = "video", direction: str = "recvonly", codec: str = "VP8", *more: str) -> str:
    lines = [f"m={kind} {0 if 'bundle-only' in more else 9} UDP/TLS/RTP/SAVPF 96 97", f"a={direction}", f"a=mid:{mid}"]
    lines += [f"a=rtpmap:96 {codec}/90000", *(f"a={one}" for one in more)]
    return "\r\n".join([*lines, ""])


def data(mid: str) -> str:
    return f"m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:{mid}\r\n"


def read(*sections: str, group: str | None = None) -> Offer:
    mids = " ".join(re.findall("a=mid:(.)", "".join(sections))) if group is None else group
    return read_offer(SESSION.format(mids) + "".join(sections), WATCHES)


@pytest.mark.parametrize(
    ("sections", "used"),
    [
        ([section("0")], {0}),
        ([section("0"), section("1")], {0}),
        ([section("0"), data("1"), data("2")], {0, 1}),
        ([section("0", direction="sendonly"), section("1")], {0, 1}),
        ([section("0"), section("1", direction="sendonly")], {0}),
        ([section("0", codec="AV1"), section("1")], {1}),
        ([section("0", codec="AV1"), section("1", codec="H265")], {0}),
        ([section("0", "audio", codec="opus"), section("1")], {0, 1}),
        ([section("0", "audio", codec="EVS"), section("1")], {1}),
        ([section("0", "text", codec="t140"), section("1")], {1}),
        ([section("0"), section("1", "audio", codec="opus"), section("2")], {0}),
        ([section("0", direction="sendonly"), section("1", "video", "recvonly", "VP8", "bundle-only")], {0, 1}),
        ([section("0", direction="inactive")], {0}),
        ([section("0").replace(" 9 ", " 0 "), section("1")], {1}),
    ],
)
def test_one_video_is_used_and_what_carries_it(sections: list[str], used: set[int]) -> None:
    assert read(*sections).used == used


def test_static_sound_is_known_without_its_map() -> None:
    sound = "m=audio 9 UDP/TLS/RTP/SAVPF 101 0\r\na=mid:0\r\n"
    assert read(sound, section("1")).used == {0, 1}
    assert read(sound.replace(" 101 0", " 101 10"), section("1")).used == {1}


def test_the_rest_is_left_out_and_refused_in_its_place() -> None:
    offer = read(section("a", codec="AV1"), section("b"), section("c"), data("d"))
    assert offer.shown == SESSION.format("b d") + section("b") + data("d")
    answered = section("b", direction="sendonly"), data("d")
    whole = offer.completed(SESSION.format("b d") + "".join(answered))
    refusals = [
        f"m=video 0 UDP/TLS/RTP/SAVPF 96 97\r\nc=IN IP4 0.0.0.0\r\na=inactive\r\na=mid:{mid}\r\n" for mid in "ac"
    ]
    assert whole == SESSION.format("b d") + refusals[0] + answered[0] + refusals[1] + answered[1]


def test_what_is_not_bundled_by_the_offer_is_not_by_the_answer() -> None:
    """aiortc bundles whatever there is."""
    text = SESSION.replace("a=group:BUNDLE {}\r\n", "")
    offer = read_offer(text + section("0") + section("1"), WATCHES)
    assert offer.used == {0}
    assert offer.shown == text + section("0")
    assert "BUNDLE" not in offer.completed(SESSION.format("0") + section("0"))


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_viewer_with_several_sections_is_sent_one(place: int) -> None:
    """The one that it wants to take; it was sent nothing where that was not the first."""

    async def offered() -> str:
        peer = Peer(LOOPBACK)
        for number in range(3):
            peer.addTransceiver("video", direction="recvonly" if number == place else "sendonly")
        await peer.setLocalDescription()
        sdp = peer.localDescription.sdp
        await peer.close()
        return str(sdp)

    with shown(rate=5) as output:
        answer = httpx.post(output.url, content=asyncio.run(offered()), headers=SDP).text
        tracks = [peer.getTransceivers() for peer, _ in output.sink.door._peers.values()]
        sending = [one.sender.track is not None for one in tracks[0] if one.currentDirection == "sendonly"]
    directions = re.findall(r"(?m)^a=(sendonly|recvonly|sendrecv|inactive)", answer)
    ports = [int(port) for port in re.findall(r"(?m)^m=video (\d+) ", answer)]
    assert directions == ["sendonly" if number == place else "inactive" for number in range(3)]
    # The first one carries the group, as its offer says.
    assert [port > 0 for port in ports] == [number in (0, place) for number in range(3)]
    assert re.findall(r"(?m)^a=group:BUNDLE (.*?)\r?$", answer) == [" ".join(map(str, sorted({0, place})))]
    assert sending == [True]
