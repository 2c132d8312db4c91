"""WebRTC out with aiortc as viewer: in order, several at once on one encode, late, refused, left."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.rtc import numbers, shown


@pytest.fixture(autouse=True)
def no_thread_stays() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(5)
        assert not thread.is_alive(), thread.name


def test_a_viewer_sees_the_scene_in_order() -> None:
    with shown() as output:
        seen = numbers(output.url)
    assert None not in seen
    assert seen == sorted(set(seen))  # type: ignore[type-var]


def test_three_viewers_share_one_encode() -> None:
    seen: dict[int, list[int | None]] = {}
    with shown() as output:

        def look(place: int) -> None:
            seen[place] = numbers(output.url, 40)

        viewers = [threading.Thread(target=look, args=(place,)) for place in range(3)]
        for viewer in viewers:
            viewer.start()
        for viewer in viewers:
            viewer.join()
        encoded = output.sink.audience.encoded
    every = [number for one in seen.values() for number in one if number is not None]
    assert encoded <= max(every) - min(every) + 30 < 3 * 40
    for one in seen.values():
        assert len(one) == 40
        assert None not in one
        assert one == sorted(set(one))  # type: ignore[type-var]
