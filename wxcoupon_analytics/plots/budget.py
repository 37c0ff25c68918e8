"""How much of each stock is handed out, and how much may still be."""

from __future__ import annotations

from datetime import datetime

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator
from narwhals.typing import IntoFrame

from wxcoupon_analytics.drawing import (
    BAR,
    LIMIT_COLOURS,
    NOT_KNOWN,
    OTHER,
    STOCK_COLOURS,
    add_legend,
    as_of_text,
    checked_top,
    count_text,
    cut_text,
    draw_tracks,
    halted,
    minute_text,
    name_bars,
    new_axes,
    rows_of,
    state_name,
    stock_labels,
    surround,
    write_beside,
)
from wxcoupon_analytics.metrics import budget, budget_use, quota, remaining_daily_quota
from wxcoupon_analytics.metrics.engines import SHANGHAI, collect, has_brand, open_frame
from wxcoupon_analytics.words import Lang, words_of


def plot_budget_use(
    stocks: IntoFrame,
    product_coupons: IntoFrame | None = None,
    *,
    ax: Axes | None = None,
    lang: Lang = "zh",
    top: int = 20,
) -> Axes:
    """Draw how much of each stock's budget is handed out, the fullest first.

    Parameters
    ----------
    stocks, product_coupons : frame
        As for :func:`~wxcoupon_analytics.metrics.budget_use`. A stock is labelled by its coupon's name and its remark,
        by its id when it has neither.
    ax : Axes, optional
        Where to draw; a new figure by default. Labels stand outside the bars: give your own figure
        ``layout="constrained"``.
    lang : {"zh", "en"}
        The language of titles and labels.
    top : int, default 20
        How many stocks to draw at most. The plot says how many it leaves out.

    Returns
    -------
    Axes
        One bar a stock, as long as its ``sent_share`` (0–1 of ``max_count``, axis in %) and coloured by its state;
        beside it sent / max and what is left. A stock without a known share has no bar and shows "—".

    Raises
    ------
    ValidationError
        ``lang`` is not known, ``top`` is below 1, or what ``budget_use`` raises.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from wxcoupon_analytics.entities.flatten import flatten
    >>> from wxcoupon_analytics.plots import plot_budget_use
    >>> stocks = flatten("stocks", {
    ...     "stock_id": "1000000013001", "state": "SENDING",
    ...     "stock_send_rule": {"max_count": 1000}, "sent_count_info": {"total_count": 250},
    ... })
    >>> ax = plot_budget_use(stocks, lang="en")
    >>> ax.get_title(loc="left")
    'Budget handed out, by stock'
    >>> plt.close(ax.figure)
    """
    words, limit = words_of(lang), checked_top(top)
    rows = rows_of(budget_use(stocks, product_coupons))
    rows.sort(key=lambda row: (row["sent_share"] is None, -(row["sent_share"] or 0), row["stock_id"] or ""))
    shown = rows[:limit]
    longest = max([1.0, *(row["sent_share"] or 0 for row in shown)])
    ax = ax or new_axes(len(shown))
    draw_tracks(ax, len(shown))
    for y, row in enumerate(shown):
        ax.barh(y, row["sent_share"] or 0, height=BAR, color=STOCK_COLOURS.get(row["state"], OTHER), zorder=2)
        share = NOT_KNOWN if row["sent_share"] is None else f"{row['sent_share']:.1%}"
        parts = [
            share,
            f"{count_text(row['sent_count'])} / {count_text(row['max_count'])}",
            *([] if row["remaining_count"] is None else [words["left"].format(count_text(row["remaining_count"]))]),
            *halted(row["state"], words),
        ]
        write_beside(ax, y, longest, " · ".join(parts))
    ax.set_xlim(0, longest)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
    name_bars(ax, stock_labels(shown))
    met = dict.fromkeys([*STOCK_COLOURS, *sorted(row["state"] or "" for row in shown)])
    drawn = {row["state"] or "" for row in shown}
    add_legend(
        ax,
        [(state_name(state or None, words), STOCK_COLOURS.get(state, OTHER)) for state in met if state in drawn],
    )
    notes = [as_of_text(rows, words), cut_text(rows, shown, words["more_stocks"])]
    surround(ax, words, title=words["budget_title"], axis=words["budget_axis"], notes=notes)
    return ax


