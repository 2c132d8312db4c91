"""Mesh scenes that training never sees, and how much better than a slanted plane a model is on them.

Per set of pictures: AbsRel of the model over AbsRel of a plane that falls with the picture's row, each fitted to every
picture in inverse depth (1 = no better than the plane). Panoramas behind the scenes are left out.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from export.nano.deployed import opener
from export.nano.evaluate import Predictor, frame_accuracy, resized, row_plane, single_frames_of
from export.nano.meshes.kinds import FLOORS, INTERIORS, Picture, developed, dull, pictures
from export.nano.meshes.library import Library, Split, load_library
from export.nano.meshes.shade import render
from export.nano.meshes.views import indoor_light, inside
from export.nano.meshes.world import World
from export.nano.steady import FARTHEST

COUNT = 60
"""Pictures of a set."""
SIZE = (192, 256)
SEED = 77_000
Pictures = tuple[NDArray[np.uint8], NDArray[np.float32]]
"""rgb [N, H, W, 3] and inverse depth [N, H, W], 0 = nothing."""


def picture_sets(data: Path, split: Split, folder: Path) -> dict[str, Pictures]:
    """Interiors as they came, streets, laid tables and loose shapes; rendered into `folder` where not yet there."""
    folder.mkdir(parents=True, exist_ok=True)
    library: Library | None = None
    sets = {}
    for index, name in enumerate(("interior", "street", "table", "shapes")):
        path = folder / f"{split}-{name}.npz"
        if not path.exists():
            library = library or load_library(data, split)
            made = _made(library, name, np.random.default_rng(SEED + index))
            np.savez_compressed(path, rgb=made[0], inverse=made[1])
        stored = np.load(path)
        sets[name] = stored["rgb"], stored["inverse"]
    return sets


def _made(library: Library, name: str, rng: np.random.Generator) -> Pictures:
    found: list[Picture] = []
    while len(found) < COUNT:
        more = _as_it_came(library, rng) if name == "interior" else list(pictures(library, SIZE, rng, name))[:4]
        found += more[: COUNT - len(found)]
    rgb = np.stack([_filmed(developed(picture, rng), index) for index, picture in enumerate(found)])
    return rgb, np.stack([picture.inverse for picture in found])


def _as_it_came(library: Library, rng: np.random.Generator) -> list[Picture]:
    """Twenty views of a furnished building in its own surfaces."""
    name = rng.choice([n for n in INTERIORS if n in library.models])
    mesh = library.models[name]
    world, floor = World(mesh, library.atlas), FLOORS.get(name, float(mesh.bounds()[0][2]))
    found: list[Picture] = []
    while len(found) < 20:
        camera = inside(world, rng, floor)
        if camera is not None:
            picture = Picture(*render(world, camera, indoor_light(library, camera, world, rng), SIZE, rng))
            if not dull(picture.inverse, rng):
                found.append(picture)
    return found


def _filmed(rgb: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    """A little noise, as any camera's."""
    noisy = rgb + np.random.default_rng(seed).normal(0, 3, rgb.shape)
    out: NDArray[np.uint8] = np.clip(noisy, 0, 255).astype(np.uint8)
    return out


def ratio(predict: Predictor, made: Pictures) -> float:
    """Error of `predict` over the row plane's: means over all pictures of a set."""
    errors: dict[bool, list[float]] = {True: [], False: []}
    for rgb, inverse in zip(*made, strict=True):
        near = np.where(inverse >= 1 / FARTHEST, inverse, 0.0).astype(np.float32)
        if (near > 0).sum() < 100:
            continue
        for own in (True, False):
            predicted = (predict if own else row_plane)(torch.from_numpy(rgb))
            errors[own].append(frame_accuracy(resized(predicted, near.shape), near, FARTHEST).abs_rel)
    return float(np.mean(errors[True]) / np.mean(errors[False]))


def ratios(predict: Predictor, sets: dict[str, Pictures]) -> dict[str, float]:
    """Of every set, and their geometric mean."""
    found = {name: ratio(predict, made) for name, made in sets.items()}
    return found | {"mean": float(np.exp(np.mean(np.log(list(found.values())))))}


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description="Measure the embedded model on mesh scenes it was not trained on.")
    parser.add_argument("weights", type=Path, nargs="+", help="trained .safetensors or exported .onnx")
    parser.add_argument("--data", type=Path, required=True, help="folder with models and textures")
    parser.add_argument("--folder", type=Path, required=True, help="where the pictures lie or go")
    parser.add_argument("--split", choices=("validate", "held-out"), default="validate")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sets = picture_sets(options.data, options.split, options.folder)
    for weights in options.weights:
        predict = single_frames_of(opener(weights, *SIZE))
        print(json.dumps({"weights": weights.name, "split": options.split, **ratios(predict, sets)}, indent=1))


if __name__ == "__main__":
    main()
