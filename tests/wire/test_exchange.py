"""Attempts, hosts and outcomes, against a server on loopback that is told what to answer."""

from __future__ import annotations

import hashlib
import http.server
import json
import re
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tenacity

import wxcoupon_analytics as wx
from tests import keys
from tests.conftest import brand_credentials
from wxcoupon_analytics.wire import exchange

Reply = tuple[int, dict[str, str], bytes]


class Platform:
    """Answers with what stands in ``replies``, the last one again and again; remembers what it was asked."""

    def __init__(self, tmp_path: Path) -> None:
        self.tmp_path = tmp_path
        self.replies: list[Reply | Callable[[http.server.BaseHTTPRequestHandler], None]] = []
        self.seen: list[tuple[str, dict[str, str], bytes]] = []
        platform = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                platform.seen.append((f"{self.command} {self.path}", dict(self.headers), body))
                reply = platform.replies.pop(0) if len(platform.replies) > 1 else platform.replies[0]
                if callable(reply):
                    reply(self)
                    self.close_connection = True
                    return
                status, headers, content = reply
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            do_POST = do_GET

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def ok(self, body: object) -> Reply:
        return self.signed(200, body)

    def signed(self, status: int, body: object) -> Reply:
        content, timestamp = json.dumps(body).encode(), str(int(time.time()))
        signature = keys.sign(f"{timestamp}\nn\n".encode() + content + b"\n", self.tmp_path)
        head = {"Timestamp": timestamp, "Nonce": "n", "Serial": "PUB_KEY_ID_0112233", "Signature": signature}
        return status, {f"Wechatpay-{k}": v for k, v in head.items()}, content


def refusal(status: int, code: str = "SYSTEM_ERROR", **headers: str) -> Reply:
    return (
        status,
        {k.replace("_", "-"): v for k, v in headers.items()},
        json.dumps({"code": code, "message": "系统异常"}).encode(),
    )


def hang_up(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.connection.close()


@pytest.fixture
def platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Platform]:
    monkeypatch.setattr(exchange, "_wait", tenacity.wait_none())
    platform = Platform(tmp_path)
    yield platform
    platform.server.shutdown()
    platform.server.server_close()


@pytest.fixture
def client(platform: Platform) -> Iterator[wx.Client]:
    with wx.connect(brand_credentials(), hosts=[platform.url], timeout=2, rate=1000) as client:
        yield client


STOCK = {"product_coupon_id": "1", "stock_id": "2", "state": "SENDING"}
SENT = {
    "send_request_no": "number_1",
    "coupon_code": "C",
    "coupon_state": "CONFIRMING",
    "product_coupon": {"product_coupon_id": "1"},
    "stock": {"stock_id": "2"},
}
SEND = {"product_coupon_id": "1", "stock_id": "2", "appid": "wx1", "send_request_no": "number_1"}


def test_a_failing_platform_is_asked_again_each_time_with_a_new_signature(platform: Platform, client: wx.Client):
    platform.replies = [refusal(500), refusal(502, Set_Cookie="a=b"), hang_up, (503, {}, b"<html>"), platform.ok(STOCK)]
    assert client.api.get_stock("1", "2") == STOCK
    assert len({headers["Authorization"] for _, headers, _ in platform.seen}) == 5
    assert not any("Cookie" in headers for _, headers, _ in platform.seen)


def test_a_write_is_repeated_with_the_very_same_bytes(platform: Platform, client: wx.Client):
    answer = SENT
    platform.replies = [hang_up, refusal(500), platform.ok(answer)]
    assert client.api.send_coupon("o1", SEND) == answer
    assert len(platform.seen) == 3
    assert len({(line, body) for line, _, body in platform.seen}) == 1


def test_patience_ends_and_the_error_says_whether_the_write_may_have_happened(platform: Platform, client: wx.Client):
    platform.replies = [hang_up]
    with pytest.raises(wx.TransportError) as caught:
        client.api.send_coupon("o1", SEND)
    assert caught.value.maybe_executed
    assert len(platform.seen) == exchange.ATTEMPTS
    with pytest.raises(wx.TransportError) as caught:
        client.api.get_stock("1", "2")
    assert not caught.value.maybe_executed, "a read changes nothing"


