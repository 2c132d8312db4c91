"""Who wants to know what happens to jobs. Everything here belongs to one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from depthcast.service.jobs.generation import Generation

_PLACES = 256


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the work on a generation is.

    phase: downloading, preparing or estimating; done, total: bytes, steps or frames of that phase.
    began_s, now_s: when the phase began and when this was so, on a monotonic clock.
    """

    generation_id: str
    owner: str
    phase: str
    done: int
    total: int | None
    began_s: float
    now_s: float

    @property
    def share(self) -> float | None:
        """0..1 of the phase, None where its end is not known."""
        return min(1.0, self.done / self.total) if self.total else None

    @property
    def eta_s(self) -> float | None:
        """Until the end of the phase, None where that is not known."""
        if not self.total or not self.done:
            return None
        return (self.now_s - self.began_s) * max(0, self.total - self.done) / self.done


Event = Generation | Progress
"""A generation that succeeded or failed, or progress of one that runs."""


@dataclass(slots=True, eq=False)
class Subscription:
    """Events of one owner, told to one client. At most 256 wait; progress that does not fit is dropped.

    An end that does not fit closes the subscription: its reader connects again, and is told of recent ends then.
    """

    owner: str
    client: str = ""
    events: asyncio.Queue[Event] = field(default_factory=lambda: asyncio.Queue(_PLACES))
    is_lost: bool = False

    def put(self, event: Event) -> None:
        """Hand over an event."""
        if not self.events.full():
            self.events.put_nowait(event)
        elif isinstance(event, Generation):
            self.is_lost = True


class Bus:
    """All subscriptions."""

    __slots__ = ("_subscriptions",)

    def __init__(self) -> None:
        self._subscriptions: set[Subscription] = set()

    def __len__(self) -> int:
        return len(self._subscriptions)

    def of(self, client: str) -> int:
        """Subscriptions of one client."""
        return sum(one.client == client for one in self._subscriptions)

    @contextmanager
    def subscribed(self, owner: str, client: str = "") -> Iterator[Subscription]:
        """A subscription for as long as the block lasts."""
        subscription = Subscription(owner, client)
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)

    def publish(self, event: Event) -> None:
        """Tell everybody whom it concerns."""
        for subscription in self._subscriptions:
            if subscription.owner == event.owner:
                subscription.put(event)
