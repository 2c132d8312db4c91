"""Weights for measurements that do not depend on their values."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from engines.spec import VDA_WINDOW
from export.config import CONFIGS
from export.describe import vda_spec
from export.graph import VdaStep, example_step
from export.model.depth import VideoDepthAnything
from export.to_onnx import save, step_names, trace
from export.weights import load_network
from stream.policy import WindowPolicy


def random_checkpoint(model: str, folder: Path) -> Path:
    """Random weights of a Video Depth Anything network, the same each time; written on first use."""
    path = folder / f"{model}-random.safetensors"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(0)
        network = VideoDepthAnything(CONFIGS[model]).eval().requires_grad_(False)
        # Keeps the last ReLU from hiding every difference.
        network.get_parameter("head.scratch.output_conv2.2.bias").fill_(6.0)
        save_file({name: value.contiguous() for name, value in network.state_dict().items()}, path)
    return path


def step_graph(model: str, checkpoint: Path, out: Path, size: tuple[int, int], policy: WindowPolicy) -> Path:
    """A step graph with no more slots than a policy needs, for its speed and its memory only.

    Its spec does not say at which places the frames of a shorter window stand, so its maps are not those of the policy.
    """
    spec = replace(vda_spec(CONFIGS[model], metric=False, size=size, weights_sha256=""), window=policy.rule(VDA_WINDOW))
    step = VdaStep(load_network(CONFIGS[model], checkpoint), *size)
    save(trace(step, example_step(spec, 1), *step_names(spec)), spec, out)
    return out
