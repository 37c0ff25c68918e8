"""Every endpoint we call, as a table, and the one place where brand and partner calls differ.

Source: the product-coupon pages of the brand documentation (https://pay.weixin.qq.com/doc/brand/) and of the partner
documentation (https://pay.weixin.qq.com/doc/v3/partner/). Paths are relative to the flavour's prefix.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote

from wxcoupon_analytics.credentials import Credentials
from wxcoupon_analytics.errors import TransportError, ValidationError

PREFIXES = {"brand": "/brand/marketing/product-coupon/", "partner": "/v3/marketing/partner/product-coupon/"}
MAX_PAGE_SIZE = 50

_PRODUCT_COUPON = "product-coupons/{product_coupon_id}"
_STOCK = _PRODUCT_COUPON + "/stocks/{stock_id}"
_USER_COUPON = "users/{openid}/coupons/{coupon_code}"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One operation of the API.

    ``rate`` is the documented limit in requests a second. ``query`` names the parameters a GET may carry; those that end
    in ``*`` must be there. ``items`` is the list field of a paged answer. ``request_no`` is the body field that makes a
    write idempotent. ``echoes`` are fields of the answer that must equal what was asked: an answer's signature does not
    cover the question.
    """

    name: str
    label: str
    method: str
    path: str
    rate: int
    query: tuple[str, ...] = ()
    items: str | None = None
    request_no: str | None = None
    echoes: tuple[str, ...] = ()


