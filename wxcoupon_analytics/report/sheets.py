"""A weekly report as an Excel workbook: a sheet a table, whole, with what it means above it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import pandas as pd

from wxcoupon_analytics.exports import Sheet, write_workbook
from wxcoupon_analytics.report.contents import Contents
from wxcoupon_analytics.report.page import KINDS, SECTIONS
from wxcoupon_analytics.report.wording import column_heads, named_value, table_title, text_of

_SHEETS: Final = {
    "headlines": "",
    **{table: section.name for section in SECTIONS for table in section.tables},
    "daily_sends": "sends",
}


def workbook_of(report: Contents, path: str | os.PathLike[str]) -> Path:
    """Write every table as a sheet; the first says what the report says."""
    text, heads = text_of(report.lang), column_heads(report.lang)
    above = {"": [report.headline, *report.actions, *report.notes]}
    sheets = []
    for table, section in _SHEETS.items():
        if not (report.has_coupons or len(report.tables[table])) and table in _OF_COUPONS:
            continue
        frame = report.tables[table]
        sheets.append(
            Sheet(
                name=table_title(table, section, report.lang),
                frame=_spoken(frame, report.lang),
                title=f"{text['title']} {report.week}" if not section else text[f"{section}_title"],
                notes=above.get(section) or [text[f"{section}_meaning"]],
                headers={name: heads[name] for name in frame.columns if name in heads},
                kinds={name: kind for name, kind in KINDS.items() if name in frame},
            )
        )
    return write_workbook(sheets, path, lang=report.lang)


_OF_COUPONS: Final = {table for section in SECTIONS if section.of_coupons for table in section.tables}


def _spoken(frame: pd.DataFrame, lang: str) -> pd.DataFrame:
    """Put names of values into words."""
    spoken = {
        name: frame[name]
        .map(lambda value, name=name: named_value(name, value, lang), na_action="ignore")
        .astype("string")
        for name in frame.columns
        if frame[name].dtype == "string" and name not in ("name", "remark")
    }
    return frame.assign(**spoken)
