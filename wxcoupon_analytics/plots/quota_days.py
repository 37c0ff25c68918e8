"""On which days each stock hit its daily limit, and how much of it the other days left unused."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_hex
from narwhals.typing import IntoFrame

from wxcoupon_analytics.drawing import (
    AHEAD,
    Row,
    StockKey,
    as_of_text,
    by_stock,
    checked_top,
    cut_text,
    day_axis,
    greys,
    key_of,
    letters_on,
    name_bars,
    named,
    new_axes,
    rows_of,
    stock_labels,
    surround,
    within,
)
from wxcoupon_analytics.fonts import letters
from wxcoupon_analytics.metrics.pacing import quota_days
from wxcoupon_analytics.words import Lang, words_of

_FILL = LinearSegmentedColormap.from_list("fill", ["#E3EEF6", "#0072B2"])
_WRITTEN, _BORDERED = 16, 92  # days up to which cells say their share, and have a border


def plot_quota_days(
    stock_history: IntoFrame,
    product_coupons: IntoFrame | None = None,
    *,
    last_days: int = 60,
    ax: Axes | None = None,
    lang: Lang = "zh",
    top: int = 20,
) -> Axes:
    """Draw how much of its daily limit each stock used, and the days on which the limit was hit.

    Parameters
    ----------
    stock_history : frame
        As for :func:`~wxcoupon_analytics.metrics.pacing.quota_days`: ``store.history("stocks")``.
    product_coupons : frame, optional
        Where the names of the coupons come from, for the labels.
    last_days : int, default 60
        How many days to draw at most, back from the last. The plot says so where it leaves some out.
    ax, lang, top
        As for :func:`plot_budget_use`.

    Returns
    -------
    Axes
        A row a stock and a cell a Beijing day, the darker the greater ``used_share`` (1 and above are one colour), a dot
        where ``hit``; blank where the day is not known exactly. With few days each cell says its share in %.

    Raises
    ------
    ValidationError
        ``lang`` is not known, ``top`` or ``last_days`` is below 1, or what ``quota_days`` raises.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import wxcoupon_analytics as wx
    >>> from wxcoupon_analytics.plots import plot_quota_days
    >>> ax = plot_quota_days(wx.load_sample("stocks"), lang="en")
    >>> ax.get_title(loc="left")
    'How much of its daily limit each stock used'
    >>> plt.close(ax.figure)
    """
    words, limit = words_of(lang), checked_top(top)
    every_day = rows_of(quota_days(stock_history))
    recent = within(every_day, last_days)
    found = by_stock(recent)
    shown = list(found)[:limit]
    ax = ax or new_axes(len(shown))
    drawn = [row for key in shown for row in found[key]]
    names = [dict(zip(("product_coupon_id", "stock_id"), key, strict=True)) for key in shown]
    name_bars(ax, stock_labels(named(names, stock_history, product_coupons)))
    if drawn:
        first, last = min(row["day"] for row in drawn), max(row["day"] for row in drawn)
        _draw_cells(ax, drawn, shown, first, last)
        day_axis(ax, first, last)
    notes = [
        as_of_text([found[key][-1] for key in shown], words),
        words["quota_days_key"],
        words["last_days"].format(last_days) if len(recent) < len(every_day) else "",
        cut_text(found, shown, words["more_stocks"]),
    ]
    surround(ax, words, title=words["quota_days_title"], axis=words["quota_days_axis"], notes=notes)
    return ax


def _draw_cells(ax: Axes, rows: Sequence[Row], shown: Sequence[StockKey], first: date, last: date) -> None:
    """Fill the cells that are known, dot the days on which the limit was hit, write shares where there is room."""
    place = {key: y for y, key in enumerate(shown)}
    days = (last - first).days + 1
    shares = np.full((len(shown), days), np.nan)
    for row in rows:
        shares[place[key_of(row)], (row["day"] - first).days] = (
            np.nan if row["used_share"] is None else row["used_share"]
        )
    ax.pcolormesh(
        first.toordinal() - 0.5 + np.arange(days + 1),
        np.arange(len(shown) + 1) - 0.5,
        np.ma.masked_invalid(shares),
        cmap=_FILL,
        vmin=0,
        vmax=1,
        edgecolors=greys(ax).ground,
        linewidth=1 if days <= _BORDERED else 0,
    )
    hits = [(row["day"].toordinal(), place[key_of(row)]) for row in rows if row["hit"]]
    ax.plot(
        [x for x, _ in hits],
        [y for _, y in hits],
        "o",
        color=AHEAD,
        markersize=5.5,
        markeredgecolor=greys(ax).ground,
        zorder=3,
    )
    for row in rows if days <= _WRITTEN else ():
        if row["used_share"] is not None and not row["hit"]:
            ink = letters_on(to_hex(tuple(_FILL(row["used_share"]))))
            at = (row["day"].toordinal(), place[key_of(row)])
            ax.text(*at, f"{row['used_share']:.0%}", ha="center", va="center", color=ink, font=letters(8), zorder=3)
