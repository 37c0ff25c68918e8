"""A weekly report as one HTML page: what its tables hold, formatted cell by cell; nothing is worked out here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import jinja2
import pandas as pd
from markupsafe import Markup

from wxcoupon_analytics.exports.columns import Kind, export
from wxcoupon_analytics.metrics.engines import SHANGHAI
from wxcoupon_analytics.plots.svg import svg_text
from wxcoupon_analytics.report.contents import Contents
from wxcoupon_analytics.report.findings import age_text, change_text, range_text, stock_name
from wxcoupon_analytics.report.wording import DEFINITIONS, Text, column_heads, named_value, table_title, text_of

ROWS: Final = 12  # of a table, before the rest is left to the workbook
_STOCK: Final = ("stock_id", "name", "remark")


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page: its tables, with the columns it shows of each, and whether it has a chart."""

    name: str
    tables: Mapping[str, Sequence[str]]
    has_chart: bool = False
    of_coupons: bool = False


SECTIONS: Final = (
    Section(
        "sends",
        {
            "sends": (
                "stock",
                "state",
                "sends",
                "previous_sends",
                "change_share",
                "sent_count",
                "max_count",
                "sent_share",
                "remaining_count",
            )
        },
        has_chart=True,
    ),
    Section(
        "forecast",
        {
            "forecast": (
                "stock",
                "state",
                "remaining_count",
                "rate_per_day",
                "pace",
                "expected_date",
                "low_date",
                "high_date",
                "sending_ends",
                "reason",
            )
        },
        has_chart=True,
    ),
    Section(
        "limits",
        {
            "limits": (
                "stock",
                "max_count_per_day",
                "days_known",
                "days_hit",
                "hit_days",
                "days_idle",
                "used_share",
                "unused_count",
            )
        },
        has_chart=True,
    ),
    Section(
        "states",
        {
            "rates": ("measure", "rate", "previous_rate", "change_points"),
            "states": ("coupon_state", "count", "share", "previous_count", "change", "change_share"),
        },
        has_chart=True,
        of_coupons=True,
    ),
    Section(
        "redemption",
        {
            "redemption": (
                "stock",
                "known_count",
                "sent_count",
                "coverage",
                "confirmed_count",
                "used_count",
                "redemption_rate",
                "matured_rate",
            )
        },
        has_chart=True,
        of_coupons=True,
    ),
    Section(
        "redeemed_value",
        {
            "redeemed_value": (
                "discount_basis",
                "used_count",
                "value_fen",
                "previous_value_fen",
                "change_share",
                "used_to_date_count",
                "value_to_date_fen",
            )
        },
        of_coupons=True,
    ),
    Section(
        "cohorts",
        {
            "cohorts": (
                "cohort",
                "received_count",
                "used_count",
                *(f"used_share_{days}d" for days in (1, 3, 7, 14, 28)),
            )
        },
        has_chart=True,
        of_coupons=True,
    ),
    Section("confirming", {"confirming": ("stock", "stuck_count", "longest_age", "most_burnt_share")}, of_coupons=True),
    Section(
        "deletions",
        {"deletions": ("stock", "deleted_count", "previous_deleted_count", "deleted_usable_count")},
        of_coupons=True,
    ),
    Section("anomalies", {"anomalies": ("anomaly", "stock", "day", "observed_count", "expected_count")}),
    Section(
        "data",
        {
            "freshness": ("entity", "snapshots", "first_taken_at", "last_taken_at", "age", "is_stale"),
            "completeness": ("day", "product_coupons", "stocks", "user_coupons", "is_complete"),
        },
    ),
)
# What a column is where its name and dtype do not say so.
KINDS: Final[Mapping[str, Kind]] = {
    "change_points": "share",
    "change_share_at_most": "share",
    **{f"used_share_{days}d": "share" for days in (1, 3, 7, 14, 28)},
}
_LEFT: Final = (
    "text",
    "id",
    "nested",
    "flag",
    "day",
    "time",
    "clock",
)  # the rest stands on the right, digit under digit
_FEW: Final = 100  # coupons or days of which a percentage would say too much


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell: what is read, the value behind it, how it stands, and a second line."""

    text: str
    value: str
    is_number: bool
    below: str = ""


def html_of(report: Contents) -> str:
    """Write a report as a page that stands alone."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("wxcoupon_analytics.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page: str = environment.get_template("weekly.html.j2").render(
        report=report,
        text=text_of(report.lang),
        heads=column_heads(report.lang),
        sections=[section for section in SECTIONS if report.has_coupons or not section.of_coupons],
        cards=_cards(report),
        cells=lambda name, columns: _cells(report.tables[name], columns, report.lang)[:ROWS],
        cut=lambda name: max(len(report.tables[name]) - ROWS, 0),
        empty=lambda name: _empty(report, name),
        chart=lambda name: Markup(svg_text(report.figures[name], name=f"chart-{name}")),  # noqa: S704 (ours, and escaped)
        title=lambda table, section: table_title(table, section, report.lang),
        definitions=DEFINITIONS,
    )
    return page


