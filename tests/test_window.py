"""The sliding window against the formula of the reference streaming code."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.session import StepPlan
from engines.spec import VDA_WINDOW, WindowRule
from engines.window import FeatureWindow, frames_of
from stream.policy import POLICIES, WindowPolicy

SHORT = WindowRule((None, 3, 2, 1, 0), young="mask", first_alone=False)
SLIDING = WindowRule((4, 3, 2, 1, 0), young="mask", first_alone=False)
SPARSE = WindowRule((9, 4, 1, 0), young="repeat", first_alone=False)
RULES = [VDA_WINDOW, SHORT, SLIDING, SPARSE]


def reference_window(t: int) -> list[int]:
    """Video Depth Anything: frame 0, the frame 41 back, the last 29, the new one."""
    return [0, max(0, t - 41), *(max(0, i) for i in range(t - 29, t)), t]


@given(st.integers(1, 2000))
def test_window_is_that_of_the_reference(t: int) -> None:
    assert frames_of(VDA_WINDOW, t) == reference_window(t)


def test_first_frame_of_the_reference_runs_alone() -> None:
    assert frames_of(VDA_WINDOW, 0) == [0]


def test_reference_keeps_42_frames() -> None:
    assert VDA_WINDOW.slots == 42


def seen_by(rule: WindowRule, steps: int) -> list[list[tuple[int, int]]]:
    """(position, frame) pairs every step attends to, read back from slots as a network would."""
    window, slots = FeatureWindow(rule), np.full(rule.slots, -1)
    seen = []
    for t in range(steps):
        plan = window.plan()
        pairs = [(int(plan.positions[s]), int(slots[s])) for s in np.flatnonzero(plan.mask[:-1])]
        seen.append([*sorted(pairs), (int(plan.positions[-1]), t)])
        slots[list(plan.write)] = t
    return seen


@pytest.mark.parametrize("rule", RULES)
def test_slots_hold_the_frames_of_the_rule(rule: WindowRule) -> None:
    for t, pairs in enumerate(seen_by(rule, 3 * rule.slots + 5)):
        assert pairs == [(place, f) for place, f in enumerate(frames_of(rule, t)) if f is not None]


@given(
    st.sets(st.integers(1, 12), min_size=1, max_size=6),
    st.booleans(),
    st.sampled_from(["repeat", "mask"]),
    st.booleans(),
)
def test_slots_hold_the_frames_of_any_rule(offsets: set[int], anchored: bool, young: str, alone: bool) -> None:
    back: list[int | None] = [*sorted(offsets, reverse=True), 0]
    rule = WindowRule(
        tuple([None, *back] if anchored else back), young="mask" if young == "mask" else "repeat", first_alone=alone
    )
    if rule.young == "repeat" and rule.slots < len(rule.offsets) - 1:
        return
    for t, pairs in enumerate(seen_by(rule, 30)):
        assert pairs == [(place, f) for place, f in enumerate(frames_of(rule, t)) if f is not None]


@pytest.mark.parametrize("rule", RULES)
def test_a_step_writes_one_slot_once_the_stream_has_begun(rule: WindowRule) -> None:
    window = FeatureWindow(rule)
    window.plan()
    assert all(len(window.plan().write) == 1 for _ in range(100))


@pytest.mark.parametrize("rule", RULES)
def test_the_new_frame_is_always_in_use(rule: WindowRule) -> None:
    window = FeatureWindow(rule)
    assert all(window.plan().mask[-1] == 1 for _ in range(60))


def plans(window: FeatureWindow, count: int) -> list[StepPlan]:
    return [window.plan() for _ in range(count)]


def test_reset_starts_over() -> None:
    window = FeatureWindow(VDA_WINDOW)
    first = plans(window, 60)
    window.reset()
    for before, after in zip(first, plans(window, 60), strict=True):
        np.testing.assert_array_equal(before.positions, after.positions)
        np.testing.assert_array_equal(before.mask, after.mask)
        assert before.write == after.write
    assert window.t == 60


def test_offsets_must_end_with_the_new_frame() -> None:
    with pytest.raises(ValueError, match="last offset"):
        WindowRule((3, 2, 1), young="mask", first_alone=False)


NANO_LIKE = WindowRule(tuple(range(7, -1, -1)), young="mask", first_alone=False)


def attended(policy: WindowPolicy, own: WindowRule, steps: int) -> list[list[tuple[int, int]]]:
    """As `seen_by`, on a network whose own rule is `own`."""
    window, slots = policy.window(own), np.full(own.slots, -1)
    seen = []
    for t in range(steps):
        plan = window.plan()
        assert plan.positions.shape == plan.mask.shape == (own.slots + 1,)
        pairs = [(int(plan.positions[s]), int(slots[s])) for s in np.flatnonzero(plan.mask[:-1])]
        seen.append([*sorted(pairs), (int(plan.positions[-1]), t)])
        slots[list(plan.write)] = t
    return seen


def test_a_shorter_window_keeps_the_last_places() -> None:
    pairs = attended(WindowPolicy("short", frames=4, anchored=False), NANO_LIKE, 20)
    assert pairs[19] == [(4, 16), (5, 17), (6, 18), (7, 19)]
    assert pairs[1] == [(6, 0), (7, 1)]


def test_an_anchor_takes_the_oldest_place() -> None:
    pairs = attended(WindowPolicy("anchored", frames=4), NANO_LIKE, 20)
    assert pairs[19] == [(0, 0), (5, 17), (6, 18), (7, 19)]


def test_an_anchor_that_is_refreshed() -> None:
    pairs = attended(WindowPolicy("fresh", frames=4, refresh=10), NANO_LIKE, 25)
    assert pairs[10][0] == (0, 0)
    assert pairs[19] == [(0, 10), (5, 17), (6, 18), (7, 19)]
    assert pairs[11] == [(0, 10), (5, 9), (6, 10), (7, 11)]


def test_the_reference_with_a_fresh_anchor_keeps_the_rest_of_its_window() -> None:
    pairs = attended(WindowPolicy("fresh", refresh=100), VDA_WINDOW, 160)
    assert [frame for _, frame in pairs[150]] == [100, *reference_window(150)[1:]]
    assert [place for place, _ in pairs[150]] == list(range(32))


def test_a_short_window_of_the_reference_runs_its_first_frame_alone_at_place_0() -> None:
    pairs = attended(WindowPolicy("16", frames=16), VDA_WINDOW, 60)
    assert pairs[0] == [(0, 0)]
    assert pairs[50] == [(0, 0), *((17 + k, 36 + k) for k in range(15))]
    assert pairs[2] == [(0, 0), *((17 + k, 0) for k in range(13)), (30, 1), (31, 2)]


def test_one_frame_sees_only_itself() -> None:
    for own in (VDA_WINDOW, NANO_LIKE):
        place = len(own.offsets) - 1
        assert attended(WindowPolicy("alone", frames=1), own, 5)[4] == [(place, 4)]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("own", [VDA_WINDOW, NANO_LIKE])
def test_policies_that_fit_can_be_run_and_start_over(policy: WindowPolicy, own: WindowRule) -> None:
    if not policy.fits(own):
        with pytest.raises(ValueError, match=f"the policy '{policy.name}' does not fit a network of 8 places"):
            policy.window(own)
        return
    window = policy.window(own)
    first = [window.plan().write for _ in range(200)]
    window.reset()
    assert [window.plan().write for _ in range(200)] == first


def test_policies_of_both_networks() -> None:
    assert all(policy.fits(VDA_WINDOW) for policy in POLICIES)
    assert [policy.name for policy in POLICIES if not policy.fits(NANO_LIKE)] == [
        "as trained, anchor of 150 frames",
        "16, first frame kept",
    ]
