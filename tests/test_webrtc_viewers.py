"""WebRTC out with aiortc as viewer: in order, several at once on one encode, late, slow, on a bad link."""

from __future__ import annotations

import asyncio
import re
import threading
from contextlib import closing
from itertools import pairwise

import av
import httpx
import numpy as np
import pytest
from aiortc import RTCRtpReceiver, RTCSessionDescription

import stream.sinks.encoder
import stream.webrtc.watch
from stream.colour import Colormap
from stream.frame import DepthFrame
from stream.sinks.webrtc import Viewing, WebRtcSink
from stream.webrtc.broadcast import Broadcast, Rate, ViewerTrack
from stream.webrtc.coding import H264, Codec, Coded
from stream.webrtc.corrections import Peer
from stream.webrtc.loop import LoopThread
from stream.webrtc.signalling import Session, begin
from stream.webrtc.watch import watch
from tests.conditions import until
from tests.rtc import HEIGHT, LOOPBACK, SDP, WIDTH, is_rising, lose_every, numbers, shown

pytestmark = pytest.mark.usefixtures("no_thread_stays")


def test_a_viewer_sees_the_scene_in_order() -> None:
    with shown() as output:
        assert is_rising(numbers(output.url))


def test_three_viewers_share_one_encode(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[int, list[int | None]] = {}
    encoded, coded = list[int](), H264.coded

    def noted(self: H264, depth_frame: DepthFrame, key: bool) -> Coded:
        if not depth_frame.stale:
            encoded.append(depth_frame.frame.index)
        return coded(self, depth_frame, key)

    monkeypatch.setattr(H264, "coded", noted)
    with shown() as output:

        def look(place: int) -> None:
            seen[place] = numbers(output.url, 40)

        viewers = [threading.Thread(target=look, args=(place,)) for place in range(3)]
        for viewer in viewers:
            viewer.start()
        for viewer in viewers:
            viewer.join()
    assert len(encoded) >= 40
    assert len(encoded) == len(set(encoded)), "every picture once, whoever watches"
    assert all(len(one) == 40 and is_rising(one) for one in seen.values())


def test_nothing_is_encoded_while_nobody_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    written, write = list[int](), WebRtcSink.write

    def noted(self: WebRtcSink, depth_frame: DepthFrame) -> None:
        write(self, depth_frame)
        written.append(depth_frame.frame.index)

    monkeypatch.setattr(WebRtcSink, "write", noted)
    with shown() as output:
        numbers(output.url, 3)
        until(lambda: not output.sink.audience.viewers)
        # What was being written while the last one left may still have been for that one.
        left = len(written)
        until(lambda: len(written) > left + 1)
        encoded = output.sink.audience.encoded
        until(lambda: len(written) > left + 20)
        assert output.sink.audience.encoded == encoded > 0
        assert numbers(output.url, 1)[0] is not None


def test_the_colours_are_those_of_the_map() -> None:
    with shown(colormap=Colormap.TURBO) as output, closing(watch(output.url)) as pictures:
        picture = next(pictures)[0].to_ndarray(format="rgb24")
    depth = picture[HEIGHT // 2 :, WIDTH:].reshape(-1, 3).astype(int)
    # Colours are far from grey in turbo, and not in the colour map that is the default.
    assert np.mean(depth.max(axis=1) - depth.min(axis=1)) > 60


def test_a_late_viewer_begins_with_a_key_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """None would come by itself before the test is over: a late viewer is not left to wait for one."""
    monkeypatch.setattr("stream.sinks.encoder._KEY_EVERY_S", 3600)
    with shown() as output, closing(watch(output.url)) as early:
        first = [frame for (frame, _), _ in zip(early, range(5), strict=False)][-1]
        assert first.pts is not None
        with closing(watch(output.url)) as late:
            picture, _ = next(late)
        assert (picture.height, picture.width) == (HEIGHT, 2 * WIDTH)


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
        assert output.sink._encoders.keys() == {Codec.VP8, Codec.H264}
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
