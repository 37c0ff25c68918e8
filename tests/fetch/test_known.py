"""Whom snapshot and refresh ask: everyone who was heard of, and those of whom something can still change."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest

import wxcoupon_analytics as wx
from tests.fetch.shop import Shop
from wxcoupon_analytics.entities.schemas import frame_from_rows
from wxcoupon_analytics.fetch.spool import Spool
from wxcoupon_analytics.sandbox import Behaviour


@pytest.fixture
def store(tmp_path: Path) -> wx.SnapshotStore:
    return wx.SnapshotStore(tmp_path / "data")


def asked(shop: Shop, since: int) -> set[str]:
    return {path.partition("/")[0] for path in shop.pages(since)}


# everyone ---------------------------------------------------------------------------------------------------------


def test_a_snapshot_asks_everyone_the_store_has_heard_of(shop: Shop, store):
    shop.give({"holds": 3})
    fetch, appid = shop.client.fetch, shop.box.appid
    fetch.user_coupons(["holds", "holds-none"], appid=appid, store=store)
    shop.client.actions.send_coupon("sent-to", **shop.ids)
    event = {"event_id": "1", "openid": "in-an-event", "appid": appid, "fetched_at": shop.box.now()}
    store.save("user_coupon_events", frame_from_rows("user_coupon_events", [event]))
    before = len(shop.box.requests())
    saved = fetch.snapshot(store, product_coupon_ids=[shop.product_coupon_id]).set_index("entity")
    assert asked(shop, before) == {"holds", "holds-none", "sent-to", "in-an-event"}
    assert saved["rows"].to_dict() == {"product_coupons": 1, "stocks": 1, "user_coupons": 4}
    assert saved["complete"].all()
    assert set(store.openids(appid=appid)["openid"]) == asked(shop, before)
    shop.client.close()
    with shop.box.client() as other:
        other.fetch.snapshot(store)
    assert asked(shop, before) == {"holds", "holds-none", "sent-to", "in-an-event"}, "known without the journal too"


def test_only_users_of_the_appid_that_was_named(shop: Shop, store):
    store.add_openids(["of-another"], appid="wx-other")
    store.add_openids(["ours"], appid=shop.box.appid)
    before = len(shop.box.requests())
    shop.client.fetch.snapshot(store, product_coupon_ids=[shop.product_coupon_id], appid=shop.box.appid)
    assert asked(shop, before) == {"ours"}


def test_a_snapshot_of_part_of_the_users_says_that_it_is_not_complete(shop: Shop, store):
    shop.give({"oA": 1})
    foreign = shop.box.foreign_openids()[0]
    ask = {"product_coupon_ids": [shop.product_coupon_id], "openids": ["oA", foreign], "appid": shop.box.appid}
    with pytest.raises(wx.ApiError):
        shop.client.fetch.snapshot(store, **ask)
    saved = shop.client.fetch.snapshot(store, on_error="collect", **ask).set_index("entity")
    assert saved["complete"].to_dict() == {"product_coupons": True, "stocks": True, "user_coupons": False}
    assert saved.dtypes.astype(str).to_dict() == {
        "rows": "Int64",
        "taken_at": "datetime64[us, Asia/Shanghai]",
        "path": "string",
        "complete": "boolean",
    }
    assert store.load("user_coupons")["openid"].tolist() == ["oA"]


def test_only_the_product_coupons_of_the_brand_that_asks(shop: Shop, store):
    ours = shop.client.fetch.product_coupons([shop.product_coupon_id])
    others = ours.assign(brand_id="10000999", product_coupon_id="2000000013")
    store.save("product_coupons", pd.concat([ours, others], ignore_index=True))
    saved = shop.client.fetch.snapshot(store, openids=["oA"], appid=shop.box.appid).set_index("entity")
    assert saved["rows"].to_dict() == {"product_coupons": 1, "stocks": 1, "user_coupons": 0}


def test_a_store_that_knows_of_no_product_coupons_says_which_argument_names_them(shop: Shop, store):
    with pytest.raises(wx.ValidationError, match=r"name them \(product_coupon_ids=\)$"):
        shop.client.fetch.snapshot(store)


def test_a_store_of_pseudonyms_cannot_say_whom_to_ask(shop: Shop, tmp_path):
    store = wx.SnapshotStore(tmp_path, pseudonymize=b"a key of thirty-two bytes at least")
    with pytest.raises(wx.ValidationError, match="pass openids="):
        shop.client.fetch.snapshot(store, product_coupon_ids=[shop.product_coupon_id])
    with pytest.raises(wx.ValidationError, match="pass openids="):
        shop.client.fetch.refresh(store, appid=shop.box.appid)


# those of whom something can change -------------------------------------------------------------------------------


def stored(store: wx.SnapshotStore, shop: Shop, coupons: dict[str, dict[str, object]]) -> None:
    """Have the store know one coupon of each user."""
    rows = [
        {
            "brand_id": shop.box.brand_id,
            "stock_id": shop.stock_id,
            "product_coupon_id": shop.product_coupon_id,
            "coupon_code": f"code-{openid}",
            "openid": openid,
            "appid": shop.box.appid,
            "fetched_at": shop.box.now(),
            **fields,
        }
        for openid, fields in coupons.items()
    ]
    store.save("user_coupons", frame_from_rows("user_coupons", rows))


def test_refresh_asks_by_the_state_last_seen(shop: Shop, store):
    states = ["CONFIRMING", "PENDING", "EFFECTIVE", "USED", "EXPIRED", "DELETED", "DEACTIVATED", "NEVER_HEARD_OF", None]
    stored(store, shop, {f"o-{state}": {"coupon_state": state} for state in states})
    store.add_openids(["holds-none"], appid=shop.box.appid)
    before = len(shop.box.requests())
    fetched = shop.client.fetch.refresh(store, appid=shop.box.appid)
    final = {"o-EXPIRED", "o-DELETED", "o-DEACTIVATED"}
    assert asked(shop, before) == {f"o-{state}" for state in states} - final
    assert fetched.users == 6
    before = len(shop.box.requests())
    shop.client.fetch.refresh(store, appid=shop.box.appid, openids=["o-USED", "o-EXPIRED", "stranger"])
    assert asked(shop, before) == {"o-USED"}
    before = len(shop.box.requests())
    assert shop.client.fetch.refresh(store, appid="wx-other").users == 0
    assert asked(shop, before) == set()


@pytest.mark.parametrize(
    ("returns_within", "whom"),
    [
        (timedelta(days=365), {"single now", "bundle", "until", "unknown"}),
        (timedelta(hours=1), {"single now", "unknown"}),
        (None, {"single now", "single old", "bundle", "until", "until old", "unknown"}),
    ],
    ids=["a year", "an hour", "no limit"],
)
def test_a_used_coupon_can_be_returned_for_so_long(returns_within, whom, shop: Shop, store):
    now = shop.box.now()
    day, year = now - timedelta(days=1), now - timedelta(days=366)
    used = {
        "single now": {"single_usage_detail_use_time": now, "valid_end_time": year},
        "single old": {"single_usage_detail_use_time": year, "valid_end_time": now},
        "bundle": {"progressive_bundle_usage_detail_use_time": day},
        "until": {"valid_end_time": day},
        "until old": {"valid_end_time": year},
        "unknown": {},
    }
    stored(store, shop, {openid: {"coupon_state": "USED", **fields} for openid, fields in used.items()})
    before = len(shop.box.requests())
    fetched = shop.client.fetch.refresh(store, appid=shop.box.appid, returns_within=returns_within)
    assert {openid.replace("%20", " ") for openid in asked(shop, before)} == whom
    assert fetched.users == len(whom)


def test_refresh_finds_every_change_that_a_full_fetch_finds(tmp_path):
    """Two days of a coffee chain's life: uses, returns, expiries, deletions, confirmations."""
    with wx.Sandbox(seed=7, behaviour=Behaviour(returned=0.3)) as box, box.client() as client:
        store, some = wx.SnapshotStore(tmp_path), box.openids()[:250]
        client.fetch.user_coupons(some, appid=box.appid, store=store)
        before = store.load("user_coupons")
        box.advance(days=2)
        fetched = client.fetch.refresh(store, appid=box.appid)
        assert fetched.users < 250
        truth = box.truth("user_coupons")
        after = store.load("user_coupons").merge(before, on=["stock_id", "coupon_code"], suffixes=("", "_before"))
        full = after.merge(truth, on=["stock_id", "coupon_code"], suffixes=("", "_truth"))
        pd.testing.assert_series_equal(full["coupon_state"], full["coupon_state_truth"], check_names=False)
        changes = full[full["coupon_state"] != full["coupon_state_before"]]
        returned = (changes["coupon_state_before"] == "USED") & (changes["coupon_state"] == "EFFECTIVE")
        assert returned.any()
        assert len(changes) == len(full) - (full["coupon_state_before"] == full["coupon_state_truth"]).sum()


