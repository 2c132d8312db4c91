"""Sizes and batches as people write them."""

from __future__ import annotations

import re

from depthcast.errors import UsageError
from depthcast.plan import size_text


def parse_size(text: str, multiple: int = 1) -> tuple[int, int]:
    """(height, width) of `HxW`; UsageError for anything else, or where they are not multiples of `multiple`."""
    match = re.fullmatch(r"(\d{1,5})[xX](\d{1,5})", text)
    if match is None:
        raise UsageError(f"a size is written {size_text((280, 364))} (height x width), got {text!r}")
    height, width = int(match[1]), int(match[2])
    if height % multiple or width % multiple or not height or not width:
        wanted = f"multiples of {multiple}" if multiple > 1 else "above zero"
        raise UsageError(f"height and width must be {wanted}, got {text}")
    return height, width


def parse_batch(text: str) -> int | None:
    """A number of streams from 1, or None for `any`; UsageError for anything else."""
    if text.lower() == "any":
        return None
    if not text.isdecimal() or not int(text):
        raise UsageError(f"--batch takes a number from 1, or any; got {text!r}")
    return int(text)
