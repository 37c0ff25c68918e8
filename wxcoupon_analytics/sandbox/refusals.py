"""What the platform says when it says no: one exception, the numbers behind a Request-ID, the pages' wording.

An error answer has two parts a caller can act on: ``code``, coarse (a dozen values), and the number behind the dash of the
``Request-ID`` header, fine. Published pages list the codes; the numbers are known from the public forums only, so a few
refusals have none that anybody has published, and carry `UNPUBLISHED`.
"""

from __future__ import annotations

from typing import Any

OK = 0
PER_USER_LIMIT = 272756740
APPID_NOT_BOUND = 268578704
BAD_OPENID = 268578532
NO_SUCH_OBJECT = 268578608
NO_SUCH_COUPON = 268578851
STATE_FORBIDS = 268578367
EXPIRED = 268578776
TOO_FAST = 270924289
PARAM_INVALID = 268435461
PARAM_TOO_LONG = 268435462
PARAM_TOO_SHORT = 268435463
PARAM_OUT_OF_RANGE = 268435464
UNPUBLISHED = 268435456  # ours: the base of the family, for refusals whose number no public page gives


class RefusedError(Exception):
    """A request the platform answers with an error body."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        numeric: int = UNPUBLISHED,
        detail: dict[str, Any] | None = None,
        signed: bool = True,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.numeric = numeric
        self.detail = detail
        self.signed = signed

    def body(self) -> dict[str, Any]:
        """Return the error document."""
        document: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.detail is not None:
            document["detail"] = self.detail
        return document


def param_error(
    field: str,
    issue: str,
    *,
    value: object = None,
    numeric: int = PARAM_INVALID,
    message: str = "参数错误",
    location: str = "body",
) -> RefusedError:
    """Build the refusal of one field: it is missing, of the wrong type, or breaks a stated bound."""
    detail = {"field": field, "value": value, "issue": issue, "location": location}
    return RefusedError(400, "PARAM_ERROR", message, numeric=numeric, detail=detail)


def invalid_request(message: str, *, numeric: int = UNPUBLISHED, detail: dict[str, Any] | None = None) -> RefusedError:
    """Build the refusal of a request whose fields are well formed but do not go together, or not now."""
    return RefusedError(400, "INVALID_REQUEST", message, numeric=numeric, detail=detail)


def not_found(message: str, *, numeric: int = NO_SUCH_OBJECT) -> RefusedError:
    """Build the refusal of an id that names nothing under this brand."""
    return RefusedError(404, "NOT_FOUND", message, numeric=numeric)


def state_forbids(message: str, *, numeric: int = STATE_FORBIDS) -> RefusedError:
    """Build the refusal of an action that the object's present state does not allow."""
    return invalid_request(message, numeric=numeric)


def sign_error(message: str, issue: str, information: dict[str, Any] | None = None) -> RefusedError:
    """Build the gateway's 401; it comes unsigned, and echoes what the server believes was signed."""
    detail: dict[str, Any] = {"field": "signature", "location": "authorization", "detail": {"issue": issue}}
    if information is not None:
        detail["sign_information"] = information
    return RefusedError(401, "SIGN_ERROR", message, detail=detail, signed=False)


def no_authority(message: str) -> RefusedError:
    """Build the refusal of a caller who may not do this for this brand."""
    return RefusedError(403, "NO_AUTH", message)


def system_error() -> RefusedError:
    """Build the answer of a platform that does not know the outcome itself; the number stays taken."""
    return RefusedError(500, "SYSTEM_ERROR", "系统异常,请稍后重试")


def too_fast() -> RefusedError:
    """Build the refusal of a caller that exceeds the endpoint's rate."""
    return RefusedError(429, "RATELIMIT_EXCEEDED", "请求超过接口频率限制", numeric=TOO_FAST)
