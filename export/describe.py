"""Specs of the networks this package can export."""

from __future__ import annotations

from engines.spec import VDA_WINDOW, Kind, ModelSpec, Precision, Unit
from export.config import MEAN, PATCH, STD, WINDOW, VdaConfig
from export.model.depth import caches_of


def vda_spec(
    config: VdaConfig,
    *,
    metric: bool,
    size: tuple[int, int],
    weights_sha256: str,
    kind: Kind = "step",
    precision: Precision = "fp32",
) -> ModelSpec:
    """Spec of Video Depth Anything for pictures of size (height, width); its `onnx_sha256` is still empty."""
    height, width = size
    return ModelSpec(
        name=f"{config.name}-Metric" if metric else config.name,
        kind=kind,
        unit=Unit.METRE if metric else Unit.RELATIVE,
        precision=precision,
        height=height,
        width=width,
        multiple=PATCH,
        input_size=518,
        resample="cubic",
        mean=MEAN,
        std=STD,
        window=VDA_WINDOW,
        caches=caches_of(config),
        frames=WINDOW if kind == "window" else 1,
        licence=config.licence,
        source=f"https://huggingface.co/{config.repository(metric=metric)}",
        weights_sha256=weights_sha256,
        onnx_sha256="",
    ).at(height, width)
