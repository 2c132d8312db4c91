"""Colours of depth."""

from __future__ import annotations

import cmap
import numpy as np
import pytest

from engines.spec import Unit
from stream.colour import Colormap, colourise
from stream.frame import DisplayRange

RAMP = np.linspace(0, 10, 101, dtype=np.float32)[None]
RANGE = DisplayRange(0, 10)


def brightness(picture: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> list[float]:
    return [float(value) for value in (picture @ np.array([0.299, 0.587, 0.114]))[0]]


@pytest.mark.parametrize("colormap", [c for c in Colormap if c is not Colormap.TURBO])
def test_near_is_bright(colormap: Colormap) -> None:
    relative = brightness(colourise(RAMP, RANGE, Unit.RELATIVE, colormap))
    assert relative[-1] > relative[0] + 100
    metre = brightness(colourise(RAMP, RANGE, Unit.METRE, colormap))
    assert metre[0] > metre[-1] + 100


def test_turbo_is_warm_near_and_cool_far() -> None:
    far, near = colourise(RAMP, RANGE, Unit.RELATIVE, Colormap.TURBO)[0, [10, 90]].astype(int)
    assert near[0] > near[2]
    assert far[2] > far[0]


def test_grayscale_is_the_normalised_depth() -> None:
    picture = colourise(RAMP, RANGE, Unit.RELATIVE, Colormap.GRAYSCALE)
    np.testing.assert_allclose(picture[0, :, 0], np.linspace(0, 255, 101), atol=1)
    assert (picture == picture[..., :1]).all()


@pytest.mark.parametrize("colormap", list(Colormap))
def test_colours_are_those_of_the_map(colormap: Colormap) -> None:
    name = "gray" if colormap is Colormap.GRAYSCALE else colormap.value
    expected = cmap.Colormap(name)(np.linspace(0, 1, 101))[:, :3] * 255
    np.testing.assert_allclose(colourise(RAMP, RANGE, Unit.RELATIVE, colormap)[0], expected, atol=6)


@pytest.mark.parametrize("unit", list(Unit))
def test_values_beyond_the_range_take_its_ends_and_nan_is_far(unit: Unit) -> None:
    far, near = (10.0, 0.0) if unit is Unit.METRE else (0.0, 10.0)
    beyond = (np.inf, -np.inf) if unit is Unit.METRE else (-np.inf, np.inf)
    depth = np.array([[far, near, *beyond, np.nan]], np.float32)
    got = colourise(depth, RANGE, unit, Colormap.MAGMA)[0]
    np.testing.assert_array_equal(got[[2, 3, 4]], got[[0, 1, 0]])


def test_a_closed_range_does_not_fail() -> None:
    assert colourise(RAMP, DisplayRange(3, 3), Unit.RELATIVE, Colormap.TURBO).shape == (1, 101, 3)
