"""Network sizes, the network's input, and maps back at the frame's size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from av.video.reformatter import VideoReformatter
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from engines.spec import Resample
from stream.errors import FrameSizeError
from stream.preprocess import network_size, resize_map, to_rgb, write_image
from tests.fakes import picture, spec, textured

CASES = json.loads((Path(__file__).parent / "data" / "input_sizes.json").read_text())
VDA = spec(size=None, multiple=14, input_size=518, resample="cubic")
FREE = spec(size=None, multiple=32, input_size=222)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['frame']}@{case['input_size']}")
def test_network_size_is_the_official_one(case: dict[str, Any]) -> None:
    assert list(network_size(VDA, case["frame"][0], case["frame"][1], case["input_size"])) == case["network"]


@given(st.integers(1, 8000), st.integers(1, 8000), st.integers(1, 1000))
def test_free_sizes_are_multiples_of_about_the_area(height: int, width: int, side: int) -> None:
    got_height, got_width = network_size(FREE, height, width, side)
    assert got_height % 32 == got_width % 32 == 0
    assert min(got_height, got_width) >= 32
    shape = (side * side * height / width) ** 0.5, (side * side * width / height) ** 0.5
    assert all(got == 32 or abs(got - exact) <= 16 for got, exact in zip((got_height, got_width), shape, strict=True))


def test_default_size_of_the_embedded_model() -> None:
    assert network_size(FREE, 480, 640) == (192, 256)


def test_a_fixed_size_stays() -> None:
    assert network_size(spec(size=(28, 42)), 1080, 1920) == (28, 42)


def test_a_frame_that_would_need_a_huge_network_is_refused() -> None:
    with pytest.raises(FrameSizeError, match="crop the video"):
        network_size(VDA, 1, 8000)


def test_network_size_fails_below_one() -> None:
    with pytest.raises(ValueError, match="start at 1"):
        network_size(VDA, 0, 640)


def written(image: av.VideoFrame, size: tuple[int, int], resample: Resample = "cubic") -> NDArray[np.float32]:
    """The network's input with the normalisation undone: [3, H, W] in 0..1."""
    description = spec(size=size, resample=resample)
    out = np.empty((3, *size), np.float32)
    write_image(image, description, out)
    mean, std = np.array([description.mean, description.std], np.float32)[:, :, None, None]
    return np.asarray(out * std + mean, np.float32)


