"""What a weekly report says of stocks that no metric says: sums over a week, and how it stands against the week before.

Each function takes a metric's result (pandas) and names its columns; everything else in a report is a metric itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any, Final

import pandas as pd

from wxcoupon_analytics.report.weeks import Week

Tables = dict[str, pd.DataFrame]

STOCK: Final = ["product_coupon_id", "stock_id"]
_DAY: Final = timedelta(days=1)
_DTYPES: Final = {
    "text": "string",
    "count": "Int64",
    "share": "Float64",
    "flag": "boolean",
    "day": "date32[day][pyarrow]",
    "time": "datetime64[us, Asia/Shanghai]",
    "age": "timedelta64[us]",
}


def frame(rows: Iterable[Sequence[Any]], **columns: str) -> pd.DataFrame:
    """Make a frame of rows, with its columns and dtypes also when there are none."""
    listed = list(rows)
    values = zip(*listed, strict=True) if listed else [[] for _ in columns]
    return pd.DataFrame(
        {
            name: pd.Series(list(column), dtype=_DTYPES[kind])
            for (name, kind), column in zip(columns.items(), values, strict=True)
        }
    )


def rows_of(table: pd.DataFrame, *columns: str) -> list[tuple[Any, ...]]:
    """Take columns as rows of plain values, null as None."""
    chosen = table[list(columns)].astype(object)
    return [tuple(None if pd.isna(value) else value for value in row) for row in chosen.itertuples(index=False)]


def named(table: pd.DataFrame, names: pd.DataFrame) -> pd.DataFrame:
    """Put what stocks are called beside their ids."""
    joined = table.merge(names, on=STOCK, how="left")
    return joined[[*STOCK, "name", "remark", *(name for name in table.columns if name not in STOCK)]]


def change(value: float | None, previous: float | None) -> tuple[float | None, float | None]:
    """Hold a number against the week before's: the difference, and that as a share of the one before.

    Null when either is not known; the share also when the one before was 0.

    Examples
    --------
    >>> from wxcoupon_analytics.report.numbers import change
    >>> change(108, 100), change(5, 0), change(5, None)
    ((8, 0.08), (5, None), (None, None))
    """
    if value is None or previous is None:
        return None, None
    difference = value - previous
    return difference, difference / previous if previous else None


def change_between(
    at_least: float | None, at_most: float | None, least_before: float | None, most_before: float | None
) -> tuple[float | None, float | None]:
    """Hold a range against the week before's: the least and the most that the change can be, as shares of the one before.

    Null when an end is not known or the least before was 0, and when the two differ in sign: then nobody can say which way
    it went. Of exact numbers, whose ends are equal, both are the share of :func:`change`.

    Examples
    --------
    >>> from wxcoupon_analytics.report.numbers import change_between
    >>> change_between(108, 108, 100, 100), change_between(120, 130, 100, 110), change_between(95, 130, 100, 110)
    ((0.08, 0.08), (0.09090909090909091, 0.3), (None, None))
    """
    low, high = change(at_least, most_before)[1], change(at_most, least_before)[1]
    return (low, high) if low is not None and high is not None and low * high >= 0 else (None, None)


def week_sends(daily_sends: pd.DataFrame, week: Week, *, ended: Collection[str] = ()) -> pd.DataFrame:
    """Add up what each stock sent in a week, exactly or between bounds that nothing is assumed for.

    Parameters
    ----------
    daily_sends : DataFrame
        Of :func:`~wxcoupon_analytics.metrics.sends.daily_sends`.
    week : Week
    ended : collection of str
        The stocks that had stopped sending for good when last read: their last day is not open.

    Returns
    -------
    DataFrame
        One row a stock:

        ================= ================ ================================================================
        column            dtype, unit      meaning
        ================= ================ ================================================================
        product_coupon_id string
        stock_id          string
        sends             Int64, coupons   sent in the week; null when the bounds differ
        sends_at_least    Int64, coupons   what was certainly sent in it
        sends_at_most     Int64, coupons   what can have been sent in it; null when nothing bounds it
        why_not_exact     string           null when exact; of several reasons the last of these:
        ================= ================ ================================================================

        - ``first_read``: some were sent before the first reading of the weeks looked at, which came after the week's Monday;
        - ``gap_at_edge``: an interval without readings reaches over an edge of the week;
        - ``not_read_after``: the last reading is of the week or earlier;
        - ``counter_backwards``: the counters went backwards.

    Notes
    -----
    A stock's intervals follow each other without a hole: all time before its first reading's midnight, those between
    readings, and its last day, which is open. One inside the week is counted whole. One that reaches over an edge counts
    at least what was seen on its first day when that is in the week, and at most all it sent, less what was seen on its
    first day when that is before the week. An open day and counters that went backwards have no upper bound.
    """
    found = []
    first, last = week.monday, week.days[-1]
    for key, rows in by_stock(daily_sends, "day", "days_covered", "sends", "sends_at_least", "complete", "anomaly"):
        least = 0
        most: int | None = 0
        reasons: list[str] = []
        for begins, ends, sends, seen, reason in _intervals(rows, has_ended=key[1] in ended):
            if begins > last or ends < first:
                continue
            seen_in, seen_before = (seen, 0) if begins >= first else (0, seen)
            at_least = sends if begins >= first and ends <= last and sends is not None else seen_in
            at_most = None if sends is None else sends - seen_before
            least += at_least
            most = None if most is None or at_most is None else most + at_most
            if at_least != at_most:
                reasons.append(reason)
        exact = least if least == most else None
        found.append((*key, exact, least, most, max(reasons, key=_REASONS.index, default=None)))
    return frame(
        found,
        product_coupon_id="text",
        stock_id="text",
        sends="count",
        sends_at_least="count",
        sends_at_most="count",
        why_not_exact="text",
    )


_REASONS: Final = ("first_read", "gap_at_edge", "not_read_after", "counter_backwards")


def _intervals(rows: Sequence[tuple[Any, ...]], *, has_ended: bool) -> list[tuple[date, date, int | None, int, str]]:
    """Give a stock's rows a first and a last day, their sends where known, and why a part of them would not be exact."""
    (_, _, before, _, _, anomaly), *later = rows
    found = [(date.min, later[0][0] - _DAY, before, 0, "counter_backwards" if anomaly else "first_read")]
    for day, days, sends, seen, complete, anomaly in later:
        if complete:
            found.append(
                (day, day + days * _DAY - _DAY, sends, seen, "counter_backwards" if anomaly else "gap_at_edge")
            )
        else:
            found.append((day, date.max, seen if has_ended else None, seen, "not_read_after"))
    return found


