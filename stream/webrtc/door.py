"""Where peers come in: an offer is answered, and the connection kept until either side leaves."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from aiortc import RTCSessionDescription
from aiortc.exceptions import OperationError
from aiortc.sdp import candidate_from_sdp

from stream.errors import StreamError
from stream.webrtc.corrections import Ice, Peer
from stream.webrtc.loop import LoopThread
from stream.webrtc.sections import read_offer

_LOG = logging.getLogger(__name__)
_ANSWER_S = 10.0
_NEWCOMERS = 4
"""Who may be about to take another's place at a time."""


class OfferError(StreamError):
    """An offer that cannot be read."""


class OfferRefused(StreamError):
    """An offer that can be read, of something that we do not have."""


class Full(StreamError):
    """No more peers at a time."""


@dataclass(frozen=True, slots=True)
class Answer:
    """session: the name of the connection from now on."""

    session: str
    sdp: str


class Guest(Protocol):
    """What we do with one peer.

    directions: of a video section that it can use, in the words of the offer.
    """

    @property
    def directions(self) -> frozenset[str]: ...

    def meet(self, peer: Peer) -> None:
        """The offer is known: add tracks, take tracks. Raises OfferRefused."""
        ...

    def wants_key(self) -> None:
        """The peer asks for a key picture."""
        ...

    def leave(self) -> None:
        """The peer has gone, or never came."""
        ...


