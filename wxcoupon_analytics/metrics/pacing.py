"""Whether a stock hands out its budget at the speed it should, and when there will be nothing left."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from itertools import groupby
from typing import Any, NamedTuple

import narwhals as nw
import numpy as np
import numpy.typing as npt
from narwhals.dtypes import DType
from narwhals.typing import IntoFrameT

from wxcoupon_analytics.errors import ValidationError
from wxcoupon_analytics.metrics.budget import remaining
from wxcoupon_analytics.metrics.engines import give_back
from wxcoupon_analytics.metrics.quota import in_beijing
from wxcoupon_analytics.metrics.sends import STOCK, known_intervals, last_readings, ordered_readings, same_as_next

_MODES = ("single_usage_rule", "sequential_usage_rule", "progressive_bundle_usage_rule")
_TIME = nw.Datetime("us", "Asia/Shanghai")
_MAX, _PER_DAY, _TOTAL = "stock_send_rule_max_count", "stock_send_rule_max_count_per_day", "sent_count_info_total_count"
_RESAMPLES, _SEED = 2_000, 20_251_108
_LOW, _HIGH = 0.1, 0.9
_HORIZON = 366  # days: a stock's validity is at most 365


def quota_days(stock_history: IntoFrameT) -> IntoFrameT:
    """Say which share of its daily limit each stock used on each day, and on which days the limit was hit.

    Parameters
    ----------
    stock_history : frame
        As for :func:`daily_sends`, with ``stock_send_rule_max_count_per_day``.

    Returns
    -------
    frame
        Of the kind of ``stock_history``, one row a stock and day, sorted: the days whose sends are known exactly, on which
        the stock had a daily limit. Not the running day, nor days without a snapshot on the day after them.

        ================= ======================== ==============================================================
        column            dtype, unit              meaning
        ================= ======================== ==============================================================
        product_coupon_id string
        stock_id          string
        day               date, Beijing
        max_count_per_day Int64, coupons           the limit in the day's last snapshot
        sends             Int64, coupons           as in :func:`daily_sends`
        used_share        Float64, 0–1 (more if    ``sends`` / ``max_count_per_day``; null when the limit is 0
                          the limit was lowered)
        hit               boolean                  ``sends`` ≥ ``max_count_per_day``; null when a change of the limit leaves
                                                   it open
        as_of             datetime, Asia/Shanghai  ``fetched_at`` of the snapshot that made the day known
        ================= ======================== ==============================================================

    Raises
    ------
    ValidationError
        As for :func:`daily_sends`.

    Notes
    -----
    Snapshots do not tell at which hour a limit was changed. A limit was hit if a snapshot of the day shows it so, or if the
    day sent as many as the higher of the last limit read that day and the next one read; it was not if the day sent fewer
    than the lower of these two, and had sent fewer, when last read, than any limit of the day or just before it.

    Examples
    --------
    >>> import pandas as pd
    >>> from wxcoupon_analytics.entities.flatten import flatten
    >>> from wxcoupon_analytics.metrics import quota_days
    >>> def snapshot(at, total, today):
    ...     return flatten("stocks", {"product_coupon_id": "7", "stock_id": "1",
    ...         "stock_send_rule": {"max_count": 1000, "max_count_per_day": 20},
    ...         "sent_count_info": {"total_count": total, "today_count": today}}, fetched_at=pd.Timestamp(at))
    >>> history = pd.concat([snapshot("2026-11-01T10:00+08:00", 30, 5), snapshot("2026-11-02T23:00+08:00", 50, 12)])
    >>> quota_days(history)[["sends", "used_share", "hit"]].to_dict("records")
    [{'sends': 13, 'used_share': 0.65, 'hit': False}]
    """
    every = ordered_readings(stock_history, {_PER_DAY: nw.Int64()}).rename({_PER_DAY: "max_count_per_day"})
    limit, later, sends = nw.col("max_count_per_day"), nw.col("later"), nw.col("sends")
    of_day, goes_on = [*STOCK, "day"], same_as_next(STOCK)
    before = nw.when(goes_on.shift(1).fill_null(False)).then(limit.shift(1))
    every = every.with_columns(
        later=nw.when(goes_on).then(limit.shift(-1)),
        lowest=nw.min_horizontal(limit, before),
        was_hit=(nw.col("sent_count_info_today_count") >= limit).fill_null(False),
    ).with_columns(nw.col("lowest").min().over(*of_day), nw.col("was_hit").max().over(*of_day))
    is_hit = nw.col("was_hit") | ((sends >= nw.max_horizontal(limit, later)) & ~later.is_null())
    may_be_hit = (sends >= nw.min_horizontal(limit, later)) | (nw.col("sends_at_least") >= nw.col("lowest"))
    result = (
        exact_days(known_intervals(every.filter(~same_as_next(of_day))))
        .filter(~limit.is_null())
        .with_columns(
            used_share=nw.when(limit > 0).then(sends.cast(nw.Float64) / limit.cast(nw.Float64)),
            hit=nw.when(is_hit | ~may_be_hit).then(is_hit),
        )
        .select("product_coupon_id", "stock_id", "day", "max_count_per_day", "sends", "used_share", "hit", "as_of")
    )
    back: IntoFrameT = give_back(result, stock_history)
    return back


def exact_days(intervals: nw.DataFrame[Any]) -> nw.DataFrame[Any]:
    """Keep the intervals that are one whole day."""
    alone = ~nw.col("day").is_null() & nw.col("complete") & ~nw.col("anomaly") & (nw.col("days_covered") == 1)
    return intervals.filter(alone.fill_null(False))


def pace(stock_history: IntoFrameT) -> IntoFrameT:
    """Hold the share of the budget handed out against the share of the stock's own available period that has passed.

    Parameters
    ----------
    stock_history : frame
        As for :func:`daily_sends`, with ``state``, ``stock_send_rule_max_count`` and the columns of the available period.

    Returns
    -------
    frame
        Of the kind of ``stock_history``, one row a stock and Beijing day with a snapshot, the day's last, sorted: a
        stock's last row says how it stands now.

        ===================== ======================== ==========================================================
        column                dtype, unit              meaning
        ===================== ======================== ==========================================================
        product_coupon_id     string
        stock_id              string
        day                   date, Beijing            of ``as_of``
        state                 string
        available_begin_time  datetime, Asia/Shanghai
        available_end_time    datetime, Asia/Shanghai
        sent_share            Float64, 0–1 (more if    sent / ``max_count``; null when ``max_count`` is 0 or missing
                              oversent)
        elapsed_share         Float64, 0–1             how much of the available period has passed; null when it has no
                                                       begin, no end, or no length
        pace                  Float64, ratio           ``sent_share`` / ``elapsed_share``: 1 is even, 2 twice as fast; null
                                                       before the period has begun
        as_of                 datetime, Asia/Shanghai  ``fetched_at`` of the snapshot
        ===================== ======================== ==========================================================

    Raises
    ------
    ValidationError
        As for :func:`daily_sends`.

    Examples
    --------
    >>> import pandas as pd
    >>> from wxcoupon_analytics.entities.flatten import flatten
    >>> from wxcoupon_analytics.metrics import pace
    >>> period = {"available_begin_time": "2026-11-01T00:00:00+08:00", "available_end_time": "2026-11-11T00:00:00+08:00"}
    >>> stock = {"product_coupon_id": "7", "stock_id": "1", "stock_send_rule": {"max_count": 1000},
    ...     "sent_count_info": {"total_count": 600, "today_count": 30},
    ...     "single_usage_rule": {"coupon_available_period": period}}
    >>> history = flatten("stocks", stock, fetched_at=pd.Timestamp("2026-11-05T00:00+08:00"))
    >>> pace(history)[["sent_share", "elapsed_share", "pace"]].round(3).to_dict("records")
    [{'sent_share': 0.6, 'elapsed_share': 0.4, 'pace': 1.5}]
    """
    more = {"state": nw.String(), _MAX: nw.Int64(), **_bounds("begin"), **_bounds("end")}
    readings = last_readings(stock_history, more).with_columns(
        available_begin_time=nw.coalesce(*_bounds("begin")), available_end_time=nw.coalesce(*_bounds("end"))
    )
    begin, end, limit = nw.col("available_begin_time"), nw.col("available_end_time"), nw.col(_MAX)
    passed, length = ((until - begin).dt.total_seconds().cast(nw.Float64) for until in (nw.col("fetched_at"), end))
    result = readings.with_columns(
        sent_share=nw.when(limit > 0).then(nw.col(_TOTAL).cast(nw.Float64) / limit.cast(nw.Float64)),
        elapsed_share=nw.when(length > 0).then(_within_1(passed / length)),
    ).select(
        "product_coupon_id",
        "stock_id",
        "day",
        "state",
        "available_begin_time",
        "available_end_time",
        "sent_share",
        "elapsed_share",
        pace=nw.when(nw.col("elapsed_share") > 0).then(nw.col("sent_share") / nw.col("elapsed_share")),
        as_of=nw.col("fetched_at"),
    )
    back: IntoFrameT = give_back(result, stock_history)
    return back


def _within_1(share: nw.Expr) -> nw.Expr:
    return nw.when(share > 1).then(nw.lit(1.0)).otherwise(nw.when(share < 0).then(nw.lit(0.0)).otherwise(share))


def _bounds(side: str) -> dict[str, DType]:
    """Name the columns that say when a stock's available period begins or ends, one a usage mode."""
    return {f"{mode}_coupon_available_period_available_{side}_time": _TIME for mode in _MODES}


