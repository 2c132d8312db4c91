"""A streaming network in offline mode."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from engines.session import Cache, StepPlan
from engines.spec import WindowRule
from engines.window import FeatureWindow
from stream.offline import offline
from stream.sources.synthetic import SyntheticSource
from stream.twoway import TwoWaySession
from tests.fakes import FakeCache, FakeSession, clip, spec

SHORT = WindowRule((2, 1, 0), young="mask", first_alone=False)
FRAMES = 7


class Closed(FakeSession):
    """Remembers that it was closed."""

    closed = False

    def close(self) -> None:
        self.closed = True


class Counting(FakeSession):
    """Depth is the number of cached frames a step has seen."""

    def step(self, cache: Cache, plans: Sequence[StepPlan | None]) -> NDArray[np.float32]:
        assert isinstance(cache, FakeCache)
        (plan,) = plans
        assert plan is not None
        return np.full((1, *self.spec.size), plan.mask[:-1].sum(), np.float32)


def pictures(count: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).random((count, 3, 28, 42), np.float32)


def streamed(images: NDArray[np.float32]) -> NDArray[np.float32]:
    session = FakeSession(spec(window=SHORT))
    cache, window = session.new_cache(), FeatureWindow(SHORT)
    maps = []
    for image in images:
        cache.image[0] = image
        maps.append(session.step(cache, [window.plan()])[0])
    return np.stack(maps)


def test_a_map_is_the_mix_of_both_directions_by_the_frames_each_has_seen() -> None:
    images = pictures(FRAMES)
    got = TwoWaySession(FakeSession(spec(window=SHORT)), FRAMES).run(images)
    forwards, backwards = streamed(images), streamed(images[::-1])[::-1]
    for t in range(FRAMES):
        seen, to_come = min(t, 2) + 1, min(FRAMES - 1 - t, 2) + 1
        wanted = (seen * forwards[t] + to_come * backwards[t]) / (seen + to_come)
        np.testing.assert_allclose(got[t], wanted, rtol=1e-5)


def test_every_window_starts_anew_in_both_directions() -> None:
    session = TwoWaySession(Counting(spec(window=SHORT)), FRAMES)
    first, second = session.run(pictures(FRAMES)), session.run(pictures(FRAMES))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first[[0, 3, 6], 0, 0], [1.5, 2.0, 1.5])


def test_a_window_played_backwards_gives_the_maps_backwards() -> None:
    images = pictures(FRAMES)
    session = TwoWaySession(FakeSession(spec(window=SHORT)), FRAMES)
    np.testing.assert_allclose(session.run(images), session.run(images[::-1])[::-1], rtol=1e-5)


def test_it_serves_offline_mode_and_closes_the_session_behind_it() -> None:
    behind = Closed(spec(window=SHORT))
    with TwoWaySession(behind, 32) as session:
        assert (session.spec.kind, session.spec.frames) == ("window", 32)
        assert len(list(offline(SyntheticSource(28, 42, frames=40), session))) == 40
    assert behind.closed


class Noting(TwoWaySession):
    """Keeps what each window gave."""

    def __init__(self) -> None:
        super().__init__(FakeSession(spec(window=SHORT)), 32)
        self.windows: list[NDArray[np.float32]] = []

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        self.windows.append(super().run(images))
        return self.windows[-1]


def test_windows_of_a_streaming_network_are_joined_as_they_are() -> None:
    """Fitting each onto the one before by two frames that stand out of order moved whole windows: it flickered more."""
    session = Noting()
    got = [one.depth for one in offline(clip(70, height=28, width=42), session)]
    first, second, third = session.windows[:3]
    for frame, wanted in ((0, first[0]), (23, first[23]), (32, second[10]), (45, second[23]), (54, third[10])):
        np.testing.assert_allclose(got[frame], wanted, rtol=1e-6)
    # Between them they are mixed, from the older to the newer.
    for step in (0, 3, 7):
        wanted = first[24 + step] + (second[2 + step] - first[24 + step]) * np.float32(step / 7)
        np.testing.assert_allclose(got[24 + step], wanted, rtol=1e-5)
