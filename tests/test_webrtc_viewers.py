"""WebRTC out with aiortc as viewer: in order, several at once on one encode, late, slow, on a bad link, refused."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import pairwise

import av
import httpx
import numpy as np
import pytest
from aiortc import RTCRtpReceiver, RTCSessionDescription
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import DataObject, data, integers, sampled_from

import stream.sinks.encoder
import stream.webrtc.watch
from stream.colour import Colormap
from stream.sinks.webrtc import Viewing
from stream.webrtc.broadcast import Broadcast, Rate, ViewerTrack
from stream.webrtc.coding import Codec, Coded
from stream.webrtc.corrections import Peer
from stream.webrtc.door import Door, OfferError, OfferRefused
from stream.webrtc.loop import LoopThread
from stream.webrtc.signalling import Session, begin
from stream.webrtc.watch import watch
from tests.rtc import HEIGHT, LOOPBACK, WIDTH, Shown, numbers, shown

SDP = {"Content-Type": "application/sdp"}


@pytest.fixture(autouse=True)
def no_thread_stays() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(5)
        assert not thread.is_alive(), thread.name


def wait_until(true: Callable[[], object], limit_s: float = 10) -> None:
    end_s = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < end_s
        time.sleep(0.01)


def offer(codecs: str | None = None, direction: str = "recvonly") -> str:
    """A browser's, without a peer behind it."""

    async def made() -> str:
        peer = Peer(LOOPBACK)
        transceiver = peer.addTransceiver("video", direction=direction)
        known = RTCRtpReceiver.getCapabilities("video")
        assert known is not None
        if codecs is not None:
            transceiver.setCodecPreferences([one for one in known.codecs if re.search(codecs, one.mimeType)])
        await peer.setLocalDescription()
        try:
            return str(peer.localDescription.sdp)
        finally:
            await peer.close()

    return asyncio.run(made())


def is_rising(seen: list[int | None]) -> bool:
    return None not in seen and seen == sorted(set(seen))  # type: ignore[type-var]


def test_a_viewer_sees_the_scene_in_order() -> None:
    with shown() as output:
        assert is_rising(numbers(output.url))


def test_three_viewers_share_one_encode() -> None:
    seen: dict[int, list[int | None]] = {}
    with shown() as output:

        def look(place: int) -> None:
            seen[place] = numbers(output.url, 40)

        viewers = [threading.Thread(target=look, args=(place,)) for place in range(3)]
        for viewer in viewers:
            viewer.start()
        for viewer in viewers:
            viewer.join()
        encoded = output.sink.audience.encoded
    every = [number for one in seen.values() for number in one if number is not None]
    assert encoded <= max(every) - min(every) + 30 < 3 * 40
    assert all(len(one) == 40 and is_rising(one) for one in seen.values())


def test_nothing_is_encoded_while_nobody_watches() -> None:
    with shown() as output:
        numbers(output.url, 3)
        wait_until(lambda: not output.sink.audience.viewers)
        encoded = output.sink.audience.encoded
        assert encoded
        # A second viewer comes when there has been time for many more.
        assert numbers(output.url, 1)[0] is not None
        assert output.sink.audience.encoded - encoded < 20


