"""HDR, wide gamut and odd curves: code values are compared with what the standards' formulas give, computed here."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from numpy.typing import NDArray
from PIL import Image, ImageCms

from engines.spec import Unit
from stream.frame import DepthFrame, DisplayRange
from stream.light import SDR, light_of
from stream.preprocess import shown, to_rgb, write_image
from stream.sinks.observation import jpeg
from stream.sinks.picture import Painter
from stream.sources.choose import open_source
from stream.sources.file import FileSource
from stream.uris import parse_source
from tests.fakes import spec
from tests.webfiles import served_files

BT709, UNSPECIFIED, GAMMA22, GAMMA28, SMPTE170M, LINEAR, SRGB, BT2020_10, PQ, HLG = 1, 2, 4, 5, 6, 8, 13, 14, 16, 18
BT470BG, BT2020, P3 = 5, 9, 12
"""ITU-T H.273, tables 2 and 3."""
P3_TO_SRGB = ((1.22494, -0.22494, 0.0), (-0.04206, 1.04206, 0.0), (-0.01964, -0.07864, 1.09827))
BT2020_TO_BT709 = ((1.6605, -0.5876, -0.0728), (-0.1246, 1.1329, -0.0083), (-0.0182, -0.1006, 1.1187))
"""The latter: ITU-R BT.2087, M2 inverted."""


def pq(nits: float) -> float:
    """SMPTE ST 2084, equation 5.2."""
    y = (nits / 10000) ** (2610 / 4096 / 4)
    return float(((3424 / 4096 + 2413 / 4096 * 32 * y) / (1 + 2392 / 4096 * 32 * y)) ** (2523 / 4096 * 128))


def pq_inverse(code: float) -> float:
    y = code ** (1 / (2523 / 4096 * 128))
    return float(10000 * (max(y - 3424 / 4096, 0) / (2413 / 4096 * 32 - 2392 / 4096 * 32 * y)) ** (1 / (2610 / 16384)))


def compressed(nits: float, peak: float = 1000.0) -> float:
    """Rep. ITU-R BT.2390, 5.4.1: the display of 203 cd/m² that shows a master of `peak`."""
    e1, most = min(pq(nits) / pq(peak), 1), pq(203) / pq(peak)
    ks = 1.5 * most - 0.5
    if e1 < ks:
        return nits
    t = (e1 - ks) / (1 - ks)
    e2 = (2 * t**3 - 3 * t**2 + 1) * ks + (t**3 - 2 * t**2 + t) * (1 - ks) + (-2 * t**3 + 3 * t**2) * most
    return pq_inverse(e2 * pq(peak))


def srgb(light: float) -> float:
    """IEC 61966-2-1, 0..255."""
    light = min(max(light, 0.0), 1.0)
    return 255 * (12.92 * light if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055)


def srgb_inverse(code: float) -> float:
    return float(code / 12.92 if code <= 0.04045 else ((code + 0.055) / 1.055) ** 2.4)


def hlg_nits(code: float) -> float:
    """Grey of this code on the reference display of BT.2100, table 5."""
    scene = code**2 / 3 if code <= 0.5 else (np.exp((code - 0.55991073) / 0.17883277) + 0.28466892) / 12
    return float(1000 * scene**1.2)


def in_ten_bits(code: float) -> float:
    return round(876 * code) / 876


def write_greys(path: Path, codes: list[float], transfer: int, primaries: int = BT2020, matrix: int = 9) -> Path:
    """One frame of patches of 16 columns, 10 bits, limited range, lossless; tagged in the container."""
    luma = np.repeat(np.rint(64 + 876 * np.array(codes)).astype(np.uint16), 16)
    height, width = 16, len(luma)
    planes = np.concatenate([np.tile(luma, height), np.full(height * width // 2, 512, np.uint16)])
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p10le"
        context = stream.codec_context
        context.color_trc, context.color_primaries, context.colorspace = transfer, primaries, matrix
        context.color_range = ColorRange.MPEG
        picture = av.VideoFrame.from_ndarray(planes.reshape(height * 3 // 2, width), format="yuv420p10le")
        container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def patches(path: Path) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """The middles of the patches [N, 3] as they are shown, and what the source tells of itself."""
    with FileSource(path) as source:
        (frame,) = source
        notes = source.info.notes
    return shown(frame, *frame.size)[8, 8::16].astype(np.int64), notes


def rgb_picture(colours: list[tuple[float, float, float]], transfer: int, primaries: int) -> av.VideoFrame:
    image = np.rint(65535 * np.repeat(np.array(colours)[None], 4, axis=0)).astype(np.uint16)
    picture = av.VideoFrame.from_ndarray(image, format="rgb48le")
    picture.color_trc, picture.color_primaries = transfer, primaries
    return picture


def converted(linear: NDArray[np.float64], matrix: tuple[tuple[float, ...], ...]) -> NDArray[np.float64]:
    return np.array([[srgb(value) for value in np.array(matrix) @ colour] for colour in linear])


NITS = [0, 0.5, 1, 5, 10, 26, 50, 80, 100, 203, 400, 600, 1000, 4000]


def test_pq_is_shown_as_light(tmp_path: Path) -> None:
    seen, notes = patches(write_greys(tmp_path / "a.mkv", [pq(nits) for nits in NITS], PQ))
    expected = [srgb(compressed(pq_inverse(in_ten_bits(pq(nits)))) / 203) for nits in NITS]
    for channel in range(3):
        assert seen[:, channel] == pytest.approx(expected, abs=1)
    # As they are in the file, the code values would be far from it.
    assert abs(255 * pq(400) - expected[10]) > 60
    assert notes == (
        "the pictures are HDR (PQ); they are tone-mapped to SDR (ITU-R BT.2390, white at 203 cd/m²) for the network "
        "and for what is shown",
    )


def test_what_is_dark_keeps_its_light(tmp_path: Path) -> None:
    """Below the knee nothing is compressed: 50 cd/m² are 50/203 of white."""
    seen, _ = patches(write_greys(tmp_path / "a.mkv", [pq(50)], PQ))
    assert seen[0, 0] == pytest.approx(255 * (1.055 * (50 / 203) ** (1 / 2.4) - 0.055), abs=1.2)


def test_hlg_is_shown_as_on_its_display(tmp_path: Path) -> None:
    codes = [0.0, 0.1, 0.25, 0.38, 0.5, 0.62, 0.75, 0.9, 1.0]
    seen, notes = patches(write_greys(tmp_path / "a.mkv", codes, HLG))
    expected = [srgb(compressed(hlg_nits(in_ten_bits(code))) / 203) for code in codes]
    for channel in range(3):
        assert seen[:, channel] == pytest.approx(expected, abs=1)
    # BT.2408: the white of graphics is at 75 % of HLG, 203 cd/m².
    assert hlg_nits(0.75) == pytest.approx(203, abs=1)
    assert "HLG" in notes[0]


def test_hdr_of_a_stream_is_told(tmp_path: Path) -> None:
    write_greys(tmp_path / "a.mkv", [pq(50)], PQ)
    with served_files(tmp_path) as address, open_source(parse_source(f"{address}/a.mkv")) as source:
        (frame,) = source
        assert any("tone-mapped" in note for note in source.info.notes)
    assert frame.light is not None
    assert frame.light.is_hdr


@pytest.mark.parametrize("matrix", [UNSPECIFIED, 9])
def test_hdr_is_bt2020_where_it_does_not_say(tmp_path: Path, matrix: int) -> None:
    seen, _ = patches(write_greys(tmp_path / "a.mkv", [pq(26), pq(80)], PQ, UNSPECIFIED, matrix))
    assert seen[:, 1] == pytest.approx([srgb(26 / 203), srgb(80 / 203)], abs=1.5)


def test_colours_of_hdr() -> None:
    """Colours of BT.2020 in PQ, below the knee."""
    nits = np.array([[40.0, 20.0, 10.0], [10.0, 30.0, 60.0], [30.0, 60.0, 30.0]])
    picture = rgb_picture([(pq(r), pq(g), pq(b)) for r, g, b in nits], PQ, BT2020)
    assert to_rgb(picture, 4, 3)[2] == pytest.approx(converted(nits / 203, BT2020_TO_BT709), abs=1.5)


def test_hues_stay_where_hdr_is_compressed() -> None:
    """Red, green and blue are scaled as the largest of them is."""
    nits = np.array([[900.0, 700.0, 500.0]])
    scale = compressed(900.0) / 900.0
    picture = rgb_picture([(pq(900), pq(700), pq(500))], PQ, BT709)
    picture.color_primaries = BT709
    expected = [srgb(value * scale / 203) for value in nits[0]]
    assert to_rgb(picture, 4, 1)[2, 0] == pytest.approx(expected, abs=1.5)


def test_metadata_say_how_bright_it_gets(tmp_path: Path) -> None:
    """The content's own peak (MaxCLL) sets where compression begins and ends."""
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            "libsvtav1", rate=25, options={"svtav1-params": "content-light=4000,400:lp=1", "preset": "10", "crf": "1"}
        )
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width, stream.pix_fmt = 64, 64, "yuv420p10le"
        context = stream.codec_context
        context.color_trc, context.color_primaries, context.colorspace = PQ, BT2020, 9
        context.color_range = ColorRange.MPEG
        luma = np.full((64, 64), round(64 + 876 * pq(1000)), np.uint16)
        planes = np.concatenate([luma, np.full((32, 64), 512, np.uint16)])
        container.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p10le")))
        container.mux(stream.encode(None))
    with FileSource(path) as source:
        (frame,) = source
    assert frame.light is not None
    assert frame.light.peak_nits == 4000
    assert shown(frame, 64, 64)[32, 32, 0] == pytest.approx(srgb(compressed(1000, 4000) / 203), abs=2)


