from __future__ import annotations

import base64
import json
import time
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import wxcoupon_analytics as wx
from tests import keys
from tests.conftest import brand_credentials
from wxcoupon_analytics.wire.notifications import Notification, read_notification

APIV3_KEY = "0123456789abcdef0123456789ABCDEF"
OPENID = "oh-394z-6CGkNoJrsDLTTUKiAnp4"
NOTIFICATION_ID = "3fd537f2-56a8-5bad-bda8-aa8c33d4f4a2"
# What the page of the SEND notification shows of a decrypted resource.
RESOURCE = {
    "brand_id": "120344",
    "coupon_code": "1234567890123456",
    "product_coupon_id": "1000000013",
    "stock_id": "1000000013001",
    "appid": "wx0123456789abcdef",
    "openid": OPENID,
    "receive_time": "2026-05-19T20:39:37+08:00",
    "valid_begin_time": "2026-05-19T20:39:37+08:00",
    "valid_end_time": "2026-06-19T20:39:37+08:00",
    "send_request_no": "send_0001",
    "send_channel": "BRAND_MANAGE",
}


def credentials(**changes: object) -> wx.Credentials:
    return brand_credentials(**{"apiv3_key": APIV3_KEY, **changes})


def envelope(resource: object = None, *, plain: bytes | None = None, key: str = APIV3_KEY, **changes: object) -> dict:
    """A notification as the platform makes one: encrypted here with cryptography's AES-GCM, not with the package."""
    plain = json.dumps(RESOURCE if resource is None else resource).encode() if plain is None else plain
    nonce, associated = "RyEAOXA83YES", "product_coupon"
    ciphertext = AESGCM(key.encode()).encrypt(nonce.encode(), plain, associated.encode())
    encrypted: dict[str, object] = {
        "original_type": "product_coupon",
        "algorithm": "AEAD_AES_256_GCM",
        "ciphertext": base64.b64encode(ciphertext).decode(),
        "associated_data": associated,
        "nonce": nonce,
    }
    of_resource = {k.removeprefix("resource_"): v for k, v in changes.items() if k.startswith("resource_")}
    return {
        "id": NOTIFICATION_ID,
        "create_time": "2026-05-19T20:39:37+08:00",
        "resource_type": "encrypt-resource",
        "event_type": "PRODUCT_COUPON.SEND",
        "summary": "商品券领券通知",
        "resource": {**encrypted, **of_resource},
        **{k: v for k, v in changes.items() if not k.startswith("resource_")},
    }


def signed(body: bytes, tmp_path: Path, *, age: float = 0, **changes: str | None) -> dict[str, str]:
    """The headers a notification comes with, signed by the platform with the openssl command line."""
    timestamp, nonce = str(int(time.time() - age)), "s2TO4Wu2FbOkf7hpQxLa3YvKb6Jmm6bm"
    headers = {
        "Wechatpay-Timestamp": timestamp,
        "Wechatpay-Nonce": nonce,
        "Wechatpay-Serial": "PUB_KEY_ID_0112233",
        "Wechatpay-Signature": keys.sign(f"{timestamp}\n{nonce}\n".encode() + body + b"\n", tmp_path),
        "Wechatpay-Signature-Type": "WECHATPAY-BRAND-SHA256-RSA2048",
        "Content-Type": "application/json",
        "X-Forwarded-Host": "咖啡",
        **{f"Wechatpay-{name}": value for name, value in changes.items()},
    }
    return {name: value for name, value in headers.items() if value is not None}


def encoded(document: object) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode()


def read(body: bytes, tmp_path: Path, **changes: object) -> Notification:
    return read_notification(credentials(), signed(body, tmp_path, **changes), body)  # type: ignore[arg-type]


def test_a_notification_is_verified_and_decrypted(tmp_path: Path):
    sent = envelope()
    notification = read(encoded(sent), tmp_path)
    assert notification.id == NOTIFICATION_ID
    assert (notification.event_type, notification.event) == ("PRODUCT_COUPON.SEND", "SEND")
    assert notification.create_time == datetime(2026, 5, 19, 20, 39, 37, tzinfo=ZoneInfo("Asia/Shanghai"))
    assert notification.create_time.tzinfo == ZoneInfo("Asia/Shanghai")
    assert notification.summary == "商品券领券通知"
    assert notification.resource == RESOURCE
    assert notification.envelope == sent
    assert abs(notification.signed_at.timestamp() - time.time()) < 60


