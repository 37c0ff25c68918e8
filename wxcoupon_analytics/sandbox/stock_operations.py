"""Product coupons, stocks and stock bundles: created, looked at, changed, ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wxcoupon_analytics.sandbox import create_rules, fields, rules, shapes, validity
from wxcoupon_analytics.sandbox.answers import Parts, product_document, to_json
from wxcoupon_analytics.sandbox.books import (
    AUDITING,
    BUNDLE,
    DEACTIVATED,
    SENDING,
    STOCK_STATES,
    UPLOAD,
    ProductCoupon,
    Stock,
)
from wxcoupon_analytics.sandbox.desk import Call, Desk, list_answer, one_of
from wxcoupon_analytics.sandbox.events import end_product, end_stock, pass_audit, start_sending
from wxcoupon_analytics.sandbox.refusals import invalid_request, state_forbids

AUDIT_SECONDS = 600  # business time from creation to EFFECTIVE and SENDING


class StockOperations(Desk):
    """What a brand offers: the product coupons, and the stocks and bundles they are given out from."""

    def create_product_coupon(self, call: Call) -> Parts:
        """创建商品券: a product coupon with its first stock or stock bundle, all in audit."""

        def act() -> Parts:
            facts = shapes.fit(call.body, shapes.PRODUCT)
            create_rules.check_product(facts)
            bundled = facts["usage_mode"] == BUNDLE
            given = fields.mapping(facts, "stock_bundle" if bundled else "stock")
            (create_rules.check_bundle if bundled else create_rules.check_stock)(given, facts)
            facts = {name: value for name, value in facts.items() if name not in ("stock", "stock_bundle")}
            product = self._books.open_product(facts)
            self._books.agenda.add(call.now + AUDIT_SECONDS, pass_audit, product)
            if bundled:
                text = self._bundle_text(self._open_bundle(product, given, call.now), call)
            else:
                text = self._stock_text(self._open_stock(product, given, call.now), call)
            head = to_json(product_document(product, self._brand_id(call))).removesuffix("}")
            return (head, ',"stock_bundle":' if bundled else ',"stock":', text, "}")

        return self.once(call, "out_request_no", act)

    def get_product_coupon(self, call: Call) -> Parts:
        """查询商品券."""
        return (to_json(product_document(self._product(call), self._brand_id(call))),)

    def update_product_coupon(self, call: Call) -> Parts:
        """修改商品券: what it shows, as a whole; its discount never changes."""

        def act() -> Parts:
            product = self._product(call)
            rules.may_change_product(product)
            display = shapes.fit(fields.mapping(call.body, "display_info"), shapes.DISPLAY, at="/display_info")
            create_rules.check_display(display, product.facts["scope"])
            product.facts["display_info"] = display
            product.version += 1
            return (to_json(product_document(product, self._brand_id(call))),)

        return self.once(call, "out_request_no", act)

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
            if product.usage_mode == BUNDLE:
                raise invalid_request("usage_mode为PROGRESSIVE_BUNDLE的商品券,请使用【添加商品券批次组API】")
            _takes_more_stocks(product, 1, call.now)
            given = shapes.fit(fields.mapping(call.body, "stock"), shapes.STOCK, at="/stock")
            create_rules.check_stock(given, product.facts)
            stock = self._open_stock(product, given, call.now)
            return (self._stock_text(stock, call),)

        return self.once(call, "out_request_no", act)

    def create_stock_bundle(self, call: Call) -> Parts:
        """添加商品券批次组: one more bundle, a stock for each of its steps, in audit."""

        def act() -> Parts:
            product = self._product(call)
            if product.usage_mode != BUNDLE:
                raise invalid_request("usage_mode不为PROGRESSIVE_BUNDLE的商品券,请使用【添加商品券批次API】")
            _takes_more_stocks(product, product.facts["progressive_bundle_usage_info"]["count"], call.now)
            given = shapes.fit(fields.mapping(call.body, "stock_bundle"), shapes.STOCK_BUNDLE, at="/stock_bundle")
            create_rules.check_bundle(given, product.facts)
            return (self._bundle_text(self._open_bundle(product, given, call.now), call),)

        return self.once(call, "out_request_no", act)

    def list_stocks(self, call: Call) -> Parts:
        """查询商品券批次列表."""
        state = one_of(call.query, "state", STOCK_STATES)
        bundle = call.query.get("stock_bundle_id")
        stocks = self._product(call).stocks
        chosen = [
            index
            for index, stock in enumerate(stocks)
            if (state is None or stock.state_at(call.now) == state) and (bundle is None or stock.bundle_id == bundle)
        ]
        page, token = self._page(call, chosen)
        written = [(self._stock_text(stocks[index], call),) for index in page]
        return list_answer("stock_list", written, len(chosen), token)

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

    def update_stock(self, call: Call) -> Parts:
        """修改商品券指定批次: how it looks and where it holds; limits have an endpoint of their own."""

        def act() -> Parts:
            stock = self._stock(call, call.params)
            self._change([stock], call)
            return (self._stock_text(stock, call),)

        return self.once(call, "out_request_no", act)

    def update_stock_bundle(self, call: Call) -> Parts:
        """修改商品券批次组: the same change to every stock of the bundle."""

        def act() -> Parts:
            stocks = self._bundle(call.params, self._product(call))
            self._change(stocks, call)
            return (self._bundle_text(stocks, call),)

        return self.once(call, "out_request_no", act)

    def update_stock_budget(self, call: Call) -> Parts:
        """修改商品券批次发放预算: a compare-and-set of one limit."""

        def act() -> Parts:
            stock = self._stock(call, call.params)
            self._set_budget([stock], call)
            return (self._stock_text(stock, call),)

        return self.once(call, "out_request_no", act)

    def update_bundle_budget(self, call: Call) -> Parts:
        """修改商品券批次组发放预算: the same limit in every stock of the bundle."""

        def act() -> Parts:
            stocks = self._bundle(call.params, self._product(call))
            self._set_budget(stocks, call)
            return (self._bundle_text(stocks, call),)

        return self.once(call, "out_request_no", act)

    def upload_coupon_codes(self, call: Call) -> Parts:
        """预上传券Code: fills the pool an ``UPLOAD`` stock sends from."""

        def act() -> Parts:
            stock = self._stock(call, call.params)
            if stock.code_mode != UPLOAD:
                raise invalid_request("该批次的券Code分配模式不是UPLOAD")
            given = fields.texts(call.body, "code_list", most=200)
            known = {*stock.pool, *stock.coupons}
            unique = list(dict.fromkeys(given))
            good = [code for code in unique if rules.is_code(code)]
            new = [code for code in good if code not in known]
            stock.pool.extend(new)
            stock.uploaded += len(new)
            document = {
                "total_count": len(unique),
                "success_code_list": new,
                "failed_code_list": [_failed_code(code, call) for code in unique if not rules.is_code(code)],
                "already_exist_code_list": [code for code in good if code in known],
                "duplicate_code_list": sorted({code for code in given if given.count(code) > 1}),
            }
            return (to_json(document),)

        return self.once(call, "out_request_no", act)

    def _change(self, stocks: list[Stock], call: Call) -> None:
        """Change what the request names in all of these stocks; what it leaves out stays."""
        for stock in stocks:
            rules.may_change_stock(stock)
        changes = shapes.fit(call.body, shapes.STOCK_CHANGES)
        create_rules.check_changes(changes)
        for stock in stocks:
            stock.facts |= changes
            stock.version += 1

    def _set_budget(self, stocks: list[Stock], call: Call) -> None:
        """Set one limit of all of these stocks, if each has the value the caller believes."""
        mode = fields.choice(call.body, "update_mode", ("MAX_COUNT", "MAX_COUNT_PER_DAY"))
        field = mode.lower()
        most = create_rules.MAX_BUDGET
        # A stock without a daily limit has no current value to name: absent and 0 both say so.
        read = fields.optional_integer if mode == "MAX_COUNT_PER_DAY" else fields.integer
        current = read(call.body, f"current_{field}", least=0, most=most) or 0
        target = fields.integer(call.body, f"target_{field}", least=1, most=most)
        for stock in stocks:
            if stock.state_at(call.now) == DEACTIVATED:
                raise state_forbids("商品券批次已失效,不能修改发放预算")
            if current != (getattr(stock, field) or 0):
                raise invalid_request("当前发放次数上限与批次实际值不一致,请查询后重试")
            if mode == "MAX_COUNT" and target < len(stock.coupons):
                raise invalid_request("目标发放次数总上限不能小于已发放次数")
        for stock in stocks:
            setattr(stock, field, target)
            stock.version += 1

    def _open_stock(self, product: ProductCoupon, given: Mapping[str, Any], now: int) -> Stock:
        stock = self._books.open_stock(product, dict(given), validity.available_end(product, dict(given)))
        self._books.agenda.add(now + AUDIT_SECONDS, start_sending, stock)
        return stock

    def _open_bundle(self, product: ProductCoupon, given: Mapping[str, Any], now: int) -> list[Stock]:
        steps = create_rules.steps_of(given, product.facts)
        stocks = self._books.open_bundle(product, steps, validity.available_end(product, steps[0]))
        for stock in stocks:
            self._books.agenda.add(now + AUDIT_SECONDS, start_sending, stock)
        return stocks


def _takes_more_stocks(product: ProductCoupon, more: int, now: int) -> None:
    """A product coupon that has ended takes no stock, and none has more than 200 live ones."""
    if product.state == DEACTIVATED:
        raise invalid_request("商品券已失效,不能添加批次")
    live = sum(stock.state_at(now) in (AUDITING, SENDING) for stock in product.stocks)
    if live + more > create_rules.LIVE_STOCKS:
        raise invalid_request(f"一个商品券下最多{create_rules.LIVE_STOCKS}个可用批次")


def _failed_code(code: str, call: Call) -> Any:
    """Write a code that cannot be one: a partner's page lists the codes alone, a brand's says what is wrong with each."""
    if call.partner:
        return code
    return {
        "coupon_code": code,
        "code": "PARAM_ERROR",
        "message": "券Code只能由数字、大小写字母、下划线和短横线组成,长度1-40",
    }
