"""Not faster than the API allows, and slower when someone else uses the same quota.

Turns are given out one by one, evenly spaced (the generic cell rate algorithm); a turn that was woken late by a moment is
made up for, so that a window of a second holds at most a hundredth more than the limit. A 429 says that others share the quota, so the pace falls by three tenths; it
comes back by a twentieth of the limit each second.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

_LATE_SECONDS = 0.01
_SLOWER = 0.7
_LEAST = 0.05
_RECOVERY_PER_SECOND = 0.05


class Pace:
    """Turns for one endpoint, in the order they were asked for.

    Parameters
    ----------
    limit : float
        Requests a second.
    clock : callable
        Monotonic seconds.

    Examples
    --------
    >>> now = 0.0
    >>> pace = Pace(20, clock=lambda: now)
    >>> [round(pace.take(), 3) for _ in range(4)]   # seconds to wait for each turn
    [0.0, 0.05, 0.1, 0.15]
    """

    def __init__(self, limit: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = self._rate = limit
        self._clock = clock
        self._next = self._eased = clock()
        self._slowed = self._next - 1

    async def turn(self) -> None:
        """Wait for one's turn; a wait that is cancelled gives its turn back."""
        if (wait := self.take()) > 0:
            try:
                await asyncio.sleep(wait)
            except asyncio.CancelledError:
                self._next -= 1 / self._rate
                raise

    def take(self) -> float:
        """Take a turn and say how many seconds away it is."""
        now = self._clock()
        self._recover(now)
        # Turns nobody took are lost, but for those of the last moment: an idle second must not become a burst.
        at = max(self._next, now - _LATE_SECONDS)
        self._next = at + 1 / self._rate
        return max(0.0, at - now)

    def slow_down(self) -> None:
        """Heed a 429. Those that were under way together count once."""
        now = self._clock()
        self._recover(now)
        if now - self._slowed >= 1:
            self._rate = max(self._rate * _SLOWER, self._limit * _LEAST)
            self._slowed = now

    def _recover(self, now: float) -> None:
        self._rate = min(self._limit, self._rate + self._limit * _RECOVERY_PER_SECOND * (now - self._eased))
        self._eased = now

    @property
    def rate(self) -> float:
        """Requests a second at present."""
        return self._rate
