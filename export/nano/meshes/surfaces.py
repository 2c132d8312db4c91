"""New looks for known shapes: other pictures, tints and gloss, so that shape has to be learnt, not places."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.random import Generator

from export.nano.meshes.library import Library
from export.nano.meshes.mesh import PLAIN, Floats, Mesh, boxed_uv, worn

REPAINTED = 0.35
"""Share of a model's pictures that are exchanged for a random surface."""


def random_tint(rng: Generator) -> Floats:
    """Linear RGB [3], mostly muted, dark to bright."""
    level, spread = 0.04 + 0.86 * rng.random() ** 1.3, 0.7 * rng.random() ** 2
    tint: Floats = np.clip(level * (1 + spread * rng.uniform(-1, 1, 3)), 0.02, 0.95).astype(np.float32)
    return tint


def any_picture(rng: Generator, library: Library) -> int:
    """A surface mostly, else a photograph or a panorama."""
    pools = (library.materials, library.photographs, library.outdoors, library.indoors)
    pool = pools[rng.choice(4, p=(0.6, 0.2, 0.1, 0.1))] or library.photographs
    return int(rng.choice(pool))


def repainted(mesh: Mesh, library: Library, rng: Generator, share: float = REPAINTED) -> Mesh:
    """The same triangles; a share of the pictures and plain colours they carry are exchanged, all get a tint."""
    picture, tint, uv, shine = mesh.picture.copy(), mesh.tint.copy(), mesh.uv.copy(), mesh.shine.copy()
    tint *= rng.uniform(0.75, 1.25) * rng.uniform(0.9, 1.1, 3).astype(np.float32)
    for old in np.unique(mesh.picture):
        where = mesh.picture == old
        if rng.random() < 0.1:
            shine[where] = rng.uniform(0.05, 0.5)
        if old == PLAIN:
            tint[where] *= rng.uniform(0.6, 1.4, 3).astype(np.float32)
        elif rng.random() < share:
            if rng.random() < 0.4:
                picture[where], tint[where] = PLAIN, random_tint(rng)
            else:
                picture[where], uv[where] = any_picture(rng, library), boxed_uv(mesh.corners[where], _tile(rng))
        else:
            tint[where] *= rng.uniform(0.8, 1.2, 3).astype(np.float32)
    return replace(mesh, uv=uv, picture=picture, tint=np.clip(tint, 0, 1.3), shine=shine)


def covered(mesh: Mesh, library: Library, rng: Generator, tile: float | None = None) -> Mesh:
    """The same triangles all in one random surface, or plain."""
    shine = rng.uniform(0.05, 0.5) if rng.random() < 0.2 else 0.0
    if rng.random() < 0.3:
        return worn(mesh, PLAIN, random_tint(rng), shine)
    laid = replace(mesh, uv=boxed_uv(mesh.corners, tile or _tile(rng)))
    return worn(laid, any_picture(rng, library), rng.uniform(0.6, 1.2) * rng.uniform(0.85, 1.15, 3), shine)


def plastered(mesh: Mesh, library: Library, rng: Generator, tile: float) -> Mesh:
    """As walls, floors and ceilings mostly are: one quiet colour or a tiling surface, never a photograph."""
    painted = covered(mesh, library, rng, tile)
    if painted.picture[0] == PLAIN:
        return painted
    if rng.random() < 0.35:
        return worn(painted, PLAIN, random_tint(rng) ** np.float32(0.5), float(painted.shine[0]))
    return worn(painted, int(rng.choice(library.materials)), painted.tint[0], float(painted.shine[0]))


def _tile(rng: Generator) -> float:
    """Metres that one copy of a picture covers."""
    return float(np.exp(rng.uniform(np.log(0.3), np.log(4.0))))
