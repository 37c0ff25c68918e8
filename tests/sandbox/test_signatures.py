"""Requests are accepted exactly when they are signed as the platform wants, and answers verify with openssl."""

from __future__ import annotations

import json
import time

import pytest

from .caller import SCHEME, Caller

PATH = "product-coupons/1000000013/stocks"


@pytest.fixture(scope="module")
def target(caller: Caller) -> str:
    caller.create()
    return caller.path(PATH)


def send(caller: Caller, target: str, authorization: str | None, **headers: str) -> tuple[int, dict[str, object]]:
    reply = caller.raw("GET", target, b"", caller.headers(authorization, **headers))
    assert ("wechatpay-signature" in reply.headers) == (reply.status != 401)
    return reply.status, reply.json


def test_a_request_signed_by_openssl_is_accepted_and_its_answer_verifies(caller: Caller, target: str) -> None:
    reply = caller.get(PATH)
    assert reply.status == 200
    assert caller.authentic(reply)
    assert reply.headers["wechatpay-serial"] == caller.known["public_key_id"]
    assert abs(int(reply.headers["wechatpay-timestamp"]) - time.time()) < 5  # the wall clock, not business time
    assert reply.headers["wechatpay-signature-type"] == SCHEME["brand"]
    assert reply.numeric == 0
    assert "date" in reply.headers


def test_the_openssl_check_itself_refuses_a_changed_body(caller: Caller, target: str) -> None:
    reply = caller.get(PATH)
    reply.body = reply.body.replace(b"1000", b"1001", 1)
    assert not caller.authentic(reply)


def test_refusals_by_rules_are_signed_too(caller: Caller, target: str) -> None:
    reply = caller.get("product-coupons/4711")
    assert reply.status == 404
    assert caller.authentic(reply)


@pytest.mark.parametrize(
    "change",
    [
        {"serial_no": "0" * 40},
        {"brand_id": "999999"},
        {"timestamp": "NOW-301"},
        {"timestamp": "NOW+305"},
        {"timestamp": "yesterday"},
        {"nonce_str": ""},
        {"signature": "bm90IGEgc2lnbmF0dXJl"},
        {"signature": "not base64"},
        {"scheme": SCHEME["partner"]},
    ],
    ids=str,
)
def test_a_wrong_part_of_the_header_is_refused_unsigned(caller: Caller, target: str, change: dict[str, str]) -> None:
    change = dict(change)
    if change.get("timestamp", "").startswith("NOW"):
        change["timestamp"] = str(int(time.time()) + int(change["timestamp"][3:]))
    status, body = send(caller, target, caller.authorization("GET", target, b"", **change))
    assert (status, body["code"]) == (401, "SIGN_ERROR")


def test_a_timestamp_within_five_minutes_is_accepted(caller: Caller, target: str) -> None:
    for offset in (-290, 290):
        stamp = str(int(time.time()) + offset)
        assert send(caller, target, caller.authorization("GET", target, b"", timestamp=stamp))[0] == 200


def test_no_header_and_a_garbled_header_are_refused(caller: Caller, target: str) -> None:
    good = caller.authorization("GET", target, b"")
    for header in (None, "", SCHEME["brand"], good.replace('",', '";', 1), good + " trailing"):
        assert send(caller, target, header)[0] == 401


@pytest.mark.parametrize(("method", "path"), [("POST", PATH), ("GET", PATH + "?page_size=20"), ("GET", PATH + "/")])
def test_the_signature_covers_method_path_and_query(caller: Caller, target: str, method: str, path: str) -> None:
    header = caller.authorization(method, caller.path(path), b"")
    status, body = send(caller, target, header)
    assert status == 401
    assert body["message"] == "错误的签名,验签失败"


def test_the_signature_covers_the_body(caller: Caller) -> None:
    target = caller.path("product-coupons")
    header = caller.authorization("POST", target, b'{"a":1}')
    assert caller.raw("POST", target, b'{"a":2}', caller.headers(header)).status == 401


def test_a_refused_signature_echoes_what_the_server_read(caller: Caller, target: str) -> None:
    asked = target + "?state=SENDING"
    header = caller.authorization("GET", target, b"")
    status, body = send(caller, asked, header)
    detail = body["detail"]
    assert status == 401
    assert isinstance(detail, dict)
    assert (detail["field"], detail["location"]) == ("signature", "authorization")
    told = detail["sign_information"]
    assert (told["method"], told["url"]) == ("GET", asked)
    assert told["truncated_sign_message"].startswith(f"GET\n{asked}\n")
    assert told["sign_message_length"] == len(f"GET\n{asked}\n{int(time.time())}\n{'0' * 32}\n\n")


