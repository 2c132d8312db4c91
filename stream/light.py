"""What the code values of a picture mean as light, and that light as an SDR picture's: tone mapping, primaries.

A picture for screens is sRGB (IEC 61966-2-1), which shares its primaries with BT.709. Pictures that are tagged as SDR
of BT.709 or BT.601 count as that already and are never touched. Of all others the light is computed (ITU-T H.273 names
the curves), HDR is mapped to the brightness of SDR, primaries are converted, and what lies outside is clipped.

HDR: white of SDR is 203 cd/m² (ITU-R BT.2408). What is brighter is compressed by the curve of ITU-R BT.2390-11,
section 5.4.1 (EETF), applied to the largest of red, green and blue, so that hues stay. HLG is shown as on a display of
1000 cd/m² (ITU-R BT.2100, system gamma 1.2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorTrc
from numpy.typing import NDArray

from stream.icc import RgbProfile

Floats = NDArray[np.float64]

WHITE_NITS = 203.0
_PQ_NITS = 10_000.0
_HLG_NITS, _HLG_GAMMA = 1000.0, 1.2
_USUAL_PEAK_NITS = 1000.0
"""Of HDR that does not say how bright it gets."""
_CODES = 65536
_BLOCK = 16384
"""Pixels that are converted at a time: their intermediate values stay in the processor's cache."""
_SEEN = 1.5 / 255
"""A change of a code value below this is no change."""

BT2020_LUMA = (0.2627, 0.6780, 0.0593)

_CHROMATICITIES: Mapping[int, tuple[float, ...]] = MappingProxyType(
    {
        ColorPrimaries.BT470M: (0.67, 0.33, 0.21, 0.71, 0.14, 0.08, 0.310, 0.316),
        ColorPrimaries.FILM: (0.681, 0.319, 0.243, 0.692, 0.145, 0.049, 0.310, 0.316),
        ColorPrimaries.BT2020: (0.708, 0.292, 0.170, 0.797, 0.131, 0.046, 0.3127, 0.3290),
        ColorPrimaries.SMPTE428: (1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1 / 3, 1 / 3),
        ColorPrimaries.SMPTE431: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, 0.314, 0.351),
        ColorPrimaries.SMPTE432: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, 0.3127, 0.3290),
    }
)
"""x, y of red, green, blue and white (H.273, table 2). All others count as BT.709's."""
_BT709 = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, 0.3127, 0.3290)
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_PRIMARIES: Mapping[int, str] = MappingProxyType(
    {
        ColorPrimaries.BT470M: "BT.470 M",
        ColorPrimaries.FILM: "film",
        ColorPrimaries.BT2020: "BT.2020",
        ColorPrimaries.SMPTE428: "XYZ",
        ColorPrimaries.SMPTE431: "DCI-P3",
        ColorPrimaries.SMPTE432: "Display P3",
    }
)
_CURVES: Mapping[int, str] = MappingProxyType(
    {
        ColorTrc.GAMMA22: "gamma 2.2",
        ColorTrc.GAMMA28: "gamma 2.8",
        ColorTrc.LINEAR: "linear light",
        ColorTrc.LOG: "logarithmic",
        ColorTrc.LOG_SQRT: "logarithmic",
        ColorTrc.SMPTE428: "gamma 2.6",
    }
)
_HDR: Mapping[int, str] = MappingProxyType({ColorTrc.SMPTE2084: "PQ", ColorTrc.ARIB_STD_B67: "HLG"})


@dataclass(frozen=True, slots=True)
class Light:
    """How to read the code values of a picture.

    transfer, primaries: numbers of ITU-T H.273; 1 is BT.709.
    peak_nits: of HDR, the brightest that is to be told apart.
    profile: an ICC profile that says it instead.
    """

    transfer: int = 1
    primaries: int = 1
    peak_nits: float = _USUAL_PEAK_NITS
    profile: RgbProfile | None = None

    @property
    def is_hdr(self) -> bool:
        """Brighter than a screen of SDR can show."""
        return self.transfer in _HDR

    @property
    def note(self) -> str:
        """What is done to the pictures, for people; empty for SDR."""
        if self.is_hdr:
            return (
                f"the pictures are HDR ({_HDR[self.transfer]}); they are tone-mapped to SDR "
                f"(ITU-R BT.2390, white at {WHITE_NITS:g} cd/m²) for the network and for what is shown"
            )
        if self == SDR:
            return ""
        names = (_PRIMARIES.get(self.primaries), _CURVES.get(self.transfer))
        what = self.profile.name or "an ICC profile" if self.profile else ", ".join(filter(None, names))
        return f"the colours of the pictures ({what}) are converted to those of BT.709; what lies outside is clipped"


