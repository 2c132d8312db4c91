"""The stream in the words of SDP (RFC 4566, RFC 6184)."""

from __future__ import annotations

import base64

from stream.rtsp.h264 import PARAMETER_SETS, type_of
from stream.rtsp.rtp import CLOCK_HZ, PAYLOAD_TYPE

TRACK = "trackID=0"


def describe(parameter_sets: tuple[bytes, ...], address: str, about: str = "") -> bytes:
    """An H.264 stream with these SPS and PPS units.

    address: ours, as the other side knows it; its family is the one that UDP is to come by.
    about: a line for people, which players show as a comment.
    """
    sets = [one for one in parameter_sets if type_of(one) in PARAMETER_SETS]
    texts = ",".join(base64.b64encode(one).decode() for one in sets)
    profile = sets[0][1:4].hex().upper()
    lines = (
        "v=0",
        f"o=- 1 1 {_addressed(address)}",
        "s=depthcast",
        *((f"i={about}",) if about else ()),
        f"c={_addressed('::' if ':' in address else '0.0.0.0')}",
        "t=0 0",
        "a=control:*",
        "a=range:npt=now-",
        f"m=video 0 RTP/AVP {PAYLOAD_TYPE}",
        f"a=rtpmap:{PAYLOAD_TYPE} H264/{CLOCK_HZ}",
        f"a=fmtp:{PAYLOAD_TYPE} packetization-mode=1;profile-level-id={profile};sprop-parameter-sets={texts}",
        f"a=control:{TRACK}",
        "",
    )
    return "\r\n".join(lines).encode()


def _addressed(address: str) -> str:
    """Without a zone, which is of no meaning elsewhere."""
    return f"IN {'IP6' if ':' in address else 'IP4'} {address.partition('%')[0]}"
