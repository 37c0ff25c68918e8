"""Stores of other versions: older ones are read forward, a newer one says so."""

from __future__ import annotations

import datetime as dt

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tests.snapshots.frames import at, coupon, coupons, merge, seen, states, stock, stocks
from wxcoupon_analytics.entities.schemas import TIME, to_table
from wxcoupon_analytics.errors import SnapshotError
from wxcoupon_analytics.snapshots import SnapshotStore, files


def write_version_1(root, entity, frame, taken_at, *, version="1", rand="5f0c9a1e", change=lambda table: table):
    """Write a snapshot as version 1 of the store did."""
    table = to_table(entity, frame)
    table = change(table.add_column(0, "taken_at", pa.repeat(pa.scalar(taken_at, TIME), len(table))))
    said = {"entity": entity, "schema_version": version, "taken_at": taken_at.isoformat(), "complete": "true"}
    folder = root / entity / f"month={taken_at:%Y-%m}"
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{taken_at.astimezone(dt.UTC):%Y%m%dT%H%M%S%fZ}-18a3c5f20d4b9e10-{rand}.parquet"
    described = table.replace_schema_metadata({f"wxcoupon.{key}": value for key, value in said.items()})
    pq.write_table(described, folder / name, compression="zstd")
    (root / ".staging").mkdir(exist_ok=True)


@pytest.fixture
def old(tmp_path):
    """A store of version 1: full snapshots of everything."""
    for day, state in ((1, "EFFECTIVE"), (2, "USED")):
        write_version_1(tmp_path, "stocks", stocks(stock(remark=f"{day}")), at(day))
        frame = coupons(coupon("A", state, when=at(day)), coupon("B", who="o2", when=at(day)))
        write_version_1(tmp_path, "user_coupons", frame, at(day))
    return SnapshotStore(tmp_path)


def test_a_store_of_version_1_reads_as_it_is(old):
    assert old.load("stocks")["remark"].tolist() == ["2"]
    assert states(old) == {"A": "USED", "B": "EFFECTIVE"}
    assert states(old, as_of="2026-11-01") == {"A": "EFFECTIVE", "B": "EFFECTIVE"}
    assert seen(old) == {"A": 2, "B": 2}
    assert old.snapshots("user_coupons")["schema_version"].tolist() == [1, 1]
    assert len(old.history("user_coupons")) == 4
    assert sorted(old.openids()["openid"]) == ["o1", "o2"]
    assert old.scan("user_coupons").shape == (2, len(old.load("user_coupons").columns))


def test_and_goes_on_from_there(old):
    merged = merge(old, 3, coupon("A", "USED"), asked=["o1", "o2"])
    assert (merged.new, merged.unchanged, merged.vanished["coupon_code"].to_pylist()) == (0, 1, ["B"])
    assert states(old) == {"A": "USED", "B": None}
    assert states(old, as_of="2026-11-02") == {"A": "USED", "B": "EFFECTIVE"}
    assert sorted(old.openids()["openid"]) == ["o1", "o2"]
    old.save("stocks", stocks(stock(remark="12")), taken_at=at(1, month=12))
    assert old.history("stocks")["remark"].tolist() == ["1", "2", "12"]
    assert old.snapshots("stocks")["schema_version"].tolist() == [1, 1, 2]


def test_openids_of_an_older_store_are_known_after_the_first_new_one(old):
    old.add_openids(["o9"], appid="wx1")
    assert sorted(old.openids()["openid"]) == ["o1", "o2", "o9"]


def test_a_column_that_was_renamed_and_retyped_is_read_forward(tmp_path, monkeypatch):
    """Version 1 of this test's world said ``note`` for ``remark``, and counted in text."""

    def before(table):
        table = table.rename_columns(["note" if name == "remark" else name for name in table.column_names])
        place = table.column_names.index("stock_send_rule_max_count")
        texts = pc.binary_join_element_wise(table["stock_send_rule_max_count"].cast(pa.string()), " pieces", "")
        return table.set_column(place, "stock_send_rule_max_count", texts).drop_columns(["extra"])

    def step(table):
        table = table.rename_columns(["remark" if name == "note" else name for name in table.column_names])
        place = table.column_names.index("stock_send_rule_max_count")
        numbers = pc.replace_substring(table["stock_send_rule_max_count"], " pieces", "").cast(pa.int64())
        return table.set_column(place, "stock_send_rule_max_count", numbers)

    frame = stocks(stock("70", remark="kept", stock_send_rule_max_count=5))
    write_version_1(tmp_path, "stocks", frame, at(1), change=before)
    store = SnapshotStore(tmp_path)
    with pytest.raises(SnapshotError, match="stock_send_rule_max_count|pieces"):
        store.load("stocks")
    monkeypatch.setitem(files.STEPS, ("stocks", 1), step)
    store.save("stocks", stocks(stock("71", remark="new")), taken_at=at(1, month=12))
    loaded = store.load("stocks")
    assert loaded["remark"].tolist() == ["kept", "new"]
    assert loaded["stock_send_rule_max_count"].fillna(0).tolist() == [5, 0]
    assert store.history("stocks")["remark"].tolist() == ["kept", "new"]


@pytest.mark.parametrize("call", ["load", "history", "snapshots"])
@pytest.mark.parametrize("entity", ["stocks", "user_coupons"])
def test_a_newer_version_says_to_upgrade(tmp_path, entity, call):
    frame = stocks(stock()) if entity == "stocks" else coupons(coupon("A", when=at(1)))
    write_version_1(tmp_path, entity, frame, at(1), version="3")
    with pytest.raises(SnapshotError, match="newer version.*upgrade"):
        getattr(SnapshotStore(tmp_path), call)(entity)
