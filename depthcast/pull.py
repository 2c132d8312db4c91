"""Official weights from the hub, with their licence said aloud."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from depthcast.download import Expected, Progress, Retry, download
from depthcast.errors import LicenceError, UsageError
from depthcast.models import Model
from depthcast.settings import Settings


def notice(model: Model) -> str:
    """What a person must know before using these weights."""
    use = "" if model.commercial else ": they may not be used commercially"
    return f"The weights of {model.label} are licensed {model.licence}{use}."


def pull(
    model: Model,
    settings: Settings,
    accept: Callable[[str], bool],
    progress: Progress = lambda _done, _total: None,
    retry: Retry | None = None,
) -> Path:
    """Download the weights of `model` unless they are there already; returns where they lie.

    accept: asked with the licence notice of weights that may not be used commercially.
    Raises LicenceError when it says no, PullError when the file cannot be had whole, UsageError when there is
    nothing to download because the model comes with the package.
    """
    weights = model.weights
    if weights is None:
        raise UsageError(f"{model.name} comes with depthcast: there is nothing to download")
    if not model.commercial and not accept(notice(model)):
        raise LicenceError(f"{notice(model)} To accept that, run `depthcast pull {model.options} --accept-licence`")
    target = weights.path(settings)
    if target.exists() and weights.size in (None, target.stat().st_size):
        return target
    url = f"{settings.hub}/{weights.repository}/resolve/main/{weights.file}"
    download(url, target, Expected(weights.size, weights.sha256), progress, retry)
    return target
