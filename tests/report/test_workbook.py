"""The workbook has every table whole, real numbers, and sentences that stay text."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import openpyxl
import pytest

import wxcoupon_analytics as wx
from tests.report.stores import AFTER, saved


def test_a_sentence_that_begins_with_a_name_stays_text(empty: wx.SnapshotStore, tmp_path: Path):
    for day in range(2, 17):
        saved(empty, f"2026-11-{day:02}T02:00", total=60 * day, today=0, remark="=1+1")
    report = wx.weekly_report(empty, now=AFTER + timedelta(hours=8), lang="en")
    assert report.actions[0].startswith("=1+1 runs out")
    first = openpyxl.load_workbook(report.to_excel(tmp_path / "named.xlsx")).worksheets[0]
    [cell] = [cell for (cell, *_) in first.iter_rows() if cell.value == report.actions[0]]
    assert cell.quotePrefix


def test_the_workbook_has_every_table_whole_with_real_numbers(report: wx.WeeklyReport, tmp_path: Path):
    book = openpyxl.load_workbook(report.to_excel(tmp_path / "report.xlsx"))
    sheet = book["Coupons sent"]
    top = next(row[0].row for row in sheet.iter_rows() if row[0].value == "product coupon ID")
    heads = [cell.value for cell in sheet[top]]
    rows = [dict(zip(heads, row, strict=True)) for row in sheet.iter_rows(min_row=top + 1)]
    assert len(rows) == len(report.tables["sends"]) > 12
    assert [row["sent"].value for row in rows] == report.tables["sends"]["sends"].tolist()
    assert {row["stock ID"].data_type for row in rows} == {"s"}
    assert rows[0]["share sent"].number_format == "0.0%"
    value = book["Face value redeemed (estimate)"]
    top = next(row[0].row for row in value.iter_rows() if row[0].value == "basis")
    column = [cell.value for cell in value[top]].index("face value (yuan)") + 1
    fen = report.tables["redeemed_value"]["value_fen"]
    assert [value.cell(top + 1 + n, column).value for n in range(len(fen))] == [each / 100 for each in fen]
    assert book.worksheets[0]["A2"].value == report.headline


def test_the_workbook_has_a_range_as_two_numbers(started_midweek, tmp_path):
    report = wx.weekly_report(started_midweek, now=AFTER + timedelta(hours=8), lang="en")
    book = openpyxl.load_workbook(report.to_excel(tmp_path / "range.xlsx"))

    def cells(sheet: str, first: str) -> list[dict[str, object]]:
        rows = list(book[sheet].iter_rows(values_only=True))
        top = next(place for place, row in enumerate(rows) if row[0] == first)
        return [dict(zip(rows[top], row, strict=True)) for row in rows[top + 1 :]]

    [_, campaign] = cells("Coupons sent", "product coupon ID")
    columns = (
        "sent",
        "sent, at least",
        "sent, at most",
        "why not exact",
        "week before, at least",
        "week before, at most",
    )
    assert [campaign[name] for name in columns] == [None, 120, 150, "had sent some when first read", 0, 30]
    sends = cells("Headlines", "measure")[0]
    assert [sends[f"{when}, at {end}"] for when in ("this week", "week before") for end in ("least", "most")] == [
        1520,
        1550,
        700,
        730,
    ]
    assert [sends["change"], sends["change, at most"]] == pytest.approx([1520 / 730 - 1, 1550 / 700 - 1])
