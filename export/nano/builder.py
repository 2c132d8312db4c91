"""Collects solids and their surfaces for one scene, then packs them into the renderer's tensors."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor

from export.nano.capsules import Capsules
from export.nano.cards import MASK, Cards
from export.nano.render import FACES, Lighting, Scene, Surfaces
from export.nano.solids import BALL, BOX, CYLINDER, Solids
from export.nano.terrain import Terrain

Vector = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Finish:
    """One surface: two texture indices and their tile sizes in metres, tint, shine."""

    textures: tuple[int, int]
    tiles: tuple[float, float]
    tint: Vector
    shine: float


@dataclass(frozen=True, slots=True)
class _Solid:
    kind: int
    centre: Vector
    turn: Tensor
    half: Vector
    velocity: Vector
    finish: Finish


@dataclass(frozen=True, slots=True)
class _Capsule:
    ends: tuple[Vector, Vector]
    radius: float
    velocity: Vector
    swing: tuple[Vector, Vector]
    wave: tuple[float, float]
    finish: Finish


@dataclass(frozen=True, slots=True)
class _Card:
    centre: Vector
    turn: Tensor
    half: tuple[float, float]
    mask: int
    finish: Finish


class Builder:
    """Objects are added in the frame of the innermost `placed`: x, z on the floor, y up, turned about y."""

    def __init__(self, rng: Random, textures: int) -> None:
        self.rng = rng
        self.textures = textures
        self.terrain: Terrain | None = None
        self.masks = torch.ones(1, MASK, MASK, dtype=torch.bool)
        """Of the cards; a scene that uses cards sets them."""
        self._solids: list[_Solid] = []
        self._capsules: list[_Capsule] = []
        self._cards: list[_Card] = []
        self._origin: Vector = (0.0, 0.0, 0.0)
        self._yaw = 0.0
        self._velocity: Vector = (0.0, 0.0, 0.0)

    def __len__(self) -> int:
        return len(self._solids) + len(self._capsules) + len(self._cards)

    @contextmanager
    def placed(self, at: Vector, yaw: float = 0.0, velocity: Vector = (0.0, 0.0, 0.0)) -> Iterator[None]:
        """Everything added inside stands at `at`, turned by `yaw`, and moves by `velocity` metres a frame."""
        before = self._origin, self._yaw, self._velocity
        self._origin, self._yaw = self._outward(at), self._yaw + yaw
        self._velocity = velocity if any(velocity) else self._velocity
        try:
            yield
        finally:
            self._origin, self._yaw, self._velocity = before

    def finish(self, tile: float | None = None) -> Finish:
        """A random surface; `tile` metres to one texture tile."""
        rng = self.rng
        if rng.random() < 0.35:
            level, spread = rng.uniform(0.05, 0.95), rng.uniform(0, 0.6) ** 2
            red, green, blue = (level * (1 + spread * rng.uniform(-1, 1)) for _ in range(3))
            return self.plain((red, green, blue))
        size = tile if tile is not None else math.exp(rng.uniform(math.log(0.15), math.log(2.5)))
        bright = rng.uniform(0.6, 1.4)
        tint = tuple(bright * rng.uniform(0.85, 1.15) for _ in range(3))
        shine = rng.uniform(0.1, 0.8) if rng.random() < 0.3 else 0.0
        pair = (rng.randrange(self.textures), rng.randrange(self.textures))
        return Finish(pair, (size, size * rng.uniform(2, 7)), (tint[0], tint[1], tint[2]), shine)

    def plain(self, colour: Vector) -> Finish:
        """A surface of one colour; half of them with a second, faint texture."""
        second = self.rng.randrange(self.textures) if self.rng.random() < 0.5 else 0
        shine = self.rng.uniform(0.1, 0.6) if self.rng.random() < 0.2 else 0.0
        return Finish((0, second), (3.0, self.rng.uniform(0.3, 2)), colour, shine)

    def box(self, centre: Vector, half: Vector, finish: Finish, turn: Tensor | None = None) -> None:
        """A box with half extents `half`."""
        self._add(BOX, centre, half, finish, turn)

    def ball(self, centre: Vector, half: Vector, finish: Finish, turn: Tensor | None = None) -> None:
        """An ellipsoid with half axes `half`."""
        self._add(BALL, centre, half, finish, turn)

    def cylinder(self, centre: Vector, half: Vector, finish: Finish, turn: Tensor | None = None) -> None:
        """A capped cylinder along its own y: half = (radius, half height, radius)."""
        self._add(CYLINDER, centre, half, finish, turn)

    def capsule(
        self,
        start: Vector,
        end: Vector,
        radius: float,
        finish: Finish,
        swing: tuple[Vector, Vector] = ((0, 0, 0), (0, 0, 0)),
        wave: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        """A capsule whose ends swing by `swing` times the sine of a wave of (radians a frame, phase)."""
        ends = self._outward(start), self._outward(end)
        swung = self._turned(swing[0]), self._turned(swing[1])
        self._capsules.append(_Capsule(ends, radius, self._velocity, swung, wave, finish))

    def card(self, centre: Vector, half: tuple[float, float], yaw: float, finish: Finish, lean: float = 0.0) -> None:
        """A flat upright card with a random mask, turned by `yaw` and leaning back by `lean`."""
        c, s = math.cos(lean), math.sin(lean)
        tilt = torch.tensor([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])
        mask = self.rng.randrange(len(self.masks))
        self._cards.append(_Card(self._outward(centre), about_y(self._yaw + yaw) @ tilt, half, mask, finish))

    def height(self, x: float, z: float) -> float:
        """Of the ground there."""
        if self.terrain is None:
            return 0.0
        return float(self.terrain.height(torch.tensor([x]), torch.tensor([z])))

    def limb(self, start: Vector, end: Vector, radius: float, finish: Finish) -> None:
        """A cylinder from one point to another."""
        a, b = torch.tensor(start), torch.tensor(end)
        length = float((b - a).norm())
        middle = ((a + b) / 2).tolist()
        self.cylinder((middle[0], middle[1], middle[2]), (radius, length / 2, radius), finish, along((b - a) / length))

    def _turned(self, point: Vector) -> Vector:
        c, s = math.cos(self._yaw), math.sin(self._yaw)
        x, y, z = point
        return c * x + s * z, y, c * z - s * x

    def _outward(self, point: Vector) -> Vector:
        x, y, z = self._turned(point)
        ox, oy, oz = self._origin
        return ox + x, oy + y, oz + z

    def _add(self, kind: int, centre: Vector, half: Vector, finish: Finish, turn: Tensor | None) -> None:
        own = torch.eye(3) if turn is None else turn
        world = about_y(self._yaw) @ own
        self._solids.append(_Solid(kind, self._outward(centre), world, half, self._velocity, finish))

    def scene(self, room: Vector, faces: list[Finish], lighting: Lighting, open_sky: bool, clear: Tensor) -> Scene:
        """Pack all. clear: [n, 4] centres and radii of balls that must stay free (the camera's path)."""
        assert len(faces) == FACES
        solids = [each for each in sorted(self._solids, key=lambda s: s.kind) if not _fills(each, clear)]
        capsules = [each for each in self._capsules if not _touches(each, clear)]
        cards = [each for each in self._cards if not _hides(each, clear)]
        finishes = [s.finish for s in solids] + [c.finish for c in capsules] + [c.finish for c in cards] + faces
        return Scene(
            _solids(solids), _capsules(capsules), _cards(cards, self.masks), self.terrain, _surfaces(finishes),
            lighting, torch.tensor(room), open_sky,
        )  # fmt: skip


def _solids(kept: list[_Solid]) -> Solids:
    return Solids(
        torch.tensor([s.kind for s in kept], dtype=torch.int64),
        torch.tensor([s.centre for s in kept]).reshape(-1, 3),
        torch.stack([s.turn for s in kept]) if kept else torch.zeros(0, 3, 3),
        torch.tensor([s.half for s in kept]).reshape(-1, 3),
        torch.tensor([s.velocity for s in kept]).reshape(-1, 3),
    )


def _capsules(kept: list[_Capsule]) -> Capsules:
    return Capsules(
        torch.tensor([c.ends for c in kept]).reshape(-1, 2, 3),
        torch.tensor([c.radius for c in kept]),
        torch.tensor([c.velocity for c in kept]).reshape(-1, 3),
        torch.tensor([c.swing for c in kept]).reshape(-1, 2, 3).float(),
        torch.tensor([c.wave[0] for c in kept]),
        torch.tensor([c.wave[1] for c in kept]),
    )


def _cards(kept: list[_Card], masks: Tensor) -> Cards:
    return Cards(
        torch.tensor([c.centre for c in kept]).reshape(-1, 3),
        torch.stack([c.turn for c in kept]) if kept else torch.zeros(0, 3, 3),
        torch.tensor([c.half for c in kept]).reshape(-1, 2),
        torch.tensor([c.mask for c in kept], dtype=torch.int64),
        masks,
    )


def along(direction: Tensor) -> Tensor:
    """A rotation [3, 3] whose second column is the unit vector `direction`."""
    helper = torch.tensor([1.0, 0.0, 0.0]) if abs(float(direction[0])) < 0.9 else torch.tensor([0.0, 0.0, 1.0])
    first = torch.linalg.cross(direction, helper)
    first = first / first.norm()
    return torch.stack((first, direction, torch.linalg.cross(first, direction)), 1)


def about_y(yaw: float) -> Tensor:
    """Rotation [3, 3] about the vertical; columns are the turned axes."""
    c, s = math.cos(yaw), math.sin(yaw)
    return torch.tensor([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])


def tumbled(rng: Random) -> Tensor:
    """A random rotation [3, 3]."""
    vector = torch.tensor([rng.gauss(0, 1) for _ in range(3)])
    return along(vector / vector.norm()) @ about_y(rng.uniform(0, 2 * math.pi))


def _surfaces(finishes: list[Finish]) -> Surfaces:
    return Surfaces(
        torch.tensor([f.textures for f in finishes]),
        torch.tensor([f.tiles for f in finishes]),
        torch.tensor([f.tint for f in finishes]),
        torch.tensor([f.shine for f in finishes]),
    )


def _fills(solid: _Solid, clear: Tensor) -> bool:
    """Whether the solid reaches into one of the balls [n, 4] that must stay free."""
    local = (clear[:, :3] - torch.tensor(solid.centre)) @ solid.turn
    outside = (local.abs() - torch.tensor(solid.half)).clamp(min=0).norm(dim=1)
    return bool((outside < clear[:, 3]).any())


def _touches(capsule: _Capsule, clear: Tensor) -> bool:
    """Whether the capsule is within a ball's own radius [n, 4] of it at any time of the path."""
    time = torch.arange(len(clear))[:, None].float()
    a, b = (torch.tensor(end) + time * torch.tensor(capsule.velocity) for end in capsule.ends)
    bone = b - a
    share = ((clear[:, :3] - a) * bone).sum(1, keepdim=True) / (bone * bone).sum(1, keepdim=True).clamp(min=1e-9)
    distance = (clear[:, :3] - a - share.clamp(0, 1) * bone).norm(dim=1)
    return bool((distance < clear[:, 3] + capsule.radius).any())


def _hides(card: _Card, clear: Tensor) -> bool:
    distance = (clear[:, :3] - torch.tensor(card.centre)).norm(dim=1)
    return bool((distance < clear[:, 3] + max(card.half)).any())
