"""Stand-in weights of the network: random, but a function of (seed, name, shape) alone.

The golden files in `tests/data` were made by the official implementation with exactly these values, so tests rebuild
the checkpoint instead of shipping it.
"""

from __future__ import annotations

import functools
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from export.config import CONFIGS, MEAN, STD, VdaConfig
from export.model.depth import VideoDepthAnything
from export.model.temporal import sinusoidal_table

DATA = Path(__file__).parent / "data"
TINY = VdaConfig("VDA-Tiny", 64, 4, 2, (0, 1, 2, 3), (32, 32, 64, 64), 64, "Apache-2.0")
"""The network in miniature, for tests of what does not depend on its size; its weights are torch's own random ones."""
SHORT = {"VDA-Small": "vits", "VDA-Base": "vitb", "VDA-Large": "vitl"}


def manifest(model: str) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of an official checkpoint."""
    shapes = json.loads((DATA / f"{SHORT[model]}.manifest.json").read_text())
    return {name: tuple(shape) for name, shape in shapes.items()}


def tensor(name: str, shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """Value of one parameter, float32."""
    rng = np.random.Generator(np.random.PCG64(zlib.crc32(f"{seed}:{name}".encode())))
    noise = rng.standard_normal(shape).astype(np.float32)
    leaf = name.rsplit(".", 1)[-1]
    if leaf == "pe":
        return sinusoidal_table(shape[1], shape[2])
    if name.endswith("output_conv2.2.bias"):
        return torch.full(shape, 6.0)  # keeps the last ReLU from clipping the map to zero
    return torch.from_numpy(_scaled(name, leaf, noise))


def _scaled(name: str, leaf: str, noise: NDArray[np.float32]) -> NDArray[np.float32]:
    if leaf == "gamma":
        return 0.3 + 0.1 * noise
    if leaf in ("pos_embed", "cls_token", "mask_token"):
        return 0.3 * noise
    if leaf == "bias" or name.endswith("output_conv2.2.weight"):
        return 0.05 * noise
    if noise.ndim == 1:
        return 1.0 + 0.1 * noise
    gain = 2.5 if ".to_q." in name or ".to_k." in name else 1.2
    transposed = "resize_layers.0" in name or "resize_layers.1" in name
    fan_in = noise.shape[0] if transposed else int(np.prod(noise.shape[1:]))
    return noise * np.float32(gain / np.sqrt(fan_in))


def state_dict(model: str, seed: int = 0) -> dict[str, Tensor]:
    """All parameters of an official checkpoint's stand-in."""
    return {name: tensor(name, shape, seed) for name, shape in manifest(model).items()}


@functools.cache
def network(model: str) -> VideoDepthAnything:
    """The network with stand-in weights of seed 0, built once a test run."""
    built = VideoDepthAnything(CONFIGS[model])
    built.load_state_dict(state_dict(model), strict=True)
    return built.eval().requires_grad_(False)


def checkpoint(model: str, folder: Path) -> Path:
    """A checkpoint file in `folder`, written on first use."""
    path = folder / f"{SHORT[model]}.safetensors"
    if not path.exists():
        save_file(state_dict(model), path)
    return path


def tiny_checkpoint(folder: Path) -> Path:
    """A checkpoint of `TINY` in `folder`, written on first use."""
    path = folder / "tiny.safetensors"
    if not path.exists():
        torch.manual_seed(0)
        built = VideoDepthAnything(TINY)
        built.get_parameter("head.scratch.output_conv2.2.bias").data.fill_(6.0)
        save_file(built.state_dict(), path)
    return path


def normalised(frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 [N, H, W, 3] RGB to the network's float32 [N, 3, H, W]."""
    scaled = (frames.astype(np.float32) / 255 - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))


def golden(name: str) -> dict[str, NDArray[Any]]:
    """Arrays of a golden file."""
    with np.load(DATA / f"{name}.npz") as file:
        return {key: file[key] for key in file.files}
