"""Every write held against the documentation before anything is sent.

An error is what every page refuses. Where pages or the pages' own examples dispute a rule, an :class:`ApiRuleWarning`
names the dispute and the request goes out. The tables stand in ``create_rules`` and ``use_rules``, in the order of the
documentation's pages; the engine that reads them stands in ``fields``.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from typing import Any

from wxcoupon_analytics.errors import ValidationError
from wxcoupon_analytics.wire.validation import create_rules, use_rules
from wxcoupon_analytics.wire.validation.fields import Check, Findings, shown, text

__all__ = ["ApiRuleWarning", "check"]

# How many problems a message lists in full; a list of codes may have thousands, and all are in ``problems``.
_LISTED = 50

_PRODUCT_COUPON = ("product_coupon_id",)
_STOCK = ("product_coupon_id", "stock_id")
_BUNDLE = ("product_coupon_id", "stock_bundle_id")
_USER = ("openid",)
_USER_COUPON = ("openid", "coupon_code")
_USER_BUNDLE = ("openid", "user_coupon_bundle_id")

# Every write: the ids of its path, and the table of its body.
WRITES: Mapping[str, tuple[tuple[str, ...], Check]] = {
    "create_product_coupon": ((), create_rules.CREATE_PRODUCT_COUPON),
    "update_product_coupon": (_PRODUCT_COUPON, create_rules.UPDATE_PRODUCT_COUPON),
    "deactivate_product_coupon": (_PRODUCT_COUPON, use_rules.DEACTIVATE),
    "create_stock": (_PRODUCT_COUPON, create_rules.CREATE_STOCK),
    "update_stock": (_STOCK, create_rules.UPDATE_STOCK),
    "deactivate_stock": (_STOCK, use_rules.DEACTIVATE),
    "update_stock_budget": (_STOCK, use_rules.UPDATE_BUDGET),
    "upload_coupon_codes": (_STOCK, use_rules.UPLOAD_CODES),
    "associate_stores": (_STOCK, use_rules.STORES),
    "disassociate_stores": (_STOCK, use_rules.STORES),
    "create_stock_bundle": (_PRODUCT_COUPON, create_rules.CREATE_STOCK_BUNDLE),
    "update_stock_bundle": (_BUNDLE, create_rules.UPDATE_STOCK),
    "update_stock_bundle_budget": (_BUNDLE, use_rules.UPDATE_BUDGET),
    "associate_bundle_stores": (_BUNDLE, use_rules.STORES),
    "disassociate_bundle_stores": (_BUNDLE, use_rules.STORES),
    "send_coupon": (_USER, use_rules.SEND),
    "confirm_coupon": (_USER_COUPON, use_rules.CONFIRM),
    "deactivate_coupon": (_USER_COUPON, use_rules.DEACTIVATE_COUPON),
    "use_coupon": (_USER_COUPON, use_rules.USE),
    "return_coupon": (_USER_COUPON, use_rules.RETURN),
    "send_coupon_bundle": (_USER, use_rules.SEND_BUNDLE),
    "confirm_coupon_bundle": (_USER_BUNDLE, use_rules.CONFIRM_BUNDLE),
    "deactivate_coupon_bundle": (_USER_BUNDLE, use_rules.DEACTIVATE_BUNDLE),
    "pre_send_coupon": (_USER, use_rules.PRE_SEND),
    "pre_send_coupon_bundle": (_USER, use_rules.PRE_SEND_BUNDLE),
    "set_notify_config": ((), use_rules.SET_NOTIFY_CONFIG),
    "upload_image": ((), use_rules.IMAGE_META),
}


class ApiRuleWarning(UserWarning):
    """The pages or their examples disagree on something in a request, so it was sent, and may be refused."""


def check(
    operation: str, path: Mapping[str, str], body: Mapping[str, Any], *, flavour: str, strict_enums: bool = True
) -> None:
    """Check a write before it is sent, and report everything at once.

    Parameters
    ----------
    operation : str
        A key of ``WRITES``, for example ``"send_coupon"``.
    path : mapping of str to str
        The ids in the path, for example ``{"openid": …}``.
    body : mapping
        The body; for ``upload_image`` its ``meta``. Fields that are None count as left out. Texts are measured in
        characters, and an emoji counts as one.
    flavour : {"brand", "partner"}
        Who calls. ``brand_id`` belongs in a partner's body, never in a brand's.
    strict_enums : bool
        Whether a value that no page lists is an error (True) or an :class:`ApiRuleWarning` (False).

    Raises
    ------
    ValidationError
        The platform would refuse this. The message lists every problem with the field's path, what is wrong and what to
        do; ``problems`` has them as a tuple of texts. Nothing was sent.

    Warns
    -----
    ApiRuleWarning
        Once a call, for all rules that pages or examples dispute, and for fields that no page knows.

    Notes
    -----
    Source: the product-coupon pages of https://pay.weixin.qq.com/doc/brand/ and https://pay.weixin.qq.com/doc/v3/partner/,
    their error tables and their examples.

    Examples
    --------
    >>> ids = {"product_coupon_id": "200000001", "stock_id": "123456789"}
    >>> check("deactivate_stock", ids, {"out_request_no": "1", "deactivate_reason": ""}, flavour="brand")
    Traceback (most recent call last):
    wxcoupon_analytics.errors.ValidationError: deactivate_stock: 2 problems, nothing was sent
    - out_request_no: needs at least 6 characters, '1' has 1
    - deactivate_reason: is empty
    """
    if operation not in WRITES:
        raise ValidationError(f"{shown(operation)} is no write of the API; there are {', '.join(WRITES)}")
    if flavour not in ("brand", "partner"):
        raise ValidationError(f"the flavour is brand or partner, not {shown(flavour)}")
    ids, table = WRITES[operation]
    found = Findings(strict_enums)
    for name in ids:
        _path_id(name, path.get(name), found)
    if isinstance(body, Mapping) and "brand_id" in body:
        if flavour == "brand":
            found.wrong("brand_id", "does not belong in a brand's body, the signature names the brand; remove it")
        else:
            text()(body["brand_id"], "brand_id", found)
        body = {name: value for name, value in body.items() if name != "brand_id"}
    table(body, "", found)
    if found.errors:
        raise _refusal(operation, found.errors)
    if found.disputes:
        warnings.warn(
            f"{operation}: the pages do not agree on this, and the platform may refuse it\n{_lines(found.disputes)}",
            ApiRuleWarning,
            stacklevel=_level_of_the_caller(),
        )


def _path_id(name: str, value: object, found: Findings) -> None:
    """Check an id of the path without ever repeating it: it may be an openid."""
    if not isinstance(value, str):
        found.wrong(name, f"must be a text, not {type(value).__name__}: ids keep their leading zeros only as text")
    elif not value:
        found.wrong(name, "is empty; the path needs it")


def _refusal(operation: str, problems: list[str]) -> ValidationError:
    count = f"{len(problems)} problem{'s' * (len(problems) > 1)}"
    error = ValidationError(f"{operation}: {count}, nothing was sent\n{_lines(problems)}")
    error.problems = tuple(problems)
    return error


def _lines(problems: list[str]) -> str:
    more = [f"- … and {len(problems) - _LISTED} more"] if len(problems) > _LISTED else []
    return "\n".join([*(f"- {problem}" for problem in problems[:_LISTED]), *more])


def _level_of_the_caller() -> int:
    """Give the stack level of whoever called into this package, so that the warning shows their line."""
    level, frame = 0, inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__", "").startswith("wxcoupon_analytics."):
        level, frame = level + 1, frame.f_back
    return level
