"""A caller of the embedded brand made of http.client and the openssl command line: no code of the package signs or verifies here."""

from __future__ import annotations

import base64
import http.client
import itertools
import json
import secrets
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from wxcoupon_analytics.sandbox import Sandbox

PREFIX = {"brand": "/brand/marketing/product-coupon/", "partner": "/v3/marketing/partner/product-coupon/"}
SCHEME = {"brand": "WECHATPAY-BRAND-SHA256-RSA2048", "partner": "WECHATPAY2-SHA256-RSA2048"}
IDENTITY = {"brand": "brand_id", "partner": "mchid"}


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def numeric(self) -> int:
        return int(self.headers["request-id"].rpartition("-")[2])


class Caller:
    """Signs with ``openssl dgst -sign``, and has every signed answer checked with ``openssl dgst -verify``."""

    def __init__(self, box: Sandbox, folder: Path, flavour: str = "brand") -> None:
        self.box = box
        self.flavour = flavour
        self.known = box._known
        self.folder = folder
        self._key = folder / f"{flavour}.pem"
        self._key.write_text(self.known[flavour]["private_key"])
        self._public = folder / "wxpay.pem"
        self._public.write_text(self.known["public_key"])
        self._numbers = itertools.count()

    def path(self, path: str) -> str:
        return PREFIX[self.flavour] + path

    def new_number(self) -> str:
        return f"N-{next(self._numbers):06d}_{secrets.token_hex(4)}"

    def sign(self, message: bytes) -> str:
        done = subprocess.run(
            ["openssl", "dgst", "-sha256", "-sign", self._key], input=message, capture_output=True, check=True
        )
        return base64.b64encode(done.stdout).decode()

    def authentic(self, reply: Reply) -> bool:
        """Ask openssl whether the answer's signature is WeChat Pay's, over the bytes that came."""
        signature = self.folder / f"signature-{threading.get_ident()}"
        signature.write_bytes(base64.b64decode(reply.headers["wechatpay-signature"]))
        stamp, nonce = reply.headers["wechatpay-timestamp"], reply.headers["wechatpay-nonce"]
        message = f"{stamp}\n{nonce}\n".encode() + reply.body + b"\n"
        command = ["openssl", "dgst", "-sha256", "-verify", self._public, "-signature", signature]
        return subprocess.run(command, input=message, capture_output=True, check=False).returncode == 0

    def authorization(self, method: str, target: str, body: bytes, *, scheme: str | None = None, **change: str) -> str:
        fields = {
            IDENTITY[self.flavour]: self.known[self.flavour]["identity"],
            "nonce_str": secrets.token_hex(16),
            "timestamp": str(int(time.time())),
            "serial_no": self.known[self.flavour]["serial_no"],
            **change,
        }
        message = f"{method}\n{target}\n{fields['timestamp']}\n{fields['nonce_str']}\n".encode() + body + b"\n"
        fields.setdefault("signature", self.sign(message))
        return f"{scheme or SCHEME[self.flavour]} " + ",".join(f'{name}="{value}"' for name, value in fields.items())

    def headers(self, authorization: str | None, **more: str) -> dict[str, str]:
        """Return what a well-behaved caller sends along."""
        given = {"Accept": "application/json", "Content-Type": "application/json"}
        given["Wechatpay-Serial"] = self.known["public_key_id"]
        if authorization is not None:
            given["Authorization"] = authorization
        return given | more

    def raw(self, method: str, target: str, body: bytes, headers: dict[str, str]) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.known["port"], timeout=20)
        try:
            connection.request(method, target, body or None, headers)
            answer = connection.getresponse()
            return Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def call(
        self, method: str, path: str, body: dict[str, Any] | None = None, *, verify: bool = True, **headers: str
    ) -> Reply:
        target = self.path(path)
        if self.flavour == "partner":
            if method == "GET":
                target += ("&" if "?" in target else "?") + f"brand_id={self.box.brand_id}"
            else:
                body = {"brand_id": self.box.brand_id, **(body or {})}
        sent = b"" if body is None else json.dumps(body, ensure_ascii=False).encode()
        reply = self.raw(method, target, sent, self.headers(self.authorization(method, target, sent), **headers))
        if verify and reply.status != 401:
            assert self.authentic(reply)
        return reply

    def get(self, path: str, **more: Any) -> Reply:
        return self.call("GET", path, **more)

    def post(self, path: str, body: dict[str, Any], **more: Any) -> Reply:
        return self.call("POST", path, body, **more)

    def patch(self, path: str, body: dict[str, Any], **more: Any) -> Reply:
        return self.call("PATCH", path, body, **more)

    # A few sentences of the API ---------------------------------------------------------------------------------

    def create(self, body: dict[str, Any] | None = None) -> tuple[str, str]:
        """Create a product coupon with one stock, let both pass their audit, and return their ids."""
        created = self.post("product-coupons", body or product_request(self.new_number()))
        assert created.status == 200, created.json
        self.box.advance(minutes=11)
        return created.json["product_coupon_id"], created.json["stock"]["stock_id"]

    def send(self, ids: tuple[str, str], openid: str, *, verify: bool = True, **more: Any) -> Reply:
        body = {
            "product_coupon_id": ids[0],
            "stock_id": ids[1],
            "appid": self.box.appid,
            "send_request_no": self.new_number(),
            **more,
        }
        return self.post(f"users/{quote(openid, safe='')}/coupons", body, verify=verify)

    def act(self, verb: str, ids: tuple[str, str], openid: str, code: str, **more: Any) -> Reply:
        body = {
            "product_coupon_id": ids[0],
            "stock_id": ids[1],
            "appid": self.box.appid,
            "out_request_no": self.new_number(),
            **more,
        }
        return self.post(f"users/{quote(openid, safe='')}/coupons/{code}/{verb}", body)

    def use(self, ids: tuple[str, str], openid: str, code: str, **more: Any) -> Reply:
        order = {"associated_order_info": {"transaction_id": "4200001"}, "use_time": self.box.now().isoformat()}
        return self.act("use", ids, openid, code, **(order | more))

    def coupon(self, ids: tuple[str, str], openid: str, code: str) -> Reply:
        query = f"product_coupon_id={ids[0]}&stock_id={ids[1]}&appid={self.box.appid}"
        return self.get(f"users/{quote(openid, safe='')}/coupons/{code}?{query}")

    def stock(self, ids: tuple[str, str]) -> Any:
        return self.get(f"product-coupons/{ids[0]}/stocks/{ids[1]}").json


def product_request(number: str, *, mode: str = "WECHATPAY", **rule: Any) -> dict[str, Any]:
    """Ask for an all-goods amount-off coupon with generous limits; ``rule`` changes the send rule."""
    return {
        "out_request_no": number,
        "scope": "ALL",
        "type": "NORMAL",
        "usage_mode": "SINGLE",
        "single_usage_info": {"normal_coupon": {"threshold": 20_000, "discount_amount": 5_000}},
        "display_info": {"name": "全场满200减50", "image_url": "https://example.com/a.png"},
        "stock": {
            "remark": "测试批次",
            "coupon_code_mode": mode,
            "stock_send_rule": {"max_count": 1_000, "max_count_per_user": 10} | rule,
            "single_usage_rule": {
                "coupon_available_period": {
                    "available_begin_time": "2026-10-01T00:00:00+08:00",
                    "available_end_time": "2027-09-30T23:59:59+08:00",
                    "available_days": 30,
                }
            },
            "usage_rule_display_info": {"coupon_usage_method_list": ["OFFLINE"], "usage_description": "测试"},
            "coupon_display_info": {"code_display_mode": "QRCODE"},
            "store_scope": "NONE",
            "notify_config": {"notify_appid": "wx4fd12345678"},
        },
    }
