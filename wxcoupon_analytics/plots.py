"""First looks at the numbers: each plot draws one metric, and every number on it comes from that metric.

A plot takes the frame its metric takes, of any engine, and an ``ax`` to draw into (a new figure without one). It returns
the Axes, shows nothing by itself, and changes no setting of matplotlib.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Sized
from datetime import datetime
from itertools import accumulate
from typing import Any, Literal
from unicodedata import east_asian_width

import matplotlib.pyplot as plt
import narwhals as nw
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator
from narwhals.typing import IntoFrame

from .errors import ValidationError
from .fonts import drawable, letters
from .metrics import budget_use, remaining_daily_quota, state_breakdown
from .metrics.engines import SHANGHAI

Lang = Literal["zh", "en"]
Row = dict[str, Any]

NOT_KNOWN = "\N{EM DASH}"
_BAR = 0.62  # of the room a bar has
_INK, _FAINT, _TRACK, _OTHER = "#222222", "#666666", "#ECECEC", "#4D4D4D"

# Okabe and Ito's palette, told apart by every common form of colour blindness.
_COUPON_COLOURS = {
    "CONFIRMING": "#F0E442",
    "PENDING": "#56B4E9",
    "EFFECTIVE": "#0072B2",
    "USED": "#009E73",
    "EXPIRED": "#BBBBBB",
    "DELETED": "#D55E00",
    "DEACTIVATED": "#CC79A7",
}
_STOCK_COLOURS = {
    "AUDITING": "#56B4E9",
    "SENDING": "#009E73",
    "PAUSED": "#E69F00",
    "STOPPED": "#999999",
    "DEACTIVATED": "#CC79A7",
}
_LIMIT_COLOURS = {"daily": "#0072B2", "total": "#E69F00", "codes": "#CC79A7"}

_WORDS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "budget_title": "Budget handed out, by stock",
        "budget_axis": "share of max_count handed out (%)",
        "quota_title": "Coupons that can still be sent today, by stock",
        "quota_axis": "sendable today (coupons, at most)",
        "states_title": "Coupons by state",
        "states_by_title": "Coupons by state, for each {}",
        "states_axis": "share of coupons (%)",
        "as_of": "as of {}, Beijing time",
        "as_of_range": "as of {} to {}, Beijing time",
        "now": "for {}, Beijing time",
        "more_stocks": "the first {shown} stocks, and {more} more",
        "more_groups": "the first {shown} groups, and {more} more",
        "stale": "* fetched before today: the daily count has restarted since",
        "empty": "nothing to show: the frame has no rows",
        "none_known": "no limit known",
        "limit_daily": "limited by the day",
        "limit_total": "limited by the total",
        "limit_codes": "limited by uploaded codes",
        "null_state": "state unknown",
    },
    "zh": {
        "budget_title": "各批次预算发放进度",
        "budget_axis": "已发放占最大发放量的比例(%)",
        "quota_title": "各批次今日还可发放",
        "quota_axis": "今日还可发放(张,上限)",
        "states_title": "用户商品券状态分布",
        "states_by_title": "用户商品券状态分布(按 {})",
        "states_axis": "占券数的比例(%)",
        "as_of": "数据截至 {}(北京时间)",
        "as_of_range": "数据截至 {} 至 {}(北京时间)",
        "now": "按 {} 计算(北京时间)",
        "more_stocks": "显示前 {shown} 个批次,另有 {more} 个未显示",
        "more_groups": "显示前 {shown} 组,另有 {more} 组未显示",
        "stale": "* 数据早于今日,当日计数此后已清零",
        "empty": "没有数据",
        "none_known": "无已知限额",
        "limit_daily": "受单日上限约束",
        "limit_total": "受总量上限约束",
        "limit_codes": "受券码数量约束",
        "null_state": "状态未知",
        "CONFIRMING": "待确认",
        "PENDING": "待生效",
        "EFFECTIVE": "已生效",
        "USED": "已核销",
        "EXPIRED": "已过期",
        "DELETED": "已删除",
        "AUDITING": "审批中",
        "SENDING": "发放中",
        "PAUSED": "已暂停",
        "STOPPED": "已停止",
        "DEACTIVATED": "已失效",
    },
}


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
        beside it sent / max. A stock without a known share has no bar and shows "—".

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
    words, limit = _words(lang), _checked(top)
    rows = _rows(budget_use(stocks, product_coupons))
    rows.sort(key=lambda row: (row["sent_share"] is None, -(row["sent_share"] or 0), row["stock_id"] or ""))
    shown = rows[:limit]
    longest = max([1.0, *(row["sent_share"] or 0 for row in shown)])
    ax = ax or _new_axes(len(shown))
    _tracks(ax, len(shown))
    for y, row in enumerate(shown):
        ax.barh(y, row["sent_share"] or 0, height=_BAR, color=_STOCK_COLOURS.get(row["state"], _OTHER), zorder=2)
        share = NOT_KNOWN if row["sent_share"] is None else f"{row['sent_share']:.1%}"
        parts = [share, f"{_count(row['sent_count'])} / {_count(row['max_count'])}", *_halted(row["state"], words)]
        _beside(ax, y, longest, " · ".join(parts))
    ax.set_xlim(0, longest)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
    _name_bars(ax, _stock_labels(shown))
    met = dict.fromkeys([*_STOCK_COLOURS, *sorted(row["state"] or "" for row in shown)])
    drawn = {row["state"] or "" for row in shown}
    _legend(
        ax,
        [(_state_name(state or None, words), _STOCK_COLOURS.get(state, _OTHER)) for state in met if state in drawn],
    )
    notes = [_as_of(rows, words), _cut(rows, shown, words["more_stocks"])]
    _frame(ax, words, title=words["budget_title"], axis=words["budget_axis"], notes=notes)
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
    words, limit = _words(lang), _checked(top)
    moment = now or datetime.now(SHANGHAI)
    rows = _rows(remaining_daily_quota(stocks, now=moment))
    # The quota does not carry names: budget_use does.
    named = {_key(row): row for row in _rows(budget_use(stocks, product_coupons))}
    rows = [{**named[_key(row)], **row} for row in rows]
    rows.sort(key=lambda row: (row["sendable_today"] is None, -(row["sendable_today"] or 0), row["stock_id"] or ""))
    shown = rows[:limit]
    longest = max((row["sendable_today"] or 0 for row in shown), default=0) or 1
    ax = ax or _new_axes(len(shown))
    for y, row in enumerate(shown):
        ax.barh(
            y,
            row["sendable_today"] or 0,
            height=_BAR,
            color=_LIMIT_COLOURS.get(row["binding_limit"], _OTHER),
            hatch="///" if row["stale"] else None,
            edgecolor="white",
            linewidth=0,
            zorder=2,
        )
        parts = [_count(row["sendable_today"]), *_halted(row["state"], words)]
        if row["sendable_today"] == 0 and row["binding_limit"] != "state":
            parts.append(words[f"limit_{row['binding_limit']}"])  # there is no bar to take its colour
        _beside(ax, y, row["sendable_today"] or 0, " · ".join(parts) + (" *" if row["stale"] else ""))
    ax.set_xlim(0, longest * 1.15)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _count(int(value))))
    _name_bars(ax, _stock_labels(shown))
    met = {row["binding_limit"] for row in shown if row["sendable_today"] != 0}
    limits = [(words[f"limit_{name}"], colour) for name, colour in _LIMIT_COLOURS.items() if name in met]
    _legend(ax, [*limits, (words["none_known"], _OTHER)] if None in met else limits)
    notes = [
        words["now"].format(_minute(moment)),
        _as_of(rows, words),
        words["stale"] if any(row["stale"] for row in shown) else "",
        _cut(rows, shown, words["more_stocks"]),
    ]
    _frame(ax, words, title=words["quota_title"], axis=words["quota_axis"], notes=notes)
    return ax


def plot_state_breakdown(
    user_coupons: IntoFrame,
    *,
    by: str | Sequence[str] | None = None,
    deduplicate: bool = True,
    ax: Axes | None = None,
    lang: Lang = "zh",
    top: int = 20,
) -> Axes:
    """Draw the states the coupons are in: one bar a state, or with ``by`` one stacked bar a group.

    Parameters
    ----------
    user_coupons, by, deduplicate
        As for :func:`~wxcoupon_analytics.metrics.state_breakdown`.
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
    words, limit = _words(lang), _checked(top)
    rows = _rows(state_breakdown(user_coupons, by=by, deduplicate=deduplicate))
    by = [by] if isinstance(by, str) else list(by or ())
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in by), []).append(row)
    shown = list(groups)[:limit]
    colours = _coupon_colours(row["coupon_state"] for row in rows)
    if by:
        ax = ax or _new_axes(len(shown))
        for y, group in enumerate(shown):
            _stack(ax, y, groups[group], colours)
        _name_bars(ax, [" · ".join(NOT_KNOWN if part is None else str(part) for part in group) for group in shown])
        _legend(ax, [(_state_name(state, words), colour) for state, colour in colours.items()])
    else:
        ax = ax or _new_axes(len(rows))
        _tracks(ax, len(rows))
        for y, row in enumerate(rows):
            ax.barh(y, row["share"] or 0, height=_BAR, color=colours[row["coupon_state"]], zorder=2)
            share = NOT_KNOWN if row["share"] is None else f"{row['share']:.1%}"
            _beside(ax, y, 1, f"{share} · {_count(row['count'])}")
        _name_bars(ax, [_state_name(row["coupon_state"], words) for row in rows])
    ax.set_xlim(0, 1)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
    notes = [_as_of(rows, words), _cut(groups, shown, words["more_groups"])]
    title = words["states_by_title"].format(" · ".join(by)) if by else words["states_title"]
    _frame(ax, words, title=title, axis=words["states_axis"], notes=notes)
    return ax


