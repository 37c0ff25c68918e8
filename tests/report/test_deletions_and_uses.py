"""Silent deletions and uses are counted as far as the coupons were read, and no further."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest

import wxcoupon_analytics as wx
from tests.report.pages import Page
from tests.report.stores import AFTER, coupons_read, every_night, headlines, saved
from wxcoupon_analytics.entities.flatten import flatten


def plain(values: pd.Series) -> list[object]:
    return [None if pd.isna(value) else value for value in values]


BOUNDS = ["value", "value_at_most"]


def test_deletions_of_a_running_week_are_of_that_week(empty: wx.SnapshotStore):
    for day in range(2, 13):
        saved(empty, f"2026-11-{day:02}T02:00", total=10 * day, today=0)
    coupons_read(empty, "01", A="EFFECTIVE", B="EFFECTIVE")
    coupons_read(empty, "02", A="EFFECTIVE", B="EFFECTIVE")
    coupons_read(empty, "08", A="DELETED", B="EFFECTIVE")
    coupons_read(empty, "09", A="DELETED", B="EFFECTIVE")
    coupons_read(empty, "11", A="DELETED", B="DELETED")
    running = wx.weekly_report(empty, week="2026-W46", now=pd.Timestamp("2026-11-12T08:00+08:00"), lang="en")
    told = headlines(running).loc["deleted", ["value", "value_at_most", "previous_value"]]
    assert plain(told) == [1, None, None], "A was found deleted the week before, and the week goes on"
    before = wx.weekly_report(empty, week="2026-W45", now=pd.Timestamp("2026-11-12T08:00+08:00"), lang="en")
    told = headlines(before).loc["deleted", ["value", "value_at_most", "previous_value"]]
    assert plain(told) == [1, 1, None], "nobody knew of coupons when the week before that one began"


@pytest.fixture
def deleted_in_both_weeks(empty: wx.SnapshotStore) -> wx.SnapshotStore:
    """Coupon A is found deleted on 2026-11-05 and B on 2026-11-12, and C used between; they are read when both weeks begin."""
    for day in range(2, 17):
        saved(empty, f"2026-11-{day:02}T02:00", total=10 * day, today=0)
    coupons_read(empty, "02", A="EFFECTIVE", B="EFFECTIVE", C="EFFECTIVE")
    coupons_read(empty, "05", A="DELETED")
    coupons_read(empty, "09", A="DELETED", B="EFFECTIVE", C="EFFECTIVE")
    coupons_read(empty, "10", C="USED")
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
    assert plain(headlines(report).loc["deleted", ["value", "previous_value"]]) == deleted
    assert report.tables["deletions"]["deleted_count"].tolist() == [1] * (deleted[0] is not None)
    page = report.to_html(tmp_path / "deleted.html").read_text(encoding="utf-8")
    [card] = re.findall(r'<li data-measure="deleted">.*</li>', page)
    assert (">—<" in card) == (deleted[0] is None)
    said = "so silent deletions of this week cannot be counted"
    assert any(said in note for note in report.notes) == (deleted[0] is None)
    [table] = re.findall(r'<section id="deletions">.*?</section>', page, re.DOTALL)
    assert (said in table) == (deleted[0] is None)
    assert "None" not in table


@pytest.mark.parametrize(
    ("lang", "said", "card"),
    [
        ("zh", "用户券到 2026-11-11 03:00 才首次拉取，此前的静默删除无从发现：本周静默删除只是下限（标 ≥）。", ">≥ 1<"),
        (
            "en",
            "User coupons were first fetched at 2026-11-11 03:00, and no deletion before that can be found:",
            ">≥ 1<",
        ),
    ],
)
def test_coupons_first_fetched_within_the_week_make_deletions_a_lower_bound(empty, tmp_path, lang, said, card):
    every_night(empty)
    coupons_read(empty, "11", A="EFFECTIVE", B="EFFECTIVE")
    coupons_read(empty, "16", A="DELETED", B="EFFECTIVE")
    report = wx.weekly_report(empty, now=AFTER + timedelta(hours=8), lang=lang)
    assert plain(headlines(report).loc["deleted", BOUNDS]) == [1, None]
    assert any(note.startswith(said) for note in report.notes)
    page = report.to_html(tmp_path / "first.html").read_text(encoding="utf-8")
    assert card in re.findall(r'<li data-measure="deleted">.*</li>', page)[0]
    assert Page(page).shown["deletions"][1][1] == "≥ 1"


def test_coupons_not_read_after_the_week_may_have_been_used_or_deleted(empty: wx.SnapshotStore, tmp_path: Path):
    every_night(empty)
    over = {"coupon_state": "EFFECTIVE", "valid_end_time": "2026-11-08T23:59:59+08:00"}
    coupons_read(empty, "02", A="EFFECTIVE", B="EFFECTIVE", C="EXPIRED", D=over)
    coupons_read(empty, "09", A="EFFECTIVE")
    report = wx.weekly_report(empty, now=AFTER + timedelta(hours=8), lang="en")
    told = headlines(report)
    assert plain(told.loc["used", [*BOUNDS, "previous_value", "previous_value_at_most"]]) == [0, 2, 0, 2]
    assert plain(told.loc["deleted", BOUNDS]) == [0, 2]
    assert "; 0–2 of the coupons known were used." in report.headline
    assert any(
        "not read again after the week, and may have been used, returned or deleted: 2." in note
        for note in report.notes
    )
    section = re.findall(
        r'<section id="deletions">.*?</section>',
        report.to_html(tmp_path / "unread.html").read_text(encoding="utf-8"),
        re.DOTALL,
    )[0]
    assert "None found." in section
    coupons_read(empty, "16", A="EFFECTIVE", B="EFFECTIVE")
    later = headlines(wx.weekly_report(empty, now=AFTER + timedelta(hours=8), lang="en"))
    assert plain(later.loc["used", BOUNDS]) == plain(later.loc["deleted", BOUNDS]) == [0, 0]


def test_a_coupon_asked_for_and_not_there_may_have_been_used(empty: wx.SnapshotStore):
    every_night(empty)
    for day in ("02", "09", "16"):
        coupons_read(empty, day, A={"coupon_state": None} if day == "16" else "EFFECTIVE", B="EFFECTIVE")
    report = wx.weekly_report(empty, now=AFTER + timedelta(hours=8))
    assert plain(headlines(report).loc["used", BOUNDS]) == [0, 1]


def test_deletions_of_coupons_last_read_before_the_week_may_be_of_before_it(empty: wx.SnapshotStore):
    every_night(empty)
    coupons_read(empty, "02", A="EFFECTIVE", B="EFFECTIVE")
    coupons_read(empty, "09", B="EFFECTIVE")
    coupons_read(empty, "12", A="DELETED", B="DELETED")
    report = wx.weekly_report(empty, now=AFTER + timedelta(hours=8), lang="en")
    assert plain(headlines(report).loc["deleted", [*BOUNDS, "previous_value"]]) == [1, 2, None]
    assert any(note.startswith("Coupons found deleted that were last read before this week,") for note in report.notes)
    assert report.tables["deletions"][["undated_count", "deleted_usable_count"]].values.tolist() == [[1, 1]]


def test_a_coupon_that_came_and_went_between_two_fetches_was_deleted(empty: wx.SnapshotStore):
    every_night(empty)
    coupons_read(empty, "02", A="EFFECTIVE")
    coupons_read(empty, "09", A="EFFECTIVE")
    gone = {"coupon_state": "DELETED", "receive_time": "2026-11-11T10:00:00+08:00"}
    long_gone = {"coupon_state": "DELETED", "receive_time": "2026-10-01T10:00:00+08:00"}
    coupons_read(empty, "12", B=gone, C=long_gone)
    coupons_read(empty, "16", A="EFFECTIVE", B=gone, C=long_gone)
    told = headlines(wx.weekly_report(empty, now=AFTER + timedelta(hours=8)))
    assert plain(told.loc["deleted", BOUNDS]) == [1, 2], "of the one long received, nobody knows when"


def test_a_deleted_coupon_without_a_code_is_no_coupon_found_deleted(empty: wx.SnapshotStore):
    every_night(empty)
    coupons_read(empty, "02", A="EFFECTIVE")
    coupons_read(empty, "09", A="EFFECTIVE")
    nameless = {"coupon_state": "DELETED", "stock": {"stock_id": "1"}, "receive_time": "2026-11-11T10:00:00+08:00"}
    at = pd.Timestamp("2026-11-12T03:00+08:00")
    empty.save("user_coupons", flatten("user_coupons", nameless, brand_id="120344", fetched_at=at))
    coupons_read(empty, "16", A="DELETED")
    told = headlines(wx.weekly_report(empty, now=AFTER + timedelta(hours=8)))
    assert plain(told.loc["deleted", "value":"value"]) == [1], "nothing tells which coupon it is"


def priced(store: wx.SnapshotStore, last: int = 16) -> None:
    """Save nightly snapshots of a stock whose coupons are worth five yuan."""
    every_night(store, last=last, single_usage_rule={"normal_coupon": {"threshold": 0, "discount_amount": 500}})
    product = {"product_coupon_id": "7", "type": "NORMAL", "usage_mode": "SINGLE"}
    read_at = pd.Timestamp("2026-11-02T03:00+08:00")
    store.save("product_coupons", flatten("product_coupons", product, brand_id="120344", fetched_at=read_at))


def used(on: str) -> dict[str, object]:
    """Say that a coupon worth a use in the week reported on was used then."""
    return {"coupon_state": "USED", "single_usage_detail": {"use_time": f"2026-11-{on}T10:00:00+08:00"}}


@pytest.mark.parametrize(
    ("read_on_monday", "expected", "unread"),
    [
        pytest.param({}, [0, 2, 1, 1], 2, id="a return may have undone the use, or let the other be used again"),
        pytest.param({"A": used("11"), "B": used("05")}, [1, 1, 1, 1], 0, id="read again, it stands"),
        pytest.param({"A": "EFFECTIVE", "B": used("05")}, [0, 0, 1, 1], 0, id="it was returned"),
    ],
)
def test_a_use_is_certain_once_it_was_read_after_the_week(empty: wx.SnapshotStore, read_on_monday, expected, unread):
    priced(empty)
    coupons_read(empty, "02", A="EFFECTIVE", B="EFFECTIVE")
    coupons_read(empty, "09", B=used("05"))
    coupons_read(empty, "12", A=used("11"))
    if read_on_monday:
        coupons_read(empty, "16", **read_on_monday)
    report = wx.weekly_report(empty, now=AFTER + timedelta(hours=8), lang="en")
    assert plain(headlines(report).loc["used", [*BOUNDS, "previous_value", "previous_value_at_most"]]) == expected
    value = report.tables["redeemed_value"].iloc[0]
    assert [value["value_fen"], value["previous_value_fen"]] == [500 * expected[0], 500 * expected[2]]
    change = None if unread else (expected[0] - expected[2]) / expected[2]
    assert plain(value[["change_share"]]) == [change], "what is known in part is not held against the week before"
    said = (
        f"Coupons known that were not read again after the week, and may have been used, returned or deleted: {unread}."
    )
    assert any(note.startswith(said) for note in report.notes) == (unread > 0)


def test_uses_of_a_running_week_are_those_read_so_far(empty: wx.SnapshotStore):
    priced(empty, last=12)
    coupons_read(empty, "12", A=used("11"), B=used("05"), C=used("05"))
    report = wx.weekly_report(empty, week="2026-W46", now=pd.Timestamp("2026-11-12T08:00+08:00"))
    assert plain(headlines(report).loc["used", BOUNDS]) == [1, None]
    value = report.tables["redeemed_value"].iloc[0]
    assert plain(value[["value_fen", "previous_value_fen", "change_share"]]) == [500, 1000, None]
