"""Executing a plan: each coupon once, whatever happens, and an account of every row. The server's books are the judge."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import wxcoupon_analytics as wx
from tests.actions.selling import Shop, sends, users, when_sent

OURS = [
    "send_request_no",
    "status",
    "reason",
    "coupon_code",
    "coupon_state",
    "receive_time",
    "error_code",
    "error_message",
    "request_id",
    "attempts",
]


def test_every_ready_row_is_sent_once_and_every_row_is_accounted_for(shop: Shop):
    audience = pd.concat([users(300), users(2), pd.DataFrame({"openid": [None]})], ignore_index=True).assign(x=1)
    result = shop.plan(audience).execute(confirm=300)
    assert result.columns.tolist() == ["openid", "x", *OURS]
    assert Counter(result["status"]) == {"sent": 300, "blocked": 3}
    assert shop.held() == {f"user-{i}": 1 for i in range(300)}
    books = shop.box.truth("user_coupons").set_index("coupon_code")
    sent = result[result["status"] == "sent"].set_index("coupon_code")
    assert books.loc[sent.index, "openid"].tolist() == sent["openid"].tolist()
    assert books.loc[sent.index, "send_request_no"].tolist() == sent["send_request_no"].tolist()
    assert set(sent["coupon_state"]) == {"CONFIRMING"}
    assert set(sent["attempts"]) == {1}
    assert sent["request_id"].notna().all()
    assert str(result["receive_time"].dtype) == "datetime64[us, Asia/Shanghai]"
    assert sent["receive_time"].notna().all()
    blocked = result[result["status"] == "blocked"]
    assert blocked["reason"].notna().all()
    assert set(blocked["attempts"]) == {0}
    assert blocked[["coupon_code", "receive_time", "error_code"]].isna().all(axis=None)


@pytest.mark.parametrize("confirm", [0, 4, 6, "5", 5.0, True, None, np.True_])
def test_without_the_number_to_send_nothing_is_sent(confirm, shop: Shop):
    plan = shop.plan(users(5))
    with pytest.raises(wx.ConfirmationError, match=r"would send 5 coupons.*confirm=5.*Nothing was sent"):
        plan.execute(confirm=confirm)
    assert shop.held() == {}
    assert len(shop.journal()) == 0


def test_one_coupon_is_not_confirmed_by_true(shop: Shop):
    with pytest.raises(wx.ConfirmationError):
        shop.plan(users(1)).execute(confirm=True)
    assert shop.plan(users(1)).execute(confirm=np.int64(1))["status"].tolist() == ["sent"]


@pytest.mark.parametrize("again", ["the same plan", "the plan anew", "another notebook", "no journal"])
def test_running_it_again_sends_nothing_and_gives_the_first_results(again: str, shop: Shop, tmp_path: Path):
    with shop.box.client(journal=tmp_path / "j.sqlite3") as client:
        plan = shop.plan(users(40), client=client)
        first = plan.execute(confirm=40)
        with shop.box.client(journal=None if again == "no journal" else tmp_path / "j.sqlite3") as other:
            second = {
                "the same plan": lambda: plan.execute(confirm=40),
                "the plan anew": lambda: shop.plan(users(40), client=client).execute(confirm=0),
                "another notebook": lambda: shop.plan(users(40), client=other).execute(confirm=40),
                "no journal": lambda: shop.plan(users(40), client=other).execute(confirm=40),
            }
            before = sends(shop.box)
            result = second[again]()
    if again != "no journal":
        assert sends(shop.box) == before
        assert set(result["status"]) == {"already_sent"}
    for column in ("send_request_no", "coupon_code", "coupon_state", "receive_time"):
        assert result[column].tolist() == first[column].tolist()
    assert set(shop.held().values()) == {1}


@pytest.mark.parametrize("nothing", [None, np.nan, pd.NA])
def test_a_column_of_codes_that_are_the_platforms_to_make_is_filled_in(nothing, shop: Shop):
    result = shop.plan(users(3).assign(coupon_code=nothing, x=1)).execute(confirm=3)
    assert result.columns.tolist() == ["openid", "coupon_code", "x", *(name for name in OURS if name != "coupon_code")]
    coupons = shop.box.truth("user_coupons").query("stock_id == @shop.ids['stock_id']").set_index("openid")
    assert result["coupon_code"].tolist() == coupons.loc[result["openid"], "coupon_code"].tolist()


def test_a_single_send_and_a_plan_of_the_same_campaign_are_the_same_send(shop: Shop):
    single = shop.client.actions.send_coupon("user-0", campaign=shop.campaign, **shop.ids)
    plan = shop.plan(users(2))
    assert plan.rows["status"].tolist() == ["already_sent", "ready"]
    result = plan.execute(confirm=1)
    assert result["coupon_code"][0] == single["coupon_code"]
    again = shop.client.actions.send_coupon("user-1", campaign=shop.campaign, **shop.ids)
    assert again["coupon_code"] == result["coupon_code"][1]
    assert set(shop.held().values()) == {1}


def test_another_copy_is_another_coupon(shop: Shop):
    shop.plan(users(3)).execute(confirm=3)
    shop.plan(users(3), copy=2).execute(confirm=3)
    assert shop.held() == {f"user-{i}": 2 for i in range(3)}


def test_answers_lost_after_the_commit_are_found_again_under_the_same_number(shop: Shop, impatient: None):
    shop.box.faults("reset", times=60, when="after", method="POST", path="/users/")
    result = shop.plan(users(200)).execute(confirm=200)
    assert set(result["status"]) == {"sent"}
    assert shop.held() == {f"user-{i}": 1 for i in range(200)}


def test_what_had_no_answer_is_unknown_and_settled_by_the_next_run(shop: Shop, impatient: None):
    shop.box.faults("reset", times=None, when="after", method="POST", path="/users/user-3/")
    plan = shop.plan(users(6))
    first = plan.execute(confirm=6)
    assert first["status"].tolist() == ["sent"] * 3 + ["unknown"] + ["sent"] * 2
    assert shop.held()["user-3"] == 1, "it did happen"
    shop.box.faults(None)
    again = shop.plan(users(6))
    assert again.rows["status"].tolist()[3] == "ready"
    assert "outcome of an earlier attempt is unknown" in again.rows["reason"][3]
    result = again.execute(confirm=1)
    assert result["status"].tolist() == ["already_sent"] * 3 + ["sent"] + ["already_sent"] * 2
    assert result["attempts"].tolist() == [1, 1, 1, 2, 1, 1]
    assert set(shop.held().values()) == {1}


def test_what_is_unknown_is_settled_even_when_nothing_can_be_sent_any_more(shop: Shop, impatient: None):
    shop.box.faults("reset", times=None, when="after", method="POST", path="/users/user-0/")
    shop.box.faults("reset", times=None, when="before", method="POST", path="/users/user-1/")
    assert shop.plan(users(2)).execute(confirm=2)["status"].tolist() == ["unknown", "unknown"]
    shop.box.faults(None)
    stock = shop.ids["stock_id"]
    shop.client.actions.deactivate_stock(shop.ids["product_coupon_id"], stock, reason="r", confirm=stock)
    plan = shop.plan(users(3))
    assert plan.rows["status"].tolist() == ["ready", "ready", "blocked"]
    result = plan.execute(confirm=2)
    assert result["status"].tolist()[0] == "sent", "the platform had it all the while"
    assert shop.held() == {"user-0": 1}


def test_a_platform_that_cannot_be_reached_refuses_nobody_for_good(shop: Shop, impatient: None):
    with wx.Sandbox(seed=1, population=False) as gone:
        dead = gone.hosts[0]
    plan = shop.plan(users(3))
    live = shop.client.api._exchange._hosts[0]
    address, live.url = live.url, dead

    def back() -> None:
        live.url = address

    runner, many = plan._runner, plan._runner.many

    def only_sends(*intents: Any, **options: Any) -> Any:
        live.url = dead
        try:
            return many(*intents, **options)
        finally:
            back()

    back()
    plan._runner.many = only_sends
    result = plan.execute(confirm=3)
    runner.many = many
    assert result["status"].tolist() == ["unknown"] * 3
    assert result["reason"].str.contains("it did not happen").all()
    assert set(shop.journal()["status"]) == {"unsent"}
    live.down_until = 0.0
    assert shop.plan(users(3)).execute(confirm=3)["status"].tolist() == ["sent"] * 3


def test_a_refusal_is_final_and_tried_again_only_when_asked_to(shop: Shop):
    # Two users in three are members of this brand.
    plan = shop.plan(users(30), member_card_id="card-1")
    first = plan.execute(confirm=30)
    failed = first["status"] == "failed"
    assert 3 < failed.sum() < 20
    assert set(first.loc[failed, "error_code"]) == {"USER_ERROR"}
    assert first.loc[failed, "request_id"].notna().all()
    before = sends(shop.box)
    again = shop.plan(users(30), member_card_id="card-1")
    assert again.summary["ready"] == 0
    assert again.rows.loc[failed, "reason"].str.contains("retry_failed=True").all()
    result = again.execute(confirm=0)
    assert result["status"].tolist() == ["failed" if f else "already_sent" for f in failed]
    assert result.loc[failed, "error_code"].tolist() == first.loc[failed, "error_code"].tolist()
    assert sends(shop.box) == before
    count = int(failed.sum())
    with pytest.raises(wx.ConfirmationError, match=f"confirm={count}"):
        again.execute(confirm=1, retry_failed=True)
    retried = again.execute(confirm=count, retry_failed=True)
    assert sends(shop.box) == before + count
    assert set(retried.loc[failed, "attempts"]) == {2}
    # Mended, it is another try: an ordinary coupon needs no membership.
    mended = shop.plan(users(30))
    assert mended.rows["status"].tolist() == ["ready" if f else "blocked" for f in failed]
    assert mended.rows.loc[~failed, "reason"].str.contains("coupon_tag_info").all()
    assert mended.execute(confirm=count).loc[failed, "status"].tolist() == ["sent"] * count


def test_a_limit_reached_on_the_way_ends_the_run_and_the_rest_is_blocked_not_failed(brand):
    shop = Shop(*brand, max_count_per_day=120)
    plan = shop.plan(users(100))
    others = shop.sends_of_others(90)
    assert all(isinstance(answer, dict) for answer in shop.client.api.map("send_coupon", others[:50]))
    plan_now = plan._verdicts
    assert plan_now.counts()["ready"] == 100
    # Another system takes more of the quota while this run is under way.
    with shop.box.client() as elsewhere:
        original = plan._runner.many

        def many(*intents: Any, **options: Any) -> Any:
            assert all(isinstance(a, dict) for a in elsewhere.api.map("send_coupon", others[50:]))
            return original(*intents, **options)

        plan._runner.many = many
        result = plan.execute(confirm=100)
        plan._runner.many = original
    counts = Counter(result["status"])
    assert counts == {"sent": 30, "blocked": 70}
    blocked = result[result["status"] == "blocked"]
    assert blocked["reason"].str.contains("daily limit").all()
    assert not shop.plan(users(100)).summary["ready"]
    shop.box.advance(days=1)
    tomorrow = shop.plan(users(100))
    assert tomorrow.summary["ready"] == 70, "refused by a limit is not refused for good"
    assert Counter(tomorrow.execute(confirm=70)["status"]) == {"sent": 70, "already_sent": 30}


def test_the_stock_is_looked_at_again_before_anything_is_sent(brand):
    shop = Shop(*brand, max_count=50)
    plan = shop.plan(users(50))
    list(shop.client.api.map("send_coupon", shop.sends_of_others(20)))
    before = sends(shop.box)
    result = plan.execute(confirm=50)
    assert Counter(result["status"]) == {"sent": 30, "blocked": 20}
    assert result["status"].tolist() == ["sent"] * 30 + ["blocked"] * 20
    assert sends(shop.box) == before + 30


def test_a_stock_that_leaves_sending_ends_the_run(shop: Shop):
    stock = shop.ids["stock_id"]
    plan = shop.plan(users(3000))
    body = {"out_request_no": f"end-{stock}", "deactivate_reason": "r"}
    stop = when_sent(shop, 200, lambda: shop.client.api.deactivate_stock(shop.ids["product_coupon_id"], stock, body))
    result = plan.execute(confirm=3000)
    stop.join()
    counts = Counter(result["status"])
    assert set(counts) == {"sent", "blocked"}
    assert 0 < counts["sent"] < 3000
    assert set(result.loc[result["status"] == "blocked", "reason"]) == {
        "the stock is DEACTIVATED: coupons are sent only while it is SENDING"
    }
    assert sum(shop.held().values()) == counts["sent"]
    assert not (result["attempts"] > 0).sum() > counts["sent"] + 2 * 128, "it did not go on asking"


def test_too_many_failures_end_the_run(shop: Shop):
    shop.box.faults("status", times=None, code=400, signed=True, method="POST", path="/users/")
    result = shop.plan(users(600)).execute(confirm=600, max_failures=10)
    counts = Counter(result["status"])
    assert counts["failed"] + counts["blocked"] == 600
    assert 10 < counts["failed"] <= 10 + 128
    assert result.loc[result["status"] == "blocked", "reason"].str.contains("max_failures=10").all()
    by_default = shop.plan(users(600)).execute(confirm=int(counts["blocked"]))
    assert "max_failures=" in by_default.loc[by_default["status"] == "blocked", "reason"].iloc[0]
    for wrong in (-1, True, "3"):
        with pytest.raises(wx.ValidationError, match="max_failures must be"):
            shop.plan(users(1)).execute(confirm=1, max_failures=wrong)


def test_confirming_is_a_step_of_its_own_after_each_send(shop: Shop):
    plan = shop.plan(users(50), confirm_coupons=True)
    assert "confirmed right after it is sent" in repr(plan)
    result = plan.execute(confirm=50)
    assert set(result["status"]) == {"sent"}
    assert set(result["coupon_state"]) == {"EFFECTIVE"}
    coupons = shop.box.truth("user_coupons").set_index("coupon_code").loc[result["coupon_code"]]
    assert set(coupons["coupon_state"]) == {"EFFECTIVE"}
    journal = shop.journal()
    assert Counter(journal["operation"]) == {"send_coupon": 50, "confirm_coupon": 50}
    assert set(journal["status"]) == {"done"}
    again = shop.plan(users(50), confirm_coupons=True).execute(confirm=0)
    assert set(again["coupon_state"]) == {"EFFECTIVE"}
    assert shop.journal()["attempts"].max() == 1


def test_coupons_sent_without_confirming_are_confirmed_by_a_later_run_that_says_so(shop: Shop):
    assert set(shop.plan(users(5)).execute(confirm=5)["coupon_state"]) == {"CONFIRMING"}
    later = shop.plan(users(5), confirm_coupons=True).execute(confirm=0)
    assert later["status"].tolist() == ["already_sent"] * 5
    assert set(later["coupon_state"]) == {"EFFECTIVE"}


def test_a_coupon_whose_confirm_is_refused_is_sent_and_says_so(shop: Shop):
    shop.box.faults("status", times=None, code=400, signed=True, method="POST", path="/confirm$")
    result = shop.plan(users(3), confirm_coupons=True).execute(confirm=3)
    assert result["status"].tolist() == ["sent"] * 3
    assert set(result["coupon_state"]) == {"CONFIRMING"}
    assert result["reason"].str.startswith("sent, but not confirmed: ").all()
    assert set(result["error_code"]) == {"PARAM_ERROR"}


def test_a_coupon_that_someone_else_confirmed_meanwhile_shows_the_state_it_has(shop: Shop):
    first = shop.plan(users(30)).execute(confirm=30)
    ids = {name: shop.ids[name] for name in ("product_coupon_id", "stock_id", "appid")}
    for number, (openid, code) in enumerate(zip(first["openid"], first["coupon_code"], strict=True)):
        shop.client.api.confirm_coupon(openid, code, {**ids, "out_request_no": f"{shop.campaign}-back-end-{number}"})
    result = shop.plan(users(30), confirm_coupons=True).execute(confirm=0, max_failures=0)
    assert set(result["status"]) == {"already_sent"}
    assert set(result["coupon_state"]) == {"EFFECTIVE"}
    assert result["error_code"].isna().all()


def test_a_refusal_that_would_meet_everyone_ends_the_run_and_is_final_for_nobody(shop: Shop):
    shop.box.faults("status", times=None, code=403, signed=True, method="POST", path="/users/")
    result = shop.plan(users(300)).execute(confirm=300, max_failures=300)
    assert set(result["status"]) == {"blocked"}
    assert result["reason"].str.startswith("refused for all: 403 NO_AUTH").all()
    assert 1 <= (result["attempts"] > 0).sum() <= 128
    shop.box.faults(None)
    assert set(shop.plan(users(300)).execute(confirm=300)["status"]) == {"sent"}


def test_held_out_users_are_recorded_and_never_sent_by_this_campaign(shop: Shop):
    plan = shop.plan(users(200), holdout=0.2)
    held = plan.rows["status"] == "held_out"
    result = plan.execute(confirm=int((~held).sum()))
    assert result.columns.tolist() == ["openid", *OURS, "assigned_at"]
    assert (result["status"] == "held_out").tolist() == held.tolist()
    assert str(result["assigned_at"].dtype) == "datetime64[us, Asia/Shanghai]"
    assert result["assigned_at"].nunique() == 1
    assert result["assigned_at"].notna().all(), "both arms"
    assert set(shop.held()) == set(result.loc[~held, "openid"])
    shop.box.advance(hours=5)
    # Not with a plan that forgets the holdout, not with another copy, not one by one.
    forgetful = shop.plan(users(200))
    assert (forgetful.rows["status"] == "held_out").tolist() == held.tolist()
    again = forgetful.execute(confirm=0)
    assert again["assigned_at"].tolist() == result["assigned_at"].tolist(), "assigned once"
    assert (shop.plan(users(200), copy=2).rows["status"] == "held_out").tolist() == held.tolist()
    somebody = result.loc[held, "openid"].iloc[0]
    with pytest.raises(wx.ValidationError, match="held out of campaign"):
        shop.client.actions.send_coupon(somebody, campaign=shop.campaign, **shop.ids)
    assert not set(shop.held()) & set(result.loc[held, "openid"])
    with pytest.raises(wx.ValidationError, match=r"drawn with holdout=0.2, seed=0.*not with holdout=0.3"):
        shop.plan(users(10), holdout=0.3)
    with pytest.raises(wx.ValidationError, match="seed=1"):
        shop.plan(users(10), holdout=0.2, seed=1)
    grown = shop.plan(users(260), holdout=0.2)
    assert (grown.rows["status"][:200] == "held_out").tolist() == held.tolist()
    later = grown.execute(confirm=grown.summary["ready"])
    assert later["assigned_at"].nunique() == 2


def test_a_plan_made_before_the_others_holdout_was_drawn_does_not_send_to_it(shop: Shop):
    early = shop.plan(users(100))
    with_holdout = shop.plan(users(100), holdout=0.3)
    held = with_holdout.rows["status"] == "held_out"
    with_holdout.execute(confirm=int((~held).sum()))
    result = early.execute(confirm=100)
    assert (result["status"] == "held_out").tolist() == held.tolist()
    assert not set(shop.held()) & set(result.loc[held, "openid"])


def test_a_plan_alone_holds_nobody_out(shop: Shop):
    shop.plan(users(50), holdout=0.5)
    assert shop.plan(users(50)).summary["ready"] == 50
