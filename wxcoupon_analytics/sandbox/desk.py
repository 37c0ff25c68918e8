"""What every operation shares: one authenticated request, acting once for a number, finding what it names, pages.

Writes are idempotent in one place, `Desk.once`: the first answer to a request number is kept and given again, byte for byte, to
the same question; another question under the same number is refused. A number belongs to the brand and one operation, whoever
calls: the same send through the brand and through its service provider is one send. Refused requests leave no record, so
that a number may be used again once the limit that stopped it has gone.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wxcoupon_analytics.sandbox import fields, rules
from wxcoupon_analytics.sandbox.answers import Parts, Writer, stock_document, to_json
from wxcoupon_analytics.sandbox.books import Books, Coupon, Deactivation, ProductCoupon, Settled, Stock
from wxcoupon_analytics.sandbox.clock import quota_day
from wxcoupon_analytics.sandbox.keys import PARTNER, Flavour
from wxcoupon_analytics.sandbox.refusals import RefusedError, invalid_request, not_found, param_error, system_error

_TOKEN_HEAD = b"\xfb\xff\xbf"  # makes every page token contain "+" and "/", and its 16 bytes end in "=="


@dataclass(frozen=True)
class Account:
    """The brand the box belongs to, and what is bound to it."""

    brand_id: str
    mchid: str
    appid: str
    foreign_openids: frozenset[str]  # users of some other appid


@dataclass(frozen=True)
class Call:
    """One authenticated request."""

    flavour: Flavour
    operation: str
    params: Mapping[str, str]  # of the path, percent-decoded
    query: Mapping[str, str]
    body: Mapping[str, Any]
    now: int
    file: bytes | None = None  # of an upload

    @property
    def partner(self) -> bool:
        """Whether a service provider (服务商) calls, whose entities carry ``brand_id``."""
        return self.flavour is PARTNER


class Desk:
    """What the operations of every subject stand on."""

    def __init__(self, books: Books, account: Account, *, after_confirm: Callable[[Coupon, int], None] | None) -> None:
        self._books = books
        self._account = account
        self._writer = Writer(account.brand_id)
        self._after_confirm = after_confirm

    def once(self, call: Call, number_field: str, act: Callable[[], Parts]) -> Parts:
        """Act at most once for a request number.

        The number is taken before anything changes and given back only by a refusal, which comes before any change. Should the
        answer fail to be written, a repetition is told SYSTEM_ERROR; it never acts a second time. A repetition through the
        other flavour gets the first answer as it was, in the first caller's form.
        """
        key = (call.operation, fields.request_no(call.body, number_field))
        body = {name: value for name, value in call.body.items() if name != "brand_id"}
        asked = json.dumps([call.params, body], sort_keys=True, ensure_ascii=False)
        digest = hashlib.sha256(asked.encode()).digest()
        settled = self._books.settled.get(key)
        if settled is None:
            settled = self._books.settled[key] = Settled(digest)
            try:
                settled.parts = act()
            except RefusedError:
                del self._books.settled[key]
                raise
            return settled.parts
        if settled.digest != digest:
            detail = {"field": f"/{number_field}", "value": key[1], "issue": "used before with other parameters"}
            raise invalid_request("请求单号已被使用,且请求参数与首次请求不一致", detail=detail)
        if settled.parts is None:
            raise system_error()
        return settled.parts

    def _brand_id(self, call: Call) -> str | None:
        return self._account.brand_id if call.partner else None

    def _product(self, call: Call) -> ProductCoupon:
        source = call.params if "product_coupon_id" in call.params else call.body
        product = self._books.products.get(fields.text(source, "product_coupon_id"))
        if product is None:
            raise not_found("未找到 product_coupon_id 对应的商品券")
        return product

    def _stock(self, call: Call, source: Mapping[str, Any]) -> Stock:
        product_id, stock_id = fields.text(source, "product_coupon_id"), fields.text(source, "stock_id")
        product = self._books.products.get(product_id)
        if product is None:
            raise not_found("未找到 product_coupon_id 对应的商品券")
        for stock in product.stocks:
            if stock.id == stock_id:
                return stock
        raise not_found("未找到 stock_id 对应的商品券批次")

    def _bundle(self, source: Mapping[str, Any], product: ProductCoupon) -> list[Stock]:
        """Return the stocks of the stock bundle (批次组) that a path or a body names."""
        stocks = product.bundle(fields.text(source, "stock_bundle_id"))
        if not stocks:
            raise not_found("未找到 stock_bundle_id 对应的商品券批次组")
        return stocks

    def _user(self, call: Call, source: Mapping[str, Any], *, location: str = "body") -> str:
        """Return the openid after checking that it is one of the brand's appid."""
        if not source.get("appid"):
            raise param_error("/appid" if location == "body" else "appid", "required", location=location)
        rules.appid_is_bound(fields.text(source, "appid"), self._account.appid)
        rules.openid_is_of_the_appid(call.params["openid"], self._account.foreign_openids)
        return call.params["openid"]

    def _ending(self, call: Call) -> Deactivation:
        reason = fields.text(call.body, "deactivate_reason", most=150)
        return Deactivation(call.body["out_request_no"], call.now, reason)

    def _stock_text(self, stock: Stock, call: Call) -> str:
        sent = (len(stock.coupons), stock.sent_on(quota_day(call.now)))
        return to_json(stock_document(stock, call.now, sent, self._brand_id(call)))

    def _bundle_text(self, stocks: Sequence[Stock], call: Call) -> str:
        written = ",".join(self._stock_text(stock, call) for stock in stocks)
        return f'{{"stock_bundle_id":"{stocks[0].bundle_id}","stock_list":[{written}]}}'

    def _page(self, call: Call, chosen: Sequence[int]) -> tuple[Sequence[int], str | None]:
        """Cut one page out of the chosen positions, and mint the token of the next.

        Positions only ever grow, so a token keeps its meaning while entities are added: no page repeats or skips one.
        """
        size = rules.page_size(call.query.get("page_size"))
        asked = [call.operation, call.params, {k: v for k, v in call.query.items() if not k.startswith("page_")}]
        mark = hashlib.sha256(to_json(asked).encode()).digest()[:8]
        start = 0
        if call.query.get("page_token"):
            start = _read_token(call.query["page_token"], mark)
        rest = [position for position in chosen if position >= start]
        token = None
        if len(rest) > size:
            token = base64.b64encode(_TOKEN_HEAD + mark + rest[size].to_bytes(5, "big")).decode()
        return rest[:size], token


def _read_token(token: str, mark: bytes) -> int:
    """Return the position a page token stands for, if it belongs to this very question."""
    try:
        raw = base64.b64decode(token, validate=True)
    except ValueError:  # not base64, or not even ASCII
        raw = b""
    if len(raw) != 16 or raw[3:11] != mark:
        raise param_error("page_token", "not a token of this list", value=token, location="query")
    return int.from_bytes(raw[11:], "big")


def one_of(query: Mapping[str, str], name: str, allowed: tuple[str, ...]) -> str | None:
    """Return a filter of the query, or None when it is absent."""
    value = query.get(name)
    if value is not None and value not in allowed:
        raise param_error(name, "must be one of " + " ".join(allowed), value=value, location="query")
    return value


def joined(written: Sequence[Parts]) -> Parts:
    """Put commas between entities."""
    parts: list[str] = []
    for index, entity in enumerate(written):
        if index:
            parts.append(",")
        parts += entity
    return tuple(parts)


def list_answer(name: str, written: Sequence[Parts], total: int, token: str | None) -> Parts:
    """Write one page of a list."""
    closing = f',"next_page_token":"{token}"}}' if token else "}"
    return (f'{{"total_count":{total},"{name}":[', *joined(written), "]", closing)