def test_a_refresh_that_was_cut_short_goes_on(shop: Shop, store, monkeypatch):
    monkeypatch.setattr("wxcoupon_analytics.fetch.line.IN_FLIGHT", 1)
    openids = [f"o{number:02d}" for number in range(30)]
    shop.give(dict.fromkeys(openids, 1))
    fetch, appid = shop.client.fetch, shop.box.appid
    fetch.user_coupons(openids, appid=appid, store=store)
    for openid, code in shop.held(*openids)[["openid", "coupon_code"]].itertuples(index=False):
        body = {**shop.ids, "out_request_no": f"deactivate-{openid}", "deactivate_reason": "test"}
        shop.client.api.deactivate_coupon(openid, code, body)
    shop.box.advance(minutes=1)
    shop.box.faults("status", code=404, signed=True, path="/o25/", times=1)
    before = len(shop.box.requests())
    with pytest.raises(wx.NotFoundError):
        fetch.refresh(store, appid=appid)
    # What was stored meanwhile is final and would not be asked for; it is the same refresh all the same.
    fetched = fetch.refresh(store, appid=appid)
    assert (fetched.resumed, fetched.users, fetched.changed) == (True, 30, 30)
    assert set(shop.pages(before).values()) == {1}
    assert fetch.refresh(store, appid=appid).users == 0


def test_a_refresh_under_pseudonyms_killed_once_its_part_was_in_the_store_goes_on(shop: Shop, tmp_path, monkeypatch):
    store = wx.SnapshotStore(tmp_path, pseudonymize=b"a key of thirty-two bytes at least")
    users = {"oA": 1, "oB": 1}
    shop.give(users)
    fetch, appid = shop.client.fetch, shop.box.appid
    fetch.user_coupons(users, appid=appid, store=store)
    for openid, code in shop.held(*users)[["openid", "coupon_code"]].itertuples(index=False):
        body = {**shop.ids, "out_request_no": f"deactivate-{openid}", "deactivate_reason": "test"}
        shop.client.api.deactivate_coupon(openid, code, body)
    shop.box.advance(minutes=1)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as until_it_is_stored:
        until_it_is_stored.setattr(Spool, "stored", killed)
        with pytest.raises(KeyboardInterrupt):
            fetch.refresh(store, appid=appid, openids=users)
    # By what the store holds now, nothing of these users can change any more, and nobody would be asked.
    fetched = fetch.refresh(store, appid=appid, openids=users)
    assert (fetched.resumed, fetched.users, fetched.changed) == (True, 2, 2)
