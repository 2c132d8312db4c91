"""Other windows than the one a network was trained with, as data: shorter, anchored, with an anchor that moves."""

from __future__ import annotations

from dataclasses import dataclass

from engines.spec import WindowRule
from engines.window import FeatureWindow


@dataclass(frozen=True, slots=True)
class WindowPolicy:
    """How a stream uses its network's window.

    frames: places of the window in use, the new frame's included; None: the network's own rule.
    anchored: with `frames`, whether the first of those places holds the stream's first frame.
    refresh: every so many frames the newest one becomes the anchor; None: the first frame stays it.
    resets_at_cuts: a hard cut starts the stream anew.
    """

    name: str
    frames: int | None = None
    anchored: bool = True
    refresh: int | None = None
    resets_at_cuts: bool = True

    def rule(self, own: WindowRule) -> WindowRule:
        """The rule on a network whose own is `own`."""
        if self.frames is None:
            return own
        recent = self.frames - 1 if self.anchored and self.frames > 1 else self.frames
        first: tuple[int | None, ...] = (None,) if recent < self.frames else ()
        return WindowRule((*first, *range(recent - 1, -1, -1)), own.young, own.first_alone)

    def fits(self, own: WindowRule) -> bool:
        """A network with the rule `own` has places and slots enough, and an anchor where one is to move."""
        rule = self.rule(own)
        return (
            len(rule.offsets) <= len(own.offsets)
            and rule.slots <= own.slots
            and (self.refresh is None or rule.anchored)
        )

    def window(self, own: WindowRule) -> FeatureWindow:
        """Bookkeeping of a stream on a network with the rule `own`. Raises ValueError where that is too small."""
        if not self.fits(own):
            raise ValueError(
                f"the policy {self.name!r} does not fit a network of {len(own.offsets)} places and {own.slots} slots"
            )
        return FeatureWindow(own, self.rule(own), self.refresh)


AS_TRAINED = WindowPolicy("as trained")

POLICIES = (
    AS_TRAINED,
    WindowPolicy("as trained, anchor of 150 frames", refresh=150),
    WindowPolicy("as trained, cuts ignored", resets_at_cuts=False),
    WindowPolicy("16, first frame kept", frames=16),
    WindowPolicy("8, first frame kept", frames=8),
    WindowPolicy("8, anchor of 30 frames", frames=8, refresh=30),
    WindowPolicy("8, no anchor", frames=8, anchored=False),
    WindowPolicy("4, first frame kept", frames=4),
    WindowPolicy("4, no anchor", frames=4, anchored=False),
    WindowPolicy("2, no anchor", frames=2, anchored=False),
    WindowPolicy("each frame alone", frames=1),
)
"""What `benchmarks/windows.py` compares."""
