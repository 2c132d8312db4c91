"""Outputs of one file a frame: `depth/%06d.png`."""

from __future__ import annotations

import re
from pathlib import Path

SUFFIXES = (".png", ".exr", ".ply", ".pcd")
_PLACE = re.compile(r"%(0?[0-9]*)d")


def is_numbered(path: Path) -> bool:
    """The name has exactly one place for a number."""
    return len(_PLACE.findall(path.name)) == 1 and path.name.count("%") == 1


def numbered(path: Path, index: int) -> Path:
    """The name of one file; index: from 0 on."""
    return path.with_name(path.name % index)
