"""The weekly report against the books of the embedded brand, and what it says when data are missing."""

from __future__ import annotations

import re
from collections import Counter
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from string import Formatter

import openpyxl
import pandas as pd
import pytest

import wxcoupon_analytics as wx
from tests.report.conftest import Brand
from tests.report.pages import Page
from wxcoupon_analytics.entities.flatten import flatten
from wxcoupon_analytics.report.page import SECTIONS
from wxcoupon_analytics.report.wording import COLUMNS, TEXT, VALUES, column_heads

MONDAY = pd.Timestamp("2026-11-09T00:00+08:00")
AFTER = pd.Timestamp("2026-11-16T00:00+08:00")
WEEK = timedelta(days=7)


def within(times: pd.Series, start: pd.Timestamp) -> pd.Series:
    return (times >= start) & (times < start + WEEK)


def saved(store: wx.SnapshotStore, at: str, *, total: int = 40, today: int = 5, **stock: object) -> wx.SnapshotStore:
    """Save a snapshot of one stock."""
    told = {
        "product_coupon_id": "7",
        "stock_id": "1",
        "state": "SENDING",
        "stock_send_rule": {"max_count": 1000},
        "sent_count_info": {"total_count": total, "today_count": today},
        **stock,
    }
    store.save("stocks", flatten("stocks", told, brand_id="120344", fetched_at=pd.Timestamp(f"{at}+08:00")))
    return store


@pytest.fixture
def empty(tmp_path: Path) -> wx.SnapshotStore:
    return wx.SnapshotStore(tmp_path / "store")


# numbers ----------------------------------------------------------------------------------------------------------


def test_sends_and_uses_are_those_of_the_books(brand: Brand, report: wx.WeeklyReport):
    received, used = brand.coupons["receive_time"], brand.coupons["coupon_state"] == "USED"
    by_stock = Counter(brand.coupons.loc[within(received, MONDAY), "stock_id"])
    table = report.tables["sends"].set_index("stock_id")
    assert {stock: sends for stock, sends in table["sends"].items() if sends} == by_stock
    before = Counter(brand.coupons.loc[within(received, MONDAY - WEEK), "stock_id"])
    assert {stock: sends for stock, sends in table["previous_sends"].items() if sends} == before

    headlines = report.tables["headlines"].set_index("measure")
    assert headlines.loc["sends", ["value", "previous_value"]].tolist() == [by_stock.total(), before.total()]
    assert headlines.loc["sends", "change_share"] == pytest.approx(by_stock.total() / before.total() - 1)
    times = pd.concat([brand.coupons[f"{way}_usage_detail_use_time"] for way in ("single", "progressive_bundle")])
    in_week = within(times, MONDAY)[lambda week: week].index
    single = brand.coupons.loc[in_week][used.loc[in_week]]
    several = brand.coupons[used & brand.coupons["sequential_usage_detail_detail_item_list"].notna()]
    last = several["sequential_usage_detail_detail_item_list"].map(
        lambda uses: max(use["use_time"] for use in uses if use["use_time"])
    )
    assert len(several)
    assert headlines.loc["used", "value"] == len(single) + int(within(pd.to_datetime(last), MONDAY).sum())


def test_states_are_those_of_the_books(brand: Brand, report: wx.WeeklyReport):
    counts = dict(zip(report.tables["states"]["coupon_state"], report.tables["states"]["count"], strict=True))
    assert {state: count for state, count in counts.items() if count} == Counter(brand.coupons["coupon_state"])
    coverage = report.tables["rates"].set_index("measure").loc["coverage", "rate"]
    assert coverage == pytest.approx(len(brand.coupons) / brand.stocks["sent_count_info_total_count"].sum())


