"""Checkpoints in, strictly: every tensor of the network, no other, each of the right shape; no code is ever run."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from export.config import VdaConfig
from export.errors import CheckpointError
from export.model.depth import VideoDepthAnything

SHOWN = 3
"""How many offending tensors an error names."""


def load_network(config: VdaConfig, path: Path) -> VideoDepthAnything:
    """The network with the weights of an official `.pth` or a `.safetensors` file, in eval mode, float32.

    Raises CheckpointError that names what is missing, unexpected, misshapen or unsafe.
    """
    tensors = read_tensors(path)
    with torch.device("meta"):
        network = VideoDepthAnything(config)
    check_names_and_shapes(config, network.state_dict(), tensors, path)
    network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, assign=True)
    return network.eval().requires_grad_(False)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint file by name. Raises CheckpointError."""
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}: check the path, or fetch one with `depthcast pull`")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path.name} holds more than tensors and was not opened, because such a file can run code: "
            "get the official file, or convert it to .safetensors where you trust it"
        ) from error
    except (SafetensorError, RuntimeError, EOFError, ValueError, OSError) as error:
        raise CheckpointError(
            f"{path.name} is not a readable checkpoint ({_first_line(error)}): fetch it again with `depthcast pull`"
        ) from error
    if not isinstance(loaded, Mapping) or not all(isinstance(tensor, Tensor) for tensor in loaded.values()):
        raise CheckpointError(f"{path.name} is no state dict (names to tensors): use an official checkpoint")
    return dict(loaded)


def check_names_and_shapes(
    config: VdaConfig, wanted: Mapping[str, Tensor], got: Mapping[str, Tensor], path: Path
) -> None:
    """Raise CheckpointError unless both have the same names with the same shapes."""
    misshapen = [
        f"{name} is {tuple(got[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in got and got[name].shape != tensor.shape
    ]
    problems = [
        f"{len(names)} {kind}: {', '.join(names[:SHOWN])}{', …' if len(names) > SHOWN else ''}"
        for kind, names in (
            ("missing", sorted(wanted.keys() - got.keys())),
            ("unexpected", sorted(got.keys() - wanted.keys())),
            ("misshapen", misshapen),
        )
        if names
    ]
    if problems:
        raise CheckpointError(
            f"{path.name} is not a checkpoint of {config.name} ({'; '.join(problems)}): "
            "choose the --model it was made for"
        )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
