"""What may be changed later, where coupons hold, where events go, and images."""

from __future__ import annotations

import hashlib
import json
from typing import Any
from urllib.parse import quote

import pytest

from .caller import Caller, Reply, product_request
from .test_bundles import bundle_request
from .test_create_rules import single_item

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40 + b"\r\n--almost\r\n\r\n"


@pytest.fixture(params=["brand", "partner"])
def who(request: pytest.FixtureRequest, caller: Caller, partner: Caller) -> Caller:
    return {"brand": caller, "partner": partner}[request.param]


def deactivate(who: Caller, path: str) -> None:
    ending = {"out_request_no": who.new_number(), "deactivate_reason": "结束"}
    assert who.post(f"{path}/deactivate", ending).status == 200


# Changes --------------------------------------------------------------------------------------------------------


def test_what_a_product_coupon_shows_is_changed_as_a_whole(who: Caller) -> None:
    ids = who.create()
    path = f"product-coupons/{ids[0]}"
    code = who.send(ids, "oShown").json["coupon_code"]
    display = {"name": "新名字好看", "image_url": "https://example.com/b.png"}
    request = {"out_request_no": who.new_number(), "display_info": display | {"novelty": 1}}
    changed = who.patch(path, request)
    assert changed.json["display_info"] == display
    assert changed.json == who.get(path).json
    assert who.patch(path, request).body == changed.body
    assert who.coupon(ids, "oShown", code).json["product_coupon"]["display_info"] == display  # echoes follow
    short = who.patch(path, {"out_request_no": who.new_number(), "display_info": display | {"name": "短"}})
    assert (short.json["code"], short.json["detail"]["field"]) == ("PARAM_ERROR", "/display_info/name")
    assert who.patch(path, {"out_request_no": who.new_number()}).json["detail"]["field"] == "/display_info"
    deactivate(who, path)
    ended = who.patch(path, {"out_request_no": who.new_number(), "display_info": display})
    assert (ended.json["code"], ended.numeric) == ("INVALID_REQUEST", 268578367)


def test_a_single_item_keeps_its_price_when_it_is_changed(who: Caller) -> None:
    item = single_item("NORMAL", {"threshold": 0, "discount_amount": 100}) | {"out_request_no": who.new_number()}
    ids = who.create(item)
    display = {name: value for name, value in item["display_info"].items() if name != "original_price"}
    refused = who.patch(f"product-coupons/{ids[0]}", {"out_request_no": who.new_number(), "display_info": display})
    assert refused.json["message"] == "单品券必须提供商品原价,请补充"


def test_a_stock_is_changed_in_what_the_request_names(who: Caller) -> None:
    ids = who.create()
    path = f"product-coupons/{ids[0]}/stocks/{ids[1]}"
    before = who.stock(ids)
    usage = {"coupon_usage_method_list": ["PAYMENT_CODE"], "usage_description": "改"}
    request = {"out_request_no": who.new_number(), "usage_rule_display_info": usage, "max_count": 5}
    changed = who.patch(path, request)
    assert changed.json == before | {"usage_rule_display_info": usage} == who.stock(ids)
    assert who.patch(path, request).body == changed.body
    bad = usage | {"coupon_usage_method_list": ["MINI_PROGRAM"]}
    refused = who.patch(path, {"out_request_no": who.new_number(), "usage_rule_display_info": bad})
    assert refused.json["message"] == "商品券支持小程序核销时,必须提供「小程序AppID」"
    card = {"entrance_official_account": {}}
    refused = who.patch(path, {"out_request_no": who.new_number(), "coupon_display_info": card})
    assert refused.json["detail"]["field"] == "/coupon_display_info/entrance_official_account/appid"
    deactivate(who, path)
    assert who.patch(path, {"out_request_no": who.new_number(), "remark": "晚了"}).numeric == 268578367


# Stores ---------------------------------------------------------------------------------------------------------


def with_stores(who: Caller) -> tuple[str, str]:
    body = product_request(who.new_number())
    body["stock"]["store_scope"] = "SPECIFIC"
    return who.create(body)


def stores(*names: str) -> dict[str, Any]:
    return {"store_list": [{"store_id": name} for name in names]}


def listed(who: Caller, path: str, size: int = 50) -> list[str]:
    names: list[str] = []
    token = ""
    while True:
        query = f"?page_size={size}" + (f"&page_token={quote(token, safe='')}" if token else "")
        page = who.get(f"{path}/associated-stores{query}").json
        names += [row["store_id"] for row in page["store_list"]]
        token = page.get("next_page_token", "")
        if not token:
            assert page["total_count"] == len(names)
            return names


def test_stores_are_associated_listed_in_pages_and_disassociated(who: Caller) -> None:
    ids = with_stores(who)
    path = f"product-coupons/{ids[0]}/stocks/{ids[1]}"
    names = [f"S{number}" for number in range(5)]
    reply = who.post(f"{path}/associate-stores", stores(*names, "S0", "不合法"))
    assert reply.json == {
        "total_count": 6,
        "success_store_list": stores(*names)["store_list"],
        "failed_store_list": [{"store_id": "不合法", "code": "PARAM_ERROR", "message": "门店ID不合法"}],
    }
    assert who.post(f"{path}/associate-stores", stores("S1")).json["success_store_list"] == [{"store_id": "S1"}]
    assert listed(who, path) == listed(who, path, 2) == names
    reply = who.post(f"{path}/disassociate-stores", stores("S1", "S9"))
    assert (reply.json["total_count"], reply.json["success_store_list"]) == (2, [{"store_id": "S1"}])
    assert reply.json["failed_store_list"] == [{"store_id": "S9", "code": "NOT_FOUND", "message": "门店未关联该批次"}]
    who.post(f"{path}/associate-stores", stores("S1"))
    assert listed(who, path, 2) == ["S0", "S2", "S3", "S4", "S1"]