Limits = dict[tuple[str, str], dict[date, list[int | None]]]


def day_limits(stock_history: pd.DataFrame) -> Limits:
    """List the daily limits that each stock was read with on a Beijing day, in their order: None where it had none."""
    limit, counters = (
        "stock_send_rule_max_count_per_day",
        ["sent_count_info_total_count", "sent_count_info_today_count"],
    )
    found: Limits = {}
    known = stock_history.dropna(subset=[*STOCK, *counters]).sort_values("fetched_at", kind="stable")
    for product, stock, at, value in rows_of(known, *STOCK, "fetched_at", limit):
        found.setdefault((product, stock), {}).setdefault(at.date(), []).append(value)
    return found


def week_limits(
    quota_days: pd.DataFrame,
    daily_sends: pd.DataFrame,
    limits: Limits,
    week: Week,
    *,
    ended: Collection[str] = (),
) -> pd.DataFrame:
    """Say how much of its daily limit each stock used in a week, and on which days it was hit.

    Parameters
    ----------
    quota_days, daily_sends : DataFrame
        Of :func:`~wxcoupon_analytics.metrics.pacing.quota_days` and :func:`~wxcoupon_analytics.metrics.sends.daily_sends`.
    limits : dict
        Of :func:`day_limits`.
    week : Week
    ended : collection of str
        The stocks that had stopped sending for good when last read.

    Returns
    -------
    DataFrame
        One row a stock with a daily limit on a day known, or that may have hit one on a day that is not:
        ``product_coupon_id``, ``stock_id`` (string); ``max_count_per_day`` (Int64, coupons: the last known);
        ``days_known`` (Int64, days); ``days_hit`` (Int64, days on which it was certainly hit) and ``days_hit_at_most``
        (the same; null when it may have been hit on others); ``days_idle`` (Int64, days known on which nothing was sent);
        ``hit_days`` (string: the dates); ``used_share`` (Float64, 0–1: sends by limits over the days known);
        ``unused_count`` (Int64, coupons: what the limits of those days would have allowed besides). Of a limit that was
        changed on a day, the higher counts as that day's.
    """
    quotas = dict(by_stock(quota_days, "day", "max_count_per_day", "sends", "hit"))
    found = []
    for key, intervals in by_stock(daily_sends, "day", "days_covered", "sends", "sends_at_least", "complete"):
        of_stock = limits.get(key, {})
        known = [limit for read in of_stock.values() for limit in read if limit is not None]
        before = {day: read[-1] for day, read in zip([*of_stock][1:], of_stock.values(), strict=False)}
        days = [
            (day, max(limit, of_stock[day + _DAY][0] or 0), sends, hit)
            for day, limit, sends, hit in quotas.get(key, [])
            if week.monday <= day <= week.days[-1]
        ]
        told = {day for day, _, _, hit in days if hit is not None}
        spans = _spans_without_hit(intervals, of_stock, before, has_ended=key[1] in ended)
        open_days = [day for day in week.days if day not in told and not any(a <= day <= b for a, b in spans)]
        if not known or not (days or open_days):
            continue
        allowed, sent = sum(limit for _, limit, _, _ in days), sum(sends for _, _, sends, _ in days)
        hits = [day for day, _, _, hit in days if hit]
        found.append(
            (
                *key,
                days[-1][1] if days else known[-1],
                len(days),
                len(hits),
                None if open_days else len(hits),
                sum(sends == 0 for _, _, sends, _ in days),
                ", ".join(f"{day:%m-%d}" for day in hits) or None,
                sent / allowed if allowed else None,
                sum(max(limit - sends, 0) for _, limit, sends, _ in days) if days else None,
            )
        )
    return frame(
        found,
        product_coupon_id="text",
        stock_id="text",
        max_count_per_day="count",
        days_known="count",
        days_hit="count",
        days_hit_at_most="count",
        days_idle="count",
        hit_days="text",
        used_share="share",
        unused_count="count",
    )


