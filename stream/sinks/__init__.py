"""Where depth goes. A file appears under its name only when it is complete."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from stream.frame import DepthFrame


class Sink(Protocol):
    """Takes depth frames in order from one thread; ended by exactly one of `close` and `abort`."""

    def write(self, depth_frame: DepthFrame) -> None:
        """Take the next frame. Raises SinkError when it cannot be written.

        A stale one is shown by live outputs; files leave it out, their players hold the last picture themselves.
        """
        ...

    def close(self) -> None:
        """Write what is still held and give the output its final name; harmless when repeated.

        Raises SinkError; then call `abort`.
        """
        ...

    def abort(self) -> None:
        """Drop the output and leave nothing behind; harmless when repeated or after `close`."""
        ...


@runtime_checkable
class Named(Protocol):
    """A sink that says what it is, in figures and metrics: a word that does not change when the code does."""

    @property
    def kind(self) -> str:
        """Such as `video` or `rtsp`; one class, one word."""
        ...


@runtime_checkable
class Watched(Protocol):
    """A sink that sends to somebody, and knows how much. Its figures may be asked for from any thread."""

    @property
    def viewers(self) -> int:
        """Who are being sent pictures now."""
        ...

    @property
    def sent_bytes(self) -> int:
        """Of encoded pictures, so far, over all viewers."""
        ...

    @property
    def dropped(self) -> int:
        """Pictures taken and not sent, so far: not to any, or to one that was too slow for it."""
        ...


def kind_of(sink: Sink) -> str:
    """What a sink is called; `other` where it does not say."""
    return sink.kind if isinstance(sink, Named) else "other"


def labels_of(sinks: Sequence[Sink]) -> list[str]:
    """A name of its own for each: what it is, and a number from the second of a kind on."""
    seen: Counter[str] = Counter()
    labels = []
    for kind in map(kind_of, sinks):
        seen[kind] += 1
        labels.append(kind if seen[kind] == 1 else f"{kind} {seen[kind]}")
    return labels


class NullSink:
    """Takes everything, keeps nothing: for measuring."""

    kind = "null"

    __slots__ = ()

    def write(self, depth_frame: DepthFrame) -> None:
        """Nothing happens."""

    def close(self) -> None:
        """Nothing happens."""

    def abort(self) -> None:
        """Nothing happens."""