def _stack(ax: Axes, y: int, rows: Iterable[Row], colours: Mapping[str | None, str]) -> None:
    """Lay the parts of one group end to end; a part with room for its count carries it."""
    start = 0.0
    for row in rows:
        width, colour = row["share"] or 0.0, colours[row["coupon_state"]]
        ax.barh(y, width, left=start, height=_BAR, color=colour, edgecolor="white", linewidth=0.6, zorder=2)
        text = _count(row["count"])
        if width > 0.012 * (len(text) + 1):
            ink = "white" if _luminance(colour) < 0.4 else _INK
            ax.text(start + width / 2, y, text, ha="center", va="center", color=ink, font=letters(8), zorder=3)
        start += width


def _words(lang: str) -> Mapping[str, str]:
    if lang not in _WORDS:
        raise ValidationError(f"lang={lang!r}: the plots speak {' and '.join(map(repr, _WORDS))}")
    return _WORDS[lang]


def _checked(top: int) -> int:
    if top < 1:
        raise ValidationError(f"top={top!r}: a plot needs at least one bar")
    return top


def _rows(frame: Any) -> list[Row]:
    """Take a metric's result, of any engine, as rows of plain Python values."""
    result = nw.from_native(frame)
    eager = (
        result.collect("pyarrow")
        if isinstance(result, nw.LazyFrame)
        else nw.from_native(result.to_arrow(), eager_only=True)
    )
    return eager.rows(named=True)


