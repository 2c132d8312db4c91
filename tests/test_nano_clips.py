"""Clips: depth that agrees between frames by their poses, shapes against geometry done by hand, footage effects."""

from __future__ import annotations

import math
from random import Random

import numpy as np
import pytest
import torch

from export.nano.camera import make_shots
from export.nano.capsules import Capsules, entry
from export.nano.cards import MASK, Cards, crossing
from export.nano.clipsheet import sheet
from export.nano.footage import flow, h264, one, smear
from export.nano.kinds import KINDS, make_scene
from export.nano.rays import FAR, Rays, Shots, look, orthonormal, project, rays_of
from export.nano.render import Scene, first_hit, render_clip
from export.nano.scenes import Setting, finish_scene
from export.nano.shards import ShardPlan, make_clip
from export.nano.terrain import GRID, Terrain
from export.nano.textures import TextureBank, make_bank

HEIGHT, WIDTH = 48, 64
ROOM = Setting((0.0, 1.5, 0.0), 0.0, 0.0, 2.5, (3.0, 2.5, 3.0), False)


@pytest.fixture(scope="module")
def bank() -> TextureBank:
    return make_bank(6, torch.Generator().manual_seed(0))


def ray(origin: tuple[float, float, float], direction: tuple[float, float, float], time: float = 0.0) -> Rays:
    return Rays(torch.tensor([origin]).float(), torch.tensor([direction]).float(), torch.tensor([time]))


def still_scene(kind: str, seed: int, bank: TextureBank) -> tuple[Scene, Shots]:
    """A scene and two frames, five apart, of a walk through it; nobody moves and all rows are read at once."""
    builder, setting = make_scene(Random(seed), bank.count, kind)
    shots = make_shots(Random(seed), setting, 6, "walk")
    ends = Shots(shots.position[::5, :1].expand(-1, 2, -1), shots.axes[::5, :1].expand(-1, 2, -1, -1),
                 shots.focal[::5], torch.zeros(2), 0.0)  # fmt: skip
    return finish_scene(builder, setting, torch.zeros(0, 4)), ends


