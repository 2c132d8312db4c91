"""Log lines that may be shown: no key, no login, no query, where signatures are."""

from __future__ import annotations

import logging

from stream.redact import redacted


class DiscreetFormatter(logging.Formatter):
    """Formats as another does, traces included, and leaves the secrets out."""

    def __init__(self, other: logging.Formatter | None = None) -> None:
        super().__init__()
        self._other = other or logging.Formatter()

    def format(self, record: logging.LogRecord) -> str:
        """The line, or lines where there is a trace."""
        return redacted(self._other.format(record))


def make_discreet(*names: str) -> None:
    """Have all handlers of these loggers leave secrets out."""
    for name in names:
        for handler in logging.getLogger(name).handlers:
            if not isinstance(handler.formatter, DiscreetFormatter):
                handler.setFormatter(DiscreetFormatter(handler.formatter))