@pytest.mark.parametrize(
    ("event_type", "event"),
    [
        ("PRODUCT_COUPON.USE", "USE"),
        ("PRODUCT_COUPON_SP.RETURN", "RETURN"),
        ("PRODUCT_COUPON_SP.IMAGE_GENERATION", "IMAGE_GENERATION"),
        ("TRANSACTION.SUCCESS", "TRANSACTION.SUCCESS"),
    ],
)
def test_the_event_is_the_same_in_both_flavours_and_unknown_ones_stay(event_type: str, event: str, tmp_path: Path):
    assert read(encoded(envelope(event_type=event_type)), tmp_path).event == event


def test_header_names_are_read_in_any_case(tmp_path: Path):
    body = encoded(envelope())
    headers = {name.lower(): value for name, value in signed(body, tmp_path).items()}
    assert read_notification(credentials(), headers, body).id == NOTIFICATION_ID


def test_a_time_in_another_zone_is_told_in_beijing(tmp_path: Path):
    notification = read(encoded(envelope(create_time="2026-05-19T12:39:37Z")), tmp_path)
    assert notification.create_time.isoformat() == "2026-05-19T20:39:37+08:00"


def test_nothing_of_the_user_is_in_a_repr_but_the_end_of_the_openid(tmp_path: Path):
    shown = repr(read(encoded(envelope({**RESOURCE, "phone_number": "13800138000"})), tmp_path))
    assert "PRODUCT_COUPON.SEND" in shown
    assert "…Anp4" in shown
    assert OPENID not in shown
    assert "13800138000" not in shown


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"Signature": None}, "no Wechatpay-Signature header"),
        ({"Serial": "PUB_KEY_ID_OTHER"}, "signed with key 'PUB_KEY_ID_OTHER'"),
        ({"Nonce": "another"}, "does not fit its body"),
        ({"Signature": "WECHATPAY/SIGNTEST/abc="}, "SIGNTEST"),
        ({"Signature": "not base64!"}, "does not fit its body"),
        ({"Signature": "é"}, "not ASCII"),
        ({"age": 301}, "signed 30[12] seconds ago"),
        ({"age": -360}, "ahead of this clock"),
    ],
)
def test_what_is_not_authentic_is_refused_with_the_reason(change: dict, says: str, tmp_path: Path):
    with pytest.raises(wx.VerificationError, match=says):
        read(encoded(envelope()), tmp_path, **change)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"Signature": None}, "no Wechatpay-Signature header"),
        ({"Serial": "PUB_KEY_ID_OTHER"}, "signed with key 'PUB_KEY_ID_OTHER'"),
        ({"Nonce": "another"}, "does not fit its body"),
        ({"Signature": "WECHATPAY/SIGNTEST/abc="}, "SIGNTEST"),
        ({"Timestamp": "yesterday"}, "not seconds since 1970"),
    ],
)
def test_without_the_age_everything_else_is_verified_all_the_same(change: dict, says: str, tmp_path: Path):
    body = encoded(envelope())
    old = signed(body, tmp_path, age=86_400)
    assert read_notification(credentials(), old, body, verify_age=False).id == NOTIFICATION_ID
    with pytest.raises(wx.VerificationError, match=says):
        read_notification(credentials(), signed(body, tmp_path, age=86_400, **change), body, verify_age=False)


def test_one_changed_byte_is_refused_before_anything_is_decrypted(tmp_path: Path):
    body = encoded(envelope())
    with pytest.raises(wx.VerificationError, match="does not fit its body"):
        read_notification(credentials(), signed(body, tmp_path), body.replace(b"SEND", b"USED"))


def test_a_header_in_two_cases_is_refused(tmp_path: Path):
    body = encoded(envelope())
    headers = {**signed(body, tmp_path), "wechatpay-nonce": "other"}
    for verify_age in (True, False):
        with pytest.raises(wx.VerificationError):
            read_notification(credentials(), headers, body, verify_age=verify_age)