def plot_remaining_daily_quota(
    stocks: IntoFrame,
    product_coupons: IntoFrame | None = None,
    *,
    now: datetime | None = None,
    ax: Axes | None = None,
    lang: Lang = "zh",
    top: int = 20,
) -> Axes:
    """Draw how many coupons each stock can still send today, and what limits it.

    Parameters
    ----------
    stocks : frame
        As for :func:`~wxcoupon_analytics.metrics.remaining_daily_quota`.
    product_coupons : frame, optional
        Where the names of the coupons come from, for the labels.
    now : aware datetime, optional
        The moment "today" is meant at; the present by default.
    ax, lang, top
        As for :func:`plot_budget_use`.

    Returns
    -------
    Axes
        One bar a stock, as long as its ``sendable_today`` (coupons) and coloured by its ``binding_limit``, those that
        can send most first. Stale rows are hatched and starred; "—" where no limit is known.

    Raises
    ------
    ValidationError
        ``lang`` is not known, ``top`` is below 1, or what ``remaining_daily_quota`` raises.

    Examples
    --------
    >>> from datetime import datetime
    >>> from zoneinfo import ZoneInfo
    >>> import matplotlib.pyplot as plt
    >>> from wxcoupon_analytics.entities.flatten import flatten
    >>> from wxcoupon_analytics.plots import plot_remaining_daily_quota
    >>> noon = datetime(2025, 8, 2, 12, tzinfo=ZoneInfo("Asia/Shanghai"))
    >>> stocks = flatten("stocks", {
    ...     "stock_id": "1000000013001", "state": "SENDING", "stock_send_rule": {"max_count_per_day": 100},
    ...     "sent_count_info": {"today_count": 10},
    ... }).assign(fetched_at=noon)
    >>> ax = plot_remaining_daily_quota(stocks, now=noon, lang="en")
    >>> ax.get_xlabel()
    'sendable today (coupons, at most)'
    >>> plt.close(ax.figure)
    """
    words, limit = words_of(lang), checked_top(top)
    moment = now or datetime.now(SHANGHAI)
    # The quota does not carry names: budget_use does. Both keep the order of rows, which only Arrow is sure to have.
    needed = list(dict.fromkeys([*(["brand_id"] if has_brand(stocks) else []), *budget.STOCKS, *quota.STOCKS]))
    table = collect(open_frame(stocks, entity="stocks", needs=needed), needed).to_native()
    named, limited = rows_of(budget_use(table, product_coupons)), rows_of(remaining_daily_quota(table, now=moment))
    rows = [{**name, **row} for name, row in zip(named, limited, strict=True)]
    rows.sort(key=lambda row: (row["sendable_today"] is None, -(row["sendable_today"] or 0), row["stock_id"] or ""))
    shown = rows[:limit]
    longest = max((row["sendable_today"] or 0 for row in shown), default=0) or 1
    ax = ax or new_axes(len(shown))
    for y, row in enumerate(shown):
        ax.barh(
            y,
            row["sendable_today"] or 0,
            height=BAR,
            color=LIMIT_COLOURS.get(row["binding_limit"], OTHER),
            hatch="///" if row["stale"] else None,
            edgecolor="white",
            linewidth=0,
            zorder=2,
        )
        parts = [count_text(row["sendable_today"]), *halted(row["state"], words)]
        if row["sendable_today"] == 0 and row["binding_limit"] != "state":
            parts.append(words[f"limit_{row['binding_limit']}"])  # there is no bar to take its colour
        write_beside(ax, y, row["sendable_today"] or 0, " · ".join(parts) + (" *" if row["stale"] else ""))
    ax.set_xlim(0, longest * 1.15)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: count_text(int(value))))
    name_bars(ax, stock_labels(shown))
    met = {row["binding_limit"] for row in shown if row["sendable_today"] != 0}
    limits = [(words[f"limit_{name}"], colour) for name, colour in LIMIT_COLOURS.items() if name in met]
    add_legend(ax, [*limits, (words["none_known"], OTHER)] if None in met else limits)
    notes = [
        words["now"].format(minute_text(moment)),
        as_of_text(rows, words),
        words["stale"] if any(row["stale"] for row in shown) else "",
        cut_text(rows, shown, words["more_stocks"]),
    ]
    surround(ax, words, title=words["quota_title"], axis=words["quota_axis"], notes=notes)
    return ax
