"""The signals that ask a process to finish."""

from __future__ import annotations

import os
import signal
import stat
import sys


def finishing_signals() -> tuple[signal.Signals, ...]:
    """Ctrl-C, SIGTERM, and SIGHUP where there is one: not on Windows, nor where it is to be ignored (nohup)."""
    if sys.platform == "win32" or signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        return signal.SIGINT, signal.SIGTERM
    return signal.SIGINT, signal.SIGTERM, signal.SIGHUP


def is_hangup(number: int) -> bool:
    """The terminal has gone, or the session has ended."""
    return sys.platform != "win32" and number == signal.SIGHUP


def leave_terminal() -> None:
    """Say nothing more to a terminal that has gone: writing to it would be an error."""
    nothing = os.open(os.devnull, os.O_RDWR)
    try:
        for descriptor in (1, 2):
            try:
                is_terminal = stat.S_ISCHR(os.fstat(descriptor).st_mode)
            except OSError:
                continue
            if is_terminal:
                os.dup2(nothing, descriptor)
    finally:
        os.close(nothing)