SDR = Light()
"""Nothing is to be converted."""


def light_of(picture: av.VideoFrame, peak_nits: float | None = None, profile: RgbProfile | None = None) -> Light:
    """How to read a picture, by its tags. peak_nits: what its metadata say, if anything; profile: its ICC profile.

    To be asked before the picture is shared: while one thread converts a picture, PyAV hides its tags from others.
    """
    transfer, primaries = picture.color_trc, picture.color_primaries
    if transfer in _HDR:
        # HDR is BT.2020 unless it says otherwise.
        known = ColorPrimaries.BT2020 if primaries == ColorPrimaries.UNSPECIFIED else primaries
        peak = _HLG_NITS if transfer == ColorTrc.ARIB_STD_B67 else _believed(peak_nits)
        return Light(transfer, known if known in _PRIMARIES else 1, peak)
    if profile is not None:
        return _unless_sdr(Light(profile=profile))
    if transfer == ColorTrc.GAMMA22 and (picture.format.is_rgb or len(picture.format.components) < 3):
        # How PNG files of sRGB are marked: gAMA 45455.
        transfer = ColorTrc.UNSPECIFIED
    if transfer not in _CURVES and primaries not in _PRIMARIES:
        return SDR
    return _unless_sdr(Light(transfer if transfer in _CURVES else 1, primaries if primaries in _PRIMARIES else 1))


def _believed(peak_nits: float | None) -> float:
    return min(peak_nits, _PQ_NITS) if peak_nits is not None and peak_nits >= WHITE_NITS else _USUAL_PEAK_NITS


@lru_cache(maxsize=32)
def _unless_sdr(light: Light) -> Light:
    """SDR for light whose conversion would change nothing, as with a profile of sRGB itself."""
    steps = np.linspace(0, _CODES - 1, 9).astype(np.uint16)
    codes = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3)
    return SDR if np.abs(toned(codes, light) / 255.0 - codes / (_CODES - 1)).max() <= _SEEN else light


def toned(codes: NDArray[np.uint16], light: Light, white: int = _CODES - 1) -> NDArray[np.uint8]:
    """sRGB uint8 [H, W, 3] of RGB code values uint16 [H, W, 3] of this light; `white` is the code value 1."""
    tables = _tables_of(light, white)
    pixels = codes.reshape(-1, 3)
    shown = np.empty(pixels.shape, np.uint8)
    for start in range(0, len(pixels), _BLOCK):
        # Plane by plane: several times as fast as to transpose a block.
        for channel, plane in enumerate(tables.shown(np.ascontiguousarray(pixels[start : start + _BLOCK].T))):
            shown[start : start + _BLOCK, channel] = plane
    return shown.reshape(codes.shape)


@dataclass(frozen=True, slots=True, eq=False)
class _Tables:
    """A conversion, ready to be applied.

    linear: float32 [65536], light of each code, 1 at the peak; three of them where red, green and blue differ.
    system: float32 [65536]: what a display does to light by its luminance (HLG); compression: by its largest part. Both
        are looked up by square roots, which give the dark more steps.
    matrix: float32 [3, 3], to BT.709, 1 at the white of SDR. encoded: uint8 [65536], sRGB of light.
    """

    linear: tuple[NDArray[np.float32], ...]
    system: NDArray[np.float32] | None
    compression: NDArray[np.float32] | None
    matrix: NDArray[np.float32]
    encoded: NDArray[np.uint8]

    def shown(self, codes: NDArray[np.uint16]) -> NDArray[np.uint8]:
        """uint8 [3, N] of codes uint16 [3, N]."""
        if len(self.linear) == 1:
            light = self.linear[0].take(codes)
        else:
            light = np.stack([curve.take(plane) for curve, plane in zip(self.linear, codes, strict=True)])
        if self.system is not None:
            light *= self.system.take(_by_root(np.array(BT2020_LUMA, np.float32) @ light))
        if self.compression is not None:
            light *= self.compression.take(_by_root(np.maximum(np.maximum(light[0], light[1]), light[2])))
        converted = self.matrix @ light
        np.clip(converted, 0, 1, out=converted)
        converted *= _CODES - 1
        converted += 0.5
        return np.asarray(self.encoded.take(converted.astype(np.uint16)), np.uint8)


def _by_root(light: NDArray[np.float32]) -> NDArray[np.uint16]:
    return (np.sqrt(light) * (_CODES - 1) + 0.5).astype(np.uint16)