def noise(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(3).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize(
    ("size", "to"),
    [((48, 64), (70, 98)), ((120, 90), (70, 42)), ((37, 91), (14, 28)), ((1, 1), (14, 14)), ((5, 300), (14, 126))],
)
def test_cubic_resize_is_that_of_opencv(size: tuple[int, int], to: tuple[int, int]) -> None:
    """torch's bicubic has OpenCV's kernel (a = -0.75), centres and border."""
    image = noise(*size)
    tensor = torch.from_numpy(image.transpose(2, 0, 1)[None].astype(np.float32) / 255)
    expected = torch.nn.functional.interpolate(tensor, size=to, mode="bicubic", align_corners=False)[0].numpy()
    np.testing.assert_allclose(written(picture(image), to), expected, atol=2e-5)


def test_equal_sizes_pass_pixels_through() -> None:
    image = noise(70, 98)
    np.testing.assert_allclose(written(picture(image), (70, 98)), image.transpose(2, 0, 1) / 255, atol=1e-6)


def test_area_resize_averages() -> None:
    image = noise(64, 96)
    expected = image.reshape(32, 2, 48, 2, 3).mean(axis=(1, 3)).transpose(2, 0, 1) / 255
    np.testing.assert_allclose(written(picture(image), (32, 48), "area"), expected, atol=1.5 / 255)


def test_large_frames_are_shrunk_before_the_cubic_kernel() -> None:
    """Fine stripes turn gray instead of aliasing."""
    stripes = np.zeros((20, 2560, 3), np.uint8)
    stripes[:, ::2] = 255
    assert np.abs(written(picture(stripes), (14, 1274))[:, :, 30:-30] - 0.5).max() < 0.03


@pytest.mark.parametrize("resample", ["area", "cubic"])
def test_bytes_are_the_same_picture(resample: Resample) -> None:
    source = picture(noise(48, 64))
    out = np.empty((70, 98, 3), np.uint8)
    write_image(source, spec(size=(70, 98), resample=resample, pixels="uint8"), out)
    exact = np.clip(255 * written(source, (70, 98), resample), 0, 255).transpose(1, 2, 0)
    np.testing.assert_allclose(out, exact, atol=0.51)


@pytest.mark.parametrize("name", ["yuv420p", "yuv420p10le", "yuva420p", "yuvj444p", "gray", "rgba", "gbrp", "bgr24"])
def test_any_pixel_format_gives_rgb(name: str) -> None:
    image = np.full((32, 48, 3), (200, 120, 40), np.uint8)
    if name == "gray":
        image[:] = 120
    source = picture(image).reformat(format=name)
    np.testing.assert_allclose(to_rgb(source, 32, 48), image, atol=4)


@pytest.mark.parametrize(("matrix", "red"), [("ITU601", (81, 90, 240)), ("ITU709", (63, 102, 240))])
def test_tagged_matrix_is_used(matrix: str, red: tuple[int, int, int]) -> None:
    source = av.VideoFrame.from_ndarray(_planes(red, 16, 16), format="yuv420p")
    source.colorspace = 1 if matrix == "ITU709" else 6
    np.testing.assert_allclose(to_rgb(source, 16, 16)[4, 4], (255, 0, 0), atol=3)


def test_untagged_small_pictures_are_bt601_and_large_ones_bt709() -> None:
    small = av.VideoFrame.from_ndarray(_planes((81, 90, 240), 16, 16), format="yuv420p")
    large = av.VideoFrame.from_ndarray(_planes((63, 102, 240), 720, 16), format="yuv420p")
    np.testing.assert_allclose(to_rgb(small, 16, 16)[4, 4], (255, 0, 0), atol=3)
    np.testing.assert_allclose(to_rgb(large, 720, 16)[4, 4], (255, 0, 0), atol=3)


def test_full_range_is_respected() -> None:
    source = av.VideoFrame.from_ndarray(_planes((20, 128, 128), 16, 16), format="yuv420p")
    source.color_range = 2
    np.testing.assert_allclose(to_rgb(source, 16, 16)[4, 4], (20, 20, 20), atol=1)


def _planes(yuv: tuple[int, int, int], height: int, width: int) -> NDArray[np.uint8]:
    y, u, v = yuv
    luma = np.full(height * width, y, np.uint8)
    chroma = [np.full(height * width // 4, value, np.uint8) for value in (u, v)]
    return np.concatenate([luma, *chroma]).reshape(height * 3 // 2, width)


@pytest.mark.parametrize(
    ("size", "to"), [((14, 28), (100, 77)), ((192, 256), (480, 640)), ((50, 60), (20, 31)), ((1, 7), (5, 1))]
)
def test_resize_map_is_bilinear_with_aligned_corners(size: tuple[int, int], to: tuple[int, int]) -> None:
    depth = np.random.default_rng(5).random(size, np.float32)
    tensor = torch.from_numpy(depth)[None, None]
    expected = torch.nn.functional.interpolate(tensor, size=to, mode="bilinear", align_corners=True)[0, 0].numpy()
    np.testing.assert_allclose(resize_map(depth, *to), expected, atol=2e-5)


def test_resize_map_copies_at_equal_size() -> None:
    depth = np.ones((4, 5), np.float32)
    got = resize_map(depth, 4, 5)
    assert not np.shares_memory(got, depth)
    np.testing.assert_array_equal(got, depth)


def test_a_shared_converter_changes_nothing() -> None:
    converter, first, second = VideoReformatter(), np.empty((3, 28, 42), np.float32), np.empty((3, 28, 42), np.float32)
    for seed in (1, 2):
        source = picture(textured(seed)).reformat(format="yuv420p")
        write_image(source, spec(), first, converter)
        write_image(source, spec(), second)
        np.testing.assert_array_equal(first, second)
