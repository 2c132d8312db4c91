"""From a decoded picture to the network's input, and from its map back to the picture's size.

Resampling is separable: each axis has a small table of source indices and weights, kept per pair of sizes.
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil, sqrt

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from numpy.typing import NDArray

from engines.session import Image
from engines.spec import ModelSpec
from stream.errors import FrameSizeError
from stream.frame import Frame
from stream.light import SDR, Light, light_of, toned

Floats = NDArray[np.float32]

_VDA_MULTIPLE = 14
_VDA_LONGEST_SIDE = 1280
_LONGEST_NETWORK_SIDE = 4096
_CUBIC_A = -0.75
_WHITE, _SWSCALE_WHITE = 65535, 65283
"""In 16 bits, as they are and as libswscale gives them for pictures of limited range or of eight bits."""


def network_size(spec: ModelSpec, height: int, width: int, input_size: int | None = None) -> tuple[int, int]:
    """(height, width) of the network's input for frames of height × width pixels.

    spec: its own size where that is fixed. Models of multiple 14 follow Video Depth Anything: `input_size` is the
        shorter side, smaller for very long pictures. Others keep the frame's shape at about input_size² pixels.
    input_size: None takes the spec's default.
    Raises ValueError for sizes below 1, FrameSizeError where a very long frame would need a huge network.
    """
    size = spec.input_size if input_size is None else input_size
    if height < 1 or width < 1 or size < 1:
        raise ValueError(f"sizes start at 1: got a frame of {height}x{width} and input size {size}")
    if spec.height is not None:
        return spec.size
    if spec.multiple == _VDA_MULTIPLE:
        sides = _vda_size(height, width, size)
        if max(sides) > _LONGEST_NETWORK_SIDE:
            raise FrameSizeError(
                f"frames of {height}x{width} would need a network input of {sides[0]}x{sides[1]}, "
                f"{_LONGEST_NETWORK_SIDE} is the most: crop the video, or choose a smaller --input-size"
            )
        return sides
    scale = size / sqrt(height * width)
    return _to_multiple(scale * height, spec.multiple), _to_multiple(scale * width, spec.multiple)


def _vda_size(height: int, width: int, size: int) -> tuple[int, int]:
    ratio = max(height, width) / min(height, width)
    if ratio > 1.78:
        size = _to_multiple(int(size * 1.777 / ratio), _VDA_MULTIPLE)
    scale = max(size / height, size / width)
    return _vda_side(scale * height, size), _vda_side(scale * width, size)


def _vda_side(side: float, least: int) -> int:
    rounded = round(side / _VDA_MULTIPLE) * _VDA_MULTIPLE
    return rounded if rounded >= least else ceil(side / _VDA_MULTIPLE) * _VDA_MULTIPLE


def _to_multiple(side: float, multiple: int) -> int:
    return max(1, round(side / multiple)) * multiple


def write_image(
    picture: av.VideoFrame,
    spec: ModelSpec,
    out: Image,
    converter: VideoReformatter | None = None,
    light: Light | None = None,
) -> None:
    """Write a picture as the network wants it: RGB, resized as `spec.resample` says.

    picture: any pixel format, pixels of any aspect; alpha is ignored.
    out: one row of the network's input. float32 [3, H, W] receives (value/255 - mean) / std, uint8 [H, W, 3] the
        bytes themselves, as `spec.pixels` says.
    converter, light: see `to_rgb`.
    """
    height, width = out.shape[:2] if spec.pixels == "uint8" else out.shape[1:]
    planes: NDArray[np.uint8] | Floats
    if spec.resample == "area":
        planes = to_rgb(picture, height, width, converter, light).transpose(2, 0, 1)
    else:
        rgb = to_rgb(picture, *_within_limit(picture.height, picture.width), converter, light)
        planes = _resized_cubic(rgb, height, width)
    if spec.pixels == "uint8":
        np.copyto(out, np.clip(np.rint(planes), 0, 255).transpose(1, 2, 0), casting="unsafe")
        return
    mean, std = np.array([spec.mean, spec.std], np.float32)[:, :, None, None]
    np.copyto(out, planes)
    out *= np.float32(1 / 255) / std
    out -= mean / std


def _within_limit(height: int, width: int) -> tuple[int, int]:
    """The official tools shrink larger frames when reading them; a four-tap kernel alone would alias."""
    scale = min(1.0, _VDA_LONGEST_SIDE / max(height, width))
    return (height, width) if scale == 1 else (max(1, round(height * scale)), max(1, round(width * scale)))


def to_rgb(
    picture: av.VideoFrame,
    height: int,
    width: int,
    converter: VideoReformatter | None = None,
    light: Light | None = None,
) -> NDArray[np.uint8]:
    """uint8 [height, width, 3] RGB, for a screen of SDR: its own colour matrix and range, averaged when it shrinks.

    converter: keeps its tables from frame to frame; one for each stream saves their set-up.
    light: of the picture (`Frame.light`); None: as its tags say, for a picture that no other thread converts now.
    """
    light = light_of(picture) if light is None else light
    shrinks = height < picture.height or width < picture.width
    kernel = Interpolation.AREA if shrinks else Interpolation.BICUBIC
    matrix, full = colour_of(picture, light)
    converted = (converter or VideoReformatter()).reformat(
        picture,
        width,
        height,
        "rgb24" if light == SDR else "rgb48le",
        src_colorspace=matrix,
        src_color_range=full,
        dst_color_range=ColorRange.JPEG,
        interpolation=kernel | Interpolation.ACCURATE_RND,
        threads=1,
    )
    if light == SDR:
        return converted.to_ndarray().astype(np.uint8, copy=False)
    is_exact = full == ColorRange.JPEG and picture.format.components[0].bits > 8
    return toned(converted.to_ndarray().astype(np.uint16, copy=False), light, _WHITE if is_exact else _SWSCALE_WHITE)


def shown(frame: Frame, height: int, width: int, converter: VideoReformatter | None = None) -> NDArray[np.uint8]:
    """uint8 [height, width, 3] RGB of a frame's picture: `to_rgb`, told what the source knows of its light."""
    return to_rgb(frame.picture, height, width, converter, frame.light)


