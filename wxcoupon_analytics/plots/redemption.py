"""How soon, and how often, the coupons received are used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator
from narwhals.typing import IntoFrame

from wxcoupon_analytics.drawing import (
    LINE_COLOURS,
    Row,
    as_of_text,
    by_text,
    checked_top,
    coupon_names,
    cut_text,
    group_labels,
    label_ends,
    new_axes,
    rows_of,
    surround,
)
from wxcoupon_analytics.metrics.redemption import redemption_curve
from wxcoupon_analytics.words import Lang, words_of


def plot_redemption_curve(
    user_coupons: IntoFrame,
    *,
    by: str | Sequence[str] | None = None,
    stocks: IntoFrame | None = None,
    product_coupons: IntoFrame | None = None,
    ax: Axes | None = None,
    lang: Lang = "zh",
    top: int = 7,
) -> Axes:
    """Draw which share of the coupons received is used within so many days.

    Parameters
    ----------
    user_coupons, by
        As for :func:`~wxcoupon_analytics.metrics.redemption.redemption_curve`; a line for each group.
    stocks, product_coupons : frame, optional
        Where the names come from when ``by`` has ``stock_id``; without them the groups are labelled by id.
    ax, lang
        As for :func:`plot_budget_use`.
    top : int, default 7
        How many groups to draw at most, in their own order. The plot says how many it leaves out.

    Returns
    -------
    Axes
        Lines of ``used_share`` (0–1, axis in %) by days since receipt, with a band from ``used_low`` to ``used_high``,
        each labelled at its end with its last share.

    Raises
    ------
    ValidationError
        ``lang`` is not known, ``top`` is below 1, or what ``redemption_curve`` raises.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import wxcoupon_analytics as wx
    >>> from wxcoupon_analytics.plots import plot_redemption_curve
    >>> ax = plot_redemption_curve(wx.load_sample("user_coupons"), lang="en")
    >>> ax.get_ylabel()
    'share of coupons received that are used (%)'
    >>> plt.close(ax.figure)
    """
    words, limit = words_of(lang), checked_top(top)
    rows = rows_of(redemption_curve(user_coupons, by=by))
    by = [by] if isinstance(by, str) else list(by or ())
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in by), []).append(row)
    shown = list(groups)[:limit]
    names = group_labels(shown, by, coupon_names(stocks, product_coupons))
    ax = ax or new_axes(12)
    ends = []
    for place, (group, name) in enumerate(zip(shown, names, strict=True)):
        days, colour = groups[group], LINE_COLOURS[place % len(LINE_COLOURS)]
        _draw_curve(ax, days, colour)
        ends.append((days[-1]["day"], days[-1]["used_share"], f"{name} {days[-1]['used_share']:.1%}".strip(), colour))
    drawn = [row for group in shown for row in groups[group]]
    last = max((row["day"] for row in drawn), default=0)
    ax.set_xlim(0, max(last, 1))
    ax.set_ylim(0, max([0.01, *(row["used_high"] or row["used_share"] for row in drawn)]) * 1.05)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
    label_ends(ax, ends)
    surround(
        ax,
        words,
        title=words["curve_by_title"].format(by_text(by, words)) if by else words["curve_title"],
        axis=words["curve_axis"],
        upward=words["curve_y_axis"],
        notes=[as_of_text(drawn, words), words["curve_key"], cut_text(groups, shown, words["more_groups"])],
        empty=not drawn,
    )
    return ax


def _draw_curve(ax: Axes, days: Sequence[Row], colour: str) -> None:
    """Draw one group's line and its band, which begins where there is one."""
    ax.plot([row["day"] for row in days], [row["used_share"] for row in days], color=colour, linewidth=1.8)
    ax.plot(days[-1]["day"], days[-1]["used_share"], "o", color=colour, markersize=4, clip_on=False)
    banded = [row for row in days if row["used_low"] is not None]
    ax.fill_between(
        [row["day"] for row in banded],
        [row["used_low"] for row in banded],
        [row["used_high"] for row in banded],
        color=colour,
        alpha=0.15,
        linewidth=0,
    )
