"""Each fault does what it says, checked on a bare socket where http.client would tidy up."""

from __future__ import annotations

import base64
import gzip
import json
import socket
import time

import pytest

from .caller import Caller, Reply

PATH = "product-coupons/1000000013"


@pytest.fixture(scope="module")
def ids(caller: Caller) -> tuple[str, str]:
    return caller.create()


@pytest.fixture(autouse=True)
def _cleared(caller: Caller, ids: tuple[str, str]) -> None:
    caller.box.faults()


def fetch(caller: Caller) -> Reply:
    return caller.get(PATH, verify=False)


def test_a_tampered_body_is_still_json_and_no_longer_authentic(caller: Caller) -> None:
    good = fetch(caller)
    caller.box.faults("tamper_body")
    bad = fetch(caller)
    assert not caller.authentic(bad)
    assert bad.json != good.json
    assert caller.authentic(fetch(caller))  # once


def test_a_wrong_serial(caller: Caller) -> None:
    caller.box.faults("wrong_serial")
    reply = fetch(caller)
    assert reply.headers["wechatpay-serial"] != caller.known["public_key_id"]
    assert caller.authentic(reply)  # only the name is wrong


@pytest.mark.parametrize("seconds", [360, 301, -400])
def test_a_stale_timestamp_is_properly_signed(caller: Caller, seconds: int) -> None:
    caller.box.faults("stale_timestamp", seconds=seconds)
    reply = fetch(caller)
    assert abs(time.time() - seconds - int(reply.headers["wechatpay-timestamp"])) < 3
    assert caller.authentic(reply)


def test_a_missing_header(caller: Caller) -> None:
    caller.box.faults("missing_signature")
    assert "wechatpay-signature" not in fetch(caller).headers
    caller.box.faults("missing_signature", header="Wechatpay-Nonce")
    reply = fetch(caller)
    assert "wechatpay-nonce" not in reply.headers
    assert "wechatpay-signature" in reply.headers


def test_the_platform_s_probe(caller: Caller) -> None:
    caller.box.faults("signtest")
    assert fetch(caller).headers["wechatpay-signature"].startswith("WECHATPAY/SIGNTEST/")


def test_gateway_errors_are_unsigned_html_and_platform_errors_signed_json(caller: Caller) -> None:
    caller.box.faults("status", code=502, retry_after=3)
    reply = fetch(caller)
    assert (reply.status, reply.headers["retry-after"]) == (502, "3")
    assert "wechatpay-signature" not in reply.headers
    assert reply.headers["content-type"] == "text/html"
    for code, word in ((429, "RATELIMIT_EXCEEDED"), (500, "SYSTEM_ERROR")):
        caller.box.faults("status", code=code, signed=True)
        reply = fetch(caller)
        assert (reply.status, reply.json["code"]) == (code, word)
        assert caller.authentic(reply)


def test_empty_and_non_json_answers(caller: Caller) -> None:
    caller.box.faults("empty")
    assert fetch(caller).body == b""
    caller.box.faults("non_json")
    reply = fetch(caller)
    assert reply.status == 200
    assert reply.body.startswith(b"<html>")


def test_a_compressed_answer_is_signed_over_the_plain_body(caller: Caller) -> None:
    caller.box.faults("gzip")
    reply = fetch(caller)
    assert reply.headers["content-encoding"] == "gzip"
    reply.body = gzip.decompress(reply.body)
    assert caller.authentic(reply)


def on_a_socket(caller: Caller, method: str = "GET", path: str = PATH, body: bytes = b"") -> tuple[bytes, str]:
    """Send one request on a bare socket; return what came and how it ended."""
    target = caller.path(path)
    head = (
        f"{method} {target} HTTP/1.1\r\nHost: box\r\nAccept: application/json\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nAuthorization: {caller.authorization(method, target, body)}\r\n\r\n"
    )
    came = b""
    with socket.create_connection(("127.0.0.1", caller.known["port"]), timeout=10) as sock:
        sock.sendall(head.encode() + body)
        while True:
            try:
                chunk = sock.recv(65_536)
            except ConnectionResetError:
                return came, "reset"
            if not chunk:
                return came, "closed"
            came += chunk


def test_a_truncated_answer_ends_before_its_length(caller: Caller) -> None:
    caller.box.faults("truncate")
    came, end = on_a_socket(caller)
    head, _, body = came.partition(b"\r\n\r\n")
    promised = next(
        int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
    )
    assert end == "closed"
    assert head.startswith(b"HTTP/1.1 200")
    assert 0 < len(body) < promised


def test_a_reset_is_a_reset_without_a_byte(caller: Caller) -> None:
    caller.box.faults("reset")
    assert on_a_socket(caller) == (b"", "reset")
    assert caller.box.requests()[-1]["status"] is None
    assert fetch(caller).status == 200


@pytest.mark.parametrize(("when", "sent"), [("before", 0), ("after", 1)])
@pytest.mark.parametrize(
    ("kind", "options"), [("reset", {}), ("status", {"code": 500}), ("empty", {}), ("non_json", {})]
)
def test_when_says_on_which_side_of_the_commit(
    caller: Caller, ids: tuple[str, str], kind: str, options: dict[str, int], when: str, sent: int
) -> None:
    before = caller.stock(ids)["sent_count_info"]["total_count"]
    number = caller.new_number()
    body = {"product_coupon_id": ids[0], "stock_id": ids[1], "appid": caller.box.appid, "send_request_no": number}
    caller.box.faults(kind, when=when, path="/users/", **options)
    openid = f"o{kind}{when}"
    if kind == "reset":
        on_a_socket(caller, "POST", f"users/{openid}/coupons", json.dumps(body).encode())
    else:
        caller.post(f"users/{openid}/coupons", body, verify=False)
    assert caller.stock(ids)["sent_count_info"]["total_count"] == before + sent
    assert caller.post(f"users/{openid}/coupons", body).status == 200  # the same number: once in all
    assert caller.stock(ids)["sent_count_info"]["total_count"] == before + 1


def test_a_stall_delays_only_its_own_request(caller: Caller) -> None:
    caller.box.faults("stall", seconds=0.6)
    began = time.monotonic()
    assert fetch(caller).status == 200
    assert time.monotonic() - began >= 0.6


def test_filters_counts_and_clearing(caller: Caller) -> None:
    caller.box.faults("status", times=2, path=r"/stocks$", method="get")
    assert fetch(caller).status == 200
    stocks = [caller.get(PATH + "/stocks", verify=False).status for _ in range(3)]
    assert stocks == [500, 500, 200]
    caller.box.faults("status", times=None)
    assert {fetch(caller).status for _ in range(4)} == {500}
    caller.box.faults()
    assert fetch(caller).status == 200
    caller.box.faults("status", times=None, probability=0.5)
    seen = [fetch(caller).status for _ in range(30)]
    assert 4 < seen.count(500) < 26


def test_unknown_kinds_and_options_are_refused_with_what_there_is(caller: Caller) -> None:
    with pytest.raises(ValueError, match="unknown fault 'typo'; there are: tamper_body"):
        caller.box.faults("typo")
    with pytest.raises(ValueError, match="does not take second; its options: seconds, when"):
        caller.box.faults("stall", second=1)
    with pytest.raises(ValueError, match="'before' or 'after'"):
        caller.box.faults("stall", when="later")
    assert base64.b64decode(fetch(caller).headers["wechatpay-signature"])
