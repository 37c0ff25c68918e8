"""How every plot looks: its words in two languages, its colours, its bars, labels, legend and surroundings.

Nothing is worked out here: what is drawn comes in as rows of a metric's result.
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

from wxcoupon_analytics.errors import ValidationError
from wxcoupon_analytics.fonts import drawable, letters
from wxcoupon_analytics.metrics.engines import SHANGHAI

Lang = Literal["zh", "en"]
Row = dict[str, Any]

NOT_KNOWN = "\N{EM DASH}"
BAR = 0.62  # of the room a bar has
INK, FAINT, TRACK, OTHER = "#222222", "#666666", "#ECECEC", "#4D4D4D"

# Okabe and Ito's palette, told apart by every common form of colour blindness.
COUPON_COLOURS = {
    "CONFIRMING": "#F0E442",
    "PENDING": "#56B4E9",
    "EFFECTIVE": "#0072B2",
    "USED": "#009E73",
    "EXPIRED": "#BBBBBB",
    "DELETED": "#D55E00",
    "DEACTIVATED": "#CC79A7",
}
STOCK_COLOURS = {
    "AUDITING": "#56B4E9",
    "SENDING": "#009E73",
    "PAUSED": "#E69F00",
    "STOPPED": "#999999",
    "DEACTIVATED": "#CC79A7",
}
LIMIT_COLOURS = {"daily": "#0072B2", "total": "#E69F00", "codes": "#CC79A7"}

WORDS: Mapping[str, Mapping[str, str]] = {
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


def words_of(lang: str) -> Mapping[str, str]:
    """Give the words of a language."""
    if lang not in WORDS:
        raise ValidationError(f"lang={lang!r}: the plots speak {' and '.join(map(repr, WORDS))}")
    return WORDS[lang]


def checked_top(top: int) -> int:
    """Refuse a number of bars that shows nothing."""
    if top < 1:
        raise ValidationError(f"top={top!r}: a plot needs at least one bar")
    return top


def rows_of(frame: Any) -> list[Row]:
    """Take a metric's result, of any engine, as rows of plain Python values."""
    result = nw.from_native(frame)
    eager = (
        result.collect("pyarrow")
        if isinstance(result, nw.LazyFrame)
        else nw.from_native(result.to_arrow(), eager_only=True)
    )
    return eager.rows(named=True)


def new_axes(bars: int) -> Axes:
    """Open a figure tall enough for its bars."""
    _, ax = plt.subplots(figsize=(10.4, 1.9 + 0.34 * max(bars, 2)), layout="constrained")
    return ax


def draw_tracks(ax: Axes, bars: int) -> None:
    """Draw the whole behind each part."""
    ax.barh(range(bars), [1.0] * bars, height=BAR, color=TRACK, zorder=1)


def write_beside(ax: Axes, y: int, x: float, text: str) -> None:
    """Write a text to the right of a bar's end."""
    ax.annotate(
        drawable(text),
        (x, y),
        xytext=(8, 0),
        textcoords="offset points",
        va="center",
        color=INK,
        fontproperties=letters(9),
        annotation_clip=False,
    )


def name_bars(ax: Axes, names: Sequence[str]) -> None:
    """Label the bars, the first on top."""
    ax.set_yticks(range(len(names)), [drawable(name) for name in names], fontproperties=letters(9.5))
    margin = 0.5 if len(names) > 1 else 0.9
    ax.set_ylim(max(len(names), 1) - 1 + margin, -margin)


def stock_labels(rows: Sequence[Row]) -> list[str]:
    """Name stocks as people do, by coupon and remark, adding the id only where that would name two alike."""
    names = [shortened(" · ".join(part for part in (row["name"], row["remark"]) if part)) for row in rows]
    return [
        (row["stock_id"] or NOT_KNOWN)
        if not name
        else f"{name} ({row['stock_id'] or NOT_KNOWN})"
        if names.count(name) > 1
        else name
        for name, row in zip(names, rows, strict=True)
    ]


def shortened(text: str, columns: int = 40) -> str:
    """Cut a long label at a width, a Chinese letter being two columns wide, and let the cut be seen."""
    widths = accumulate(2 if east_asian_width(letter) in "WF" else 1 for letter in text)
    fitting = sum(width <= columns for width in widths)
    return text if fitting == len(text) else text[: fitting - 1] + "\N{HORIZONTAL ELLIPSIS}"


def halted(state: str | None, words: Mapping[str, str]) -> list[str]:
    """Name the state of a stock that is not sending."""
    return [] if state == "SENDING" else [state_name(state, words)]


def count_text(number: int | None) -> str:
    """Write a count, or that it is not known."""
    return NOT_KNOWN if number is None else f"{number:,}"


def state_name(state: str | None, words: Mapping[str, str]) -> str:
    """Name a state in the plot's language; one invented later keeps the API's name."""
    return words["null_state"] if state is None else words.get(state, state)


def coupon_colours(states: Iterable[str | None]) -> dict[str | None, str]:
    """Give each state that occurs its colour; those invented later share dark greys, an unknown one is black."""
    greys = iter(["#4D4D4D", "#7A5C3E", "#2F4F4F"] * 99)
    return {
        state: "#000000" if state is None else COUPON_COLOURS.get(state) or next(greys)
        for state in dict.fromkeys(states)
    }


def luminance(colour: str) -> float:
    """Say how light a colour looks, from 0 to 1."""
    red, green, blue = to_rgb(colour)
    return 0.299 * red + 0.587 * green + 0.114 * blue


def as_of_text(rows: Sequence[Row], words: Mapping[str, str]) -> str:
    """Say when the rows were fetched: a minute, or from which to which."""
    times = sorted(minute_text(row["as_of"]) for row in rows if row["as_of"] is not None)
    if not times:
        return words["as_of"].format(NOT_KNOWN)
    if times[0] == times[-1]:
        return words["as_of"].format(times[0])
    return words["as_of_range"].format(times[0], times[-1])


def minute_text(time: datetime) -> str:
    """Write a moment as Beijing's clocks show it."""
    return f"{time.astimezone(SHANGHAI):%Y-%m-%d %H:%M}"


def cut_text(everything: Sized, shown: Sized, words: str) -> str:
    """Admit what is not shown."""
    more = len(everything) - len(shown)
    return words.format(shown=len(shown), more=more) if more else ""


def add_legend(ax: Axes, entries: Sequence[tuple[str, str]]) -> None:
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


def surround(ax: Axes, words: Mapping[str, str], *, title: str, axis: str, notes: Sequence[str]) -> None:
    """Add what surrounds the bars: title, notes under it, the axis and its unit."""
    lines = [note for note in notes if note]
    ax.set_title(drawable(title), loc="left", pad=12 + 13 * len(lines), color=INK, fontproperties=letters(13))
    for height, line in enumerate(reversed(lines)):
        ax.annotate(
            drawable(line),
            (0, 1),
            xycoords="axes fraction",
            xytext=(0, 8 + 13 * height),
            textcoords="offset points",
            color=FAINT,
            fontproperties=letters(9),
        )
    ax.set_xlabel(drawable(axis), color=FAINT, fontproperties=letters(9.5))
    ax.tick_params(axis="x", colors=FAINT, labelsize=9, labelfontfamily=letters(9).get_family())
    ax.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    ax.spines["bottom"].set_color("#CCCCCC")
    if not ax.get_yticks().size:
        ax.text(0.5, 0.5, drawable(words["empty"]), transform=ax.transAxes, ha="center", color=FAINT, font=letters(10))
