"""Hard cuts, found in thumbnails: the new picture resembles the last one nowhere near as much as its neighbours did.

Resemblance is the correlation of luma, which exposure and white balance leave alone, taken at the best of a few
shifts, which follow a pan. A cut must also stand out from the motion just before it, so that a shaking camera or
noise is no series of cuts. Flat or washed-out thumbnails (black, a flash) say nothing: the picture before them waits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import sqrt

import numpy as np
from numpy.typing import NDArray

Thumbnail = NDArray[np.float32]
"""float32 [18, 32], luma 0..255 of the whole picture, whatever its shape."""

ROWS, COLUMNS = 18, 32

_SIMILAR = 0.6
"""Correlation above which nothing more is asked: fast motion of real clips stays above 0.55, cuts below 0.25."""
_CUT = 0.5
"""Least difference (1 - correlation, mean of unshifted and best shifted) of a cut."""
_OUTSTANDING = 2.0
"""A cut differs this many times as much as the frames before it did."""
_ACTIVITY_WEIGHT = 0.2
_SHIFT_ROWS, _SHIFT_COLUMNS = 3, 8
_FLAT = 4.0
"""Standard deviation of luma below which a thumbnail shows nothing."""
_FLASH_RISE = 45.0
_FLASH_SHARE = 0.25
_WHITE = 235.0
"""A flash lifts the mean by this much and washes out this share of the cells."""
_LONGEST_FLASH = 3


@dataclass(frozen=True, slots=True)
class SceneState:
    """What is remembered between frames.

    reference: the last thumbnail that showed something.
    activity: running mean of the difference between neighbouring frames, 0..1.
    dazzled: washed-out frames since the reference.
    """

    reference: Thumbnail | None = None
    activity: float = 0.0
    dazzled: int = 0


def thumbnail(luma: NDArray[np.float32]) -> Thumbnail:
    """Thumbnail of luma float32 [H, W], 0..255: means of blocks, or repeated pixels where it is tiny."""
    for axis, count in ((0, ROWS), (1, COLUMNS)):
        size = luma.shape[axis]
        starts = np.arange(count) * size // count
        ends = np.maximum(np.arange(1, count + 1) * size // count, starts + 1)
        sums = np.add.reduceat(luma, starts, axis=axis) if size >= count else luma.take(starts, axis=axis)
        widths = (ends - starts).reshape([-1, 1] if axis == 0 else [1, -1])
        luma = sums / widths if size >= count else sums
    return luma.astype(np.float32)


def watch(state: SceneState, seen: Thumbnail) -> tuple[SceneState, bool]:
    """Take in the next frame's thumbnail; True when it opens a new scene."""
    reference = state.reference
    if reference is None:
        return (SceneState(seen) if seen.std() >= _FLAT else state), False
    if seen.std() < _FLAT:
        return state, False
    difference = _difference(reference, seen)
    is_cut = difference > max(_CUT, _OUTSTANDING * state.activity)
    if is_cut and _is_flash(reference, seen) and state.dazzled < _LONGEST_FLASH:
        return replace(state, dazzled=state.dazzled + 1), False
    activity = state.activity + _ACTIVITY_WEIGHT * (difference - state.activity)
    return SceneState(seen, activity), is_cut


def _difference(before: Thumbnail, now: Thumbnail) -> float:
    still = _correlation(before, now)
    if still > _SIMILAR:
        return 1 - still
    across = max(range(-_SHIFT_COLUMNS, _SHIFT_COLUMNS + 1), key=lambda x: _shifted(before, now, 0, x))
    best = max(_shifted(before, now, y, across) for y in range(-_SHIFT_ROWS, _SHIFT_ROWS + 1))
    return 1 - (max(still, 0.0) + max(best, 0.0)) / 2


def _shifted(before: Thumbnail, now: Thumbnail, y: int, x: int) -> float:
    return _correlation(*_overlap(before, now, y, x))


def _overlap(before: Thumbnail, now: Thumbnail, y: int, x: int) -> tuple[Thumbnail, Thumbnail]:
    """The parts of two thumbnails that show the same when the picture has moved by (y, x)."""
    return (
        before[max(0, -y) : ROWS - max(0, y), max(0, -x) : COLUMNS - max(0, x)],
        now[max(0, y) : ROWS - max(0, -y), max(0, x) : COLUMNS - max(0, -x)],
    )


def _correlation(one: Thumbnail, other: Thumbnail) -> float:
    a, b = (one - one.mean()).ravel(), (other - other.mean()).ravel()
    # One grey level of noise in each cell keeps flat overlaps from looking alike or unlike by chance.
    return float(a @ b) / sqrt((float(a @ a) + a.size) * (float(b @ b) + b.size))


def _is_flash(before: Thumbnail, now: Thumbnail) -> bool:
    return float(now.mean() - before.mean()) > _FLASH_RISE and float(np.mean(now > _WHITE)) > _FLASH_SHARE
