"""The page stands alone, says the same in both languages, and keeps names from the API text."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from string import Formatter

import openpyxl
import pandas as pd
import pytest

import wxcoupon_analytics as wx
from tests.report.conftest import Brand
from tests.report.pages import Page
from tests.report.stores import AFTER
from wxcoupon_analytics.entities.flatten import flatten
from wxcoupon_analytics.report.page import SECTIONS
from wxcoupon_analytics.report.wording import COLUMNS, TEXT, VALUES, column_heads


def test_both_languages_have_the_same_structure_and_numbers(brand: Brand, page: Path, tmp_path: Path):
    other = wx.weekly_report(brand.store, now=brand.now, lang="zh").to_html(tmp_path / "zh.html")
    zh, en = (Page(path.read_text(encoding="utf-8")) for path in (other, page))
    assert zh.sections == en.sections
    assert (zh.columns, zh.tables, zh.cards) == (en.columns, en.tables, en.cards)
    assert zh.shown["states"] != en.shown["states"]


def test_every_text_is_there_in_both_languages_with_the_same_blanks(report: wx.WeeklyReport):
    for words in (TEXT, COLUMNS, VALUES):
        assert words["zh"].keys() == words["en"].keys()
    for key, english in TEXT["en"].items():
        blanks = [{name for _, name, _, _ in Formatter().parse(text) if name} for text in (english, TEXT["zh"][key])]
        assert blanks[0] == blanks[1], key
    shown = {column for section in SECTIONS for columns in section.tables.values() for column in columns}
    assert shown - {"stock"} <= column_heads("zh").keys()
    assert {column for table in report.tables.values() for column in table.columns} <= column_heads("zh").keys()


def test_the_page_loads_nothing_and_runs_nothing(page: Path):
    text = page.read_text(encoding="utf-8")
    read = Page(text)
    assert not read.tags & {"script", "link", "img", "iframe", "object", "embed", "form", "base"}
    assert read.addresses
    assert all(address.startswith("#") for address in read.addresses)
    assert set(re.findall(r"https?://[^\s\"'<>]+", text)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert "@import" not in text
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", text))
    assert len(re.findall(r'\bid="', text)) == len(set(re.findall(r'\bid="([^"]+)"', text)))


def test_a_notebook_shows_the_page_in_a_frame_of_its_own(report: wx.WeeklyReport):
    shown = report._repr_html_()
    assert shown.startswith('<iframe title="Product coupons: weekly report 2026-W46" srcdoc=')
    assert shown.count("<") == 2, "nothing of the page is outside the attribute"
    assert report.headline in repr(report)


@pytest.mark.parametrize("name", ["report.htm", "report.pdf"])
def test_a_page_has_to_be_called_html(report: wx.WeeklyReport, tmp_path: Path, name: str):
    with pytest.raises(wx.ValidationError, match=r"\.html"):
        report.to_html(tmp_path / name)


def test_a_page_in_the_home_folder_is_there(report: wx.WeeklyReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert report.to_html("~/r.html") == tmp_path / "r.html"
    assert (tmp_path / "r.html").exists()


HOSTILE = [
    "<script>alert(1)</script>",
    '=HYPERLINK("http://evil.example")',
    "{{ 7 * 7 }}",
    '"><img src=x onerror=alert(1)>',
    "@SUM(A1)",
]


def test_names_from_the_api_stay_text(empty: wx.SnapshotStore, tmp_path: Path):
    names = {str(n): name for n, name in enumerate(HOSTILE)}
    for day in (9, 16):
        stocks = [
            {
                "product_coupon_id": number,
                "stock_id": number,
                "remark": name[::-1],
                "state": "SENDING",
                "sent_count_info": {"total_count": day, "today_count": 0},
            }
            for number, name in names.items()
        ]
        at = pd.Timestamp(f"2026-11-{day:02}T02:00+08:00")
        empty.save("stocks", flatten("stocks", stocks, fetched_at=at))
        coupons = [{"product_coupon_id": number, "display_info": {"name": name}} for number, name in names.items()]
        empty.save("product_coupons", flatten("product_coupons", coupons, fetched_at=at))
    report = wx.weekly_report(empty, now=AFTER + timedelta(hours=8))
    assert set(report.tables["sends"]["name"]) == set(HOSTILE)
    read = Page(report.to_html(tmp_path / "hostile.html").read_text(encoding="utf-8"))
    assert not read.tags & {"script", "img"}
    shown = {row[0] for row in read.shown["sends"] if row}
    assert shown == {f"{name} · {name[::-1]}" for name in HOSTILE}

    book = openpyxl.load_workbook(report.to_excel(tmp_path / "hostile.xlsx"))
    cells = [cell for sheet in book for row in sheet.iter_rows() for cell in row if cell.value is not None]
    assert not [cell for cell in cells if cell.data_type == "f"]
    dangerous = [cell for cell in cells if cell.value in HOSTILE and cell.value[0] in "=@"]
    assert dangerous
    assert all(cell.data_type == "s" and cell.quotePrefix for cell in dangerous)
