"""The material that scenes are built from, read from a data folder: models, surface pictures, panoramas.

`models/` and `textures/` as described in the data folder's own README; what is kept for validation or held out
altogether is named here, by building, so that no two parts of one building are on different sides.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from export.nano.meshes.atlas import LINEAR, Atlas
from export.nano.meshes.foliage import LEAF_PICTURES, leaf_picture
from export.nano.meshes.furniture import furniture_of
from export.nano.meshes.mesh import PLAIN, Mesh

Split = Literal["train", "validate", "held-out"]

HELD_OUT = frozenset(
    (
        "aws_bookstore", "police_station", "collapsed_police_station", "house_2", "post_office", "suv", "fire_truck",
        "oak_tree", "ph_leadenhall_market", "pm_venice", "ph_vestibule",
    )
)  # fmt: skip
"""For the last report only: no training, no decision."""
VALIDATE = frozenset(
    (
        "cafe", "fire_station", "collapsed_fire_station", "house_3", "fast_food", "pickup", "ambulance", "pine_tree",
        "pm_city", "ph_thatch_chapel", "pm_apartment",
    )
)  # fmt: skip
"""For decisions: no training."""

INDOOR_PANORAMAS = (
    "studio", "workshop", "autoshop", "arena", "hall", "cellar", "rotunda", "vestibule", "apartment", "lab", "lobby",
    "warehouse", "market",
)  # fmt: skip
SMALL_HOUSE_PHOTOGRAPHS = (*range(30, 67, 2), 76, 77)
"""Pictures on the walls of aws_small_house; some copies of it show people. Never drawn: other pictures hang there."""
SIDE = 256
"""Pictures are shrunk to this."""


@dataclass(frozen=True, slots=True)
class Library:
    """models: by name; materials: atlas indices of tiling surfaces; outdoors, indoors: of panoramas;
    photographs: of pictures that may hang on walls or cover shapes; leaves: of cut-out foliage; furniture: things to
    put into rooms, each standing on the origin.
    """

    atlas: Atlas
    models: dict[str, Mesh]
    materials: tuple[int, ...]
    outdoors: tuple[int, ...]
    indoors: tuple[int, ...]
    photographs: tuple[int, ...]
    leaves: tuple[int, ...]
    furniture: tuple[Mesh, ...]


def split_of(name: str) -> Split:
    """Which part of the work a model or panorama belongs to."""
    return "held-out" if name in HELD_OUT else "validate" if name in VALIDATE else "train"


def load_library(folder: Path, split: Split, photographs: Iterable[NDArray[np.uint8]] = ()) -> Library:
    """What `folder` (with `models` and `textures` in it) has for this split. photographs: uint8 [h, w, 3].

    Held-out and validation scenes may use the surfaces of training, never its models or panoramas.
    """
    pictures: list[NDArray[np.uint8]] = []
    materials = _indices(pictures, (_picture(p, SIDE) for p in _materials(folder)))
    scenes = [p for p in sorted((folder / "textures" / "panoramas").glob("*.jpg")) if split_of(p.stem) == split]
    views = _indices(pictures, (_picture(p, 2 * SIDE) for p in scenes))
    indoor = [any(word in p.stem for word in INDOOR_PANORAMAS) for p in scenes]
    hung = _indices(pictures, photographs)
    rng = np.random.default_rng(0)
    leaves = _indices(pictures, (leaf_picture(rng) for _ in range(LEAF_PICTURES)))
    models = {}
    for meta in sorted((folder / "models").rglob("meta.json")):
        if split_of(meta.parent.name) == split:
            models[meta.parent.name] = _model(meta.parent, pictures)
    if not models or not views:
        raise FileNotFoundError(
            f"{folder} has {len(models)} models and {len(views)} panoramas of the split {split!r}; both are needed. "
            "Name a folder with models/NAME/mesh.npz and textures/panoramas/NAME.jpg."
        )
    return Library(
        Atlas(pictures), models, materials,
        tuple(v for v, inside in zip(views, indoor, strict=True) if not inside) or views,
        tuple(v for v, inside in zip(views, indoor, strict=True) if inside) or views,
        hung or views, leaves, furniture_of(models),
    )  # fmt: skip


def _indices(pictures: list[NDArray[np.uint8]], more: Iterable[NDArray[np.uint8]]) -> tuple[int, ...]:
    first = len(pictures)
    pictures.extend(more)
    return tuple(range(first, len(pictures)))


def _materials(folder: Path) -> list[Path]:
    """Surfaces but those whose origin is in doubt (grade C of the folder's list)."""
    listed = folder / "textures" / "LICENCES.md"
    lines = listed.read_text().splitlines() if listed.exists() else []
    doubtful = {line.split("|")[1].strip() for line in lines if "grade C" in line and line.startswith("|")}
    return [p for p in sorted((folder / "textures").glob("*.jpg")) if p.name not in doubtful]


def _picture(path: Path, side: int) -> NDArray[np.uint8]:
    stored = Image.open(path)
    image = stored.convert("RGBA" if "A" in stored.getbands() else "RGB")
    if max(image.size) > side:
        share = side / max(image.size)
        image = image.resize(
            (max(1, round(image.width * share)), max(1, round(image.height * share))), Image.Resampling.BOX
        )
    return np.asarray(image)


def _model(folder: Path, pictures: list[NDArray[np.uint8]]) -> Mesh:
    """The mesh in a folder; its own pictures go to the end of `pictures`."""
    stored, first = np.load(folder / "mesh.npz"), len(pictures)
    names: list[str] = json.loads((folder / "meta.json").read_text())["textures"]
    for index, name in enumerate(names):
        blank = folder.name == "aws_small_house" and index in SMALL_HOUSE_PHOTOGRAPHS
        pictures.append(np.full((4, 4, 3), 200, np.uint8) if blank else _picture(folder / name, SIDE))
    own = stored["T"].astype(np.int32)
    tint = np.where(own[:, None] >= 0, 1.0, LINEAR[stored["C"]]).astype(np.float32)
    picture = np.where(own >= 0, own + first, PLAIN).astype(np.int32)
    corners, uv = stored["V"].astype(np.float32), stored["UV"].astype(np.float32)
    return Mesh(corners, uv, picture, tint, np.zeros(len(own), np.float32))
