"""The one place that reads YAML; loaded when a camera is described in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from stream.errors import CameraError


def load(text: str, path: Path) -> dict[str, Any]:
    """The mapping in a YAML text; `path` is for messages. Raises CameraError."""
    try:
        fields = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise CameraError(f"{path} is not YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(fields, dict):
        raise CameraError(f"{path} is no camera_info: a mapping is needed")
    return fields
