"""Collects solids and their surfaces for one scene, then packs them into the renderer's tensors."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor

from export.nano.render import BALL, BOX, CYLINDER, FACES, Lighting, Scene, Solids, Surfaces

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


class Builder:
    """Objects are added in the frame of the innermost `placed`: x, z on the floor, y up, turned about y."""

    def __init__(self, rng: Random, textures: int) -> None:
        self.rng = rng
        self.textures = textures
        self._solids: list[_Solid] = []
        self._origin: Vector = (0.0, 0.0, 0.0)
        self._yaw = 0.0
        self._velocity: Vector = (0.0, 0.0, 0.0)

    def __len__(self) -> int:
        return len(self._solids)

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

    def limb(self, start: Vector, end: Vector, radius: float, finish: Finish) -> None:
        """A cylinder from one point to another."""
        a, b = torch.tensor(start), torch.tensor(end)
        length = float((b - a).norm())
        middle = ((a + b) / 2).tolist()
        self.cylinder((middle[0], middle[1], middle[2]), (radius, length / 2, radius), finish, along((b - a) / length))

    def _outward(self, point: Vector) -> Vector:
        c, s = math.cos(self._yaw), math.sin(self._yaw)
        x, y, z = point
        ox, oy, oz = self._origin
        return ox + c * x + s * z, oy + y, oz - s * x + c * z

    def _add(self, kind: int, centre: Vector, half: Vector, finish: Finish, turn: Tensor | None) -> None:
        own = torch.eye(3) if turn is None else turn
        world = about_y(self._yaw) @ own
        self._solids.append(_Solid(kind, self._outward(centre), world, half, self._velocity, finish))

    def scene(self, room: Vector, faces: list[Finish], lighting: Lighting, open_sky: bool, clear: Tensor) -> Scene:
        """Pack all. clear: [n, 4] centres and radii of balls that must stay free (the camera's path)."""
        assert len(faces) == FACES
        kept = [solid for solid in sorted(self._solids, key=lambda s: s.kind) if not _fills(solid, clear)]
        solids = Solids(
            torch.tensor([s.kind for s in kept], dtype=torch.int64),
            torch.tensor([s.centre for s in kept]).reshape(-1, 3),
            torch.stack([s.turn for s in kept]) if kept else torch.zeros(0, 3, 3),
            torch.tensor([s.half for s in kept]).reshape(-1, 3),
            torch.tensor([s.velocity for s in kept]).reshape(-1, 3),
        )
        return Scene(solids, _surfaces([s.finish for s in kept] + faces), lighting, torch.tensor(room), open_sky)


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