class _Forecast(NamedTuple):
    days_known: int
    rate_per_day: float | None = None
    days_left: float | None = None
    expected_date: date | None = None
    low_date: date | None = None
    high_date: date | None = None
    reason: str | None = None


_FORECAST: Mapping[str, DType] = {
    "days_known": nw.Int64(),
    "rate_per_day": nw.Float64(),
    "days_left": nw.Float64(),
    "expected_date": nw.Date(),
    "low_date": nw.Date(),
    "high_date": nw.Date(),
    "reason": nw.String(),
}


def exhaustion_forecast(stock_history: IntoFrameT, *, now: datetime | None = None, window_days: int = 7) -> IntoFrameT:
    """Say when each stock will have handed out its budget, if the days to come are like the last ones.

    Parameters
    ----------
    stock_history : frame
        As for :func:`daily_sends`, with ``state``, the limits of ``stock_send_rule`` and the ends of the available period.
    now : aware datetime, optional
        The moment the question is asked at; the present by default. Snapshots taken later are not known yet, and are left
        out.
    window_days : int, default 7
        How many Beijing days before ``now``'s are looked at. Whole weeks, because weekends differ.

    Returns
    -------
    frame
        Of the kind of ``stock_history``, one row a stock, sorted.

        ================= ======================== ==============================================================
        column            dtype, unit              meaning
        ================= ======================== ==============================================================
        product_coupon_id string
        stock_id          string
        state             string
        remaining_count   Int64, coupons           max(``max_count`` − sent, 0)
        days_known        Int64, days              the window's days whose sends are known exactly
        rate_per_day      Float64, coupons a day   their mean, no day above the present daily limit
        days_left         Float64, days            ``remaining_count`` / ``rate_per_day``
        expected_date     date, Beijing            on which the last coupon goes at that rate
        low_date          date, Beijing            as early as that in one of ten resamples: see Notes
        high_date         date, Beijing            as late as that in one of ten resamples; null: not before sending ends
        sending_ends      datetime, Asia/Shanghai  end of the available period
        reason            string                   why there is no ``expected_date``, else null: see Notes
        as_of             datetime, Asia/Shanghai  ``fetched_at`` of the stock's last snapshot
        ================= ======================== ==============================================================

    Raises
    ------
    ValidationError
        As for :func:`daily_sends`; ``now`` is naive; ``window_days`` is not a positive whole number.

    Notes
    -----
    From the day of the last snapshot on, every day brings ``rate_per_day`` coupons, that first day what is missing to it;
    ``expected_date`` is the day on which they reach ``remaining_count``. For ``low_date`` and ``high_date`` the days ahead
    are drawn 2,000 times (with a fixed seed: the same history gives the same dates): first as many days as are known, from
    those known, with replacement, a window that might as well have been seen; then every day ahead from these. So the
    range says how much days differ, and how little a few of them tell of their mean. No day brings more than the present
    daily limit. A day on which the limit was hit says how much could be sent, not how much was wanted: after a raise, the
    forecast is late.

    The range holds eight in ten, or a few more, where the days ahead are like those of the window and seven of these are
    known; of two to four known days, six or seven in ten. It knows no trend, which seven days cannot tell from their
    weekdays: a campaign that slows down, after its first rush or because few users are left who may have one more, lasts
    longer than it says.

    No date lies before ``now``'s day, after the end of sending, or more than a year ahead. ``reason``, the first that holds:

    - ``no_limit``: ``max_count`` is not known;
    - ``exhausted``: nothing remains;
    - ``not_sending``: ``state`` is not SENDING, or the available period is over;
    - ``too_few_days``: fewer than two days are known;
    - ``no_sends``: nothing was sent on them, or nothing may be;
    - ``outlasts_sending``: at that rate, coupons remain when sending ends, or in a year.

    Examples
    --------
    >>> import pandas as pd
    >>> from wxcoupon_analytics.entities.flatten import flatten
    >>> from wxcoupon_analytics.metrics import exhaustion_forecast
    >>> history = pd.concat(
    ...     flatten("stocks", {"product_coupon_id": "7", "stock_id": "1", "state": "SENDING",
    ...         "stock_send_rule": {"max_count": 1000}, "sent_count_info": {"total_count": 100 * day, "today_count": 50}},
    ...         fetched_at=pd.Timestamp(2026, 11, day, 12, tz="Asia/Shanghai"))
    ...     for day in range(1, 6))
    >>> forecast = exhaustion_forecast(history, now=pd.Timestamp("2026-11-05T12:00+08:00"))
    >>> forecast[["remaining_count", "rate_per_day", "days_left", "expected_date"]].astype(str).values.tolist()
    [['500', '100.0', '5.0', '2026-11-10']]
    """
    if isinstance(window_days, bool) or not isinstance(window_days, int) or window_days < 1:
        raise ValidationError(f"window_days={window_days!r} is no number of days: give a whole number from 1 on")
    at = in_beijing(now)
    more = {"state": nw.String(), _MAX: nw.Int64(), _PER_DAY: nw.Int64(), **_bounds("end")}
    readings = last_readings(stock_history, more, until=at).with_columns(
        sending_ends=nw.coalesce(*_bounds("end")),
        remaining_count=remaining(nw.col(_MAX), nw.col(_TOTAL)),
    )
    current = readings.filter(~same_as_next(STOCK))
    window = nw.col("day").is_between(at.date() - timedelta(days=window_days), at.date() - timedelta(days=1))
    known = exact_days(known_intervals(readings)).filter(window)
    sends = {
        key: [row["sends"] for row in rows]
        for key, rows in groupby(known.iter_rows(named=True), key=lambda row: tuple(row[name] for name in STOCK))
    }
    forecasts = [
        _forecast(row, sends.get(tuple(row[name] for name in STOCK), []), at) for row in current.iter_rows(named=True)
    ]
    added = nw.from_dict(
        {name: [getattr(forecast, name) for forecast in forecasts] for name in _FORECAST}, _FORECAST, backend="pyarrow"
    )
    result = nw.concat([current, added], how="horizontal").select(
        "product_coupon_id",
        "stock_id",
        "state",
        "remaining_count",
        *(name for name in _FORECAST if name != "reason"),
        "sending_ends",
        "reason",
        as_of=nw.col("fetched_at"),
    )
    back: IntoFrameT = give_back(result, stock_history)
    return back


