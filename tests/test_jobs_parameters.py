"""The eight parameters: what is taken, what is refused, and in which words."""

from __future__ import annotations

from fractions import Fraction

import pytest

from depthcast.service.jobs.parameters import ParameterError, Parameters, parse
from stream.colour import Colormap
from stream.sinks.file import Resolution

URL = "https://host/in.mp4"


def test_all_of_them_are_read() -> None:
    sent = {
        "video_url": URL,
        "depth_model": "VDA-Small",
        "colormap": "turbo",
        "resolution": "480p",
        "max_frames": 7,
        "output_fps": 29.97,
        "side_by_side": True,
        "include_raw_depths": True,
        "prompt": "ignored",
    }
    assert parse(sent) == Parameters(
        URL, "VDA-Small", Colormap.TURBO, Resolution.P480, 7, Fraction(2997, 100), True, True
    )


def test_null_is_as_though_it_had_been_left_out() -> None:
    names = ("depth_model", "colormap", "resolution", "max_frames", "output_fps", "side_by_side", "include_raw_depths")
    assert parse({"video_url": URL, **dict.fromkeys(names)}) == Parameters(URL, "VDA-Large")


def test_an_upload_needs_no_address() -> None:
    assert parse({}, uploaded=True).video_url is None


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("video_url", None, "video_url is required"),
        ("video_url", 5, "video_url must be the address of a video"),
        ("depth_model", "VDA-Huge", "depth_model must be one of VDA-Small, VDA-Base, VDA-Large"),
        ("colormap", "pink", "colormap must be one of grayscale, turbo, inferno, magma, viridis"),
        ("colormap", ["turbo"], "colormap must be one of grayscale, turbo, inferno, magma, viridis"),
        ("resolution", "4k", "resolution must be one of auto, 360p, 480p, 720p, 1080p"),
        ("max_frames", 0, "max_frames must be a whole number from 1 on"),
        ("max_frames", 1.5, "max_frames must be a whole number from 1 on"),
        ("max_frames", True, "max_frames must be a whole number from 1 on"),
        ("max_frames", "7", "max_frames must be a whole number from 1 on"),
        ("max_frames", 10**400, "max_frames must be a whole number from 1 on"),
        ("output_fps", 0, "output_fps must be a number from 0.01 to 240"),
        ("output_fps", -25, "output_fps must be a number from 0.01 to 240"),
        ("output_fps", 1e300, "output_fps must be a number from 0.01 to 240"),
        ("output_fps", 10**400, "output_fps must be a number from 0.01 to 240"),
        ("output_fps", False, "output_fps must be a number from 0.01 to 240"),
        ("side_by_side", "true", "side_by_side must be true or false"),
        ("include_raw_depths", 1, "include_raw_depths must be true or false"),
    ],
)
def test_what_cannot_be_meant_is_refused(name: str, value: object, words: str) -> None:
    with pytest.raises(ParameterError) as refused:
        parse({"video_url": URL, name: value})
    assert str(refused.value) == words


def test_a_whole_number_may_be_written_as_a_float() -> None:
    assert parse({"video_url": URL, "max_frames": 7.0}).max_frames == 7
