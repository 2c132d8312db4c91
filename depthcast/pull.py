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


def check_licence(model: Model, accept: Callable[[str], bool]) -> None:
    """Raise LicenceError unless these weights may be used by anyone, or `accept`, told the notice, says yes."""
    if not model.commercial and not accept(notice(model)):
        raise LicenceError(f"{notice(model)} To accept that, run `depthcast pull {model.pull_options}`")


def pull(model: Model, settings: Settings, progress: Progress | None = None, retry: Retry | None = None) -> Path:
    """Download the weights of `model` unless they are there already; returns where they lie.

    The licence is the caller's business: `check_licence` comes first.
    Raises PullError when the file cannot be had whole, UsageError when the model comes with the package.
    """
    weights = model.weights
    if weights is None:
        raise UsageError(f"{model.name} comes with depthcast: there is nothing to download")
    target = weights.path(settings)
    with settings.using_home():
        if target.exists() and weights.size in (None, target.stat().st_size):
            return target
        url = f"{settings.hub}/{weights.repository}/resolve/main/{weights.file}"
        download(url, target, Expected(weights.size, weights.sha256), progress, retry)
    return target
