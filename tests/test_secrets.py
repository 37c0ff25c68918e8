"""Planted secrets, and everything that might show them: texts, reprs, logs, pickles, tracebacks with local variables."""

from __future__ import annotations

import json
import logging
import pickle
import traceback
from pathlib import Path

import pytest

import wxcoupon_analytics as wx
from tests import keys
from tests.conftest import brand_credentials
from tests.test_credentials import clean, settings  # noqa: F401 - clean is a fixture
from tests.wire.test_exchange import SEND, Platform, client, hang_up, platform, refusal  # noqa: F401 - fixtures

APIV3 = "planted-apiv3-key-0123456789abcd"
OPENID = "oPlantedOpenid0123456789abcdef"


def lines_of(pem: str) -> list[str]:
    return [line for line in pem.splitlines() if not line.startswith("-----")]


def everything(error: BaseException) -> str:
    """What the nosiest traceback printer shows: the whole chain, every frame of ours with its locals and attributes."""
    seen: list[str] = []
    chain: list[BaseException] = [error]
    while chain:
        one = chain.pop()
        shown = traceback.TracebackException.from_exception(one, capture_locals=True)
        # The caller's own frames hold what the caller holds.
        seen += [str(f.locals) for f in shown.stack if "wxcoupon_analytics" in f.filename]
        seen += [str(one), repr(one), repr(vars(one))]
        chain += [e for e in (one.__cause__, one.__context__) if e is not None]
    return "\n".join(seen)


@pytest.mark.parametrize(
    "broken",
    [
        {"brand_id": ""},
        {"private_key": lambda pem: pem[:900]},
        {"private_key": lambda pem: "".join(lines_of(pem))},
        {"private_key": lambda pem: pem.replace("PRIVATE", "PUBLIC")},
        {"apiv3_key": APIV3 + "x"},
        {"public_key": keys.private_key},
    ],
)
def test_no_key_shows_when_credentials_cannot_be_built(broken):
    pem = keys.private_key("caller")
    given = {"private_key": pem, "apiv3_key": APIV3}
    given |= {k: v(pem) if callable(v) and k == "private_key" else v() if callable(v) else v for k, v in broken.items()}
    with pytest.raises(wx.CredentialsError) as caught:
        brand_credentials(**given)
    shown = everything(caught.value)
    for secret in (*lines_of(pem)[1:-1], *lines_of(keys.private_key())[1:-1], APIV3):
        assert secret not in shown


def test_no_key_shows_when_loading_fails(clean: Path, monkeypatch: pytest.MonkeyPatch):  # noqa: F811
    for name, value in {**settings(clean), "private_key": keys.private_key("caller"), "apiv3_key": APIV3}.items():
        monkeypatch.setenv(f"WXCOUPON_{name.upper()}", value)
    monkeypatch.setenv("WXCOUPON_SERIAL_NO", 'has"quote')
    with pytest.raises(wx.CredentialsError, match="serial_no") as caught:
        wx.Credentials.load()
    shown = everything(caught.value)
    for secret in (*lines_of(keys.private_key("caller")), APIV3):
        assert secret not in shown


def test_reprs_and_pickles_of_what_holds_keys(client: wx.Client):  # noqa: F811
    for thing in (client, client.credentials, client.api, client.fetch, client.actions, client.notifications):
        assert "planted" not in repr(thing).lower()
        assert lines_of(keys.private_key("caller"))[3] not in repr(thing) + repr(vars(thing))
        with pytest.raises((TypeError, AttributeError)):
            pickle.dumps(thing)


def test_no_log_line_and_no_message_holds_an_openid_or_an_authorization(
    platform: Platform,  # noqa: F811
    client: wx.Client,  # noqa: F811
    caplog: pytest.LogCaptureFixture,
):
    caplog.set_level(logging.DEBUG)
    body = {
        "code": "INVALID_REQUEST",
        "message": f"传入的OpenID不合法: {OPENID}",
        "detail": {"field": "openid", "value": OPENID},
    }
    refused = (400, {"Request-ID": "1-268578532"}, json.dumps(body).encode())
    for reply in (refused, hang_up, refusal(500), (200, {}, b"<html>"), (302, {"Location": "/"}, b"")):
        platform.replies = [reply]
        with pytest.raises(wx.WxCouponError) as caught:
            client.api.send_coupon(OPENID, SEND)
        assert OPENID not in str(caught.value)
        assert "signature=" not in str(caught.value)
    assert caplog.records
    for secret in (OPENID, "signature=", "WECHATPAY-BRAND-SHA256"):
        assert secret not in caplog.text
