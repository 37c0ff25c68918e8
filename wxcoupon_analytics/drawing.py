"""How every plot looks: its colours, its bars and bands, labels, axes of days, and surroundings.

Nothing is worked out here: what is drawn comes in as rows of a metric's result.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Sized
from datetime import date, datetime
from typing import Any, NamedTuple
from unicodedata import east_asian_width

import matplotlib.pyplot as plt
import narwhals as nw
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb, to_rgba
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter
from narwhals.typing import IntoFrame

from wxcoupon_analytics.errors import ValidationError
from wxcoupon_analytics.fonts import drawable, letters
from wxcoupon_analytics.metrics.engines import SHANGHAI, collect
from wxcoupon_analytics.words import Words

Row = dict[str, Any]
StockKey = tuple[str, str]  # product_coupon_id, stock_id

NOT_KNOWN = "\N{EM DASH}"
BAR = 0.62  # of the room a bar has
_LABEL, _NOTE = 40, 84  # columns of a label, and of a line under the title
OTHER = "#6E6E6E"
ON_LIGHT, ON_DARK = "#111111", "#FEFEFE"  # letters on a fill, which stay when a page turns ink and ground around


class Greys(NamedTuple):
    """What is not a colour that says something."""

    ink: str
    faint: str
    edge: str
    track: str
    ground: str


LIGHT = Greys("#222222", "#666666", "#CCCCCC", "#ECECEC", "#FFFFFF")
DARK = Greys("#E8EAED", "#A2ABB4", "#4A5159", "#2A2F35", "#14171A")


def greys(ax: Axes) -> Greys:
    """Give the greys that can be read on the figure's own ground, which is the user's style; without one, on a white page."""
    figure = ax.get_figure(root=True)
    ground = to_rgba("none" if figure is None else figure.get_facecolor())
    return DARK if ground[3] and letters_on(to_hex(ground)) == ON_DARK else LIGHT


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
    "STOPPED": "#BBBBBB",
    "DEACTIVATED": "#CC79A7",
}
STAGE_COLOURS = {
    "received": "#56B4E9",
    "confirmed": "#0072B2",
    "used": "#009E73",
    "usable": "#0072B2",
    "lost": "#D55E00",
    "unconfirmed": "#F0E442",
    "other": OTHER,
}
# Of lines that lie together: no yellow, which is too light for a line.
LINE_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#5A5A5A")
SENT, SENT_SO_FAR, GAP, LIMIT, AHEAD = "#0072B2", "#A6CEE8", "#D0D0D0", "#D55E00", "#E69F00"
LIMIT_COLOURS = {"daily": "#0072B2", "total": "#E69F00", "codes": "#CC79A7"}


def within(rows: Sequence[Row], last_days: int) -> list[Row]:
    """Keep the rows of so many days up to the last one that any row has; a row without a day is before them all."""
    if last_days < 1:
        raise ValidationError(f"last_days={last_days!r}: a plot needs at least one day")
    last = max((row["day"] for row in rows if row["day"]), default=date.min)
    return [row for row in rows if row["day"] and (last - row["day"]).days < last_days]


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


def key_of(row: Row) -> StockKey:
    """Say of which stock a row is."""
    return row["product_coupon_id"], row["stock_id"]


def by_stock(rows: Iterable[Row]) -> dict[StockKey, list[Row]]:
    """Gather the rows of each stock, in their order."""
    found: dict[StockKey, list[Row]] = {}
    for row in rows:
        found.setdefault(key_of(row), []).append(row)
    return found


def new_axes(bars: int, *, each: float = 0.34) -> Axes:
    """Open a figure tall enough for its bars, each so many inches."""
    _, ax = plt.subplots(figsize=(10.4, 1.9 + each * max(bars, 2)), layout="constrained")
    return ax


def draw_tracks(ax: Axes, bars: int) -> None:
    """Draw the whole behind each part."""
    ax.barh(range(bars), [1.0] * bars, height=BAR, color=greys(ax).track, zorder=1)


def write_beside(ax: Axes, y: int, x: float, text: str) -> None:
    """Write a text to the right of a bar's end."""
    ax.annotate(
        drawable(text),
        (x, y),
        xytext=(8, 0),
        textcoords="offset points",
        va="center",
        color=greys(ax).ink,
        fontproperties=letters(9),
        annotation_clip=False,
    )


def name_bars(ax: Axes, names: Sequence[str]) -> None:
    """Label the bars, the first on top."""
    ax.set_yticks(
        range(len(names)), [drawable(name) for name in names], fontproperties=letters(9.5), color=greys(ax).ink
    )
    margin = 0.5 if len(names) > 1 else 0.9
    ax.set_ylim(max(len(names), 1) - 1 + margin, -margin)


