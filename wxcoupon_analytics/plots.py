"""First looks at the numbers: each plot draws one metric, and every number on it comes from that metric.

A plot takes the frame its metric takes, of any engine, and an ``ax`` to draw into (a new figure without one). It returns
the Axes, shows nothing by itself, and changes no setting of matplotlib.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

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
_LIMIT_COLOURS = {"daily": "#0072B2", "total": "#E69F00", "codes": "#CC79A7", "state": "#999999"}

_WORDS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "budget_title": "Budget handed out, by stock",
        "budget_axis": "share of max_count handed out (%)",
        "quota_title": "Coupons that can still be sent today, by stock",
        "quota_axis": "sendable today (coupons, at most)",
        "states_title": "Coupons by state",
        "states_axis": "share of coupons (%)",
        "as_of": "as of {}, Beijing time",
        "as_of_range": "as of {} to {}, Beijing time",
        "now": "for {}, Beijing time",
        "more_stocks": "the first {shown} stocks, and {more} more",
        "more_groups": "the first {shown} groups, and {more} more",
        "stale": "* fetched before today: the daily count has restarted since",
        "stale_legend": "* not fetched today",
        "empty": "nothing to show: the frame has no rows",
        "none_known": "no limit known",
        "limit_daily": "limited by the day",
        "limit_total": "limited by the total",
        "limit_codes": "limited by uploaded codes",
        "limit_state": "not sending",
        "null_state": "state unknown",
    },
    "zh": {
        "budget_title": "各批次预算发放进度",
        "budget_axis": "已发放占最大发放量的比例(%)",
        "quota_title": "各批次今日还可发放",
        "quota_axis": "今日还可发放(张,上限)",
        "states_title": "用户商品券状态分布",
        "states_axis": "占券数的比例(%)",
        "as_of": "数据截至 {}(北京时间)",
        "as_of_range": "数据截至 {} 至 {}(北京时间)",
        "now": "按 {} 计算(北京时间)",
        "more_stocks": "显示前 {shown} 个批次,另有 {more} 个未显示",
        "more_groups": "显示前 {shown} 组,另有 {more} 组未显示",
        "stale": "* 数据早于今日,当日计数此后已清零",
        "stale_legend": "* 非今日数据",
        "empty": "没有数据",
        "none_known": "无已知限额",
        "limit_daily": "受单日上限约束",
        "limit_total": "受总量上限约束",
        "limit_codes": "受券码数量约束",
        "limit_state": "不在发放中",
        "null_state": "状态未知",
        "CONFIRMING": "待确认",
        "PENDING": "待生效",
        "EFFECTIVE": "已生效",
        "USED": "已核销",
        "EXPIRED": "已过期",
        "DELETED": "已删除",
        "AUDITING": "审核中",
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
        Where to draw; a new figure by default.
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
    ax = ax or _new_axes(len(shown))
    _tracks(ax, len(shown))
    for y, row in enumerate(shown):
        ax.barh(y, row["sent_share"] or 0, height=0.62, color=_STOCK_COLOURS.get(row["state"], _OTHER), zorder=2)
        share = NOT_KNOWN if row["sent_share"] is None else f"{row['sent_share']:.1%}"
        _beside(ax, y, max(row["sent_share"] or 0, 1), f"{share}   {_count(row['sent_count'])} / {_count(row['max_count'])}")
    longest = max((row["sent_share"] or 0 for row in shown), default=0)
    ax.set_xlim(0, max(longest, 1))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
    _name_bars(ax, _stock_labels(shown))
    _legend(ax, _states_met(shown, _STOCK_COLOURS), lambda state: _state_name(state, words))
    _frame(ax, words, title=words["budget_title"], axis=words["budget_axis"], notes=[_as_of(rows, words), _cut(rows, shown, words["more_stocks"])])
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
    # The quota does not carry names; budget_use does, in the same order of the same stocks.
    for row, named in zip(rows, _rows(budget_use(stocks, product_coupons)), strict=True):
        row |= {"name": named["name"], "remark": named["remark"]}
    return ax