def test_tables_are_what_the_metrics_say_of_the_store(brand: Brand, report: wx.WeeklyReport):
    coupons, stocks = brand.store.load("user_coupons"), brand.store.load("stocks")
    history = brand.store.history("stocks")
    rates = wx.redemption_rate(coupons, by="stock_id").set_index("stock_id")
    table = report.tables["redemption"].set_index("stock_id").loc[rates.index]
    pd.testing.assert_frame_equal(table[rates.columns.drop("as_of")], rates.drop(columns="as_of"))
    forecast = wx.exhaustion_forecast(history, now=brand.now).set_index("stock_id")
    table = report.tables["forecast"].set_index("stock_id").loc[forecast.index, forecast.columns]
    pd.testing.assert_frame_equal(table, forecast)
    worth = wx.budget_use(stocks, brand.store.load("product_coupons")).set_index("stock_id")
    fixed = worth[worth["discount_basis"] == "fixed"]
    value = report.tables["redeemed_value"].set_index("discount_basis")
    to_date = (rates["used_count"] * fixed["discount_fen"]).dropna().sum()
    assert value.loc["fixed", "value_to_date_fen"] == to_date
    curve = wx.redemption_curve(coupons.assign(cohort=coupons["receive_time"].dt.strftime("%G-W%V")), by="cohort")
    day_7 = curve[curve["day"] == 7].set_index("cohort")["used_share"]
    shown = report.tables["cohorts"].set_index("cohort")["used_share_7d"].dropna()
    pd.testing.assert_series_equal(shown, day_7.loc[shown.index], check_names=False)
    stuck = wx.confirming_age(coupons, now=brand.now)
    assert report.tables["confirming"]["stuck_count"].sum() == (stuck["age"] > timedelta(hours=24)).sum() > 0
    gone = wx.state_changes(brand.store.history("user_coupons")).query("is_silent")
    found = gone["as_of"] > brand.now - WEEK
    assert report.tables["deletions"]["deleted_count"].sum() == found.sum() > 0


def test_the_page_holds_the_tables_number_by_number(report: wx.WeeklyReport, page: Path):
    read = Page(page.read_text(encoding="utf-8"))
    compared = 0
    for section in SECTIONS:
        for name, columns in section.tables.items():
            frame = report.tables[name]
            if frame.empty:
                assert not read.rows(name)
                continue
            assert read.columns[name] == list(columns)
            assert len(read.rows(name)) == min(len(frame), 12)
            for row, (_, told) in zip(read.rows(name), frame.iterrows(), strict=False):
                for column, value in row.items():
                    expected = told["stock_id" if column == "stock" else column]
                    assert same(value, expected, column), (name, column, value, expected)
                    compared += 1
    assert compared > 300
    for measure, value in read.cards.items():
        table = "headlines" if measure in set(report.tables["headlines"]["measure"]) else "rates"
        told = report.tables[table].set_index("measure").loc[measure, "value" if table == "headlines" else "rate"]
        assert float(value) == told


def same(value: str, expected: object, column: str) -> bool:
    """Hold what a page has against what the table says; it has yuan for fen."""
    if pd.isna(expected):
        return value == ""
    if isinstance(expected, datetime):
        return pd.Timestamp(value) == expected
    if isinstance(expected, timedelta):
        return int(value) == int(expected.total_seconds())
    if column.endswith("_fen"):
        return Decimal(value) * 100 == expected
    if isinstance(expected, float):
        return float(value) == expected
    return value == str(expected)


def test_the_same_week_made_later_is_the_same_report(brand: Brand, report: wx.WeeklyReport):
    later = wx.weekly_report(brand.store, week="2026-W46", now=brand.now + timedelta(hours=13), lang="en")
    for name in ("sends", "states", "redemption", "cohorts", "redeemed_value"):
        pd.testing.assert_frame_equal(later.tables[name], report.tables[name])
    assert later.headline == report.headline


# the page ---------------------------------------------------------------------------------------------------------


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


# what is missing --------------------------------------------------------------------------------------------------


