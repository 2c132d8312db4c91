"""Offline mode against the official implementation, and its parts against arithmetic."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.spec import Unit
from export.config import CONFIGS
from export.describe import vda_spec
from export.graph import VdaWindow
from export.reference import TorchWindowSession
from stream.frame import Frame
from stream.offline import Joined, crossfade, fit, offline
from stream.sources.synthetic import SyntheticSource
from tests.fakes import FakeWindowSession, clip, frame, spec
from tests.standin import golden, network


@pytest.mark.slow
@pytest.mark.parametrize(("name", "metric"), [("offline_vits_70x98", False), ("offline_metric_vits_70x98", True)])
def test_offline_is_the_official_one(name: str, metric: bool) -> None:
    wanted = golden(name)
    frames = [frame(image, number) for number, image in enumerate(wanted["frames"])]
    description = vda_spec(CONFIGS["VDA-Small"], metric=metric, size=(70, 98), weights_sha256="", kind="window")
    session = TorchWindowSession(VdaWindow(network("VDA-Small"), 70, 98), description)
    error = np.abs(np.stack([one.depth for one in offline(frames, session)]) - wanted["depth"])
    assert error.max() <= 2e-3
    assert error.mean() <= 1e-4


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 120))
def test_every_frame_gets_one_map_in_order(count: int) -> None:
    source = SyntheticSource(28, 42, frames=count)
    got = list(offline(source, FakeWindowSession()))
    assert [one.frame.index for one in got] == list(range(count))
    assert [one.reset for one in got] == [True] + [False] * (count - 1)


def test_no_frames_give_no_maps() -> None:
    assert list(offline([], FakeWindowSession())) == []


def windows_of(count: int) -> list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    """Mean of every input of every window; frame i of the clip has gray level 3i."""
    session = FakeWindowSession(spec(kind="window", size=(14, 14)))
    gray = [frame(np.full((14, 14, 3), 3 * index, np.uint8), index) for index in range(count)]
    list(offline(gray, session))
    red = [(window[:, 0].mean(axis=(1, 2)) * 0.229 + 0.485) * 255 / 3 for window in session.windows]
    return [np.asarray(values, np.float32) for values in red]


def test_windows_repeat_key_frames_and_pad_with_the_last() -> None:
    first, second, third = windows_of(50)
    np.testing.assert_allclose(first, np.arange(32), atol=0.01)
    np.testing.assert_allclose(second, [0, 12, *range(24, 32), *range(32, 50), *[49] * 4], atol=0.01)
    np.testing.assert_allclose(third[:10], [0, 34, *range(46, 50), *[49] * 4], atol=0.01)
    np.testing.assert_allclose(third[10:], 49, atol=0.01)


@pytest.mark.parametrize(("count", "windows"), [(1, 1), (24, 1), (25, 2), (32, 2), (46, 2), (47, 3)])
def test_no_window_runs_that_changes_nothing(count: int, windows: int) -> None:
    assert len(windows_of(count)) == windows


def test_relative_windows_are_brought_to_one_scale() -> None:
    frames = clip(76, height=28, width=42)
    session = FakeWindowSession()
    joined = np.stack([one.depth for one in offline(frames, session)])
    plain = FakeWindowSession()
    first = plain.run(session.windows[0])
    np.testing.assert_allclose(joined[:24], first[:24], rtol=1e-5)
    everything = np.concatenate([session.windows[0], *(window[10:] for window in session.windows[1:])])[:76]
    np.testing.assert_allclose(joined, everything.mean(axis=1) + 10, atol=2e-3)


def test_metric_windows_keep_their_scale() -> None:
    frames = clip(40, height=28, width=42)
    session = FakeWindowSession(spec(kind="window", unit=Unit.METRE))
    joined = [one.depth for one in offline(frames, session)]
    np.testing.assert_allclose(joined[-1], (session.windows[1][17].mean(axis=0) + 10) * 1.5 + 1, rtol=1e-5)


def test_frames_are_taken_no_further_ahead_than_a_window() -> None:
    taken = 0

    def counted(frames: Iterable[Frame]) -> Iterator[Frame]:
        nonlocal taken
        for one in frames:
            taken += 1
            yield one

    endless = offline(counted(SyntheticSource(28, 42, Fraction(30))), FakeWindowSession())
    assert max(taken - next(endless).frame.index for _ in range(200)) <= 32


def test_offline_fails_with_a_window_of_another_length() -> None:
    with pytest.raises(ValueError, match="32 frames"):
        next(offline(clip(3), FakeWindowSession(spec(kind="step"))))


def test_fit_recovers_scale_and_shift() -> None:
    maps = np.random.default_rng(0).random((2, 6, 7), np.float32)
    assert fit(maps, 3 * maps - 2) == pytest.approx((3, -2), abs=1e-5)


def test_fit_of_a_constant_only_shifts() -> None:
    assert fit(np.full((2, 3, 3), 4, np.float32), np.full((2, 3, 3), 9, np.float32)) == (1.0, 5.0)


def test_crossfade_goes_from_one_to_the_other() -> None:
    old, new = np.zeros((8, 1, 1), np.float32), np.ones((8, 1, 1), np.float32)
    np.testing.assert_allclose(crossfade(old, new)[:, 0, 0], np.arange(8) / 7, rtol=1e-6)


def test_joined_maps_are_never_negative() -> None:
    joined, rng = Joined(fits=True), np.random.default_rng(0)
    joined.add(rng.random((32, 4, 4), np.float32), is_last=False)
    assert joined.add(rng.normal(size=(32, 4, 4)).astype(np.float32), is_last=True).min() >= 0
