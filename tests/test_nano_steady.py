"""Measures of steadiness on hand-made cases, and the validation clips on a small network that knows nothing."""

from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch

from benchmarks.nano_choice import longer
from depthcast.models import PACKAGED_NANO
from export.nano import failures, validation
from export.nano.data import pick_frames
from export.nano.deployed import opener
from export.nano.evaluate import Streaming
from export.nano.model import SLOTS, WINDOW, NanoNetwork
from export.nano.steady import (
    aligned_depth,
    back_and_forth,
    drift,
    frames_to_recover,
    static_flicker,
    static_pixels,
)
from export.nano.validation import Clip, after_cuts, measure, on_clips, over_time, validation_clips

RAMP = np.linspace(0.2, 2.0, 48, dtype=np.float32).reshape(6, 8)


def repeated(frames: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.repeat(RAMP[None], frames, 0)


def test_one_scale_and_shift_for_the_whole_clip() -> None:
    inverse = repeated(4)
    np.testing.assert_allclose(aligned_depth(3 * inverse + 1, inverse), 1 / inverse, rtol=1e-4)
    breathing = inverse * np.array([1, 2, 1, 2], np.float32)[:, None, None]
    depth = aligned_depth(breathing, inverse)
    assert np.abs(depth * inverse - 1).mean() > 0.2  # fitted frame by frame this would vanish


def test_far_and_unknown_places_are_bounded() -> None:
    inverse = repeated(2)
    inverse[:, 0] = 0.0
    maps = inverse.copy()
    maps[:, 0] = -5.0
    depth = aligned_depth(maps, inverse)
    assert float(depth.max()) == pytest.approx(80.0)
    np.testing.assert_allclose(depth[:, 1:], 1 / inverse[:, 1:], rtol=1e-4)


def test_static_pixels_are_those_that_stay() -> None:
    inverse = repeated(3)
    inverse[1, 2, 3] *= 1.1
    inverse[:, 0, 0] = 0.0
    static = static_pixels(inverse)
    assert not static[2, 3]
    assert not static[0, 0]
    assert static.sum() == 46


def test_flicker_is_the_median_relative_change() -> None:
    depth = np.ones((3, 6, 8), np.float32)
    everywhere = np.ones((6, 8), np.bool_)
    assert static_flicker(depth, everywhere) == 0.0
    depth[1] = 1.02
    assert static_flicker(depth, everywhere) == pytest.approx((0.02 + 0.02 / 1.02) / 2, rel=1e-3)
    depth[:, 0, 0] = (1, 5, 1)
    assert static_flicker(depth, everywhere) < 0.021  # a median: one pixel does not matter


def test_back_and_forth() -> None:
    assert back_and_forth(4, 9) == [0, 1, 2, 3, 2, 1, 0, 1, 2]


def test_drift_by_hand() -> None:
    assert drift([1, 2, 3] * 5, 3) == pytest.approx(0.0)
    assert drift([9.0, 9.0, 1.0, 1.0, 1.1, 1.1], 2) == pytest.approx(0.1)


def test_recovery_by_hand() -> None:
    fresh = [0.1] * 6
    assert frames_to_recover([0.1] * 6, fresh) == 0
    assert frames_to_recover([0.3, 0.2, 0.108, 0.1, 0.1, 0.1], fresh) == 2
    assert frames_to_recover([0.3, 0.1, 0.1, 0.2, 0.1, 0.1], fresh) == 4  # falls back once more
    assert frames_to_recover([0.3] * 6, fresh) == 6


def test_frames_that_get_through() -> None:
    rng = Random(0)
    drawn = [pick_frames(rng, 16, 8) for _ in range(200)]
    assert all(len(each) == 8 and each == sorted(set(each)) and each[-1] < 16 for each in drawn)
    dropped = [each for each in drawn if each[-1] - each[0] > 7]
    assert 20 < len(dropped) < 120
    assert pick_frames(rng, 8, 8) == list(range(8))


def tiny(name: str = "room.tripod") -> Clip:
    rgb = np.random.default_rng(0).integers(0, 255, (12, 32, 64, 3), dtype=np.uint8)
    inverse = np.repeat(np.linspace(0.1, 1, 32, dtype=np.float32)[None, :, None], 12, 0).repeat(64, 2)
    return Clip(name, rgb, inverse)


def test_a_perfect_stream_measures_as_perfect() -> None:
    found = measure(tiny().inverse * 2 + 1, tiny())
    assert found.per_clip.abs_rel == pytest.approx(0, abs=1e-4)
    assert found.per_frame.delta1 == found.per_clip.delta1 == 1.0
    assert found.flicker == 0.0
    assert measure(tiny().inverse, tiny("room.walk")).flicker is None


def test_an_untrained_network_goes_through_all_measures() -> None:
    torch.manual_seed(0)
    network, clips = NanoNetwork().eval(), [tiny(), tiny("desk.walk")]

    def begin() -> Streaming:
        return Streaming(network, 32, 64)

    figures = on_clips(begin, clips)
    assert figures["stream.per_frame.abs_rel"] == pytest.approx(
        figures["frame.per_frame.abs_rel"]
    )  # memory still empty
    assert figures["flicker_ratio"] == pytest.approx(1.0)
    assert over_time(begin, clips[1], frames=70)["level_change"] == pytest.approx(0, abs=0.05)
    assert after_cuts(begin, clips) == {"cuts": 2, "median_frames": 0.0, "most_frames": 0.0}


def test_validation_clips_are_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "KINDS", {"stairs": None})
    first = validation_clips(tmp_path, 24, 32)
    assert [clip.name for clip in first] == ["stairs.handheld", "stairs.walk", "stairs.tripod"]
    stamps = [path.stat().st_mtime_ns for path in sorted(tmp_path.iterdir())]
    again = validation_clips(tmp_path, 24, 32)
    assert stamps == [path.stat().st_mtime_ns for path in sorted(tmp_path.iterdir())]
    assert all(np.array_equal(a.rgb, b.rgb) for a, b in zip(first, again, strict=True))
    assert first[2].tripod


