"""The pure parts of the RTSP server: requests, transports, logins, packets."""

from __future__ import annotations

import base64
import hashlib
import struct

import pytest

from stream.rtsp import auth
from stream.rtsp.auth import challenges, is_allowed
from stream.rtsp.h264 import payloads_of, units_of
from stream.rtsp.messages import (
    HEADERS_LIMIT,
    BadRequest,
    Datagrams,
    Interleaved,
    answer,
    parse_request,
    parse_transport,
    plain_path,
)
from stream.rtsp.rtp import PAYLOAD_LIMIT, AccessUnit, Sender
from stream.rtsp.sdp import describe
from stream.uris import Login


def request(first: str, *lines: str) -> bytes:
    return "\r\n".join([first, *lines, "", ""]).encode()


def test_a_request_is_read() -> None:
    read = parse_request(request("DESCRIBE rtsp://h:1/a%20b/?x=1 RTSP/1.0", "CSeq: 7", "Content-Length : 12"))
    assert (read.method, read.path, read.sequence, read.body_length) == ("DESCRIBE", "/a b", "7", 12)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (request("PLAY"), 400),
        (request("PL AY rtsp://h/ RTSP/1.0", "CSeq: 1"), 400),
        (request("PLAY rtsp://h/ RTSP/2.0", "CSeq: 1"), 505),
        (request("GET / HTTP/1.1", "Host: h"), 505),
        (request("PLAY rtsp://h/ RTSP/1.0"), 400),
        (request("PLAY rtsp://h/ RTSP/1.0", "CSeq: one"), 400),
        (request("PLAY rtsp://h/ RTSP/1.0", "CSeq: 1", "nonsense"), 400),
        (request("PLAY rtsp://[h/ RTSP/1.0", "CSeq: 1"), 400),
        (request("PLAY rtsp://h/\nX:y RTSP/1.0", "CSeq: 1"), 400),
        (request("PLAY rtsp://h/ RTSP/1.0 ", "CSeq: 1"), 400),
        (b"PLAY rtsp://h/\xff RTSP/1.0\r\nCSeq: 1\r\n\r\n", 400),
        (request("PLAY rtsp://h/ RTSP/1.0", "CSeq: 1", *["a: b"] * HEADERS_LIMIT), 413),
    ],
)
def test_a_broken_request_is_refused(head: bytes, status: int) -> None:
    with pytest.raises(BadRequest) as refused:
        parse_request(head)
    assert (refused.value.status, refused.value.is_fatal) == (status, True)


@pytest.mark.parametrize(
    ("path", "url"),
    [
        ("/tür", "/tür"),
        ("/tür", "/t%C3%BCr"),
        ("/t%c3%bcr", "/tür/"),
        ("/tu\u0308r", "/t%C3%BCr"),
        ("/tür", "/tu\u0308r"),
        ("/a b", "/a%20b"),
        ("/a%20b", "/a b"),
        ("/a+b", "/a+b"),
        ("/a+b", "/a%2Bb"),
        ("/a%2Fb", "/a%2fb"),
        ("/50%", "/50%25"),
        ("/客厅", "/%E5%AE%A2%E5%8E%85"),
    ],
)
def test_a_path_is_found_in_each_of_its_spellings(path: str, url: str) -> None:
    read = parse_request(request(f"DESCRIBE rtsp://h:1{url} RTSP/1.0", "CSeq: 1"))
    assert read.path == plain_path(path)
    assert read.url == f"rtsp://h:1{url}"


@pytest.mark.parametrize("url", ["/a b", "/a%2Bb", "/a", "/A+b"])
def test_another_path_is_another(url: str) -> None:
    read = parse_request(request(f"DESCRIBE rtsp://h:1{url} RTSP/1.0", "CSeq: 1"))
    assert [path for path in ("/a b", "/a+b", "/a", "/A+b", "/b") if plain_path(path) == read.path] == [
        url.replace("%2B", "+")
    ]


@pytest.mark.parametrize(
    ("address", "origin", "connection"),
    [
        ("192.0.2.1", "IN IP4 192.0.2.1", "IN IP4 0.0.0.0"),
        ("2001:db8::1", "IN IP6 2001:db8::1", "IN IP6 ::"),
        ("fe80::1%eth0", "IN IP6 fe80::1", "IN IP6 ::"),
    ],
)
def test_the_description_is_of_the_family_that_is_used(address: str, origin: str, connection: str) -> None:
    lines = describe((b"\x67\x42\xc0\x1f", b"\x68\xce"), address).decode().split("\r\n")
    assert lines[1] == f"o=- 1 1 {origin}"
    assert f"c={connection}" in lines


