"""Values of options in URIs. Each raises UriError, with what to write instead."""

from __future__ import annotations

import re
from fractions import Fraction

from stream.errors import UriError

_SIZE = re.compile(r"([0-9]{1,5})x([0-9]{1,5})")


def flag_of(options: dict[str, str], name: str, plain: bool) -> bool:
    """Whether an option is set; plain: where it is not given."""
    match options.get(name, "1" if plain else "0"):
        case "1" | "true" | "yes":
            return True
        case "0" | "false" | "no":
            return False
        case other:
            raise UriError(f"{name} is 0 or 1, got {other!r}")


def size_of(text: str) -> tuple[int, int]:
    """(height, width) in pixels."""
    found = _SIZE.fullmatch(text)
    if found is None or not int(found[1]) or not int(found[2]):
        raise UriError(f"a size is written WIDTHxHEIGHT, such as 640x480; got {text!r}")
    return int(found[2]), int(found[1])


def rate_of(text: str) -> Fraction:
    """Frames per second."""
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not 0 < rate <= 1000:
        raise UriError(f"a rate is frames per second, such as 30 or 30000/1001; got {text!r}")
    return rate


def count_of(text: str) -> int:
    """A number of frames."""
    if not re.fullmatch(r"[0-9]{1,9}", text) or not int(text):
        raise UriError(f"frames is a number from 1 on, got {text!r}")
    return int(text)
