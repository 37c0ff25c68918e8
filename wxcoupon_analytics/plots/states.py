"""Which states the coupons are in, now and day by day."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator
from narwhals.typing import IntoFrame

from wxcoupon_analytics.drawing import (
    BAR,
    NOT_KNOWN,
    Row,
    add_legend,
    as_of_text,
    by_text,
    checked_top,
    count_text,
    coupon_colours,
    coupon_names,
    cut_text,
    day_axis,
    draw_tracks,
    greys,
    group_labels,
    label_ends,
    letters_on,
    name_bars,
    new_axes,
    rows_of,
    state_name,
    surround,
    write_beside,
)
from wxcoupon_analytics.fonts import letters
from wxcoupon_analytics.metrics import state_breakdown
from wxcoupon_analytics.metrics.timeline import state_history
from wxcoupon_analytics.words import Lang, words_of


def plot_state_breakdown(
    user_coupons: IntoFrame,
    *,
    by: str | Sequence[str] | None = None,
    deduplicate: bool = True,
    stocks: IntoFrame | None = None,
    product_coupons: IntoFrame | None = None,
    ax: Axes | None = None,
    lang: Lang = "zh",
    top: int = 20,
) -> Axes:
    """Draw the states the coupons are in: one bar a state, or with ``by`` one stacked bar a group.

    Parameters
    ----------
    user_coupons, by, deduplicate
        As for :func:`~wxcoupon_analytics.metrics.state_breakdown`.
    stocks, product_coupons : frame, optional
        Where the names come from when ``by`` has ``stock_id``; without them the groups are labelled by id.
    ax, lang
        As for :func:`plot_budget_use`.
    top : int, default 20
        How many groups to draw at most, in their own order. The plot says how many it leaves out.

    Returns
    -------
    Axes
        Bars as long as ``share`` (0–1 of the group, axis in %), in lifecycle order. Without ``by`` each is labelled with
        its share and ``count`` (coupons); stacked, each part that has room is labelled with its ``count``.

    Raises
    ------
    ValidationError
        ``lang`` is not known, ``top`` is below 1, or what ``state_breakdown`` raises.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from wxcoupon_analytics.entities.flatten import flatten
    >>> from wxcoupon_analytics.plots import plot_state_breakdown
    >>> coupons = flatten("user_coupons", {"coupon_code": "A", "coupon_state": "USED", "stock": {"stock_id": "1"}})
    >>> ax = plot_state_breakdown(coupons, lang="en")
    >>> [label.get_text() for label in ax.get_yticklabels()][:4]
    ['CONFIRMING', 'PENDING', 'EFFECTIVE', 'USED']
    >>> plt.close(ax.figure)
    """
    words, limit = words_of(lang), checked_top(top)
    rows = rows_of(state_breakdown(user_coupons, by=by, deduplicate=deduplicate))
    by = [by] if isinstance(by, str) else list(by or ())
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in by), []).append(row)
    shown = list(groups)[:limit]
    colours = coupon_colours(row["coupon_state"] for row in rows)
    if by:
        ax = ax or new_axes(len(shown))
        for y, group in enumerate(shown):
            _stack(ax, y, groups[group], colours)
        name_bars(ax, group_labels(shown, by, coupon_names(stocks, product_coupons)))
        add_legend(ax, [(state_name(state, words), colour) for state, colour in colours.items()])
    else:
        ax = ax or new_axes(len(rows))
        draw_tracks(ax, len(rows))
        for y, row in enumerate(rows):
            ax.barh(y, row["share"] or 0, height=BAR, color=colours[row["coupon_state"]], zorder=2)
            share = NOT_KNOWN if row["share"] is None else f"{row['share']:.1%}"
            write_beside(ax, y, 1, f"{share} · {count_text(row['count'])}")
        name_bars(ax, [state_name(row["coupon_state"], words) for row in rows])
    ax.set_xlim(0, 1)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
    notes = [as_of_text(rows, words), cut_text(groups, shown, words["more_groups"])]
    title = words["states_by_title"].format(by_text(by, words)) if by else words["states_title"]
    surround(ax, words, title=title, axis=words["states_axis"], notes=notes)
    return ax


def _stack(ax: Axes, y: int, rows: Iterable[Row], colours: Mapping[str | None, str]) -> None:
    """Lay the parts of one group end to end; a part with room for its count carries it."""
    start = 0.0
    for row in rows:
        width, colour = row["share"] or 0.0, colours[row["coupon_state"]]
        ax.barh(y, width, left=start, height=BAR, color=colour, edgecolor=greys(ax).ground, linewidth=0.6, zorder=2)
        text = count_text(row["count"])
        if width > 0.012 * (len(text) + 1):
            ink = letters_on(colour)
            ax.text(start + width / 2, y, text, ha="center", va="center", color=ink, font=letters(8), zorder=3)
        start += width


def plot_state_history(user_coupon_history: IntoFrame, *, ax: Axes | None = None, lang: Lang = "zh") -> Axes:
    """Draw how many coupons were in each state, day by day.

    Parameters
    ----------
    user_coupon_history : frame
        As for :func:`~wxcoupon_analytics.metrics.timeline.state_history`: ``store.history("user_coupons")``.
    ax, lang
        As for :func:`plot_budget_use`.

    Returns
    -------
    Axes
        Bands as high as ``count`` (coupons), stacked in lifecycle order and labelled at their right end with the last
        count. A day without a reading shows what was last known.

    Raises
    ------
    ValidationError
        ``lang`` is not known, or what ``state_history`` raises.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import wxcoupon_analytics as wx
    >>> from wxcoupon_analytics.plots import plot_state_history
    >>> ax = plot_state_history(wx.load_sample("user_coupons"), lang="en")
    >>> ax.get_title(loc="left")
    'Known coupons by state, day by day'
    >>> plt.close(ax.figure)
    """
    words = words_of(lang)
    rows = rows_of(state_history(user_coupon_history))
    days = list(dict.fromkeys(row["day"] for row in rows))
    ax = ax or new_axes(10)
    edges = [day.toordinal() - 0.5 for day in days] + [day.toordinal() + 0.5 for day in days[-1:]]
    below, ends = [0] * len(edges), []
    for state, colour in coupon_colours(row["coupon_state"] for row in rows).items():
        counts = [row["count"] for row in rows if row["coupon_state"] == state]
        if not any(counts):
            continue
        above = [low + count for low, count in zip(below, [*counts, counts[-1]], strict=True)]
        ax.fill_between(edges, below, above, step="post", color=colour, linewidth=0, label=state or "")
        middle = (below[-1] + above[-1]) / 2
        ends.append((edges[-1], middle, f"{state_name(state, words)} {count_text(counts[-1])}", colour))
        below = above
    if days:
        ax.set_ylim(0, max(below) * 1.02 or 1)
        day_axis(ax, days[0], days[-1])
        label_ends(ax, ends)
    ax.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: count_text(int(value))))
    surround(
        ax,
        words,
        title=words["history_title"],
        axis=words["history_axis"],
        upward=words["history_y_axis"],
        notes=[as_of_text(rows[-1:], words)],
        empty=not days,
    )
    return ax