@pytest.mark.parametrize(("length", "status"), [("-1", 400), ("x", 400), ("99999", 413)])
def test_a_body_has_a_limit(length: str, status: int) -> None:
    read = parse_request(request("GET_PARAMETER * RTSP/1.0", "CSeq: 1", f"Content-Length: {length}"))
    with pytest.raises(BadRequest, match=str(status)):
        _ = read.body_length


def test_an_answer_is_written() -> None:
    assert answer(404, "3") == b"RTSP/1.0 404 Not Found\r\nCSeq: 3\r\nServer: depthcast\r\n\r\n"
    assert answer(200, "3", (("A", "b"),), b"xy").endswith(b"A: b\r\nContent-Length: 2\r\n\r\nxy")


@pytest.mark.parametrize(
    ("header", "meant"),
    [
        ("RTP/AVP/TCP;unicast;interleaved=2-3", Interleaved(2, 3)),
        ("RTP/AVP/TCP;unicast", Interleaved(0, 1)),
        ("RTP/AVP;unicast;client_port=5000-5001", Datagrams(5000, 5001)),
        ("RTP/AVP/UDP;unicast;client_port=5000;mode=play", Datagrams(5000, 5001)),
        ("RTP/AVP;multicast,RTP/AVP/TCP;interleaved=0-1", Interleaved(0, 1)),
    ],
)
def test_a_transport_is_chosen(header: str, meant: object) -> None:
    assert parse_transport(header) == meant


@pytest.mark.parametrize(
    "header",
    [
        "", "RTP/AVP;multicast", "RTP/SAVP;client_port=5000-5001", "RTP/AVP;unicast", "RTP/AVP;client_port=22-23",
        "RTP/AVP;client_port=5001-5000", "RTP/AVP/TCP;interleaved=255-256", "RTP/AVP/TCP;interleaved=a-b",
        "RTP/AVP;client_port=65535", "RTP/AVP/TCP;mode=record",
    ],
)  # fmt: skip
def test_other_transports_are_refused(header: str) -> None:
    with pytest.raises(BadRequest, match="461"):
        parse_transport(header)


LOGIN = Login("ann", "pass word")


def md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


def digest(user: str, password: str, nonce: str, qop: bool) -> str:
    a1, a2 = md5(f"{user}:depthcast:{password}"), md5("PLAY:rtsp://h/d")
    middle = f"{nonce}:00000001:0a:auth" if qop else nonce
    more = ', qop=auth, nc=00000001, cnonce="0a"' if qop else ""
    response = md5(f"{a1}:{middle}:{a2}")
    return (
        f'Digest username="{user}", realm="depthcast", nonce="{nonce}", uri="rtsp://h/d", response="{response}"{more}'
    )


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("", {}),
        ('username="a b", realm="x,y=z", nonce = n1,uri="rtsp://h/?a=b"',
         {"username": "a b", "realm": "x,y=z", "nonce": "n1", "uri": "rtsp://h/?a=b"}),
        ('NC=00000001,qop=auth cnonce="0a"', {"nc": "00000001", "qop": "auth", "cnonce": "0a"}),
        ('realm="", nonce=""', {"realm": "", "nonce": ""}),
        ('nonce="never closed', {}),
        ('9=a, x-y=b, nonce="n"', {"nonce": "n"}),
        ("==a=, nonce=n", {"nonce": "n"}),
        ("nonce=", {"nonce": ""}),
        ("a" * 8000, {}),
        (" " * 4000 + "nonce=n", {"nonce": "n"}),
        ("nonce=n, " + "a" * 8000, {"nonce": "n"}),
        ("nonce" + " " * 4000 + "= n", {"nonce": "n"}),
        ("a=" * 4000, {"a": "a=" * 2047}),
        ("x" * 5000 + ", nonce=n", {}),
    ],
)  # fmt: skip
def test_the_parts_of_a_login_are_read_in_one_pass(text: str, pairs: dict[str, str]) -> None:
    assert auth._parameters(text) == pairs
    assert not hasattr(auth, "re"), "expressions that try again hold the interpreter: a stranger chooses the text"


