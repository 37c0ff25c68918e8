"""What a weekly report says, however it is shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

import pandas as pd

from wxcoupon_analytics.report.weeks import Week, week_asked_for

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from wxcoupon_analytics.words import Lang


@dataclass(frozen=True, repr=False)
class Contents:
    """Sentences, tables and charts of one week; see :class:`~wxcoupon_analytics.report.weekly.WeeklyReport`."""

    week: str
    lang: Lang
    made_at: datetime
    closing: datetime
    headline: str
    actions: list[str]
    notes: list[str]
    tables: dict[str, pd.DataFrame]
    _draw: Callable[[], dict[str, Figure]]

    @cached_property
    def figures(self) -> dict[str, Figure]:
        """The charts, by the name of their section; drawn when first asked for."""
        return self._draw()

    @property
    def days(self) -> Week:
        """The week, with its days."""
        return week_asked_for(self.week, self.made_at)

    @property
    def as_of(self) -> datetime:
        """When the last snapshot was taken that it rests on."""
        latest: datetime = self.tables["freshness"]["last_taken_at"].max()
        return latest

    @property
    def is_over(self) -> bool:
        """Whether the week was over when the report was made."""
        return self.days.end <= self.made_at

    @property
    def has_coupons(self) -> bool:
        """Whether user coupons were ever fetched by then."""
        return bool(len(self.tables["rates"]))
