"""User coupons: sent, confirmed, used, returned, withdrawn, one by one or as the coupons of a bundle."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from wxcoupon_analytics.sandbox import create_rules, fields, rules, shapes
from wxcoupon_analytics.sandbox.answers import Parts, to_json
from wxcoupon_analytics.sandbox.books import COUPON_STATES, Coupon, Tie, Use
from wxcoupon_analytics.sandbox.desk import Call, Desk, joined, list_answer, one_of
from wxcoupon_analytics.sandbox.events import issue, issue_bundle, record_use


class CouponOperations(Desk):
    """What users hold."""

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
            steps = self._bundle(call.body, self._product(call))
            attach = fields.optional_text(call.body, "attach", most=150)
            card = rules.membership(call.body, openid)
            for stock in steps:
                rules.may_send(stock, openid, call.now)
            number = call.body["send_request_no"]
            coupons = issue_bundle(self._books, steps, openid, call.now, request_no=number, channel="API")
            for coupon in coupons:
                coupon.attach, coupon.member_card_id = attach, card
            return self._tied(coupons, call, fresh=True)

        return self.once(call, "send_request_no", act)

    def confirm_coupon_bundle(self, call: Call) -> Parts:
        """确认发放用户商品券(多次优惠): makes all of a bundle's coupons the user's. Path and body by analogy: no page is at hand."""

        def act() -> Parts:
            tie = self._tie(call)
            for coupon in rules.may_confirm_bundle(tie, call.now):
                self._confirm(coupon, call)
            return self._tied(tie.coupons, call)

        return self.once(call, "out_request_no", act)

    def deactivate_coupon_bundle(self, call: Call) -> Parts:
        """失效用户商品券组: every coupon of the bundle that is not used or over."""

        def act() -> Parts:
            tie, end = self._tie(call), self._ending(call)
            for coupon in rules.may_deactivate_bundle(tie, call.now):
                coupon.deactivation = end
                coupon.touch()
            return self._tied(tie.coupons, call)

        return self.once(call, "out_request_no", act)

    def pre_send_coupon(self, call: Call) -> Parts:
        """向用户预发放商品券: a token for the receive component (领券组件), if a send would be allowed now. Nothing is reserved."""

        def act() -> Parts:
            openid = self._user(call, call.body)
            stock = self._stock(call, call.body)
            rules.not_in_a_bundle(stock.product)
            fields.optional_text(call.body, "attach", most=150)
            rules.code_fits_the_mode(stock, call.body.get("coupon_code"))
            rules.may_send(stock, openid, call.now)
            return _token(call)

        return self.once(call, "send_request_no", act)

    def pre_send_coupon_bundle(self, call: Call) -> Parts:
        """向用户预发放商品券批次组: the same for a bundle."""

        def act() -> Parts:
            openid = self._user(call, call.body)
            fields.optional_text(call.body, "attach", most=150)
            for stock in self._bundle(call.body, self._product(call)):
                rules.may_send(stock, openid, call.now)
            return _token(call)

        return self.once(call, "send_request_no", act)

    def list_user_coupons(self, call: Call) -> Parts:
        """指定券状态查询用户商品券列表."""
        openid = self._user(call, call.query, location="query")
        product_id, stock_id = call.query.get("product_coupon_id"), call.query.get("stock_id")
        bundle = None if call.partner else call.query.get("user_coupon_bundle_id")  # a brand's filter only
        state = one_of(call.query, "coupon_state", COUPON_STATES)
        now = call.now
        coupons: Sequence[Coupon] = self._books.users.get(openid, ())
        chosen = [
            index
            for index, coupon in enumerate(coupons)
            if (product_id is None or coupon.stock.product.id == product_id)
            and (stock_id is None or coupon.stock.id == stock_id)
            and (bundle is None or (coupon.tie is not None and coupon.tie.id == bundle))
            and (state is None or coupon.state_at(now) == state)
        ]
        page, token = self._page(call, chosen)
        written = [self._writer.coupon(coupons[index], now, partner=call.partner) for index in page]
        return list_answer("user_coupon_list", written, len(chosen), token)

    def get_user_coupon(self, call: Call) -> Parts:
        """查询用户商品券详情."""
        return self._written(self._coupon(call, call.query, location="query"), call)

    def confirm_coupon(self, call: Call) -> Parts:
        """确认发放用户商品券: makes a sent coupon the user's."""

        def act() -> Parts:
            coupon = self._coupon(call, call.body)
            rules.may_confirm(coupon, call.now)
            self._confirm(coupon, call)
            return self._written(coupon, call)

        return self.once(call, "out_request_no", act)

    def use_coupon(self, call: Call) -> Parts:
        """核销用户商品券."""

        def act() -> Parts:
            coupon = self._coupon(call, call.body)
            used_at = fields.instant(call.body, "use_time")
            order = _fitted(call.body, "associated_order_info", shapes.ORDER)
            score_order = _fitted(call.body, "associated_pay_score_order_info", shapes.PAY_SCORE_ORDER)
            rules.an_order_is_named(order, score_order)
            index = fields.optional_integer(call.body, "sequential_coupon_index", least=0, most=100)
            if call.partner:  # only the partner's request has it, and no answer that shows a use repeats it
                fields.optional_integer(call.body, "saved_amount", least=0, most=create_rules.MAX_FEN)
            fields.optional_text(call.body, "store_id")
            rules.may_use(coupon, call.now)
            index = rules.round_to_use(coupon, index, call.now)
            rules.use_time_is_credible(coupon, index, used_at, call.now)
            record_use(coupon, index, Use(call.body["out_request_no"], used_at, order, score_order))
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

    def _coupon(self, call: Call, source: Mapping[str, Any], *, location: str = "body") -> Coupon:
        openid = self._user(call, source, location=location)
        return rules.held_coupon(self._stock(call, source), openid, call.params["coupon_code"])

    def _changed(self, coupon: Coupon, call: Call) -> Parts:
        coupon.touch()
        return self._written(coupon, call)

    def _written(self, coupon: Coupon, call: Call) -> Parts:
        return self._writer.coupon(coupon, call.now, partner=call.partner)

    def _confirm(self, coupon: Coupon, call: Call) -> None:
        coupon.confirm_request_no, coupon.confirm_time = call.body["out_request_no"], call.now
        coupon.touch()
        if self._after_confirm is not None:
            self._after_confirm(coupon, call.now)

    def _tie(self, call: Call) -> Tie:
        """Return the bundle if this user holds it, and it came from the stock bundle that is named."""
        openid = self._user(call, call.body)
        stocks = self._bundle(call.body, self._product(call))
        return rules.held_bundle(self._books.ties.get(call.params["user_coupon_bundle_id"]), openid, stocks)

    def _tied(self, coupons: Sequence[Coupon], call: Call, *, fresh: bool = False) -> Parts:
        """Write the coupons of one bundle."""
        tie = coupons[0].tie
        assert tie is not None
        written = [self._writer.coupon(coupon, call.now, partner=call.partner, fresh=fresh) for coupon in coupons]
        head = f'{{"user_coupon_bundle_id":"{tie.id}","user_product_coupon_list":['
        return (head, *joined(written), "]}")


def _fitted(body: Mapping[str, Any], name: str, shape: shapes.Shape) -> dict[str, Any] | None:
    """Return an optional object cut to its shape; one that says nothing is none."""
    given = fields.optional_mapping(body, name)
    fitted: dict[str, Any] = {} if given is None else shapes.fit(given, shape, at=f"/{name}")
    return {field: value for field, value in fitted.items() if value} or None


def _token(call: Call) -> Parts:
    """Write the token of a pre-send: opaque, and the number's own."""
    digest = hashlib.sha256(f"{call.operation}/{call.body['send_request_no']}".encode()).digest()
    return (to_json({"token": base64.b64encode(digest).decode()}),)
