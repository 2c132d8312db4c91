"""Hand-over between two threads: a few places, and a stated rule for when they are full."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from enum import StrEnum
from typing import Generic, TypeVar

T = TypeVar("T")


class Overflow(StrEnum):
    """What `put` does when every place is taken."""

    WAIT = "wait"
    """Wait for a free place: nothing is lost, the producer is slowed down."""
    REPLACE = "replace"
    """Drop the oldest waiting item and count it: the newest wins, the producer never waits."""


class MailboxClosed(Exception):
    """`put` into a closed mailbox, where nobody will take the item, or `take` from one that has nothing left."""


class Mailbox(Generic[T]):
    """At most `capacity` items between one or more producers and one consumer. Waiting costs no processor time."""

    __slots__ = ("_capacity", "_changed", "_closed", "_dropped", "_error", "_items", "_overflow")

    def __init__(self, capacity: int = 1, overflow: Overflow = Overflow.WAIT) -> None:
        if capacity < 1:
            raise ValueError(f"a mailbox needs at least one place, got {capacity}")
        self._capacity = capacity
        self._overflow = overflow
        self._items: deque[T] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._error: BaseException | None = None
        self._dropped = 0

    @property
    def dropped(self) -> int:
        """Items replaced before anyone took them."""
        return self._dropped

    def __len__(self) -> int:
        """Items that wait to be taken."""
        return len(self._items)

    def put(self, item: T) -> T | None:
        """Hand over an item; returns the one that it replaced, if any.

        Raises MailboxClosed, or the error the mailbox was closed with.
        """
        with self._changed:
            if self._overflow is Overflow.WAIT:
                self._changed.wait_for(lambda: self._closed or len(self._items) < self._capacity)
            if self._closed:
                raise self._error or MailboxClosed("the other side of this mailbox has gone")
            replaced = None
            if len(self._items) == self._capacity:
                replaced = self._items.popleft()
                self._dropped += 1
            self._items.append(item)
            self._changed.notify_all()
            return replaced

    def close(self, error: BaseException | None = None) -> None:
        """Accept nothing more. Waiting items can still be taken, unless there is an error: then it is raised at once.

        The first error stays; closing twice is harmless.
        """
        with self._changed:
            self._closed = True
            self._error = self._error or error
            self._changed.notify_all()

    def take(self, timeout_s: float | None = None) -> T:
        """The next item, waiting for it. Raises TimeoutError when none came in time.

        Raises MailboxClosed when the mailbox is closed and empty, or the error it was closed with, that at once.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or bool(self._items), timeout_s)
            if self._error is not None:
                raise self._error
            if not self._items:
                if self._closed:
                    raise MailboxClosed("the other side of this mailbox has gone")
                raise TimeoutError
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def __iter__(self) -> Iterator[T]:
        """Take items as they come; ends when the mailbox is closed and empty. Raises the error it was closed with."""
        while True:
            try:
                item = self.take()
            except MailboxClosed:
                return
            yield item
