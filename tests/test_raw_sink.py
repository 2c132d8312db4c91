"""Raw depth to subscribers: newest wins, one encode, a WebSocket for each client."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from benchmarks.raw import measure
from depthcast.service.app import create_app
from depthcast.service.raw import raw_router
from depthcast.service.server import serving
from engines.spec import Unit
from stream.clock import UnixClock
from stream.frame import DepthFrame
from stream.raw.codec import decode
from stream.raw.header import Kind
from stream.sinks import Watched
from stream.sinks.raw import RawSink
from tests.fakes import ListSource, depth_frame, frame

INFO = replace(ListSource([frame(np.zeros((4, 6, 3), np.uint8))]).info, live=True)


def shown(index: int, height: int = 4, width: int = 6) -> DepthFrame:
    depth: NDArray[np.float32] = np.random.default_rng(index).uniform(1, 9, (height, width)).astype(np.float32)
    return depth_frame(depth, index, Unit.METRE)


def test_the_newest_message_wins_and_drops_are_counted() -> None:
    sink, told = RawSink(INFO), []
    quick, slow = sink.subscribe(lambda: told.append(1)), sink.subscribe(lambda: None)
    taken = []
    for index in range(3):
        sink.write(shown(index))
        taken.append(quick.take())
    assert [decode(message).header.pts for message in taken if message] == [0, 1, 2]
    assert len(told) == 3
    newest = slow.take()
    assert newest is not None
    assert (decode(newest).header.pts, decode(newest).header.sequence) == (2, 2)
    assert slow.take() is None
    assert (quick.dropped, slow.dropped, sink.dropped) == (0, 2, 2)
    assert isinstance(sink, Watched)
    assert sink.sent_bytes == sum(len(message or b"") for message in [*taken, newest])
    slow.close()
    slow.close()
    assert (sink.viewers, sink.dropped) == (1, 2)
    assert sink.sent_bytes == sum(len(message or b"") for message in [*taken, newest])


def test_every_subscriber_gets_the_same_bytes() -> None:
    sink = RawSink(INFO, Kind.FLOAT32, (0.5, 9.0))
    subscriptions = [sink.subscribe(lambda: None) for _ in range(3)]
    sink.write(shown(0))
    first, *others = [one.take() for one in subscriptions]
    assert first is not None
    assert all(other is first for other in others)
    assert np.array_equal(decode(first).values, shown(0).depth)
    assert decode(first).header.limits == (0.5, 9.0)


def test_what_nobody_hears_is_counted_in_the_sequence() -> None:
    sink = RawSink(INFO)
    sink.write(shown(0))
    listener = sink.subscribe(lambda: None)
    sink.write(shown(1))
    message = listener.take()
    assert message is not None
    assert decode(message).header.sequence == 1


def test_the_end_is_told_to_those_who_listen_and_those_who_come_later() -> None:
    sink, told = RawSink(INFO), []
    listener = sink.subscribe(lambda: told.append(1))
    sink.close()
    sink.abort()
    assert listener.ended
    assert told
    assert sink.subscribe(lambda: None).ended


def test_live_frames_carry_wall_time_and_those_of_files_their_own() -> None:
    live = UnixClock(True, unix_ns=lambda: 10**18, monotonic_ns=lambda: 5)
    assert live.stamp_ns(replace(shown(0).frame, captured_ns=105)) == 10**18 + 100
    assert UnixClock(False).stamp_ns(shown(3).frame) == 10**8


def received(client: ClientConnection) -> int:
    """The time of the next message."""
    message = client.recv(timeout=20, decode=False)
    assert isinstance(message, bytes)
    return decode(message).header.pts


def wait_for(sink: RawSink, subscribers: int) -> None:
    """Until so many listen."""
    ready = threading.Event()
    for _ in range(400):
        if sink.viewers == subscribers:
            return
        ready.wait(0.02)
    pytest.fail(f"{sink.viewers} subscribers, {subscribers} expected")


def test_clients_come_see_frames_and_go() -> None:
    sink = RawSink(INFO)
    with serving(create_app(raw_router("/raw", sink)), "127.0.0.1", 0) as url:
        place = url.replace("http", "ws") + "/raw"
        with connect(place, compression=None, max_size=None) as one, connect(place, compression=None) as other:
            wait_for(sink, 2)
            for index in range(3):
                sink.write(shown(index))
                assert [received(client) for client in (one, other)] == [index, index]
            other.send("hello")
            sink.write(shown(3))
            assert received(other) == 3
        wait_for(sink, 0)


def test_a_client_that_does_not_read_misses_frames_and_delays_nobody() -> None:
    sink = RawSink(INFO)
    with serving(create_app(raw_router("/raw", sink)), "127.0.0.1", 0) as url:
        place = url.replace("http", "ws") + "/raw"
        slow = connect(place, compression=None, max_size=None, max_queue=1)
        with slow, connect(place, compression=None, max_size=None) as quick:
            wait_for(sink, 2)
            noise = shown(0, 600, 1200)
            for index in range(40):
                sink.write(replace(noise, frame=replace(noise.frame, pts=index)))
                assert received(quick) == index
            assert sink.dropped > 5
            times = [received(slow)]
            while times[-1] < 39:
                times.append(received(slow))
            assert times == sorted(times)
            assert len(times) < 40


def test_a_token_is_asked_for_where_there_is_one() -> None:
    sink = RawSink(INFO)
    with serving(create_app(raw_router("/raw", sink, "s3cret")), "127.0.0.1", 0) as url:
        place = url.replace("http", "ws") + "/raw"
        for refused in (place, place + "?token=other"):
            with pytest.raises(InvalidStatus) as answer:
                connect(refused)
            assert answer.value.response.status_code == 403
        with connect(place + "?token=s3cret"), connect(place, additional_headers={"Authorization": "Bearer s3cret"}):
            wait_for(sink, 2)


def test_pages_of_other_sites_may_not_listen_in() -> None:
    sink = RawSink(INFO)
    with serving(create_app(raw_router("/raw", sink)), "127.0.0.1", 0) as url:
        place = url.replace("http", "ws") + "/raw"
        for origin in ("https://evil.example", "null", "http://["):
            with pytest.raises(InvalidStatus), connect(place, origin=Origin(origin)):
                pass
        with connect(place, origin=Origin(url)):
            wait_for(sink, 1)


def test_one_client_too_many_is_sent_away_and_the_end_is_said() -> None:
    sink = RawSink(INFO)
    with serving(create_app(raw_router("/raw", sink, most_clients=1)), "127.0.0.1", 0) as url:
        place = url.replace("http", "ws") + "/raw"
        with connect(place) as one:
            wait_for(sink, 1)
            with connect(place) as other, pytest.raises(ConnectionClosed) as refused:
                other.recv(timeout=20)
            assert refused.value.rcvd is not None
            assert refused.value.rcvd.code == 1013
            sink.close()
            with pytest.raises(ConnectionClosed) as ended:
                one.recv(timeout=20)
            assert ended.value.rcvd is not None
            assert ended.value.rcvd.code == 1001


def test_the_benchmark_measures_another_process() -> None:
    measured = measure(48, 64, rate=100, frames=20, values=Kind.UINT16, noise_m=0.003)
    assert measured.dropped < 20
    for p50, p95 in (measured.encode_ms, measured.decode_ms, measured.end_to_end_ms):
        assert 0 < p50 <= p95
    assert 0 < measured.codec_share < 1
    assert measured.message_kb > 1
