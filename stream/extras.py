"""Packages that only some outputs need: asked for by name, with the command that installs them."""

from __future__ import annotations

import importlib.util

from stream.errors import ExtraMissing


def need(module: str, extra: str, what: str) -> None:
    """Raise ExtraMissing unless `module` can be imported; what: who needs it."""
    top, *_ = module.split(".")
    if importlib.util.find_spec(top) is None:
        raise ExtraMissing(f"{what} needs a package that is not installed: pip install 'depthcast[{extra}]'")
