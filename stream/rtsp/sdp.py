"""The stream in the words of SDP (RFC 4566, RFC 6184)."""

from __future__ import annotations

import base64

from stream.rtsp.h264 import PARAMETER_SETS, type_of
from stream.rtsp.rtp import CLOCK_HZ, PAYLOAD_TYPE

TRACK = "trackID=0"


def describe(parameter_sets: tuple[bytes, ...], about: str = "") -> bytes:
    """An H.264 stream with these SPS and PPS units; about: a line for people, which players show as a comment."""
    sets = [one for one in parameter_sets if type_of(one) in PARAMETER_SETS]
    texts = ",".join(base64.b64encode(one).decode() for one in sets)
    profile = sets[0][1:4].hex().upper()
    lines = (
        "v=0",
        "o=- 1 1 IN IP4 0.0.0.0",
        "s=depthcast",
        *((f"i={about}",) if about else ()),
        "c=IN IP4 0.0.0.0",
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