@lru_cache(maxsize=8)
def _tables_of(light: Light, white: int) -> _Tables:
    steps = np.linspace(0, 1, _CODES)
    codes, roots = np.minimum(steps * ((_CODES - 1) / white), 1), steps**2
    if light.profile is not None:
        linear, matrix = light.profile.linear(codes), light.profile.to_bt709
    else:
        linear, matrix = _linear(light, codes)[None], to_bt709(light.primaries)
    is_hlg = light.transfer == ColorTrc.ARIB_STD_B67
    return _Tables(
        tuple(linear.astype(np.float32)),
        (roots ** (_HLG_GAMMA - 1)).astype(np.float32) if is_hlg else None,
        compression_of(roots * light.peak_nits, light.peak_nits).astype(np.float32) if light.is_hdr else None,
        (matrix * (light.peak_nits / WHITE_NITS if light.is_hdr else 1.0)).astype(np.float32),
        np.rint(255 * srgb_encoded(steps)).astype(np.uint8),
    )


def _linear(light: Light, codes: Floats) -> Floats:
    """Light of code values 0..1, 1 at the peak."""
    match light.transfer:
        case ColorTrc.SMPTE2084:
            return np.minimum(pq_nits(codes) / light.peak_nits, 1)
        case ColorTrc.ARIB_STD_B67:
            return hlg_scene(codes)
        case ColorTrc.GAMMA22:
            return codes**2.2
        case ColorTrc.GAMMA28:
            return codes**2.8
        case ColorTrc.LINEAR:
            return codes
        case ColorTrc.LOG:
            return np.where(codes > 0, 10 ** (2 * (codes - 1)), 0)
        case ColorTrc.LOG_SQRT:
            return np.where(codes > 0, 10 ** (2.5 * (codes - 1)), 0)
        case ColorTrc.SMPTE428:
            return np.minimum(codes**2.6 * (52.37 / 48), 1)
        case _:
            return srgb_linear(codes)


_M1, _M2, _C1, _C2, _C3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128


def pq_nits(codes: Floats) -> Floats:
    """cd/m² of code values 0..1: SMPTE ST 2084."""
    power = codes ** (1 / _M2)
    return np.asarray(_PQ_NITS * (np.maximum(power - _C1, 0) / (_C2 - _C3 * power)) ** (1 / _M1))


def pq_codes(nits: Floats) -> Floats:
    """Code values 0..1 of cd/m²: the inverse."""
    power = (nits / _PQ_NITS) ** _M1
    return np.asarray(((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2)


def hlg_scene(codes: Floats) -> Floats:
    """Scene light 0..1 of code values 0..1: ITU-R BT.2100, table 5."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(codes <= 0.5, codes**2 / 3, (np.exp((codes - c) / a) + b) / 12)


def srgb_linear(codes: Floats) -> Floats:
    """Light 0..1 of code values 0..1: IEC 61966-2-1."""
    return np.where(codes <= 0.04045, codes / 12.92, ((codes + 0.055) / 1.055) ** 2.4)


def srgb_encoded(light: Floats) -> Floats:
    """Code values 0..1 of light 0..1: the inverse."""
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def compression_of(nits: Floats, peak_nits: float) -> Floats:
    """By what to multiply light of `nits`, so that `peak_nits` becomes the white of SDR: BT.2390's EETF, black at 0."""
    top, white = pq_codes(np.array([peak_nits, WHITE_NITS]))
    most = white / top
    if most >= 1:
        return np.ones_like(nits)
    knee = 1.5 * most - 0.5
    code = np.minimum(pq_codes(nits) / top, 1)
    t = np.maximum(code - knee, 0) / (1 - knee)
    curve = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * most
    mapped = pq_nits(np.where(code < knee, code, curve) * top)
    return np.where(code < knee, 1.0, mapped / np.maximum(nits, 1e-9))


def to_bt709(primaries: int) -> Floats:
    """float64 [3, 3]: linear RGB of these primaries to that of BT.709, whites adapted by Bradford's transform."""
    chromaticities = _CHROMATICITIES.get(primaries, _BT709)
    bt709, own = _to_xyz(_BT709), _to_xyz(chromaticities)
    whites = [_BRADFORD @ matrix.sum(axis=1) for matrix in (bt709, own)]
    adapted = np.linalg.inv(_BRADFORD) @ np.diag(whites[0] / whites[1]) @ _BRADFORD
    return np.asarray(np.linalg.inv(bt709) @ adapted @ own)


def _to_xyz(chromaticities: tuple[float, ...]) -> Floats:
    """float64 [3, 3]: RGB to CIE XYZ, luminance 1 at white (SMPTE RP 177)."""
    x, y = np.array(chromaticities).reshape(4, 2).T
    # z is 1 - x - y; XYZ primaries have y = 0, so nothing is divided by it but the white's.
    columns = np.stack([x, y, 1 - x - y])
    scales = np.linalg.solve(columns[:, :3], columns[:, 3] / y[3])
    return np.asarray(columns[:, :3] * scales)
