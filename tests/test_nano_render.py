"""The ray caster against geometry done by hand, and scenes by seed."""

from __future__ import annotations

import math
from random import Random

import numpy as np
import pytest
import torch

from export.nano.builder import Builder, about_y, along, tumbled
from export.nano.camera import make_path
from export.nano.kinds import KINDS, make_scene
from export.nano.rays import View, look
from export.nano.render import FACES, Lighting, Scene, render
from export.nano.scenes import Setting
from export.nano.shards import ShardPlan, render_shard
from export.nano.textures import TextureBank, make_bank

WIDTH, HEIGHT = 32, 24
FREE = torch.zeros(0, 4)


@pytest.fixture(scope="module")
def bank() -> TextureBank:
    return make_bank(4, torch.Generator().manual_seed(0))


def scene_of(builder: Builder, room: tuple[float, float, float], open_sky: bool) -> Scene:
    grey = torch.full((3,), 0.5)
    up = torch.tensor([0.0, 1.0, 0.0])
    light = Lighting(up[None] * 2, grey[None], up, grey, grey, 0.0, torch.full((2, 3), 0.5), True)
    return builder.scene(room, [builder.plain((0.5, 0.5, 0.5))] * FACES, light, open_sky, FREE)


def view_from(y: float, pitch: float = 0.0, yaw: float = 0.0) -> View:
    return View(torch.tensor([0.0, y, 0.0]), look(yaw, pitch, 0.0), 1.0)


def inverse_of(scene: Scene, bank: TextureBank, view: View, time: float = 0.0) -> torch.Tensor:
    colour, inverse = render(scene, bank, view, time, HEIGHT, WIDTH)
    assert colour.shape == (HEIGHT, WIDTH, 3)
    assert bool((colour >= 0).all())
    return inverse


def test_ground_plane_falls_with_the_row(bank: TextureBank) -> None:
    inverse = inverse_of(scene_of(Builder(Random(0), 4), (1e6, 1e6, 1e6), True), bank, view_from(2.0))
    rows = (torch.arange(HEIGHT) + 0.5 - HEIGHT / 2) / WIDTH
    expected = torch.where(rows > 2.0 / 1e3, rows / 2.0, 0.0)[:, None].expand(HEIGHT, WIDTH)
    torch.testing.assert_close(inverse, expected, rtol=1e-4, atol=1e-6)


def test_z_depth_of_a_wall_is_flat(bank: TextureBank) -> None:
    inverse = inverse_of(scene_of(Builder(Random(0), 4), (50.0, 40.0, 4.0), False), bank, view_from(20.0))
    torch.testing.assert_close(inverse, torch.full((HEIGHT, WIDTH), 0.25))


