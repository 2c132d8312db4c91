"""The Python functions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import depthcast
from tests.tiny import make_clip, tiny_network


def test_every_public_name_is_there() -> None:
    for name in depthcast.__all__:
        assert getattr(depthcast, name) is not None
    assert dir(depthcast) == sorted(depthcast.__all__)


def test_other_names_fail() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = depthcast.nothing


def test_estimate_yields_depth_of_each_frame(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mkv", frames=5)
    got = list(depthcast.estimate(clip, checkpoint=tiny_network(tmp_path), max_frames=4))
    assert [depth.frame.index for depth in got] == [0, 1, 2, 3]
    assert all(depth.depth.shape == (48, 64) for depth in got)
    assert [depth.reset for depth in got] == [True, False, False, False]
    assert got[0].unit is depthcast.Unit.RELATIVE


def test_the_packaged_model_looks_both_ways_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("depthcast.plan.PACKAGED_NANO", tiny_network(tmp_path))
    clip = make_clip(tmp_path / "clip.mkv", frames=5)
    got = list(depthcast.estimate(clip, mode="offline", input_size=64))
    assert [depth.frame.index for depth in got] == [0, 1, 2, 3, 4]
    assert all(depth.depth.shape == (48, 64) for depth in got)


def test_estimators_share_a_model(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    with depthcast.open_model(48, 64, checkpoint=tiny_network(tmp_path)) as model:
        first, second = depthcast.DepthEstimator(model), depthcast.DepthEstimator(model)
        assert np.array_equal(first.step_array(image).depth, second.step_array(image).depth)


@pytest.mark.parametrize(("model", "message"), [("VDA-Tiny", "unknown model"), ("VDA-Small", "depthcast pull")])
def test_models_that_are_not_there_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, message: str
) -> None:
    monkeypatch.setenv("DEPTHCAST_HOME", str(tmp_path))
    with pytest.raises(depthcast.DepthcastError, match=message):
        depthcast.open_model(48, 64, model)
