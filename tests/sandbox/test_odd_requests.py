"""Whatever a request contains, the answer is the platform's, signed: no request makes the server stumble."""

from __future__ import annotations

import copy
import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from .caller import Caller, product_request
from .test_bundles import bundle_request
from .test_create_rules import BASES

ODD: list[Any] = [None, "", "x" * 200, 0, -1, 10**30, 1.5, True, [], [None], [[]], {}, {"a": None}]


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Go over the path of every value in a document."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for name, value in items:
        yield (*path, name)
        yield from places(value, (*path, name))


def with_odd_values(caller: Caller, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Put odd values, in turn, into every place; a number of its own keeps each from being a repetition."""
    number_field = "send_request_no" if "send_request_no" in body else "out_request_no"
    for number, path in enumerate(places(body)):
        for odd in (ODD[number % len(ODD)], ODD[(number * 5 + 3) % len(ODD)]):
            changed = copy.deepcopy(body) | {number_field: caller.new_number()}
            place: Any = changed
            for name in path[:-1]:
                place = place[name]
            place[path[-1]] = odd
            yield changed


@pytest.mark.parametrize("base", BASES)
def test_odd_values_in_a_create_request(caller: Caller, base: str) -> None:
    for body in with_odd_values(caller, BASES[base]):
        reply = caller.post("product-coupons", body, verify=False)
        assert reply.status in (200, 400), (body, reply.body)
        assert "wechatpay-signature" in reply.headers


@pytest.mark.parametrize("verb", ["", "/confirm", "/use", "/return", "/deactivate"])
def test_odd_values_in_what_is_done_with_coupons(caller: Caller, verb: str) -> None:
    ids = caller.create()
    code = caller.send(ids, "oOdd").json["coupon_code"]
    body = {
        "product_coupon_id": ids[0],
        "stock_id": ids[1],
        "appid": caller.box.appid,
        "send_request_no" if verb == "" else "out_request_no": "ODD_REQUEST",
        "coupon_code": None,
        "attach": "a",
        "coupon_tag_info": {"coupon_tag_list": ["MEMBER"], "member_tag_info": {"member_card_id": "c"}},
        "use_time": caller.box.now().isoformat(),
        "associated_order_info": {"transaction_id": "4"},
        "associated_pay_score_order_info": {"order_id": "4"},
        "saved_amount": 1,
        "sequential_coupon_index": 0,
        "deactivate_reason": "r",
    }
    path = "users/oOdd/coupons" + (f"/{code}{verb}" if verb else "")
    for changed in with_odd_values(caller, body):
        reply = caller.post(path, changed, verify=False)
        assert reply.status in (200, 400, 403, 404), (changed, reply.body)
    listed = caller.get(f"users/oOdd/coupons?appid={caller.box.appid}")
    assert listed.status == 200


def test_odd_values_in_bundles_changes_stores_and_settings(caller: Caller) -> None:
    created = caller.post("product-coupons", bundle_request(caller.new_number())).json
    caller.box.advance(minutes=11)
    product, bundle = created["product_coupon_id"], created["stock_bundle"]["stock_bundle_id"]
    stock = created["stock_bundle"]["stock_list"][0]["stock_id"]
    of_user = {"product_coupon_id": product, "stock_bundle_id": bundle, "appid": caller.box.appid}
    sent = caller.post("users/oOdd/coupon-bundles", of_user | {"send_request_no": caller.new_number()}).json
    tie = sent["user_coupon_bundle_id"]
    budget = {"update_mode": "MAX_COUNT", "current_max_count": 1_000, "target_max_count": 1_001}
    given = BASES["page"]["stock"]
    changes = {
        name: given[name] for name in ("remark", "usage_rule_display_info", "coupon_display_info", "store_scope")
    }
    requests = [
        ("POST", "product-coupons", bundle_request("x")),
        ("POST", f"product-coupons/{product}/stock-bundles", {"stock_bundle": bundle_request("x")["stock_bundle"]}),
        ("PATCH", f"product-coupons/{product}/stock-bundles/{bundle}", changes),
        ("PATCH", f"product-coupons/{product}/stocks/{stock}", changes),
        ("PATCH", f"product-coupons/{product}", {"display_info": BASES["item"]["display_info"]}),
        ("POST", f"product-coupons/{product}/stock-bundles/{bundle}/update-budget", budget),
        ("POST", f"product-coupons/{product}/stocks/{stock}/associate-stores", {"store_list": [{"store_id": "S1"}]}),
        ("POST", "notify-configs", {"notify_url": "https://example.com"}),
        ("POST", "users/oOdd/coupon-bundles", of_user | {"send_request_no": "x", "attach": "a"}),
        ("POST", f"users/oOdd/coupon-bundles/{tie}/confirm", of_user),
        ("POST", f"users/oOdd/coupon-bundles/{tie}/deactivate", of_user | {"deactivate_reason": "r"}),
    ]
    for method, path, body in requests:
        for changed in with_odd_values(caller, body):
            reply = caller.call(method, path, changed, verify=False)
            assert reply.status in (200, 400, 404), (changed, reply.body)
            assert "wechatpay-signature" in reply.headers
    for entity in ("product_coupons", "stocks", "user_coupons"):
        assert len(caller.box.truth(entity)) > 0  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "body",
    [
        b'{"out_request_no":"\\ud800\\ud800"}',
        b"[" * 100_000,
        '{"a":"b"}'.encode("utf-16"),
        b"NaN",
        b'{"a":NaN}',
        b"\x00",
    ],
    ids=["half a pair", "deep", "utf-16", "nan", "nan inside", "zero"],
)
def test_bodies_that_are_hardly_json(caller: Caller, body: bytes) -> None:
    target = caller.path("product-coupons")
    reply = caller.raw("POST", target, body, caller.headers(caller.authorization("POST", target, body)))
    assert reply.status == 400
    assert caller.authentic(reply)
    assert json.loads(reply.body)["code"] == "PARAM_ERROR"


@pytest.mark.parametrize("codes", [[[]], [None], [1], ["A1", {}], "A1", None, 7, {}, [True]], ids=repr)
def test_codes_to_upload_are_a_required_list_of_strings(caller: Caller, codes: object) -> None:
    ids = caller.create(product_request(caller.new_number(), mode="UPLOAD"))
    path = f"product-coupons/{ids[0]}/stocks/{ids[1]}/upload-coupon-codes"
    reply = caller.post(path, {"out_request_no": caller.new_number(), "code_list": codes})
    assert (reply.status, reply.json["code"]) == (400, "PARAM_ERROR")
    assert reply.json["detail"]["field"].startswith("/code_list")
    absent = caller.post(path, {"out_request_no": caller.new_number()})
    assert (absent.status, absent.json["detail"]["issue"]) == (400, "required")


@pytest.mark.parametrize("token", ["%E5%BC%A0", "AAAA", "%00", "=", "A" * 5_000, "%F0%9F%98%80"])
def test_page_tokens_that_were_never_given_out(caller: Caller, token: str) -> None:
    reply = caller.get(f"users/oOdd/coupons?appid={caller.box.appid}&page_token={token}")
    assert (reply.status, reply.json["code"]) == (400, "PARAM_ERROR")


def test_a_target_that_is_not_ascii_is_refused_like_any_other_bad_request(caller: Caller) -> None:
    for path in ("users/张/coupons", "users/o/coupons?appid=张", "张"):
        with socket.create_connection(("127.0.0.1", caller.known["port"]), timeout=10) as sock:
            sock.sendall(f"GET {caller.path(path)} HTTP/1.1\r\nHost: box\r\n\r\n".encode())
            assert sock.recv(65_536).split()[1] in (b"400", b"401", b"404")


@pytest.mark.parametrize("name", ["associated_order_info", "associated_pay_score_order_info"])
@pytest.mark.parametrize("odd", [[], "4200001", {"transaction_id": 1, "order_id": 1}, {"mchid": [1]}, {"a": "b"}, {}])
def test_an_order_that_is_none_is_refused(caller: Caller, name: str, odd: object) -> None:
    ids = caller.create()
    code = caller.send(ids, "oOrders").json["coupon_code"]
    caller.act("confirm", ids, "oOrders", code)
    reply = caller.use(ids, "oOrders", code, **{"associated_order_info": None, name: odd})
    assert (reply.status, reply.json["code"]) == (400, "PARAM_ERROR")


@pytest.mark.parametrize("header", ["é", 'x="', " , ,", 'a="b"' * 500])
def test_authorization_headers_that_are_hardly_headers(caller: Caller, header: str) -> None:
    target = caller.path("product-coupons/1")
    good = caller.authorization("GET", target, b"")
    for text in (header, f"{good.partition(' ')[0]} {header}", good + header):
        reply = caller.raw("GET", target, b"", {"Accept": "application/json", "Authorization": text})
        assert reply.status == 401
    signature = caller.authorization("GET", target, b"", signature="é" * 8)
    assert caller.raw("GET", target, b"", {"Accept": "application/json", "Authorization": signature}).status == 401
    late = caller.authorization("GET", target, b"", timestamp="9" * 5_000)
    assert caller.raw("GET", target, b"", {"Accept": "application/json", "Authorization": late}).status == 401


def test_what_the_platform_does_not_know_is_ignored_and_nothing_ill_typed_gets_in(caller: Caller) -> None:
    body = copy.deepcopy(BASES["page"]) | {"out_request_no": caller.new_number(), "stock_id": "1", "state": "EFFECTIVE"}
    body["stock"] |= {"stock_id": "mine", "sent_count_info": {"total_count": -5}, "novelty": 1, "remark": None}
    created = caller.post("product-coupons", body).json
    assert created["state"] == "AUDITING"
    assert created["stock"]["stock_id"] == created["product_coupon_id"] + "001"
    assert created["stock"]["sent_count_info"]["total_count"] == 0
    assert not {"novelty", "remark"} & set(created["stock"])
    for number, body in enumerate(with_odd_values(caller, BASES["page"])):
        if number % 3 == 0:
            caller.post("product-coupons", body, verify=False)
    for entity in ("product_coupons", "stocks"):  # a frame of declared types can hold all that was accepted
        assert len(caller.box.truth(entity)) > 0  # type: ignore[arg-type]
