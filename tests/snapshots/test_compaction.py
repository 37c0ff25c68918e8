"""Many snapshots, few files: months are put together, and the latest rows kept, without a word of the store changing."""

from __future__ import annotations

import datetime as dt
import shutil

import duckdb
import pandas as pd
import pytest

from tests.snapshots.frames import BEIJING, at, coupon, merge, seen, states, stock, stocks
from wxcoupon_analytics.entities.schemas import frame_from_rows
from wxcoupon_analytics.snapshots import SnapshotStore, coupons
from wxcoupon_analytics.snapshots.current import Current


def files(store, folder):
    return [path.rpartition("/")[2] for path in store._root.files(folder)]


def save_days(store, first, count, *, rows=2):
    """Save a snapshot a day; a stock's remark is the day, and every fifth day one stock less is in it."""
    for n in range(count):
        day = dt.datetime(2026, 9, 1, 10, tzinfo=BEIJING) + dt.timedelta(days=first + n)
        held = rows - ((first + n) % 5 == 0)
        store.save("stocks", stocks(*[stock(str(s), remark=f"{day:%m-%d}") for s in range(held)]), taken_at=day)


def whole(store):
    """Everything the store says: of each day as of then, and the history."""
    listed = store.snapshots("stocks")
    some = listed["taken_at"].iloc[:: max(1, len(listed) // 6)]
    days = {day: store.load("stocks", as_of=day)["remark"].tolist() for day in some}
    return store.history("stocks"), listed.drop(columns="file"), days, store.load("stocks")


def same(one, other):
    for a, b in zip(one, other, strict=True):
        assert a == b if isinstance(a, dict) else pd.testing.assert_frame_equal(a, b) is None


def test_a_finished_month_becomes_one_file(anywhere):
    save_days(anywhere, 0, 5)
    assert len(files(anywhere, "stocks")) == 5
    before = whole(anywhere)
    anywhere.save("stocks", stocks(stock("0", remark="october")), taken_at=at(2, month=10))
    assert [name[:10] for name in files(anywhere, "stocks")] == ["compacted-", "20261002T0"]
    assert len(anywhere.snapshots("stocks")) == 6
    assert anywhere.load("stocks")["remark"].tolist() == ["october", "09-05"]
    again = SnapshotStore(anywhere._root.uri)
    pd.testing.assert_frame_equal(again.history("stocks", until="2026-09-30"), before[0])
    for day, remarks in before[2].items():
        assert again.load("stocks", as_of=day)["remark"].tolist() == remarks


def test_a_year_of_snapshots_reads_like_single_files(store, tmp_path, monkeypatch):
    plain = SnapshotStore(tmp_path / "plain")
    monkeypatch.setattr(plain, "_tidy", lambda *_: None)
    for one in (store, plain):
        save_days(one, 0, 40)
    assert len(files(store, "stocks")) < 15 < 39 < len(files(plain, "stocks"))
    assert files(store, ".store/checkpoints")
    same(whole(store), whole(plain))


def test_a_snapshot_that_comes_late_is_counted_in(store):
    save_days(store, 0, 34)
    late = dt.datetime(2026, 9, 12, 15, tzinfo=BEIJING)
    store.save("stocks", stocks(stock("late", remark="late")), taken_at=late)
    assert "late" in store.load("stocks")["remark"].tolist()
    assert "late" not in store.load("stocks", as_of="2026-09-11")["remark"].tolist()
    assert store.snapshots("stocks")["taken_at"].is_monotonic_increasing
    assert len(store.snapshots("stocks")) == 35
    assert sum(name.startswith("compacted") for name in files(store, "stocks/month=2026-09")) == 1
    assert len(files(store, "stocks/month=2026-09")) == 1


def test_a_compaction_killed_before_it_deleted_doubles_nothing(store):
    save_days(store, 0, 30)
    kept = store.root.parent / "kept"
    shutil.copytree(store.root / "stocks", kept)
    before = whole(store)
    save_days(store, 30, 1)
    shutil.copytree(kept, store.root / "stocks", dirs_exist_ok=True)  # the daily files are still there
    again = SnapshotStore(store.root)
    assert len(again.history("stocks")) == len(before[0]) + 1
    assert len(again.snapshots("stocks")) == 31
    assert again.load("stocks", as_of="2026-09-30")["remark"].tolist() == before[3]["remark"].tolist()
    save_days(again, 31, 1)
    assert len(files(again, "stocks/month=2026-09")) == 1
    assert len(again.snapshots("stocks")) == 32


def test_compactions_that_overlap_are_read_once(store, monkeypatch):
    """Two processes saw different days: each snapshot is read from one file, and the next save makes one of them."""
    monkeypatch.setattr(store, "_tidy", lambda *_: None)
    save_days(store, 0, 30)
    names = {}
    for n, (first, last) in enumerate(((0, 20), (10, 30))):
        copy = store.root.parent / f"copy{n}"
        shutil.copytree(store.root, copy)
        days = sorted(copy.glob("stocks/month=*/*"))
        for path in [*days[:first], *days[last:]]:
            path.unlink()
        SnapshotStore(copy).save("stocks", stocks(), taken_at=at(1, month=10))
        (names[n],) = copy.glob("stocks/month=2026-09/compacted-*")
    expected = whole(store)
    for path in store.root.glob("stocks/month=*/*"):
        path.unlink()
    for path in names.values():
        shutil.copy(path, store.root / "stocks" / "month=2026-09")
    both = SnapshotStore(store.root)
    same(whole(both), expected)
    both.save("stocks", stocks(), taken_at=at(1, month=10))
    assert len(files(both, "stocks/month=2026-09")) == 1
    pd.testing.assert_frame_equal(both.history("stocks"), expected[0])


def test_outside_readers_read_a_compacted_folder(store):
    save_days(store, 0, 34)
    outside = pd.read_parquet(store.root / "stocks")
    assert len(outside) == len(store.history("stocks"))
    query = f"SELECT count(*), count(DISTINCT taken_at) FROM read_parquet('{store.root}/stocks/**/*.parquet')"
    assert duckdb.sql(query).fetchall() == [(len(outside), 34)]


def test_a_checkpoint_that_no_longer_counts_is_not_read(store):
    save_days(store, 0, 33)
    (gone,) = store.root.glob("stocks/month=2026-09/*")
    gone.unlink()
    assert len(store.load("stocks", as_of="2026-09-30")) == 0


def test_a_damaged_month_does_not_lose_what_is_saved(store, caplog):
    save_days(store, 0, 3)
    broken = next(store.root.glob("stocks/month=2026-09/*"))
    broken.write_bytes(b"PAR1")
    store.save("stocks", stocks(stock("9", remark="saved")), taken_at=at(1, month=10))
    assert broken.name in caplog.text
    assert len(files(store, "stocks")) == 4


def test_a_log_of_events_is_not_copied_into_checkpoints(store):
    for month in range(1, 5):
        for day in range(1, 4):
            events = [{"event_id": f"{month}-{day}-{n}", "openid": f"o{n}", "appid": "wx1"} for n in range(10)]
            store.save(
                "user_coupon_events", frame_from_rows("user_coupon_events", events), taken_at=at(day, month=month)
            )
    assert len(store.load("user_coupon_events")) == 120
    assert len(store.openids()) == 10
    assert len(files(store, ".store/checkpoints")) <= 4
    assert store.history("user_coupon_events")["event_id"].nunique() == 120


def test_a_long_fetch_leaves_few_files(store, monkeypatch):
    monkeypatch.setattr(coupons, "_PARTS", 4)
    users = [f"o{n}" for n in range(12)]
    for day in (1, 2):
        for n, who in enumerate(users):
            state = "EFFECTIVE" if day == 1 or n % 2 else "USED"
            merge(store, day, coupon(who, state, who=who), asked=[who], fetch_id=f"f{day}", complete=n == 11)
    assert len(files(store, "user_coupons")) == 2  # one a fetch
    assert len(files(store, ".store/manifests")) == 3  # of the second fetch, half of the parts changed nothing
    assert len(files(store, ".store/current")) == 1
    assert set(seen(store).values()) == {2}
    assert sum(state == "USED" for state in states(store).values()) == 6
    assert set(seen(store, as_of=at(1, 23)).values()) == {1}
    assert store.fetches()[["parts", "asked", "changed"]].to_numpy().tolist() == [[12, 12, 0], [12, 12, 6]]
    merge(store, 4, coupon("x"), asked=["o1"])
    later = dt.datetime(2026, 12, 2, 10, tzinfo=BEIJING)
    store.save("user_coupons", store.load("user_coupons").assign(fetched_at=pd.Timestamp(later)), taken_at=later)
    assert len(files(store, "user_coupons/month=2026-11")) == 1
    assert len(store.load("user_coupons")) == 13


@pytest.mark.parametrize("month", [1, 4])
def test_a_generation_is_current_across_many_months(store, month):
    for m in range(1, month + 1):
        merge_in(store, m, coupon("A", f"S{m}"))
    assert states(store) == {"A": f"S{month}"}
    assert Current(store._root, {}).folded


def merge_in(store, month, row):
    when = at(1, month=month)
    frame = frame_from_rows("user_coupons", [{**row, "fetched_at": when}])
    store.save("user_coupons", frame)
