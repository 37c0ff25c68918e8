"""The endpoints' work: read a request, let the rules judge it, change the books, write the answer.

Writes are idempotent in one place, `Operations.once`: the first answer to a request number is kept and given again, byte for
byte, to the same question; another question under the same number is refused. Refused requests leave no record, so that a
number may be used again once the limit that stopped it has gone.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wxcoupon_analytics.sandbox import create_rules, fields, rules, shapes, validity
from wxcoupon_analytics.sandbox.answers import Parts, Writer, product_document, stock_document, to_json
from wxcoupon_analytics.sandbox.books import (
    AUDITING,
    COUPON_STATES,
    DEACTIVATED,
    SENDING,
    STOCK_STATES,
    UPLOAD,
    Books,
    Coupon,
    Deactivation,
    ProductCoupon,
    Settled,
    Stock,
    Use,
)
from wxcoupon_analytics.sandbox.clock import quota_day
from wxcoupon_analytics.sandbox.events import (
    end_product,
    end_stock,
    issue,
    issue_bundle,
    pass_audit,
    record_use,
    start_sending,
)
from wxcoupon_analytics.sandbox.keys import PARTNER, Flavour
from wxcoupon_analytics.sandbox.refusals import invalid_request, not_found, param_error, state_forbids

AUDIT_SECONDS = 600  # business time from creation to EFFECTIVE and SENDING
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

    @property
    def partner(self) -> bool:
        """Whether a service provider (服务商) calls, whose entities carry ``brand_id``."""
        return self.flavour is PARTNER


class Operations:
    """What each endpoint does. Method names are the operations of the route table in server.py."""

    def __init__(self, books: Books, account: Account, *, after_confirm: Callable[[Coupon, int], None] | None) -> None:
        self._books = books
        self._account = account
        self._writer = Writer(account.brand_id)
        self._after_confirm = after_confirm

    # Product coupons and stocks ---------------------------------------------------------------------------------

    def create_product_coupon(self, call: Call) -> Parts:
        """创建商品券: a product coupon with its first stock, both in audit."""

        def act() -> Parts:
            facts = shapes.fit(call.body, shapes.PRODUCT)
            create_rules.check_product(facts)
            given = dict(fields.mapping(facts, "stock"))
            create_rules.check_stock(given, facts)
            del facts["stock"]
            product = self._books.open_product(facts)
            stock = self._open_stock(product, given, call.now)
            self._books.agenda.add(call.now + AUDIT_SECONDS, pass_audit, product)
            document = product_document(product, self._brand_id(call))
            document["stock"] = stock_document(stock, call.now, (0, 0), self._brand_id(call))
            return (to_json(document),)

        return self.once(call, "out_request_no", act)

    def get_product_coupon(self, call: Call) -> Parts:
        """查询商品券."""
        return (to_json(product_document(self._product(call), self._brand_id(call))),)

    def deactivate_product_coupon(self, call: Call) -> Parts:
        """失效商品券: ends the product coupon and all of its stocks."""

        def act() -> Parts:
            product, end = self._product(call), self._ending(call)
            rules.may_deactivate_product(product)
            end_product(call.now, product, end)
            return (to_json(product_document(product, self._brand_id(call))),)

        return self.once(call, "out_request_no", act)

    def create_stock(self, call: Call) -> Parts:
        """添加商品券批次: one more stock, in audit."""

        def act() -> Parts:
            product = self._product(call)
            rules.not_in_a_bundle(product)
            if product.state == DEACTIVATED:
                raise invalid_request("商品券已失效,不能添加批次")
            live = sum(stock.state_at(call.now) in (AUDITING, SENDING) for stock in product.stocks)
            if live >= create_rules.LIVE_STOCKS:
                raise invalid_request(f"一个商品券下最多{create_rules.LIVE_STOCKS}个可用批次")
            given = shapes.fit(fields.mapping(call.body, "stock"), shapes.STOCK, at="/stock")
            create_rules.check_stock(given, product.facts)
            stock = self._open_stock(product, given, call.now)
            return (to_json(stock_document(stock, call.now, (0, 0), self._brand_id(call))),)

        return self.once(call, "out_request_no", act)

    def list_stocks(self, call: Call) -> Parts:
        """查询商品券批次列表."""
        state = _one_of(call.query, "state", STOCK_STATES)
        bundle = call.query.get("stock_bundle_id")
        stocks = self._product(call).stocks
        chosen = [
            index
            for index, stock in enumerate(stocks)
            if (state is None or stock.state_at(call.now) == state)
            and (bundle is None or stock.facts.get("stock_bundle_info", {}).get("stock_bundle_id") == bundle)
        ]
        page, token = self._page(call, chosen)
        written = [(self._stock_text(stocks[index], call),) for index in page]
        return _list("stock_list", written, len(chosen), token)

    def get_stock(self, call: Call) -> Parts:
        """查询商品券指定批次."""
        return (self._stock_text(self._stock(call, call.params), call),)

    def deactivate_stock(self, call: Call) -> Parts:
        """失效商品券批次: nothing more is sent from it; what was sent stays valid."""

        def act() -> Parts:
            stock, end = self._stock(call, call.params), self._ending(call)
            rules.may_deactivate_stock(stock, call.now)
            end_stock(call.now, stock, end)
            return (self._stock_text(stock, call),)

        return self.once(call, "out_request_no", act)

    def update_stock_budget(self, call: Call) -> Parts:
        """修改商品券批次发放预算: a compare-and-set of one limit."""

        def act() -> Parts:
            stock = self._stock(call, call.params)
            mode = fields.choice(call.body, "update_mode", ("MAX_COUNT", "MAX_COUNT_PER_DAY"))
            field = mode.lower()
            most = create_rules.MAX_BUDGET
            current = fields.integer(call.body, f"current_{field}", least=0, most=most)
            target = fields.integer(call.body, f"target_{field}", least=1, most=most)
            if stock.state_at(call.now) == DEACTIVATED:
                raise state_forbids("商品券批次已失效,不能修改发放预算")
            if current != (getattr(stock, field) or 0):
                raise invalid_request("当前发放次数上限与批次实际值不一致,请查询后重试")
            if mode == "MAX_COUNT" and target < len(stock.coupons):
                raise invalid_request("目标发放次数总上限不能小于已发放次数")
            setattr(stock, field, target)
            stock.version += 1
            return (self._stock_text(stock, call),)

        return self.once(call, "out_request_no", act)

    def upload_coupon_codes(self, call: Call) -> Parts:
        """预上传券Code: fills the pool an ``UPLOAD`` stock sends from."""

        def act() -> Parts:
            stock = self._stock(call, call.params)
            if stock.code_mode != UPLOAD:
                raise invalid_request("该批次的券Code分配模式不是UPLOAD")
            given = fields.array(call.body, "code_list", most=200)
            known = {*stock.pool, *stock.coupons}
            unique = list(dict.fromkeys(given))
            good = [code for code in unique if rules.is_code(code)]
            new = [code for code in good if code not in known]
            stock.pool.extend(new)
            stock.uploaded += len(new)
            document = {
                "total_count": len(unique),
                "success_code_list": new,
                "failed_code_list": [code for code in unique if not rules.is_code(code)],
                "already_exist_code_list": [code for code in good if code in known],
                "duplicate_code_list": sorted({str(code) for code in given if given.count(code) > 1}),
            }
            return (to_json(document),)

        return self.once(call, "out_request_no", act)

    # User coupons -----------------------------------------------------------------------------------------------

    def send_coupon(self, call: Call) -> Parts:
        """向用户发放商品券: one coupon, born CONFIRMING."""

        def act() -> Parts:
            openid = self._user(call, call.body)
            stock = self._stock(call, call.body)
            rules.not_in_a_bundle(stock.product)
            attach = fields.optional_text(call.body, "attach", most=150)
            code = rules.code_fits_the_mode(stock, call.body.get("coupon_code"))
            card = rules.membership(call.body, openid)
            rules.may_send(stock, openid, call.now)
            number = call.body["send_request_no"]
            coupon = issue(self._books, stock, openid, call.now, request_no=number, channel="API", code=code)
            coupon.attach, coupon.member_card_id = attach, card
            return self._writer.coupon(coupon, call.now, partner=call.partner, fresh=True)

        return self.once(call, "send_request_no", act)

    def send_coupon_bundle(self, call: Call) -> Parts:
        """向用户发放商品券批次组: one coupon from each stock of the bundle, or none."""

        def act() -> Parts:
            openid = self._user(call, call.body)
            product = self._product(call)
            wanted = fields.text(call.body, "stock_bundle_id")
            steps = [s for s in product.stocks if s.facts.get("stock_bundle_info", {}).get("stock_bundle_id") == wanted]
            if not steps:
                raise not_found("商品券批次组不存在")
            attach = fields.optional_text(call.body, "attach", most=150)
            card = rules.membership(call.body, openid)
            for stock in steps:
                rules.may_send(stock, openid, call.now)
            number = call.body["send_request_no"]
            coupons = issue_bundle(self._books, steps, openid, call.now, request_no=number, channel="API")
            for coupon in coupons:
                coupon.attach, coupon.member_card_id = attach, card
            tie = coupons[0].tie
            assert tie is not None
            written = [self._writer.coupon(coupon, call.now, partner=call.partner, fresh=True) for coupon in coupons]
            head = f'{{"user_coupon_bundle_id":"{tie.id}","user_product_coupon_list":['
            return (head, *_joined(written), "]}")

        return self.once(call, "send_request_no", act)

    def list_user_coupons(self, call: Call) -> Parts:
        """指定券状态查询用户商品券列表."""
        openid = self._user(call, call.query, location="query")
        product_id, stock_id = call.query.get("product_coupon_id"), call.query.get("stock_id")
        state = _one_of(call.query, "coupon_state", COUPON_STATES)
        now = call.now
        coupons: Sequence[Coupon] = self._books.users.get(openid, ())
        chosen = [
            index
            for index, coupon in enumerate(coupons)
            if (product_id is None or coupon.stock.product.id == product_id)
            and (stock_id is None or coupon.stock.id == stock_id)
            and (state is None or coupon.state_at(now) == state)
        ]
        page, token = self._page(call, chosen)
        written = [self._writer.coupon(coupons[index], now, partner=call.partner) for index in page]
        return _list("user_coupon_list", written, len(chosen), token)

    def get_user_coupon(self, call: Call) -> Parts:
        """查询用户商品券详情."""
        return self._writer.coupon(self._coupon(call, call.query, location="query"), call.now, partner=call.partner)

    def confirm_coupon(self, call: Call) -> Parts:
        """确认发放用户商品券: makes a sent coupon the user's."""

        def act() -> Parts:
            coupon = self._coupon(call, call.body)
            rules.may_confirm(coupon, call.now)
            coupon.confirm_request_no, coupon.confirm_time = call.body["out_request_no"], call.now
            if self._after_confirm is not None:
                self._after_confirm(coupon, call.now)
            return self._changed(coupon, call)

        return self.once(call, "out_request_no", act)

    def use_coupon(self, call: Call) -> Parts:
        """核销用户商品券."""

        def act() -> Parts:
            coupon = self._coupon(call, call.body)
            used_at = fields.instant(call.body, "use_time")
            order = fields.optional_mapping(call.body, "associated_order_info")
            score_order = fields.optional_mapping(call.body, "associated_pay_score_order_info")
            if order is None and score_order is None:
                raise param_error("/associated_order_info", "required, unless associated_pay_score_order_info is given")
            most = create_rules.MAX_FEN
            index = fields.optional_integer(call.body, "sequential_coupon_index", least=0, most=100)
            saved = fields.optional_integer(call.body, "saved_amount", least=0, most=most)
            rules.may_use(coupon, call.now)
            rules.use_time_is_credible(coupon, used_at, call.now)
            index = rules.round_to_use(coupon, index, call.now)
            use = Use(call.body["out_request_no"], used_at, _dict(order), _dict(score_order), saved)
            record_use(coupon, index, use)
            return self._changed(coupon, call)

        return self.once(call, "out_request_no", act)

    def return_coupon(self, call: Call) -> Parts:
        """退券: takes a use back."""

        def act() -> Parts:
            coupon = self._coupon(call, call.body)
            index = fields.optional_integer(call.body, "sequential_coupon_index", least=0, most=100)
            index = rules.round_to_return(coupon, index)
            rules.may_return(coupon, index)
            coupon.uses[index].take_back(call.body["out_request_no"], call.now)
            return self._changed(coupon, call)

        return self.once(call, "out_request_no", act)

    def deactivate_user_coupon(self, call: Call) -> Parts:
        """失效用户商品券."""

        def act() -> Parts:
            coupon, end = self._coupon(call, call.body), self._ending(call)
            rules.may_deactivate_coupon(coupon, call.now)
            coupon.deactivation = end
            return self._changed(coupon, call)

        return self.once(call, "out_request_no", act)

    # What they share --------------------------------------------------------------------------------------------

    def once(self, call: Call, number_field: str, act: Callable[[], Parts]) -> Parts:
        """Act at most once for a request number; numbers belong to one caller and one operation."""
        key = (call.flavour.name, call.operation, fields.request_no(call.body, number_field))
        asked = json.dumps([call.params, call.body], sort_keys=True, ensure_ascii=False)
        digest = hashlib.sha256(asked.encode()).digest()
        settled = self._books.settled.get(key)
        if settled is None:
            parts = act()
            self._books.settled[key] = Settled(digest, parts)
            return parts
        if settled.digest != digest:
            detail = {"field": f"/{number_field}", "value": key[2], "issue": "used before with other parameters"}
            raise invalid_request("请求单号已被使用,且请求参数与首次请求不一致", detail=detail)
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

    def _user(self, call: Call, source: Mapping[str, Any], *, location: str = "body") -> str:
        """Return the openid after checking that it is one of the brand's appid."""
        if not source.get("appid"):
            raise param_error("/appid" if location == "body" else "appid", "required", location=location)
        rules.appid_is_bound(fields.text(source, "appid"), self._account.appid)
        rules.openid_is_of_the_appid(call.params["openid"], self._account.foreign_openids)
        return call.params["openid"]

    def _coupon(self, call: Call, source: Mapping[str, Any], *, location: str = "body") -> Coupon:
        openid = self._user(call, source, location=location)
        return rules.held_coupon(self._stock(call, source), openid, call.params["coupon_code"])

    def _ending(self, call: Call) -> Deactivation:
        reason = fields.text(call.body, "deactivate_reason", most=150)
        return Deactivation(call.body["out_request_no"], call.now, reason)

    def _changed(self, coupon: Coupon, call: Call) -> Parts:
        coupon.touch()
        return self._writer.coupon(coupon, call.now, partner=call.partner)

    def _stock_text(self, stock: Stock, call: Call) -> str:
        sent = (len(stock.coupons), stock.sent_on(quota_day(call.now)))
        return to_json(stock_document(stock, call.now, sent, self._brand_id(call)))

    def _open_stock(self, product: ProductCoupon, facts: dict[str, Any], now: int) -> Stock:
        stock = self._books.open_stock(product, facts, validity.available_end(product, facts))
        self._books.agenda.add(now + AUDIT_SECONDS, start_sending, stock)
        return stock

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
    except binascii.Error:
        raw = b""
    if len(raw) != 16 or raw[3:11] != mark:
        raise param_error("page_token", "not a token of this list", value=token, location="query")
    return int.from_bytes(raw[11:], "big")


def _one_of(query: Mapping[str, str], name: str, allowed: tuple[str, ...]) -> str | None:
    value = query.get(name)
    if value is not None and value not in allowed:
        raise param_error(name, "must be one of " + " ".join(allowed), value=value, location="query")
    return value


def _dict(given: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if given is None else dict(given)


def _joined(written: Sequence[Parts]) -> Parts:
    parts: list[str] = []
    for index, entity in enumerate(written):
        if index:
            parts.append(",")
        parts += entity
    return tuple(parts)


def _list(name: str, written: Sequence[Parts], total: int, token: str | None) -> Parts:
    closing = f',"next_page_token":"{token}"}}' if token else "}"
    return (f'{{"total_count":{total},"{name}":[', *_joined(written), "]", closing)
