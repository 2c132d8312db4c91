"""Mesh scenes on a few triangles whose depth, colour and shadow are known, and on a data folder made here."""

from __future__ import annotations

import json
import multiprocessing
import threading
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

pytest.importorskip("embreex", reason="the ray caster of mesh scenes is not installed")

from export.nano.evaluate import row_plane
from export.nano.meshes import measure, pan, pool
from export.nano.meshes.atlas import Atlas
from export.nano.meshes.figures import animal, person, swimmer
from export.nano.meshes.furniture import things
from export.nano.meshes.kinds import KINDS, pictures
from export.nano.meshes.library import HELD_OUT, SMALL_HOUSE_PHOTOGRAPHS, VALIDATE, Library, load_library
from export.nano.meshes.mesh import PLAIN, Mesh, joined, moved, placed
from export.nano.meshes.plants import tree
from export.nano.meshes.pool import MeshPool, RenderPlan, samples
from export.nano.meshes.rooms import laid_table
from export.nano.meshes.shade import Camera, Lamp, Light, render
from export.nano.meshes.solids import ball, box, capsule, cylinder, quad
from export.nano.meshes.views import axes_of, relief
from export.nano.meshes.world import World

EYE = np.eye(3, dtype=np.float32)
AHEAD = Camera(np.zeros(3, np.float32), axes_of(0.0, 0.0, 0.0), 0.5)
"""Looks along +x, 90 degrees across."""
DARK = Light((), np.ones(3, np.float32), 0.0, 0, 0.0, 1.0, 0.0)
SIZE = (24, 32)


def wall(away: float, picture: int = PLAIN, half: float = 50.0) -> Mesh:
    """Across the x axis, facing the origin; the picture's left is the viewer's."""
    corners = [(away, half, -half), (away, -half, -half), (away, -half, half), (away, half, half)]
    return quad(corners, picture)


def plain_atlas() -> Atlas:
    return Atlas([np.full((4, 4, 3), 255, np.uint8)])


def shot(mesh: Mesh, atlas: Atlas, light: Light = DARK) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return render(World(mesh, atlas), AHEAD, light, SIZE, np.random.default_rng(0))


def test_a_wall_across_the_view_has_one_depth() -> None:
    """z-depth, not distance: the corners of the picture are no farther than its middle."""
    _, inverse = shot(wall(4.0), plain_atlas())
    np.testing.assert_allclose(inverse, 0.25, rtol=1e-4)


def test_where_nothing_is_the_panorama_shows_at_no_depth() -> None:
    atlas = Atlas([np.full((8, 16, 3), (255, 0, 0), np.uint8)])
    colour, inverse = shot(box((1, 1, 1)), atlas, replace(DARK, panorama=0))  # the camera sits in the box …
    assert (inverse > 0).all()
    colour, inverse = shot(moved(box((1, 1, 1)), EYE, (-5, 0, 0)), atlas)  # … and before it
    assert (inverse == 0).all()
    np.testing.assert_allclose(colour.reshape(-1, 3), [[1, 0, 0]] * (SIZE[0] * SIZE[1]), atol=1e-6)


def test_pictures_hang_upright_and_are_not_mirrored() -> None:
    picture = np.zeros((2, 2, 3), np.uint8)
    picture[0, 0], picture[0, 1], picture[1, 0], picture[1, 1] = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
    large = np.repeat(np.repeat(picture, 32, 0), 32, 1)
    colour, _ = shot(wall(1.0, 0, 1.0), Atlas([large]))
    seen = [colour[y, x] for y in (4, 19) for x in (4, 27)]
    np.testing.assert_allclose(seen, [[0.7, 0, 0], [0, 0.7, 0], [0, 0, 0.7], [0.7, 0.7, 0.7]], atol=0.02)


def test_rays_pass_through_cut_outs() -> None:
    holes = np.zeros((64, 64, 4), np.uint8)
    holes[:, :32] = 255
    mesh = joined([wall(1.0, 0, 1.0), wall(4.0)])
    _, inverse = shot(mesh, Atlas([holes]))
    np.testing.assert_allclose(inverse[:, 2:14], 1.0, rtol=1e-4)
    np.testing.assert_allclose(inverse[:, 18:30], 0.25, rtol=2e-3)