def _key(row: Row) -> tuple[str, str]:
    return row["product_coupon_id"], row["stock_id"]


def _new_axes(bars: int) -> Axes:
    """Open a figure tall enough for its bars."""
    _, ax = plt.subplots(figsize=(10.4, 1.9 + 0.34 * max(bars, 2)), layout="constrained")
    return ax


def _tracks(ax: Axes, bars: int) -> None:
    """Draw the whole behind each part."""
    ax.barh(range(bars), [1.0] * bars, height=_BAR, color=_TRACK, zorder=1)


def _beside(ax: Axes, y: int, x: float, text: str) -> None:
    ax.annotate(
        drawable(text),
        (x, y),
        xytext=(8, 0),
        textcoords="offset points",
        va="center",
        color=_INK,
        fontproperties=letters(9),
        annotation_clip=False,
    )


def _name_bars(ax: Axes, names: Sequence[str]) -> None:
    """Label the bars, the first on top."""
    ax.set_yticks(range(len(names)), [drawable(name) for name in names], fontproperties=letters(9.5))
    margin = 0.5 if len(names) > 1 else 0.9
    ax.set_ylim(max(len(names), 1) - 1 + margin, -margin)


def _stock_labels(rows: Sequence[Row]) -> list[str]:
    """Name stocks as people do, by coupon and remark, adding the id only where that would name two alike."""
    names = [_shortened(" · ".join(part for part in (row["name"], row["remark"]) if part)) for row in rows]
    return [
        row["stock_id"] if not name else f"{name} ({row['stock_id']})" if names.count(name) > 1 else name
        for name, row in zip(names, rows, strict=True)
    ]


