"""Every error this package raises on purpose.

::

    WxCouponError
    ├── CredentialsError          the keys or ids you gave do not work together
    ├── ValidationError           the request is wrong; nothing was sent            (also a ValueError)
    ├── ConfirmationError         an irreversible action was not confirmed
    ├── SnapshotError             the store cannot do that, or holds something unreadable
    ├── JournalError              the journal of actions cannot be used
    ├── TransportError            no usable answer came
    ├── VerificationError         an answer came that is not authentic
    └── ApiError                  WeChat Pay refused: status, code, message, request_id …
        ├── AuthenticationError   401
        ├── ForbiddenError        403
        ├── NotFoundError         404
        ├── RateLimitError        429
        └── ServerError           5xx

A write that ends in an error whose ``maybe_executed`` is true may have happened. Ask again with the same request number:
the platform answers a repeated number with its first result.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

_APPID_NOT_BOUND = 268578704
# What support and the public forums say of the numeric codes behind a Request-ID.
HINTS: Mapping[int, str] = {
    272756740: "the user has reached this stock's max_count_per_user",
    _APPID_NOT_BOUND: "the appid is not bound to this brand: bind it on the brand platform (品牌经营平台)",
    268578532: "the openid does not belong to this appid: an openid is valid under one appid only",
    268578608: "no such object under this brand: check the id, and that product_coupon_id and stock_id belong together",
    268578851: "this user holds no such coupon under this appid",
    268578367: "the object's present state does not allow this: fetch it and look at its state",
    268578776: "it has expired",
    270924289: "too fast: wait and repeat with the same request number",
    268435461: "a parameter is invalid: see detail",
    268435462: "a parameter is too long: see detail",
    268435463: "a parameter is too short: see detail",
    268435464: "a parameter is out of range: see detail",
}


class WxCouponError(Exception):
    """Anything this package raises on purpose.

    ``maybe_executed`` is true when the error ended a write that the platform may have carried out all the same.
    """

    maybe_executed: bool = False


class CredentialsError(WxCouponError):
    """A key cannot be read, or the ids and keys do not work together."""


class ValidationError(WxCouponError, ValueError):
    """The arguments are wrong; nothing has left this machine.

    ``problems`` has each thing that is wrong with a request's body as a text of its own.
    """

    problems: tuple[str, ...] = ()


class ConfirmationError(WxCouponError):
    """An irreversible action was called without its confirmation; nothing has left this machine."""


class SnapshotError(WxCouponError):
    """A snapshot cannot be written or read."""


class JournalError(WxCouponError):
    """The journal of actions cannot be opened, read or written."""


class TransportError(WxCouponError):
    """No usable answer came: network failure, or an answer that is not the API's."""


class VerificationError(WxCouponError):
    """An answer came that is not authentic; nothing of it was used."""


class ApiError(WxCouponError):
    """WeChat Pay refused a request.

    Attributes
    ----------
    status : int
        The HTTP status.
    code, message : str
        As answered, for example ``PARAM_ERROR``.
    detail : object
        What the answer adds (``field``, ``value``, ``issue``, ``location``), or None.
    request_id : str or None
        The whole ``Request-ID`` header; support asks for it.
    numeric_code : int or None
        The number behind the request id.
    hint : str or None
        What that number is known to mean, and what to do.
    signed : bool
        Whether the refusal itself carried a valid signature. Gateways refuse unsigned.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        detail: Any = None,
        request_id: str | None = None,
        signed: bool = False,
        openid: str | None = None,
    ) -> None:
        # The platform repeats a wrong openid; errors are copied into tickets and logs, where users have no place.
        message = masked(message, openid)
        self.status = status
        self.code = code
        self.message = message
        self.detail = _masked_within(detail, openid)
        self.request_id = request_id
        self.signed = signed
        _, _, suffix = (request_id or "").rpartition("-")
        self.numeric_code = int(suffix) if suffix.isascii() and suffix.isdecimal() and len(suffix) < 19 else None
        self.hint = HINTS.get(self.numeric_code) if self.numeric_code is not None else None
        super().__init__(status, code, message)

    @property
    def is_about_the_caller(self) -> bool:
        """Whether every other question would be refused as well: the signature, the rights, or the appid are wrong."""
        return self.status == 401 or self.code == "NO_AUTH" or self.numeric_code == _APPID_NOT_BOUND

    def __str__(self) -> str:
        parts = [f"{self.status} {self.code}: {self.message}"]
        if self.detail:
            parts.append(f"detail: {self.detail}")
        if self.hint:
            parts.append(f"hint: {self.hint}")
        parts.append(f"Request-ID: {self.request_id or 'none was given'}")
        return " | ".join(parts)


class AuthenticationError(ApiError):
    """401: the platform did not accept the signature."""


class ForbiddenError(ApiError):
    """403: the caller, or the user, may not."""


class NotFoundError(ApiError):
    """404: no such object under this brand."""


class RateLimitError(ApiError):
    """429: faster than the endpoint's limit, counted over everyone who uses these credentials."""


class ServerError(ApiError):
    """5xx: the platform failed; a write may have had its effect."""


def masked(text: str, openid: str | None) -> str:
    """Leave the last four characters of an openid, as it is and as a URL writes it.

    >>> masked("openid oh-394z-6CGkNoJrsDLTTUKiAnp4 is wrong", "oh-394z-6CGkNoJrsDLTTUKiAnp4")
    'openid …Anp4 is wrong'
    """
    if not openid:
        return text
    short = f"…{openid[-4:]}" if len(openid) > 8 else "…"
    return text.replace(openid, short).replace(quote(openid, safe=""), short)


def _masked_within(value: Any, openid: str | None) -> Any:
    if isinstance(value, str):
        return masked(value, openid)
    if isinstance(value, Mapping):
        return {name: _masked_within(inner, openid) for name, inner in value.items()}
    return [_masked_within(inner, openid) for inner in value] if isinstance(value, list) else value


def api_error(status: int, code: str, message: str, **more: Any) -> ApiError:
    """Build the error class that belongs to an HTTP status."""
    by_status = {401: AuthenticationError, 403: ForbiddenError, 404: NotFoundError, 429: RateLimitError}
    kind = ServerError if status >= 500 else by_status.get(status, ApiError)
    return kind(status, code, message, **more)