def stock_labels(rows: Sequence[Row]) -> list[str]:
    """Name stocks as people do, by coupon and remark, adding the id only where that would name two alike."""
    names = [_stock_name(row["name"] or "", row["remark"] or "") for row in rows]
    return [
        (row["stock_id"] or NOT_KNOWN)
        if not name
        else f"{name} ({row['stock_id'] or NOT_KNOWN})"
        if names.count(name) > 1
        else name
        for name, row in zip(names, rows, strict=True)
    ]


def _stock_name(name: str, remark: str) -> str:
    """Put a coupon's name before a stock's remark; a long name is cut first, for the remark tells stocks apart."""
    if name and remark:
        name = shortened(name, max(_LABEL - _columns(remark) - 3, _LABEL // 2))
    return shortened(" · ".join(part for part in (name, remark) if part))


def latest_readings(stocks: IntoFrame, *columns: str) -> dict[StockKey, Row]:
    """Look up columns of each stock in its latest reading, be the frame current or a history."""
    key = ["product_coupon_id", "stock_id"]
    readings = collect(nw.from_native(stocks), [*key, *columns, "fetched_at"]).sort("fetched_at")
    return {key_of(row): row for row in readings.unique(key, keep="last").rows(named=True)}


def coupon_names(stocks: IntoFrame | None, product_coupons: IntoFrame | None) -> dict[StockKey, Row]:
    """Look up what stocks are called: the coupon's name and the latest remark."""
    columns = ["product_coupon_id", "display_info_name"]
    coupons = [] if product_coupons is None else collect(nw.from_native(product_coupons), columns).rows(named=True)
    names = {row["product_coupon_id"]: row["display_info_name"] for row in coupons}
    readings = {} if stocks is None else latest_readings(stocks, "remark")
    return {key: {**row, "name": names.get(row["product_coupon_id"])} for key, row in readings.items()}


def named(rows: Iterable[Row], stocks: IntoFrame, product_coupons: IntoFrame | None) -> list[Row]:
    """Add to rows of stocks what `stock_labels` names them by."""
    names = coupon_names(stocks, product_coupons)
    return [{"name": None, "remark": None, **row, **names.get(key_of(row), {})} for row in rows]


def group_labels(groups: Sequence[tuple[Any, ...]], by: Sequence[str], names: Mapping[StockKey, Row]) -> list[str]:
    """Name groups by their values, a stock by its coupon where its name is known."""
    known: dict[str, Row] = {stock: row for (_, stock), row in names.items()}
    found = list(dict.fromkeys(group[by.index("stock_id")] for group in groups)) if "stock_id" in by else []
    rows = [known.get(stock, {"name": None, "remark": None, "stock_id": stock}) for stock in found]
    named = dict(zip(found, stock_labels(rows), strict=True))

    def text(column: str, value: Any) -> str:
        return named[value] if column == "stock_id" else NOT_KNOWN if value is None else str(value)

    return [" · ".join(map(text, by, group)) for group in groups]


def by_text(by: Sequence[str], words: Words) -> str:
    """Say by what groups are made, in the plot's language where the column has a name in it."""
    return " · ".join(words.get(name, name) for name in by)


def shortened(text: str, columns: int = _LABEL) -> str:
    """Cut a long label at a width, and let the cut be seen."""
    fitting = sum(_columns(text[: end + 1]) <= columns for end in range(len(text)))
    return text if fitting == len(text) else text[: fitting - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _columns(text: str) -> int:
    """Measure a text as a terminal does: a Chinese letter is two columns wide."""
    return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in text)


def halted(state: str | None, words: Words) -> list[str]:
    """Name the state of a stock that is not sending."""
    return [] if state == "SENDING" else [state_name(state, words)]


def count_text(number: int | None) -> str:
    """Write a count, or that it is not known."""
    return NOT_KNOWN if number is None else f"{number:,}"


def state_name(state: str | None, words: Words) -> str:
    """Name a state in the plot's language; one invented later keeps the API's name."""
    return words["null_state"] if state is None else words.get(state, state)


def coupon_colours(states: Iterable[str | None]) -> dict[str | None, str]:
    """Give each state that occurs its colour; those invented later share dull ones, seen on a light and a dark ground."""
    dull = iter(["#8C6D4F", "#5F7F8F", "#7A7A4A"] * 99)
    return {
        state: OTHER if state is None else COUPON_COLOURS.get(state) or next(dull) for state in dict.fromkeys(states)
    }


def letters_on(fill: str) -> str:
    """Choose the letters that stand out more on a fill, by the luminance of WCAG 2."""
    red, green, blue = (((part + 0.055) / 1.055) ** 2.4 if part > 0.04045 else part / 12.92 for part in to_rgb(fill))
    return ON_DARK if 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.19 else ON_LIGHT


def as_of_text(rows: Sequence[Row], words: Words) -> str:
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
        columns = min(len(entries), 7)
        # matplotlib fills column by column, and people read row by row.
        ordered = [entry for column in range(columns) for entry in entries[column::columns]]
        ax.legend(
            handles=[Patch(color=colour, label=drawable(name)) for name, colour in ordered],
            prop=letters(9),
            labelcolor=greys(ax).ink,
            loc="upper center",
            bbox_to_anchor=(0.5, 0),
            borderaxespad=3.6,
            ncols=columns,
            columnspacing=1.2,
            frameon=False,
            handlelength=1,
            handleheight=1,
        )


def day_axis(ax: Axes, first: date, last: date) -> None:
    """Make x an axis of whole days, a day around its ordinal, labelled as numbers, which both languages read."""
    years = first.year != last.year
    step = -(-((last - first).days + 1) // (6 if years else 9))
    ax.set_xlim(first.toordinal() - 0.5, last.toordinal() + 0.5)
    ax.set_xticks(range(first.toordinal(), last.toordinal() + 1, step))
    form = "%Y-%m-%d" if years else "%m-%d"
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: date.fromordinal(int(value)).strftime(form)))


def label_ends(ax: Axes, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Write texts to the right of where lines or bands end, moved apart where they would overlap.

    Each end is a place across, a height, a text, and the colour of the line that leads to it.
    """
    bottom, top = ax.get_ylim()
    gap = 15 / (ax.get_window_extent().height * 72 / ax.figure.dpi) * (top - bottom)
    ordered = sorted(ends, key=lambda end: end[1])
    places = spread([y for _, y, _, _ in ordered], gap, bottom, top)
    for (x, y, text, colour), place in zip(ordered, places, strict=True):
        ax.annotate(
            drawable(text),
            (x, y),
            xytext=(1.02, place),
            textcoords=("axes fraction", "data"),
            va="center",
            color=greys(ax).ink,
            fontproperties=letters(9),
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "linestyle": ":",
                "color": colour,
                "lw": 1,
                "shrinkA": 2,
                "shrinkB": 0,
                "relpos": (0, 0.5),
            },
        )


def spread(places: Sequence[float], gap: float, bottom: float, top: float) -> list[float]:
    """Move rising places apart until neighbours are a gap away, within bounds while there is room."""
    moved: list[float] = []
    for place in places:
        moved.append(max(place, moved[-1] + gap) if moved else max(place, bottom))
    ceiling = max(top, bottom + gap * (len(moved) - 1))
    for index in range(len(moved) - 1, -1, -1):
        moved[index] = min(moved[index], ceiling)
        ceiling = moved[index] - gap
    return moved


def _wrapped(note: str) -> list[str]:
    """Break a long note between its parts, so that it ends within the figure however far right it begins."""
    lines: list[str] = []
    for part in filter(None, note.split(" · ")):
        if lines and _columns(f"{lines[-1]} · {part}") <= _NOTE:
            lines[-1] += f" · {part}"
        else:
            lines.append(part)
    return lines


def surround(
    ax: Axes,
    words: Words,
    *,
    title: str,
    axis: str,
    notes: Sequence[str],
    upward: str = "",
    empty: bool | None = None,
) -> None:
    """Add what surrounds the drawing: title, notes under it, the axes and their units; `upward` names a y axis of numbers."""
    grey = greys(ax)
    lines = [line for note in notes for line in _wrapped(note)]
    ax.set_title(drawable(title), loc="left", pad=12 + 13 * len(lines), color=grey.ink, fontproperties=letters(13))
    for height, line in enumerate(reversed(lines)):
        ax.annotate(
            drawable(line),
            (0, 1),
            xycoords="axes fraction",
            xytext=(0, 8 + 13 * height),
            textcoords="offset points",
            color=grey.faint,
            fontproperties=letters(9),
        )
    ax.set_xlabel(drawable(axis), color=grey.faint, fontproperties=letters(9.5))
    ax.tick_params(axis="x", colors=grey.faint, labelsize=9, labelfontfamily=letters(9).get_family())
    ax.tick_params(axis="y", length=0)
    if upward:
        ax.set_ylabel(drawable(upward), color=grey.faint, fontproperties=letters(9.5))
        ax.tick_params(axis="y", colors=grey.faint, labelsize=9, labelfontfamily=letters(9).get_family())
        ax.grid(axis="y", color=grey.track, linewidth=0.8)
        ax.set_axisbelow(True)
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    ax.spines["bottom"].set_color(grey.edge)
    if empty or (empty is None and not ax.get_yticks().size):
        ax.set_xticks([])
        ax.set_yticks([])
        ax.text(
            0.5, 0.5, drawable(words["empty"]), transform=ax.transAxes, ha="center", color=grey.faint, font=letters(10)
        )