def test_ball_seen_from_the_front(bank: TextureBank) -> None:
    builder = Builder(Random(0), 4)
    builder.ball((0.0, 20.0, 3.0), (1.0, 1.0, 1.0), builder.plain((0.5, 0.5, 0.5)))
    scene = scene_of(builder, (50.0, 40.0, 40.0), False)
    inverse = inverse_of(scene, bank, view_from(20.0))
    x, y = 0.5 / WIDTH, 0.5 / WIDTH
    square = x * x + y * y + 1
    depth = (3 - math.sqrt(9 - square * 8)) / square
    assert float(inverse[HEIGHT // 2, WIDTH // 2]) == pytest.approx(1 / depth, rel=1e-5)
    assert float(inverse[0, 0]) == pytest.approx(1 / 40.0, rel=1e-5)


def test_turned_box_shows_its_edge(bank: TextureBank) -> None:
    builder = Builder(Random(0), 4)
    with builder.placed((0.0, 0.0, 5.0), math.pi / 4):
        builder.box((0.0, 20.0, 0.0), (1.0, 3.0, 1.0), builder.plain((0.5, 0.5, 0.5)))
    inverse = inverse_of(scene_of(builder, (50.0, 40.0, 40.0), False), bank, view_from(20.0))
    x = 0.5 / WIDTH  # the face through the near edge at 5 - sqrt 2 recedes at 45 degrees
    depth = (5 - math.sqrt(2)) / (1 - x)
    assert float(inverse[HEIGHT // 2, WIDTH // 2]) == pytest.approx(1 / depth, rel=1e-5)


def test_cylinder_and_its_cap(bank: TextureBank) -> None:
    builder = Builder(Random(0), 4)
    builder.cylinder((0.0, 20.0, 4.0), (1.0, 2.0, 1.0), builder.plain((0.5, 0.5, 0.5)))
    scene = scene_of(builder, (50.0, 40.0, 40.0), False)
    x = 0.5 / WIDTH
    depth = (4 - math.sqrt(16 - (1 + x * x) * 15)) / (1 + x * x)
    assert float(inverse_of(scene, bank, view_from(20.0))[HEIGHT // 2, WIDTH // 2]) == pytest.approx(
        1 / depth, rel=1e-5
    )
    above = View(torch.tensor([0.0, 25.0, 4.0]), look(0.0, -math.pi / 2 + 1e-4, 0.0), 1.0)
    assert float(inverse_of(scene, bank, above)[HEIGHT // 2, WIDTH // 2]) == pytest.approx(1 / 3.0, rel=1e-3)


def test_moving_solids_move(bank: TextureBank) -> None:
    builder = Builder(Random(0), 4)
    with builder.placed((0.0, 20.0, 4.0), 0.0, (0.0, 0.0, 0.5)):
        builder.box((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), builder.plain((0.5, 0.5, 0.5)))
    scene = scene_of(builder, (50.0, 40.0, 40.0), False)
    middle = [float(inverse_of(scene, bank, view_from(20.0), t)[HEIGHT // 2, WIDTH // 2]) for t in (0.0, 2.0)]
    assert middle == pytest.approx([1 / 3, 1 / 4], rel=1e-5)


def test_what_fills_the_camera_is_left_out() -> None:
    builder = Builder(Random(0), 4)
    builder.box((0.0, 1.0, 0.0), (1.0, 1.0, 1.0), builder.plain((0.5, 0.5, 0.5)))
    builder.box((0.0, 1.0, 9.0), (1.0, 1.0, 1.0), builder.plain((0.5, 0.5, 0.5)))
    lighting = scene_of(Builder(Random(0), 4), (9.0, 9.0, 9.0), False).lighting
    faces = [builder.plain((0.5, 0.5, 0.5))] * FACES
    scene = builder.scene((9.0, 9.0, 9.0), faces, lighting, False, torch.tensor([[0.0, 1.0, 0.0, 0.1]]))
    assert scene.solids.centre.tolist() == [[0.0, 1.0, 9.0]]


def test_rotations_are_rotations() -> None:
    for turn in (tumbled(Random(3)), about_y(0.7), along(torch.tensor([0.0, 0.6, 0.8])), look(0.3, -0.4, 0.2)):
        torch.testing.assert_close(turn @ turn.T, torch.eye(3), atol=1e-6, rtol=0)


def test_shards_repeat_by_seed_and_differ_between_seeds() -> None:
    plan = ShardPlan(2, 2, 32, 32, True)
    first, again, other = (render_shard(seed, plan) for seed in (5, 5, 6))
    assert len(first) == 2
    assert all(
        np.array_equal(a.rgb, b.rgb) and np.array_equal(a.inverse, b.inverse) for a, b in zip(first, again, strict=True)
    )
    assert not np.array_equal(first[0].rgb, other[0].rgb)
    assert first[0].rgb.shape == (2, 32, 32, 3)
    assert bool((first[0].inverse >= 0).all())


def test_tripod_and_handheld_paths() -> None:
    setting = Setting((0.0, 1.5, 0.0), 0.0, 0.0, 2.0, (3.0, 2.5, 3.0), False)
    still = make_path(Random(1), setting, 4, 0.0)
    moving = make_path(Random(1), setting, 4, 1.0)
    assert all(torch.equal(v.axes, still[0].axes) and torch.equal(v.position, still[0].position) for v in still)
    assert not torch.equal(moving[0].position, moving[3].position)
    assert all(0 < float(v.position[1]) < 2.5 for v in moving)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_scene_can_be_made(kind: str) -> None:
    assert all(len(make_scene(Random(seed), 8, kind)[0]) > 0 for seed in range(5))
