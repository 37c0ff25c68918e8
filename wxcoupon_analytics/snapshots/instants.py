"""Instants as analysts give them: aware datetimes, ISO texts with an offset, and plain Beijing dates."""

from __future__ import annotations

import datetime as dt
import re
from typing import Final
from zoneinfo import ZoneInfo

import pandas as pd

from wxcoupon_analytics.entities.schemas import TIMEZONE
from wxcoupon_analytics.errors import ValidationError

BEIJING: Final = ZoneInfo(TIMEZONE)
Instant = dt.datetime | dt.date | str

_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}")


def aware(instant: object, name: str) -> dt.datetime:
    """Check that an instant has a zone, and give it in Beijing's."""
    if isinstance(instant, pd.Timestamp):
        instant = instant.floor("us").to_pydatetime()
    if not isinstance(instant, dt.datetime) or instant.tzinfo is None:  # so is pd.NaT
        raise ValidationError(
            f"{name}={instant!r} is no instant: give a datetime with a zone, datetime(…, tzinfo=ZoneInfo({TIMEZONE!r}))"
        )
    return instant.astimezone(BEIJING)


def start(instant: Instant, name: str) -> dt.datetime:
    """Read an instant; a plain date is that Beijing day's first."""
    return _bound(instant, name, dt.time.min)


def end(instant: Instant, name: str) -> dt.datetime:
    """Read an instant; a plain date is that Beijing day's last."""
    return _bound(instant, name, dt.time.max)


def month_of(instant: dt.datetime) -> str:
    """Name the folder of an instant's Beijing month."""
    return f"month={instant.astimezone(BEIJING):%Y-%m}"


def _bound(instant: Instant, name: str, of_day: dt.time) -> dt.datetime:
    if isinstance(instant, str):
        try:
            instant = dt.date.fromisoformat(instant) if _DATE.fullmatch(instant) else dt.datetime.fromisoformat(instant)
        except ValueError as error:
            raise ValidationError(f"{name}={instant!r} is neither a date nor an ISO time with an offset") from error
    if isinstance(instant, dt.date) and not isinstance(instant, dt.datetime):
        return dt.datetime.combine(instant, of_day, BEIJING)
    return aware(instant, name)
