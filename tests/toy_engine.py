"""A network of two small caches as TensorRT would hold it, on a device made of arrays, and the maps it must give."""

from __future__ import annotations

from engines.spec import VDA_WINDOW, CacheSpec, ModelSpec, Unit, WindowRule
from engines.tensorrt import TensorRtSession
from engines.window import frames_of
from tests.fake_device import FakeDevice, FakeNetwork

MASKED = WindowRule(tuple(range(7, -1, -1)), young="mask", first_alone=False)


def spec_of(rule: WindowRule = VDA_WINDOW) -> ModelSpec:
    return ModelSpec(
        name="Toy",
        kind="step",
        unit=Unit.RELATIVE,
        precision="fp16",
        height=14,
        width=28,
        multiple=14,
        input_size=518,
        resample="cubic",
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        window=rule,
        caches=(CacheSpec("cache_0", "feature_0", 14, 3), CacheSpec("cache_1", "feature_1", 7, 5)),
        frames=1,
        licence="",
        source="",
        weights_sha256="",
        onnx_sha256="",
    )


def toy(
    device: FakeDevice, rule: WindowRule = VDA_WINDOW, batches: tuple[int, int] = (1, 4), positions: str = "int64"
) -> TensorRtSession:
    spec = spec_of(rule)
    return TensorRtSession(FakeNetwork(spec, device, batches, positions), spec, device)


def wanted_map(rule: WindowRule, t: int, first: int) -> float:
    """Map of frame t of a stream whose frames are numbered from `first` on."""
    return float(sum((k + 1) * (first + frame) for k, frame in enumerate(frames_of(rule, t)) if frame is not None))
