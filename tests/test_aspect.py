"""Pixels that are not square: what is seen, what is written, what the camera makes of it."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from fractions import Fraction
from math import tan
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from depthcast.cli import status_of
from depthcast.sensing import Sensing, refinement_of, seen_through
from engines.spec import Unit
from stream.aspect import believed, display_size, stored_size
from stream.camera import Camera, Intrinsics, Lens, LensModel
from stream.estimator import DepthEstimator
from stream.frame import DepthFrame, DisplayRange, Frame
from stream.pipeline import run
from stream.pointcloud import CloudRule, cloud_of
from stream.preprocess import network_size, to_rgb
from stream.recorded import read
from stream.refine import refined
from stream.sinks import Sink
from stream.sinks.gray16 import Gray16Sink
from stream.sinks.npz import NpzSink
from stream.sinks.observation import jpeg
from stream.sinks.picture import Painter
from stream.sinks.stills import StillsSink
from stream.sinks.video import VideoSink
from stream.sources.choose import open_source
from stream.sources.file import FileSource
from stream.uris import parse_source
from tests.fakes import FakeSession, spec
from tests.webfiles import served_files

PAL = Fraction(64, 45)
"""Of 720x576 shown at 16:9."""
STORED = (144, 180)
"""(height, width): a quarter of it each way; shown as 144x256."""
SHOWN = (144, 256)


def disc(height: int, width: int, aspect: Fraction) -> NDArray[np.uint8]:
    """Uint8 [height, width, 3]: a white disc that is round once it is shown."""
    rows, columns = np.mgrid[:height, :width].astype(float)
    shown_height, shown_width = display_size(height, width, aspect)
    down, across = shown_height / height, shown_width / width
    radius = np.hypot((rows + 0.5 - height / 2) * down, (columns + 0.5 - width / 2) * across)
    return np.repeat(np.where(radius < min(shown_height, shown_width) / 3, 235, 16)[..., None], 3, axis=2).astype(
        np.uint8
    )


def write_disc(
    path: Path,
    aspect: Fraction,
    size: tuple[int, int] = STORED,
    codec: str = "libx264",
    rotation: int = 0,
    count: int = 3,
) -> Path:
    image = disc(*size, aspect)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.sample_aspect_ratio = aspect
        if rotation:
            stream.set_display_rotation(rotation)
        for _ in range(count):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def extent(bright: NDArray[np.bool_]) -> tuple[int, int]:
    """(height, width) of what is bright."""
    rows, columns = np.nonzero(bright)
    return int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1


def assert_round(image: NDArray[np.uint8]) -> None:
    height, width = extent(image[..., 0] > 120)
    assert abs(height - width) <= 2
    assert height > 40


def deep(frames: Iterator[Frame] | FileSource) -> list[DepthFrame]:
    """Depth of two metres where it is bright, of eight elsewhere."""
    frames_of_depth = []
    for frame in frames:
        image = to_rgb(frame.picture, *frame.size)
        depth = np.where(image[..., 0] > 120, 2, 8).astype(np.float32)
        frames_of_depth.append(DepthFrame(frame, depth, Unit.METRE, DisplayRange(2, 8), frame.index == 0))
    return frames_of_depth


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "a.ts", "a.h264", "a.avi"])
def test_pictures_are_shown_in_their_shape(tmp_path: Path, name: str) -> None:
    with FileSource(write_disc(tmp_path / name, PAL)) as source:
        assert (source.info.height, source.info.width) == SHOWN
        assert source.info.aspect == PAL
        for frame in source:
            assert frame.size == SHOWN
            assert frame.picture.width == 180
            assert_round(to_rgb(frame.picture, *frame.size))


def test_a_stream_is_shown_in_its_shape(tmp_path: Path) -> None:
    write_disc(tmp_path / "a.ts", PAL)
    with served_files(tmp_path) as address, open_source(parse_source(f"{address}/a.ts")) as source:
        frames = list(source)
        assert (source.info.height, source.info.width, source.info.aspect) == (*SHOWN, PAL)
    assert [frame.size for frame in frames] == [SHOWN] * 3


def test_mpeg2_says_it_by_the_shape_of_the_screen(tmp_path: Path) -> None:
    with FileSource(write_disc(tmp_path / "a.mpg", PAL, (576, 720), "mpeg2video")) as source:
        assert (source.info.height, source.info.width) == (576, 1024)


def test_a_turned_picture_has_turned_pixels(tmp_path: Path) -> None:
    clip = write_disc(tmp_path / "a.mp4", PAL, rotation=90)
    with FileSource(clip) as source:
        info = source.info
        assert info.aspect == 1 / PAL
        assert (info.height, info.width) == (256, 144)
        assert stored_size(info.height, info.width, info.aspect) == (180, 144)
        assert_round(to_rgb(next(iter(source)).picture, 256, 144))


def test_the_network_sees_the_shape_that_is_shown(tmp_path: Path) -> None:
    with FileSource(write_disc(tmp_path / "a.mp4", PAL, (576, 720), count=1)) as source:
        (frame,) = source
    open_spec = spec(size=None, multiple=32, input_size=256)
    assert network_size(open_spec, *frame.size) == network_size(open_spec, 576, 1024) == (192, 352)


def test_video_keeps_its_pixels_and_says_their_aspect(tmp_path: Path) -> None:
    out = tmp_path / "o.mp4"
    with FileSource(write_disc(tmp_path / "a.mp4", PAL)) as source:
        run(source, DepthEstimator(FakeSession()).step, [VideoSink(out, source.info)])
    with av.open(str(out)) as container:
        video = container.streams.video[0]
        assert (video.height, video.width, video.sample_aspect_ratio) == (*STORED, PAL)
    assert b"pasp\0\0\0\x40\0\0\0\x2d" in out.read_bytes()


def test_side_by_side_has_square_pixels(tmp_path: Path) -> None:
    out = tmp_path / "o.mp4"
    with FileSource(write_disc(tmp_path / "a.mp4", PAL)) as source:
        run(source, DepthEstimator(FakeSession()).step, [VideoSink(out, source.info, side_by_side=True)])
    with FileSource(out) as source:
        assert (source.info.height, source.info.width, source.info.aspect) == (144, 512, Fraction(1))
        assert_round(to_rgb(next(iter(source)).picture, 144, 512)[:, :256])


def test_a_turned_video_is_written_with_turned_pixels(tmp_path: Path) -> None:
    out = tmp_path / "o.mp4"
    with FileSource(write_disc(tmp_path / "a.mp4", PAL, rotation=90)) as source:
        run(source, DepthEstimator(FakeSession()).step, [VideoSink(out, source.info)])
    with FileSource(out) as source:
        assert (source.info.height, source.info.width, source.info.aspect) == (256, 144, 1 / PAL)


def test_what_is_shown_live_has_square_pixels(tmp_path: Path) -> None:
    with FileSource(write_disc(tmp_path / "a.mp4", PAL)) as source:
        painter = Painter(source.info, side_by_side=True)
        frames = deep(source)
    assert painter.size == (144, 512)
    image = painter.rgb(frames[0])
    assert_round(image[:, :256])
    assert_round(image[:, 256:])
    with av.open(_file(tmp_path / "a.jpg", jpeg(frames[0].frame))) as container:
        (still,) = container.decode(video=0)
    assert (still.height, still.width) == SHOWN


def _file(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return str(path)


def test_recordings_of_maps(tmp_path: Path) -> None:
    """Matroska keeps the pixels and says their aspect; the camera fits them. All else has square pixels."""
    source = FileSource(write_disc(tmp_path / "a.mp4", PAL))
    sensing = Sensing(camera=Camera(fov_degrees=70))
    sinks: list[Sink] = [
        Gray16Sink(tmp_path / "o.mkv", source.info),
        NpzSink(tmp_path / "o.npz", source.info, "fake"),
        StillsSink(tmp_path / "%03d.png"),
    ]
    with source:
        run(source, refined(DepthEstimator(FakeSession()).step, refinement_of(sensing, source.info)), sinks)
    focal = 256 / 2 / tan(np.radians(35))
    for path in (tmp_path / "o.npz", tmp_path / "%03d.png"):
        recorded = next(read(path))
        assert recorded.depth.shape == SHOWN
        assert recorded.intrinsics is not None
        assert (recorded.intrinsics.fx, recorded.intrinsics.fy) == pytest.approx((focal, focal))
    kept = next(read(tmp_path / "o.mkv"))
    assert kept.depth.shape == STORED
    assert kept.aspect == PAL
    assert kept.intrinsics is not None
    assert (kept.intrinsics.fx, kept.intrinsics.fy) == pytest.approx((focal / float(PAL), focal))


def test_matroska_stays_whole_when_the_aspect_is_written(tmp_path: Path) -> None:
    for name, aspect in (("a", Fraction(1)), ("b", PAL), ("c", Fraction(1, 2)), ("d", Fraction(3481, 3000))):
        with FileSource(write_disc(tmp_path / f"{name}.mp4", aspect)) as source:
            run(source, DepthEstimator(FakeSession()).step, [Gray16Sink(tmp_path / f"{name}.mkv", source.info)])
        data = (tmp_path / f"{name}.mkv").read_bytes()
        start = data.index(b"\x16\x54\xae\x6b", data.index(b"\x16\x54\xae\x6b") + 4)
        length = int.from_bytes(data[start + 4 : start + 6]) & 0x3FFF
        content = data[start + 6 : start + 6 + length]
        assert content[:2] == b"\xbf\x84"
        assert content[2:6] == zlib.crc32(content[6:]).to_bytes(4, "little")
        with av.open(str(tmp_path / f"{name}.mkv")) as container:
            stated = container.streams.video[0].sample_aspect_ratio or Fraction(1)
            assert float(stated) == pytest.approx(float(aspect), rel=1e-3)
            assert len(list(container.decode(video=0))) == 3


def test_a_cloud_is_not_squeezed(tmp_path: Path) -> None:
    with FileSource(write_disc(tmp_path / "a.mp4", PAL)) as source:
        info = source.info
        frame = deep(source)[0]
    for camera in (
        Camera(fov_degrees=70),
        Camera(Intrinsics(144, 180, 90.0 / float(PAL), 90.0, 89.5, 71.5)),
        Camera(Intrinsics(288, 512, 180.0, 180.0, 255.5, 143.5)),
    ):
        refined_frame = refinement_of(Sensing(camera=camera), info).apply(frame)
        points = cloud_of(refined_frame, CloudRule(edge_degrees=90)).points
        near = points[points[..., 2] < 3]
        across, down = np.ptp(near[:, 0]), np.ptp(near[:, 1])
        assert across == pytest.approx(down, rel=0.04)
        assert refined_frame.intrinsics is not None
        assert refined_frame.intrinsics.fx == pytest.approx(refined_frame.intrinsics.fy, rel=1e-6)


def test_clouds_of_a_recording_are_not_squeezed(tmp_path: Path) -> None:
    with FileSource(write_disc(tmp_path / "a.mp4", PAL)) as source:
        sink = Gray16Sink(tmp_path / "o.mkv", source.info)
        for frame in deep(source):
            sink.write(frame)
        sink.close()
    (tmp_path / "clouds").mkdir()
    words = ["pointcloud", str(tmp_path / "o.mkv"), "-o", str(tmp_path / "clouds/%d.ply"), "--camera", "fov=70"]
    assert status_of([*words, "--frame", "0"]) == 0
    lines = (tmp_path / "clouds/0.ply").read_bytes()
    body = lines[lines.index(b"end_header\n") + 11 :]
    points = np.frombuffer(body, "<f4").reshape(-1, 3)
    near = points[points[:, 2] < 3]
    assert np.ptp(near[:, 0]) == pytest.approx(np.ptp(near[:, 1]), rel=0.04)


def test_a_lens_is_straightened_in_square_pixels(tmp_path: Path) -> None:
    lens = Lens(LensModel.PLUMB_BOB, (1e-9, 0.0, 0.0, 0.0, 0.0))
    camera = Camera(Intrinsics(144, 180, 90.0 / float(PAL), 90.0, 89.5, 71.5, lens))
    source = FileSource(write_disc(tmp_path / "a.mp4", PAL))
    with seen_through(source, Sensing(camera=camera, undistort=True)) as straightened:
        for frame in straightened:
            assert frame.size == (frame.picture.height, frame.picture.width) == SHOWN
            assert_round(to_rgb(frame.picture, *frame.size))


def test_an_aspect_that_changes_is_followed(tmp_path: Path) -> None:
    clips = [write_disc(tmp_path / f"{index}.ts", aspect) for index, aspect in enumerate((Fraction(16, 15), PAL))]
    joined = tmp_path / "a.ts"
    joined.write_bytes(b"".join(clip.read_bytes() for clip in clips))
    with FileSource(joined) as source:
        frames = list(source)
    assert frames[0].size == (144, 192)
    assert frames[-1].size == SHOWN


@pytest.mark.parametrize(
    ("stated", "aspect"),
    [
        (None, 1),
        (Fraction(0), 1),
        (Fraction(1), 1),
        (Fraction(1, 1000), 1),
        (Fraction(1000), 1),
        (Fraction(-64, 45), 1),
        (Fraction(5), 1),
        (Fraction(32, 11), Fraction(32, 11)),
        (Fraction(1, 2), Fraction(1, 2)),
    ],
)
def test_absurd_aspects_are_not_believed(stated: Fraction | None, aspect: Fraction) -> None:
    assert believed(stated) == aspect


@pytest.mark.parametrize(
    ("stored", "aspect", "shown"),
    [
        ((576, 720), PAL, (576, 1024)),
        ((576, 720), Fraction(16, 15), (576, 768)),
        ((480, 720), Fraction(8, 9), (540, 720)),
        ((480, 720), Fraction(32, 27), (480, 853)),
        ((1080, 1440), Fraction(4, 3), (1080, 1920)),
        ((1080, 960), Fraction(2), (1080, 1920)),
        ((480, 854), Fraction(1280, 1281), (480, 854)),
        ((240, 426), Fraction(640, 639), (240, 426)),
        ((1088, 1920), Fraction(136, 135), (1088, 1920)),
    ],
)
def test_sizes_in_square_pixels(stored: tuple[int, int], aspect: Fraction, shown: tuple[int, int]) -> None:
    assert display_size(*stored, aspect) == shown
    assert stored_size(*shown, aspect) == stored


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tiff"])
def test_the_resolution_in_print_of_a_still_is_none_of_its_shape(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    Image.fromarray(disc(*STORED, Fraction(1))).save(path, dpi=(204, 98))
    with FileSource(path) as source:
        assert (source.info.height, source.info.width, source.info.aspect) == (*STORED, Fraction(1))


def test_absurd_aspects_of_files(tmp_path: Path) -> None:
    with FileSource(write_disc(tmp_path / "a.h264", Fraction(1, 1000))) as source:
        assert (source.info.height, source.info.width) == STORED