def test_the_partner_signs_with_its_own_key_scheme_and_identity(caller: Caller, partner: Caller) -> None:
    ids = caller.create()
    reply = partner.get(f"product-coupons/{ids[0]}")
    assert reply.status == 200
    assert reply.json["brand_id"] == partner.box.brand_id
    assert "brand_id" not in caller.get(f"product-coupons/{ids[0]}").json
    as_brand = caller.authorization("GET", partner.path(f"product-coupons/{ids[0]}"), b"")
    assert send(partner, partner.path(f"product-coupons/{ids[0]}"), as_brand)[0] == 401


def test_wechatpay_serial_must_be_the_account_s_key_id_and_only_a_partner_may_leave_it_out(
    caller: Caller, partner: Caller, target: str
) -> None:
    header = caller.authorization("GET", target, b"")
    assert send(caller, target, header)[0] == 200
    status, body = send(caller, target, header, **{"Wechatpay-Serial": "PUB_KEY_ID_1"})
    assert (status, body["code"]) == (400, "PARAM_ERROR")
    without = caller.raw("GET", target, b"", {"Accept": "application/json", "Authorization": header})
    assert (without.status, without.json["code"]) == (400, "PARAM_ERROR")
    assert without.json["detail"]["field"] == "Wechatpay-Serial"
    theirs = partner.path(PATH) + f"?brand_id={partner.box.brand_id}"
    header = partner.authorization("GET", theirs, b"")
    assert partner.raw("GET", theirs, b"", {"Accept": "application/json", "Authorization": header}).status == 200


def test_the_platform_wants_to_be_told_json(caller: Caller, target: str) -> None:
    assert send(caller, target, caller.authorization("GET", target, b""), Accept="text/html")[0] == 400
    body = json.dumps({"out_request_no": "123456"}).encode()
    path = caller.path("product-coupons")
    headers = caller.headers(caller.authorization("POST", path, body), **{"Content-Type": "text/plain"})
    assert caller.raw("POST", path, body, headers).json["code"] == "PARAM_ERROR"


def test_a_body_that_is_no_json_object_is_refused(caller: Caller) -> None:
    path = caller.path("product-coupons")
    for body in (b"", b"{", b"[]", b"\xff"):
        reply = caller.raw("POST", path, body, caller.headers(caller.authorization("POST", path, body)))
        assert (reply.status, reply.json["code"]) == (400, "PARAM_ERROR")


def test_brand_id_belongs_where_the_flavour_wants_it(caller: Caller, partner: Caller) -> None:
    ids = caller.create()
    path = f"product-coupons/{ids[0]}"
    assert caller.get(f"{path}?brand_id={caller.box.brand_id}").status == 400
    assert caller.post("product-coupons", {"brand_id": caller.box.brand_id}).status == 400
    target = partner.path(path)
    headers = {"Accept": "application/json", "Authorization": partner.authorization("GET", target, b"")}
    missing = partner.raw("GET", target, b"", headers)
    assert (missing.status, missing.json["detail"]["field"]) == (400, "brand_id")
    target += "?brand_id=1"
    headers["Authorization"] = partner.authorization("GET", target, b"")
    refused = partner.raw("GET", target, b"", headers)
    assert (refused.status, refused.json) == (403, {"code": "NO_AUTH", "message": "缺少业务相关权限"})


def test_other_paths_are_not_found_and_other_methods_not_allowed(caller: Caller) -> None:
    for path in (
        "/v3/certificates",
        caller.path("product-coupons/1/more"),
        caller.path("users/o/pre-send-coupon-bundle"),
    ):
        unknown = caller.raw("GET", path, b"", {})
        assert (unknown.status, unknown.json["code"]) == (404, "NOT_FOUND")
        assert unknown.numeric != 0  # a number of success would belie it
    assert caller.raw("DELETE", caller.path("product-coupons/1"), b"", {}).status == 405


def test_the_control_routes_want_the_token(caller: Caller) -> None:
    for headers in ({}, {"Authorization": "Bearer guess"}):
        assert caller.raw("GET", "/_sandbox/truth?entity=stocks", b"", headers).status == 403