def test_stocks_alone_make_a_report_that_says_what_is_missing(empty: wx.SnapshotStore, tmp_path: Path):
    for day in range(8, 17):
        saved(empty, f"2026-11-{day:02}T02:00", total=10 * day, today=0)
    report = wx.weekly_report(empty, now=AFTER + timedelta(hours=8), lang="en")
    assert not report.has_coupons
    assert any("never fetched" in note for note in report.notes)
    assert report.tables["sends"]["sends"].tolist() == [70]
    assert set(report.figures) == {"sends", "forecast"}
    for name in ("rates", "states", "redemption", "redeemed_value", "cohorts", "confirming", "deletions"):
        assert report.tables[name].empty
        assert len(report.tables[name].columns) > 2, name
    read = Page(report.to_html(tmp_path / "stocks.html").read_text(encoding="utf-8"))
    assert read.sections == ["sends", "forecast", "limits", "anomalies", "data", "definitions"]
    assert "used" not in read.cards
    assert "States of the coupons" not in openpyxl.load_workbook(report.to_excel(tmp_path / "stocks.xlsx")).sheetnames


def test_one_snapshot_says_that_more_are_needed(empty: wx.SnapshotStore):
    report = wx.weekly_report(saved(empty, "2026-11-15T10:00"), now=AFTER + timedelta(hours=8), lang="en")
    assert "at least 5 coupons" in report.headline
    assert any("one snapshot" in note for note in report.notes)
    assert report.tables["sends"]["sends"].isna().all()


def test_a_week_without_snapshots_shows_what_was_known_before_it(empty: wx.SnapshotStore):
    saved(empty, "2026-11-01T10:00")
    report = wx.weekly_report(saved(empty, "2026-11-05T10:00", total=60), now=AFTER + timedelta(hours=8), lang="en")
    assert any("no snapshot of stocks in this week; the last is of 2026-11-05 10:00" in note for note in report.notes)
    assert any("check the daily fetch" in line for line in report.actions)
    assert report.tables["freshness"].set_index("entity").loc["stocks", "is_stale"]


@pytest.mark.parametrize("week", ["2026-W40", None])
def test_a_store_that_knows_nothing_of_a_week_says_since_when_it_does(empty: wx.SnapshotStore, week):
    now = AFTER + timedelta(hours=8)
    if week is None:
        with pytest.raises(wx.SnapshotError, match="it has none at all"):
            wx.weekly_report(empty, now=now)
    else:
        saved(empty, "2026-11-05T10:00")
        with pytest.raises(wx.SnapshotError, match="its first is of 2026-11-05 10:00"):
            wx.weekly_report(empty, week=week, now=now)


def test_a_week_in_the_future_and_a_language_not_spoken_are_refused(brand: Brand):
    with pytest.raises(wx.ValidationError, match="the last week that is over is 2026-W46"):
        wx.weekly_report(brand.store, week="2026-W48", now=brand.now)
    with pytest.raises(wx.ValidationError, match="the report speaks 'zh' and 'en'"):
        wx.weekly_report(brand.store, now=brand.now, lang="fr")


def test_a_week_that_still_runs_is_not_held_against_a_whole_one(empty: wx.SnapshotStore, tmp_path: Path):
    for day in range(8, 14):
        saved(empty, f"2026-11-{day:02}T02:00", total=10 * day, today=0)
    report = wx.weekly_report(empty, week="2026-W46", now=pd.Timestamp("2026-11-13T08:00+08:00"), lang="en")
    assert report.notes[0].startswith("The week is not over")
    assert report.tables["headlines"]["change"].isna().all()
    assert "at least 40 coupons" in report.headline
    text = report.to_html(tmp_path / "running.html").read_text(encoding="utf-8")
    assert "not held against a whole one" in text


def headlines(report: wx.WeeklyReport) -> pd.DataFrame:
    return report.tables["headlines"].set_index("measure")


def test_a_running_week_claims_no_snapshot_missing_that_may_still_be_taken(empty: wx.SnapshotStore):
    for day in range(2, 13):
        saved(empty, f"2026-11-{day:02}T22:00", total=10 * day, today=9)
    morning = pd.Timestamp("2026-11-13T08:00+08:00")
    report = wx.weekly_report(empty, week="2026-W46", now=morning, lang="en")
    assert report.headline == "2026-W46, which is not over: at least 39 coupons sent so far."
    assert not any("snapshot" in note for note in report.notes)
    saved(empty, "2026-11-14T22:00", total=140, today=9)
    gap = wx.weekly_report(empty, week="2026-W46", now=morning + timedelta(days=2), lang="en")
    assert any(note.startswith("No snapshot of stocks on 11-13:") for note in gap.notes)