@pytest.mark.parametrize("kind", ["house", "stairs", "webcam", "hills"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_depth_taken_over_by_the_poses_agrees_between_frames(kind: str, seed: int, bank: TextureBank) -> None:
    scene, shots = still_scene(kind, seed, bank)
    inverse = render_clip(scene, bank, shots, HEIGHT, WIDTH)[1][0].flatten()
    rays = rays_of(one(shots, 0), HEIGHT, WIDTH)
    points = rays.at(1 / inverse.clamp(min=1e-6))[(inverse > 1 / 60) & (inverse < 2)]
    expected = project(shots, 1, points, HEIGHT, WIDTH)[1]
    ahead = expected > 0.05
    origin = shots.position[1, 0].expand(int(ahead.sum()), 3)
    towards = (points[ahead] - origin) / expected[ahead, None]
    found = first_hit(scene, Rays(origin, towards, torch.zeros(len(origin))))[0] / expected[ahead]
    assert float((found < 1.001).float().mean()) > 0.995  # nothing that was seen has gone
    assert float(((found - 1).abs() < 1e-3).float().mean()) > 0.8  # the rest is covered by something nearer


def test_a_still_camera_sees_a_still_scene_the_same(bank: TextureBank) -> None:
    clip = make_clip(Random(5), bank, ShardPlan(1, 3, HEIGHT, WIDTH, True), "stairs", "tripod")
    assert torch.equal(clip.shots.position[0], clip.shots.position[2])
    first, last = (clip.inverse[i].astype(np.float32) for i in (0, 2))
    assert float((first == last).mean()) > 0.9


def test_moving_people_change_the_depth_and_nothing_else(bank: TextureBank) -> None:
    clip = make_clip(Random(2), bank, ShardPlan(1, 8, HEIGHT, WIDTH, True), "webcam", "tripod")
    changed = (clip.inverse[0] != clip.inverse[-1]).mean()
    assert 0.001 < float(changed) < 0.7


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_renders_finite_depth(kind: str, bank: TextureBank) -> None:
    clip = make_clip(Random(11), bank, ShardPlan(1, 2, 24, 32, True), kind)
    assert clip.rgb.shape == (2, 24, 32, 3)
    assert bool(np.isfinite(clip.inverse.astype(np.float32)).all())
    assert float(clip.inverse.max()) > 0


def capsule(swing: float = 0.0) -> Capsules:
    """Upright, 2 m from end to end, 0.5 m thick, 4 m ahead; walks 1 m to the right in a frame."""
    return Capsules(
        torch.tensor([[[0.0, -1.0, 4.0], [0.0, 1.0, 4.0]]]), torch.tensor([0.5]), torch.tensor([[1.0, 0.0, 0.0]]),
        torch.tensor([[[0.0, 0.0, swing]] * 2]), torch.tensor([math.pi / 2]), torch.tensor([0.0]),
    )  # fmt: skip


def test_capsule_by_hand() -> None:
    body = capsule()
    assert float(entry(body, ray((0, 0, 0), (0, 0, 1)))) == pytest.approx(3.5)
    assert float(entry(body, ray((0, 1.3, 0), (0, 0, 1)))) == pytest.approx(4 - 0.4, rel=1e-5)  # the round end
    assert float(entry(body, ray((0, 1.6, 0), (0, 0, 1)))) == FAR
    assert float(entry(body, ray((0, 0, 0), (0, 0, 1), 1.0))) == FAR
    assert float(entry(body, ray((1, 0, 0), (0, 0, 1), 1.0))) == pytest.approx(3.5)
    assert float(entry(capsule(0.3), ray((1, 0, 0), (0, 0, 1), 1.0))) == pytest.approx(3.8)
    assert float(body.nearest(ray((0, 0, 0), (0, 0, 1)))[0]) == pytest.approx(3.5)
    assert float(body.nearest(ray((9, 0, 0), (0, 0, 1)))[0]) == FAR


def test_a_thin_limb_far_away_keeps_its_shape() -> None:
    limb = Capsules(
        torch.tensor([[[0.0, -1.0, 80.0], [0.0, 1.0, 80.0]]]), torch.tensor([0.05]), torch.zeros(1, 3),
        torch.zeros(1, 2, 3), torch.zeros(1), torch.zeros(1),
    )  # fmt: skip
    assert float(entry(limb, ray((0.04, 0, 0), (0, 0, 1)))) == pytest.approx(80 - 0.03, abs=2e-4)


def test_card_with_a_hole() -> None:
    mask = torch.ones(1, MASK, MASK, dtype=torch.bool)
    mask[:, :, : MASK // 2] = False
    cards = Cards(torch.tensor([[0.0, 0.0, 3.0]]), torch.eye(3)[None], torch.ones(1, 2), torch.tensor([0]), mask)
    assert float(crossing(cards, ray((0.5, 0, 0), (0, 0, 1)))) == pytest.approx(3.0)
    assert float(crossing(cards, ray((-0.5, 0, 0), (0, 0, 1)))) == FAR
    assert float(crossing(cards, ray((1.5, 0, 0), (0, 0, 1)))) == FAR


def test_terrain_by_hand() -> None:
    line = torch.linspace(-50, 50, GRID)
    slope = Terrain(((line + 50) * 0.1)[:, None].expand(GRID, GRID).contiguous(), 50.0)  # rises with z, 1 in 10
    assert float(slope.height(torch.tensor([3.0]), torch.tensor([20.0]))) == pytest.approx(7.0, rel=1e-5)
    ahead = ray((0.0, 7.0, 0.0), (0.0, 0.0, 1.0))
    assert float(slope.nearest(ahead)[0]) == pytest.approx(20.0, rel=1e-3)
    assert float(slope.nearest(ray((0.0, 60.0, 0.0), (0.0, 0.0, 1.0)))[0]) == FAR
    _, _, normal = slope.surface(torch.zeros(1, dtype=torch.int64), torch.tensor([[0.0, 5.0, 0.0]]), torch.zeros(1))
    torch.testing.assert_close(normal, torch.tensor([[0.0, 1.0, -0.1]]) / math.sqrt(1.01), rtol=1e-3, atol=1e-4)


def shots_sliding(step: float, readout: float = 0.0) -> Shots:
    """Three frames of a camera that moves `step` metres to the right in each."""
    x = torch.arange(3)[:, None] * step + torch.tensor([0.0, readout * step])
    position = torch.stack((x, torch.full_like(x, 1.5), torch.zeros_like(x)), -1)
    return Shots(position, look(0, 0, 0).expand(3, 2, 3, 3), torch.full((3,), 1.0), torch.arange(3.0), readout)


def test_flow_of_a_wall_is_the_disparity() -> None:
    inverse = torch.full((3, HEIGHT, WIDTH), 0.5)
    for frame in range(3):
        moved = flow(shots_sliding(0.1), inverse, frame)
        torch.testing.assert_close(moved[..., 0], torch.full((HEIGHT, WIDTH), -0.1 * WIDTH * 0.5), rtol=1e-4, atol=1e-4)
        assert float(moved[..., 1].abs().max()) < 1e-3


def test_motion_blur_spreads_an_edge_by_the_way_of_the_open_shutter() -> None:
    colour = torch.zeros(3, HEIGHT, WIDTH, 3)
    colour[:, :, WIDTH // 2 :] = 1.0
    blurred = smear(colour, shots_sliding(0.25), torch.full((3, HEIGHT, WIDTH), 0.5), 0.5)  # 4 of 8 pixels
    row = blurred[1, HEIGHT // 2, :, 0]
    assert bool((row[1:] >= row[:-1] - 1e-6).all())
    assert 2 <= int(((row > 0.01) & (row < 0.99)).sum()) <= 6


def test_rolling_shutter_gives_every_row_its_own_place() -> None:
    place, axes, time = shots_sliding(1.0, readout=0.5).rows(10)
    assert place[1, :, 0].tolist() == pytest.approx([1 + 0.5 * (i + 0.5) / 10 for i in range(10)])
    assert time[2].tolist() == pytest.approx([2 + 0.5 * (i + 0.5) / 10 for i in range(10)])
    torch.testing.assert_close(axes[0, 0], torch.eye(3))


def test_axes_between_two_poses_are_a_rotation() -> None:
    axes = orthonormal(torch.lerp(look(0.1, 0.2, 0.3), look(0.2, 0.25, 0.35), 0.4))
    torch.testing.assert_close(axes @ axes.T, torch.eye(3), atol=1e-6, rtol=0)


def test_points_come_back_to_the_pixels_they_were_seen_at() -> None:
    shots = make_shots(Random(3), ROOM, 2, "zoom")
    shots = Shots(shots.position[:, :1].expand(-1, 2, -1), shots.axes[:, :1].expand(-1, 2, -1, -1), shots.focal,
                  shots.time, 0.0)  # fmt: skip
    rays = rays_of(one(shots, 1), HEIGHT, WIDTH)
    place, depth = project(shots, 1, rays.at(torch.full((HEIGHT * WIDTH,), 2.0)), HEIGHT, WIDTH)
    torch.testing.assert_close(depth, torch.full_like(depth, 2.0), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(place[WIDTH + 3], torch.tensor([3.0, 1.0]), rtol=0, atol=1e-2)


def test_h264_keeps_a_picture_and_loses_a_little() -> None:
    ramp = np.linspace(40, 200, 64, dtype=np.uint8)
    rgb = np.repeat(np.repeat(ramp[None, None, :, None], 48, 1), 3, 3).repeat(4, 0)
    fine, coarse = (np.abs(h264(rgb, q).astype(int) - rgb).mean() for q in (18, 45))
    assert fine < 4
    assert coarse > fine


def test_sheet_holds_every_kind() -> None:
    picture = sheet(0, ShardPlan(1, 2, 24, 32, True), 2, list(KINDS)[:3])
    assert picture.shape == (2 * 48, 2 * 64, 3)