def test_a_refusal_after_an_attempt_that_may_have_succeeded_is_checked_by_asking(platform: Platform, client: wx.Client):
    limit = refusal(400, "INVALID_REQUEST")
    # It had happened: the user's list shows the request number.
    platform.replies = [hang_up, limit, platform.ok({"total_count": 1, "user_coupon_list": [SENT]})]
    assert client.api.send_coupon("o1", SEND) == SENT
    assert platform.seen[-1][0].endswith("/users/o1/coupons?appid=wx1&product_coupon_id=1&stock_id=2&page_size=50")
    # It had not: the refusal stands, and is final.
    other = {**SENT, "send_request_no": "number_2"}
    over = platform.signed(500, {"code": "SYSTEM_ERROR", "message": ""})
    platform.replies = [over, limit, platform.ok({"total_count": 1, "user_coupon_list": [other]})]
    with pytest.raises(wx.ApiError) as caught:
        client.api.send_coupon("o1", SEND)
    assert not caught.value.maybe_executed
    # It had not yet: behind the broken connection it may still be worked on.
    for cut in (hang_up, refusal(504), (200, {}, b"{}")):
        platform.replies = [cut, limit, platform.ok({"total_count": 1, "user_coupon_list": [other]})]
        with pytest.raises(wx.ApiError) as caught:
            client.api.send_coupon("o1", SEND)
        assert caught.value.maybe_executed
    # It cannot be seen.
    platform.replies = [hang_up, limit, limit]
    with pytest.raises(wx.ApiError) as caught:
        client.api.send_coupon("o1", SEND)
    assert caught.value.maybe_executed


def test_a_plain_refusal_is_final_at_once(platform: Platform, client: wx.Client):
    platform.replies = [refusal(400, "INVALID_REQUEST")]
    with pytest.raises(wx.ApiError) as caught:
        client.api.send_coupon("o1", SEND)
    assert not caught.value.maybe_executed
    assert len(platform.seen) == 1


def test_nothing_listening_is_certain_not_to_have_executed():
    with wx.connect(brand_credentials(), hosts=["http://127.0.0.1:1"]) as client:
        with pytest.raises(wx.TransportError, match="cannot be reached") as caught:
            client.api.send_coupon("o1", SEND)
        assert not caught.value.maybe_executed


def test_the_second_host_answers_when_the_first_cannot_be_reached(platform: Platform):
    platform.replies = [platform.ok(STOCK)]
    with wx.connect(brand_credentials(), hosts=["http://127.0.0.1:1", platform.url], rate=1000) as client:
        assert client.api.get_stock("1", "2") == STOCK
        assert client.api.get_stock("1", "2") == STOCK
    assert len(platform.seen) == 2


def test_retry_after_is_honoured(platform: Platform, client: wx.Client):
    platform.replies = [refusal(429, "RATELIMIT_EXCEEDED", Retry_After="1"), platform.ok(STOCK)]
    begin = time.monotonic()
    client.api.get_stock("1", "2")
    assert time.monotonic() - begin >= 1


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, wx.ApiError), (401, wx.AuthenticationError), (403, wx.ForbiddenError), (404, wx.NotFoundError)],
)
def test_a_refusal_is_not_repeated_and_keeps_everything_support_asks_for(
    status, kind, platform: Platform, client: wx.Client
):
    body = {"code": "PARAM_ERROR", "message": "参数错误", "detail": {"field": "openid"}}
    platform.replies = [(status, {"Request-ID": "08F7A1-268578532"}, json.dumps(body).encode())]
    with pytest.raises(kind) as caught:
        client.api.get_stock("1", "2")
    error = caught.value
    assert (error.status, error.code, error.message, error.numeric_code) == (
        status,
        "PARAM_ERROR",
        "参数错误",
        268578532,
    )
    assert error.request_id == "08F7A1-268578532"
    assert error.detail == {"field": "openid"}
    assert not error.signed
    assert "an openid is valid under one appid only" in str(error)
    assert len(platform.seen) == 1


def test_an_answer_of_neither_kind_is_a_transport_error_with_status_and_excerpt(platform: Platform, client: wx.Client):
    platform.replies = [(404, {}, b"<html>nginx</html>")]
    with pytest.raises(wx.TransportError, match="HTTP 404.*nginx"):
        client.api.get_stock("1", "2")
    platform.replies = [(302, {"Location": "https://elsewhere"}, b"")]
    with pytest.raises(wx.TransportError, match="HTTP 302.*an empty body"):
        client.api.get_stock("1", "2")


