"""The stores a stock holds in (门店): associated, listed, disassociated; for a bundle, in each of its stocks."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from wxcoupon_analytics.sandbox import fields, rules, shapes
from wxcoupon_analytics.sandbox.answers import Parts, to_json
from wxcoupon_analytics.sandbox.books import Stock
from wxcoupon_analytics.sandbox.desk import Call, Desk, list_answer
from wxcoupon_analytics.sandbox.refusals import param_error

MOST_STORES = 1_000  # a call; no page at hand gives a number
_STORE = re.compile(r"[0-9A-Za-z_-]{1,64}")
Row = dict[str, Any]


class StoreOperations(Desk):
    """Where a stock's coupons can be used. These writes carry no request number: saying them twice changes nothing."""

    def associate_stores(self, call: Call) -> Parts:
        """批次关联门店."""
        return self._for_each_store(call, [self._stock(call, call.params)], _associate)

    def disassociate_stores(self, call: Call) -> Parts:
        """批次取消关联门店."""
        return self._for_each_store(call, [self._stock(call, call.params)], _disassociate)

    def associate_bundle_stores(self, call: Call) -> Parts:
        """批次组批量关联门店."""
        return self._for_each_store(call, self._bundle(call.params, self._product(call)), _associate)

    def disassociate_bundle_stores(self, call: Call) -> Parts:
        """批次组批量取消关联门店."""
        return self._for_each_store(call, self._bundle(call.params, self._product(call)), _disassociate)

    def list_associated_stores(self, call: Call) -> Parts:
        """查询批次关联门店列表."""
        by_serial = {serial: store for store, serial in self._stock(call, call.params).stores.items()}
        page, token = self._page(call, list(by_serial))
        written = [(to_json({"store_id": by_serial[serial]}),) for serial in page]
        return list_answer("store_list", written, len(by_serial), token)

    def _for_each_store(
        self, call: Call, stocks: Sequence[Stock], act: Callable[[str, Sequence[Stock]], Row | None]
    ) -> Parts:
        """Do the same with every store, and say of each whether it went well."""
        for stock in stocks:
            rules.takes_stores(stock)
        given = fields.objects(shapes.fit(call.body, shapes.STORES), "store_list", most=MOST_STORES)
        if not given:
            raise param_error("/store_list", "required")
        names = list(dict.fromkeys(fields.text(row, "store_id", at="/store_list") for row in given))
        failed = [reason for store in names if (reason := act(store, stocks)) is not None]
        bad = {row["store_id"] for row in failed}
        document = {
            "total_count": len(names),
            "success_store_list": [{"store_id": store} for store in names if store not in bad],
            "failed_store_list": failed,
        }
        return (to_json(document),)


def _associate(store: str, stocks: Sequence[Stock]) -> Row | None:
    if not _STORE.fullmatch(store):
        return {"store_id": store, "code": "PARAM_ERROR", "message": "门店ID不合法"}
    for stock in stocks:
        if store not in stock.stores:
            stock.store_serial += 1
            stock.stores[store] = stock.store_serial
    return None


def _disassociate(store: str, stocks: Sequence[Stock]) -> Row | None:
    if not any(store in stock.stores for stock in stocks):
        return {"store_id": store, "code": "NOT_FOUND", "message": "门店未关联该批次"}
    for stock in stocks:
        stock.stores.pop(store, None)
    return None
