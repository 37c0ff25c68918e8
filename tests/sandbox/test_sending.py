"""A send obeys every limit and mode, and a request number means one result."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import ANY

import pytest

from wxcoupon_analytics.sandbox import Sandbox

from .caller import Caller, product_request

Ids = tuple[str, str]


@pytest.fixture(scope="module")
def ids(caller: Caller) -> Ids:
    return caller.create()


def made(caller: Caller, mode: str = "WECHATPAY", **rule: int) -> Ids:
    return caller.create(product_request(caller.new_number(), mode=mode, **rule))


def test_a_coupon_is_born_confirming_with_an_echo_that_counts_nothing(caller: Caller, ids: Ids) -> None:
    reply = caller.send(ids, "oNew", attach="第一张")
    coupon = reply.json
    assert coupon["coupon_state"] == "CONFIRMING"
    assert coupon["send_channel"] == "API"
    assert coupon["single_usage_detail"] == {}
    assert coupon["attach"] == "第一张"
    assert coupon["receive_time"] == caller.box.now().isoformat()
    assert coupon["stock"]["sent_count_info"] == {"total_count": 0, "today_count": 0}
    assert coupon["product_coupon"]["product_coupon_id"] == ids[0]
    assert caller.stock(ids)["sent_count_info"]["total_count"] >= 1


def test_echoes_in_lists_count_as_of_midnight_only(caller: Caller) -> None:
    ids = made(caller)
    caller.send(ids, "oEcho")
    path = f"users/oEcho/coupons?appid={caller.box.appid}"
    echoed = caller.get(path).json["user_coupon_list"][0]["stock"]["sent_count_info"]
    assert echoed == {"total_count": 0, "today_count": 0}
    caller.box.advance(days=1)
    echoed = caller.get(path).json["user_coupon_list"][0]["stock"]["sent_count_info"]
    assert echoed == {"total_count": 1, "today_count": 0}


def test_a_partner_s_coupon_names_the_brand_at_every_level(partner: Caller) -> None:
    coupon = partner.send(partner.create(), "oPartner").json
    assert (
        coupon["brand_id"]
        == coupon["stock"]["brand_id"]
        == coupon["product_coupon"]["brand_id"]
        == partner.box.brand_id
    )


# Limits ---------------------------------------------------------------------------------------------------------


def test_a_user_gets_no_more_than_the_limit(caller: Caller) -> None:
    ids = made(caller, max_count_per_user=2)
    assert [caller.send(ids, "oGreedy").status for _ in range(3)] == [200, 200, 400]
    refused = caller.send(ids, "oGreedy")
    assert (refused.json["code"], refused.numeric) == ("INVALID_REQUEST", 272756740)
    assert caller.send(ids, "oModest").status == 200


def test_the_total_is_never_exceeded_not_even_at_once(caller: Caller) -> None:
    ids = made(caller, max_count=7)
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda n: caller.send(ids, f"oRush{n}", verify=False), range(20)))
    assert [reply.status for reply in replies].count(200) == 7
    assert caller.stock(ids)["sent_count_info"]["total_count"] == 7


def test_the_daily_limit_ends_at_beijing_midnight(caller: Caller) -> None:
    ids = made(caller, max_count_per_day=2)
    now = caller.box.now()
    caller.box.advance(seconds=(24 - now.hour) * 3600 - now.minute * 60 - now.second - 1)
    assert caller.box.now().strftime("%T") == "23:59:59"
    assert [caller.send(ids, f"oDay{n}").status for n in range(3)] == [200, 200, 400]
    assert caller.stock(ids)["sent_count_info"] == {"total_count": 2, "today_count": 2}
    caller.box.advance(seconds=1)
    assert caller.stock(ids)["sent_count_info"] == {"total_count": 2, "today_count": 0}
    assert caller.send(ids, "oDay3").status == 200
    assert caller.stock(ids)["sent_count_info"] == {"total_count": 3, "today_count": 1}


def test_only_a_sending_stock_sends(caller: Caller) -> None:
    created = caller.post("product-coupons", product_request(caller.new_number())).json
    ids = (created["product_coupon_id"], created["stock"]["stock_id"])
    assert (created["state"], created["stock"]["state"]) == ("AUDITING", "AUDITING")
    refused = caller.send(ids, "oEarly")
    assert (refused.json["code"], refused.numeric) == ("INVALID_REQUEST", 268578367)
    caller.box.advance(minutes=11)
    assert caller.send(ids, "oEarly").status == 200
    assert caller.get(f"product-coupons/{ids[0]}").json["state"] == "EFFECTIVE"


# Codes ----------------------------------------------------------------------------------------------------------


def test_api_assign_wants_a_code_of_the_right_letters_once(caller: Caller) -> None:
    ids = made(caller, "API_ASSIGN")
    assert caller.send(ids, "oCode").json["detail"]["field"] == "/coupon_code"
    for wrong in ("", "a" * 41, "white space", "券", 7):
        assert caller.send(ids, "oCode", coupon_code=wrong).status == 400
    assert caller.send(ids, "oCode", coupon_code="Code_123-x").json["coupon_code"] == "Code_123-x"
    assert caller.send(ids, "oOther", coupon_code="Code_123-x").status == 400
    assert (
        caller.send(made(caller, "API_ASSIGN"), "oOther", coupon_code="Code_123-x").status == 200
    )  # unique in a stock


def test_wechatpay_makes_its_own_code_and_takes_none(caller: Caller, ids: Ids) -> None:
    assert caller.send(ids, "oCode", coupon_code="Code_1").json["code"] == "PARAM_ERROR"
    codes = {caller.send(ids, "oCode").json["coupon_code"] for _ in range(3)}
    assert len(codes) == 3
    assert all(len(code) == 16 and code.isdecimal() for code in codes)


def test_upload_sends_from_the_pool_and_ignores_a_code(caller: Caller) -> None:
    ids = made(caller, "UPLOAD")
    assert caller.send(ids, "oPool").status == 400  # nothing uploaded yet
    path = f"product-coupons/{ids[0]}/stocks/{ids[1]}/upload-coupon-codes"
    uploaded = caller.post(
        path, {"out_request_no": caller.new_number(), "code_list": ["A1", "A2", "A2", "no good", "A3"]}
    ).json
    assert uploaded == {
        "total_count": 4,
        "success_code_list": ["A1", "A2", "A3"],
        "failed_code_list": [{"coupon_code": "no good", "code": "PARAM_ERROR", "message": ANY}],
        "already_exist_code_list": [],
        "duplicate_code_list": ["A2"],
    }
    assert caller.send(ids, "oPool", coupon_code="Code_123456").json["coupon_code"] == "A1"
    assert caller.stock(ids)["coupon_code_count_info"] == {"total_count": 3, "available_count": 2}
    again = caller.post(path, {"out_request_no": caller.new_number(), "code_list": ["A1", "A3", "A4"]}).json
    assert (again["success_code_list"], again["already_exist_code_list"]) == (["A4"], ["A1", "A3"])
    assert [caller.send(ids, f"oPool{n}").status for n in range(4)] == [200, 200, 200, 400]


def test_a_partner_s_page_lists_the_failed_codes_alone(partner: Caller) -> None:
    ids = partner.create(product_request(partner.new_number(), mode="UPLOAD"))
    path = f"product-coupons/{ids[0]}/stocks/{ids[1]}/upload-coupon-codes"
    reply = partner.post(path, {"out_request_no": partner.new_number(), "code_list": ["A1", "no good"]})
    assert reply.json["failed_code_list"] == ["no good"]


# Users ----------------------------------------------------------------------------------------------------------


def test_an_appid_that_is_not_bound_is_refused(caller: Caller, ids: Ids) -> None:
    assert caller.send(ids, "oUser", appid="wx0000000000000000").numeric == 268578704
    assert caller.send(ids, "oUser", appid="").json["code"] == "PARAM_ERROR"
    assert caller.get("users/oUser/coupons").json["detail"]["field"] == "appid"


def test_an_openid_of_another_appid_is_refused_and_any_other_text_is_a_user(caller: Caller, ids: Ids) -> None:
    foreign = caller.box.foreign_openids()
    assert foreign
    reply = caller.send(ids, foreign[0])
    assert (reply.json["message"], reply.numeric) == ("传入的OpenID不合法", 268578532)
    assert caller.send(ids, "anything at all").status == 200


def test_member_coupons_are_for_members_who_show_their_card(caller: Caller, ids: Ids) -> None:
    people = [f"oPerson{n}" for n in range(12)]
    members = [person for person in people if hashlib.sha256(person.encode()).digest()[0] % 3]
    others = [person for person in people if person not in members]
    tag = {"coupon_tag_list": ["MEMBER"], "member_tag_info": {"member_card_id": "Card1"}}
    assert caller.send(ids, members[0], coupon_tag_info=tag).json["coupon_tag_info"] == tag
    refused = caller.send(ids, others[0], coupon_tag_info=tag)
    assert (refused.status, refused.json) == (403, {"code": "USER_ERROR", "message": "用户不是该品牌的会员"})
    without = {"coupon_tag_list": ["MEMBER"]}
    assert caller.send(ids, members[0], coupon_tag_info=without).json["code"] == "PARAM_ERROR"
    unknown = {"coupon_tag_list": ["VIP"]}
    assert caller.send(ids, members[0], coupon_tag_info=unknown).json["code"] == "PARAM_ERROR"


def test_ids_must_name_a_stock_of_that_product_coupon(caller: Caller, ids: Ids) -> None:
    other = made(caller)
    for wrong in (("1", ids[1]), (ids[0], "1"), (ids[0], other[1])):
        reply = caller.send(wrong, "oUser")
        assert (reply.status, reply.json["code"], reply.numeric) == (404, "NOT_FOUND", 268578608)


def test_attach_has_room_for_150_characters(caller: Caller, ids: Ids) -> None:
    assert caller.send(ids, "oUser", attach="券" * 150).status == 200
    assert caller.send(ids, "oUser", attach="券" * 151).numeric == 268435462


def test_a_bundle_is_not_sent_one_by_one(tmp_path: Path) -> None:
    with Sandbox(history_days=0) as box:
        caller = Caller(box, tmp_path)
        single = caller.send(("1000000019", "1000000019001"), "oBundle")
        assert single.json["code"] == "INVALID_REQUEST"
        assert "PROGRESSIVE_BUNDLE" in single.json["message"]
        body = {
            "product_coupon_id": "1000000019",
            "stock_bundle_id": "91000000019",
            "appid": box.appid,
            "send_request_no": "BUNDLE_001",
        }
        sent = caller.post("users/oBundle/coupon-bundles", body).json
        ties = [coupon["user_product_coupon_bundle_info"] for coupon in sent["user_product_coupon_list"]]
        assert {tie["user_coupon_bundle_id"] for tie in ties} == {sent["user_coupon_bundle_id"]}
        assert [tie["user_coupon_bundle_index"] for tie in ties] == [0, 1, 2]
        begins = [coupon["valid_begin_time"][:10] for coupon in sent["user_product_coupon_list"]]
        assert begins == ["2026-11-02", "2026-11-04", "2026-11-06"]
        again = caller.post("users/oBundle/coupon-bundles", body | {"send_request_no": "BUNDLE_002"})
        assert again.numeric == 272756740
        assert caller.get(f"users/oBundle/coupons?appid={box.appid}").json["total_count"] == 3


# Request numbers ------------------------------------------------------------------------------------------------


def test_the_same_number_gives_the_first_answer_again_byte_for_byte(caller: Caller, ids: Ids) -> None:
    number = caller.new_number()
    first = caller.send(ids, "oTwice", send_request_no=number)
    before = caller.stock(ids)["sent_count_info"]
    caller.act("confirm", ids, "oTwice", first.json["coupon_code"])
    caller.box.advance(hours=30)
    again = caller.send(ids, "oTwice", send_request_no=number)
    assert again.body == first.body
    assert again.headers["request-id"] != first.headers["request-id"]
    assert caller.stock(ids)["sent_count_info"]["total_count"] == before["total_count"]


def test_the_order_of_fields_is_not_part_of_the_question(caller: Caller, ids: Ids) -> None:
    body = {
        "product_coupon_id": ids[0],
        "stock_id": ids[1],
        "appid": caller.box.appid,
        "send_request_no": caller.new_number(),
    }
    first = caller.post("users/oOrder/coupons", body)
    again = caller.post("users/oOrder/coupons", json.loads(json.dumps(dict(reversed(body.items())))))
    assert again.body == first.body


def test_the_same_number_with_another_question_is_refused(caller: Caller, ids: Ids) -> None:
    number = caller.new_number()
    assert caller.send(ids, "oAsk", send_request_no=number).status == 200
    for reply in (
        caller.send(ids, "oAsk", send_request_no=number, attach="else"),
        caller.send(ids, "oElse", send_request_no=number),
        caller.send(made(caller), "oAsk", send_request_no=number),
    ):
        assert (reply.status, reply.json["code"]) == (400, "INVALID_REQUEST")
        assert reply.json["detail"]["value"] == number


def test_a_refused_number_may_be_used_again(caller: Caller) -> None:
    ids = made(caller, max_count_per_day=1)
    caller.send(ids, "oFirst")
    number = caller.new_number()
    assert caller.send(ids, "oSecond", send_request_no=number).status == 400
    caller.box.advance(days=1)
    assert caller.send(ids, "oSecond", send_request_no=number).status == 200


@pytest.mark.parametrize(
    ("number", "numeric"),
    [
        ("12345", 268435463),
        ("x" * 129, 268435462),
        ("no spaces", 268435461),
        ("券" * 6, 268435461),
        (123456, 268435461),
    ],
)
def test_a_request_number_has_a_form(caller: Caller, ids: Ids, number: object, numeric: int) -> None:
    reply = caller.send(ids, "oForm", send_request_no=number)
    assert (reply.json["code"], reply.numeric) == ("PARAM_ERROR", numeric)


def test_sends_may_have_long_numbers_other_writes_may_not(caller: Caller, ids: Ids) -> None:
    assert caller.send(ids, "oLong", send_request_no="x" * 128).status == 200
    request = product_request("x" * 41)
    assert caller.post("product-coupons", request).numeric == 268435462
