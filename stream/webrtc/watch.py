"""A viewer without a browser: for measuring, and for programs that take what others show."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import suppress
from ipaddress import ip_address
from urllib.parse import urlsplit

import av
from aiortc import RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from stream.errors import SourceError
from stream.mailbox import Mailbox, MailboxClosed, Overflow
from stream.redact import redacted_url
from stream.webrtc.corrections import Ice, Peer
from stream.webrtc.loop import LoopThread
from stream.webrtc.signalling import Refused, begin, leave

_PLACES = 4
_LEAVE_S = 2.0


def watch(
    url: str, *, token: str | None = None, ice: Ice | None = None, timeout_s: float = 10.0
) -> Generator[tuple[av.VideoFrame, int], None, None]:
    """Watch a WHEP endpoint: each decoded picture, and the monotonic time in ns at which it was there.

    Pictures that are not taken in time are replaced by newer ones. Ends when the server leaves.
    ice: None offers loopback to a server on loopback and every address of this machine to others.
    timeout_s: of every wait. Raises SourceError.
    """
    loop = LoopThread("webrtc viewer")
    session = peer = None
    try:
        peer = loop.submit(_offering(ice or ice_towards(url))).result(timeout_s)
        try:
            session = begin(url, peer.localDescription.sdp, token, timeout_s)
        except (OSError, Refused) as error:
            raise SourceError(f"{redacted_url(url)} cannot be watched: {error}") from None
        pictures: Mailbox[tuple[av.VideoFrame, int]] = Mailbox(_PLACES, Overflow.REPLACE)
        receiving = loop.submit(_receive(peer, session.sdp, pictures))
        receiving.add_done_callback(lambda _: pictures.close())
        while True:
            try:
                yield pictures.take(timeout_s)
            except MailboxClosed:
                return
            except TimeoutError:
                raise SourceError(f"{redacted_url(url)} sends no pictures") from None
    finally:
        if session is not None:
            leave(session, _LEAVE_S)
        if peer is not None:
            with suppress(TimeoutError):
                loop.submit(peer.close()).result(_LEAVE_S)
        loop.close()


def ice_towards(url: str) -> Ice:
    """Loopback for what is on loopback: it is not offered otherwise."""
    host = urlsplit(url).hostname or ""
    try:
        is_here = host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        is_here = False
    return Ice(("::1",) if host == "::1" else ("127.0.0.1",)) if is_here else Ice()


async def _offering(ice: Ice) -> Peer:
    peer = Peer(ice)
    peer.addTransceiver("video", direction="recvonly")
    await peer.setLocalDescription()
    return peer


async def _receive(peer: Peer, answer: str, pictures: Mailbox[tuple[av.VideoFrame, int]]) -> None:
    tracks: list[MediaStreamTrack] = []
    peer.on("track", tracks.append)
    await peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))
    with suppress(MediaStreamError, MailboxClosed):
        while tracks:
            picture = await tracks[0].recv()
            if isinstance(picture, av.VideoFrame):
                pictures.put((picture, time.monotonic_ns()))
