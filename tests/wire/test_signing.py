from __future__ import annotations

import re
import time
from pathlib import Path

import httpx
import pytest

import wxcoupon_analytics as wx
from tests import keys
from tests.conftest import brand_credentials
from wxcoupon_analytics.wire.signing import WechatpayAuth

URL = "https://api.mch.weixin.qq.com/brand/marketing/product-coupon/users/a%2Fb%3Fc%25/coupons?page_token=%2B%2F%3D"
BODY = '{"attach":"双十一"}'.encode()


def drive(credentials: wx.Credentials, response: httpx.Response, request: httpx.Request | None = None) -> httpx.Request:
    """Run the auth flow by hand: what would be sent, then what it makes of an answer."""
    request = request or httpx.Request("POST", URL, content=BODY)
    flow = WechatpayAuth(credentials).sync_auth_flow(request)
    sent = next(flow)
    with pytest.raises(StopIteration):
        flow.send(response)
    return sent


def answer(
    tmp_path: Path, body: bytes = b'{"stock_id":"1"}', *, age: float = 0, status: int = 200, **headers: str | None
) -> httpx.Response:
    """An answer signed by the platform with the openssl command line."""
    timestamp = str(int(time.time() - age))
    signed = {
        "Wechatpay-Timestamp": timestamp,
        "Wechatpay-Nonce": "c5ac7061fccab6bf3e254dcf98995b8c",
        "Wechatpay-Serial": "PUB_KEY_ID_0112233",
        "Wechatpay-Signature": keys.sign(
            f"{timestamp}\nc5ac7061fccab6bf3e254dcf98995b8c\n".encode() + body + b"\n", tmp_path
        ),
    }
    merged = {**signed, **{f"Wechatpay-{k}": v for k, v in headers.items()}}
    return httpx.Response(status, content=body, headers={k: v for k, v in merged.items() if v is not None})


@pytest.mark.parametrize("flavour", ["brand", "partner"])
def test_openssl_accepts_our_signature_over_the_exact_bytes(flavour, tmp_path: Path):
    credentials = brand_credentials()
    if flavour == "partner":
        credentials = wx.Credentials.partner(
            mchid="1900000001",
            brand_id="120344",
            serial_no="5157F0",
            private_key=keys.private_key("caller"),
            public_key_id="PUB_KEY_ID_0112233",
            public_key=keys.public_key("platform"),
        )
    header = drive(credentials, answer(tmp_path)).headers["Authorization"]
    scheme, _, attributes = header.partition(" ")
    parts = dict(re.findall(r'(\w+)="([^"]*)"', attributes))
    assert scheme == {"brand": "WECHATPAY-BRAND-SHA256-RSA2048", "partner": "WECHATPAY2-SHA256-RSA2048"}[flavour]
    identity = {"brand": {"brand_id": "120344"}, "partner": {"mchid": "1900000001"}}[flavour]
    assert parts.keys() == {*identity, "nonce_str", "signature", "timestamp", "serial_no"}
    assert identity.items() <= parts.items()
    assert "\n" not in header
    target = "/brand/marketing/product-coupon/users/a%2Fb%3Fc%25/coupons?page_token=%2B%2F%3D"
    message = f"POST\n{target}\n{parts['timestamp']}\n{parts['nonce_str']}\n".encode() + BODY + b"\n"
    assert keys.signature_fits(message, parts["signature"], keys.public_key("caller"), tmp_path)
    assert not keys.signature_fits(message + b" ", parts["signature"], keys.public_key("caller"), tmp_path)


def test_a_get_signs_an_empty_body_and_every_attempt_has_its_own_nonce(tmp_path: Path):
    credentials, request = brand_credentials(), httpx.Request("GET", URL)
    headers = {drive(credentials, answer(tmp_path), request).headers["Authorization"] for _ in range(3)}
    assert len(headers) == 3
    parts = dict(re.findall(r'(\w+)="([^"]*)"', headers.pop()))
    message = f"GET\n{URL.removeprefix('https://api.mch.weixin.qq.com')}\n{parts['timestamp']}\n{parts['nonce_str']}\n\n".encode()
    assert keys.signature_fits(message, parts["signature"], keys.public_key("caller"), tmp_path)


