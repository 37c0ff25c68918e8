"""How fast each stock is sent, day by day, and when there will be nothing left of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta

from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from narwhals.typing import IntoFrame

from wxcoupon_analytics.drawing import (
    AHEAD,
    GAP,
    LIMIT,
    ON_LIGHT,
    SENT,
    SENT_SO_FAR,
    Row,
    StockKey,
    as_of_text,
    by_stock,
    checked_top,
    count_text,
    cut_text,
    day_axis,
    greys,
    key_of,
    latest_readings,
    name_bars,
    named,
    new_axes,
    rows_of,
    stock_labels,
    surround,
    within,
)
from wxcoupon_analytics.fonts import drawable, letters
from wxcoupon_analytics.metrics.pacing import exhaustion_forecast, pace
from wxcoupon_analytics.metrics.sends import daily_sends
from wxcoupon_analytics.words import Lang, Words, words_of

_TALL = 0.72  # of a row, what its highest bar takes
_PER_DAY = "stock_send_rule_max_count_per_day"
_AHEAD = 28  # days ahead that are drawn at most
_FEW_ROWS, _FEW_DAYS = 2, 21  # of which every bar is labelled
_FAR = 10  # times the highest bar: a daily limit beyond would leave nothing of the bars, and is only written


def plot_daily_sends(
    stock_history: IntoFrame,
    product_coupons: IntoFrame | None = None,
    *,
    now: datetime | None = None,
    window_days: int = 7,
    last_days: int = 60,
    ax: Axes | None = None,
    lang: Lang = "zh",
    top: int = 12,
) -> Axes:
    """Draw what each stock sent day by day, and when it runs out at that rate.

    Parameters
    ----------
    stock_history : frame
        As for :func:`~wxcoupon_analytics.metrics.pacing.exhaustion_forecast`: ``store.history("stocks")``, one stock or
        many.
    product_coupons : frame, optional
        Where the names of the coupons come from, for the labels.
    now, window_days
        As for ``exhaustion_forecast``.
    last_days : int, default 60
        How many days to draw at most, back from the last. The plot says so where it leaves some out.
    ax, lang, top
        As for :func:`plot_budget_use`.

    Returns
    -------
    Axes
        A row a stock, those that run out soonest first. Bars are ``sends`` of ``daily_sends`` (coupons), each row on a
        scale of its own whose peak is labelled; dashed the daily limit, unless it is above ten times the peak. After
        them a line at ``rate_per_day`` to ``expected_date``, with a band from ``low_date`` to ``high_date``, which knows
        no trend (see ``exhaustion_forecast``); beside the row what is left, the rate, the pace (``pace``) and the date,
        or why there is none. Days without a snapshot are one grey block, for what was sent in them is known only
        together.

    Raises
    ------
    ValidationError
        ``lang`` is not known, ``top`` or ``last_days`` is below 1, or what the metrics raise.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import wxcoupon_analytics as wx
    >>> from wxcoupon_analytics.plots import plot_daily_sends
    >>> ax = plot_daily_sends(wx.load_sample("stocks"), wx.load_sample("product_coupons"), lang="en", top=3)
    >>> ax.get_title(loc="left")
    'Coupons sent each day, and when each stock runs out'
    >>> plt.close(ax.figure)
    """
    words, limit = words_of(lang), checked_top(top)
    forecasts = rows_of(exhaustion_forecast(stock_history, now=now, window_days=window_days))
    forecasts.sort(key=_urgency)
    shown = forecasts[:limit]
    every_day = rows_of(daily_sends(stock_history))
    recent = within(every_day, last_days)
    sends = by_stock(recent)
    paces = {key: rows[-1] for key, rows in by_stock(rows_of(pace(stock_history))).items()}
    readings = latest_readings(stock_history, _PER_DAY)
    ax = ax or new_axes(len(shown), each=0.62 if len(shown) > 1 else 1.2)
    drawn = [_Stock(row, sends.get(key_of(row), []), readings[key_of(row)][_PER_DAY]) for row in shown]
    all_days = [day for stock in drawn for day in stock.days]
    last = max((_last_day(day) for day in all_days), default=None)
    for y, stock in enumerate(drawn):
        stock.draw(ax, y, every=len(drawn) <= _FEW_ROWS, end=(last or date.min) + timedelta(days=_AHEAD))
        _write_right(ax, y, _outlook(stock.forecast, paces.get(key_of(stock.forecast)), stock.limit, words))
    if last is not None:
        ahead = [stock.forecast[name] for stock in drawn for name in ("expected_date", "high_date")]
        furthest = max([last, *(day for day in ahead if day)])
        day_axis(ax, min(day["day"] for day in all_days), min(furthest, last + timedelta(days=_AHEAD)))
    name_bars(ax, stock_labels(named(shown, stock_history, product_coupons)))
    ax.set_ylim(max(len(shown), 1) - 0.5, -0.58)
    notes = [
        as_of_text(shown, words),
        words["sends_key"].format(window_days),
        " · ".join(
            words[name]
            for name, there in (
                ("running_day", any(not day["complete"] for day in all_days)),
                ("gap", any((day["days_covered"] or 1) > 1 for day in all_days)),
                ("anomaly", any(day["anomaly"] for day in all_days)),
            )
            if there
        ),
        words["last_days"].format(last_days) if len(recent) < sum(row["day"] is not None for row in every_day) else "",
        cut_text(forecasts, shown, words["more_stocks"]),
    ]
    surround(ax, words, title=words["sends_title"], axis=words["sends_axis"], notes=notes)
    return ax


class _Stock:
    """One row of the plot: a stock's days on a scale of their own, and what is ahead of it."""

    def __init__(self, forecast: Row, days: Sequence[Row], limit: int | None) -> None:
        self.forecast, self.days, self.limit = forecast, days, limit
        alone = [day for day in days if day["days_covered"] == 1 and day["sends"]]
        self._peak = max(alone, key=lambda day: day["sends"], default=None)
        highest = self._peak["sends"] if self._peak else 0
        self._dashes = limit if limit is not None and (not highest or limit <= _FAR * highest) else None
        self._scale = _TALL / (max(highest, self._dashes or 0) or 1)

    def draw(self, ax: Axes, y: int, *, every: bool, end: date) -> None:
        """Draw the row whose middle is y, labelling every bar or only the highest, up to a day ahead."""
        floor = y + _TALL / 2
        ax.axhline(floor, color=greys(ax).edge, linewidth=0.8, zorder=1)
        self._draw_bars(ax, floor, every=every and len(self.days) <= _FEW_DAYS)
        self._draw_doubtful(ax, floor)
        if self.days and self._dashes is not None:
            ends = (self.days[0]["day"].toordinal() - 0.5, _last_day(self.days[-1]).toordinal() + 0.5)
            height = floor - self._dashes * self._scale
            ax.plot(ends, (height, height), color=LIMIT, linewidth=1, linestyle=(0, (4, 2)), zorder=3)
        if self.days and self.forecast["expected_date"]:
            self._draw_forecast(ax, floor, end.toordinal() + 0.5)

    def _draw_bars(self, ax: Axes, floor: float, *, every: bool) -> None:
        """Draw the days that are known each, and write the count over the highest, or over every one."""
        days = [day for day in self.days if day["days_covered"] == 1 and not day["anomaly"]]
        heights = [day["sends"] * self._scale for day in days]
        ax.bar(
            [day["day"].toordinal() for day in days],
            [-height for height in heights],
            0.84,
            bottom=floor,
            color=[SENT if day["complete"] else SENT_SO_FAR for day in days],
            zorder=2,
        )
        for day, height in zip(days, heights, strict=True):
            if every or day is self._peak:
                _write_over(ax, day["day"].toordinal(), floor - height, day["sends"])

    def _draw_doubtful(self, ax: Axes, floor: float) -> None:
        """Draw days that are known only together as one block, and a cross where nothing is known."""
        for day in self.days:
            first, days = day["day"].toordinal(), day["days_covered"]
            if day["anomaly"]:
                ax.plot(first, floor - 0.08, marker="x", color=LIMIT, markersize=5, zorder=4)
            elif days > 1:
                ax.bar(first - 0.46, -_TALL / 2, days - 0.08, bottom=floor, align="edge", color=GAP, zorder=2)
                at, count = (first + days / 2 - 0.5, floor - _TALL / 4), count_text(day["sends"])
                halo = [withStroke(linewidth=2, foreground=GAP)]  # a count may be wider than its block
                ax.text(
                    *at,
                    count,
                    ha="center",
                    va="center",
                    color=ON_LIGHT,
                    font=letters(7.5),
                    zorder=5,
                    path_effects=halo,
                )

    def _draw_forecast(self, ax: Axes, floor: float, end: float) -> None:
        """Draw the band of dates, and a line at the rate to the expected one; both stop at the end of the axis."""
        expected, low, high, rate = (
            self.forecast[name] for name in ("expected_date", "low_date", "high_date", "rate_per_day")
        )
        band = (min((low or expected).toordinal() - 0.5, end), min(high.toordinal() + 0.5, end) if high else end)
        ax.fill_between(band, floor, floor - _TALL, color=AHEAD, alpha=0.3, linewidth=0, zorder=1)
        height, begin = floor - rate * self._scale, _last_day(self.days[-1]).toordinal() + 0.5
        until = min(max(expected.toordinal(), begin), end)
        ax.plot((begin, until), (height, height), color=AHEAD, linewidth=1.6, zorder=3)
        ax.plot(until, height, marker=">" if until == end else "o", color=AHEAD, markersize=5, clip_on=False, zorder=4)


