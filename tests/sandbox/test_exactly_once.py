"""A request number means one result: for the brand, whoever calls; and whatever goes wrong after the books have changed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from wxcoupon_analytics.sandbox.__main__ import build
from wxcoupon_analytics.sandbox.events import issue
from wxcoupon_analytics.sandbox.keys import BRAND, Flavour
from wxcoupon_analytics.sandbox.operations import Call
from wxcoupon_analytics.sandbox.refusals import RefusedError
from wxcoupon_analytics.sandbox.server import Box

from .caller import Caller, product_request

START = 1_793_584_800


@pytest.fixture(scope="module")
def inside() -> Box:
    """The server's own objects, in this process."""
    return build(seed=7, start=START, history_days=0, behaviour=None, tick=False, rate_limits=False)


def ask(inside: Box, operation: str, body: dict[str, Any], flavour: Flavour = BRAND, **params: str) -> Any:
    call = Call(flavour, operation, params, {}, body, inside.now())
    return json.loads("".join(getattr(inside.operations, operation)(call)))


def sending_stock(inside: Box, number: str, mode: str = "WECHATPAY") -> tuple[str, str]:
    created = ask(inside, "create_product_coupon", product_request(number, mode=mode))
    inside.clock.advance(700)
    inside.now()
    return created["product_coupon_id"], created["stock"]["stock_id"]


def send_body(inside: Box, ids: tuple[str, str], number: str) -> dict[str, Any]:
    appid = inside.account.appid
    return {"product_coupon_id": ids[0], "stock_id": ids[1], "appid": appid, "send_request_no": number}


def test_a_send_whose_answer_could_not_be_written_is_never_repeated(
    inside: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = sending_stock(inside, "FAILING_1")
    body = send_body(inside, ids, "SEND_FAILING_1")

    def fail(*_: object, **__: object) -> None:
        raise OverflowError("date value out of range")

    with monkeypatch.context() as broken:
        broken.setattr(inside.operations._writer, "coupon", fail)
        with pytest.raises(OverflowError):
            ask(inside, "send_coupon", body, openid="oOnce")
    for _ in range(2):
        with pytest.raises(RefusedError) as told:
            ask(inside, "send_coupon", body, openid="oOnce")
        assert (told.value.status, told.value.code) == (500, "SYSTEM_ERROR")
    assert len(inside.books.users["oOnce"]) == 1


def test_a_code_is_given_out_once(inside: Box) -> None:
    ids = sending_stock(inside, "CODES_1", "API_ASSIGN")
    stock = inside.books.products[ids[0]].stocks[0]
    issue(inside.books, stock, "oFirst", START, request_no="A", channel="API", code="TAKEN")
    with pytest.raises(AssertionError, match="'TAKEN' of stock .* was already given out"):
        issue(inside.books, stock, "oSecond", START, request_no="B", channel="API", code="TAKEN")
    assert stock.coupons["TAKEN"].openid == "oFirst"
    assert len(stock.coupons) == 1


def test_no_product_coupon_has_more_than_two_hundred_live_stocks(inside: Box) -> None:
    product, first = sending_stock(inside, "MANY_STOCKS")
    stock = product_request("x")["stock"]
    for number in range(199):
        body = {"out_request_no": f"STOCK_{number:03d}", "stock": stock}
        ask(inside, "create_stock", body, product_coupon_id=product)
    one_more = {"out_request_no": "STOCK_ONE_MORE", "stock": stock}
    with pytest.raises(RefusedError, match="一个商品券下最多200个可用批次") as told:
        ask(inside, "create_stock", one_more, product_coupon_id=product)
    assert told.value.code == "INVALID_REQUEST"
    ending = {"out_request_no": "END_ONE", "deactivate_reason": "让位"}
    ask(inside, "deactivate_stock", ending, product_coupon_id=product, stock_id=first)
    assert ask(inside, "create_stock", one_more, product_coupon_id=product)["state"] == "AUDITING"


# Over the wire --------------------------------------------------------------------------------------------------


def test_the_same_number_through_brand_and_partner_is_one_send(caller: Caller, partner: Caller) -> None:
    ids = caller.create()
    number = caller.new_number()
    first = caller.send(ids, "oBoth", send_request_no=number)
    again = partner.send(ids, "oBoth", send_request_no=number)
    assert (again.status, again.body) == (200, first.body)
    assert caller.stock(ids)["sent_count_info"]["total_count"] == 1
    other = partner.send(ids, "oElse", send_request_no=number)
    assert (other.status, other.json["code"]) == (400, "INVALID_REQUEST")


def test_a_number_belongs_to_one_operation(caller: Caller) -> None:
    ids = caller.create()
    number = caller.new_number()
    codes = [caller.send(ids, f"oOp{n}").json["coupon_code"] for n in range(2)]
    assert caller.act("confirm", ids, "oOp0", codes[0], out_request_no=number).status == 200
    assert caller.act("deactivate", ids, "oOp0", codes[0], out_request_no=number, deactivate_reason="r").status == 200
    elsewhere = caller.act("confirm", ids, "oOp1", codes[1], out_request_no=number)
    assert (elsewhere.status, elsewhere.json["detail"]["field"]) == (400, "/out_request_no")


def test_what_the_path_names_is_part_of_the_question(caller: Caller) -> None:
    one, two = caller.create(), caller.create()
    body = {"out_request_no": caller.new_number(), "deactivate_reason": "同一单号"}
    assert caller.post(f"product-coupons/{one[0]}/stocks/{one[1]}/deactivate", body).status == 200
    assert caller.post(f"product-coupons/{two[0]}/stocks/{two[1]}/deactivate", body).status == 400
    assert caller.stock(two)["state"] == "SENDING"