def test_what_stands_between_lamp_and_wall_throws_a_shadow() -> None:
    lamp = Lamp(np.array([0, 3, 0], np.float32), np.ones(3, np.float32), False, 0.0)
    light = replace(DARK, lamps=(lamp,), ambient=np.zeros(3, np.float32))
    screen = moved(box((0.01, 0.3, 0.3)), EYE, (2.0, 1.5, 0.0))  # half way between the lamp and (4, 0, 0)
    lit, _ = shot(wall(4.0), plain_atlas(), light)
    shaded, _ = shot(joined([wall(4.0), screen]), plain_atlas(), light)
    assert shaded[12, 16].max() == 0 < lit[12, 16].min()
    assert np.array_equal(lit[12, 30], shaded[12, 30])


def test_corners_are_darker_than_open_places() -> None:
    corner = joined([wall(4.0), quad([(0, 0.5, -9), (9, 0.5, -9), (9, 0.5, 9), (0, 0.5, 9)])])
    colour, _ = shot(corner, plain_atlas(), replace(DARK, reach=1.0))
    assert colour[:, 14].mean() < 0.9 * colour[:, 30].mean()


def test_gloss_mirrors() -> None:
    """A black floor that shines shows the red panorama of the horizon."""
    atlas = Atlas([np.full((8, 16, 3), (255, 0, 0), np.uint8)])
    floor = quad([(-99, -99, -1), (99, -99, -1), (99, 99, -1), (-99, 99, -1)])
    black = replace(floor, tint=np.zeros_like(floor.tint))
    dull, _ = shot(black, atlas)
    glossy, _ = shot(replace(black, shine=np.full(len(floor), 0.5, np.float32)), atlas)
    assert dull[20].max() == 0
    assert glossy[20, :, 0].min() > 0.05
    assert glossy[20, :, 1].max() == 0


def test_relief_tells_a_wall_from_a_scene() -> None:
    bare, scene = wall(4.0), joined([wall(4.0), moved(ball((0.5, 0.5, 0.5)), EYE, (1.5, 0, 0))])
    assert relief(World(bare, plain_atlas()), AHEAD) < 1e-4
    assert relief(World(scene, plain_atlas()), AHEAD) > 0.1


def test_solids_have_the_size_they_are_given() -> None:
    for mesh, low, high in (
        (box((1, 2, 3)), (-1, -2, -3), (1, 2, 3)),
        (ball((1, 2, 3), 32), (-1, -2, -3), (1, 2, 3)),
        (cylinder(0.5, 2.0, sides=32), (-0.5, -0.5, 0), (0.5, 0.5, 2)),
        (capsule((0, 0, 0), (0, 0, 2), (0.25, 0.5), 32), (-0.5, -0.5, -0.25), (0.5, 0.5, 2.5)),
    ):
        np.testing.assert_allclose(mesh.bounds(), (low, high), atol=0.02)


def test_things_are_found_in_a_building() -> None:
    """A table of five boxes is one thing, a lamp apart from it another; floor and walls are none."""
    top = moved(box((0.6, 0.4, 0.02)), EYE, (0, 0, 0.7))
    legs = [moved(box((0.03, 0.03, 0.36)), EYE, (x, y, 0.35)) for x in (-0.5, 0.5) for y in (-0.3, 0.3)]
    lamp = moved(cylinder(0.1, 1.5), EYE, (2, 2, 0))
    shell = box((4, 4, 1.5))
    found = things(joined([top, *legs, lamp, shell]))
    assert sorted(len(thing) for thing in found) == sorted((len(joined([top, *legs])), len(lamp)))
    table = max(found, key=lambda thing: np.ptp(thing.bounds(), axis=0)[0])
    np.testing.assert_allclose(table.bounds(), ((-0.6, -0.4, 0), (0.6, 0.4, 0.73)), atol=1e-5)


