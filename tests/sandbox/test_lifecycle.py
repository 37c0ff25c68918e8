"""Coupons, stocks and product coupons go from state to state as the platform lets them, and in no other way."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from wxcoupon_analytics.sandbox import Sandbox

from .caller import Caller, product_request

Ids = tuple[str, str]


def period(caller: Caller, **change: Any) -> Ids:
    body = product_request(caller.new_number())
    body["stock"]["single_usage_rule"]["coupon_available_period"] |= change
    return caller.create(body)


@pytest.fixture(scope="module")
def ids(caller: Caller) -> Ids:
    return caller.create()


def effective(caller: Caller, ids: Ids, openid: str) -> str:
    code: str = caller.send(ids, openid).json["coupon_code"]
    assert caller.act("confirm", ids, openid, code).json["coupon_state"] == "EFFECTIVE"
    return code


def test_confirm_use_return_and_use_again(caller: Caller, ids: Ids) -> None:
    code = effective(caller, ids, "oLife")
    confirmed = caller.coupon(ids, "oLife", code).json
    assert confirmed["confirm_time"] == caller.box.now().isoformat()
    caller.box.advance(hours=2)
    used = caller.use(ids, "oLife", code, saved_amount=5_000).json
    assert used["coupon_state"] == "USED"
    assert used["single_usage_detail"]["use_time"] == caller.box.now().isoformat()
    assert used["single_usage_detail"]["associated_order_info"] == {"transaction_id": "4200001"}
    assert "saved_amount" not in used["single_usage_detail"]
    returned = caller.act("return", ids, "oLife", code).json
    assert returned["coupon_state"] == "EFFECTIVE"
    assert set(returned["single_usage_detail"]) == {"return_request_no", "return_time"}
    again = caller.use(ids, "oLife", code).json
    assert again["coupon_state"] == "USED"
    assert {"use_time", "return_time"} <= set(again["single_usage_detail"])


def test_what_a_state_does_not_allow_is_refused(caller: Caller, ids: Ids) -> None:
    code = caller.send(ids, "oStrict").json["coupon_code"]

    def refused(*verbs: str) -> None:
        for verb in verbs:
            reply = caller.use(ids, "oStrict", code) if verb == "use" else caller.act(verb, ids, "oStrict", code)
            assert (reply.status, reply.json["code"], reply.numeric) == (400, "INVALID_REQUEST", 268578367), verb

    refused("use", "return")
    caller.act("confirm", ids, "oStrict", code)
    refused("confirm", "return")
    caller.use(ids, "oStrict", code)
    refused("confirm", "use")
    late = caller.act("deactivate", ids, "oStrict", code, deactivate_reason="晚了")
    assert late.numeric == 268578367


def test_a_deactivated_coupon_is_over(caller: Caller, ids: Ids) -> None:
    code = effective(caller, ids, "oOver")
    ended = caller.act("deactivate", ids, "oOver", code, deactivate_reason="重复发放").json
    assert ended["coupon_state"] == "DEACTIVATED"
    assert ended["deactivate_reason"] == "重复发放"
    assert caller.use(ids, "oOver", code).numeric == 268578367


def test_a_coupon_that_must_wait_is_pending_until_its_midnight(caller: Caller) -> None:
    ids = period(caller, wait_days_after_receive=2, available_days=3)
    code = caller.send(ids, "oWait").json["coupon_code"]
    received = caller.box.now()
    coupon = caller.act("confirm", ids, "oWait", code).json
    assert coupon["coupon_state"] == "PENDING"
    begin = datetime.fromisoformat(coupon["valid_begin_time"])
    end = datetime.fromisoformat(coupon["valid_end_time"])
    assert (begin.date() - received.date()).days == 2
    assert begin.strftime("%T") == "00:00:00"
    assert ((end.date() - begin.date()).days, end.strftime("%T")) == (2, "23:59:59")  # three natural days
    caller.box.advance(seconds=(begin - caller.box.now()).total_seconds() - 1)
    assert caller.coupon(ids, "oWait", code).json["coupon_state"] == "PENDING"
    assert caller.use(ids, "oWait", code).status == 400
    caller.box.advance(seconds=1)
    assert caller.coupon(ids, "oWait", code).json["coupon_state"] == "EFFECTIVE"
    caller.box.advance(seconds=(end - caller.box.now()).total_seconds())
    assert caller.coupon(ids, "oWait", code).json["coupon_state"] == "EFFECTIVE"
    caller.box.advance(seconds=1)
    assert caller.coupon(ids, "oWait", code).json["coupon_state"] == "EXPIRED"
    assert caller.use(ids, "oWait", code).numeric == 268578776
    listed = caller.get(f"users/oWait/coupons?appid={caller.box.appid}&coupon_state=EXPIRED").json
    assert listed["total_count"] == 1


def test_the_page_s_own_example_of_validity(tmp_path: Path) -> None:
    start = datetime.fromisoformat("2025-08-01T12:00:00+08:00")
    with Sandbox(population=False, start=start) as box:
        caller = Caller(box, tmp_path)
        body = product_request("EXAMPLE_1")
        body["stock"]["single_usage_rule"]["coupon_available_period"] = {
            "available_begin_time": "2025-08-01T00:00:00+08:00",
            "available_end_time": "2025-08-31T23:59:59+08:00",
            "available_days": 30,
        }
        ids = caller.create(body)
        box.advance(seconds=(datetime.fromisoformat("2025-08-02T00:00:00+08:00") - box.now()).total_seconds())
        coupon = caller.send(ids, "oh-394z-6CGkNoJrsDLTTUKiAnp4").json
        assert coupon["valid_begin_time"] == "2025-08-02T00:00:00+08:00"
        assert coupon["valid_end_time"] == "2025-08-31T23:59:59+08:00"


def test_a_use_needs_an_order_and_a_credible_time(caller: Caller, ids: Ids) -> None:
    code = effective(caller, ids, "oTill")
    assert caller.use(ids, "oTill", code, associated_order_info=None).json["code"] == "PARAM_ERROR"
    for wrong in ("yesterday", "2026-11-02 10:00:00", "2026-11-02T10:00+08:00", "2026-11-02T10:00:00"):
        reply = caller.use(ids, "oTill", code, use_time=wrong)
        assert reply.json["message"] == "时间字符串格式错误,请使用 RFC3339 标准格式"
    assert caller.use(ids, "oTill", code, use_time="2020-01-01T00:00:00+08:00").numeric == 268435464
    assert caller.use(ids, "oTill", code, use_time="2040-01-01T00:00:00+08:00").numeric == 268435464
    assert caller.use(ids, "oTill", code).status == 200


def test_what_was_saved_is_a_partner_s_to_tell(caller: Caller, partner: Caller, ids: Ids) -> None:
    code = effective(caller, ids, "oSaved")
    assert partner.use(ids, "oSaved", code, saved_amount="5.00").json["detail"]["field"] == "/saved_amount"
    used = partner.use(ids, "oSaved", code, saved_amount=500).json
    assert used["coupon_state"] == "USED"
    assert "saved_amount" not in used["single_usage_detail"]


def test_an_order_is_kept_as_far_as_it_is_known(caller: Caller, ids: Ids) -> None:
    code = effective(caller, ids, "oOrder")
    order = {"order_id": "S1", "out_order_no": "S2", "novelty": {"a": 1}, "mchid": None}
    used = caller.use(ids, "oOrder", code, associated_order_info={}, associated_pay_score_order_info=order).json
    detail = used["single_usage_detail"]
    assert detail["associated_pay_score_order_info"] == {"order_id": "S1", "out_order_no": "S2"}
    assert "associated_order_info" not in detail


def test_a_coupon_is_not_used_before_its_validity(caller: Caller) -> None:
    ids = period(caller, wait_days_after_receive=1)
    code = caller.send(ids, "oSoon").json["coupon_code"]
    coupon = caller.act("confirm", ids, "oSoon", code).json
    received, begin = coupon["receive_time"], coupon["valid_begin_time"]
    caller.box.advance(days=2)
    assert caller.use(ids, "oSoon", code, use_time=received).numeric == 268435464
    assert caller.use(ids, "oSoon", code, use_time=begin).status == 200


def test_seconds_of_validity_count_from_its_begin(caller: Caller) -> None:
    ids = period(caller, available_days=None, wait_days_after_receive=1, available_seconds=90)
    coupon = caller.send(ids, "oBrief").json
    begin = datetime.fromisoformat(coupon["valid_begin_time"])
    assert begin > caller.box.now()
    assert datetime.fromisoformat(coupon["valid_end_time"]) - begin == timedelta(seconds=90)


def test_a_coupon_is_found_by_its_user_only(caller: Caller, ids: Ids) -> None:
    code = effective(caller, ids, "oMine")
    for reply in (
        caller.coupon(ids, "oThine", code),
        caller.use(ids, "oThine", code),
        caller.coupon(ids, "oMine", "x"),
    ):
        assert (reply.status, reply.numeric) == (404, 268578851)


# Sequential coupons ---------------------------------------------------------------------------------------------


def test_a_sequential_coupon_is_used_in_rounds(caller: Caller) -> None:
    body = product_request(caller.new_number()) | {
        "usage_mode": "SEQUENTIAL",
        "sequential_usage_info": {"type": "EQUAL", "count": 3, "available_days": 20, "interval_days": 1},
    }
    del body["single_usage_info"]
    rule = body["stock"].pop("single_usage_rule")
    del rule["coupon_available_period"]["available_days"]
    rule["normal_coupon_list"] = [{"threshold": 1_000, "discount_amount": 100}] * 3
    body["stock"]["sequential_usage_rule"] = rule
    ids = caller.create(body)
    sent = caller.send(ids, "oRound").json
    assert sent["coupon_state"] == "CONFIRMING"
    assert {item["detail_state"] for item in sent["sequential_usage_detail"]["detail_item_list"]} == {"PENDING"}
    code = sent["coupon_code"]
    coupon = caller.act("confirm", ids, "oRound", code).json
    states = [item["detail_state"] for item in coupon["sequential_usage_detail"]["detail_item_list"]]
    assert states == ["EFFECTIVE", "PENDING", "PENDING"]
    first = caller.use(ids, "oRound", code).json
    assert first["coupon_state"] == "EFFECTIVE"
    assert first["sequential_usage_detail"]["used_count"] == 1
    assert caller.use(ids, "oRound", code).numeric == 268578367  # the interval has not passed
    before = caller.box.now().isoformat()
    caller.box.advance(days=1)
    assert caller.use(ids, "oRound", code, use_time=before).numeric == 268435464  # before the round opened
    assert caller.use(ids, "oRound", code, sequential_coupon_index=2).status == 400
    assert caller.use(ids, "oRound", code, sequential_coupon_index=1).status == 200
    caller.box.advance(days=1)
    last = caller.use(ids, "oRound", code).json
    assert last["coupon_state"] == "USED"
    assert caller.act("return", ids, "oRound", code, sequential_coupon_index=0).status == 400
    back = caller.act("return", ids, "oRound", code, sequential_coupon_index=2).json
    assert (back["coupon_state"], back["sequential_usage_detail"]["used_count"]) == ("EFFECTIVE", 2)


# Stocks and product coupons -------------------------------------------------------------------------------------


def test_a_deactivated_stock_sends_no_more_and_its_coupons_stay_valid(caller: Caller) -> None:
    ids = caller.create()
    code = effective(caller, ids, "oHolder")
    path = f"product-coupons/{ids[0]}/stocks/{ids[1]}/deactivate"
    assert caller.post(path, {"out_request_no": caller.new_number()}).json["code"] == "PARAM_ERROR"
    long = {"out_request_no": caller.new_number(), "deactivate_reason": "因" * 151}
    assert caller.post(path, long).numeric == 268435462
    request = {"out_request_no": caller.new_number(), "deactivate_reason": "因" * 150}
    ended = caller.post(path, request)
    assert ended.json["state"] == "DEACTIVATED"
    assert ended.json["deactivate_request_no"] == request["out_request_no"]
    assert caller.post(path, request).body == ended.body
    once_more = caller.post(path, {"out_request_no": caller.new_number(), "deactivate_reason": "再来"})
    assert (once_more.status, once_more.numeric) == (400, 268578367)
    assert caller.send(ids, "oLate").numeric == 268578367
    assert caller.use(ids, "oHolder", code).json["coupon_state"] == "USED"


@pytest.mark.parametrize(("stock", "status"), [("1000000013003", 400), ("1000000013005", 400), ("1000000014002", 200)])
def test_only_a_sending_or_paused_stock_can_be_deactivated(tmp_path: Path, stock: str, status: int) -> None:
    with Sandbox(history_days=0) as box:  # stopped, auditing, paused
        caller = Caller(box, tmp_path)
        request = {"out_request_no": "ENDING", "deactivate_reason": "试"}
        reply = caller.post(f"product-coupons/{stock[:10]}/stocks/{stock}/deactivate", request)
        assert reply.status == status


def test_a_stock_stops_when_its_period_ends(caller: Caller) -> None:
    end = caller.box.now() + timedelta(days=40)
    ids = period(caller, available_end_time=end.isoformat(), available_days=None)
    caller.box.advance(seconds=(end - caller.box.now()).total_seconds())
    assert caller.stock(ids)["state"] == "SENDING"
    caller.box.advance(seconds=1)
    assert caller.stock(ids)["state"] == "STOPPED"
    assert caller.send(ids, "oStop").numeric == 268578367


def test_a_deactivated_product_coupon_takes_its_stocks_along(caller: Caller) -> None:
    product, _ = caller.create()
    extra = caller.post(
        f"product-coupons/{product}/stocks",
        {"out_request_no": caller.new_number(), "stock": product_request("x")["stock"]},
    )
    assert extra.json["state"] == "AUDITING"
    request = {"out_request_no": caller.new_number(), "deactivate_reason": "下架"}
    ended = caller.post(f"product-coupons/{product}/deactivate", request).json
    assert (ended["state"], ended["deactivate_reason"]) == ("DEACTIVATED", "下架")
    caller.box.advance(minutes=11)  # the second stock's audit does not bring it back
    stocks = caller.get(f"product-coupons/{product}/stocks").json["stock_list"]
    assert {stock["state"] for stock in stocks} == {"DEACTIVATED"}
    again = {"out_request_no": caller.new_number(), "deactivate_reason": "下架"}
    assert caller.post(f"product-coupons/{product}/deactivate", again).numeric == 268578367


def test_a_budget_is_changed_by_compare_and_set(caller: Caller) -> None:
    ids = caller.create()
    path = f"product-coupons/{ids[0]}/stocks/{ids[1]}/update-budget"

    def update(**body: Any) -> Any:
        return caller.post(path, {"out_request_no": caller.new_number(), **body})

    raised = update(update_mode="MAX_COUNT", current_max_count=1_000, target_max_count=2_000)
    assert raised.json["stock_send_rule"]["max_count"] == 2_000
    assert update(update_mode="MAX_COUNT", current_max_count=1_000, target_max_count=3_000).status == 400
    daily = update(update_mode="MAX_COUNT_PER_DAY", current_max_count_per_day=0, target_max_count_per_day=5)
    assert daily.json["stock_send_rule"]["max_count_per_day"] == 5
    caller.send(ids, "oOne")
    caller.send(ids, "oTwo")
    assert update(update_mode="MAX_COUNT", current_max_count=2_000, target_max_count=1).status == 400
    assert update(update_mode="BOTH", current_max_count=2_000, target_max_count=1).json["code"] == "PARAM_ERROR"