def _last_day(row: Row) -> date:
    last: date = row["day"] + timedelta(days=row["days_covered"] - 1)
    return last


def _urgency(row: Row) -> tuple[date, bool, StockKey]:
    """Sort by when stocks run out, then those that are sending before those that are not."""
    return row["expected_date"] or date.max, row["state"] != "SENDING", key_of(row)


def _outlook(forecast: Row, speed: Row | None, limit: int | None, words: Words) -> Sequence[str]:
    """Say how it stands: what is left and how fast it goes, then when it is gone or why nobody can say."""
    now = []
    if forecast["remaining_count"] is not None:
        now.append(words["left"].format(count_text(forecast["remaining_count"])))
    if forecast["rate_per_day"] is not None:
        now.append(words["per_day"].format(f"{forecast['rate_per_day']:,.0f}"))
    if limit is not None:
        now.append(words["day_limit"].format(count_text(limit)))
    if speed and speed["pace"] is not None:
        now.append(words["pace"].format(speed["pace"]))
    expected, low, high = (forecast[name] for name in ("expected_date", "low_date", "high_date"))
    if expected is None:
        return [" · ".join(now), words.get(forecast["reason"], str(forecast["reason"]))]
    if low == high:
        return [" · ".join(now), words["until"].format(expected)]
    span = (f"{low or expected:%m-%d}", f"{high:%m-%d}" if high else words["no_later"])
    return [" · ".join(now), words["until_between"].format(expected, *span)]


def _write_right(ax: Axes, y: float, lines: Sequence[str]) -> None:
    for line, up in zip(lines, (1, -1), strict=True):
        ax.annotate(
            drawable(line),
            (1, y),
            xycoords=ax.get_yaxis_transform(),
            xytext=(8, 6.5 * up),
            textcoords="offset points",
            va="center",
            color=greys(ax).faint if up > 0 else greys(ax).ink,
            fontproperties=letters(8.5),
            annotation_clip=False,
        )


def _write_over(ax: Axes, x: float, y: float, count: int) -> None:
    """Write a count over a bar, legible on a line that crosses it."""
    ax.annotate(
        count_text(count),
        (x, y),
        xytext=(0, 1),
        textcoords="offset points",
        ha="center",
        va="bottom",
        color=greys(ax).ink,
        font=letters(7.5),
        zorder=5,
        path_effects=[withStroke(linewidth=2, foreground=greys(ax).ground)],
    )
