"""What the training losses do and do not see."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from export.nano.losses import (
    LossWeights,
    depth_loss,
    fit,
    gradient_loss,
    normalised,
    relative_loss,
    temporal_loss,
)

ALIGNED = LossWeights(gradient=1.0, relative=0.3, anchored=0.0, temporal=3.0)


@pytest.fixture
def target() -> Tensor:
    return torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(1)) + 0.1


def test_a_scaled_and_shifted_map_costs_nothing(target: Tensor) -> None:
    assert float(depth_loss(target * 7 + 3, target, ALIGNED)) == pytest.approx(0, abs=1e-4)


def test_anchored_term_sees_shift_but_not_scale(target: Tensor) -> None:
    weights = LossWeights(gradient=0, local=0, relative=0, anchored=1.0)
    assert float(depth_loss(target * 7, target, weights)) == pytest.approx(0, abs=1e-4)
    assert float(depth_loss(target * 7 + 3, target, weights)) > 0.1


def test_polarity_matters(target: Tensor) -> None:
    assert float(depth_loss(2 - target, target, ALIGNED)) > 1.0


def test_unknown_pixels_do_not_count(target: Tensor) -> None:
    target[:, :, :4] = -1.0
    prediction = target.clone()
    prediction[:, :, :4] = 100.0
    assert float(depth_loss(prediction, target, ALIGNED)) == pytest.approx(0, abs=1e-4)


def test_nothing_known_gives_a_finite_loss(target: Tensor) -> None:
    prediction = target.clone().requires_grad_()
    loss = depth_loss(prediction, torch.full_like(target, -1.0), ALIGNED)
    loss.backward()
    assert bool(torch.isfinite(loss.detach()))
    assert prediction.grad is not None
    assert bool(torch.isfinite(prediction.grad).all())


def test_each_group_has_its_own_scale(target: Tensor) -> None:
    prediction = target * torch.tensor([2.0, 9.0]).view(2, 1, 1, 1)
    torch.testing.assert_close(
        normalised(prediction, torch.ones_like(target)), normalised(target, torch.ones_like(target))
    )


def test_frames_of_a_group_share_one_scale(target: Tensor) -> None:
    prediction = target * torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1)
    assert float(depth_loss(prediction, target, ALIGNED)) > 0.1


def test_fit_is_least_squares(target: Tensor) -> None:
    scale, shift = fit(target * 4 - 1, target, torch.ones_like(target))
    torch.testing.assert_close(scale, torch.full((2,), 0.25))
    torch.testing.assert_close(shift, torch.full((2,), 0.25))
    assert float(relative_loss(target * 4 - 1, target, torch.ones_like(target))) == pytest.approx(0, abs=1e-5)


def test_gradient_loss_ignores_a_constant(target: Tensor) -> None:
    valid = torch.ones_like(target)
    assert float(gradient_loss(torch.full_like(target, 3.0), valid)) == 0.0
    assert float(gradient_loss(target, valid)) > 0.1


def test_temporal_loss_counts_change_only_where_the_scene_is_still(target: Tensor) -> None:
    still = target[:, :1].expand(2, 3, 16, 24)
    valid = torch.ones_like(target)
    assert float(temporal_loss(still, still, still, valid)) == 0.0
    assert float(temporal_loss(target, still, still, valid)) > 0.1
    moving = still * torch.tensor([1.0, 2.0, 4.0]).view(1, 3, 1, 1)
    assert float(temporal_loss(target, moving, moving, valid)) == 0.0