def coupons_read(store: wx.SnapshotStore, day: str, **states: str) -> None:
    """Save a snapshot of coupons by their codes."""
    coupons = [
        {"coupon_code": code, "coupon_state": state, "stock": {"stock_id": "1"}} for code, state in states.items()
    ]
    at = pd.Timestamp(f"2026-11-{day}T03:00+08:00")
    store.save("user_coupons", flatten("user_coupons", coupons, brand_id="120344", fetched_at=at))


def test_deletions_of_a_running_week_are_of_that_week(empty: wx.SnapshotStore):
    for day in range(2, 13):
        saved(empty, f"2026-11-{day:02}T02:00", total=10 * day, today=0)
    coupons_read(empty, "01", A="EFFECTIVE", B="EFFECTIVE")
    coupons_read(empty, "08", A="DELETED", B="EFFECTIVE")
    coupons_read(empty, "11", A="DELETED", B="DELETED")
    running = wx.weekly_report(empty, week="2026-W46", now=pd.Timestamp("2026-11-12T08:00+08:00"), lang="en")
    assert headlines(running).loc["deleted", "value"] == 1, "A was found deleted the week before"
    assert pd.isna(headlines(running).loc["deleted", "previous_value"])
    before = wx.weekly_report(empty, week="2026-W45", now=pd.Timestamp("2026-11-12T08:00+08:00"), lang="en")
    assert headlines(before).loc["deleted", "value"] == 1
    assert pd.isna(headlines(before).loc["deleted", "previous_value"]), "nobody knew of coupons when that week began"


@pytest.fixture
def deleted_in_both_weeks(empty: wx.SnapshotStore) -> wx.SnapshotStore:
    """Coupon A is found deleted on 2026-11-05 and B on 2026-11-12, not read between."""
    for day in range(2, 17):
        saved(empty, f"2026-11-{day:02}T02:00", total=10 * day, today=0)
    coupons_read(empty, "01", A="EFFECTIVE", B="EFFECTIVE")
    coupons_read(empty, "05", A="DELETED")
    coupons_read(empty, "12", A="DELETED", B="DELETED")
    return empty


@pytest.mark.parametrize(
    ("pruned", "deleted"),
    [
        pytest.param(None, [1, 1], id="all is known"),
        pytest.param("2026-11-07", [1, None], id="the week before was pruned in part"),
        pytest.param("2026-11-11", [None, None], id="this week was pruned in part"),
    ],
)
def test_deletions_are_told_of_what_was_not_pruned(deleted_in_both_weeks, tmp_path, pruned, deleted):
    if pruned:
        assert len(deleted_in_both_weeks.prune("user_coupons", before=pruned, dry_run=False))
    report = wx.weekly_report(deleted_in_both_weeks, now=AFTER + timedelta(hours=8), lang="en")
    told = headlines(report).loc["deleted", ["value", "previous_value"]]
    assert [None if pd.isna(count) else count for count in told] == deleted
    assert report.tables["deletions"]["deleted_count"].tolist() == [1] * (deleted[0] is not None)
    page = report.to_html(tmp_path / "deleted.html").read_text(encoding="utf-8")
    [card] = re.findall(r'<li data-measure="deleted">.*</li>', page)
    assert (">—<" in card) == (deleted[0] is None)
    said = "so silent deletions of this week cannot be counted"
    assert any(said in note for note in report.notes) == (deleted[0] is None)
    [table] = re.findall(r'<section id="deletions">.*?</section>', page, re.DOTALL)
    assert (said in table) == (deleted[0] is None)
    assert "None." not in table


@pytest.mark.parametrize(
    ("lang", "so_far", "after"),
    [
        ("en", "There is no snapshot on the Monday after yet, so ", "There is no snapshot on the Monday after, so "),
        ("zh", "周日之后的周一还没有快照，", "周日之后的周一没有快照，"),
    ],
)
def test_the_snapshot_of_the_monday_after_is_missing_once_that_day_is_over(empty, lang, so_far, after):
    for day in range(2, 16):
        saved(empty, f"2026-11-{day:02}T22:00", total=10 * day, today=9)
    for hours, said, unsaid in ((0, so_far, after), (23, so_far, after), (24, after, so_far)):
        report = wx.weekly_report(empty, week="2026-W46", now=AFTER + timedelta(hours=hours), lang=lang)
        assert any(note.startswith(said) for note in report.notes), hours
        assert not any(note.startswith(unsaid) for note in report.notes), hours


