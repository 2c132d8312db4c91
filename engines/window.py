"""The sliding window of a stream as plain integers: which slot holds which frame, and where it stands.

Frames never move. The frame of the sliding part goes to slot t mod reach (behind the anchor, where there is one),
so it overwrites the frame that has just become too old, and each step only says at which position every slot stands.
"""

from __future__ import annotations

import numpy as np

from engines.session import StepPlan
from engines.spec import WindowRule


def frames_of(rule: WindowRule, t: int, anchor: int = 0) -> list[int | None]:
    """Frame at each position of frame t's window, oldest first; None where the rule masks a missing frame."""
    if t == 0:
        return [0] if rule.first_alone else [None] * (len(rule.offsets) - 1) + [0]
    return [_frame_at(rule, t, offset, anchor) for offset in rule.offsets]


def _frame_at(rule: WindowRule, t: int, offset: int | None, anchor: int) -> int | None:
    if offset is None:
        return anchor
    if t - offset >= 0:
        return t - offset
    return 0 if rule.young == "repeat" else None


def _places_of(rule: WindowRule, own: WindowRule) -> tuple[int, ...]:
    """Place in the window of a network whose rule is `own` of each entry of a shorter `rule`.

    The anchor keeps the oldest place, the others stand right before the new frame, as they would in a full window.
    """
    anchors = sum(offset is None for offset in rule.offsets)
    missing = len(own.offsets) - len(rule.offsets)
    return (*range(anchors), *(place + missing for place in range(anchors, len(rule.offsets))))


class FeatureWindow:
    """Bookkeeping of one stream's cache. `plan` hands out the steps of frames 0, 1, 2 … in order.

    own: the network's rule, which says how many slots its graph has and which places it knows.
    used: another rule to follow, of no more places and slots. refresh: every so many frames the newest one becomes the
    anchor; None: the first frame stays it.
    """

    __slots__ = ("_anchor", "_held", "_places", "_refresh", "_rule", "_t")

    def __init__(self, own: WindowRule, used: WindowRule | None = None, refresh: int | None = None) -> None:
        self._rule = used or own
        assert len(self._rule.offsets) <= len(own.offsets)
        assert self._rule.slots <= own.slots
        self._places = _places_of(self._rule, own)
        self._refresh = refresh
        self._held: list[int | None] = [None] * own.slots
        self._t = self._anchor = 0

    @property
    def t(self) -> int:
        """Number of the next frame since the last reset."""
        return self._t

    def reset(self) -> None:
        """Start a new stream: the next plan is that of frame 0."""
        self._held = [None] * len(self._held)
        self._t = self._anchor = 0

    def plan(self) -> StepPlan:
        """The next frame's step. The features it writes are assumed written when the following plan is made."""
        slots, t = len(self._held), self._t
        positions = np.zeros(slots + 1, np.int64)
        mask = np.zeros(slots + 1, np.float32)
        window = frames_of(self._rule, t, self._anchor)
        places = (0,) if t == 0 and self._rule.first_alone else self._places
        free = self._slots_by_frame()
        for place, frame in zip(places[:-1], window[:-1], strict=True):
            if frame is not None:
                slot = free[frame].pop()
                positions[slot], mask[slot] = place, 1.0
        positions[-1], mask[-1] = places[-1], 1.0
        write = self._slots_to_write(t)
        for slot in write:
            self._held[slot] = t
        self._t = t + 1
        return StepPlan(positions, mask, write)

    def _slots_by_frame(self) -> dict[int, list[int]]:
        slots: dict[int, list[int]] = {}
        for slot, frame in enumerate(self._held):
            if frame is not None:
                slots.setdefault(frame, []).append(slot)
        return slots

    def _slots_to_write(self, t: int) -> tuple[int, ...]:
        """One slot; where the first frame stands for missing ones it fills all, to be overwritten one by one.

        A new anchor takes the old one's slot as well.
        """
        rule = self._rule
        if t == 0 and rule.young == "repeat":
            return tuple(range(rule.slots))
        anchors = int(rule.anchored)
        sliding = (anchors + (t - anchors) % rule.reach,) if rule.reach else ()
        if self._refresh and t and t % self._refresh == 0:
            self._anchor = t
            return (0, *sliding)
        return (0, *sliding) if t == 0 and rule.anchored else sliding