def _spans_without_hit(
    intervals: Sequence[tuple[Any, ...]],
    limits: Mapping[date, Sequence[int | None]],
    limits_before: Mapping[date, int | None],
    *,
    has_ended: bool,
) -> list[tuple[date, date]]:
    """Give the spans of days on which a stock certainly hit no limit: it sent nothing, or too little, or had none."""
    (_, _, first, _, _), *later = intervals
    spans = [(date.min, later[0][0] - _DAY)] if first == 0 else []
    for day, days, sends, seen, complete in later:
        had = [limit for limit in (limits_before.get(day), *limits.get(day, ())) if limit is not None]
        is_below = all(seen < limit for limit in had)
        next_limit = limits.get(day + _DAY, [None])[0]
        if not complete and has_ended:
            spans.append((day if is_below else day + _DAY, date.max))
        elif complete and sends == 0:
            spans.append((day, day + days * _DAY - _DAY))
        elif complete and days == 1 and sends is not None and limits[day][-1] is None and is_below:
            spans += [(day, day)] if next_limit is None or sends < next_limit else []
    return spans


def by_stock(table: pd.DataFrame, *columns: str) -> list[tuple[tuple[Any, ...], list[tuple[Any, ...]]]]:
    """Gather rows by stock, in their order."""
    found: dict[tuple[Any, ...], list[tuple[Any, ...]]] = {}
    for product, stock, *values in rows_of(table, *STOCK, *columns):
        found.setdefault((product, stock), []).append(tuple(values))
    return list(found.items())