def _forecast(stock: Mapping[str, Any], sends: list[int], now: datetime) -> _Forecast:
    """Look ahead from a stock's last reading, given what it sent on the days known."""
    left, limit, ends, first_day = (stock[name] for name in ("remaining_count", _PER_DAY, "sending_ends", "day"))
    n = len(sends)
    if left is None:
        return _Forecast(n, reason="no_limit")
    if left == 0:
        return _Forecast(n, reason="exhausted")
    if stock["state"] != "SENDING" or (ends is not None and ends <= now):
        return _Forecast(n, reason="not_sending")
    if n < 2:
        return _Forecast(n, reason="too_few_days")
    days = np.minimum(sends, limit) if limit is not None else np.asarray(sends)
    rate = float(days.mean())
    if rate == 0:
        return _Forecast(n, rate, reason="no_sends")
    # Sending that ends at midnight has no share in the day that then begins.
    last_day = None if ends is None else (ends - timedelta(microseconds=1)).date()
    horizon = _HORIZON if last_day is None else min((last_day - first_day).days + 1, _HORIZON)
    chance = np.random.default_rng(_SEED)
    sent_today = stock["sent_count_info_today_count"]
    [expected] = _days_until(left, sent_today, np.full((1, horizon), rate))
    # Drawn from the known days alone, 28 days ahead, six ranges in ten hold: how little is known of the mean adds up.
    windows = chance.choice(days, size=(_RESAMPLES, n)).astype(np.float64)
    ahead = np.take_along_axis(windows, chance.integers(n, size=(_RESAMPLES, horizon)), axis=1)
    drawn = _days_until(left, sent_today, ahead)
    low, high = np.quantile(drawn, [_LOW, _HIGH], method="inverted_cdf")

    def date_of(day: np.int64) -> date | None:
        return max(first_day + timedelta(days=int(day)), now.date()) if day < horizon else None

    when = date_of(expected)
    reason = None if when else "outlasts_sending"
    return _Forecast(n, rate, left / rate, when, date_of(low), date_of(high), reason)


def _days_until(left: int, sent_today: int, days: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Count, row by row, the days until `left` more are sent; as many as there are columns when they do not suffice."""
    days[:, 0] = np.maximum(days[:, 0] - sent_today, 0)
    # A mean's digits end somewhere: what lacks less than a millionth of a coupon is there.
    reached = days.cumsum(axis=1) >= left - 1e-6
    until: npt.NDArray[np.int64] = np.where(reached.any(axis=1), reached.argmax(axis=1), days.shape[1])
    return until