def altered(ciphertext: str) -> str:
    return base64.b64encode(bytes([base64.b64decode(ciphertext)[0] ^ 1]) + base64.b64decode(ciphertext)[1:]).decode()


@pytest.mark.parametrize(
    "made",
    [
        lambda: envelope(key="another key, also of 32 bytes...!"[:32]),
        lambda: envelope(resource_associated_data="coupon"),
        lambda: envelope(resource_associated_data=""),
        lambda: envelope(resource_nonce="RyEAOXA83YEZ"),
        lambda: envelope(resource_ciphertext=altered(envelope()["resource"]["ciphertext"])),
    ],
    ids=["another key", "another associated_data", "none", "another nonce", "altered ciphertext"],
)
def test_what_does_not_decrypt_is_refused_although_it_is_signed(made, tmp_path: Path):
    with pytest.raises(wx.VerificationError, match="cannot be decrypted: apiv3_key is not"):
        read(encoded(made()), tmp_path)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"<xml/>", "body is not a JSON object"),
        (b"\xff{}", "body is not a JSON object"),
        (b"[1]", "body is not a JSON object"),
        (encoded(envelope(resource_algorithm="AES_128_CBC")), "encrypted with 'AES_128_CBC'; only AEAD_AES_256_GCM"),
        (encoded(envelope(plain=b"not json")), "decrypted resource is not a JSON object"),
        (encoded(envelope(resource_ciphertext="*")), "not Base64"),
        (encoded(envelope(resource_ciphertext=None)), "ciphertext is missing"),
        (encoded(envelope(resource_nonce="short")), "nonce has a wrong length"),
        (encoded({**envelope(), "resource": "text"}), "no resource"),
        (encoded(envelope(id=7)), "id is not a text"),
        (encoded(envelope(create_time="2026-05-19T20:39:37")), "not a time with an offset"),
        (encoded(envelope(create_time="yesterday")), "not a time with an offset"),
    ],
)
def test_what_is_signed_but_no_notification_says_what_is_wrong(body: bytes, says: str, tmp_path: Path):
    with pytest.raises(wx.ValidationError, match=says):
        read(body, tmp_path)


def test_an_absent_associated_data_is_an_empty_one(tmp_path: Path):
    sent = envelope()
    sent["resource"]["ciphertext"] = base64.b64encode(
        AESGCM(APIV3_KEY.encode()).encrypt(b"RyEAOXA83YES", b'{"stock_id": "1"}', None)
    ).decode()
    del sent["resource"]["associated_data"]
    assert read(encoded(sent), tmp_path).resource == {"stock_id": "1"}


def test_without_the_apiv3_key_it_says_where_that_comes_from(tmp_path: Path):
    body = encoded(envelope())
    with pytest.raises(wx.CredentialsError, match=r"apiv3_key=….*APIv3密钥"):
        read_notification(brand_credentials(), signed(body, tmp_path), body)


def test_a_body_that_is_no_longer_bytes_and_headers_that_are_no_mapping_are_refused(tmp_path: Path):
    body = encoded(envelope())
    headers = signed(body, tmp_path)
    with pytest.raises(wx.ValidationError, match="body must be bytes, exactly as they came, not str"):
        read_notification(credentials(), headers, body.decode())  # type: ignore[arg-type]
    with pytest.raises(wx.ValidationError, match="headers must be a mapping"):
        read_notification(credentials(), list(headers.items()), body)  # type: ignore[arg-type]
    with pytest.raises(wx.ValidationError, match="header Wechatpay-Nonce must be a text, not list"):
        read_notification(credentials(), {**headers, "Wechatpay-Nonce": ["x"]}, body)  # type: ignore[dict-item]


def test_no_error_shows_the_key_or_the_user(tmp_path: Path):
    leaks = []
    for made in (
        envelope(key="another key, also of 32 bytes...!"[:32]),
        envelope(plain=f'{{"openid": "{OPENID}"'.encode()),
    ):
        with pytest.raises(wx.WxCouponError) as caught:
            read(encoded(made), tmp_path)
        leaks.append(f"{caught.value!r} {caught.value.__cause__!r}")
    assert not any(secret in text for text in leaks for secret in (APIV3_KEY, OPENID))
