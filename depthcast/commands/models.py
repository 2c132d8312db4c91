"""`depthcast models`: what can run here."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from depthcast.models import MODELS, PACKAGED_NANO, Model
from depthcast.settings import Settings


def models() -> None:
    """List the models: what they give, their licence and size, and whether their weights are here."""
    settings = Settings.from_environment()
    table = Table(box=None, pad_edge=False)
    for heading in ("model", "depth", "licence of the weights", "commercial use", "size", "weights"):
        table.add_column(heading, no_wrap=heading != "weights", overflow="fold")
    for model in MODELS:
        table.add_row(*_row(model, settings))
    Console().print(table)


def _row(model: Model, settings: Settings) -> tuple[str, ...]:
    commercial = "yes" if model.commercial else "no"
    return (
        model.options,
        model.unit.value,
        model.licence,
        commercial,
        _size(model),
        _whereabouts(model, settings),
    )


def _size(model: Model) -> str:
    if model.weights is None:
        return f"{PACKAGED_NANO.stat().st_size / 1e6:.1f} MB" if PACKAGED_NANO.exists() else "-"
    if model.weights.size is not None:
        return f"{model.weights.size / 1e6:.0f} MB"
    return f"about {model.parameters * 4 / 1e6:.0f} MB"


def _whereabouts(model: Model, settings: Settings) -> str:
    if model.weights is None:
        return "come with depthcast"
    if model.weights.path(settings).exists():
        return f"here: {model.weights.path(settings)}"
    return f"`depthcast pull {model.options}` from {settings.hub}/{model.weights.repository}"
