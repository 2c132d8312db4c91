"""The eight parameters of a depth video: what they may be, checked when the work begins, as the hosted model does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from fractions import Fraction
from math import isfinite
from typing import Any, TypeVar

from stream.colour import Colormap
from stream.sinks.file import Resolution

DEPTH_MODELS = ("VDA-Small", "VDA-Base", "VDA-Large")
DEFAULT_DEPTH_MODEL = "VDA-Large"
_MOST_FRAMES = 10_000_000
_RATES = (0.01, 240.0)

Choice = TypeVar("Choice", bound=StrEnum)


class ParameterError(ValueError):
    """A parameter that cannot be what was meant. The message is one for the client."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """What a client asked for. video_url: None where the video was uploaded."""

    video_url: str | None
    depth_model: str = DEFAULT_DEPTH_MODEL
    colormap: Colormap = Colormap.GRAYSCALE
    resolution: Resolution = Resolution.AUTO
    max_frames: int | None = None
    output_fps: Fraction | None = None
    side_by_side: bool = False
    include_raw_depths: bool = False


_KNOWN = frozenset(field.name for field in fields(Parameters)) | {"prompt", "response_format"}
_LARGEST_KNOWN, _LARGEST_UNKNOWN = 8192, 1024
"""Bytes as JSON: of what is meant, and of what is only kept to be shown again."""


def kept(sent: Mapping[str, Any]) -> dict[str, Any]:
    """What of a request is stored, and returned with every row: unknown fields as far as they are small.

    Raises ParameterError where the known ones are too large.
    """
    found = {name: value for name, value in sent.items() if name in _KNOWN}
    if (size := _size(found)) > _LARGEST_KNOWN:
        raise ParameterError(f"the parameters have {size:,} bytes, at most {_LARGEST_KNOWN:,} are taken")
    left = _LARGEST_UNKNOWN
    for name, value in sent.items():
        if name not in _KNOWN and (size := _size({name: value})) <= left:
            found[name] = value
            left -= size
    return found


def _size(value: object) -> int:
    return len(json.dumps(value))


def parse(sent: Mapping[str, Any], uploaded: bool = False) -> Parameters:
    """Read what was sent; null is as though it had been left out, what is not known is ignored.

    Raises ParameterError.
    """
    given = {name: value for name, value in sent.items() if value is not None}
    return Parameters(
        video_url=None if uploaded else _url(given.get("video_url")),
        depth_model=_one_of("depth_model", given.get("depth_model", DEFAULT_DEPTH_MODEL), DEPTH_MODELS),
        colormap=_choice("colormap", given, Colormap.GRAYSCALE),
        resolution=_choice("resolution", given, Resolution.AUTO),
        max_frames=_frames(given.get("max_frames")),
        output_fps=_rate(given.get("output_fps")),
        side_by_side=_flag("side_by_side", given),
        include_raw_depths=_flag("include_raw_depths", given),
    )


def _url(value: object) -> str:
    if value is None:
        raise ParameterError("video_url is required")
    if not isinstance(value, str) or not value:
        raise ParameterError("video_url must be the address of a video")
    return value


def _one_of(name: str, value: object, choices: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in choices:
        raise ParameterError(f"{name} must be one of {', '.join(choices)}")
    return value


def _choice(name: str, given: Mapping[str, Any], default: Choice) -> Choice:
    choices = type(default)
    return choices(_one_of(name, given.get(name, default.value), tuple(choice.value for choice in choices)))


def _frames(value: object) -> int | None:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MOST_FRAMES:
        raise ParameterError("max_frames must be a whole number from 1 on")
    return value


def _rate(value: object) -> Fraction | None:
    if value is None:
        return None
    lowest, highest = _RATES
    if isinstance(value, bool) or not isinstance(value, int | float) or not lowest <= value <= highest:
        raise ParameterError(f"output_fps must be a number from {lowest:g} to {highest:g}")
    assert isfinite(value)
    # As it is written: 29.97 is not the nearest binary number.
    return Fraction(str(value))


def _flag(name: str, given: Mapping[str, Any]) -> bool:
    value = given.get(name, False)
    if not isinstance(value, bool):
        raise ParameterError(f"{name} must be true or false")
    return value
