"""Our RTSP server with real players: several at once, late, of other sizes and rates."""

from __future__ import annotations

import asyncio
import threading
from fractions import Fraction
from typing import Any

import av
import pytest

from engines.spec import Unit
from stream.errors import SinkError
from stream.estimator import DepthEstimator
from stream.pipeline import run
from stream.sinks.picture import Painter
from stream.sinks.rtsp import RtspServeSink
from stream.sources.choose import open_source
from stream.sources.paced import Paced
from stream.sources.synthetic import SyntheticSource
from stream.stats import Stats
from stream.uris import Login, RtspServe, parse_source
from tests.conditions import until
from tests.fakes import FakeSession
from tests.rtspcalls import PLAYER, numbers, served

pytestmark = pytest.mark.usefixtures("no_thread_stays")


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_player_sees_the_scene_in_order(transport: str) -> None:
    with served() as sink:
        seen = numbers(sink.port, transport)
    assert None not in seen
    assert seen == sorted(set(seen))  # type: ignore[type-var]


def test_players_come_and_go_and_late_ones_get_a_picture_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    # Key pictures come when somebody needs one, and otherwise not before the test is over.
    monkeypatch.setattr("stream.sinks.encoder._KEY_EVERY_S", 3600)
    seen: dict[str, list[int | None]] = {}
    with served() as sink:

        def watch(name: str, count: int) -> None:
            seen[name] = numbers(sink.port, "udp" if name == "b" else "tcp", count)

        watching = [threading.Thread(target=watch, args=one) for one in (("a", 30), ("b", 10), ("c", 20))]
        for one in watching:
            one.start()
        watching[1].join()
        late = numbers(sink.port, count=1)
        for one in watching:
            one.join()
    assert {name: len(of) for name, of in seen.items()} == {"a": 30, "b": 10, "c": 20}
    assert all(None not in of for of in seen.values())
    assert late != [None]


def test_nothing_is_encoded_while_nobody_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = threading.Event()
    monkeypatch.setattr("stream.sinks.encoder.LiveEncoder.encode", lambda *_: encoded.set())
    source = SyntheticSource(120, 160, frames=5)
    sink = RtspServeSink(RtspServe("127.0.0.1", 0, "/depth"), source.info, Painter(source.info), Unit.RELATIVE)
    run(source, DepthEstimator(FakeSession()).step, [sink])
    assert not encoded.is_set()


@pytest.mark.parametrize("fragment", ["", "#udp"])
def test_our_server_as_a_camera_that_is_restarted_with_another_size(fragment: str) -> None:
    with served() as sink:
        port = sink.port
        uri = parse_source(f"rtsp://127.0.0.1:{port}/depth{fragment}")
        source = open_source(uri, timeout_s=1)
        frames = iter(source)
        first = next(frames)
    with source, served(port=port, size=(96, 128)):
        after = next(frame for frame in frames if frame.height == 96)
        assert source.reconnects == 1
    assert source.info.live
    assert (first.height, first.width) == (120, 320)
    assert after.pts > first.pts


def test_a_login_is_asked_for() -> None:
    with served(Login("ann", "s e:cret")) as sink:
        assert None not in numbers(sink.port, login="ann:s%20e%3Acret@", count=2)
        for login in ("", "ann:wrong@"):
            with pytest.raises(av.FFmpegError):
                numbers(sink.port, login=login)


@pytest.mark.parametrize("unit", Unit)
def test_players_are_told_the_unit_and_its_polarity(unit: Unit) -> None:
    with (
        served(unit=unit) as sink,
        av.open(f"rtsp://127.0.0.1:{sink.port}/depth", options=PLAYER, timeout=5) as container,
    ):
        assert container.metadata["comment"] == f"depth, {unit.value}; near is bright"


def test_a_taken_port_is_refused_with_advice() -> None:
    with served() as sink, pytest.raises(SinkError, match=f"cannot listen at rtsp://@127.0.0.1:{sink.port}/depth"):
        RtspServeSink(
            RtspServe("127.0.0.1", sink.port, "/depth"),
            SyntheticSource(48, 64).info,
            Painter(SyntheticSource(48, 64).info),
            Unit.RELATIVE,
        )


def test_without_an_address_all_are_listened_on(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, start = [], asyncio.start_server

    async def started(welcome: Any, host: str | None, *rest: Any, **options: Any) -> asyncio.Server:
        asked.append(host)
        return await start(welcome, "127.0.0.1", *rest, **options)

    monkeypatch.setattr(asyncio, "start_server", started)
    info = SyntheticSource(48, 64).info
    for host in ("", "127.0.0.1"):
        RtspServeSink(RtspServe(host, 0, "/depth"), info, Painter(info), Unit.RELATIVE).close()
    assert asked == [None, "127.0.0.1"]


@pytest.mark.parametrize("rate", [1, 120])
def test_slow_and_fast_sources_are_served_and_none_is_taken_for_absent(rate: int) -> None:
    source = Paced(SyntheticSource(120, 160, Fraction(rate)))
    sink = RtspServeSink(
        RtspServe("127.0.0.1", 0, "/depth"), source.info, Painter(source.info, side_by_side=True), Unit.RELATIVE
    )
    stop, estimator, told = threading.Event(), DepthEstimator(FakeSession(), gap_s=3600), list[Stats]()
    # Looks every 0.1 s whether the source is away: far less than a second.
    how = {"stop": stop, "stale_after_s": 0.1, "progress": told.append}
    running = threading.Thread(target=run, args=(source, estimator.step, [sink]), kwargs=how)
    running.start()
    try:
        seen = numbers(sink.port, count=2 if rate == 1 else 20)
    finally:
        stop.set()
        running.join()
    assert None not in seen
    assert seen == sorted(set(seen))  # type: ignore[type-var]
    assert told[-1].resets == 1
    if rate == 1:
        assert told[-1].held == 0


def test_viewers_and_what_they_are_sent_are_counted() -> None:
    with served() as sink:
        assert (sink.viewers, sink.sent_bytes) == (0, 0)
        with av.open(f"rtsp://127.0.0.1:{sink.port}/depth", options=PLAYER, timeout=5) as container:
            next(container.decode(video=0))
            assert sink.viewers == 1
            first = sink.sent_bytes
            assert first > 1000
            next(container.decode(video=0))
        until(lambda: sink.viewers == 0)
        assert sink.sent_bytes > first
        assert sink.dropped == 0