def model(folder: Path, mesh: Mesh, textures: int = 1) -> None:
    """Written as the data folder has them."""
    folder.mkdir(parents=True)
    names = [f"tex{i:03d}.png" for i in range(textures)]
    for index, name in enumerate(names):
        colour = np.random.default_rng(index).integers(0, 255, (8, 8, 3)).astype(np.uint8)
        Image.fromarray(colour).save(folder / name)
    which = np.where(np.arange(len(mesh)) % 2 == 0, 0, -1).astype(np.int16)
    grey = np.full((len(mesh), 3), 128, np.uint8)
    np.savez(folder / "mesh.npz", V=mesh.corners, UV=mesh.uv, T=which, C=grey)
    (folder / "meta.json").write_text(json.dumps({"textures": names}))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One small room with a table, a house, a car and a lamp post for each part of the work."""
    folder = tmp_path_factory.mktemp("data")
    table = joined([moved(cylinder(0.4, 0.7), EYE, (0.5, 0, 0)), moved(box((0.3, 0.2, 0.4)), EYE, (-1, 0.5, 0.4))])
    room = joined([moved(box((3, 2, 1.3)), EYE, (0, 0, 1.3)), table])
    for name in ("aws_small_house", "cafe", "aws_bookstore"):
        model(folder / "models" / name, room, 78 if name == "aws_small_house" else 1)
    for name in ("house_1", "house_2", "house_3"):
        model(folder / "models" / "gazebo" / name, moved(box((4, 3, 2.5)), EYE, (0, 0, 2.5)))
    for name in ("hatchback", "suv", "pickup"):
        model(folder / "models" / "gazebo" / name, moved(box((2, 0.9, 0.7)), EYE, (0, 0, 0.8)))
    for name in ("lamp_post", "oak_tree", "pine_tree"):
        model(folder / "models" / "gazebo" / name, cylinder(0.1, 4.0))
    views = folder / "textures" / "panoramas"
    views.mkdir(parents=True)
    for name in ("pm_park", "pm_lab", "pm_city", "pm_apartment", "pm_venice", "ph_vestibule"):
        Image.fromarray(np.random.default_rng(len(name)).integers(0, 255, (32, 64, 3)).astype(np.uint8)).save(
            views / f"{name}.jpg"
        )
    for name in ("brick", "doubtful"):
        Image.fromarray(np.full((16, 16, 3), 150, np.uint8)).save(folder / "textures" / f"{name}.jpg")
    (folder / "textures" / "LICENCES.md").write_text("| doubtful.jpg | somewhere | ? | ? | (grade C) |\n")
    return folder


@pytest.fixture(scope="module")
def library(data: Path) -> Library:
    return load_library(data, "train")


def test_no_building_is_on_two_sides(data: Path) -> None:
    kept = {split: set(load_library(data, split).models) for split in ("train", "validate", "held-out")}
    assert kept["train"] == {"aws_small_house", "house_1", "hatchback", "lamp_post"}
    assert kept["validate"] == {"cafe", "house_3", "pickup", "pine_tree"} <= VALIDATE
    assert kept["held-out"] == {"aws_bookstore", "house_2", "suv", "oak_tree"} <= HELD_OUT
    assert not HELD_OUT & VALIDATE


def test_surfaces_in_doubt_and_photographs_of_people_are_left_out(library: Library) -> None:
    assert len(library.materials) == 1
    mesh = library.models["aws_small_house"]
    first = int(mesh.picture[mesh.picture >= 0].min())
    blank = library.atlas.size(np.array([first, first + SMALL_HOUSE_PHOTOGRAPHS[0]], np.int32))
    assert blank.tolist() == [8.0, 4.0]


def test_a_folder_without_models_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"has 0 models and 0 panoramas .* models/NAME/mesh\.npz"):
        load_library(tmp_path, "train")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_scene_gives_pictures(library: Library, kind: str) -> None:
    """The same seed gives the same ones; depth varies in them."""
    one, same = (next(pictures(library, SIZE, np.random.default_rng(5), kind)) for _ in range(2))
    assert np.array_equal(one.colour, same.colour)
    assert np.array_equal(one.inverse, same.inverse)
    assert one.colour.shape == (*SIZE, 3)
    assert np.isfinite(one.colour).all()
    assert (one.inverse >= 0).all()
    assert np.ptp(one.inverse) > 0


def test_figures_are_whole_and_of_human_size(library: Library) -> None:
    for pose in ("stand", "walk"):
        low, high = person(library, np.random.default_rng(1), pose).bounds()
        assert low[2] == pytest.approx(0, abs=1e-5)
        assert 1.35 < high[2] < 2.1
    seat = person(library, np.random.default_rng(1), "sit").bounds()[1]
    assert seat[2] < 1.5
    for make in (animal, swimmer, tree):
        mesh = make(library, np.random.default_rng(2))
        assert np.isfinite(mesh.corners).all()
        assert mesh.uv.shape == (len(mesh), 3, 2)


def test_what_is_laid_on_a_table_stands_on_it(library: Library) -> None:
    bare = laid_table(library, np.random.default_rng(3), 0.8, 0)
    laid = laid_table(library, np.random.default_rng(3), 0.8, 5)
    above = laid.chosen(np.arange(len(laid)) >= len(bare))
    assert bare.bounds()[1][2] == pytest.approx(0.8, abs=1e-5)
    assert above.bounds()[0][2] == pytest.approx(0.8, abs=1e-4)


def plan(data: Path, uses: int = 1, primitives: float = 0.0) -> RenderPlan:
    return RenderPlan(data, None, SIZE, primitives, uses, 0)


def test_samples_of_both_generators_come_in_the_shares_asked_for(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "PRIMITIVES_AT_ONCE", 1)
    made: list[int] = []
    own = pool._primitives

    def counted(plan: RenderPlan, rng: np.random.Generator) -> list[pool.Sample]:
        made.append(2)
        return own(plan, rng)

    monkeypatch.setattr(pool, "_primitives", counted)
    stream = samples(plan(data, primitives=0.2))
    taken = [next(stream) for _ in range(30)]
    assert all(rgb.shape == (*SIZE, 3) and inverse.shape == SIZE for rgb, inverse in taken)
    assert 2 <= sum(made) <= 12


def test_pictures_rendered_while_training(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is drawn as often as asked for and no more; nothing is left running."""
    monkeypatch.setattr(pool, "FEWEST", 3)
    monkeypatch.setattr(pool, "HELD", 4)
    threads = set(threading.enumerate())
    with MeshPool(plan(data, uses=2)) as meshes:
        drawn = [meshes.draw(Random(i), 1) for i in range(12)]
        assert meshes.rendered >= 6
        clip, depth = meshes.draw(Random(0), 4)
        assert clip.shape == (4, *SIZE, 3)
        assert depth.shape == (4, *SIZE)
    assert all(rgb.shape == (1, *SIZE, 3) and rgb.dtype == torch.uint8 for rgb, _ in drawn)
    seen = [rgb.numpy().tobytes() for rgb, _ in drawn]
    assert max(seen.count(each) for each in seen) <= 2
    assert set(threading.enumerate()) <= threads
    assert not multiprocessing.active_children()