def _shortened(text: str, columns: int = 40) -> str:
    """Cut a long label at a width, a Chinese letter being two columns wide, and let the cut be seen."""
    widths = accumulate(2 if east_asian_width(letter) in "WF" else 1 for letter in text)
    fitting = sum(width <= columns for width in widths)
    return text if fitting == len(text) else text[: fitting - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _halted(state: str | None, words: Mapping[str, str]) -> list[str]:
    """Name the state of a stock that is not sending."""
    return [] if state == "SENDING" else [_state_name(state, words)]


def _count(number: int | None) -> str:
    return NOT_KNOWN if number is None else f"{number:,}"


def _state_name(state: str | None, words: Mapping[str, str]) -> str:
    return words["null_state"] if state is None else words.get(state, state)


def _coupon_colours(states: Iterable[str | None]) -> dict[str | None, str]:
    """Give each state that occurs its colour; those invented later share dark greys, an unknown one is black."""
    greys = iter(["#4D4D4D", "#7A5C3E", "#2F4F4F"] * 99)
    return {
        state: "#000000" if state is None else _COUPON_COLOURS.get(state) or next(greys)
        for state in dict.fromkeys(states)
    }


def _luminance(colour: str) -> float:
    red, green, blue = to_rgb(colour)
    return 0.299 * red + 0.587 * green + 0.114 * blue


def _as_of(rows: Sequence[Row], words: Mapping[str, str]) -> str:
    """Say when the rows were fetched: a minute, or from which to which."""
    times = sorted(_minute(row["as_of"]) for row in rows if row["as_of"] is not None)
    if not times:
        return words["as_of"].format(NOT_KNOWN)
    if times[0] == times[-1]:
        return words["as_of"].format(times[0])
    return words["as_of_range"].format(times[0], times[-1])


def _minute(time: datetime) -> str:
    return f"{time.astimezone(SHANGHAI):%Y-%m-%d %H:%M}"


def _cut(everything: Sized, shown: Sized, words: str) -> str:
    """Admit what is not shown."""
    more = len(everything) - len(shown)
    return words.format(shown=len(shown), more=more) if more else ""


def _legend(ax: Axes, entries: Sequence[tuple[str, str]]) -> None:
    """Explain the colours to the right of the numbers."""
    if entries:
        ax.legend(
            handles=[Patch(color=colour, label=drawable(name)) for name, colour in entries],
            prop=letters(9),
            loc="upper center",
            bbox_to_anchor=(0.5, 0),
            borderaxespad=3.6,
            ncols=min(len(entries), 7),
            columnspacing=1.2,
            frameon=False,
            handlelength=1,
            handleheight=1,
        )


def _frame(ax: Axes, words: Mapping[str, str], *, title: str, axis: str, notes: Sequence[str]) -> None:
    """Add what surrounds the bars: title, notes under it, the axis and its unit."""
    lines = [note for note in notes if note]
    ax.set_title(drawable(title), loc="left", pad=12 + 13 * len(lines), color=_INK, fontproperties=letters(13))
    for height, line in enumerate(reversed(lines)):
        ax.annotate(
            drawable(line),
            (0, 1),
            xycoords="axes fraction",
            xytext=(0, 8 + 13 * height),
            textcoords="offset points",
            color=_FAINT,
            fontproperties=letters(9),
        )
    ax.set_xlabel(drawable(axis), color=_FAINT, fontproperties=letters(9.5))
    ax.tick_params(axis="x", colors=_FAINT, labelsize=9, labelfontfamily=letters(9).get_family())
    ax.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    ax.spines["bottom"].set_color("#CCCCCC")
    if not ax.get_yticks().size:
        ax.text(0.5, 0.5, drawable(words["empty"]), transform=ax.transAxes, ha="center", color=_FAINT, font=letters(10))
