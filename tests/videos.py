"""Small video files made on the spot."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

RATE = Fraction(30)


def gray_levels(count: int, height: int = 48, width: int = 64) -> list[NDArray[np.uint8]]:
    """Images [H, W, 3] that can be told apart: frame i has level 5i + 5 above, and a bright left half below."""
    images = []
    for index in range(count):
        image = np.full((height, width, 3), 5 * index + 5, np.uint8)
        image[height // 2 :, : width // 2] = 235
        images.append(image)
    return images


def write_video(
    path: Path,
    images: Sequence[NDArray[np.uint8]],
    *,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    time_base: Fraction = 1 / RATE,
    pts: Sequence[int] | None = None,
    rotation: int = 0,
    sound_s: float = 0,
    sound_codec: str = "aac",
    options: dict[str, str] | None = None,
) -> Path:
    """A file of these images; pts in units of time_base; rotation in degrees counter-clockwise; a 440 Hz tone."""
    height, width, _ = images[0].shape
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=RATE, options=options or {})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        stream.codec_context.time_base = time_base
        if rotation:
            stream.set_display_rotation(rotation)
        sound = container.add_stream(sound_codec, rate=48000) if sound_s else None
        for index, image in enumerate(images):
            picture = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pixel_format)
            picture.pts, picture.time_base = index if pts is None else pts[index], time_base
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
        if sound is not None:
            assert isinstance(sound, av.AudioStream)
            for tone in _tone(sound_s):
                container.mux(sound.encode(tone))
            container.mux(sound.encode(None))
    return path


def write_sound(path: Path, codec: str = "pcm_s16le") -> Path:
    """A file without pictures."""
    with av.open(str(path), "w") as container:
        sound = container.add_stream(codec, rate=48000)
        assert isinstance(sound, av.AudioStream)
        for tone in _tone(0.5):
            container.mux(sound.encode(tone))
        container.mux(sound.encode(None))
    return path


def _tone(seconds: float) -> list[av.AudioFrame]:
    wave = (8000 * np.sin(2 * np.pi * 440 * np.arange(round(48000 * seconds)) / 48000)).astype(np.int16)
    tones = []
    for start in range(0, len(wave), 1000):
        tone = av.AudioFrame.from_ndarray(wave[None, start : start + 1000], format="s16", layout="mono")
        tone.sample_rate, tone.pts, tone.time_base = 48000, start, Fraction(1, 48000)
        tones.append(tone)
    return tones
