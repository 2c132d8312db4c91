"""Who comes to a WebRTC output: offers taken and refused, places, tokens, pages of other sites, how a session ends."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import DataObject, data, integers, sampled_from

from depthcast.service.whip import links_of
from stream.sinks.webrtc import Viewing
from stream.webrtc.corrections import IceServer
from stream.webrtc.door import Door, OfferError, OfferRefused
from stream.webrtc.watch import watch
from tests.conditions import until
from tests.rtc import SDP, Shown, is_rising, numbers, offer, shown

pytestmark = pytest.mark.usefixtures("no_thread_stays")


def test_more_viewers_than_there_are_places_are_asked_to_come_later() -> None:
    with shown(Viewing(viewers=1)) as output:
        with closing(watch(output.url)) as pictures:
            next(pictures)
            full = httpx.post(output.url, content=offer(), headers=SDP)
            assert (full.status_code, full.headers["Retry-After"]) == (503, "5")
            assert "1 here already" in full.text
        until(lambda: not output.sink.door.peers)
        assert is_rising(numbers(output.url))


def test_who_never_connects_gives_the_place_up() -> None:
    with shown(Viewing(viewers=1)) as output:
        output.sink.door._connect_s = 0.3
        assert httpx.post(output.url, content=offer(), headers=SDP).status_code == 201
        until(lambda: not output.sink.door.peers)


def test_offers_that_nobody_follows_up_lock_nobody_out() -> None:
    with shown(Viewing(viewers=2)) as output:
        door = output.sink.door
        door._early_s = 3600
        posted = [httpx.post(output.url, content=offer(), headers=SDP) for _ in range(3)]
        assert [one.status_code for one in posted] == [201, 201, 503], "one that has just come is waited for"
        door._early_s = 0
        assert is_rising(numbers(output.url))
        left = httpx.delete(output.url.replace("/whep/depth", "") + posted[0].headers["Location"])
        assert left.status_code == 404, "the oldest made room"
        until(lambda: not door._tasks)


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
        assert begun.headers["Access-Control-Expose-Headers"] == "ETag, Link, Location, Retry-After"


def test_a_session_is_a_resource(served: Shown) -> None:
    begun = httpx.post(served.url, content=offer(), headers=SDP)
    assert begun.status_code == 201
    assert begun.headers["Content-Type"] == "application/sdp"
    assert "a=sendonly" in begun.text
    assert "a=candidate:" in begun.text
    session = httpx.URL(served.url).join(begun.headers["Location"])
    candidate = "a=mid:0\r\na=candidate:1 1 udp 1 127.0.0.1 9 typ host\r\na=candidate:2 1 udp 1 x.local 9 typ host\r\n"
    trickle = {"Content-Type": "application/trickle-ice-sdpfrag", "If-Match": begun.headers["ETag"]}
    assert httpx.patch(session, content=candidate, headers=trickle).status_code == 204
    assert httpx.patch(session, content="a=candidate:1 1\r\n", headers=trickle).status_code == 400
    assert httpx.patch(session, content=candidate, headers=trickle | SDP).status_code == 415
    assert httpx.delete(session).status_code == 200
    assert httpx.delete(session).status_code == 404
    assert httpx.patch(session, content=candidate, headers=trickle).status_code == 404


def test_candidates_name_the_ice_that_they_are_for(served: Shown) -> None:
    """RFC 9725, 4.3.1."""
    offered = offer()
    begun = httpx.post(served.url, content=offered, headers=SDP)
    session, tag = httpx.URL(served.url).join(begun.headers["Location"]), begun.headers["ETag"]
    assert re.fullmatch('"[!-~]+"', tag)
    names = "\r\n".join(re.findall(r"(?m)^a=ice-(?:ufrag|pwd):\S+", offered))
    candidate = f"{names}\r\na=mid:0\r\na=candidate:1 1 udp 1 127.0.0.1 9 typ host\r\n"

    def status(fragment: str, *tags: str) -> int:
        headers = [("Content-Type", "application/trickle-ice-sdpfrag"), *(("If-Match", one) for one in tags)]
        return httpx.patch(session, content=fragment, headers=headers).status_code

    assert status(candidate) == 428
    assert status(candidate, '"other"') == 412
    assert status(candidate, f"W/{tag}") == 412
    assert status(candidate, f'"other", {tag}') == 204
    assert status(candidate, tag) == 204
    assert status(candidate, "*") == 204
    assert httpx.delete(session, headers={"If-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize("changed", ["ice-ufrag", "ice-pwd"])
def test_ice_is_not_restarted_and_that_is_said(served: Shown, changed: str) -> None:
    """It was answered with 204, and then nothing came any more."""
    offered = offer()
    begun = httpx.post(served.url, content=offered, headers=SDP)
    session = httpx.URL(served.url).join(begun.headers["Location"])
    names = "\r\n".join(re.findall(r"(?m)^a=ice-(?:ufrag|pwd):\S+", offered))
    other = re.sub(f"a={changed}:....", f"a={changed}:0000", names)
    headers = {"Content-Type": "application/trickle-ice-sdpfrag", "If-Match": "*"}
    answer = httpx.patch(session, content=other, headers=headers)
    assert (answer.status_code, answer.text) == (
        422,
        "ICE cannot be restarted here: leave this session and post a new offer\n",
    )
    assert httpx.patch(session, content=names, headers=headers).status_code == 204


def test_peers_are_told_of_ice_servers_and_of_passwords_with_a_token_only() -> None:
    """RFC 9725, 4.6."""
    stun = IceServer("stun:stun.example:3478")
    turn = IceServer("turn:turn.example?transport=udp", "ann", 's3"cret\\')
    told = '<stun:stun.example:3478>; rel="ice-server"'
    assert links_of([], with_secrets=True) is None
    assert links_of([turn], with_secrets=False) is None
    assert links_of([stun, turn], with_secrets=False) == told
    assert links_of([stun, turn], with_secrets=True) == (
        f'{told}, <turn:turn.example?transport=udp>; rel="ice-server"; username="ann"; '
        'credential="s3\\"cret\\\\"; credential-type="password"'
    )
    umlaut = IceServer("turn:turn.example", "ann", "gr\xfc\xdfe\n")
    assert "credential*=UTF-8''gr%C3%BC%C3%9Fe%0A;" in (links_of([umlaut], with_secrets=True) or "")


@pytest.mark.parametrize("token", [None, "s3cret"])
def test_an_answer_tells_of_ice_servers(token: str | None) -> None:
    servers = (IceServer("stun:stun.example"), IceServer("turn:turn.example", "ann", "pass"))
    with shown(token=token, servers=servers) as output:
        refused = httpx.post(output.url, content="v=0", headers={**SDP, "Authorization": "Bearer other"})
        assert refused.status_code in (400, 401)
        assert "Link" not in refused.headers
        begun = httpx.post(output.url, content=offer(), headers={**SDP, "Authorization": f"Bearer {token}"})
        assert begun.status_code == 201
        assert begun.headers["Link"].startswith('<stun:stun.example>; rel="ice-server"')
        assert ('credential="pass"' in begun.headers["Link"]) == (token is not None)


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
