"""A scene that rays can be cast at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from numpy.typing import NDArray

from export.nano.meshes.atlas import LEVELS, Atlas
from export.nano.meshes.mesh import Floats, Ints, Mesh, normals

LAYERS = 4
"""Cut-out surfaces (leaves, fences) that a ray may pass through."""
OPAQUE = 0.4
STEP = 1e-3
FARTHEST = 1e5


@dataclass(frozen=True, slots=True)
class Hits:
    """What R rays meet first. depth: ray parameter, 0 = nothing; triangle: -1 = nothing; colour: linear RGB [R, 3]."""

    triangle: Ints
    depth: Floats
    colour: Floats

    @property
    def met(self) -> NDArray[np.bool_]:
        """Where a ray meets something."""
        return self.triangle >= 0


class World:
    """A mesh in Embree, and the pictures its triangles carry."""

    def __init__(self, mesh: Mesh, atlas: Atlas) -> None:
        self.mesh, self.atlas = mesh, atlas
        self.normal = normals(mesh.corners)
        self.low, self.high = mesh.bounds()
        self._density = _density(mesh, atlas)
        self._scene = EmbreeScene()
        self._geometry = TriangleMesh(self._scene, np.ascontiguousarray(mesh.corners, np.float32))

    def cast(self, origin: Floats, direction: Floats) -> tuple[Ints, Floats, Floats]:
        """Triangle [R] (-1 = none), ray parameter [R] and barycentric weights [R, 3] of the nearest triangle."""
        found = self._scene.run(origin, direction, output=1)
        u, v = found["u"], found["v"]
        return found["primID"], found["tfar"], np.stack((1 - u - v, u, v), 1)

    def blocked(self, origin: Floats, direction: Floats) -> NDArray[np.bool_]:
        """Whether anything stands between each origin and the end of its direction; cut-outs count as solid."""
        reach = np.ones(len(origin), np.float32)
        hit: NDArray[np.bool_] = self._scene.run(origin, direction, reach, query="OCCLUDED") >= 0
        return hit

    def first(self, origin: Floats, direction: Floats, pixel: float) -> Hits:
        """The first opaque surface of each ray. pixel: width of one ray's footprint at parameter 1."""
        count = len(origin)
        triangle, depth = np.full(count, -1, np.int32), np.zeros(count, np.float32)
        colour = np.zeros((count, 3), np.float32)
        going, passed = np.arange(count), np.zeros(count, np.float32)
        for _ in range(LAYERS):
            start = origin[going] + direction[going] * passed[going, None]
            which, ahead, weights = self.cast(start, direction[going])
            met = which >= 0
            here, which, ahead = going[met], which[met], ahead[met] + passed[going[met]]
            rgba = self._albedo(which, weights[met], ahead * pixel)
            solid = rgba[:, 3] > OPAQUE
            triangle[here[solid]], depth[here[solid]] = which[solid], ahead[solid]
            colour[here[solid]] = rgba[solid, :3]
            going = here[~solid]
            passed[going] = ahead[~solid] * 1.0001 + STEP
            if not len(going):
                break
        return Hits(triangle, depth, colour)

    def _albedo(self, triangle: Ints, weights: Floats, footprint: Floats) -> Floats:
        """Linear RGB and opacity [R, 4] of places on triangles; footprint: metres that a ray covers there."""
        mesh = self.mesh
        rgba = np.concatenate((mesh.tint[triangle], np.ones((len(triangle), 1), np.float32)), 1)
        drawn = np.flatnonzero(mesh.picture[triangle] >= 0)
        if len(drawn):
            which = triangle[drawn]
            uv = (mesh.uv[which] * weights[drawn, :, None]).sum(1)
            texels = np.maximum(self._density[which] * footprint[drawn], 1.0)
            level = np.minimum(np.log2(texels) + 0.3, LEVELS - 1).astype(np.int32)
            rgba[drawn] *= self.atlas.sample(mesh.picture[which], uv, level)
        return rgba


def _density(mesh: Mesh, atlas: Atlas) -> Floats:
    """Texels to the metre on each triangle [n]."""
    a, b = mesh.corners[:, 1] - mesh.corners[:, 0], mesh.corners[:, 2] - mesh.corners[:, 0]
    area = np.linalg.norm(np.cross(a, b), axis=1)
    p, q = mesh.uv[:, 1] - mesh.uv[:, 0], mesh.uv[:, 2] - mesh.uv[:, 0]
    drawn = np.abs(p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0])
    side = atlas.size(np.maximum(mesh.picture, 0)) if len(atlas) else np.ones(len(mesh), np.float32)
    density: Floats = (np.sqrt(drawn / np.maximum(area, 1e-9)) * side).astype(np.float32)
    return density