def test_what_an_old_week_lacks_is_said_of_its_own_time(empty: wx.SnapshotStore):
    for day in (2, 3, 4, 5, 30):
        saved(empty, f"2026-11-{day:02}T22:00", total=10 * day, today=9)
    report = wx.weekly_report(empty, week="2026-W46", now=pd.Timestamp("2026-11-30T23:00+08:00"), lang="en")
    assert report.actions[0].startswith(
        "On 11-16 23:59 the last snapshot of stocks was of 2026-11-05 22:00, 11 d 1 h before"
    )
    assert any("no snapshot on the Monday after" in note for note in report.notes)


def test_hits_of_a_week_known_in_part_are_a_lower_bound_and_not_compared(empty: wx.SnapshotStore):
    rule = {"stock_send_rule": {"max_count": 1000, "max_count_per_day": 10}}
    for day in range(5, 17):
        saved(empty, f"2026-11-{day:02}T02:00", total=10 * day, today=0, **rule)
    whole = wx.weekly_report(empty, now=AFTER + timedelta(hours=8), lang="en")
    assert headlines(whole).loc["days_hit", ["value", "value_at_most"]].tolist() == [7, 7]
    assert pd.isna(headlines(whole).loc["days_hit", "previous_value"]), "four days of it are known"
    part = wx.weekly_report(empty, week="2026-W45", now=AFTER + timedelta(hours=8), lang="en")
    assert headlines(part).loc["days_hit", "value"] == 4
    assert pd.isna(headlines(part).loc["days_hit", "value_at_most"])


@pytest.mark.parametrize(
    ("late", "at_most"),
    [
        pytest.param({"stock_send_rule": {"max_count_per_day": 10}, "total": 70}, None, id="it may have hit its limit"),
        pytest.param({"stock_send_rule": {"max_count_per_day": 10}, "total": 0}, 0, id="it had sent nothing"),
        pytest.param({"stock_send_rule": {"max_count": 1000}, "total": 70}, 0, id="it has no daily limit"),
    ],
)
def test_hits_of_a_stock_of_which_no_day_is_known_are_not_counted_as_none(empty: wx.SnapshotStore, late, at_most):
    rule = {"stock_send_rule": {"max_count": 1000, "max_count_per_day": 100}}
    for day in range(2, 17):
        saved(empty, f"2026-11-{day:02}T02:00", total=10 * day, today=0, **rule)
    saved(empty, "2026-11-16T03:00", today=0, stock_id="2", **late)
    report = wx.weekly_report(empty, now=AFTER + timedelta(hours=8), lang="en")
    told = headlines(report).loc["days_hit", ["value", "value_at_most", "previous_value"]]
    assert [None if pd.isna(count) else count for count in told] == [0, at_most, at_most]


CAMPAIGN = {"stock_id": "2", "remark": "周中开始"}


@pytest.fixture
def started_midweek(empty: wx.SnapshotStore) -> wx.SnapshotStore:
    """A stock read every night, twice as fast from 2026-11-09 on, and one that begins on the Wednesday after it."""
    for day in range(2, 17):
        saved(empty, f"2026-11-{day:02}T00:30", total=500 + 100 * (day + max(day - 9, 0)), today=0)
    for day in range(12, 17):
        stock = {**CAMPAIGN, "sent_count_info": {"total_count": 30 * (day - 11), "today_count": 0}}
        at = pd.Timestamp(f"2026-11-{day:02}T00:31+08:00")
        told = {"product_coupon_id": "7", "state": "SENDING", **stock}
        empty.save("stocks", flatten("stocks", told, brand_id="120344", fetched_at=at))
    return empty


