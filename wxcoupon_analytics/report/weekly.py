"""The weekly report as its users see it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from wxcoupon_analytics.exports.destination import replacing
from wxcoupon_analytics.metrics.quota import in_beijing
from wxcoupon_analytics.report.contents import Contents
from wxcoupon_analytics.report.findings import actions, headline, notes
from wxcoupon_analytics.report.page import html_of
from wxcoupon_analytics.report.pictures import pictures_of
from wxcoupon_analytics.report.readings import read
from wxcoupon_analytics.report.sheets import workbook_of
from wxcoupon_analytics.report.tables import tables_of
from wxcoupon_analytics.report.weeks import week_asked_for
from wxcoupon_analytics.report.wording import text_of

if TYPE_CHECKING:
    from wxcoupon_analytics.snapshots import SnapshotStore
    from wxcoupon_analytics.words import Lang


@dataclass(frozen=True, repr=False)
class WeeklyReport(Contents):
    """A week of a brand's coupons, for a reader who was not there.

    Attributes
    ----------
    week : str
        ISO 8601, ``2026-W47``.
    lang : str
    made_at, closing : datetime
        When it was made, and up to when snapshots were taken into account.
    headline : str
        The week in one sentence.
    actions, notes : list of str
        What needs somebody, the most urgent first; and what of the data is missing, with what that does to the numbers.
    tables : dict of DataFrame
        By name; the columns are the metrics' own, see Notes of :func:`weekly_report`.
    figures : dict of Figure
        The charts, by the name of their section; drawn when first asked for.
    """

    def to_html(self, path: str | os.PathLike[str]) -> Path:
        """Write one HTML file that opens anywhere, offline, and prints on A4.

        Parameters
        ----------
        path : str or path
            Ends in ``.html``; a file of that name is replaced, once the new one is whole.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        ValidationError
            The path does not end in ``.html``, or its folder does not exist.
        """
        with replacing(path, suffix=".html") as (beside, target):
            beside.write_text(html_of(self), encoding="utf-8")
        return target

    def to_excel(self, path: str | os.PathLike[str]) -> Path:
        """Write the tables as an Excel workbook, a sheet each; cells and errors are those of ``wx.to_excel``."""
        return workbook_of(self, path)

    def _repr_html_(self) -> str:
        """Show the page in a notebook, in a frame of its own, so that its style stays inside."""
        page = escape(html_of(self), quote=True)
        return f'<iframe title="{text_of(self.lang)["title"]} {self.week}" srcdoc="{page}" style="width:100%;height:48rem;border:1px solid #8884" loading="lazy"></iframe>'

    def __repr__(self) -> str:
        return "\n".join(["<WeeklyReport", self.headline, *(f"! {line}" for line in self.actions), *self.notes]) + ">"


def weekly_report(
    store: SnapshotStore,
    *,
    week: str | date | None = None,
    lang: Lang = "zh",
    now: datetime | None = None,
) -> WeeklyReport:
    """Report on one week of what a store holds: what was sent and used, what needs somebody, how far the data go.

    Parameters
    ----------
    store : SnapshotStore
        Of daily snapshots. Stocks alone are enough; the sections on user coupons are left out then, and the report says so.
    week : str or date, optional
        ``"2026-W47"``, or any day of it. Default: the last ISO week (Monday to Sunday, Beijing) that is over.
    lang : {"zh", "en"}
        The language of what it says.
    now : aware datetime, optional
        When the report is made; the present by default.

    Returns
    -------
    WeeklyReport
        It shows itself in a notebook; ``to_html`` and ``to_excel`` write files.

    Raises
    ------
    ValidationError
        ``week`` cannot be read or has not begun, ``now`` is naive, or ``lang`` is not known.
    SnapshotError
        There is no snapshot of stocks up to the end of the day after the week, or a file cannot be read.

    Notes
    -----
    Snapshots count up to the end of the Monday after the week, for the first of them is what tells how much Sunday sent.
    So the same week gives the same report whenever it is made after that. The week before is seen from the same hour, a
    week earlier.

    What a stock sent is exact, or lies within bounds that assume nothing, or is known from below only (``sends``,
    ``sends_at_least``, ``sends_at_most``; of ``headlines`` ``value``, ``value_at_most``): ``why_not_exact`` says why.

    Tables, and where their numbers come from: ``headlines``, ``rates`` (each against the week before); ``sends``
    (daily_sends, budget_use), ``forecast`` (exhaustion_forecast, pace), ``limits`` (quota_days), ``daily_sends``;
    ``states`` (state_breakdown), ``redemption`` (redemption_rate, coverage), ``redeemed_value`` (discount × used, by
    basis), ``cohorts`` (redemption_curve), ``confirming`` (confirming_age), ``deletions`` (state_changes);
    ``anomalies``; ``freshness``, ``completeness`` (store.snapshots). What is not one of these metrics is a function of
    :mod:`wxcoupon_analytics.report.numbers` or ``coupon_numbers``, whose docstring is its definition.

    Examples
    --------
    >>> import tempfile
    >>> import pandas as pd
    >>> import wxcoupon_analytics as wx
    >>> store = wx.SnapshotStore(tempfile.mkdtemp())
    >>> stocks = wx.load_sample("stocks")
    >>> snapshot = store.save("stocks", stocks)
    >>> report = wx.weekly_report(store, week="2026-W45", lang="en", now=pd.Timestamp("2026-11-09T08:00+08:00"))
    >>> report.week, list(report.tables)[:3], report.notes[0]
    ('2026-W45', ['sends', 'forecast', 'limits'], 'There is one snapshot of stocks only: sends by day and forecasts need more.')
    """
    text_of(lang)
    at = in_beijing(now)
    found = read(store, week_asked_for(week, at), at)
    tables = tables_of(found)
    return WeeklyReport(
        week=found.week.name,
        lang=lang,
        made_at=at,
        closing=found.closing,
        headline=headline(found, tables, lang),
        actions=actions(found, tables, lang),
        notes=notes(found, tables, lang),
        tables=tables,
        _draw=partial(pictures_of, found, tables, lang),
    )
