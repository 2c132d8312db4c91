"""The media sections of an offer: which of them are used, and how the answer refuses the others (RFC 3264, RFC 8843).

aiortc answers every section and connects every transport, and fails where one of them has no codec in common.
It is shown what is used, and the answer is completed afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_KNOWN = {
    "video": re.compile(r"(?m)^a=rtpmap:\d+ (?:VP8|H264)/"),
    "audio": re.compile(r"(?m)^a=rtpmap:\d+ (?:opus|PCM[UA]|G722)/|^m=audio \d+ \S+(?: \d+)*? [089](?: |\r?$)", re.I),
}
_GROUP = re.compile(r"(?m)^a=group:BUNDLE ?(.*?)\r?\n")


@dataclass(frozen=True, slots=True)
class Section:
    """One media section; text: with its line ends."""

    text: str

    @property
    def kind(self) -> str:
        """video, audio, application, …"""
        return self.text[2:].partition(" ")[0]

    @property
    def mid(self) -> str | None:
        """Its name, where it has one."""
        found = re.search(r"(?m)^a=mid:(\S+)", self.text)
        return found[1] if found else None

    @property
    def direction(self) -> str:
        """As its maker sees it."""
        found = re.search(r"(?m)^a=(sendrecv|sendonly|recvonly|inactive)\r?$", self.text)
        return found[1] if found else "sendrecv"

    @property
    def is_bundle_only(self) -> bool:
        """It has no transport of its own, but that of the section that its group is named after."""
        return re.search(r"(?m)^a=bundle-only\r?$", self.text) is not None

    @property
    def is_offered(self) -> bool:
        """Not refused by its maker."""
        return self.is_bundle_only or not re.match(r"m=\S+ 0 ", self.text)

    @property
    def is_known(self) -> bool:
        """It is offered with a codec that aiortc may agree to."""
        known = _KNOWN.get(self.kind)
        return self.is_offered and known is not None and known.search(self.text) is not None

    @property
    def refusal(self) -> str:
        """What an answer has in its place."""
        kind, _, rest = self.text.partition("\n")[0].rstrip("\r").partition(" ")
        mid = f"a=mid:{self.mid}\r\n" if self.mid is not None else ""
        return f"{kind} 0 {rest.partition(' ')[2]}\r\nc=IN IP4 0.0.0.0\r\na=inactive\r\n{mid}"


@dataclass(frozen=True, slots=True)
class Offer:
    """An offer taken apart. used: places of the sections that are answered with more than a refusal."""

    session: str
    sections: tuple[Section, ...]
    used: frozenset[int]

    @property
    def shown(self) -> str:
        """With the used sections only."""
        kept = [self.sections[place] for place in sorted(self.used)]
        mids = [mid for mid in bundled(self.session) if mid in {one.mid for one in kept}]
        group = f"a=group:BUNDLE {' '.join(mids)}\r\n" if mids else ""
        return _GROUP.sub(group, self.session, count=1) + "".join(one.text for one in kept)

    def completed(self, answer: str) -> str:
        """An answer to what was shown, with a refusal for each other section, in the order of the offer."""
        session, answered = _taken_apart(answer)
        mids = [mid for mid in bundled(session) if mid in bundled(self.session)]
        group = f"a=group:BUNDLE {' '.join(mids)}\r\n" if mids else ""
        left: Iterator[Section] = iter(answered)
        texts = (next(left).text if place in self.used else one.refusal for place, one in enumerate(self.sections))
        return _GROUP.sub(group, session, count=1) + "".join(texts)


def read_offer(text: str, directions: frozenset[str]) -> Offer:
    """The first video that can be used, and what belongs to it.

    directions: of a video that can be used, as the offer's maker sees it. Where there is none the first video is kept,
    so that it can be said what is wrong with it.
    """
    session, sections = _taken_apart(text)
    videos = [place for place, one in enumerate(sections) if one.kind == "video" and one.is_offered]
    wanted = [place for place in videos if sections[place].direction in directions]
    chosen = next((one for one in wanted if sections[one].is_known), next(iter(wanted or videos), None))
    used = set() if chosen is None else {chosen}
    used.update([place for place, one in enumerate(sections) if one.kind == "application" and one.is_offered][:1])
    # The transport of a group is that of its first section: to refuse that one would leave the others without.
    mids = bundled(session)
    first = next((place for place, one in enumerate(sections) if mids and one.mid == mids[0]), None)
    if first is not None and chosen is not None and sections[chosen].mid in mids and sections[first].is_known:
        used.add(first)
    return Offer(session, sections, frozenset(used))


def bundled(session: str) -> list[str]:
    """Names of the sections that share one transport; the first one gives it."""
    found = _GROUP.search(session)
    return found[1].split() if found else []


def _taken_apart(text: str) -> tuple[str, tuple[Section, ...]]:
    session, *sections = re.split(r"(?m)^(?=m=)", text)
    return session, tuple(map(Section, sections))
