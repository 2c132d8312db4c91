"""What cameras and codecs do to a clip: motion blur from the exact motion, exposure that wavers, noise, H.264."""

from __future__ import annotations

import io
import math
from random import Random

import av
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from export.nano.rays import Rays, Shots, project, rays_of

TAPS = 5


def flow(shots: Shots, inverse: Tensor, frame: int) -> Tensor:
    """Pixels [H, W, 2] (right, down) that the still scene moves from `frame` to the next one, or before the last.

    inverse: [T, H, W] in 1/m, 0 = sky. Rolling shutter is left out.
    """
    height, width = inverse.shape[1:]
    other = frame + 1 if frame + 1 < len(shots) else frame - 1
    sign = 1.0 if other > frame else -1.0
    still = Shots(shots.position[:, :1].expand(-1, 2, -1), shots.axes[:, :1].expand(-1, 2, -1, -1), shots.focal,
                  shots.time, 0.0)  # fmt: skip
    rays = rays_of(one(still, frame), height, width)
    points = _points(rays, inverse[frame].flatten())
    here = project(still, frame, points, height, width)[0]
    there, depth = project(still, other, points, height, width)
    moved = torch.where((depth > 1e-3)[:, None], (there - here) * sign, 0.0)
    return moved.reshape(height, width, 2).clamp(-0.1 * width, 0.1 * width)


def one(shots: Shots, frame: int) -> Shots:
    """A single frame of them."""
    here = slice(frame, frame + 1)
    return Shots(shots.position[here], shots.axes[here], shots.focal[here], shots.time[here], shots.readout)


def _points(rays: Rays, inverse: Tensor) -> Tensor:
    return rays.at(1.0 / inverse.clamp(min=1e-4))


def smear(colour: Tensor, shots: Shots, inverse: Tensor, shutter: float) -> Tensor:
    """Motion blur of a shutter open for `shutter` frames. colour: linear RGB [T, H, W, 3]."""
    count, height, width = inverse.shape
    if count < 2:
        return colour
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    base = torch.stack((x, y), -1).to(colour)
    size = base.new_tensor([width, height])
    blurred = []
    for frame in range(count):
        motion = flow(shots, inverse, frame)
        steps = [base + motion * shutter * ((tap + 0.5) / TAPS - 0.5) for tap in range(TAPS)]
        grid = torch.stack([(step + 0.5) / size * 2 - 1 for step in steps])
        picture = colour[frame].permute(2, 0, 1).expand(TAPS, -1, -1, -1)
        found = F.grid_sample(picture, grid, "bilinear", "border", align_corners=False)
        blurred.append(found.mean(0).permute(1, 2, 0))
    return torch.stack(blurred)


def waver(rng: Random, frames: int) -> Tensor:
    """Gains [T] of an exposure that wavers: flicker from frame to frame, or a slow adjustment."""
    flicker, slow, phase = rng.uniform(0, 0.03), rng.uniform(0, 0.1), rng.uniform(0, 2 * math.pi)
    return torch.tensor([1 + rng.gauss(0, flicker) + slow * math.sin(phase + 0.3 * t) for t in range(frames)])


def h264(rgb: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """rgb: [T, H, W, 3], H and W even. Encoded at this constant rate factor (20 fine … 40 coarse) and decoded."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": str(quality), "preset": "veryfast"})
        stream.height, stream.width, stream.pix_fmt = *rgb.shape[1:3], "yuv420p"
        stream.thread_count = 1
        for picture in rgb:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    buffer.seek(0)
    with av.open(buffer, "r") as decoded:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in decoded.decode(video=0)]).astype(np.uint8)


def filmed(rgb: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    """A clip as a common camera gives it: 1 % of exposure flicker, noise (sigma 3 of 255), H.264 at factor 26."""
    rng = np.random.default_rng(seed)
    gain = rng.normal(1.0, 0.01, (len(rgb), 1, 1, 1))
    shaken = rgb * gain + rng.normal(0.0, 3.0, rgb.shape)
    return h264(np.clip(shaken, 0, 255).astype(np.uint8), 26)
