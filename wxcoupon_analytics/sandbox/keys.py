"""The keys of the box, the check of a request's signature, and the signature of an answer.

Nothing here is shared with the client: two implementations of the same published rule meet on the wire, and a mistake in
either shows as a 401 or a VerificationError instead of hiding in both.
"""

from __future__ import annotations

import base64
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from wxcoupon_analytics.sandbox.refusals import param_error, sign_error

TOLERANCE = 300  # seconds between a request's timestamp and the wall clock
_SHOWN = 200  # characters of the signed message that a 401 echoes
_PADDING = padding.PKCS1v15()
_SHA256 = hashes.SHA256()
_ATTRIBUTE = re.compile(r'\s*([a-z_]+)="([^"]*)"\s*(?:,|$)')


@dataclass(frozen=True)
class Flavour:
    """One of the two faces of the API: who calls, and how they say so."""

    name: str
    prefix: str
    scheme: str
    identity: str  # the attribute of the Authorization header that names the caller
    names_key: bool  # whether Wechatpay-Serial is required (必填): the brand's pages list it, the partner's do not
    no_auth: str  # the wording of NO_AUTH


BRAND = Flavour(
    "brand",
    "/brand/marketing/product-coupon/",
    "WECHATPAY-BRAND-SHA256-RSA2048",
    "brand_id",
    names_key=True,
    no_auth="品牌没有此接口权限",
)
PARTNER = Flavour(
    "partner",
    "/v3/marketing/partner/product-coupon/",
    "WECHATPAY2-SHA256-RSA2048",
    "mchid",
    names_key=False,
    no_auth="缺少业务相关权限",
)
FLAVOURS = (BRAND, PARTNER)


@dataclass(frozen=True)
class Caller:
    """A registered API certificate: whose it is, its serial number, its key pair."""

    flavour: Flavour
    identity: str
    serial_no: str
    key: rsa.RSAPrivateKey

    def private_pem(self) -> str:
        """Return the private key as the platform's tools hand it out (PKCS#8 PEM)."""
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()


class Keyring:
    """Every key the box knows: the callers' and the platform's own."""

    def __init__(self, *, brand_id: str, mchid: str) -> None:
        self._platform = _new_key()
        self.public_key_id = "PUB_KEY_ID_" + "".join(secrets.choice("0123456789") for _ in range(31))
        self.apiv3_key = secrets.token_hex(16)  # 32 bytes of text, as AES-256 wants
        self.callers = {
            BRAND.name: Caller(BRAND, brand_id, _new_serial(), _new_key()),
            PARTNER.name: Caller(PARTNER, mchid, _new_serial(), _new_key()),
        }
        self._public = {name: caller.key.public_key() for name, caller in self.callers.items()}

    def public_pem(self) -> str:
        """Return the WeChat Pay public key (微信支付公钥)."""
        return (
            self._platform.public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
            .decode()
        )

    def verify(self, flavour: Flavour, method: str, target: str, headers: Mapping[str, str], body: bytes) -> None:
        """Check who signed a request and what; ``target`` is path and query byte for byte as they arrived."""
        scheme, _, rest = headers.get("authorization", "").partition(" ")
        if not rest:
            raise sign_error("缺少Authorization头", "authorization header missing")
        if scheme != flavour.scheme:
            raise sign_error(f"认证类型错误,应为{flavour.scheme}", "scheme does not match the path")
        given = _attributes(rest)
        caller = self.callers[flavour.name]
        for name in (flavour.identity, "serial_no", "timestamp", "nonce_str", "signature"):
            if not given.get(name):
                raise sign_error(f"Authorization头缺少{name}", f"{name} missing")
        if given[flavour.identity] != caller.identity:
            raise sign_error(f"{flavour.identity}不存在", f"{flavour.identity} not known")
        if given["serial_no"] != caller.serial_no:
            raise sign_error("商户证书序列号有误", "serial_no not known")
        stamp = given["timestamp"]
        if not (stamp.isdecimal() and len(stamp) <= 12) or abs(time.time() - int(stamp)) > TOLERANCE:
            raise sign_error("Http头Authorization中的timestamp与发起请求的时间不得超过5分钟", "timestamp expired")
        message = f"{method}\n{target}\n{stamp}\n{given['nonce_str']}\n".encode() + body + b"\n"
        try:
            signature = base64.b64decode(given["signature"], validate=True)
            self._public[flavour.name].verify(signature, message, _PADDING, _SHA256)
        except (ValueError, InvalidSignature):
            shown = message.decode("utf-8", "replace")[:_SHOWN]
            information = {
                "method": method,
                "url": target,
                "truncated_sign_message": shown,
                "sign_message_length": len(message),
            }
            raise sign_error("错误的签名,验签失败", "sign not match", information) from None
        serial = headers.get("wechatpay-serial")
        if serial is None and flavour.names_key:
            raise param_error("Wechatpay-Serial", "required", location="header")
        if serial is not None and serial != self.public_key_id:
            raise param_error(
                "Wechatpay-Serial",
                "not the public key id of this account",
                value=serial,
                message="Wechatpay-Serial与请求方的微信支付公钥ID不匹配",
                location="header",
            )

    def sign(self, body: bytes, *, at: int | None = None) -> dict[str, str]:
        """Return the headers that make an answer authentic; ``at`` other than now makes a stale one."""
        timestamp = str(int(time.time()) if at is None else at)
        nonce = secrets.token_hex(16)
        signature = self._platform.sign(f"{timestamp}\n{nonce}\n".encode() + body + b"\n", _PADDING, _SHA256)
        return {
            "Wechatpay-Timestamp": timestamp,
            "Wechatpay-Nonce": nonce,
            "Wechatpay-Signature": base64.b64encode(signature).decode(),
            "Wechatpay-Serial": self.public_key_id,
        }


def _attributes(text: str) -> dict[str, str]:
    """Read ``name="value",…``; anything beside such pairs makes the header unreadable, hence empty."""
    found: dict[str, str] = {}
    end = 0
    for match in _ATTRIBUTE.finditer(text):
        if match.start() != end:
            return {}
        found[match[1]] = match[2]
        end = match.end()
    return found if end == len(text) else {}


def _new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _new_serial() -> str:
    return secrets.token_hex(20).upper()
