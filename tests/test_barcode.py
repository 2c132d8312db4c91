"""Numbers in pictures: through scaling and a real encoder, and nothing read where nothing is."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from stream.barcode import draw, read
from stream.preprocess import to_rgb
from stream.sources.synthetic import SyntheticSource


@pytest.mark.parametrize("number", [0, 1, 2**24 - 1, 0xA5A5A5])
@pytest.mark.parametrize("size", [(90, 128), (120, 160), (480, 640), (97, 131)])
def test_what_is_drawn_is_read(number: int, size: tuple[int, int]) -> None:
    image = np.full((*size, 3), 100, np.uint8)
    draw(image, number)
    assert read(image) == number


def test_numbers_begin_again_after_24_bits() -> None:
    image = np.zeros((120, 160, 3), np.uint8)
    draw(image, 2**24 + 7)
    assert read(image) == 7


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_plain_picture_holds_no_number(level: int) -> None:
    assert read(np.full((120, 160, 3), level, np.uint8)) is None


def test_a_damaged_number_is_not_read() -> None:
    image = np.zeros((120, 160, 3), np.uint8)
    draw(image, 1234)
    image[:5, :5] = 255 - image[:5, :5]
    assert read(image) is None


def test_pictures_too_small_are_refused() -> None:
    assert read(np.zeros((20, 30, 3), np.uint8)) is None
    with pytest.raises(ValueError, match="128 columns"):
        draw(np.zeros((96, 127, 3), np.uint8), 1)


def test_numbers_survive_h264_at_half_the_size(tmp_path: Path) -> None:
    scene = SyntheticSource(240, 320, frames=40)
    with av.open(tmp_path / "scene.mp4", "w") as container:
        video = container.add_stream("libx264", Fraction(30), options={"preset": "ultrafast", "crf": "30"})
        video.height, video.width, video.pix_fmt = 120, 160, "yuv420p"
        for frame in scene:
            container.mux(video.encode(frame.picture.reformat(160, 120, "yuv420p")))
        container.mux(video.encode(None))
    with av.open(tmp_path / "scene.mp4") as container:
        assert [read(to_rgb(one, 120, 160)) for one in container.decode(video=0)] == list(range(40))


def test_the_scene_knows_its_depth() -> None:
    """Every pixel of the box, and none else, is where the picture shows it."""
    scene = SyntheticSource(90, 120)
    near, far = scene.depth(30), scene.depth(90)
    assert near.shape == (90, 120)
    assert near.dtype == np.float32
    assert (near == 2).sum() > 3 * (far == 4).sum() > 0
    image, previous = scene.render(30), scene.render(0)
    assert len(np.unique(image[near == 2], axis=0)) == 1
    assert not np.array_equal(image, previous)
