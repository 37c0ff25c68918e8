"""Signing requests and verifying answers: one ``httpx.Auth``, and no way around it.

A request is signed over its exact bytes (``METHOD``, path with query as it goes on the wire, timestamp, nonce, body), an
answer verified over its exact bytes before anything parses them. Source: the API v3 signing rules,
https://pay.weixin.qq.com/doc/brand/4015407570 and https://pay.weixin.qq.com/doc/v3/merchant/4012365334.
"""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Generator
from datetime import UTC, datetime

import httpx
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

from wxcoupon_analytics.credentials import Credentials
from wxcoupon_analytics.errors import VerificationError

SCHEMES = {"brand": "WECHATPAY-BRAND-SHA256-RSA2048", "partner": "WECHATPAY2-SHA256-RSA2048"}
TOLERANCE_SECONDS = 300
# The platform sends wrong signatures on purpose, to see that callers notice (签名探测流量).
SIGNATURE_PROBE = "WECHATPAY/SIGNTEST/"

_PADDING, _HASH = PKCS1v15(), SHA256()
_HEADERS = ("Wechatpay-Timestamp", "Wechatpay-Nonce", "Wechatpay-Signature", "Wechatpay-Serial")


class WechatpayAuth(httpx.Auth):
    """Signs every attempt anew; lets no 2xx answer pass that WeChat Pay did not sign.

    A refusal (4xx, 5xx) may come unsigned from a gateway; whether it was signed is kept in
    ``response.extensions["wechatpay_signed"]``. A signature that is there and wrong is an error at any status.
    """

    requires_request_body = True
    requires_response_body = True

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Sign the request, send it, verify what comes back."""
        request.headers["Authorization"] = authorization(
            self._credentials, request.method, request.url.raw_path.decode("ascii"), signed_part(request)
        )
        request.headers["Wechatpay-Serial"] = self._credentials.public_key_id
        response = yield request
        if response.is_success or "Wechatpay-Signature" in response.headers:
            verify(self._credentials, response.headers, response.content)
            response.extensions["wechatpay_signed"] = True


def signed_part(request: httpx.Request) -> bytes:
    """Give the bytes that stand for the body in the signature: an image upload signs its ``meta`` instead."""
    part: bytes = request.extensions.get("wechatpay_signed_part", request.content)
    return part


def authorization(credentials: Credentials, method: str, target: str, body: bytes) -> str:
    """Build the Authorization header for a request whose path with query is ``target``."""
    timestamp, nonce = str(int(time.time())), secrets.token_hex(16)
    message = f"{method}\n{target}\n{timestamp}\n{nonce}\n".encode() + body + b"\n"
    signature = base64.b64encode(credentials.private_key.sign(message, _PADDING, _HASH)).decode()
    name, value = credentials.identity
    return (
        f'{SCHEMES[credentials.flavour]} {name}="{value}",nonce_str="{nonce}",signature="{signature}",'
        f'timestamp="{timestamp}",serial_no="{credentials.serial_no}"'
    )


def verify(credentials: Credentials, headers: httpx.Headers, body: bytes, *, any_age: bool = False) -> None:
    """Raise VerificationError unless WeChat Pay signed these bytes, now, with a key we know.

    ``any_age`` is for what was captured earlier, which cannot be recent; live traffic must be.

    Raises
    ------
    VerificationError
        A header is missing or stands twice, the serial is not one of ours, the timestamp is 5 minutes or more away
        from this machine's clock, or the signature does not fit. The message says which, and what to do.
    """
    found = {name: headers.get_list(name) for name in _HEADERS}
    for name, values in found.items():
        if len(values) != 1 or not values[0]:
            raise VerificationError(
                f"the answer has {'no' if not values or not values[0] else 'more than one'} {name} header, so it cannot "
                "be verified: WeChat Pay signs every success; ask whether a proxy stands between"
            )
    timestamp, nonce, signature, serial = (values[0] for values in found.values())
    key = credentials.public_keys.get(serial)
    if key is None:
        raise VerificationError(
            f"the answer is signed with key {serial!r}, but the credentials hold {', '.join(credentials.public_keys)}: "
            "if the platform's key was rotated, download it and pass public_key={id: key} with both"
        )
    # int() would also take "+1", "1_000" and Arabic digits.
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        raise VerificationError(f"the answer's Wechatpay-Timestamp is {timestamp[:40]!r}, not seconds since 1970")
    age = time.time() - int(timestamp)
    if abs(age) >= TOLERANCE_SECONDS and not any_age:
        raise VerificationError(
            f"the answer was signed {abs(age):.0f} seconds {'ago' if age > 0 else 'ahead of this clock'}; 300 and more is "
            "refused, since an old answer may be replayed: set this machine's clock (NTP) if it is wrong"
        )
    if signature.startswith(SIGNATURE_PROBE):
        raise VerificationError(
            "the answer carries one of the platform's deliberate wrong signatures (WECHATPAY/SIGNTEST/)"
        )
    message = f"{timestamp}\n{nonce}\n".encode() + body + b"\n"
    try:
        key.verify(base64.b64decode(signature, validate=True), message, _PADDING, _HASH)
    except (InvalidSignature, ValueError):  # ValueError: not Base64
        raise VerificationError(
            f"the answer's signature does not fit its body under key {serial!r}: the body was altered on the way, or "
            "public_key is not the key of that id"
        ) from None


def explain_refused_signature(response: httpx.Response) -> str:
    """Say why a signature may have been refused: the platform echoes what it saw, which is held against what we signed."""
    request = response.request
    target, part = request.url.raw_path.decode("ascii"), signed_part(request)
    header = request.headers["Authorization"]
    timestamp, nonce = (header.partition(f'{name}="')[2].partition('"')[0] for name in ("timestamp", "nonce_str"))
    message = f"{request.method}\n{target}\n{timestamp}\n{nonce}\n".encode() + part + b"\n"
    try:
        seen = response.json()["detail"]["sign_information"]
        method, url, length = str(seen["method"]), str(seen["url"]), int(seen["sign_message_length"])
    except (ValueError, TypeError, KeyError, OverflowError):
        return (
            "the platform did not say what it saw: check that serial_no is the certificate's whose private key signs, that "
            "it belongs to this brand or merchant, and this machine's clock"
        )
    if method != request.method:
        return f"the platform saw the method {method}, we signed {request.method}: something between rewrites requests"
    if url != target:
        at = next((i for i, (a, b) in enumerate(zip(url, target, strict=False)) if a != b), min(len(url), len(target)))
        return (
            f"the platform saw another path or query than we signed: they part at character {at} of {len(target)} "
            f"({url[at : at + 12]!r} there, {target[at : at + 12]!r} here): something between rewrites URLs"
        )
    if length != len(message):
        return (
            f"the platform saw a message of {length} bytes to sign, ours has {len(message)}: something between rewrites "
            "the body or the Authorization header"
        )
    return (
        "the platform saw the very message we signed, so the key is wrong: private_key is not the one of certificate "
        "serial_no, or that certificate belongs to another brand or merchant"
    )


def signed_at(headers: httpx.Headers) -> datetime:
    """The platform's own clock at a verified answer."""
    return datetime.fromtimestamp(int(headers["Wechatpay-Timestamp"]), UTC)
