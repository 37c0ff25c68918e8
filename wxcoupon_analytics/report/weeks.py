"""Which seven Beijing days a report is about."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Final

from wxcoupon_analytics.errors import ValidationError
from wxcoupon_analytics.metrics.engines import SHANGHAI

_NAMED: Final = re.compile(r"(\d{4})-?W(\d{2})")
_WEEK: Final = timedelta(days=7)


@dataclass(frozen=True, order=True, slots=True)
class Week:
    """An ISO week of Beijing days, known by its Monday."""

    monday: date

    @classmethod
    def of(cls, day: date) -> Week:
        """Give the week a day lies in."""
        return cls(day - timedelta(days=day.weekday()))

    @property
    def name(self) -> str:
        """The week as ISO 8601 writes it, ``2026-W47``."""
        return f"{self.monday:%G-W%V}"

    @property
    def days(self) -> list[date]:
        """Monday to Sunday."""
        return [self.monday + timedelta(days=n) for n in range(7)]

    @property
    def start(self) -> datetime:
        """Its first instant."""
        return datetime.combine(self.monday, time(), SHANGHAI)

    @property
    def end(self) -> datetime:
        """The first instant after it."""
        return self.start + _WEEK

    @property
    def before(self) -> Week:
        """The week before."""
        return Week(self.monday - _WEEK)

    def closing(self, now: datetime) -> datetime:
        """Say up to when snapshots tell of this week: the day after it is the first to know what its Sunday sent.

        A report on a week long past is so the same whenever it is made.
        """
        return min(now, self.end + timedelta(days=1) - timedelta(microseconds=1))


def week_asked_for(week: str | date | None, now: datetime) -> Week:
    """Read which week is meant: an ISO week, a day in it, or None for the last that is over.

    Raises
    ------
    ValidationError
        It cannot be read, or has not begun.
    """
    if week is None:
        return Week.of(now.date()).before
    found = Week.of(_day_in(week, now))
    if found.start > now:
        raise ValidationError(
            f"week={week!r}: {found.name} begins on {found.monday}, and it is {now:%Y-%m-%d} in Beijing: "
            f"the last week that is over is {Week.of(now.date()).before.name}"
        )
    return found


def _day_in(week: str | date, now: datetime) -> date:
    if isinstance(week, datetime):
        if week.tzinfo is None:
            raise ValidationError(f"week={week!r} names no time zone: give a date, or a week such as '2026-W47'")
        return week.astimezone(now.tzinfo).date()
    if isinstance(week, date):
        return week
    try:
        if named := _NAMED.fullmatch(week):
            return date.fromisocalendar(int(named[1]), int(named[2]), 1)
        return date.fromisoformat(week)
    except (TypeError, ValueError) as error:
        raise ValidationError(f"week={week!r} is neither a week such as '2026-W47' nor a date") from error