def colour_of(picture: av.VideoFrame, light: Light = SDR) -> tuple[Colorspace | None, ColorRange]:
    """Matrix and range a picture was coded with; None for RGB.

    Untagged pictures are taken for BT.709 from 720 lines or 1280 columns on, for BT.601 below, HDR for BT.2020; limited
    range.
    """
    if picture.format.is_rgb or picture.format.has_palette:
        return None, ColorRange.JPEG
    is_full = picture.color_range == ColorRange.JPEG or picture.format.name.startswith("yuvj")
    is_high_definition = picture.width >= 1280 or picture.height >= 720
    untagged = Colorspace.ITU709 if is_high_definition else Colorspace.ITU601
    if light.is_hdr:
        untagged = Colorspace.BT2020
    return _MATRICES.get(picture.colorspace, untagged), ColorRange.JPEG if is_full else ColorRange.MPEG


_MATRICES = {
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
    10: Colorspace.BT2020,
}
"""ITU-T H.273 matrix coefficients → libswscale's names."""


def _resized_cubic(rgb: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8] | Floats:
    """As OpenCV's INTER_CUBIC on floats: a = -0.75, half-pixel centres, replicated border, no antialiasing.

    Returns [3, height, width], values 0..255 and a little beyond.
    """
    rows, columns, _ = rgb.shape
    pixels: NDArray[np.uint8] | Floats = rgb
    if width != columns:
        lying = np.ascontiguousarray(rgb.transpose(1, 0, 2)).reshape(columns, rows * 3)
        wide = _gather(lying, *_cubic_taps(columns, width)).reshape(width, rows, 3)
        pixels = np.ascontiguousarray(wide.transpose(1, 0, 2))
    if height != rows:
        pixels = _gather(pixels.reshape(rows, width * 3), *_cubic_taps(rows, height)).reshape(height, width, 3)
    return pixels.transpose(2, 0, 1)


def _gather(rows: NDArray[np.uint8] | Floats, indices: NDArray[np.intp], weights: Floats) -> Floats:
    """Weighted sum of rows: float32 [n, C] from rows [m, C], indices and weights [taps, n]."""
    source = rows.astype(np.float32, copy=False)
    total: Floats = source.take(indices[0], axis=0)
    total *= weights[0][:, None]
    part = np.empty_like(total)
    for index, weight in zip(indices[1:], weights[1:], strict=True):
        source.take(index, axis=0, out=part, mode="clip")
        part *= weight[:, None]
        total += part
    return total


@lru_cache(maxsize=32)
def _cubic_taps(size: int, out_size: int) -> tuple[NDArray[np.intp], Floats]:
    centre = (np.arange(out_size) + 0.5) * (size / out_size) - 0.5
    first = np.floor(centre).astype(np.intp)
    x = centre - first
    a = _CUBIC_A
    outer = [((a * d - 5 * a) * d + 8 * a) * d - 4 * a for d in (x + 1, 2 - x)]
    inner = [((a + 2) * d - (a + 3)) * d * d + 1 for d in (x, 1 - x)]
    weights = np.stack([outer[0], inner[0], inner[1], outer[1]])
    indices = np.clip(first + np.arange(-1, 3)[:, None], 0, size - 1)
    return indices, weights.astype(np.float32)


def resize_map(depth: Floats, height: int, width: int) -> Floats:
    """Depth at another size: bilinear, corners aligned; float32 [h, w] → a new float32 [height, width]."""
    rows, columns = depth.shape
    sized = depth.astype(np.float32)
    if columns != width:
        turned = _gather(np.ascontiguousarray(sized.T), *_linear_taps(columns, width))
        sized = np.ascontiguousarray(turned.T)
    return _gather(sized, *_linear_taps(rows, height)) if rows != height else sized


@lru_cache(maxsize=32)
def _linear_taps(size: int, out_size: int) -> tuple[NDArray[np.intp], Floats]:
    place = np.arange(out_size) * ((size - 1) / max(1, out_size - 1))
    first = np.minimum(place.astype(np.intp), size - 1)
    x = (place - first).astype(np.float32)
    return np.stack([first, np.minimum(first + 1, size - 1)]), np.stack([1 - x, x])