@pytest.mark.parametrize(
    ("lang", "headline", "note", "change"),
    [
        (
            "zh",
            "2026-W46 一周发放 1,520–1,550 张，较上周 +108.2% … +121.4%。",
            "有 1 个批次本周的发放量只知道区间（如 5–9，确切数必在其中）：首次读取前已有发放 1 个。",
            "上周 700–730",
        ),
        (
            "en",
            "2026-W46: between 1,520 and 1,550 coupons sent, +108.2% … +121.4% on the week before.",
            "Stocks whose sends of this week are known as a range, such as 5–9, which certainly holds the exact number: 1 "
            "(had sent some when first read: 1).",
            "before: 700–730",
        ),
    ],
)
def test_a_stock_that_starts_in_midweek_makes_a_range(started_midweek, tmp_path, lang, headline, note, change):
    report = wx.weekly_report(started_midweek, now=AFTER + timedelta(hours=8), lang=lang)
    assert report.headline == headline
    assert note in report.notes
    text = report.to_html(tmp_path / "range.html").read_text(encoding="utf-8")
    assert {row[0]: row[2:5] for row in Page(text).shown["sends"] if row} == {
        "1": ["1,400", "700", "+100.0%"],
        "周中开始": ["120–150", "0–30", "—"],
    }
    [card] = re.findall(r'<li data-measure="sends">.*</li>', text)
    assert all(said in card for said in (">1,520–1,550<", change, "+108.2% … +121.4%"))


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


def test_stocks_known_as_a_range_and_from_below_are_counted_by_reason(started_midweek):
    stopped = {"product_coupon_id": "7", "stock_id": "3", "state": "SENDING"}
    for day in (2, 12):
        counts = {"sent_count_info": {"total_count": day, "today_count": 1}}
        at = pd.Timestamp(f"2026-11-{day:02}T00:32+08:00")
        started_midweek.save("stocks", flatten("stocks", stopped | counts, brand_id="120344", fetched_at=at))
    report = wx.weekly_report(started_midweek, now=AFTER + timedelta(hours=8), lang="en")
    assert [note for note in report.notes if note.startswith("Stocks ")] == [
        "Stocks whose sends of this week are known as a range, such as 5–9, which certainly holds the exact number: 1 "
        "(had sent some when first read: 1).",
        "Stocks of which only a lower bound of this week's sends is known (marked ≥): 1 (not read after the week: 1).",
    ]
    assert report.headline.startswith("2026-W46: at least 1,521 coupons sent (some stocks were not read after the week")
    assert headlines(report).loc["sends", ["value_at_most", "change_share"]].isna().all()


def test_stocks_that_only_their_brand_tells_apart_are_refused(empty: wx.SnapshotStore):
    for stock in "123":
        saved(empty, "2026-11-15T02:00", stock_id=stock)
    twin = empty.load("stocks").assign(brand_id="999999")
    empty.save("stocks", twin, taken_at=pd.Timestamp("2026-11-15T03:00+08:00"))
    with pytest.raises(wx.SnapshotError, match="stock '1' more than once, of the brands '120344', '999999', and a"):
        wx.weekly_report(empty, now=AFTER + timedelta(hours=8))


def test_a_coupon_that_does_not_say_its_product_is_of_its_stock(empty: wx.SnapshotStore):
    rule = {"single_usage_rule": {"normal_coupon": {"threshold": 0, "discount_amount": 500}}}
    for day in (8, 9, 16):
        saved(empty, f"2026-11-{day:02}T02:00", total=10 * day, today=0, **rule)
    product = {"product_coupon_id": "7", "type": "NORMAL", "usage_mode": "SINGLE"}
    at = pd.Timestamp("2026-11-16T03:00+08:00")
    empty.save("product_coupons", flatten("product_coupons", product, brand_id="120344", fetched_at=at))
    used = {"coupon_state": "USED", "single_usage_detail": {"use_time": "2026-11-12T10:00:00+08:00"}}
    coupons = [
        {"coupon_code": "A", "stock": {"stock_id": "1"}, "product_coupon": {"product_coupon_id": "7"}, **used},
        {"coupon_code": "B", "stock": {"stock_id": "1"}, **used},
    ]
    empty.save("user_coupons", flatten("user_coupons", coupons, brand_id="120344", fetched_at=at))
    report = wx.weekly_report(empty, now=AFTER + timedelta(hours=8), lang="en")
    assert report.tables["redemption"][["known_count", "used_count"]].values.tolist() == [[2, 2]]
    value = report.tables["redeemed_value"][["discount_basis", "used_count", "value_fen", "value_to_date_fen"]]
    assert value.values.tolist() == [["fixed", 2, 1000, 1000]]


