"""A network of one operator and clips of a few frames: enough to drive the whole command line in a second."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import onnx
from onnx import TensorProto, helper

from engines.spec import ModelSpec, Unit, WindowRule, sha256_of

SPEC = ModelSpec(
    name="tiny",
    kind="step",
    unit=Unit.RELATIVE,
    precision="fp32",
    height=None,
    width=None,
    multiple=32,
    input_size=64,
    resample="area",
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    window=WindowRule((2, 1, 0), young="mask", first_alone=False),
    caches=(),
    frames=1,
    licence="Apache-2.0",
    source="tests",
    weights_sha256="",
    onnx_sha256="",
    batch=None,
)


def tiny_network(folder: Path) -> Path:
    """A step graph of any size whose depth is the picture's brightness, with its spec beside it."""
    slots = SPEC.window.slots + 1
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, "height", "width"])
    positions = helper.make_tensor_value_info("positions", TensorProto.INT64, ["batch", slots])
    mask = helper.make_tensor_value_info("mask", TensorProto.FLOAT, ["batch", slots])
    depth = helper.make_tensor_value_info("depth", TensorProto.FLOAT, ["batch", "height", "width"])
    axes = helper.make_tensor("axes", TensorProto.INT64, [1], [1])
    mean = helper.make_node("ReduceMean", ["image", "axes"], ["depth"], keepdims=0)
    graph = helper.make_graph([mean], "tiny", [image, positions, mask], [depth], [axes])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    path = folder / "tiny.onnx"
    onnx.save_model(model, path)
    replace(SPEC, onnx_sha256=sha256_of(path)).save(path.with_suffix(".json"))
    return path


def make_clip(
    path: Path, frames: int = 12, height: int = 48, width: int = 64, rate: int | Fraction = 24, sound: bool = False
) -> Path:
    """A video of a moving gradient in lossless H.264; with `sound`, a tone beside it."""
    with av.open(path, "w") as container:
        video = container.add_stream("libx264", Fraction(rate), options={"qp": "0", "preset": "ultrafast"})
        video.height, video.width, video.pix_fmt = height, width, "yuv444p"
        audio = container.add_stream("aac", 16000, layout="mono") if sound else None
        for index in range(frames):
            ramp = (np.arange(width)[None, :, None] * 3 + np.arange(height)[:, None, None] + 5 * index) % 256
            picture = av.VideoFrame.from_ndarray(np.broadcast_to(ramp, (height, width, 3)).astype(np.uint8), "rgb24")
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
        if audio is not None:
            tone = np.sin(np.arange(16000 * frames // rate) * 0.1).astype(np.float32)[None]
            sound_frame = av.AudioFrame.from_ndarray(tone, "fltp", "mono")
            sound_frame.sample_rate = 16000
            container.mux(audio.encode(sound_frame))
            container.mux(audio.encode(None))
    return path


def make_sound(path: Path) -> Path:
    """A file that holds a tone and no picture."""
    with av.open(path, "w") as container:
        audio = container.add_stream("aac", 16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), "fltp", "mono")
        frame.sample_rate = 16000
        container.mux(audio.encode(frame))
        container.mux(audio.encode(None))
    return path
