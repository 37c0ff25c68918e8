"""A long fetch: everything arrives once, whatever happens on the way."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import threading
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import wxcoupon_analytics as wx
from tests.fetch.shop import Shop
from wxcoupon_analytics.fetch import into_store, outcome
from wxcoupon_analytics.fetch.spool import Spool
from wxcoupon_analytics.progress import bar
from wxcoupon_analytics.wire.exchange import Exchange

COUPONS = {"oA": 5, "oB": 0, "oC": 1, "oD": 2, "oE": 7, "oF": 4, "oG": 3}
KEY = ["stock_id", "coupon_code"]


@pytest.fixture
def store(tmp_path: Path) -> wx.SnapshotStore:
    return wx.SnapshotStore(tmp_path / "data")


def spools(store: wx.SnapshotStore) -> list[Path]:
    return [folder for folder in store.scratch("any").parent.glob("*") if any(folder.glob("spool*"))]


def check(store: wx.SnapshotStore, shop: Shop, *openids: str) -> None:
    """The store holds what the books hold of these users, and nobody else's."""
    left, right = (
        frame.sort_values(KEY, ignore_index=True) for frame in (store.load("user_coupons"), shop.held(*openids))
    )
    pd.testing.assert_frame_equal(left, right)


@pytest.mark.parametrize("kind", [iter, pd.Series])
def test_what_the_books_say_is_what_the_store_holds_part_by_part(kind, shop: Shop, store, monkeypatch):
    monkeypatch.setattr(into_store, "PART_COUPONS", 2)
    shop.give(COUPONS)
    fetched = shop.client.fetch.user_coupons(kind([*COUPONS, "oA"]), appid=shop.box.appid, store=store)
    check(store, shop, *COUPONS)
    assert (fetched.users, fetched.coupons, fetched.new) == (len(COUPONS), 22, 22)
    assert fetched.complete
    assert not fetched.resumed
    pages = shop.pages()
    assert set(pages.values()) == {1}
    assert len(pd.read_parquet(fetched.path)) == 22, "also when its last part had nothing new"
    assert fetched.requests == len(pages) == sum(max(1, -(-count // 2)) for count in COUPONS.values())
    assert spools(store) == []


def test_nobody_asked_is_a_whole_fetch_of_nothing(shop: Shop, store):
    fetched = shop.client.fetch.user_coupons([], appid=shop.box.appid, store=store)
    assert (fetched.users, fetched.coupons, fetched.complete) == (0, 0, True)
    assert store.load("user_coupons").empty


def test_asked_again_nothing_is_new(shop: Shop, store):
    shop.give(COUPONS)
    fetch = shop.client.fetch
    fetch.user_coupons(COUPONS, appid=shop.box.appid, store=store)
    shop.give({"oB": 1, "oC": 2})
    coupon = shop.held("oD").iloc[0]
    shop.client.api.confirm_coupon("oD", coupon["coupon_code"], {**shop.ids, "out_request_no": "confirm-1"})
    shop.box.advance(minutes=5)
    again = fetch.user_coupons(list(COUPONS), appid=shop.box.appid, store=store)
    assert (again.new, again.changed, again.unchanged, again.vanished) == (2, 1, 21, 0)
    check(store, shop, *COUPONS)


# going on ---------------------------------------------------------------------------------------------------------


def test_after_an_error_the_same_call_goes_on_at_the_next_page(shop: Shop, store, monkeypatch):
    monkeypatch.setattr("wxcoupon_analytics.fetch.line.IN_FLIGHT", 1)
    shop.give(COUPONS)
    shop.box.faults("status", code=404, signed=True, path="oE/.*page_token", times=1)
    with pytest.raises(wx.NotFoundError) as caught:
        shop.client.fetch.user_coupons(list(COUPONS), appid=shop.box.appid, store=store)
    assert "4 of 7 users are answered, and that is kept" in caught.value.__notes__[0]
    assert len(spools(store)) == 1
    fetched = shop.client.fetch.user_coupons(list(COUPONS)[::-1], appid=shop.box.appid, store=store)
    assert fetched.resumed
    assert (fetched.users, fetched.coupons, fetched.new) == (7, 22, 22)
    check(store, shop, *COUPONS)
    assert set(shop.pages().values()) == {1}, "no page was asked for twice"


def test_a_page_token_that_is_no_longer_taken_sends_only_that_user_to_the_start(shop: Shop, store, monkeypatch):
    monkeypatch.setattr("wxcoupon_analytics.fetch.line.IN_FLIGHT", 1)
    shop.give(COUPONS)
    shop.box.faults("status", code=404, signed=True, path="oE/.*page_token", times=1)
    with pytest.raises(wx.NotFoundError):
        shop.client.fetch.user_coupons(list(COUPONS), appid=shop.box.appid, store=store)
    shop.box.faults("status", code=400, signed=True, path="oE/.*page_token", times=1)
    fetched = shop.client.fetch.user_coupons(list(COUPONS), appid=shop.box.appid, store=store)
    check(store, shop, *COUPONS)
    twice = [path for path, times in shop.pages().items() if times > 1]
    assert len(twice) == 1
    assert re.match("oE/(?!.*page_token)", twice[0])
    assert fetched.coupons == 22


@pytest.mark.parametrize("anew", ["resume=False", "too old", "other filter", "other users", "other appid"])
def test_another_call_or_one_too_late_begins_anew(anew: str, shop: Shop, store):
    shop.give(COUPONS)
    shop.box.faults("status", code=404, signed=True, path="oG/", times=1)
    with pytest.raises(wx.NotFoundError):
        shop.client.fetch.user_coupons(COUPONS, appid=shop.box.appid, store=store)
    (left,) = spools(store)
    users, options = list(COUPONS), {"appid": shop.box.appid}
    if anew == "resume=False":
        options["resume"] = False
    elif anew == "too old":
        shop.box.advance(days=1, seconds=1)
    elif anew == "other filter":
        options["stock_id"] = shop.stock_id
    elif anew == "other users":
        users.remove("oB")
    else:
        with pytest.raises(wx.WxCouponError, match="appid"):
            shop.client.fetch.user_coupons(users, appid="wx-other", store=store)
        assert len(spools(store)) == 2
        return
    fetched = shop.client.fetch.user_coupons(users, store=store, **options)
    assert not fetched.resumed
    assert fetched.coupons == 22
    assert bool(fetched.notes) == (anew in ("resume=False", "too old"))
    assert spools(store) == ([left] if anew.startswith("other") else [])
    check(store, shop, *COUPONS)


def test_the_stop_button_leaves_what_can_be_gone_on_with(shop: Shop, store, monkeypatch):
    openids = [f"o{number:03d}" for number in range(60)]
    shop.give(dict.fromkeys(openids[:20], 3))
    shop.box.faults("stall", seconds=30, path="o05", times=None)
    before = threading.active_count()
    kept: list[str] = []
    keep = Spool.keep

    def press_when_only_the_stalled_are_left(self, who, *page, **said):
        keep(self, who, *page, **said)
        kept.append(who)
        if len(kept) == 20 * 2 + 30:  # two pages each, or an empty one
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Spool, "keep", press_when_only_the_stalled_are_left)
    with pytest.raises(KeyboardInterrupt) as caught:
        shop.client.fetch.user_coupons(openids, appid=shop.box.appid, store=store)
    assert "50 of 60 users are answered, and that is kept: until 2026-11-02 23:" in caught.value.__notes__[0]
    assert threading.active_count() <= before + 1
    shop.box.faults(None)
    fetched = shop.client.fetch.user_coupons(openids, appid=shop.box.appid, store=store)
    assert (fetched.resumed, fetched.users, fetched.coupons) == (True, 60, 60)
    check(store, shop, *openids)
    pages = shop.pages()
    assert {path for path, times in pages.items() if times > 1} <= {path for path in pages if "o05" in path}


def test_two_at_once_are_one_and_a_refusal(shop: Shop, store):
    shop.box.faults("stall", seconds=2, path="oA/", times=1)
    outcomes: list[object] = []

    def run() -> None:
        with shop.box.client() as client:
            outcomes.append(client.fetch.user_coupons(["oA", "oB"], appid=shop.box.appid, store=store))

    first = threading.Thread(target=run)
    first.start()
    while first.is_alive() and not any((folder / "owner").exists() for folder in spools(store)):
        time.sleep(0.01)
    with pytest.raises(wx.SnapshotError, match="running already"):
        shop.client.fetch.user_coupons(["oA", "oB"], appid=shop.box.appid, store=store)
    first.join()
    assert [fetched.users for fetched in outcomes] == [2]


def test_a_store_that_cannot_be_written_ends_the_fetch_and_loses_nothing(shop: Shop, store, monkeypatch):
    shop.give(COUPONS)
    merge = type(store).merge

    def full(self, *args, **kwargs):
        raise wx.SnapshotError("no space left on device")

    monkeypatch.setattr(type(store), "merge", full)
    with pytest.raises(wx.SnapshotError, match="no space left"):
        shop.client.fetch.user_coupons(COUPONS, appid=shop.box.appid, store=store)
    monkeypatch.setattr(type(store), "merge", merge)
    fetched = shop.client.fetch.user_coupons(COUPONS, appid=shop.box.appid, store=store)
    assert (fetched.resumed, fetched.new) == (True, 22)
    check(store, shop, *COUPONS)
    assert set(shop.pages().values()) == {1}


def test_what_waited_for_a_run_to_go_on_does_not_undo_what_was_learnt_meanwhile(shop: Shop, store, monkeypatch):
    monkeypatch.setattr("wxcoupon_analytics.fetch.line.IN_FLIGHT", 1)
    shop.give({"oA": 2, "oB": 0, "oC": 1})
    fetch, appid, began = shop.client.fetch, shop.box.appid, shop.box.now()
    shop.box.faults("status", code=404, signed=True, path="/oC/", times=1)
    with pytest.raises(wx.NotFoundError):
        fetch.user_coupons(["oA", "oB", "oC"], appid=appid, store=store)
    shop.box.advance(hours=2)
    code = shop.held("oA")["coupon_code"].iloc[0]
    shop.client.api.confirm_coupon("oA", code, {**shop.ids, "out_request_no": "confirm-1"})
    shop.give({"oB": 1})
    fetch.user_coupons(["oA", "oB"], appid=appid, store=store)
    shop.box.advance(hours=2)
    fetched = fetch.user_coupons(["oA", "oB", "oC"], appid=appid, store=store)
    assert (fetched.resumed, fetched.users, fetched.coupons, fetched.vanished) == (True, 3, 3, 0)
    known = store.load("user_coupons").set_index("coupon_code")
    assert known["coupon_state"].drop(code).unique().tolist() == ["CONFIRMING"]
    assert known.loc[code, "coupon_state"] == "EFFECTIVE"
    assert known.groupby("openid")["fetched_at"].unique().map(list).to_dict() == {
        "oA": [began + timedelta(hours=2)],
        "oB": [began + timedelta(hours=2)],
        "oC": [began + timedelta(hours=4)],
    }
    as_of_then = store.load("user_coupons", as_of=began + timedelta(hours=1))
    assert as_of_then["coupon_state"].tolist() == ["CONFIRMING", "CONFIRMING"]
    changes = wx.state_changes(store.history("user_coupons"))
    assert changes[["from_state", "to_state"]].to_numpy().tolist() == [["CONFIRMING", "EFFECTIVE"]]


# failures ---------------------------------------------------------------------------------------------------------


def test_in_a_tolerant_fetch_those_who_fail_are_told_and_the_others_stored(shop: Shop, store):
    shop.give(COUPONS)
    shop.box.faults("status", code=404, signed=True, path="oE/.*page_token", times=1)
    shop.box.faults("status", code=500, path="oG/", times=None)
    shop.box.faults("reset", path="oC/", times=None)
    foreign = shop.box.foreign_openids()[0]
    fetched = shop.client.fetch.user_coupons([*COUPONS, foreign], appid=shop.box.appid, store=store, on_error="collect")
    failures = fetched.failures.set_index("openid")
    assert sorted(failures.index) == sorted(["oE", "oG", "oC", foreign])
    assert failures["error"].to_dict() == {
        "oE": "NotFoundError",
        "oG": "ServerError",
        "oC": "TransportError",
        foreign: "ApiError",
    }
    assert failures.loc[foreign, "numeric_code"] == 268578532
    assert failures.loc[foreign, "request_id"].endswith("-268578532")
    assert failures.loc["oG", "status"] == 500
    assert failures.loc["oC", ["status", "code", "request_id"]].isna().all()
    assert str(failures["status"].dtype) == "Int64"
    assert not fetched.complete
    assert fetched.users == 4
    check(store, shop, "oA", "oB", "oD", "oF")
    assert spools(store) == [], "it has ended: who failed is in the frame"


def test_in_a_tolerant_fetch_without_a_store_the_failures_are_a_second_frame(shop: Shop):
    shop.give({"oA": 2})
    foreign = shop.box.foreign_openids()[0]
    coupons, failures = shop.client.fetch.user_coupons(["oA", foreign], appid=shop.box.appid, on_error="collect")
    assert coupons["openid"].tolist() == ["oA", "oA"]
    assert failures["openid"].tolist() == [foreign]
    _, none = shop.client.fetch.user_coupons(["oA"], appid=shop.box.appid, on_error="collect")
    assert none.empty
    assert none.dtypes.equals(failures.dtypes)


@pytest.mark.parametrize("into", ["store", "frame"])
@pytest.mark.parametrize(
    ("fault", "options", "error"),
    [
        ("tamper_body", {}, wx.VerificationError),
        ("status", {"code": 401, "signed": True}, wx.AuthenticationError),
        ("status", {"code": 403, "signed": True}, wx.ForbiddenError),
        (None, {"appid": "wx-not-bound"}, wx.ApiError),
    ],
)
def test_what_is_about_everyone_ends_a_tolerant_fetch_too(into, fault, options, error, shop: Shop, store):
    appid = options.get("appid", shop.box.appid)
    if fault:
        shop.box.faults(fault, path="oA/", times=None, **options)
    with pytest.raises(error):
        shop.client.fetch.user_coupons(
            ["oB", "oA"], appid=appid, on_error="collect", store=store if into == "store" else None
        )


def test_an_outage_is_not_everyones_failure(shop: Shop, store, monkeypatch):
    monkeypatch.setattr(outcome, "OUTAGE", 20)
    openids = [f"o{number:03d}" for number in range(100)]
    shop.box.faults("status", code=502, path="o0[3-9]", times=None)
    with pytest.raises(wx.ServerError) as caught:
        shop.client.fetch.user_coupons(openids, appid=shop.box.appid, store=store, on_error="collect")
    assert "that is kept" in caught.value.__notes__[0]
    with pytest.raises(wx.ServerError):
        shop.client.fetch.user_coupons(openids, appid=shop.box.appid, on_error="collect")
    shop.box.faults(None)
    fetched = shop.client.fetch.user_coupons(openids, appid=shop.box.appid, store=store, on_error="collect")
    assert fetched.resumed
    assert fetched.complete
    assert fetched.users == 100


# what the answers lack --------------------------------------------------------------------------------------------


def test_a_coupon_that_left_the_state_asked_for_is_asked_for_by_itself(shop: Shop, store):
    shop.give(COUPONS)
    fetch, appid = shop.client.fetch, shop.box.appid
    fetch.user_coupons(COUPONS, appid=appid, store=store)
    confirmed = shop.held("oA", "oD").groupby("openid").first()
    for openid, code in confirmed["coupon_code"].items():
        shop.client.api.confirm_coupon(openid, code, {**shop.ids, "out_request_no": f"confirm-{openid}"})
    shop.box.advance(minutes=1)
    before = len(shop.box.requests())
    fetched = fetch.user_coupons(COUPONS, appid=appid, store=store, coupon_state="CONFIRMING")
    assert (fetched.coupons, fetched.vanished, fetched.found) == (20, 2, 2)
    asked_alone = [r["path"] for r in shop.box.requests()[before:] if "/coupons/" in r["path"]]
    assert len(asked_alone) == 2
    states = store.load("user_coupons").set_index("coupon_code")["coupon_state"]
    assert Counter(states) == {"CONFIRMING": 20, "EFFECTIVE": 2}
    assert set(states[states == "EFFECTIVE"].index) == set(confirmed["coupon_code"])


def test_one_that_is_nowhere_has_no_state_from_then_on(shop: Shop, store):
    shop.give({"oA": 3})
    fetch, appid = shop.client.fetch, shop.box.appid
    fetch.user_coupons(["oA"], appid=appid, store=store)
    codes = shop.held("oA")["coupon_code"].tolist()
    shop.client.api.confirm_coupon("oA", codes[0], {**shop.ids, "out_request_no": "confirm-1"})
    shop.box.advance(minutes=1)
    shop.box.faults("status", code=404, signed=True, path=f"/coupons/{codes[0]}", times=1)
    fetched = fetch.user_coupons(["oA"], appid=appid, store=store, coupon_state="CONFIRMING")
    assert (fetched.vanished, fetched.found) == (1, 0)
    states = store.load("user_coupons").set_index("coupon_code")["coupon_state"]
    assert states[codes].fillna("none").tolist() == ["none", "CONFIRMING", "CONFIRMING"]
    assert fetch.refresh(store, appid=appid).users == 1
    check(store, shop, "oA")


def test_the_search_for_what_vanished_goes_on_too(shop: Shop, store, monkeypatch):
    monkeypatch.setattr("wxcoupon_analytics.fetch.line.IN_FLIGHT", 1)
    shop.give(COUPONS)
    fetch, appid = shop.client.fetch, shop.box.appid
    fetch.user_coupons(COUPONS, appid=appid, store=store)
    for openid, code in shop.held(*COUPONS)[["openid", "coupon_code"]].itertuples(index=False):
        shop.client.api.confirm_coupon(openid, code, {**shop.ids, "out_request_no": f"confirm-{code}"})
    last = shop.held("oG")["coupon_code"].iloc[0]
    shop.box.faults("status", code=403, signed=True, path=f"/coupons/{last}", times=1)
    shop.box.advance(minutes=1)
    ask = {"appid": appid, "store": store, "coupon_state": "CONFIRMING"}
    with pytest.raises(wx.ForbiddenError):
        fetch.user_coupons(COUPONS, **ask)
    fetched = fetch.user_coupons(COUPONS, **ask)
    assert (fetched.resumed, fetched.vanished, fetched.found) == (True, 22, 22)
    alone = Counter(
        r["path"] for r in shop.box.requests() if r["status"] == 200 and re.search("/coupons/[^/]*[?]", r["path"])
    )
    assert set(alone.values()) == {1}
    assert len(alone) == 22
    check(store, shop, *COUPONS)


# pseudonyms -------------------------------------------------------------------------------------------------------


def test_with_pseudonyms_no_openid_is_written_anywhere_and_it_goes_on_all_the_same(shop: Shop, tmp_path, monkeypatch):
    monkeypatch.setattr("wxcoupon_analytics.fetch.line.IN_FLIGHT", 1)
    users = {f"oh-394z-6CGkNoJrsDLTTUKi-{openid}": count for openid, count in COUPONS.items()}
    shop.give(users)
    store = wx.SnapshotStore(tmp_path / "data", pseudonymize=b"a key of thirty-two bytes at least")
    shop.box.faults("status", code=404, signed=True, path="oE/.*page_token", times=1)
    with pytest.raises(wx.NotFoundError):
        shop.client.fetch.user_coupons(users, appid=shop.box.appid, store=store)
    (left,) = spools(store)
    files = [file for file in (tmp_path / "data").rglob("*") if file.is_file()]
    assert any(file.parent == left for file in files)
    for file in files:
        assert b"oh-394z" not in file.read_bytes(), file
    fetched = shop.client.fetch.user_coupons(iter(users), appid=shop.box.appid, store=store)
    assert (fetched.resumed, fetched.users, fetched.new) == (True, 7, 22)
    assert set(shop.pages().values()) == {1}
    stored = store.load("user_coupons")
    assert Counter(stored["openid"]) == {store.pseudonym(user): count for user, count in users.items() if count}
    shop.box.advance(minutes=1)
    refreshed = shop.client.fetch.refresh(store, appid=shop.box.appid, openids=users)
    assert (refreshed.users, refreshed.unchanged) == (6, 22)


@pytest.mark.parametrize("key", [None, b"another key of thirty-two bytes"], ids=["no key", "another key"])
def test_into_a_store_of_pseudonyms_nothing_is_asked_without_their_key(key, shop: Shop, tmp_path):
    fetch, appid, who = shop.client.fetch, shop.box.appid, "oh-394z-6CGkNoJrsDLTTUKiAnp4"
    kept = wx.SnapshotStore(tmp_path, pseudonymize=b"a key of thirty-two bytes at least")
    shop.give({who: 1})
    fetch.user_coupons([who], appid=appid, store=kept)
    store = wx.SnapshotStore(tmp_path, pseudonymize=key)
    before = len(shop.box.requests())
    with pytest.raises(wx.SnapshotError, match="holds pseudonyms"):
        fetch.user_coupons([who], appid=appid, store=store)
    with pytest.raises(wx.SnapshotError, match="holds pseudonyms"):
        fetch.refresh(store, appid=appid, openids=None if key is None else [who])
    assert len(shop.box.requests()) == before
    assert spools(store) == []


def test_a_user_who_failed_half_way_was_asked_too(shop: Shop, store):
    shop.give(COUPONS)
    shop.box.faults("status", code=404, signed=True, path="oE/.*page_token", times=1)
    fetched = shop.client.fetch.user_coupons(COUPONS, appid=shop.box.appid, store=store, on_error="collect")
    assert (fetched.users, len(fetched.failures)) == (6, 1)
    answered = [r for r in shop.box.requests() if r["status"] == 200 and re.search("/coupons[?]", r["path"])]
    assert fetched.requests == len(answered)


def test_what_a_summary_says(shop: Shop, store):
    shop.give(COUPONS)
    foreign = shop.box.foreign_openids()[0]
    fetched = shop.client.fetch.user_coupons([*COUPONS, foreign], appid=shop.box.appid, store=store, on_error="collect")
    assert repr(fetched) == ("<Fetched 7 users, 22 coupons: 22 new, 0 changed, 0 unchanged; 14 requests; 1 failed>")
    assert foreign not in repr(fetched)
    assert fetched.started_at <= fetched.ended_at
    assert fetched.ended_at - fetched.started_at < timedelta(minutes=1)


def test_the_bar_shows_users_rate_and_time_left(shop: Shop, store, capsys):
    shop.give({"oA": 1})
    shop.client.fetch.user_coupons(["oA", "oB"], appid=shop.box.appid, store=store, show_progress=True)
    shown = capsys.readouterr().err
    assert re.search(r"users: +\d+%.*\d/2 \[\d\d:\d\d<", shown)


@pytest.fixture
def bars(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every bar that was shown."""
    shown: list[Any] = []

    def kept(*args: Any, **options: Any) -> Any:
        shown.append(bar(*args, **options))
        return shown[-1]

    monkeypatch.setattr(into_store, "bar", kept)
    return shown


def test_the_bar_of_a_refresh_that_goes_on_says_what_is_done_and_what_is_left(shop: Shop, store, bars, monkeypatch):
    monkeypatch.setattr("wxcoupon_analytics.fetch.line.IN_FLIGHT", 1)
    monkeypatch.setattr(into_store, "PART_USERS", 10)
    openids = [f"o{number:02d}" for number in range(30)]
    shop.give(dict.fromkeys(openids, 1))
    fetch, appid = shop.client.fetch, shop.box.appid
    fetch.user_coupons(openids, appid=appid, store=store)
    for openid, code in shop.held(*openids)[["openid", "coupon_code"]].itertuples(index=False):
        body = {**shop.ids, "out_request_no": f"deactivate-{openid}", "deactivate_reason": "test"}
        shop.client.api.deactivate_coupon(openid, code, body)
    shop.box.advance(minutes=1)
    in_order = store.load("user_coupons")["openid"].tolist()
    for stopped_at in (25, 27):
        shop.box.faults("status", code=404, signed=True, path=f"/{in_order[stopped_at]}/", times=1)
        with pytest.raises(wx.NotFoundError) as caught:
            fetch.refresh(store, appid=appid, show_progress=True)
        assert f"{stopped_at} of 30 users are answered" in caught.value.__notes__[0]
    # Of twenty, the store has meanwhile that nothing can change any more: they are not asked again, but they are done.
    fetch.refresh(store, appid=appid, show_progress=True)
    assert [(shown.initial, shown.n, shown.total) for shown in bars[1:]] == [(0, 25, 30), (25, 27, 30), (27, 30, 30)]


def test_the_bar_of_a_fetch_that_goes_on_ends_where_it_should_with_duplicates_too(shop: Shop, store, bars, monkeypatch):
    monkeypatch.setattr("wxcoupon_analytics.fetch.line.IN_FLIGHT", 1)
    openids = ["oA", "oA", "oB", "oC", "oA", "oD", "oD", "oE"]
    shop.box.faults("status", code=404, signed=True, path="oC/", times=1)
    for resumed in (False, True):
        with contextlib.nullcontext() if resumed else pytest.raises(wx.NotFoundError):
            shop.client.fetch.user_coupons(openids, appid=shop.box.appid, store=store, show_progress=True)
    assert [(shown.initial, shown.n, shown.total) for shown in bars] == [(0, 3, 8), (2, 6, 6)]


def test_coupons_that_are_looked_for_have_a_bar_too(shop: Shop, store, bars):
    shop.give({"oA": 3, "oB": 1})
    ask = {"appid": shop.box.appid, "store": store, "show_progress": True}
    shop.client.fetch.user_coupons(["oA", "oB"], **ask)
    for openid, code in shop.held("oA")[["openid", "coupon_code"]].itertuples(index=False):
        shop.client.api.confirm_coupon(openid, code, {**shop.ids, "out_request_no": f"confirm-{code}"})
    shop.box.advance(minutes=1)
    shop.client.fetch.user_coupons(["oA", "oB"], coupon_state="CONFIRMING", **ask)
    assert [(shown.desc, shown.n, shown.total) for shown in bars] == [
        ("users", 2, 2),
        ("users", 2, 2),
        ("missing coupons", 3, 3),
    ]


def test_a_list_that_moved_on_between_two_runs_is_read_from_the_start(shop: Shop, store, monkeypatch):
    monkeypatch.setattr("wxcoupon_analytics.fetch.line.IN_FLIGHT", 1)
    shop.give({"oA": 5})
    ask = {"appid": shop.box.appid, "store": store, "coupon_state": "CONFIRMING"}
    shop.box.faults("status", code=404, signed=True, path="oA/.*page_token", times=1)
    with pytest.raises(wx.NotFoundError):
        shop.client.fetch.user_coupons(["oA"], **ask)
    # The books number positions for good and never shift, so the last page claims an entry more than came, once.
    page = Exchange.page

    async def claims_more(self, question):
        answer = await page(self, question)
        if "page_token" in question.target and claims:
            answer.document["total_count"] += claims.pop()
        return answer

    claims = [1, 0]
    monkeypatch.setattr(Exchange, "page", claims_more)
    fetched = shop.client.fetch.user_coupons(["oA"], **ask)
    assert fetched.coupons == 5
    check(store, shop, "oA")
    first = [times for path, times in shop.pages().items() if "page_token" not in path]
    assert first == [2]


def test_what_nobody_took_up_for_a_month_is_deleted(shop: Shop, store):
    shop.box.faults("status", code=404, signed=True, path="oA/", times=2)
    for openids in (["oA"], ["oA", "oB"]):
        with pytest.raises(wx.NotFoundError):
            shop.client.fetch.user_coupons(openids, appid=shop.box.appid, store=store)
    old, young = sorted(spools(store), key=lambda folder: (folder / "owner").stat().st_mtime)
    long_ago = time.time() - 31 * 86_400
    for file in old.iterdir():
        os.utime(file, (long_ago, long_ago))
    shop.client.fetch.user_coupons(["oC"], appid=shop.box.appid, store=store)
    assert spools(store) == [young]


def test_on_error_is_one_of_two(shop: Shop, store):
    with pytest.raises(wx.ValidationError, match="'raise' or 'collect', not 'ignore'"):
        shop.client.fetch.user_coupons(["oA"], appid=shop.box.appid, store=store, on_error="ignore")