def test_a_window_over_a_picture_carries_its_depth_along(monkeypatch: pytest.MonkeyPatch) -> None:
    """Depth is coded in the picture, so that the two can be compared wherever the window is."""
    monkeypatch.setattr(pan, "RESTING", 0.0)
    line = torch.linspace(0, 200, 64)
    rgb = line.expand(48, 64)[..., None].expand(-1, -1, 3).to(torch.uint8)
    clip, depth = pan.panned(rgb, line.expand(48, 64), 9, Random(3))
    assert float((clip[..., 0].float() - depth).abs().max()) <= 3
    assert len({float(frame.mean()) for frame in depth}) > 5
    monkeypatch.setattr(pan, "RESTING", 1.0)
    clip, depth = pan.panned(rgb, line.expand(48, 64), 3, Random(3))
    assert torch.equal(clip[0], clip[2])
    assert torch.equal(depth[0], depth[2])


def test_a_renderer_that_dies_is_heard_of(tmp_path: Path) -> None:
    with MeshPool(plan(tmp_path)) as meshes, pytest.raises(RuntimeError, match=r"FileNotFoundError: .* 0 models"):
        meshes.draw(Random(0), 1)


def test_the_ratio_is_one_for_the_plane_and_none_for_the_truth(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "COUNT", 3)
    monkeypatch.setattr(measure, "SIZE", SIZE)
    sets = measure.picture_sets(data, "held-out", tmp_path)
    assert all(rgb.shape == (3, *SIZE, 3) for rgb, _ in sets.values())
    again = measure.picture_sets(tmp_path / "nowhere", "held-out", tmp_path)  # read, not made
    assert all(np.array_equal(sets[name][1], again[name][1]) for name in sets)
    assert measure.ratios(row_plane, sets) == pytest.approx(dict.fromkeys((*sets, "mean"), 1.0))
    truths = iter(each for _, inverse in sets.values() for each in inverse)
    assert measure.ratios(lambda _: next(truths), sets)["mean"] < 1e-3


def test_one_thing_placed_twice_is_seen_twice() -> None:
    post = cylinder(0.2, 2.0)
    mesh = joined([placed(post, 3, y, -1) for y in (-1.5, 1.5)])
    _, inverse = shot(mesh, plain_atlas())
    assert (inverse[12, 2:14] > 0).any()
    assert (inverse[12, 18:30] > 0).any()
    assert (inverse[:, 15:17] == 0).all()