def test_wide_gamut_of_sdr() -> None:
    codes = [(1.0, 0.0, 0.0), (0.5, 0.5, 0.5), (0.8, 0.4, 0.3), (0.2, 0.6, 0.5), (1.0, 1.0, 1.0)]
    linear = np.array([[srgb_inverse(value) for value in colour] for colour in codes])
    p3 = to_rgb(rgb_picture(codes, SRGB, P3), 4, 5)[2]
    assert p3 == pytest.approx(converted(linear, P3_TO_SRGB), abs=1.1)
    assert p3[0].tolist() == [255, 0, 0]
    assert p3[1].tolist() == [128, 128, 128]
    for transfer in (BT709, BT2020_10, UNSPECIFIED):
        bt2020 = to_rgb(rgb_picture(codes, transfer, BT2020), 4, 5)[2]
        assert bt2020 == pytest.approx(converted(linear, BT2020_TO_BT709), abs=1.1)


@pytest.mark.parametrize(
    ("transfer", "linear"),
    [
        (GAMMA22, lambda code: code**2.2),
        (GAMMA28, lambda code: code**2.8),
        (LINEAR, lambda code: code),
        (9, lambda code: 10 ** (2 * (code - 1)) if code else 0.0),
        (17, lambda code: code**2.6 * 52.37 / 48),
    ],
)
def test_other_curves(tmp_path: Path, transfer: int, linear: Callable[[float], float]) -> None:
    codes = [0.0, 0.02, 0.1, 0.3, 0.5, 0.8, 1.0]
    seen, notes = patches(write_greys(tmp_path / "a.mkv", codes, transfer, BT709, BT709))
    assert seen[:, 0] == pytest.approx([srgb(linear(in_ten_bits(code))) for code in codes], abs=1)
    assert "converted" in notes[0]


