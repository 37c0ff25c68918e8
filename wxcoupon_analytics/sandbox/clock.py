"""Business time: the clock the brand's days, limits and validities run on.

The platform has one clock, the wall's. A demonstration needs a second one that can be moved, so that a week of redemptions
takes a second. Only *business* time moves: signatures and rate limits stay on the wall clock, as they protect the wire.

Inside the books an instant is an ``int``, seconds since the epoch: comparisons are cheap and cannot mix time zones. It becomes
RFC 3339 text at the border, always with China's +08:00. China has kept one offset without daylight saving since 1991, so
a fixed offset is exact here and faster than a zone file.
"""

from __future__ import annotations

import re
import time
from datetime import datetime, timedelta, timezone

BEIJING = timezone(timedelta(hours=8))
DAY = 86_400
_OFFSET = 8 * 3_600
_EARLIEST = int(datetime(1, 1, 2, tzinfo=BEIJING).timestamp())
_LATEST = int(datetime(9999, 12, 31, 23, 59, 59, tzinfo=BEIJING).timestamp())
_RFC3339 = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})")


def quota_day(at: int) -> int:
    """Return the number of the Beijing calendar day: what a daily limit counts within."""
    return (at + _OFFSET) // DAY


def midnight(day: int) -> int:
    """Return the first instant of a Beijing day."""
    return day * DAY - _OFFSET


def weekday(day: int) -> int:
    """Return 0 for Monday … 6 for Sunday (1 January 1970 was a Thursday)."""
    return (day + 3) % 7


def rfc3339(at: int) -> str:
    """Write an instant the way the API does."""
    return datetime.fromtimestamp(at, BEIJING).isoformat()


def parse_rfc3339(text: str) -> int:
    """Read an instant; a text without seconds or without an offset is a ValueError, as the platform refuses it.

    So is one that `rfc3339` could not write back: the end of the year 9999 in London is the year 10000 in Beijing.
    """
    if not _RFC3339.fullmatch(text):
        raise ValueError(text)
    at = int(datetime.fromisoformat(text).timestamp())
    if not _EARLIEST <= at <= _LATEST:
        raise ValueError(text)
    return at


class BusinessClock:
    """A clock that stands still until it is advanced, or, with ``tick``, also runs with the wall clock."""

    def __init__(self, start: int, *, tick: bool = False) -> None:
        self._at = start
        self._tick = tick
        self.set_at = time.time()  # the wall time at which business time was set

    def now(self) -> int:
        """Return the present business time."""
        return self._at + int(time.time() - self.set_at) if self._tick else self._at

    def advance(self, seconds: int) -> int:
        """Move forward, never back, and return the new time."""
        if seconds < 0:
            raise ValueError("business time only moves forward")
        if self.now() + seconds > _LATEST - 366 * DAY:  # whatever a coupon's life adds can still be written
            raise ValueError("business time ends with the year 9998")
        self._at += seconds
        return self.now()
