"""The snapshot store: plain files, whole or not at all, and the latest row of every key."""

import datetime as dt
import os
import stat
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.snapshots.frames import BEIJING, at, stock, stocks
from wxcoupon_analytics.entities.flatten import flatten
from wxcoupon_analytics.entities.schemas import ENTITIES, frame_from_rows, to_table
from wxcoupon_analytics.errors import SnapshotError, ValidationError
from wxcoupon_analytics.snapshots import SnapshotStore

RECORDED = Path(__file__).parents[1] / "recorded"


class TestSave:
    def test_puts_one_file_into_the_month_of_the_snapshot(self, store):
        saved = store.save("stocks", stocks(stock()), taken_at=at(2))
        assert saved.path.relative_to(store.root).as_posix().startswith("stocks/month=2026-11/20261102T020000000000Z-")
        assert (saved.entity, saved.rows, saved.taken_at, saved.complete) == ("stocks", 1, at(2), True)
        assert [p.name for p in (store.root / ".store" / "staging").iterdir()] == []

    def test_the_month_is_beijings(self, store):
        saved = store.save("stocks", stocks(), taken_at=dt.datetime(2026, 10, 31, 16, tzinfo=dt.UTC))
        assert saved.path.parent.name == "month=2026-11"
        assert saved.taken_at == at(1, 0)

    def test_the_file_says_what_it_is_and_has_no_pandas_metadata(self, store):
        path = store.save("stocks", stocks(stock()), taken_at=at(2), complete=False).path
        metadata = pq.read_metadata(path).metadata
        assert b"pandas" not in metadata
        assert {name: text for name, text in metadata.items() if name.startswith(b"wxcoupon.")} == {
            b"wxcoupon.entity": b"stocks",
            b"wxcoupon.schema_version": b"2",
            b"wxcoupon.taken_at": b"2026-11-02T10:00:00+08:00",
            b"wxcoupon.complete": b"false",
        }
        assert pq.read_schema(path).names == ["taken_at", *ENTITIES["stocks"].names]
        assert pq.ParquetFile(path).metadata.row_group(0).column(0).compression == "ZSTD"

    def test_is_taken_when_the_latest_row_was_fetched(self, store):
        frame = stocks(stock("70", fetched_at=at(2)), stock("71", fetched_at=at(3)))
        assert store.save("stocks", frame).taken_at == at(3)

    def test_an_empty_frame_is_taken_now(self, store):
        before = dt.datetime.now(BEIJING)
        saved = store.save("stocks", stocks())
        assert before <= saved.taken_at <= dt.datetime.now(BEIJING)
        assert len(store.snapshots("stocks")) == 1

    def test_refuses_a_frame_of_another_entity(self, store):
        with pytest.raises(SnapshotError, match="coupon_code"):
            store.save("user_coupons", stocks())
        assert not store.root.joinpath("user_coupons").exists()

    def test_refuses_a_naive_instant(self, store):
        for naive in (dt.datetime(2026, 11, 2), pd.Timestamp("2026-11-02"), pd.NaT):  # noqa: DTZ001
            with pytest.raises(ValidationError, match="taken_at"):
                store.save("stocks", stocks(), taken_at=naive)

    def test_the_content_is_flushed_before_the_file_is_in_place(self, store, monkeypatch):
        flushed = []

        def fsync(handle):
            flushed.append((os.fstat(handle).st_ino, list(store.root.glob("stocks/month=*/*"))))

        monkeypatch.setattr(os, "fsync", fsync)
        saved = store.save("stocks", stocks(stock()))
        assert flushed[0] == (saved.path.stat().st_ino, [])

    def test_a_folder_that_cannot_be_flushed_does_not_undo_what_is_saved(self, store, monkeypatch):
        fsync = os.fsync

        def refused(handle):
            if stat.S_ISDIR(os.fstat(handle).st_mode):
                raise OSError("Invalid argument")
            fsync(handle)

        monkeypatch.setattr(os, "fsync", refused)
        assert store.save("stocks", stocks(stock())).path.exists()
        assert len(store.load("stocks")) == 1

    def test_an_error_leaves_no_snapshot(self, store, monkeypatch):
        def full(handle):
            raise OSError("No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(SnapshotError, match="No space left"):
            store.save("stocks", stocks(stock()))
        assert [path for path in store.root.rglob("*") if path.is_file()] == []

    def test_says_where_it_could_not_write(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(SnapshotError, match="cannot save stocks to"):
            SnapshotStore(tmp_path / "file").save("stocks", stocks())


class TestLoad:
    def test_gives_back_what_was_saved(self, store):
        frame = flatten(
            "stocks", (RECORDED / "deactivate_stock.response.json").read_bytes(), brand_id="1", fetched_at=at(2)
        )
        store.save("stocks", frame)
        pd.testing.assert_frame_equal(store.load("stocks"), frame)
        pd.testing.assert_frame_equal(store.history("stocks").drop(columns="taken_at"), frame)

    def test_takes_the_latest_row_of_every_key(self, store):
        store.save("stocks", stocks(stock("70", remark="new"), stock("71", remark="kept")), taken_at=at(3))
        store.save("stocks", stocks(stock("70", remark="old"), stock("72", remark="gone on")), taken_at=at(2))
        assert store.load("stocks")[["stock_id", "remark"]].to_numpy().tolist() == [
            ["70", "new"],
            ["71", "kept"],
            ["72", "gone on"],
        ]

    @pytest.mark.parametrize(
        ("as_of", "sees"),
        [
            (at(1), None),
            (at(2, 9), None),
            (at(2), "two"),
            (pd.Timestamp("2026-11-02T02:00:00Z"), "two"),
            ("2026-11-02T10:00:00+08:00", "two"),
            ("2026-11-02T01:59:59Z", None),
            ("2026-11-01", None),
            ("2026-11-02", "two"),
            (dt.date(2026, 11, 2), "two"),
            (dt.date(2026, 11, 3), "three"),
            (None, "three"),
        ],
        ids=str,
    )
    def test_as_of_an_instant_or_the_end_of_a_beijing_day(self, store, as_of, sees):
        store.save("stocks", stocks(stock(remark="two")), taken_at=at(2))
        store.save("stocks", stocks(stock(remark="three")), taken_at=at(3, 0))
        assert store.load("stocks", as_of=as_of)["remark"].tolist() == ([sees] if sees else [])

    @pytest.mark.parametrize("naive", ["2026-11-02T10:00:00", "soon", "20261102", dt.datetime(2026, 11, 2), 5])  # noqa: DTZ001
    def test_refuses_an_instant_without_a_zone(self, store, naive):
        with pytest.raises(ValidationError, match="as_of"):
            store.load("stocks", as_of=naive)

    def test_of_one_instant_the_later_fetch_wins_and_then_the_last_row(self, store):
        fetched = [stock(remark="late", fetched_at=at(2)), stock(remark="early", fetched_at=at(1))]
        store.save("stocks", stocks(*fetched), taken_at=at(3))
        assert store.load("stocks")["remark"].tolist() == ["late"]
        store.save("stocks", stocks(*[stock(remark=str(n)) for n in range(50)]), taken_at=at(4))
        assert store.load("stocks")["remark"].tolist() == ["49"]

    def test_a_row_whose_fetch_time_is_not_known_loses_to_one_whose_is(self, store):
        store.save("stocks", stocks(stock(remark="known", fetched_at=at(1)), stock(remark="not")), taken_at=at(3))
        assert store.load("stocks")["remark"].tolist() == ["known"]

    @pytest.mark.parametrize("fetched", [(None, None), (at(2), at(1)), (at(2), None)], ids=str)
    def test_of_two_snapshots_of_one_instant_the_one_saved_later_wins_always(self, store, monkeypatch, fetched):
        clock = iter([9 * 10**18, 10**18, 10**18])  # and if the machine's clock is set back
        monkeypatch.setattr("time.time_ns", lambda: next(clock))
        for remark, fetched_at in zip("ab", fetched, strict=True):
            saved = store.save("stocks", stocks(stock(remark=remark, fetched_at=fetched_at)), taken_at=at(3))
        assert store.load("stocks")["remark"].tolist() == ["b"]
        assert store.history("stocks")["remark"].tolist() == ["a", "b"]
        assert store.root / store.snapshots("stocks")["file"].iloc[-1] == saved.path

    def test_files_named_before_names_told_the_order_of_saving_come_first(self, store):
        old = store.save("stocks", stocks(stock(remark="old")), taken_at=at(3)).path
        old.rename(old.with_name(f"{old.name.partition('-')[0]}-ffffffff.parquet"))
        store.save("stocks", stocks(stock(remark="new")), taken_at=at(3))
        assert store.load("stocks")["remark"].tolist() == ["new"]
        assert store.history("stocks")["remark"].tolist() == ["old", "new"]

    @pytest.mark.parametrize("part", ["product_coupon_id", "stock_id"])
    def test_a_row_without_its_ids_is_nobodys_double(self, store, part):
        store.save("stocks", stocks(stock(**{part: None}), stock(**{part: None})), taken_at=at(2))
        assert len(store.load("stocks")) == 2

    def test_a_null_brand_is_a_brand(self, store):
        store.save("stocks", stocks(stock(brand_id=None), stock(brand_id=None), stock()), taken_at=at(2))
        assert len(store.load("stocks")) == 2

    def test_the_end_of_a_day_is_its_last_instant(self, store):
        last = dt.datetime(2026, 11, 2, 23, 59, 59, 999_999, tzinfo=BEIJING)
        store.save("stocks", stocks(stock()), taken_at=last)
        assert len(store.load("stocks", as_of="2026-11-02")) == 1
        assert len(store.history("stocks", until="2026-11-02")) == 1

    @pytest.mark.parametrize("columns", [[], ["stock_id", "stock_id"]], ids=str)
    def test_columns_are_at_least_one_and_none_twice(self, store, columns):
        with pytest.raises(ValidationError, match="columns=.*none twice"):
            store.load("stocks", columns=columns)

    def test_columns_come_as_asked(self, store):
        store.save("stocks", stocks(stock(remark="r")), taken_at=at(2))
        frame = store.load("stocks", columns=["remark", "stock_id"])
        assert frame.columns.tolist() == ["remark", "stock_id"]
        assert frame.to_numpy().tolist() == [["r", "70"]]
        with pytest.raises(ValidationError, match="no column margin"):
            store.load("stocks", columns=["margin"])

    def test_a_condition_is_put_to_the_latest_rows(self, store):
        store.save("stocks", stocks(stock(state="SENDING")), taken_at=at(2))
        store.save("stocks", stocks(stock(state="PAUSED"), stock("71", state="SENDING")), taken_at=at(3))
        assert store.load("stocks", where="state = 'SENDING' -- now")["stock_id"].tolist() == ["71"]
        assert store.load("stocks", where="state = 'SENDING'", columns=["remark"]).shape == (1, 1)

    @pytest.mark.parametrize(
        "wrong",
        [
            "",
            "no_such = 1",
            "state =",
            "state, remark",
            "state = 'SENDING') OR (1 = 1",
            "1 = 1; DROP TABLE rows",
            "stock_send_rule_max_count > 'x'",
            "state = $1",
            "no_such_function(state)",
            "max(state) = 'SENDING'",
            "state LIKE 'x' ESCAPE 'ab'",
            "ordinal = 0",
            "taken_at IS NOT NULL",
            "EXISTS (SELECT 1 FROM rows)",
            "EXISTS (SELECT 1 FROM files)",
            "EXISTS (SELECT 1 FROM '{file}')",
        ],
    )
    def test_a_condition_is_over_the_columns_and_nothing_else(self, store, wrong):
        file = store.save("stocks", stocks(stock(state="SENDING", stock_send_rule_max_count=5)), taken_at=at(2)).path
        with pytest.raises(SnapshotError, match="where=.* is not a condition over the columns of 'stocks'"):
            store.load("stocks", where=wrong.format(file=file))

    def test_a_damaged_file_is_not_blamed_on_the_condition(self, store):
        broken = store.save("stocks", stocks(stock()), taken_at=at(2)).path
        broken.write_bytes(b"PAR1")
        with pytest.raises(SnapshotError, match=rf"{broken.name} cannot be read"):
            store.load("stocks", where="state = 'SENDING'")

    def test_a_day_in_a_condition_is_a_beijing_day(self, store):
        store.save("stocks", stocks(stock(fetched_at=at(2, 0))))
        assert len(store.load("stocks", where="fetched_at >= '2026-11-02'")) == 1
        assert len(store.load("stocks", where="fetched_day = DATE '2026-11-02'")) == 1

    def test_an_empty_store_gives_every_column(self, store):
        pd.testing.assert_frame_equal(store.load("stocks"), stocks())
        assert store.history("stocks").columns.tolist() == ["taken_at", *ENTITIES["stocks"].names]
        assert len(store.snapshots("stocks")) == 0

    @pytest.mark.parametrize("call", ["load", "history", "snapshots"])
    def test_an_unknown_entity_is_refused(self, store, call):
        with pytest.raises(ValidationError, match="product_coupons, stocks, user_coupons"):
            getattr(store, call)("stock")

    @pytest.mark.parametrize("rows", [0, 2])
    @pytest.mark.parametrize("entity", list(ENTITIES))
    def test_dtypes_are_the_declared_ones_and_nothing_is_a_float(self, store, entity, rows):
        frame = frame_from_rows(entity, [{name: str(n) for name in ENTITIES[entity].key} for n in range(rows)])
        store.save(entity, frame, taken_at=at(2))
        loaded = store.load(entity)
        pd.testing.assert_frame_equal(loaded, frame)
        assert not any(pd.api.types.is_float_dtype(dtype) for dtype in loaded.dtypes)


class TestHistory:
    def test_stacks_every_snapshot_in_order(self, store):
        for day in (3, 2, 4):
            store.save("stocks", stocks(stock(remark=f"{day}a"), stock("71", remark=f"{day}b")), taken_at=at(day))
        history = store.history("stocks")
        assert history["remark"].tolist() == ["2a", "2b", "3a", "3b", "4a", "4b"]
        assert history["taken_at"].tolist() == [at(d) for d in (2, 2, 3, 3, 4, 4)]
        assert history["taken_at"].dtype == "datetime64[us, Asia/Shanghai]"
        assert store.history("stocks", since="2026-11-03", until="2026-11-03")["remark"].tolist() == ["3a", "3b"]
        assert store.history("stocks", since=at(3), until=at(3))["remark"].tolist() == ["3a", "3b"]
        assert store.history("stocks", since="2026-11-05")["remark"].tolist() == []

    def test_lists_the_snapshots(self, store):
        first = store.save("stocks", stocks(stock()), taken_at=at(2), complete=False)
        store.save("stocks", stocks(), taken_at=at(3))
        listed = store.snapshots("stocks")
        assert listed["taken_at"].tolist() == [at(2), at(3)]
        assert listed["rows"].tolist() == [1, 0]
        assert listed["complete"].tolist() == [False, True]
        assert listed["schema_version"].tolist() == [2, 2]
        assert store.root / listed["file"][0] == first.path


class TestOtherTools:
    """An optional column is all null in one file and set in the next: the folder still reads as one."""

    @pytest.fixture
    def folder(self, store):
        rule = "sequential_usage_rule_normal_coupon_list"
        optional = {"stock_send_rule_max_count_per_day": 5, rule: [{"threshold": 1, "discount_amount": 2}]}
        store.save("stocks", stocks(stock("70")), taken_at=at(1))
        store.save("stocks", stocks(stock("71", deactivate_time="2026-11-02T00:00:00Z", **optional)), taken_at=at(2))
        store.save("stocks", stocks(), taken_at=dt.datetime(2026, 12, 1, tzinfo=BEIJING))
        return store.root / "stocks"

    def test_pandas(self, folder):
        frame = pd.read_parquet(folder)
        assert sorted(frame["stock_id"]) == ["70", "71"]
        assert frame["stock_send_rule_max_count_per_day"].sum() == 5

    def test_duckdb(self, folder):
        query = "SELECT stock_id, stock_send_rule_max_count_per_day, epoch(taken_at) FROM read_parquet(?) ORDER BY 3"
        rows = duckdb.connect().execute(query, [f"{folder}/**/*.parquet"]).fetchall()
        assert [row[:2] for row in rows] == [("70", None), ("71", 5)]
        assert [row[2] for row in rows] == [at(1).timestamp(), at(2).timestamp()]

    def test_polars(self, folder):
        frame = pl.scan_parquet(folder).sort("stock_id").collect()
        assert frame["stock_send_rule_max_count_per_day"].to_list() == [None, 5]
        assert frame["sequential_usage_rule_normal_coupon_list"].to_list()[1] == [
            {"threshold": 1, "discount_amount": 2}
        ]


class TestDamage:
    def test_an_unreadable_file_is_named(self, store):
        store.save("stocks", stocks(stock()), taken_at=at(2))
        broken = store.save("stocks", stocks(stock()), taken_at=at(3)).path
        content = broken.read_bytes()
        for damage in (b"", b"PAR1", content[: len(content) // 2], b"\0" * len(content)):
            broken.write_bytes(damage)
            for read in (store.load, store.history, store.snapshots):
                with pytest.raises(SnapshotError, match=broken.name):
                    read("stocks")

    def test_a_damaged_column_is_named_too(self, store):
        broken = store.save("stocks", stocks(*[stock(str(n), remark=f"{n}" * 50) for n in range(500)])).path
        content = bytearray(broken.read_bytes())
        content[200:1500] = b"\xff" * 1300
        broken.write_bytes(content)
        with pytest.raises(SnapshotError, match=rf"{broken.name} cannot be read: .*; move it out of the store"):
            store.load("stocks")

    def test_a_parquet_file_of_something_else_is_named(self, store):
        store.save("stocks", stocks(stock()), taken_at=at(2))
        stray = store.root / "stocks" / "month=2026-11" / "export.parquet"
        pq.write_table(pa.table({"a": [1]}), stray)
        for read in (store.load, store.history, store.snapshots):
            with pytest.raises(SnapshotError, match=r"export\.parquet"):
                read("stocks")

    def test_files_of_other_versions_load(self, store):
        """A column not yet there is null, one no longer known is ignored."""
        path = store.save("stocks", stocks(stock(remark="r", state="SENDING")), taken_at=at(2)).path
        table = pq.read_table(path, partitioning=None)
        older = table.drop_columns(["state", "extra"]).append_column("margin", pa.array([1.5]))
        pq.write_table(older, path)
        store.save("stocks", stocks(stock("71")), taken_at=at(3))
        loaded = store.load("stocks")
        assert loaded.columns.tolist() == list(ENTITIES["stocks"].names)
        assert loaded["remark"].tolist()[0] == "r"
        assert loaded["state"].isna().all()
        assert len(store.history("stocks")) == 2


def test_a_repr_says_what_it_is(store):
    assert repr(store) == f"SnapshotStore({str(store.root)!r})"
    saved = store.save("stocks", stocks(stock()), taken_at=at(2))
    assert "rows=1" in repr(saved)
    assert to_table("stocks", store.load("stocks"))["stock_id"].to_pylist() == ["70"]