def test_a_png_of_gamma_22_is_one_of_srgb() -> None:
    """That is how PNG says sRGB where it has no chunk for it: gAMA 45455."""
    assert light_of(rgb_picture([(0.1, 0.2, 0.3)], GAMMA22, BT709)) == SDR


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv420p10le", "yuv444p12le", "rgb24", "yuvj420p", "nv12", "gray"])
@pytest.mark.parametrize(
    ("transfer", "primaries"),
    [(BT709, BT709), (UNSPECIFIED, UNSPECIFIED), (SMPTE170M, SMPTE170M), (BT709, BT470BG), (SRGB, BT709), (7, 7)],
)
def test_sdr_is_not_touched(pixels: str, transfer: int, primaries: int) -> None:
    """Byte for byte what libswscale makes of it."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (48, 64, 3), np.uint8)
    picture = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pixels)
    picture.color_trc, picture.color_primaries = transfer, primaries
    assert light_of(picture) == SDR
    is_rgb, is_full = pixels == "rgb24", pixels in ("rgb24", "yuvj420p")
    plain = VideoReformatter().reformat(
        picture,
        40,
        30,
        "rgb24",
        src_colorspace=None if is_rgb else Colorspace.ITU601,
        src_color_range=ColorRange.JPEG if is_full else ColorRange.MPEG,
        dst_color_range=ColorRange.JPEG,
        interpolation=Interpolation.AREA | Interpolation.ACCURATE_RND,
        threads=1,
    )
    np.testing.assert_array_equal(to_rgb(picture, 30, 40), plain.to_ndarray())


def icc(columns: list[tuple[float, float, float]], curve: bytes, name: str = "Display P3") -> bytes:
    """A profile of version 4: red, green and blue at D50 and one curve for all."""
    tags = {
        b"desc": b"mluc\0\0\0\0"
        + struct.pack(">IIHHII", 1, 12, 0x656E, 0x5553, 2 * len(name), 28)
        + name.encode("utf-16-be"),
        b"rTRC": curve,
        b"gTRC": curve,
        b"bTRC": curve,
    }
    for tag, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns, strict=True):
        tags[tag] = b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(65536 * value) for value in column))
    table, body = struct.pack(">I", len(tags)), b""
    for tag, content in tags.items():
        table += struct.pack(">4sII", tag, 128 + 4 + 12 * len(tags) + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    size = 128 + len(table) + len(body)
    head = struct.pack(">I4s4s4s4s4s12x4s", size, b"none", b"\4\0\0\0", b"mntr", b"RGB ", b"XYZ ", b"acsp")
    return head.ljust(128, b"\0") + table + body


P3_COLUMNS = [(0.5151, 0.2412, -0.0011), (0.2920, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841)]
"""Of the profile "Display P3", adapted to D50."""
SRGB_CURVE = b"para\0\0\0\0\0\3\0\0" + struct.pack(
    ">5i", *(round(65536 * n) for n in (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045))
)
COLOURS = [(255, 0, 0), (128, 128, 128), (204, 102, 77), (51, 153, 128), (255, 255, 255)]


def write_still(path: Path, profile: bytes) -> Path:
    image = np.repeat(np.repeat(np.array(COLOURS, np.uint8)[None], 16, axis=1), 16, axis=0)
    options: dict[str, dict[str, Any]] = {
        ".jpg": {"quality": 100, "subsampling": 0},
        ".webp": {"lossless": True},
        ".avif": {"quality": 100, "subsampling": "4:4:4"},
    }
    Image.fromarray(image).save(path, icc_profile=profile, **options.get(path.suffix, {}))
    return path


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tiff", ".avif"])
def test_stills_in_display_p3(tmp_path: Path, suffix: str) -> None:
    """As iPhones write them: an ICC profile says it."""
    seen, notes = patches(write_still(tmp_path / f"a{suffix}", icc(P3_COLUMNS, SRGB_CURVE)))
    linear = np.array([[srgb_inverse(value / 255) for value in colour] for colour in COLOURS])
    assert seen == pytest.approx(converted(linear, P3_TO_SRGB), abs=4 if suffix in (".jpg", ".avif") else 1.6)
    assert notes == (
        "the colours of the pictures (Display P3) are converted to those of BT.709; what lies outside is clipped",
    )


def test_profiles_with_a_gamma_or_a_table(tmp_path: Path) -> None:
    """Adobe RGB: primaries of its own, gamma 563/256, here as a number and as a table of 1024."""
    columns = [(0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457)]
    table = [round(65535 * (index / 1023) ** (563 / 256)) for index in range(1024)]
    curves = (
        b"curv\0\0\0\0" + struct.pack(">IH", 1, 563),
        b"curv\0\0\0\0" + struct.pack(">I1024H", 1024, *table),
        b"para\0\0\0\0\0\0\0\0" + struct.pack(">i", round(65536 * 563 / 256)),
    )
    matrix = ((1.39836, -0.39836, 0.0), (0.0, 1.0, 0.0), (0.0, -0.04293, 1.04293))
    linear = np.array([[(value / 255) ** (563 / 256) for value in colour] for colour in COLOURS])
    for curve in curves:
        seen, _ = patches(write_still(tmp_path / "a.png", icc(columns, curve, "Adobe RGB (1998)")))
        assert seen == pytest.approx(converted(linear, matrix), abs=1.6)


def test_a_profile_of_srgb_changes_nothing(tmp_path: Path) -> None:
    built_in = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    broken = icc(P3_COLUMNS, SRGB_CURVE)[:200]
    other = icc(P3_COLUMNS, b"curv\0\0\0\0" + struct.pack(">I", 1 << 30))
    for profile in (built_in, broken, other):
        seen, notes = patches(write_still(tmp_path / "a.png", profile))
        assert seen.tolist() == [list(colour) for colour in COLOURS]
        assert notes == ()


def test_everything_that_is_shown_is_converted(tmp_path: Path) -> None:
    """Side by side, JPEG for robots, the network's input; whatever another thread does to the picture's tags."""
    with FileSource(write_greys(tmp_path / "a.mkv", [pq(50)] * 4, PQ)) as source:
        (frame,) = source
        painter = Painter(source.info, side_by_side=True)
    # PyAV hides the tags from all other threads while one converts.
    frame.picture.color_trc = frame.picture.color_primaries = UNSPECIFIED
    depth = DepthFrame(frame, np.ones(frame.size, np.float32), Unit.METRE, DisplayRange(0, 1), True)
    assert np.abs(painter.rgb(depth)[:, :64].astype(int) - 136).max() <= 1
    assert np.abs(np.asarray(_decoded(jpeg(frame))).astype(int) - 136).max() <= 2
    network = replace(spec(size=(28, 42), pixels="uint8"))
    seen = np.empty((28, 42, 3), np.uint8)
    for resample in ("area", "cubic"):
        write_image(frame.picture, replace(network, resample=resample), seen, light=frame.light)
        assert np.abs(seen.astype(int) - 136).max() <= 1


def _decoded(data: bytes) -> NDArray[np.uint8]:
    decoder = av.CodecContext.create("mjpeg", "r")
    assert isinstance(decoder, av.VideoCodecContext)
    (picture,) = decoder.decode(av.Packet(data))
    return to_rgb(picture, picture.height, picture.width)
