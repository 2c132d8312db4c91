"""The streaming class of somebody's own checkout of the official Video Depth Anything repository, behind one door.

Nothing of that repository is here: it is found on disk, and its modules are imported under the names they have there.
It needs what its requirements.txt lists; its streaming class alone torchvision, einops, easydict and OpenCV.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from export.config import CONFIGS
from export.weights import read_tensors

MODULE, CLASS, METHOD = "video_depth_anything.video_depth_stream", "VideoDepthAnything", "infer_video_depth_one"
ENCODERS = {"VDA-Small": "vits", "VDA-Base": "vitb", "VDA-Large": "vitl"}


class OfficialError(Exception):
    """A folder is no checkout that can be run; one line, what is missing and what to do."""


class OfficialStream:
    """A stream of the official class.

    half: float16 by autocast, as its script does on a GPU. threads: of torch, on a CPU. Raises OfficialError.
    """

    def __init__(
        self, checkout: Path, model: str, checkpoint: Path, device: str, half: bool, input_size: int, threads: int
    ) -> None:
        torch.set_num_threads(threads)
        config = CONFIGS[model]
        network: Any = official_class(checkout)(
            encoder=ENCODERS[model], features=config.features, out_channels=list(config.out_channels)
        )
        network.load_state_dict(read_tensors(checkpoint), strict=True)
        self._network = network.to(device).eval()
        self._device, self._half, self._input_size = device, half, input_size

    def step(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Depth float32 [H, W] of the next picture, uint8 [H, W, 3] RGB; resizing and copies included."""
        depth: NDArray[np.float32] = getattr(self._network, METHOD)(
            picture, input_size=self._input_size, device=self._device, fp32=not self._half
        )
        return depth


def official_class(checkout: Path) -> Any:
    """The class, imported from a checkout. Raises OfficialError."""
    wanted = checkout.joinpath(*MODULE.split(".")).with_suffix(".py")
    if not wanted.is_file():
        raise OfficialError(f"{checkout} is no checkout of the official repository: there is no {wanted.name} in it")
    sys.path.insert(0, str(checkout.resolve()))
    try:
        module = importlib.import_module(MODULE)
    except ImportError as error:
        raise OfficialError(f"the official code cannot be imported: {error}; install what it requires") from error
    finally:
        sys.path.remove(str(checkout.resolve()))
    found = getattr(module, CLASS, None)
    if not hasattr(found, METHOD):
        raise OfficialError(f"{wanted} has no {CLASS}.{METHOD}: the official repository has changed")
    return found
