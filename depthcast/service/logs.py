"""Log lines that may be shown: no key, no login, no query, where signatures are."""

from __future__ import annotations

import logging
import re

_SECRETS = (
    (re.compile(r"(?i)\b(bearer|basic|digest)\s+[^\s'\",;]+"), r"\1 ***"),
    (re.compile(r"(?i)\b(https?|rtsps?|wss?)(://)[^\s/@'\"]+@"), r"\1\2***@"),
    (re.compile(r"(?i)\b((?:https?|rtsps?|wss?)://[^\s?'\"<>]+)\?[^\s'\"<>]*"), r"\1?***"),
    (re.compile(r"(?i)([?&](?:sig|signature|token|key|api_key|secret|password)=)[^\s&'\"]+"), r"\1***"),
    (re.compile(r"\bdc-[A-Za-z0-9_-]{43}\b"), "dc-***"),
)


def discreet(text: str) -> str:
    """The text without what looks like a secret."""
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text


class DiscreetFormatter(logging.Formatter):
    """Formats as another does, traces included, and leaves the secrets out."""

    def __init__(self, other: logging.Formatter | None = None) -> None:
        super().__init__()
        self._other = other or logging.Formatter()

    def format(self, record: logging.LogRecord) -> str:
        """The line, or lines where there is a trace."""
        return discreet(self._other.format(record))


def make_discreet(*names: str) -> None:
    """Have all handlers of these loggers leave secrets out."""
    for name in names:
        for handler in logging.getLogger(name).handlers:
            if not isinstance(handler.formatter, DiscreetFormatter):
                handler.setFormatter(DiscreetFormatter(handler.formatter))