@pytest.mark.parametrize("qop", [False, True])
def test_digest_needs_name_word_and_this_connections_nonce(qop: bool) -> None:
    assert is_allowed(LOGIN, digest("ann", "pass word", "n1", qop), "PLAY", "n1")
    assert not is_allowed(LOGIN, digest("ann", "password", "n1", qop), "PLAY", "n1")
    assert not is_allowed(LOGIN, digest("bob", "pass word", "n1", qop), "PLAY", "n1")
    assert not is_allowed(LOGIN, digest("ann", "pass word", "n0", qop), "PLAY", "n1")
    assert not is_allowed(LOGIN, digest("ann", "pass word", "n1", qop), "TEARDOWN", "n1")


def test_basic_needs_name_and_word() -> None:
    right, wrong = (base64.b64encode(text).decode() for text in (b"ann:pass word", b"ann:pass"))
    assert is_allowed(LOGIN, f"Basic {right}", "PLAY", "n")
    assert not is_allowed(LOGIN, f"Basic {wrong}", "PLAY", "n")
    assert not is_allowed(LOGIN, "Basic not base64!", "PLAY", "n")
    assert not is_allowed(LOGIN, "Bearer x", "PLAY", "n")
    assert not is_allowed(LOGIN, "", "PLAY", "n")


def test_the_stronger_challenge_comes_first() -> None:
    assert [value.split()[0] for _, value in challenges("n")] == ["Digest", "Basic"]


def test_units_are_found_between_start_codes() -> None:
    assert units_of(b"\0\0\0\1\x67ab\0\0\1\x68c\0\0\0\0\1\x65d\0") == [b"\x67ab", b"\x68c", b"\x65d"]
    assert units_of(b"") == []


def reassembled(payloads: list[bytes]) -> bytes:
    """RFC 6184, 5.8, written down once more."""
    if len(payloads) == 1:
        return payloads[0]
    head = bytes([payloads[0][0] & 0xE0 | payloads[0][1] & 0x1F])
    return head + b"".join(payload[2:] for payload in payloads)


@pytest.mark.parametrize("size", [1, 9, 10, 11, 17, 18, 1000])
def test_large_units_travel_in_fragments(size: int) -> None:
    unit = bytes([0x65]) + bytes(n % 251 for n in range(size - 1))
    payloads = list(payloads_of(unit, 10))
    assert all(len(payload) <= 10 for payload in payloads)
    assert reassembled(payloads) == unit
    if size > 10:
        assert [payload[0] & 0x1F for payload in payloads] == [28] * len(payloads)
        ends = [payload[1] >> 6 for payload in payloads]
        assert ends == [2, *[0] * (len(payloads) - 2), 1]


def test_packets_are_numbered_timed_and_marked() -> None:
    sender = Sender(ssrc=0xABCD, sequence=65535, offset=2**32 - 10)
    packets = sender.packets(AccessUnit((b"\x67a", b"\x65" * (PAYLOAD_LIMIT + 5), b"\x09\xf0"), 30, True))
    heads = [struct.unpack("!BBHII", packet[:12]) for packet in packets]
    assert [head[1] for head in heads] == [96, 96, 96, 96 | 128]
    assert [head[2] for head in heads] == [65535, 0, 1, 2]
    assert {(head[0], head[3], head[4]) for head in heads} == {(0x80, 20, 0xABCD)}
    assert max(map(len, packets)) <= PAYLOAD_LIMIT + 12


def test_a_report_ties_the_packets_clock_to_the_time_of_day() -> None:
    sender = Sender(ssrc=5, sequence=0, offset=100)
    sender.packets(AccessUnit((b"\x65abc",), 900, True))
    report = sender.report(time_s=1.5, behind_s=0.1)
    kind, length, ssrc, ntp, ticks, packets, octets = struct.unpack("!xBHIQIII", report[:28])
    assert (kind, length, ssrc, packets, octets) == (200, 6, 5, 1, 4)
    assert ntp == round((2_208_988_800 + 1.5) * 2**32)
    assert ticks == 100 + 900 + 9000
    assert len(report) % 4 == 0
    assert struct.unpack("!xBH", report[28:32]) == (202, len(report[28:]) // 4 - 1)
