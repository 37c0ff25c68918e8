"""Notifications (商品券回调通知): what the platform posts to a brand's own server when a coupon is sent, used or returned.

A notification is signed as an answer is, over the exact bytes of its body, and what it says is encrypted once more, with
the APIv3 key. Source: https://pay.weixin.qq.com/doc/v3/partner/4016435717 and the AEAD_AES_256_GCM of RFC 5116.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import httpx
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from wxcoupon_analytics.credentials import Credentials
from wxcoupon_analytics.errors import ValidationError, VerificationError
from wxcoupon_analytics.wire.signing import signed_at, verify

BEIJING = ZoneInfo("Asia/Shanghai")
ALGORITHM = "AEAD_AES_256_GCM"

_PREFIXES = ("PRODUCT_COUPON.", "PRODUCT_COUPON_SP.")
_SIGNED_HEADERS = ("wechatpay-timestamp", "wechatpay-nonce", "wechatpay-signature", "wechatpay-serial")


@dataclass(frozen=True, slots=True, repr=False)
class Notification:
    """A notification that WeChat Pay signed, decrypted.

    Attributes
    ----------
    id : str
        The same notification may arrive many times: this tells it again. A coupon may be used, returned and used again,
        so coupon and event type do not.
    event_type : str
        As sent: ``PRODUCT_COUPON.SEND`` to a brand, ``PRODUCT_COUPON_SP.SEND`` to a partner.
    create_time : datetime
        When the platform made it, in Asia/Shanghai.
    summary : str
        The platform's own words, Chinese.
    resource : dict
        What was encrypted: the coupon, and whose it is.
    envelope : dict
        The body as it came, its ``resource`` still encrypted.
    signed_at : datetime
        The platform's clock when it signed this delivery, in Asia/Shanghai.
    """

    id: str
    event_type: str
    create_time: datetime
    summary: str
    resource: dict[str, Any]
    envelope: dict[str, Any]
    signed_at: datetime

    @property
    def event(self) -> str:
        """``SEND``, ``USE`` or ``RETURN`` in either flavour; an event type of another kind stays whole."""
        prefix = next((p for p in _PREFIXES if self.event_type.startswith(p)), "")
        return self.event_type.removeprefix(prefix)

    def __repr__(self) -> str:
        # The resource holds the openid, and with some channels a phone number.
        openid = self.resource.get("openid")
        whose = f", openid …{openid[-4:]}" if isinstance(openid, str) and len(openid) > 8 else ""
        return f"<Notification {self.event_type} {self.id}, {self.create_time.isoformat()}{whose}>"


def read_notification(
    credentials: Credentials, headers: Mapping[str, str], body: bytes, *, verify_age: bool = True
) -> Notification:
    """Verify a notification over its exact bytes, then decrypt it.

    Parameters
    ----------
    credentials : Credentials
        With the ``apiv3_key``.
    headers : mapping
        The request's headers, in any case.
    body : bytes
        The request's body exactly as it came: parsed and written again, it is another.
    verify_age : bool
        False only for what was captured earlier; the signature is verified all the same.

    Raises
    ------
    CredentialsError
        The credentials have no ``apiv3_key``.
    VerificationError
        WeChat Pay did not sign these bytes, not within 5 minutes, or they cannot be decrypted.
    ValidationError
        Signed, but not a notification as documented; or ``headers`` or ``body`` is of another type.
    """
    cipher = credentials.cipher
    if not isinstance(body, bytes):
        raise ValidationError(
            f"body must be bytes, exactly as they came, not {type(body).__name__}: the signature covers every byte"
        )
    signed = _signed_headers(headers)
    verify(credentials, signed, body, any_age=not verify_age)
    envelope = _json_object(body, "the body")
    texts = {name: _text(envelope, name) for name in ("id", "event_type", "create_time")}
    return Notification(
        id=texts["id"],
        event_type=texts["event_type"],
        create_time=_time(texts["create_time"]),
        summary=str(envelope.get("summary") or ""),
        resource=_decrypted(cipher, envelope.get("resource")),
        envelope=envelope,
        signed_at=signed_at(signed).astimezone(BEIJING),
    )


def _signed_headers(headers: Mapping[str, str]) -> httpx.Headers:
    """Keep the headers that make a signature, whatever case a web framework gives them."""
    # Flask's headers are no Mapping, and have items all the same.
    if not hasattr(headers, "items"):
        raise ValidationError(f"headers must be a mapping of names to texts, not {type(headers).__name__}")
    found = [(name, value) for name, value in headers.items() if str(name).lower() in _SIGNED_HEADERS]
    for name, value in found:
        if not isinstance(value, str):
            raise ValidationError(f"the header {name} must be a text, not {type(value).__name__}")
        if not value.isascii():
            raise VerificationError(f"the notification's {name} header is not ASCII, so WeChat Pay did not write it")
    return httpx.Headers(found)


def _decrypted(cipher: AESGCM, resource: object) -> dict[str, Any]:
    if not isinstance(resource, Mapping):
        raise ValidationError("the notification has no resource")
    algorithm = resource.get("algorithm")
    if algorithm != ALGORITHM:
        raise ValidationError(f"the notification is encrypted with {algorithm!r}; only {ALGORITHM} is known")
    nonce, ciphertext = _text(resource, "nonce"), _text(resource, "ciphertext")
    associated = str(resource.get("associated_data") or "")
    try:
        plain = cipher.decrypt(nonce.encode(), base64.b64decode(ciphertext, validate=True), associated.encode())
    except InvalidTag:
        raise VerificationError(
            "the notification cannot be decrypted: apiv3_key is not the APIv3 key it was encrypted with (was it changed "
            "on the platform?), or its ciphertext, nonce or associated_data was altered"
        ) from None
    except ValueError:
        # Not Base64, not ASCII, or a nonce of a length that AES-GCM does not take.
        raise ValidationError("the notification's ciphertext is not Base64, or its nonce has a wrong length") from None
    return _json_object(plain, "the decrypted resource")


def _json_object(content: bytes, what: str) -> dict[str, Any]:
    # No excerpt: it would show an openid.
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError):
        parsed = None
    if not isinstance(parsed, dict):
        raise ValidationError(f"{what} is not a JSON object ({len(content)} bytes)")
    return parsed


def _text(container: Mapping[str, Any], name: str) -> str:
    value = container.get(name)
    if not isinstance(value, str) or not value:
        raise ValidationError(f"the notification's {name} is {'missing' if not value else 'not a text'}")
    return value


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise ValidationError(f"the notification's create_time is {text[:40]!r}, not a time with an offset")
    return time.astimezone(BEIJING)