def test_a_signed_answer_about_something_else_is_refused(platform: Platform, client: wx.Client):
    platform.replies = [platform.ok({**STOCK, "stock_id": "3"})]
    with pytest.raises(wx.VerificationError, match="not about the stock_id asked for"):
        client.api.get_stock("1", "2")
    platform.replies = [platform.ok({"stock_list": [{**STOCK, "product_coupon_id": "9"}], "total_count": 1})]
    with pytest.raises(wx.VerificationError, match="rows of another product_coupon_id"):
        client.fetch.stocks(["1"])


def test_a_list_whose_token_comes_twice_does_not_go_round_for_ever(platform: Platform, client: wx.Client):
    page = {"stock_list": [STOCK], "total_count": 9, "next_page_token": "a+/="}
    platform.replies = [platform.ok(page)]
    with pytest.raises(wx.TransportError, match="a second time"):
        client.fetch.stocks(["1"])
    assert [line.rpartition("page_token=")[2] for line, _, _ in platform.seen[1:]] == ["a%2B%2F%3D"]


@pytest.mark.parametrize(
    "host",
    [
        "http://api.mch.weixin.qq.com",
        "http://192.168.0.1",
        "ftp://127.0.0.1",
        "api.mch.weixin.qq.com",
        "https://a/b",
        "https://u@a",
    ],
)
def test_a_host_that_is_not_https_is_refused_unless_it_is_this_machine(host: str):
    with pytest.raises(wx.ValidationError):
        wx.connect(brand_credentials(), hosts=[host])


def test_a_closed_client_says_so(platform: Platform):
    client = wx.connect(brand_credentials(), hosts=[platform.url])
    client.close()
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        client.api.get_stock("1", "2")


@pytest.mark.parametrize("document", [{}, {"stock_list": []}, {**SENT, "send_request_no": "number_2"}])
def test_a_signed_answer_that_does_not_show_the_request_number_is_no_success(
    document, platform: Platform, client: wx.Client
):
    platform.replies = [platform.ok(document)]
    with pytest.raises(wx.VerificationError, match="not about the send_request_no asked for") as caught:
        client.api.send_coupon("o1", SEND)
    assert caught.value.maybe_executed


def test_rows_of_a_list_must_be_of_what_was_asked_wherever_it_is_read(platform: Platform, client: wx.Client):
    for row in ({**STOCK, "product_coupon_id": "9"}, {"stock_id": "2", "state": "SENDING"}):
        platform.replies = [platform.ok({"stock_list": [row], "total_count": 1})]
        with pytest.raises(wx.VerificationError, match="rows of another product_coupon_id"):
            list(client.api.list_stocks("1"))
    platform.replies = [platform.ok({"stock_list": [STOCK], "total_count": 1})]
    with pytest.raises(wx.VerificationError, match="rows of another state"):
        client.fetch.stocks(["1"], state="PAUSED")
    with pytest.raises(wx.VerificationError, match="rows of another product_coupon_id"):
        client.fetch.stocks(["1", "7"])


def test_a_list_shorter_than_it_says_is_told_of(
    platform: Platform, client: wx.Client, caplog: pytest.LogCaptureFixture
):
    platform.replies = [platform.ok({"stock_list": [STOCK], "total_count": 99})]
    assert len(client.fetch.stocks(["1"])) == 1
    assert "says it has 99 entries, but 1 came" in caplog.text


def test_with_both_hosts_resting_the_one_that_rested_longest_is_asked(platform: Platform, tmp_path: Path):
    platform.replies = [platform.ok(STOCK)]
    with wx.connect(brand_credentials(), hosts=["http://127.0.0.1:1", platform.url], timeout=0.4, rate=1000) as client:
        stalled = lambda handler: time.sleep(0.8)  # noqa: E731
        platform.replies = [stalled, platform.ok(STOCK)]
        assert client.api.get_stock("1", "2") == STOCK
        assert client.api.get_stock("1", "2") == STOCK