def test_the_colours_are_those_of_the_map() -> None:
    with shown(colormap=Colormap.TURBO) as output, closing(watch(output.url)) as pictures:
        picture = next(pictures)[0].to_ndarray(format="rgb24")
    depth = picture[HEIGHT // 2 :, WIDTH:].reshape(-1, 3).astype(int)
    # Colours are far from grey in turbo, and not in the colour map that is the default.
    assert np.mean(depth.max(axis=1) - depth.min(axis=1)) > 60


def test_a_late_viewer_begins_with_a_key_picture() -> None:
    """Key pictures come by themselves after 60: a late viewer is not left to wait for one."""
    with shown() as output, closing(watch(output.url)) as early:
        first = [frame for (frame, _), _ in zip(early, range(5), strict=False)][-1]
        assert first.pts is not None
        began = output.sink.audience.encoded
        with closing(watch(output.url)) as late:
            next(late)
        # Connecting takes its time, too.
        assert output.sink.audience.encoded - began < 30


def test_a_viewer_that_knows_no_h264_is_sent_vp8() -> None:
    async def viewed(url: str) -> tuple[str, int]:
        peer = Peer(LOOPBACK)
        known = RTCRtpReceiver.getCapabilities("video")
        assert known is not None
        transceiver = peer.addTransceiver("video", direction="recvonly")
        transceiver.setCodecPreferences([one for one in known.codecs if one.mimeType == Codec.VP8])
        await peer.setLocalDescription()
        async with httpx.AsyncClient() as client:
            answer = await client.post(url, content=peer.localDescription.sdp, headers=SDP)
        await peer.setRemoteDescription(RTCSessionDescription(answer.text, "answer"))
        picture = await asyncio.wait_for(transceiver.receiver.track.recv(), 10)
        await peer.close()
        assert isinstance(picture, av.VideoFrame)
        return answer.text, picture.width

    with shown() as output:
        answer, width = asyncio.run(viewed(output.url))
        assert is_rising(numbers(output.url))
        assert output.sink._encoding._encoders.keys() == {Codec.VP8, Codec.H264}
    assert "H264" not in answer
    assert width == 2 * WIDTH


def test_vp8_where_no_h264_encoder_works(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(stream.sinks.encoder, "_CHOICES", {"h264_of_no_kind": {}})
    caplog.set_level("INFO")
    with shown() as output:
        assert is_rising(numbers(output.url))
    assert "VP8 320x120 by libvpx" in caplog.text


def test_h264_is_stated_and_keeps_to_the_bitrate(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    with shown(Viewing(bitrate=100_000)) as output:
        numbers(output.url, 60)
        assert 0 < output.sink.audience.bitrate_bps < 150_000
    with shown() as output:
        numbers(output.url, 60)
        assert output.sink.audience.bitrate_bps > 150_000
    assert re.search("H.264 320x120 by (libx264|h264_nvenc)", caplog.text)


def test_a_viewer_on_a_bad_link_harms_no_other() -> None:
    """Every fifth datagram to it is lost, aiortc's own pattern; it recovers by retransmission and key pictures."""
    with shown() as output, closing(watch(output.url)) as bad:
        next(bad)
        peer, _ = next(iter(output.sink.door._peers.values()))
        lose_every(peer, 5)
        good = numbers(output.url, 60)
        after = [frame for (frame, _), _ in zip(bad, range(10), strict=False)]
    assert is_rising(good)
    assert len(after) == 10
    steps = [b - a for a, b in pairwise(one for one in good if one is not None)]
    assert np.median(steps) <= 2


def lose_every(peer: Peer, count: int) -> None:
    transport = peer.getTransceivers()[0].receiver.transport.transport
    send, sent = transport._send, iter(range(1 << 30))

    async def lossy(data: bytes) -> None:
        if next(sent) % count:
            await send(data)

    transport._send = lossy


def test_a_viewer_that_takes_nothing_is_bounded_and_counted() -> None:
    """Its connection does not even send; the others do not notice."""
    with shown() as output:
        loop = LoopThread("stuck")
        broadcast = output.sink._broadcast

        async def join() -> ViewerTrack:
            track = ViewerTrack(Codec.H264, Peer(LOOPBACK), broadcast)
            broadcast.join(track)
            return track

        stuck = output.sink._loop.submit(join()).result(5)
        assert is_rising(numbers(output.url, 30))
        assert len(stuck._pictures) <= 8
        assert stuck.dropped
        assert output.sink.dropped >= stuck.dropped
        loop.close()


def coded(is_key: bool) -> Coded:
    return Coded(av.Packet(b"picture"), is_key, 0)


def test_who_has_lost_pictures_goes_on_with_a_key_picture() -> None:
    async def drive() -> None:
        loop = LoopThread("idle")
        broadcast = Broadcast(loop, lambda: 0.0)
        track = ViewerTrack(Codec.H264, Peer(LOOPBACK), broadcast)
        steps = [False, True, *[False] * 7, False, False, True]
        states = []
        for is_key in steps:
            track.give(coded(is_key))
            states.append((len(track._pictures), track.dropped, broadcast.wants_key(Codec.H264)))
        # Before its first key picture nothing counts as lost.
        assert states[:2] == [(0, 0, False), (1, 0, False)]
        assert states[8:] == [(8, 0, False), (0, 9, True), (0, 10, True), (1, 10, True)]
        assert (await track.recv()).size == len(b"picture")
        loop.close()

    asyncio.run(drive())


@pytest.mark.parametrize(("gap", "least", "most"), [((), 3, 5), ((0.25,), 10, 14)])
def test_key_pictures_are_made_seldom_for_the_lossy_and_sooner_for_the_new(
    gap: tuple[float, ...], least: int, most: int
) -> None:
    now = [0.0]
    loop = LoopThread("idle")
    broadcast = Broadcast(loop, lambda: now[0])
    granted = 0
    for step in range(100):
        now[0] = step / 30
        broadcast.want_key(Codec.H264)
        broadcast.want_key(Codec.H264, *gap)
        key = broadcast.wants_key(Codec.H264)
        granted += key
        broadcast.send(Codec.H264, coded(is_key=key))
    loop.close()
    assert least <= granted <= most


def test_a_browser_that_hides_its_addresses_is_found_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its candidates are .local names, which nobody but it can resolve, and there are no more to come."""

    def hidden(url: str, offer: str, token: str | None, timeout_s: float) -> Session:
        disguised = re.sub("(?m)^(a=candidate:.*) 127.0.0.1 ", r"\1 0a1b2c3d.local ", offer)
        assert ".local" in disguised
        return begin(url, disguised + "a=end-of-candidates\r\n", token, timeout_s)

    monkeypatch.setattr(stream.webrtc.watch, "begin", hidden)
    with shown() as output:
        assert is_rising(numbers(output.url))


def test_rates_are_those_of_the_last_two_seconds() -> None:
    rate = Rate()
    for tenth in range(100):
        rate.add(tenth / 10, 1000)
    assert rate.bits_per_s(9.9) == pytest.approx(80_000, rel=0.1)
    assert rate.bits_per_s(20) == 0


def test_more_viewers_than_there_are_places_are_asked_to_come_later() -> None:
    with shown(Viewing(viewers=1)) as output:
        with closing(watch(output.url)) as pictures:
            next(pictures)
            full = httpx.post(output.url, content=offer(), headers=SDP)
            assert (full.status_code, full.headers["Retry-After"]) == (503, "5")
            assert "1 here already" in full.text
        wait_until(lambda: not output.sink.door.peers)
        assert is_rising(numbers(output.url))


def test_who_never_connects_gives_the_place_up() -> None:
    with shown(Viewing(viewers=1)) as output:
        output.sink.door._connect_s = 0.3
        assert httpx.post(output.url, content=offer(), headers=SDP).status_code == 201
        wait_until(lambda: not output.sink.door.peers)


@pytest.mark.parametrize(
    ("body", "kind", "status", "words"),
    [
        ("v=0", "text/plain", 415, "must be application/sdp"),
        ("hello", "application/sdp", 400, "no SDP"),
        ("v=0\r\ns=-\r\n", "application/sdp", 400, "no DTLS fingerprint"),
        ("v=0\r\n" + "a=x\r\n" * 20_000, "application/sdp", 413, "65536"),
        ("AUDIO", "application/sdp", 400, "no video"),
        ("NO-ICE", "application/sdp", 400, "cannot be used"),
        ("SENDONLY", "application/sdp", 422, "wants no video"),
        ("H265", "application/sdp", 422, "H.264"),
    ],
)
def test_bad_offers_are_refused_with_a_reason(body: str, kind: str, status: int, words: str, served: Shown) -> None:
    made = {
        "AUDIO": lambda: offer().replace("m=video", "m=audio"),
        "NO-ICE": lambda: re.sub("a=ice-.*\r\n", "", offer()),
        "SENDONLY": lambda: offer(direction="sendonly"),
        "H265": lambda: re.sub("VP8|H264|rtx", "H265", offer()),
    }
    answer = httpx.post(served.url, content=made[body]() if body in made else body, headers={"Content-Type": kind})
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "text/plain; charset=utf-8")
    assert words in answer.text
    assert not served.sink.door.peers


@pytest.fixture
def served() -> Iterator[Shown]:
    with shown(rate=5) as output:
        yield output


def test_the_endpoint_says_what_it_takes(served: Shown) -> None:
    answer = httpx.options(served.url)
    assert answer.status_code == 204
    assert answer.headers["Accept-Post"] == "application/sdp"
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_pages_of_other_sites_come_in_with_a_token_only(served: Shown) -> None:
    other = {**SDP, "Origin": "https://elsewhere.example"}
    assert httpx.post(served.url, content=offer(), headers=other).status_code == 403
    assert httpx.post(served.url, content=offer(), headers={**SDP, "Host": "elsewhere.example"}).status_code == 403
    with shown(token="s3cret") as output:
        asked = httpx.options(output.url, headers={"Origin": "https://elsewhere.example"})
        assert asked.headers["Access-Control-Allow-Origin"] == "*"
        assert "DELETE" in asked.headers["Access-Control-Allow-Methods"]
        assert "Authorization" in asked.headers["Access-Control-Allow-Headers"]
        begun = httpx.post(output.url, content=offer(), headers={**other, "Authorization": "Bearer s3cret"})
        assert begun.status_code == 201
        assert "Location" in begun.headers["Access-Control-Expose-Headers"]


def test_a_session_is_a_resource(served: Shown) -> None:
    begun = httpx.post(served.url, content=offer(), headers=SDP)
    assert begun.status_code == 201
    assert begun.headers["Content-Type"] == "application/sdp"
    assert "a=sendonly" in begun.text
    assert "a=candidate:" in begun.text
    session = httpx.URL(served.url).join(begun.headers["Location"])
    candidate = "a=mid:0\r\na=candidate:1 1 udp 1 127.0.0.1 9 typ host\r\na=candidate:2 1 udp 1 x.local 9 typ host\r\n"
    trickle = {"Content-Type": "application/trickle-ice-sdpfrag"}
    assert httpx.patch(session, content=candidate, headers=trickle).status_code == 204
    assert httpx.patch(session, content="a=candidate:1 1\r\n", headers=trickle).status_code == 400
    assert httpx.patch(session, content=candidate, headers=SDP).status_code == 415
    assert httpx.delete(session).status_code == 200
    assert httpx.delete(session).status_code == 404
    assert httpx.patch(session, content=candidate, headers=trickle).status_code == 404


def test_only_those_who_know_the_token_come_in() -> None:
    with shown(token="s3cret") as output:
        refused = httpx.post(output.url, content=offer(), headers=SDP)
        assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert httpx.delete(f"{output.url}/x", headers={"Authorization": "Bearer s3cre"}).status_code == 401
        assert is_rising(numbers(output.url, token="s3cret"))


def test_viewers_are_told_when_the_output_ends() -> None:
    with shown() as output:
        pictures = watch(output.url)
        next(pictures)
        output.sink.close()
        assert sum(1 for _ in pictures) < 30
        late = httpx.post(output.url, content=offer(), headers=SDP)
        assert (late.status_code, late.text) == (503, "this stream is ending\n")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data())
def test_offers_that_arrive_damaged_are_answered_or_refused(door: Door, data: DataObject) -> None:
    """Never with an error of ours, and nobody stays who cannot connect."""
    lines = OFFER.splitlines()
    for _ in range(data.draw(integers(1, 3))):
        place = data.draw(integers(1, len(lines) - 1))
        line = lines[place]
        lines[place : place + 1] = data.draw(
            sampled_from([[], [line, line], [line[: len(line) // 2]], [line.replace("a", "0")], [lines[-1]]])
        )
    try:
        answer = door.open("\r\n".join([*lines, ""])).result(10)
    except (OfferError, OfferRefused):
        pass
    else:
        assert door.close(answer.session).result(10)
    assert not door.peers


OFFER = offer()


@pytest.fixture
def door() -> Iterator[Door]:
    with shown(rate=1) as output:
        yield output.sink.door
