"""What is closed when its `with` block is left."""

from __future__ import annotations

from types import TracebackType
from typing import Self


class Closing:
    """The context manager of whatever has `close`: left, it is closed."""

    __slots__ = ()

    def close(self) -> None:
        """Free what is held; harmless when repeated."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