def test_failures_show_the_worst_clip_of_each_kind_first() -> None:
    torch.manual_seed(0)
    network = NanoNetwork().eval()
    found = failures.worst(
        lambda: Streaming(network, 32, 64), [tiny("room.walk"), tiny("room.tripod"), tiny("desk.walk")], 5
    )
    assert len(found) == 2
    assert found[0][0] >= found[1][0]
    assert found[0][1].shape == (3 * 32, 64, 3)


def test_a_longer_window_takes_the_first_frames_as_the_trained_one_does() -> None:
    torch.manual_seed(1)
    network = NanoNetwork().eval()
    for module in network.temporal:
        torch.nn.init.normal_(module.temporal_transformer.proj_out.weight, std=0.3)  # type: ignore[union-attr, arg-type]
    wide = longer(network, 16)
    shapes, image = network.cache_shapes(32, 64), torch.randn(1, 3, 32, 64)
    with torch.no_grad():
        more = 16 - WINDOW
        first = [torch.randn(1, cells, SLOTS, channels) for cells, channels in shapes]
        padded = [torch.cat((torch.zeros_like(c[:, :, :1]).expand(-1, -1, more, -1), c), 2) for c in first]
        short = network.forward_step(image, torch.arange(WINDOW)[None], torch.ones(1, WINDOW), *first)
        mask = (torch.arange(16) >= more).float()[None]
        long = wide.forward_step(image, torch.arange(16)[None], mask, *padded)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(short, long, strict=True))


def test_the_file_that_ships_is_measured_as_a_stream() -> None:
    begin = opener(PACKAGED_NANO, 64, 96)
    frames = torch.from_numpy(np.random.default_rng(0).integers(0, 255, (3, 64, 96, 3), dtype=np.uint8))
    stream, alone = begin(), begin()
    maps = [stream(frame) for frame in frames]
    assert maps[0].shape == (64, 96)
    assert np.array_equal(maps[0], alone(frames[0]))
    assert not np.array_equal(maps[2], begin()(frames[2]))
