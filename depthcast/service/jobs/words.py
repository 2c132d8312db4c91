"""What clients are told must not say where things lie on this machine."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

_END = r"(?:[/\\][^\s:;,'\"`]*)?"


def without_paths(message: str, *roots: Path) -> str:
    """The message with paths below the given folders, the home and the temporary folder reduced to their last part."""
    for root in (*roots, Path(tempfile.gettempdir()), *_home()):
        pattern = re.escape(str(root.resolve())) + _END
        if root.resolve() != root.resolve().parent:
            message = re.sub(pattern, lambda found: Path(found[0]).name, message)
    return message


def _home() -> list[Path]:
    """None for a user who has none, as in a container."""
    try:
        return [Path.home()]
    except RuntimeError:
        return []
