"""Waiting for what is to become true, with an end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


def until(condition: Callable[[], object], within_s: float = 60.0) -> None:
    """Return once the condition holds; an assertion fails where it does not, on however busy a machine."""
    end_s, pause = time.monotonic() + within_s, threading.Event()
    while not condition():
        assert time.monotonic() < end_s, "did not become true in time"
        pause.wait(0.005)