class Door:
    """Peers that come by offers, at most `places` at a time. Its methods may be called from any thread.

    invite: makes the guest of one peer, on the loop.
    newest_only: once connected, a peer takes the place of any before it.
    connect_s: who is not connected by then is left; others leave when ICE finds them gone, after half a minute.
    early_s: who is not connected by then is left where a newcomer needs the place.
    """

    def __init__(
        self,
        loop: LoopThread,
        ice: Ice,
        places: int,
        invite: Callable[[], Guest],
        newest_only: bool = False,
        connect_s: float = 15.0,
        early_s: float = 3.0,
    ) -> None:
        self._loop = loop
        self._ice = ice
        self._places = places
        self._invite = invite
        self._newest_only = newest_only
        self._connect_s, self._early_s = connect_s, early_s
        self._peers: dict[str, tuple[Peer, Guest]] = {}
        self._pending: dict[str, float] = {}
        """When those were answered that are not connected yet, on the loop's clock; the oldest first."""
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def peers(self) -> int:
        """Connected, or about to be."""
        return len(self._peers)

    def knows(self, session: str) -> bool:
        """There is a peer of that name."""
        return session in self._peers

    def open(self, offer: str, invite: Callable[[], Guest] | None = None) -> Future[Answer]:
        """Answer an offer (SDP). Fails with OfferError, OfferRefused or Full; raises LoopEnded after the loop's end.

        invite: for this offer, in place of the door's own.
        """
        return self._loop.submit(self._open(offer, invite or self._invite))

    def close(self, session: str) -> Future[bool]:
        """Leave a peer; False: there is none of that name."""
        return self._loop.submit(self._leave(session))

    def trickle(self, session: str, fragment: str) -> Future[bool]:
        """Take further candidates of a peer (RFC 8840); False: there is none of that name.

        Fails with OfferError, or with OfferRefused where ICE is to begin anew.
        """
        return self._loop.submit(self._trickle(session, fragment))

    async def leave_all(self) -> None:
        """Say good-bye to every peer."""
        await asyncio.gather(*(self._left(session) for session in list(self._peers)))

    async def _open(self, offer: str, invite: Callable[[], Guest]) -> Answer:
        if self.peers >= self._places + (_NEWCOMERS if self._newest_only else 0):
            self._make_place()
        check_offer(offer)
        guest = invite()
        session = secrets.token_urlsafe(16)
        peer = Peer(self._ice, guest.wants_key)
        self._peers[session] = peer, guest
        try:
            answer = await asyncio.wait_for(_answered(peer, guest, offer), _ANSWER_S)
        except BaseException:
            await self._leave(session)
            raise
        self._watch_over(session, peer)
        return Answer(session, answer)

    def _make_place(self) -> None:
        """Leave the oldest that only holds a place. Raises Full where there is none."""
        now_s = asyncio.get_running_loop().time()
        idle = [one for one, since_s in self._pending.items() if now_s - since_s >= self._early_s]
        if not idle:
            raise Full(f"there are {self._places} here already: try again later")
        # The place is free at once: another newcomer may come before the connection is closed.
        del self._pending[idle[0]]
        self._soon(_parted(*self._peers.pop(idle[0])))

    def _watch_over(self, session: str, peer: Peer) -> None:
        self._pending[session] = asyncio.get_running_loop().time()

        def look() -> None:
            state = peer.connectionState
            if state in ("connected", "failed", "closed"):
                late.cancel()
                self._pending.pop(session, None)
            if state in ("failed", "closed"):
                self._leave_soon(session)
            elif state == "connected" and self._newest_only and session in self._peers:
                for other in tuple(self._peers)[: tuple(self._peers).index(session)]:
                    self._leave_soon(other)

        late = asyncio.get_running_loop().call_later(self._connect_s, self._leave_soon, session)
        peer.on("connectionstatechange", look)
        look()

    def _leave_soon(self, session: str) -> None:
        self._soon(self._left(session))

    def _soon(self, leaving: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(leaving)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _left(self, session: str) -> None:
        try:
            await self._leave(session)
        except Exception:  # a task's boundary: the other peers are left too
            _LOG.exception("a peer was not left as it should be")

    async def _leave(self, session: str) -> bool:
        self._pending.pop(session, None)
        found = self._peers.pop(session, None)
        if found is None:
            return False
        await _parted(*found)
        return True

    async def _trickle(self, session: str, fragment: str) -> bool:
        found = self._peers.get(session)
        if found is None:
            return False
        if is_restart(fragment, found[0].remoteDescription.sdp):
            raise OfferRefused("ICE cannot be restarted here: leave this session and post a new offer")
        mid = re.search(r"(?m)^a=mid:(\S+)", fragment)
        for line in re.findall(r"(?m)^a=candidate:(.{1,500}?)\r?$", fragment)[:50]:
            try:
                candidate = candidate_from_sdp(line)
            except (ValueError, AssertionError) as error:
                raise OfferError(f"a candidate cannot be read: {line[:100]}") from error
            candidate.sdpMid = mid[1] if mid else "0"
            if not candidate.ip.endswith(".local"):
                await found[0].addIceCandidate(candidate)
        return True


async def _parted(peer: Peer, guest: Guest) -> None:
    try:
        guest.leave()
    finally:
        await peer.close()


async def _answered(peer: Peer, guest: Guest, text: str) -> str:
    """The answer to an offer."""
    offer = read_offer(text, guest.directions)
    with _of_a_stranger():
        await peer.setRemoteDescription(RTCSessionDescription(as_far_as_needed(offer.shown), "offer"))
    guest.meet(peer)
    with _of_a_stranger():
        await peer.setLocalDescription()
    return offer.completed(peer.localDescription.sdp)


@contextmanager
def _of_a_stranger() -> Iterator[None]:
    """aiortc raises whatever it stumbles over in an offer: it is the offer's fault."""
    try:
        yield
    except OperationError as error:
        raise OfferRefused("no codec in common: this is H.264 (constrained baseline) or VP8") from error
    except Exception as error:
        _LOG.debug("an offer was refused", exc_info=True)
        raise OfferError(f"the offer cannot be used: {type(error).__name__}: {error}"[:200]) from error


def check_offer(offer: str) -> None:
    """Raise OfferError for what aiortc would stumble over later, where nobody is told."""
    if not offer.startswith("v=0"):
        raise OfferError("this is no SDP: it begins with v=0")
    if not re.search(r"(?m)^a=fingerprint:", offer):
        raise OfferError("the offer has no DTLS fingerprint")
    if not re.search(r"(?m)^m=video ", offer):
        raise OfferError("the offer has no video")


def as_far_as_needed(offer: str) -> str:
    """Without what would only be in the way of connecting.

    Browsers hide their addresses behind .local names; they find us by ours, so nobody need be asked for theirs. That
    there are no more candidates to come is left out, or aioice would give up before they have found us.
    """
    return re.sub(r"(?m)^a=(?:candidate:(?:\S+ ){4}\S+\.local .*|end-of-candidates)\r?\n", "", offer)


def is_restart(fragment: str, offer: str) -> bool:
    """Whether a fragment brings other ICE credentials than the offer did (RFC 8840, 4.4; RFC 9725, 4.3.3)."""
    return any(
        set(re.findall(pattern, fragment)) - set(re.findall(pattern, offer))
        for pattern in (r"(?m)^a=ice-ufrag:(\S+)", r"(?m)^a=ice-pwd:(\S+)")
    )
