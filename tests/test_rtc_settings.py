"""What the environment decides of WebRTC, and what peers are offered because of it."""

from __future__ import annotations

from pathlib import Path

import aioice.ice
import pytest

from depthcast.errors import UsageError
from depthcast.service.webrtc import ice_of
from depthcast.settings import Settings
from stream.webrtc.corrections import Ice, IceServer
from stream.webrtc.watch import ice_towards

PLAIN = Settings(Path("home"))


def test_the_environment_is_read() -> None:
    settings = Settings.from_environment(
        {
            "DEPTHCAST_HOME": "/home",
            "DEPTHCAST_ICE_ADDRESSES": "192.0.2.1, 2001:db8::1",
            "DEPTHCAST_ICE_SERVERS": "stun:stun.example:3478,turn:ann:s3cret%2C@turn.example:3478",
            "DEPTHCAST_MAX_VIEWERS": "3",
            "DEPTHCAST_MAX_BITRATE": "500000",
        }
    )
    assert settings.ice_addresses == ("192.0.2.1", "2001:db8::1")
    assert (settings.max_viewers, settings.max_bitrate) == (3, 500_000)
    stun, turn = IceServer("stun:stun.example:3478"), IceServer("turn:turn.example:3478", "ann", "s3cret,")
    assert ice_of(settings, "127.0.0.1") == Ice(("192.0.2.1", "2001:db8::1"), (stun, turn))
    assert "s3cret" not in repr(settings) + repr(ice_of(settings, ""))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DEPTHCAST_ICE_ADDRESSES", "localhost"),
        ("DEPTHCAST_ICE_SERVERS", "http://s3cret@x"),
        ("DEPTHCAST_ICE_SERVERS", "stun:ann:s3cret@x:1"),
        ("DEPTHCAST_MAX_VIEWERS", "0"),
        ("DEPTHCAST_MAX_BITRATE", "4M"),
    ],
)
def test_what_makes_no_sense_is_refused(name: str, value: str) -> None:
    with pytest.raises(UsageError, match=name) as refused:
        Settings.from_environment({name: value})
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    ("host", "offered"),
    [
        ("127.0.0.1", Ice(("127.0.0.1",), only_here=True)),
        ("127.0.0.5", Ice(("127.0.0.5",), only_here=True)),
        ("localhost", Ice(("127.0.0.1",), only_here=True)),
        ("::1", Ice(("::1",), only_here=True)),
        ("192.0.2.1", Ice(("192.0.2.1",))),
        ("", Ice()),
        ("0.0.0.0", Ice()),
        ("::", Ice()),
        ("camera.example", Ice()),
    ],
)
def test_the_address_that_is_listened_on_is_offered(host: str, offered: Ice) -> None:
    assert ice_of(PLAIN, host) == offered


def test_it_is_said_where_firefox_cannot_come(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(aioice.ice, "get_host_addresses", lambda **_: ["192.0.2.1"])
    ice_of(PLAIN, "127.0.0.1")
    assert not caplog.messages
    monkeypatch.setattr(aioice.ice, "get_host_addresses", lambda **_: [])
    ice_of(PLAIN, "192.0.2.1")
    assert not caplog.messages
    ice_of(PLAIN, "127.0.0.1")
    ice_of(PLAIN, "")
    assert [message.partition(":")[0] for message in caplog.messages] == [
        "this machine has no address but loopback's"
    ] * 2


@pytest.mark.parametrize(
    ("url", "offered"),
    [
        ("http://127.0.0.1:1/x", ("127.0.0.1",)),
        ("http://localhost/x", ("127.0.0.1",)),
        ("http://[::1]:1/x", ("::1",)),
        ("https://192.0.2.1/x", ()),
        ("https://host/x", ()),
    ],
)
def test_loopback_is_offered_to_loopback(url: str, offered: tuple[str, ...]) -> None:
    assert ice_towards(url) == Ice(offered)
