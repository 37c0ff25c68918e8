"""Each fault does what it says, checked on a bare socket where http.client would tidy up."""

from __future__ import annotations

import base64
import gzip
import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

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
    assert reply.numeric != 0


@pytest.mark.parametrize(
    ("code", "word", "numeric"),
    [
        (400, "PARAM_ERROR", 268435461),
        (401, "SIGN_ERROR", None),
        (403, "NO_AUTH", None),
        (404, "NOT_FOUND", 268578608),
        (429, "RATELIMIT_EXCEEDED", 270924289),
        (500, "SYSTEM_ERROR", None),
        (503, "SYSTEM_ERROR", None),
    ],
)
def test_a_signed_status_says_what_fits_it(caller: Caller, code: int, word: str, numeric: int | None) -> None:
    caller.box.faults("status", code=code, signed=True)
    reply = fetch(caller)
    assert (reply.status, reply.json["code"]) == (code, word)
    assert reply.json["message"]
    assert reply.numeric == numeric or (numeric is None and reply.numeric != 0)
    assert caller.authentic(reply)


def test_no_auth_is_worded_by_flavour(caller: Caller, partner: Caller, ids: tuple[str, str]) -> None:
    for who, words in ((caller, "品牌没有此接口权限"), (partner, "缺少业务相关权限")):
        caller.box.faults("status", code=403, signed=True)
        assert who.get(PATH, verify=False).json["message"] == words


def test_an_answer_without_a_body_is_signed_over_nothing(caller: Caller) -> None:
    caller.box.faults("status", code=204)
    reply = fetch(caller)
    assert (reply.status, reply.body, reply.numeric) == (204, b"", 0)
    assert "content-length" not in reply.headers
    assert caller.authentic(reply)
    caller.box.faults("status", code=204, signed=False)
    assert "wechatpay-signature" not in fetch(caller).headers


@pytest.mark.parametrize("path", [PATH, "users/oNobody/coupons?appid={appid}"], ids=["chinese", "ascii"])
def test_another_charset_than_declared_is_authentic_and_no_utf8(caller: Caller, path: str) -> None:
    caller.box.faults("charset")
    reply = caller.get(path.format(appid=caller.box.appid), verify=False)
    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json; charset=utf-8"
    assert caller.authentic(reply)
    with pytest.raises(UnicodeDecodeError):
        reply.body.decode()
    json.loads(reply.body.decode("gbk"))


def test_a_half_open_connection_stays_silent_before_it_ends(caller: Caller) -> None:
    caller.box.faults("half_open", seconds=0.8)
    began = time.monotonic()
    came, end = on_a_socket(caller)
    assert 0.8 <= time.monotonic() - began < 5
    assert end == "closed"
    head, _, body = came.partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    promised = next(int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length"))
    assert len(body) == promised // 2
    caller.box.faults("half_open", seconds=600)  # a client that gives up does not hold the server
    with pytest.raises(TimeoutError):
        on_a_socket(caller, timeout=0.5)
    assert fetch(caller).status == 200


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


def on_a_socket(
    caller: Caller, method: str = "GET", path: str = PATH, body: bytes = b"", *, timeout: float = 10
) -> tuple[bytes, str]:
    """Send one request on a bare socket; return what came and how it ended."""
    target = caller.path(path)
    head = (
        f"{method} {target} HTTP/1.1\r\nHost: box\r\nAccept: application/json\r\nContent-Type: application/json\r\n"
        f"Wechatpay-Serial: {caller.known['public_key_id']}\r\n"
        f"Content-Length: {len(body)}\r\nAuthorization: {caller.authorization(method, target, body)}\r\n\r\n"
    )
    came = b""
    with socket.create_connection(("127.0.0.1", caller.known["port"]), timeout=timeout) as sock:
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
    caller.box.faults("stall", seconds=1.5, path="/stocks")
    with ThreadPoolExecutor(1) as pool:
        began = time.monotonic()
        stalled = pool.submit(caller.get, PATH + "/stocks", verify=False)
        while not any(request["path"].endswith("/stocks") for request in caller.box.requests()[-2:]):
            time.sleep(0.02)
        assert fetch(caller).status == 200
        assert not stalled.done()
        assert stalled.result().status == 200
        assert time.monotonic() - began >= 1.5


@pytest.mark.parametrize(("when", "sent"), [("before", 0), ("after", 1)])
def test_a_stall_comes_before_or_after_the_commit(caller: Caller, ids: tuple[str, str], when: str, sent: int) -> None:
    before = caller.stock(ids)["sent_count_info"]["total_count"]
    caller.box.faults("stall", seconds=1, when=when, path="/users/")
    with ThreadPoolExecutor(1) as pool:
        stalled = pool.submit(caller.send, ids, f"oStall-{when}")
        while not any(request["path"].endswith(f"oStall-{when}/coupons") for request in caller.box.requests()[-2:]):
            time.sleep(0.02)
        assert caller.stock(ids)["sent_count_info"]["total_count"] == before + sent
        assert not stalled.done()
        assert stalled.result().status == 200
    assert caller.stock(ids)["sent_count_info"]["total_count"] == before + 1


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


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("reset", {"path": "("}, "no regular expression"),
        ("reset", {"path": 1}, "path is a text"),
        ("reset", {"times": 0}, "times is a whole number of 1 or more"),
        ("reset", {"times": 1.5}, "times is a whole number of 1 or more"),
        ("reset", {"times": True}, "times is a whole number of 1 or more"),
        ("reset", {"probability": 1.5}, "from 0 to 1"),
        ("reset", {"probability": "often"}, "from 0 to 1"),
        ("stall", {"seconds": "long"}, "seconds is a number"),
        ("stall", {"seconds": -1}, "from 0 to 3600"),
        ("stall", {"seconds": float("nan")}, "seconds is a number"),
        ("stale_timestamp", {"seconds": None}, "seconds is a number"),
        ("status", {"code": "500"}, "a status from 200 to 599"),
        ("status", {"code": 99}, "a status from 200 to 599"),
        ("status", {"code": 418, "signed": True}, "the platform signs"),
        ("status", {"signed": "yes"}, "True or False"),
        ("status", {"retry_after": "soon"}, "a number of seconds or an HTTP date"),
        ("status", {"retry_after": -1}, "a number of seconds or an HTTP date"),
        ("missing_signature", {"header": "Date"}, "one of Wechatpay-Timestamp"),
        ("missing_signature", {"header": 7}, "one of Wechatpay-Timestamp"),
        (["reset"], {}, "unknown fault"),
    ],
    ids=str,
)
def test_values_that_make_no_sense_are_refused_and_arm_nothing(
    caller: Caller, kind: Any, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        caller.box.faults(kind, **options)
    assert caller.authentic(fetch(caller))


def test_a_header_is_meant_in_any_case_and_a_wait_may_be_a_date(caller: Caller) -> None:
    caller.box.faults("missing_signature", header="wechatpay-NONCE")
    assert "wechatpay-nonce" not in fetch(caller).headers
    date = "Wed, 21 Oct 2037 07:28:00 GMT"
    caller.box.faults("status", code=503, retry_after=date)
    assert fetch(caller).headers["retry-after"] == date
