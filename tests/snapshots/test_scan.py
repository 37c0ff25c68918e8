"""The current state as each engine's own frame: the rows and dtypes of load, and no more read than asked for."""

from __future__ import annotations

import builtins
import sys

import duckdb
import narwhals as nw
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import wxcoupon_analytics as wx
from tests.snapshots.frames import at, coupon, coupons, merge, stock, stocks
from wxcoupon_analytics.entities.schemas import ENTITIES, to_frame
from wxcoupon_analytics.errors import ValidationError
from wxcoupon_analytics.snapshots import SnapshotStore

LISTS = {"single_usage_detail_saved_amount": 5, "coupon_tag_info_coupon_tag_list": ["a", "b"]}


@pytest.fixture
def filled(anywhere):
    anywhere.save("stocks", stocks(stock("70", state="PAUSED")), taken_at=at(1))
    anywhere.save("stocks", stocks(stock("70", state="SENDING"), stock("71")), taken_at=at(2))
    merge(anywhere, 1, coupon("A", when=at(1, 0), **LISTS), coupon("B", who="o2"), asked=["o1", "o2"])
    merge(anywhere, 2, coupon("A", "USED", **LISTS), asked=["o1"], complete=False)
    return anywhere


def as_frame(entity: str, scanned: object) -> pd.DataFrame:
    """Bring any engine's frame to pandas."""
    if isinstance(scanned, duckdb.DuckDBPyRelation):
        table = scanned.to_arrow_table()
    elif isinstance(scanned, pl.LazyFrame):
        table = scanned.collect().to_arrow()
    elif isinstance(scanned, pa.Table):
        table = scanned
    else:
        table = scanned.toArrow()
    frame = to_frame(entity, table)
    return frame.sort_values(list(ENTITIES[entity].key), ignore_index=True)


@pytest.mark.parametrize("entity", ["stocks", "user_coupons"])
@pytest.mark.parametrize("engine", ["duckdb", "polars", "pyarrow"])
def test_gives_what_load_gives(filled, entity, engine):
    for as_of in (None, "2026-11-01", at(1)):
        expected = filled.load(entity, as_of=as_of)
        scanned = filled.scan(entity, engine=engine, as_of=as_of)
        pd.testing.assert_frame_equal(as_frame(entity, scanned), expected)
    two = filled.scan(entity, engine=engine, columns=["stock_id", "brand_id"])
    assert nw.from_native(two).collect_schema().names() == ["stock_id", "brand_id"]


@pytest.mark.parametrize("engine", ["duckdb", "polars", "pyarrow"])
def test_metrics_take_it(store, engine):
    merge(store, 1, coupon("A"), coupon("B", who="o2"), asked=["o1", "o2"])
    merge(store, 2, coupon("A", "USED"), asked=["o1"], complete=False)
    counted = wx.state_breakdown(store.scan("user_coupons", engine=engine), by="stock_id")
    rows = nw.from_native(counted).lazy().collect("pyarrow").to_native().to_pylist()
    assert {row["coupon_state"]: row["count"] for row in rows if row["count"]} == {"EFFECTIVE": 1, "USED": 1}


def test_dtypes_are_loads_own(store):
    merge(store, 1, coupon("A"), asked=["o1"])
    arrow = ENTITIES["user_coupons"].arrow
    assert store.scan("user_coupons", engine="pyarrow").schema.equals(arrow)
    lazy = store.scan("user_coupons", engine="polars").collect_schema()
    assert lazy["fetched_at"] == pl.Datetime("us", "Asia/Shanghai")
    assert lazy["coupon_tag_info_coupon_tag_list"] == pl.List(pl.String)
    types = dict(zip(arrow.names, map(str, store.scan("user_coupons").types), strict=True))
    assert types["fetched_at"] == "TIMESTAMP WITH TIME ZONE"
    assert types["fetched_day"] == "DATE"