@pytest.mark.parametrize("verb", ["associate-stores", "disassociate-stores"])
def test_only_a_stock_for_particular_stores_takes_them(who: Caller, verb: str) -> None:
    ids = who.create()
    refused = who.post(f"product-coupons/{ids[0]}/stocks/{ids[1]}/{verb}", stores("S1"))
    assert (refused.status, refused.json["code"]) == (400, "INVALID_REQUEST")
    assert "SPECIFIC" in refused.json["message"]
    ids = with_stores(who)
    for odd in ({}, {"store_list": []}, {"store_list": ["S1"]}, {"store_list": [{}]}, stores("")):
        refused = who.post(f"product-coupons/{ids[0]}/stocks/{ids[1]}/{verb}", odd)
        assert (refused.status, refused.json["code"]) == (400, "PARAM_ERROR")


def test_stores_of_a_bundle_are_those_of_each_of_its_stocks(who: Caller) -> None:

    body = bundle_request(who.new_number())
    body["stock_bundle"]["store_scope"] = "SPECIFIC"
    created = who.post("product-coupons", body).json
    product, bundle = created["product_coupon_id"], created["stock_bundle"]
    path = f"product-coupons/{product}/stock-bundles/{bundle['stock_bundle_id']}"
    each = [f"product-coupons/{product}/stocks/{stock['stock_id']}" for stock in bundle["stock_list"]]
    assert who.post(f"{path}/associate-stores", stores("S1", "S2")).json["total_count"] == 2
    assert [listed(who, stock) for stock in each] == [["S1", "S2"]] * 2
    assert who.post(f"{path}/disassociate-stores", stores("S1")).json["failed_store_list"] == []
    assert [listed(who, stock) for stock in each] == [["S2"]] * 2
    missing = who.post(f"product-coupons/{product}/stock-bundles/1/associate-stores", stores("S1"))
    assert (missing.status, missing.json["code"]) == (404, "NOT_FOUND")


# Settings -------------------------------------------------------------------------------------------------------


def test_the_address_for_events_is_kept_for_each_caller(who: Caller) -> None:
    url = f"https://example.com/{who.flavour}"
    kept = who.post("notify-configs", {"notify_url": url}).json
    assert kept == {"notify_url": url, "update_time": who.box.now().isoformat()}
    who.box.advance(minutes=1)
    assert who.get("notify-configs").json == kept
    for bad in (
        "http://example.com/",
        "https://",
        "example.com",
        "https://[",
        "",
        None,
        7,
        "https://e.com/" + "x" * 300,
    ):
        refused = who.post("notify-configs", {"notify_url": bad})
        assert (refused.json["code"], refused.json["detail"]["field"]) == ("PARAM_ERROR", "/notify_url")
    assert who.get("notify-configs").json == kept


def upload(who: Caller, file: bytes | None = PNG, *, signed: bytes | None = None, **meta: Any) -> Reply:
    described = json.dumps({"filename": "图.png", "sha256": hashlib.sha256(file or b"").hexdigest()} | meta).encode()
    parts = [b'Content-Disposition: form-data; name="meta"\r\nContent-Type: application/json\r\n\r\n' + described]
    if file is not None:
        head = 'Content-Disposition: form-data; name="file"; filename="图.png"\r\nContent-Type: image/png\r\n\r\n'
        parts.append(head.encode() + file)
    body = b"".join(b"--edge\r\n" + part + b"\r\n" for part in parts) + b"--edge--\r\n"
    target = who.path("media/upload-image")
    headers = who.headers(
        who.authorization("POST", target, described if signed is None else signed),
        **{"Content-Type": 'multipart/form-data; boundary="edge"'},
    )
    return who.raw("POST", target, body, headers)


def test_an_image_is_uploaded_under_the_signature_of_its_description(who: Caller) -> None:
    reply = upload(who)
    assert reply.status == 200, reply.json
    assert who.authentic(reply)
    assert reply.json["image_url"].startswith("https://wxpaylogo.qpic.cn/")
    assert upload(who).json == reply.json
    assert upload(who, PNG + b"x").json != reply.json


def test_an_image_that_is_not_the_one_described_is_refused(who: Caller) -> None:
    other = upload(who, sha256="0" * 64)
    assert (other.status, other.json["detail"]["field"]) == (400, "/meta/sha256")
    assert upload(who, filename="").json["detail"]["field"] == "/meta/filename"
    assert upload(who, sha256=None).json["detail"]["field"] == "/meta/sha256"
    assert upload(who, None).json["detail"]["field"] == "/file"
    assert upload(who, b"").json["detail"]["field"] == "/file"
    assert upload(who, signed=PNG).status == 401  # not what is signed


def test_a_body_that_is_no_form_is_refused(caller: Caller) -> None:
    target = caller.path("media/upload-image")
    for kind, body in (
        ("application/json", b"{}"),
        ("multipart/form-data", b"--edge--"),
        ("multipart/form-data; boundary=edge", b'--edge\r\nContent-Disposition: form-data; name="meta"\r\n\r\n{}'),
    ):
        headers = caller.headers(caller.authorization("POST", target, b""), **{"Content-Type": kind})
        reply = caller.raw("POST", target, body, headers)
        assert (reply.status, reply.json["code"]) == (400, "PARAM_ERROR")