def test_an_answer_that_drips_ends_as_well(platform: Platform):
    def drip(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(40):
            handler.wfile.write(b" ")
            time.sleep(0.1)

    platform.replies = [drip, platform.ok(STOCK)]
    with wx.connect(brand_credentials(), hosts=[platform.url], timeout=0.3, rate=1000) as client:
        begin = time.monotonic()
        assert client.api.get_stock("1", "2") == STOCK
        assert time.monotonic() - begin < 3


def test_a_refused_signature_is_explained_by_what_the_platform_saw(platform: Platform, client: wx.Client):
    def said(url: str, length: int) -> Reply:
        seen = {"method": "GET", "url": url, "sign_message_length": length, "truncated_sign_message": "GET\n"}
        detail = {"field": "signature", "location": "authorization", "sign_information": seen}
        return 401, {}, json.dumps({"code": "SIGN_ERROR", "message": "签名错误", "detail": detail}).encode()

    target = "/brand/marketing/product-coupon/product-coupons/1/stocks/2"
    length = len(f"GET\n{target}\n{int(time.time())}\n{'n' * 32}\n\n")
    for url, size, says in (
        (target, length, "the very message we signed, so the key is wrong"),
        (target.replace("stocks", "Stocks"), length, "they part at character 50"),
        (target, length + 1, f"a message of {length + 1} bytes to sign, ours has {length}"),
    ):
        platform.replies = [said(url, size)]
        with pytest.raises(wx.AuthenticationError, match=says):
            client.api.get_stock("1", "2")


def test_an_image_signs_its_meta_part_alone(platform: Platform, client: wx.Client, tmp_path: Path):
    platform.replies = [platform.ok({"image_url": "https://wxpaylogo.qpic.cn/a/b"})]
    assert client.api.upload_image("logo.png", b"\x89PNG\r\n\x00\xff") == "https://wxpaylogo.qpic.cn/a/b"
    line, headers, body = platform.seen[0]
    assert b"\x89PNG\r\n\x00\xff" in body
    meta = re.search(rb'name="meta"\r\nContent-Type: application/json\r\n\r\n(.*?)\r\n--', body)[1]  # type: ignore[index]
    assert json.loads(meta)["sha256"] == hashlib.sha256(b"\x89PNG\r\n\x00\xff").hexdigest()
    parts = dict(re.findall(r'(\w+)="([^"]*)"', headers["Authorization"]))
    message = f"{line.replace(' ', chr(10))}\n{parts['timestamp']}\n{parts['nonce_str']}\n".encode() + meta + b"\n"
    assert keys.signature_fits(message, parts["signature"], keys.public_key("caller"), tmp_path)
    with pytest.raises(wx.ValidationError, match="an image is"):
        client.api.upload_image("logo.gif", b"GIF")


def test_many_calls_at_once_come_back_in_order_with_errors_in_their_place(platform: Platform, client: wx.Client):
    platform.replies = [platform.ok(STOCK)]
    calls = [("1", "2"), ("1", ""), ("1", "3"), "12", ("1",)]
    results = list(client.api.map("get_stock", calls))
    assert results[0] == STOCK
    assert [type(r).__name__ for r in results[1:]] == [
        "ValidationError",
        "VerificationError",
        "ValidationError",
        "ValidationError",
    ]
    with pytest.raises(wx.ValidationError, match="map takes one of"):
        client.api.map("list_stocks", [])
    (missing,) = client.api.map("send_coupon", [("o1", {"stock_id": "1"})])
    assert "send_request_no: is missing" in str(missing)


def test_many_calls_are_lazy_and_cancelled_when_abandoned(platform: Platform, client: wx.Client):
    platform.replies = [platform.ok(STOCK)]
    taken: list[int] = []

    def calls() -> Iterator[tuple[str, str]]:
        for n in range(10_000):
            taken.append(n)
            yield "1", "2"

    results = client.api.map("get_stock", calls(), in_flight=8)
    assert not taken, "nothing is asked before the first result is wanted"
    assert [next(results) for _ in range(5)] == [STOCK] * 5
    assert len(taken) <= 5 + 8
    results.close()  # type: ignore[attr-defined]
    time.sleep(0.2)
    asked = len(platform.seen)
    time.sleep(0.2)
    assert len(platform.seen) == asked <= len(taken)


def test_no_log_line_holds_an_openid_or_a_signature(
    platform: Platform, client: wx.Client, caplog: pytest.LogCaptureFixture
):
    caplog.set_level("DEBUG")
    platform.replies = [hang_up, refusal(500), platform.ok(SENT)]
    client.api.send_coupon("oPlantedOpenid-4711", SEND)
    assert "send_coupon: 200" in caplog.text
    for secret in ("oPlantedOpenid", "WECHATPAY-BRAND", "signature="):
        assert secret not in caplog.text


def test_an_endpoint_of_one_flavour_is_refused_for_the_other(platform: Platform, client: wx.Client):
    with pytest.raises(wx.ValidationError, match="is for partner credentials only; these are brand"):
        client.api.pre_send_coupon_bundle("o1", {"send_request_no": "number_1"})


def test_a_host_that_is_no_url_and_a_rate_that_is_no_number_are_refused(platform: Platform):
    for arguments in (
        {"hosts": ["https://a:99999"]},
        {"hosts": [None]},
        {"rate": "10"},
        {"rate": float("inf")},
        {"timeout": 0},
    ):
        with pytest.raises(wx.ValidationError):
            wx.connect(brand_credentials(), **{"hosts": [platform.url], **arguments})


@pytest.mark.parametrize(
    "detail", ["single_usage_detail", "progressive_bundle_usage_detail", "sequential_usage_detail"]
)
@pytest.mark.parametrize("use", ["use", "return"])
def test_a_redemption_is_found_wherever_its_kind_of_coupon_keeps_the_number(
    detail, use, platform: Platform, client: wx.Client
):
    ids = {"product_coupon_id": "1", "stock_id": "2", "appid": "wx1", "out_request_no": "number_1"}
    body = {**ids, "use_time": "2025-01-01T00:00:00+08:00", "associated_order_info": {"transaction_id": "4200"}}
    used = {f"{use}_request_no": "number_1"}
    where = {"detail_item_list": [{}, used]} if detail == "sequential_usage_detail" else used
    coupon = {"coupon_code": "C", "stock": {"stock_id": "2"}, detail: where}
    platform.replies = [hang_up, refusal(400, "INVALID_REQUEST"), platform.ok(coupon)]
    call = client.api.use_coupon if use == "use" else client.api.return_coupon
    assert call("o1", "C", body if use == "use" else ids) == coupon


def test_a_call_that_cannot_be_checked_leaves_none_of_its_part_under_way(platform: Platform, client: wx.Client):
    platform.replies = [platform.ok(SENT)]
    good = ("o1", SEND)
    results = list(client.api.map("send_coupon", [good, 5, good, None, ("o1", SEND, "more")]))
    assert [isinstance(r, dict) for r in results] == [True, False, True, False, False]
    asked = len(platform.seen)
    disputed = ("o1", {**SEND, "attahc": "a misspelt field"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(wx.ApiRuleWarning):
            list(client.api.map("send_coupon", [good, disputed, good]))
    assert len(platform.seen) == asked, "warnings that are errors stop a part before any of it is sent"
    for wrong in (0, -1, True, 2.5):
        with pytest.raises(wx.ValidationError, match="in_flight is a whole number from 1"):
            client.api.map("send_coupon", [good], in_flight=wrong)


def test_no_openid_in_any_text_of_an_error(platform: Platform, client: wx.Client):
    openid = "oPlanted/Openid 0123456789"
    for reply in (
        (502, {}, f"<html>/users/{openid} oPlanted%2FOpenid%200123456789</html>".encode()),
        (403, {}, f"<html>{openid}</html>".encode()),
        lambda handler: handler.wfile.write(b"garbage\r\n\r\n"),
    ):
        platform.replies = [reply]
        with pytest.raises(wx.WxCouponError) as caught:
            client.api.send_coupon(openid, SEND)
        for text in (str(caught.value), repr(caught.value), repr(caught.value.args)):
            assert "oPlanted" not in text


def test_what_a_gateway_says_of_a_write_is_not_the_platforms_word(platform: Platform, client: wx.Client):
    for reply in ((403, {}, b"<html>"), (302, {"Location": "/"}, b""), refusal(408, "TIMEOUT")):
        platform.replies = [reply]
        with pytest.raises(wx.WxCouponError) as caught:
            client.api.send_coupon("o1", SEND)
        assert caught.value.maybe_executed


def test_fields_that_are_none_are_left_out_in_lists_too(platform: Platform, client: wx.Client):
    platform.replies = [platform.ok({})]
    client.api.associate_stores(
        "1", "2", {"store_list": [{"store_id": "s1"}, {"store_id": "s2", "name": None}], "x": None}
    )
    assert json.loads(platform.seen[0][2]) == {"store_list": [{"store_id": "s1"}, {"store_id": "s2"}]}