def test_a_fetch_that_goes_over_the_closing_midnight_is_read(empty: wx.SnapshotStore):
    for day in range(8, 17):
        saved(empty, f"2026-11-{day:02}T02:00", total=10 * day, today=0)
    stuck = {
        "coupon_code": "A",
        "coupon_state": "CONFIRMING",
        "stock": {"stock_id": "1"},
        "receive_time": "2026-11-12T00:00:00+08:00",
    }
    late = flatten("user_coupons", stuck, brand_id="120344", fetched_at=pd.Timestamp("2026-11-17T00:10+08:00"))
    empty.save("user_coupons", late, taken_at=pd.Timestamp("2026-11-16T23:55+08:00"))
    report = wx.weekly_report(empty, now=AFTER + timedelta(days=3))
    assert headlines(report).loc["stuck", "value"] == 1


def test_a_brand_without_stocks_yet_has_a_report(empty: wx.SnapshotStore, tmp_path: Path):
    none = saved(empty, "2026-11-15T02:00").load("stocks")[:0]
    bare = wx.SnapshotStore(tmp_path / "bare")
    bare.save("stocks", none, taken_at=pd.Timestamp("2026-11-15T02:00+08:00"))
    report = wx.weekly_report(bare, now=AFTER + timedelta(hours=8), lang="en")
    assert Page(report.to_html(tmp_path / "bare.html").read_text(encoding="utf-8")).rows("sends") == []
    assert report.to_excel(tmp_path / "bare.xlsx").exists()


def test_gaps_and_snapshots_cut_short_are_named(empty: wx.SnapshotStore):
    for day in (8, 9, 10, 12, 13, 14, 16):
        saved(empty, f"2026-11-{day:02}T02:00", total=10 * day, today=0)
    cut = empty.load("stocks")
    empty.save(
        "stocks",
        cut.assign(fetched_at=pd.Timestamp("2026-11-15T02:00+08:00")),
        taken_at=pd.Timestamp("2026-11-15T02:00+08:00"),
        complete=False,
    )
    report = wx.weekly_report(empty, now=AFTER + timedelta(hours=8), lang="en")
    assert any(note.startswith("No snapshot of stocks on 11-11:") for note in report.notes)
    assert any("incomplete: stocks 11-15" in note for note in report.notes)


def test_stocks_that_run_out_and_limits_hit_need_action(empty: wx.SnapshotStore):
    rule = {"stock_send_rule": {"max_count": 200, "max_count_per_day": 10}}
    for day in range(8, 17):
        saved(empty, f"2026-11-{day:02}T02:00", total=10 * day, today=0, remark="限量", **rule)
    report = wx.weekly_report(empty, now=AFTER + timedelta(hours=8), lang="en")
    assert report.actions[0].startswith("限量 runs out on 2026-11-")
    assert report.actions[1].startswith("限量 hit its daily limit of 10 (days: 7, 11-09, ")
    assert "stocks that will run out within two weeks: 1" in report.headline


def test_anomalies_are_listed(empty: wx.SnapshotStore):
    for day, total in ((8, 10), (9, 60), (10, 70), (12, 20), (16, 30)):
        saved(
            empty,
            f"2026-11-{day:02}T02:00",
            total=total,
            today=0,
            stock_send_rule={"max_count": 25, "max_count_per_day": 5},
        )
    report = wx.weekly_report(empty, now=AFTER + timedelta(hours=8), lang="en")
    assert Counter(report.tables["anomalies"]["anomaly"]) == {
        "counter_backwards": 1,
        "oversent": 1,
        "over_daily_limit": 1,
    }
    assert any("Anomalies found: 3" in line for line in report.actions)
