"""How a fetch reaches the API: many questions at once, a bounded number under way, each settled as it comes."""

from __future__ import annotations

import queue
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from wxcoupon_analytics.entities.schemas import TIMEZONE
from wxcoupon_analytics.loop import LOOK_UP_SECONDS, BackgroundLoop
from wxcoupon_analytics.wire.exchange import IN_FLIGHT, Answer, Exchange

Q = TypeVar("Q")
BEIJING = ZoneInfo(TIMEZONE)


@dataclass(frozen=True, slots=True)
class Line:
    """A client's loop, its exchange and its clock."""

    loop: BackgroundLoop
    exchange: Exchange
    clock: Callable[[], datetime] | None

    def now(self) -> datetime:
        """Business time: the client's clock, else the present."""
        return (self.clock() if self.clock else datetime.now(BEIJING)).astimezone(BEIJING)

    def fetched_at(self, answer: Answer) -> datetime:
        """When the platform answered: what it signed, unless the client has a clock of its own."""
        return self.clock() if self.clock else answer.signed_at

    def each(
        self,
        work: Callable[[Q], Coroutine[Any, Any, None]],
        items: Iterator[Q],
        *,
        settled: Callable[[Q, BaseException | None], None],
    ) -> None:
        """Do ``work`` for items as they are taken, and say of each, as it ends, that it did or why not.

        Whatever ends this, an error that ``settled`` raises or the Stop button, cancels what is under way.
        """
        running: dict[Future[None], Q] = {}
        ended: queue.SimpleQueue[Future[None]] = queue.SimpleQueue()
        try:
            while True:
                block = list(islice(items, IN_FLIGHT - len(running)))
                for item, future in zip(block, self.loop.start(work, block) if block else (), strict=True):
                    running[future] = item
                    future.add_done_callback(ended.put)
                if not running:
                    return
                for future in _arrived(ended):
                    if future.cancelled():
                        raise RuntimeError("the client was closed while this call was running")
                    settled(running.pop(future), future.exception())
        finally:
            self.loop.cancel(running)


def _arrived(ended: queue.SimpleQueue[Future[None]]) -> Iterator[Future[None]]:
    """Wait for one that ended, and give it with those that ended meanwhile."""
    while True:
        try:
            yield ended.get(timeout=LOOK_UP_SECONDS)  # looks up now and then, so that the Stop button is heard
            break
        except queue.Empty:
            continue
    while not ended.empty():
        yield ended.get()
