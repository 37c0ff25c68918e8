"""Executing a plan while other runs, other people and the disk have their own ideas."""

from __future__ import annotations

import itertools
import json
import threading
from collections import Counter
from typing import Any

import pandas as pd
import pytest

import wxcoupon_analytics as wx
from tests.actions.selling import Shop, users
from wxcoupon_analytics.actions import execution, send_plan, standing, stock_checks


def test_a_lease_that_could_not_be_given_back_holds_nothing_from_the_next_run(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
):
    plan, journal = shop.plan(users(200)), shop.client._journal
    writing, calls = journal.writing, itertools.count()

    def full() -> Any:
        if next(calls) >= 5:
            raise wx.JournalError("the disk is full")
        return writing()

    monkeypatch.setattr(journal, "writing", full)
    with pytest.warns(UserWarning, match="could not be recorded"):
        plan.execute(confirm=200)
    monkeypatch.undo()
    assert "unknown" in set(shop.journal()["status"])
    rest, results = shop.plan(users(200)), []
    thread = threading.Thread(target=lambda: results.append(rest.execute(confirm=rest.summary["ready"])), daemon=True)
    thread.start()
    thread.join(30)
    assert results, "it waits for itself"
    assert set(results[0]["status"]) <= {"sent", "already_sent"}
    assert shop.held() == {f"user-{i}": 1 for i in range(200)}


def test_what_an_earlier_run_could_not_do_and_this_one_did_not_begin_is_blocked_not_unknown(shop: Shop):
    shop.box.faults("status", times=None, code=403, signed=True, method="POST", path="/users/")
    first = shop.plan(users(300)).execute(confirm=300, max_failures=300)
    tried = set(first.loc[first["attempts"] > 0, "openid"])
    shop.box.faults(None)
    shop.box.faults("status", times=None, code=400, signed=True, method="POST", path="/users/")
    second = shop.plan(users(300)[::-1]).execute(confirm=300, max_failures=0).set_index("openid")
    not_begun = second[(second["attempts"] == 0) & second.index.isin(tried)]
    assert len(not_begun) > 0
    assert set(not_begun["status"]) == {"blocked"}
    assert not_begun["reason"].str.contains("max_failures=0").all()


def test_whom_another_run_began_to_send_to_meanwhile_is_in_no_arm(shop: Shop, monkeypatch: pytest.MonkeyPatch):
    plan, other = shop.plan(users(100), holdout=0.5), shop.plan(users(100))

    def overtaken(*args: Any, **options: Any) -> None:
        other.execute(confirm=100)
        standing.assign(*args, **options)

    monkeypatch.setattr(send_plan, "assign", overtaken)
    result = plan.execute(confirm=plan.summary["ready"])
    assert set(shop.held().values()) == {1}
    assert "held_out" not in set(result["status"])
    overtook = plan.rows["status"] == "held_out"
    assert result.loc[overtook, "reason"].str.contains("another run of the campaign").all()
    assert result["assigned_at"].isna().all()
    assert set(shop.plan(users(100), holdout=0.5).rows["status"]) == {"already_sent"}


def test_a_limit_that_has_shrunk_since_the_plan_cuts_both_arms(brand):
    shop = Shop(*brand, max_count=100)
    plan = shop.plan(users(90), holdout=0.3)
    list(shop.client.api.map("send_coupon", shop.sends_of_others(70)))
    result = plan.execute(confirm=plan.summary["ready"])
    assert Counter(result["status"])["sent"] == 30
    last = result.index[result["status"] == "sent"].max()
    assert set(result.loc[:last, "status"]) == {"sent", "held_out"}
    assert result.loc[result["status"] == "held_out", "assigned_at"].notna().all()
    assert result.loc[result["status"] == "blocked", "assigned_at"].isna().all()


def test_a_stock_that_ends_right_after_it_was_looked_at_fails_nobody(shop: Shop, monkeypatch: pytest.MonkeyPatch):
    plan, looks = shop.plan(users(600)), itertools.count()
    product, stock = shop.ids["product_coupon_id"], shop.ids["stock_id"]
    shop.box.faults("status", times=1, code=400, signed=True, method="POST", path="/users/")

    def look(*args: Any) -> Any:
        offer = stock_checks.fetch_offer(*args)
        if next(looks) == 0:
            body = {"out_request_no": f"end-{stock}", "deactivate_reason": "r"}
            shop.client.api.deactivate_stock(product, stock, body)
        return offer

    monkeypatch.setattr(execution, "fetch_offer", look)
    result = plan.execute(confirm=600)
    assert Counter(result["status"])["failed"] == 1, "the one that was refused for itself"
    assert Counter(result["status"])["blocked"] > 0


def test_a_journal_that_fails_on_the_way_ends_the_run_and_loses_no_answer(shop: Shop, monkeypatch: pytest.MonkeyPatch):
    plan = shop.plan(users(400))
    journal = shop.client._journal
    write, calls = journal.write, itertools.count()

    def full(lease: int, **what: Any) -> Any:
        if next(calls) >= 6:
            raise wx.JournalError("the disk is full")
        return write(lease, **what)

    monkeypatch.setattr(journal, "write", full)
    with pytest.warns(UserWarning, match="could not be recorded: the disk is full"):
        result = plan.execute(confirm=400)
    monkeypatch.undo()
    held = shop.held()
    assert set(result.loc[result["status"] == "sent", "openid"]) == set(held)
    assert set(result.loc[result["status"] == "blocked", "reason"]) == {"the disk is full"}
    rest = shop.plan(users(400))
    rest.execute(confirm=rest.summary["ready"])
    assert shop.held() == {f"user-{i}": 1 for i in range(400)}


def test_two_threads_executing_one_plan_together_ask_for_each_coupon_once(shop: Shop):
    before = sends_of(shop)
    results: list[pd.DataFrame] = []
    threads = [
        threading.Thread(target=lambda: results.append(shop.plan(users(600)).execute(confirm=600))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 2
    assert all(set(result["status"]) <= {"sent", "already_sent"} for result in results)
    both = pd.concat([result["status"] for result in results], axis="columns")
    assert (both == "sent").sum(axis="columns").eq(1).all(), "each by one of them"
    assert results[0]["coupon_code"].tolist() == results[1]["coupon_code"].tolist()
    assert set(shop.held().values()) == {1}
    assert sends_of(shop) - before == 600


def sends_of(shop: Shop) -> int:
    """Requests by the journal: every attempt was one."""
    return int(shop.journal()["attempts"].sum())


def test_no_openid_and_no_key_is_in_what_goes_wrong(shop: Shop, caplog: pytest.LogCaptureFixture, impatient: None):
    caplog.set_level("DEBUG")
    somebody = "oSomebodyWithALongOpenid-0123456789"
    shop.box.faults("status", times=None, code=400, signed=True, method="POST", path="/users/")
    result = shop.plan(pd.DataFrame({"openid": [somebody]})).execute(confirm=1)
    plan = shop.plan(pd.DataFrame({"openid": [somebody]}))
    told = json.dumps([result.drop(columns="openid").to_dict("list")], default=str) + repr(plan) + plan._repr_html_()
    assert somebody not in told + caplog.text
