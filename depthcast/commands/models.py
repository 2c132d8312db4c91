"""`depthcast models`: what can run here."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table

from depthcast.models import MODELS, PACKAGED_NANO, Model
from depthcast.settings import Settings

WIDTH_IN_A_PIPE = 160


def models() -> None:
    """List the models: what they give, their licence and size, and whether their weights are here."""
    settings = Settings.from_environment()
    table = Table(box=None, pad_edge=False)
    for heading in ("model", "depth", "size", "licence of the weights", "weights"):
        table.add_column(heading, no_wrap=heading != "weights", overflow="fold")
    for model in MODELS:
        table.add_row(*_row(model, settings))
    Console(width=None if sys.stdout.isatty() else WIDTH_IN_A_PIPE, highlight=False).print(table)


def _row(model: Model, settings: Settings) -> tuple[str, ...]:
    depth = "metres" if model.metric else "relative"
    licence = model.licence if model.commercial else f"{model.licence}, not commercial"
    return model.options, depth, _size(model), licence, _whereabouts(model, settings)


def _size(model: Model) -> str:
    if model.weights is None:
        return f"{PACKAGED_NANO.stat().st_size / 1e6:.1f} MB" if PACKAGED_NANO.exists() else "-"
    if model.weights.size is not None:
        return f"{model.weights.size / 1e6:.0f} MB"
    return f"about {model.parameters * 4 / 1e6:.0f} MB"


def _whereabouts(model: Model, settings: Settings) -> str:
    if model.weights is None:
        return "in the package"
    exported = sorted(path.stem for path in settings.networks.glob(f"{model.label}-[!M]*.onnx"))
    ready = [f"exported: {', '.join(exported)}"] if exported else []
    if model.weights.path(settings).exists():
        return "; ".join([f"here: {model.weights.path(settings)}", *ready])
    return "; ".join([*ready, f"`depthcast pull {model.options}` gets them from {model.weights.repository}"])