ENDPOINTS: Mapping[str, Endpoint] = {
    endpoint.name: endpoint
    for endpoint in (
        Endpoint("create_product_coupon", "创建商品券", "POST", "product-coupons", 20, request_no="out_request_no"),
        Endpoint("get_product_coupon", "查询商品券", "GET", _PRODUCT_COUPON, 20, echoes=("product_coupon_id",)),
        Endpoint(
            "deactivate_product_coupon", "失效商品券", "POST", _PRODUCT_COUPON + "/deactivate", 20,
            request_no="out_request_no", echoes=("product_coupon_id",),
        ),
        Endpoint(
            "create_stock", "添加商品券批次", "POST", _PRODUCT_COUPON + "/stocks", 20,
            request_no="out_request_no", echoes=("product_coupon_id",),
        ),
        Endpoint(
            "list_stocks", "查询商品券批次列表", "GET", _PRODUCT_COUPON + "/stocks", 20,
            query=("state", "stock_bundle_id", "page_size", "page_token"), items="stock_list",
        ),
        Endpoint("get_stock", "查询商品券指定批次", "GET", _STOCK, 20, echoes=("product_coupon_id", "stock_id")),
        Endpoint(
            "deactivate_stock", "失效商品券批次", "POST", _STOCK + "/deactivate", 20,
            request_no="out_request_no", echoes=("product_coupon_id", "stock_id"),
        ),
        Endpoint(
            "send_coupon", "向用户发放商品券", "POST", "users/{openid}/coupons", 500,
            request_no="send_request_no", echoes=("send_request_no", "product_coupon.product_coupon_id", "stock.stock_id"),
        ),
        Endpoint(
            "list_user_coupons", "指定券状态查询用户商品券列表", "GET", "users/{openid}/coupons", 500,
            query=("appid*", "product_coupon_id", "stock_id", "coupon_state", "page_size", "page_token"),
            items="user_coupon_list",
        ),
        Endpoint(
            "get_user_coupon", "查询用户商品券详情", "GET", _USER_COUPON, 500,
            query=("product_coupon_id*", "stock_id*", "appid*"), echoes=("coupon_code", "stock.stock_id"),
        ),
        Endpoint(
            "confirm_coupon", "确认发放用户商品券", "POST", _USER_COUPON + "/confirm", 500,
            request_no="out_request_no", echoes=("coupon_code", "stock.stock_id"),
        ),
        Endpoint(
            "deactivate_coupon", "失效用户商品券", "POST", _USER_COUPON + "/deactivate", 500,
            request_no="out_request_no", echoes=("coupon_code", "stock.stock_id"),
        ),
        Endpoint(
            "use_coupon", "核销用户商品券", "POST", _USER_COUPON + "/use", 500,
            request_no="out_request_no", echoes=("coupon_code", "stock.stock_id"),
        ),
        Endpoint(
            "return_coupon", "退券", "POST", _USER_COUPON + "/return", 500,
            request_no="out_request_no", echoes=("coupon_code", "stock.stock_id"),
        ),
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Question:
    """A request as it will be sent, on every attempt the same bytes: all that changes is its signature."""

    endpoint: Endpoint
    target: str
    body: bytes
    expected: Mapping[str, str] = field(repr=False)

    @property
    def is_write(self) -> bool:
        """Whether asking changes something."""
        return self.endpoint.method != "GET"


def ask(
    credentials: Credentials,
    name: str,
    path: Mapping[str, str],
    *,
    query: Mapping[str, str | int | None] | None = None,
    body: Mapping[str, Any] | None = None,
) -> Question:
    """Turn an operation and its arguments into the bytes that go on the wire.

    Raises
    ------
    ValidationError
        An id is empty, a query parameter is missing or unknown, a write has no request number, or the body is not JSON.
    """
    endpoint = ENDPOINTS[name]
    given = {k: v for k, v in (query or {}).items() if v is not None}
    allowed = {q.removesuffix("*"): q.endswith("*") for q in endpoint.query}
    if unknown := given.keys() - allowed.keys():
        raise ValidationError(
            f"{name} has no query parameter {', '.join(sorted(unknown))}; it takes {', '.join(allowed)}"
        )
    if missing := [q for q, required in allowed.items() if required and not given.get(q)]:
        raise ValidationError(f"{name} needs {', '.join(missing)}")
    content = dict(body or {})
    if credentials.flavour == "partner":
        if endpoint.method == "GET":
            given["brand_id"] = credentials.brand_id
        else:
            content = {"brand_id": credentials.brand_id, **content}
            if content["brand_id"] != credentials.brand_id:
                raise ValidationError(
                    f"the body's brand_id is {content['brand_id']!r}, but the credentials act for {credentials.brand_id!r}"
                )
    target = PREFIXES[credentials.flavour] + re.sub(r"{(\w+)}", lambda m: _segment(m[1], path[m[1]]), endpoint.path)
    if given:
        target += "?" + "&".join(f"{k}={quote(str(v), safe='')}" for k, v in given.items())
    payload = b""
    if endpoint.method != "GET":
        if endpoint.request_no and not content.get(endpoint.request_no):
            raise ValidationError(
                f"{name} needs {endpoint.request_no} in its body: it is what keeps a repeat from acting twice"
            )
        try:
            payload = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
        except (TypeError, ValueError) as error:
            raise ValidationError(f"the body of {name} is not JSON: {error}") from error
    known = {**{k: v for k, v in content.items() if isinstance(v, str)}, **path}
    expected = {e: known[last] for e in endpoint.echoes if (last := e.rpartition(".")[2]) in known}
    return Question(endpoint, target, payload, expected)


def next_page(question: Question, page: Mapping[str, Any], seen: set[str]) -> Question | None:
    """Give the question for the page after this one, or None at the end of the list.

    ``seen`` collects the tokens followed so far: one that comes twice would go round for ever.
    """
    token = page.get("next_page_token")
    if not token:
        return None
    if not isinstance(token, str) or token in seen:
        raise TransportError(f"{question.endpoint.name}: a page token came a second time, so the list would never end")
    seen.add(token)
    base = re.sub(r"[?&]page_token=[^&]*$", "", question.target)
    return replace(question, target=f"{base}{'&' if '?' in base else '?'}page_token={quote(token, safe='')}")


def mismatch(question: Question, answer: Mapping[str, Any]) -> str | None:
    """Name the first field in which an answer is about something else than what was asked."""
    for dotted, wanted in question.expected.items():
        got: Any = answer
        for step in dotted.split("."):
            got = got.get(step) if isinstance(got, Mapping) else None
        if got is not None and got != wanted:
            return dotted
    return None


def _segment(name: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValidationError(
            f"{name} must be a non-empty text, not {value!r}"
            if value is None or value == ""
            else f"{name} must be a text, not {type(value).__name__}: ids keep their leading zeros only as text"
        )
    # A lone dot or two would be taken for a folder and normalised away by any proxy.
    return value.replace(".", "%2E") if value in (".", "..") else quote(value, safe="")
