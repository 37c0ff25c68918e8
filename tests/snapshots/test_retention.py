"""Pruning: history goes, and nothing that load says since then changes."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import shutil
import time

import pandas as pd
import pytest

from tests.snapshots.frames import BEIJING, at, coupon, merge, seen, states, stock, stocks
from wxcoupon_analytics.errors import SnapshotError, ValidationError
from wxcoupon_analytics.snapshots import SnapshotStore
from wxcoupon_analytics.snapshots.roots import Root


@pytest.fixture
def months(store):
    """Stock 70 in each snapshot, 71 in the first only, and a month and a half of snapshots."""
    store.save("stocks", stocks(stock("70", remark="09-10"), stock("71", remark="09-10")), taken_at=at(10, month=9))
    for month, day in ((9, 11), (9, 30), (10, 1), (10, 20), (11, 1)):
        store.save("stocks", stocks(stock("70", remark=f"{month:02}-{day:02}")), taken_at=at(day, month=month))
    return store


def test_says_what_it_would_remove_and_removes_nothing(months):
    before = months.history("stocks")
    would = months.prune("stocks", before="2026-10-20")
    assert would["removed"].tolist() == [1, 1, 1]
    assert would["taken_at"].tolist() == [at(10, month=9), at(11, month=9), at(30, month=9)]
    pd.testing.assert_frame_equal(months.history("stocks"), before)


def test_what_load_says_since_then_stays(months):
    moments = ["2026-10-20", "2026-10-25", "2026-11-01", None]
    before = {moment: months.load("stocks", as_of=moment) for moment in moments}
    removed = months.prune("stocks", before="2026-10-20", dry_run=False)
    assert removed["removed"].sum() == 3
    for store in (months, SnapshotStore(months.root)):
        for moment, expected in before.items():
            pd.testing.assert_frame_equal(store.load("stocks", as_of=moment), expected)
        assert store.history("stocks")["remark"].tolist() == ["09-10", "10-01", "10-20", "11-01"]
        assert store.snapshots("stocks")["taken_at"].tolist() == [at(1, month=10), at(20, month=10), at(1)]
    assert len(months.prune("stocks", before="2026-10-20", dry_run=False)) == 0


def test_what_was_before_is_refused_not_told_wrongly(months):
    at_the_time = months.load("stocks", as_of="2026-10-19")
    months.prune("stocks", before="2026-10-20", dry_run=False)
    for read in (months.load, months.scan):
        with pytest.raises(SnapshotError, match="before 2026-10-01T10:00:00.08:00 was pruned"):
            read("stocks", as_of="2026-09-30")
    pd.testing.assert_frame_equal(months.load("stocks", as_of="2026-10-19"), at_the_time)
    months.save("stocks", stocks(stock("70", remark="late")), taken_at=at(15, month=9))
    assert months.load("stocks")["remark"].tolist() == ["11-01", "09-10"]


@pytest.fixture
def superseded(store):
    """Every row of a month is in a later one anew, but for one that has long been the latest of its key."""
    for month, stock_id in ((7, "71"), (8, "70"), (9, "70"), (10, "70")):
        store.save("stocks", stocks(stock(stock_id, remark=f"{month:02}")), taken_at=at(2, month=month))
    store.save("stocks", stocks(stock("70", remark="11"), stock("72", remark="11")), taken_at=at(2))
    return store


def test_what_was_before_is_refused_also_where_nothing_of_a_month_is_left(superseded):
    assert superseded.load("stocks", as_of="2026-09-15")["remark"].tolist() == ["09", "07"]
    assert superseded.prune("stocks", before="2026-10-31", dry_run=False)["removed"].tolist() == [1, 1]
    superseded.prune("stocks", before="2026-11-01", dry_run=False)
    superseded.save("stocks", stocks(stock("70", remark="12")), taken_at=at(3))
    superseded.prune("stocks", before="2026-11-03", dry_run=False)
    assert superseded.prune("stocks", before="2026-11-03", dry_run=False).empty
    assert superseded.load("stocks")["remark"].tolist() == ["12", "07", "11"]
    assert superseded.snapshots("stocks")["taken_at"].tolist() == [at(2, month=7), at(2), at(3)]
    with pytest.raises(SnapshotError, match="before 2026-11-02T10:00:00.08:00 was pruned"):
        superseded.load("stocks", as_of="2026-09-15")


def test_a_pruning_killed_at_any_step_tells_nothing_wrongly(superseded, monkeypatch, tmp_path_factory):
    right = {day: superseded.load("stocks", as_of=day)["remark"].tolist() for day in ("2026-08-15", "2026-10-15", None)}
    step, killed_at = 0, 0

    def counted(do):
        def killed_here(*args):
            nonlocal step
            step += 1
            if step == killed_at:
                raise KeyboardInterrupt
            return do(*args)

        return killed_here

    for name in ("put", "delete"):
        monkeypatch.setattr(Root, name, counted(getattr(Root, name)))
    kept = tmp_path_factory.mktemp("kept") / "store"
    shutil.copytree(superseded.root, kept)
    while step >= killed_at:
        step, killed_at = 0, killed_at + 1
        shutil.rmtree(superseded.root)
        shutil.copytree(kept, superseded.root)
        with contextlib.suppress(KeyboardInterrupt):
            SnapshotStore(superseded.root).prune("stocks", before="2026-11-10", dry_run=False)
        after = SnapshotStore(superseded.root)
        for day, remarks in right.items():
            with contextlib.suppress(SnapshotError):
                assert after.load("stocks", as_of=day)["remark"].tolist() == remarks
        assert after.load("stocks")["remark"].tolist() == right[None]
    assert killed_at > 5


def test_a_pruning_up_to_a_day_to_come_hides_nothing_that_is_there(months):
    months.prune("stocks", before="2027-01-01", dry_run=False)
    for day in (5, 7):
        months.save("stocks", stocks(stock("70", remark=f"11-{day:02}")), taken_at=at(day))
    assert months.load("stocks", as_of="2026-11-06")["remark"].tolist() == ["11-05", "09-10"]


def test_outside_readers_read_what_is_left(months):
    months.prune("stocks", before="2026-10-20", dry_run=False)
    assert sorted(pd.read_parquet(months.root / "stocks")["remark"]) == ["09-10", "10-01", "10-20", "11-01"]


def test_user_coupons_keep_their_state_and_their_freshness(store):
    merge(store, 1, coupon("A"), coupon("B", who="o2"), asked=["o1", "o2"])
    merge(store, 2, coupon("A", "USED"), asked=["o1"])
    merge(store, 3, coupon("A", "EFFECTIVE"), coupon("B", who="o2"), asked=["o1", "o2"])
    merge(store, 9, coupon("A", "EXPIRED"), asked=["o1"])
    told = [(states(store, as_of=day), seen(store, as_of=day)) for day in ("2026-11-05", "2026-11-09")]
    removed = store.prune("user_coupons", before="2026-11-05", dry_run=False)
    assert removed["removed"].tolist() == [1, 1]
    assert [(states(store, as_of=day), seen(store, as_of=day)) for day in ("2026-11-05", "2026-11-09")] == told
    assert states(store) == {"A": "EXPIRED", "B": "EFFECTIVE"}
    assert seen(store) == {"A": 9, "B": 3}
    assert len(store.fetches()) == 4
    merge(store, 10, coupon("A", "EXPIRED"), coupon("B", who="o2"), asked=["o1", "o2"])
    assert seen(store) == {"A": 10, "B": 10}


def test_keep_days_counts_beijing_days(store):
    today = dt.datetime.now(BEIJING)
    for days in (40, 30, 20):
        store.save("stocks", stocks(stock()), taken_at=today - dt.timedelta(days=days))
    assert len(store.prune("stocks", keep_days=25)) == 1
    assert len(store.prune("stocks", keep_days=15)) == 2


@pytest.mark.parametrize("both", [{}, {"before": "2026-11-01", "keep_days": 3}], ids=str)
def test_takes_one_bound(store, both):
    with pytest.raises(ValidationError, match="either before"):
        store.prune("stocks", **both)


def test_what_killed_writers_left_is_swept_after_a_day(store):
    store.save("stocks", stocks(stock()), taken_at=at(1))
    old, new = (store.root / ".store" / "staging" / name for name in ("old.parquet", "new.parquet"))
    before_version_2 = store.root / ".staging" / "x.parquet"
    before_version_2.parent.mkdir()
    for path in (old, new, before_version_2):
        path.write_bytes(b"half")
    for path in (old, before_version_2):
        os.utime(path, (time.time() - 90_000,) * 2)
    store.prune("stocks", keep_days=10_000, dry_run=False)
    assert (old.exists(), before_version_2.exists(), new.exists()) == (False, False, True)
