"""What became of the coupons that users received."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter
from narwhals.typing import IntoFrame

from wxcoupon_analytics.drawing import (
    BAR,
    NOT_KNOWN,
    STAGE_COLOURS,
    as_of_text,
    count_text,
    coupon_colours,
    draw_tracks,
    name_bars,
    new_axes,
    rows_of,
    state_name,
    surround,
    write_beside,
)
from wxcoupon_analytics.metrics import state_breakdown
from wxcoupon_analytics.metrics.funnel import STANDINGS, coupon_funnel
from wxcoupon_analytics.words import Lang, words_of


def plot_funnel(user_coupons: IntoFrame, *, ax: Axes | None = None, lang: Lang = "zh") -> Axes:
    """Draw how many of the coupons received were confirmed, used, can still be used, or are lost.

    Parameters
    ----------
    user_coupons : frame
        As for :func:`~wxcoupon_analytics.metrics.funnel.coupon_funnel`.
    ax, lang
        As for :func:`plot_budget_use`.

    Returns
    -------
    Axes
        One bar a stage, as long as its ``share`` (0–1 of the coupons received, axis in %), labelled with share and
        ``count`` (coupons). A stage of several states is made of their parts, each named with its count.

    Raises
    ------
    ValidationError
        ``lang`` is not known, or what ``coupon_funnel`` raises.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import wxcoupon_analytics as wx
    >>> from wxcoupon_analytics.plots import plot_funnel
    >>> ax = plot_funnel(wx.load_sample("user_coupons"), lang="en")
    >>> [label.get_text() for label in ax.get_yticklabels()][:3]
    ['received', 'confirmed', 'used']
    >>> plt.close(ax.figure)
    """
    words = words_of(lang)
    stages = [row for row in rows_of(coupon_funnel(user_coupons)) if row["stage"] != "other" or row["count"]]
    states = rows_of(state_breakdown(user_coupons))
    colours = coupon_colours(row["coupon_state"] for row in states)
    ax = ax or new_axes(len(stages))
    draw_tracks(ax, len(stages))
    for y, stage in enumerate(stages):
        parts = [
            row for row in states if row["count"] and STANDINGS.get(row["coupon_state"], "other") == stage["stage"]
        ]
        start = 0.0
        for part in parts:
            ax.barh(y, part["share"], left=start, height=BAR, color=colours[part["coupon_state"]], zorder=2)
            start += part["share"]
        if not parts:
            ax.barh(y, stage["share"] or 0, height=BAR, color=STAGE_COLOURS[stage["stage"]], zorder=2)
        share = NOT_KNOWN if stage["share"] is None else f"{stage['share']:.1%}"
        of = [f"{state_name(part['coupon_state'], words)} {count_text(part['count'])}" for part in parts]
        write_beside(ax, y, 1, " · ".join([share, count_text(stage["count"]), *(of if len(of) > 1 else [])]))
    name_bars(ax, [words[stage["stage"]] for stage in stages])
    ax.set_xlim(0, 1)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
    surround(ax, words, title=words["funnel_title"], axis=words["funnel_axis"], notes=[as_of_text(stages[:1], words)])
    return ax
