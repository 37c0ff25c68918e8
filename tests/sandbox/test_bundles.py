"""Stock bundles: created with their product coupon or later, changed, and sent, confirmed and withdrawn as one."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from .caller import Caller, Reply, product_request

Ids = tuple[str, str]  # product coupon, stock bundle


def bundle_request(number: str, **rule: Any) -> dict[str, Any]:
    body = product_request(number, **rule)
    del body["single_usage_info"]
    bundle = body.pop("stock")
    usage = bundle.pop("single_usage_rule")
    usage["normal_coupon_list"] = [{"threshold": 1_000, "discount_amount": step} for step in (100, 200)]
    bundle["progressive_bundle_usage_rule"] = usage
    body |= {"usage_mode": "PROGRESSIVE_BUNDLE", "progressive_bundle_usage_info": {"count": 2, "interval_days": 1}}
    return body | {"stock_bundle": bundle}


@pytest.fixture(params=["brand", "partner"])
def who(request: pytest.FixtureRequest, caller: Caller, partner: Caller) -> Caller:
    return {"brand": caller, "partner": partner}[request.param]


def made(who: Caller, **rule: Any) -> Ids:
    created = who.post("product-coupons", bundle_request(who.new_number(), **rule))
    assert created.status == 200, created.json
    who.box.advance(minutes=11)
    return created.json["product_coupon_id"], created.json["stock_bundle"]["stock_bundle_id"]


def send(who: Caller, ids: Ids, openid: str, verb: str = "coupon-bundles", **more: Any) -> Reply:
    body = {"product_coupon_id": ids[0], "stock_bundle_id": ids[1], "appid": who.box.appid}
    return who.post(f"users/{openid}/{verb}", body | {"send_request_no": who.new_number()} | more)


def act(who: Caller, verb: str, ids: Ids, openid: str, bundle: str, **more: Any) -> Reply:
    body = {"product_coupon_id": ids[0], "stock_bundle_id": ids[1], "appid": who.box.appid}
    body |= {"out_request_no": who.new_number()} | more
    return who.post(f"users/{openid}/coupon-bundles/{bundle}/{verb}", body)


def stocks(who: Caller, ids: Ids) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = who.get(f"product-coupons/{ids[0]}/stocks?stock_bundle_id={ids[1]}").json[
        "stock_list"
    ]
    return listed


def test_a_product_coupon_is_created_with_a_bundle_of_one_stock_a_step(who: Caller) -> None:
    body = bundle_request(who.new_number())
    created = who.post("product-coupons", body)
    answer = created.json
    assert (answer["usage_mode"], answer["progressive_bundle_usage_info"]) == (
        "PROGRESSIVE_BUNDLE",
        {"count": 2, "interval_days": 1},
    )
    assert "stock" not in answer
    bundle = answer["stock_bundle"]
    assert set(bundle) == {"stock_bundle_id", "stock_list"}
    for index, stock in enumerate(bundle["stock_list"]):
        assert stock["stock_bundle_info"] == {
            "stock_bundle_id": bundle["stock_bundle_id"],
            "stock_bundle_index": index,
        }
        rule = stock["progressive_bundle_usage_rule"]
        assert rule["normal_coupon"] == {"threshold": 1_000, "discount_amount": 100 * (index + 1)}
        assert "normal_coupon_list" not in rule
        assert stock["stock_send_rule"]["max_count"] == 1_000
        assert stock.get("brand_id") == (who.box.brand_id if who.flavour == "partner" else None)
    assert who.post("product-coupons", body).body == created.body


def test_a_bundle_is_added_to_a_product_coupon_of_bundles_only(who: Caller) -> None:
    ids = made(who)
    bundle = bundle_request("x")["stock_bundle"]
    path = f"product-coupons/{ids[0]}/stock-bundles"
    request = {"out_request_no": who.new_number(), "stock_bundle": bundle}
    added = who.post(path, request)
    assert added.status == 200, added.json
    assert added.json["stock_bundle_id"] != ids[1]
    assert [stock["state"] for stock in added.json["stock_list"]] == ["AUDITING", "AUDITING"]
    assert who.post(path, request).body == added.body
    assert len(stocks(who, (ids[0], added.json["stock_bundle_id"]))) == 2
    single = who.create()
    refused = who.post(f"product-coupons/{single[0]}/stock-bundles", {"out_request_no": who.new_number()})
    assert (refused.json["code"], "添加商品券批次API" in refused.json["message"]) == ("INVALID_REQUEST", True)
    refused = who.post(f"product-coupons/{ids[0]}/stocks", {"out_request_no": who.new_number()})
    assert (refused.json["code"], "添加商品券批次组API" in refused.json["message"]) == ("INVALID_REQUEST", True)


RULE = "progressive_bundle_usage_rule"


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"progressive_bundle_usage_info": None}, "INVALID_REQUEST", "progressive_bundle_usage_info"),
        ({"progressive_bundle_usage_info": {"count": 3}}, "INVALID_REQUEST", "且数量与多次优惠的优惠次数相等"),
        ({"progressive_bundle_usage_info": {"count": 16}}, "PARAM_ERROR", ""),
        ({"progressive_bundle_usage_info": {"count": 2, "interval_days": 8}}, "PARAM_ERROR", ""),
        ({"type": "DISCOUNT"}, "INVALID_REQUEST", "且数量与多次优惠的优惠次数相等"),
        ({"stock_bundle": None}, "PARAM_ERROR", ""),
    ],
    ids=str,
)
def test_a_bundle_that_does_not_fit_is_refused(caller: Caller, change: dict[str, Any], code: str, words: str) -> None:
    reply = caller.post("product-coupons", bundle_request(caller.new_number()) | change)
    assert (reply.status, reply.json["code"]) == (400, code), reply.json
    assert words in reply.json["message"]


def test_a_bundle_s_codes_are_never_the_caller_s_own(caller: Caller) -> None:
    body = copy.deepcopy(bundle_request(caller.new_number()))
    body["stock_bundle"]["coupon_code_mode"] = "API_ASSIGN"
    reply = caller.post("product-coupons", body)
    assert reply.json["detail"]["field"] == "/stock_bundle/coupon_code_mode"


def test_a_bundle_is_changed_in_all_its_stocks(who: Caller) -> None:
    ids = made(who)
    path = f"product-coupons/{ids[0]}/stock-bundles/{ids[1]}"
    request = {"out_request_no": who.new_number(), "remark": "改后", "store_scope": "SPECIFIC"}
    changed = who.patch(path, request)
    assert changed.json == {"stock_bundle_id": ids[1], "stock_list": stocks(who, ids)}
    assert {(stock["remark"], stock["store_scope"]) for stock in stocks(who, ids)} == {("改后", "SPECIFIC")}
    assert who.patch(path, request).body == changed.body
    bad = who.patch(path, {"out_request_no": who.new_number(), "store_scope": "SOME"})
    assert (bad.json["code"], bad.json["detail"]["field"]) == ("PARAM_ERROR", "/store_scope")
    missing = who.patch(f"product-coupons/{ids[0]}/stock-bundles/1", {"out_request_no": who.new_number()})
    assert (missing.status, missing.json["code"]) == (404, "NOT_FOUND")


def test_a_bundle_s_budget_is_changed_by_compare_and_set(who: Caller) -> None:
    ids = made(who)
    path = f"product-coupons/{ids[0]}/stock-bundles/{ids[1]}/update-budget"

    def update(current: int, target: int) -> Reply:
        change = {"update_mode": "MAX_COUNT", "current_max_count": current, "target_max_count": target}
        return who.post(path, {"out_request_no": who.new_number(), **change})

    assert {stock["stock_send_rule"]["max_count"] for stock in update(1_000, 2).json["stock_list"]} == {2}
    assert update(1_000, 3).json["code"] == "INVALID_REQUEST"
    assert [send(who, ids, f"oBudget{n}").status for n in range(3)] == [200, 200, 400]
    assert update(2, 1).json["code"] == "INVALID_REQUEST"  # less than was sent


def test_a_bundle_is_sent_confirmed_and_withdrawn_as_one(who: Caller) -> None:
    ids = made(who)
    number = who.new_number()
    sent = send(who, ids, "oBundle", send_request_no=number, attach="整组")
    assert set(sent.json) == {"user_coupon_bundle_id", "user_product_coupon_list"}
    bundle, coupons = sent.json["user_coupon_bundle_id"], sent.json["user_product_coupon_list"]
    assert {(coupon["coupon_state"], coupon["attach"]) for coupon in coupons} == {("CONFIRMING", "整组")}
    ties = [coupon["user_product_coupon_bundle_info"] for coupon in coupons]
    assert [tie["user_coupon_bundle_index"] for tie in ties] == [0, 1]
    assert send(who, ids, "oBundle", send_request_no=number, attach="整组").body == sent.body
    request = {"out_request_no": who.new_number()}
    confirmed = act(who, "confirm", ids, "oBundle", bundle, **request)
    states = [coupon["coupon_state"] for coupon in confirmed.json["user_product_coupon_list"]]
    assert states == ["EFFECTIVE", "PENDING"]  # the second opens an interval later
    assert act(who, "confirm", ids, "oBundle", bundle, **request).body == confirmed.body
    assert act(who, "confirm", ids, "oBundle", bundle).numeric == 268578367
    first = coupons[0]
    stock = (ids[0], first["stock"]["stock_id"])
    assert who.use(stock, "oBundle", first["coupon_code"]).json["coupon_state"] == "USED"
    assert act(who, "deactivate", ids, "oBundle", bundle).json["detail"]["field"] == "/deactivate_reason"
    ended = act(who, "deactivate", ids, "oBundle", bundle, deactivate_reason="收回").json
    assert [coupon["coupon_state"] for coupon in ended["user_product_coupon_list"]] == ["USED", "DEACTIVATED"]
    assert ended["user_product_coupon_list"][1]["deactivate_reason"] == "收回"
    assert act(who, "deactivate", ids, "oBundle", bundle, deactivate_reason="再收").numeric == 268578367


def test_a_user_bundle_is_found_by_its_user_and_its_stock_bundle_only(who: Caller) -> None:
    ids, other = made(who), made(who)
    bundle = send(who, ids, "oHolder").json["user_coupon_bundle_id"]
    for reply in (
        act(who, "confirm", ids, "oThief", bundle),
        act(who, "confirm", other, "oHolder", bundle),
        act(who, "confirm", ids, "oHolder", "1"),
    ):
        assert (reply.status, reply.numeric) == (404, 268578851)


def test_a_bundle_is_sent_whole_or_not_at_all(who: Caller) -> None:
    ids = made(who, max_count_per_user=1)
    last = stocks(who, ids)[-1]["stock_id"]
    assert send(who, (ids[0], "1"), "oWhole").status == 404
    ending = {"out_request_no": who.new_number(), "deactivate_reason": "停一张"}
    who.post(f"product-coupons/{ids[0]}/stocks/{last}/deactivate", ending)
    assert send(who, ids, "oWhole").numeric == 268578367
    assert [stock["sent_count_info"]["total_count"] for stock in stocks(who, ids)] == [0, 0]


# Announced sends ------------------------------------------------------------------------------------------------


def test_a_pre_send_answers_a_token_and_sends_nothing(who: Caller) -> None:
    ids = who.create(product_request(who.new_number(), max_count_per_user=1))
    body = {"product_coupon_id": ids[0], "stock_id": ids[1], "appid": who.box.appid}
    request = body | {"send_request_no": who.new_number(), "attach": "预发"}
    announced = who.post("users/oPre/pre-send-coupon", request)
    assert set(announced.json) == {"token"}
    assert who.post("users/oPre/pre-send-coupon", request).body == announced.body
    another = who.post("users/oPre/pre-send-coupon", body | {"send_request_no": who.new_number()})
    assert another.json["token"] != announced.json["token"]
    assert who.stock(ids)["sent_count_info"]["total_count"] == 0
    who.send(ids, "oPre")
    refused = who.post("users/oPre/pre-send-coupon", body | {"send_request_no": who.new_number()})
    assert refused.numeric == 272756740
    long = body | {"send_request_no": who.new_number(), "attach": "x" * 151}
    assert who.post("users/oLong/pre-send-coupon", long).numeric == 268435462


def test_a_partner_s_pre_send_of_a_bundle(partner: Caller) -> None:
    ids = made(partner, max_count_per_user=1)
    announced = send(partner, ids, "oPre", "pre-send-coupon-bundle")
    assert set(announced.json) == {"token"}
    assert send(partner, (ids[0], "1"), "oPre", "pre-send-coupon-bundle").status == 404
    assert send(partner, ids, "oPre").status == 200
    assert send(partner, ids, "oPre", "pre-send-coupon-bundle").numeric == 272756740