def test_an_answer_signed_by_openssl_passes_also_when_another_key_signs_during_rotation(tmp_path: Path):
    drive(brand_credentials(), answer(tmp_path, "批次".encode()))
    both = {"NEW": keys.public_key("other"), "PUB_KEY_ID_0112233": keys.public_key("platform")}
    drive(brand_credentials(public_key_id="NEW", public_key=both), answer(tmp_path))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"Signature": None}, "no Wechatpay-Signature header"),
        ({"Timestamp": None}, "no Wechatpay-Timestamp header"),
        ({"Nonce": None}, "no Wechatpay-Nonce header"),
        ({"Serial": None}, "no Wechatpay-Serial header"),
        ({"Serial": ""}, "no Wechatpay-Serial header"),
        (
            {"Serial": "PUB_KEY_ID_OTHER"},
            "signed with key 'PUB_KEY_ID_OTHER', but the credentials hold PUB_KEY_ID_0112233",
        ),
        ({"Nonce": "another"}, "does not fit its body"),
        ({"Signature": "WECHATPAY/SIGNTEST/abc="}, "SIGNTEST"),
        ({"Signature": "not base64!"}, "does not fit its body"),
        ({"Timestamp": "yesterday"}, "not seconds since 1970"),
        ({"Timestamp": "-1"}, "not seconds since 1970"),
        ({"age": 360}, "signed 36[01] seconds ago"),
        ({"age": 300}, "signed 30[01] seconds ago"),
        ({"age": -360}, "seconds ahead of this clock"),
    ],
)
def test_an_answer_that_is_not_authentic_is_refused_with_the_reason(change, says, tmp_path: Path):
    with pytest.raises(wx.VerificationError, match=says):
        drive(brand_credentials(), answer(tmp_path, **change))


def test_one_changed_byte_of_the_body_is_refused(tmp_path: Path):
    good = answer(tmp_path, b'{"max_count":100}')
    with pytest.raises(wx.VerificationError, match="does not fit its body"):
        drive(brand_credentials(), httpx.Response(200, content=b'{"max_count":900}', headers=good.headers))


def test_a_header_that_stands_twice_is_refused(tmp_path: Path):
    good = answer(tmp_path)
    doubled = httpx.Headers([*good.headers.raw, (b"wechatpay-nonce", b"other")])
    with pytest.raises(wx.VerificationError, match="more than one Wechatpay-Nonce"):
        drive(brand_credentials(), httpx.Response(200, content=good.content, headers=doubled))


def test_an_answer_of_299_seconds_ago_still_passes(tmp_path: Path):
    drive(brand_credentials(), answer(tmp_path, age=298))


@pytest.mark.parametrize("status", [400, 403, 429, 500])
def test_a_refusal_may_be_unsigned_but_not_signed_wrongly(status, tmp_path: Path):
    unsigned = httpx.Response(status, content=b'{"code":"X","message":""}')
    drive(brand_credentials(), unsigned)
    assert "wechatpay_signed" not in unsigned.extensions
    drive(brand_credentials(), signed := answer(tmp_path, status=status))
    assert signed.extensions["wechatpay_signed"] is True
    with pytest.raises(wx.VerificationError):
        drive(brand_credentials(), answer(tmp_path, status=status, Nonce="another"))


def test_a_compressed_body_verifies_as_what_it_says(tmp_path: Path):
    import gzip

    plain = answer(tmp_path, b'{"a":1}')
    drive(
        brand_credentials(),
        httpx.Response(200, content=gzip.compress(b'{"a":1}'), headers={**plain.headers, "Content-Encoding": "gzip"}),
    )
