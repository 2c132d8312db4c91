"""Where frames come from. A source is opened by its constructor and read once, by iterating."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from types import TracebackType
from typing import Protocol, Self

from stream.aspect import SQUARE
from stream.frame import Frame
from stream.orientation import UPRIGHT, Orientation
from stream.shape import Shape


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What is known of a stream before its first frame is taken.

    height, width: square pixels of the first frame, upright.
    rate: average frames per second; None where the container does not say.
    time_base: seconds in one unit of `Frame.pts`.
    frames, duration_s: estimates of what iteration will yield; None where unknown or endless.
    live: frames arrive in their own time and may be dropped; False: they wait for us.
    audio: there is a sound track beside the pictures.
    name: what to call the source in messages.
    orientation: what made its first picture upright.
    aspect: of the pixels of its first picture, upright, before they were made square.
    notes: what a person should know about how its pictures and sound are read, a sentence each.
    """

    height: int
    width: int
    rate: Fraction | None
    time_base: Fraction
    frames: int | None
    duration_s: float | None
    live: bool
    audio: bool
    name: str
    orientation: Orientation = UPRIGHT
    aspect: Fraction = SQUARE
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> Shape:
        """(height, width) of the first frame; see `Frame.size`."""
        return self.height, self.width


class Source(Protocol):
    """Frames in order of presentation. `close` may come from another thread: it ends the iteration."""

    @property
    def info(self) -> SourceInfo:
        """Known once the source is open."""
        ...

    @property
    def damaged(self) -> int:
        """Packets that could not be decoded and frames that were decoded with errors, so far."""
        ...

    @property
    def reconnects(self) -> int:
        """Times a live source went away and came back, so far."""
        ...

    def __iter__(self) -> Iterator[Frame]:
        """The frames, once; ends at the end of the stream. Raises SourceError when reading fails."""
        ...

    def close(self) -> None:
        """Free what the source holds; harmless when repeated."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