def _empty(report: Contents, table: str) -> str:
    """Say of a table without rows whether there is nothing, nothing found, or nothing known."""
    text, headlines = text_of(report.lang), report.tables["headlines"]
    if table != "deletions":
        return text["no_rows"]
    is_unknown = headlines.loc[headlines["measure"] == "deleted", "value"].isna().any()
    return text["know_no_deletions" if is_unknown else "none_found"]


def _cards(report: Contents) -> Iterator[dict[str, str]]:
    """Show counts, then shares, each with the week before's and the change; of a few, how many more or fewer."""
    text = text_of(report.lang)
    for table, columns in (
        ("headlines", ("value", "previous_value", "change", "change_share")),
        ("rates", ("rate", "previous_rate", "change_points", "change_points")),
    ):
        frame = report.tables[table]
        shown = _cells(frame, ("measure", *columns), report.lang)
        for (measure, value, before, difference, share), row in zip(shown, frame.to_dict("records"), strict=True):
            change = difference if table == "headlines" and _is_few(row) else share
            yield {
                "measure": measure.value,
                "label": measure.text,
                "value": value.text,
                "raw": value.value,
                "before": text["previous"].format(before.text) if before.value else "",
                "change": change.text if change.value else "",
            }


def _is_few(row: Mapping[Any, Any]) -> bool:
    return not pd.isna(row["previous_value"]) and row["previous_value"] < _FEW


def _cells(frame: pd.DataFrame, columns: Sequence[str], lang: str) -> list[list[Cell]]:
    """Format rows as the sheets do: what is a share there is one here."""
    text = text_of(lang)
    exported = export(frame, kinds={name: kind for name, kind in KINDS.items() if name in frame})
    kinds = {column.name: column.kind for column in exported.columns}
    rows = [dict(zip(kinds, values, strict=True)) for values in exported.rows()]
    return [[_cell(row, column, kinds, text, lang) for column in columns] for row in rows]


def _cell(row: Mapping[str, Any], column: str, kinds: Mapping[str, Kind], text: Text, lang: str) -> Cell:
    if column == "stock":
        names = [row[name] for name in _STOCK]
        called = stock_name(names)
        return Cell(called, str(row["stock_id"] or ""), False, row["stock_id"] if called != row["stock_id"] else "")
    value, kind = row[column], kinds[column]
    if value is None and row.get(f"{column}_at_least") is not None:
        return Cell(range_text(row[f"{column}_at_least"], row[f"{column}_at_most"]), "", True)
    if value is None:
        return Cell("—", "", kind not in _LEFT)
    if kind in ("text", "id"):
        return Cell(named_value(column, value, lang), value, False)
    if f"{column}_at_most" in row:
        return Cell(_between(column, value, row[f"{column}_at_most"]), _raw(value), True)
    return Cell(_written(value, kind, column, text), _raw(value), kind not in _LEFT)


def _between(column: str, least: Any, most: Any) -> str:
    return change_text(least, most) if column.startswith("change") else range_text(least, most)


def _written(value: Any, kind: Kind, column: str, text: Text) -> str:
    if column == "change_points":
        return text["points"].format(100 * value).replace("-", "\N{MINUS SIGN}")
    if kind == "duration":
        return age_text(value, text)
    if kind == "flag":
        return text["yes" if value else "no"]
    if column == "sending_ends":
        return _FORMATS["day"](value, "")
    sign = "+" if column.startswith("change") else ""
    return _FORMATS[kind](value, sign).replace("-", "\N{MINUS SIGN}" if sign else "-")


_FORMATS: Final[Mapping[Kind, Callable[[Any, str], str]]] = {
    "count": lambda value, sign: f"{value:{sign},}",
    "number": lambda value, sign: f"{value:{sign},.2f}" if abs(value) < 10 else f"{value:{sign},.0f}",
    "share": lambda value, sign: f"{value:{sign}.1%}",
    "yuan": lambda value, sign: f"¥{value:,.2f}",
    "time": lambda value, sign: f"{value:%Y-%m-%d %H:%M}",
    "day": lambda value, sign: f"{value:%Y-%m-%d}",
    "nested": lambda value, sign: str(value),
}


def _raw(value: Any) -> str:
    """Write a value so that it reads back as itself: yuan as a decimal, instants with their zone."""
    if isinstance(value, datetime):
        return value.replace(tzinfo=SHANGHAI).isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, timedelta):
        return str(int(value.total_seconds()))
    return f"{value:f}" if isinstance(value, Decimal) else repr(value)