def test_the_current_state_is_one_scan_that_reads_what_is_asked(store):
    store.save("user_coupons", coupons(*[coupon(f"{n:05}", when=at(1)) for n in range(200)]))
    found = store.scan("user_coupons").filter("coupon_state = 'EFFECTIVE'").aggregate("stock_id, count(*)")
    plan = found.explain()
    assert plan.count("Function:") == 1
    for word in ("WINDOW", "JOIN", "valid_end_time", "coupon_code"):
        assert word not in plan
    plan = (
        store.scan("user_coupons", engine="polars")
        .filter(pl.col("coupon_state") == "USED")
        .select("stock_id")
        .explain()
    )
    assert "PROJECT 2/" in plan or "PROJECT 1/" in plan
    assert "SELECTION" in plan


def test_a_day_is_a_beijing_day(store):
    merge(store, 2, coupon("A", when=at(2, 0)), asked=["o1"])
    scanned = store.scan("user_coupons")
    assert len(scanned.filter("CAST(fetched_at AS DATE) = DATE '2026-11-02'").fetchall()) == 1


@pytest.mark.parametrize("engine", ["duckdb", "polars", "pyarrow"])
@pytest.mark.parametrize("entity", [*ENTITIES, "user_coupon_events"])
def test_an_empty_store_has_every_column(store, entity, engine):
    scanned = nw.from_native(store.scan(entity, engine=engine)).lazy()
    assert scanned.collect_schema().names() == store.load(entity).columns.tolist()
    assert scanned.collect("pyarrow").shape[0] == 0


def test_refuses_an_engine_there_is_not(store, monkeypatch):
    with pytest.raises(ValidationError, match="engine='dask': there are duckdb, polars, pyarrow, pyspark"):
        store.scan("stocks", engine="dask")
    with pytest.raises(ValidationError, match="session is Spark's"):
        store.scan("stocks", session=object())
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.partition(".")[0] in {"polars", "pyspark"}:
            raise ImportError(name)
        return real(name, *args, **kwargs)

    for name in [name for name in sys.modules if name.partition(".")[0] == "pyspark"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ValidationError, match="pip install polars"):
        store.scan("stocks", engine="polars")
    with pytest.raises(ValidationError, match="wxcoupon-analytics.spark"):
        store.scan("stocks", engine="pyspark")


@pytest.fixture(scope="module")
def session():
    from tests.spark import local_session

    return local_session()


@pytest.mark.slow
class TestSpark:
    @pytest.mark.parametrize("entity", ["stocks", "user_coupons"])
    def test_gives_what_load_gives(self, store, session, entity):
        store.save("stocks", stocks(stock("70", state="PAUSED", fetched_at=at(1, 0))), taken_at=at(1))
        store.save("stocks", stocks(stock("70", state="SENDING", fetched_at=at(2, 0))), taken_at=at(2))
        merge(store, 1, coupon("A", when=at(1, 0), **LISTS), coupon("B", who="o2"), asked=["o1", "o2"])
        merge(store, 2, coupon("A", "USED", when=at(2, 0), **LISTS), asked=["o1"], complete=False)
        for as_of in (None, "2026-11-01"):
            scanned = store.scan(entity, engine="pyspark", as_of=as_of, session=session)
            pd.testing.assert_frame_equal(as_frame(entity, scanned), store.load(entity, as_of=as_of))
            day = scanned.selectExpr("CAST(fetched_at AS DATE) = fetched_day AS same").distinct().collect()
            assert [row.same for row in day] == [True]

    def test_reads_no_more_columns_than_asked(self, store, session):
        merge(store, 1, coupon("A"), asked=["o1"])
        scanned = store.scan("user_coupons", engine="pyspark", session=session).filter("coupon_state = 'USED'")
        plan = scanned.select("stock_id")._jdf.queryExecution().toString()
        assert "ReadSchema: struct<stock_id:string,coupon_state:string>" in plan
        assert "EqualTo(coupon_state,USED)" in plan

    def test_says_what_spark_cannot_read(self, session):
        store = SnapshotStore("memory://test_scan/spark")
        merge(store, 1, coupon("A"), asked=["o1"])
        with pytest.raises(ValidationError, match="Spark cannot read memory://"):
            store.scan("user_coupons", engine="pyspark", session=session)
