"""A shop to execute plans in, and what its server's books say."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pandas as pd

import wxcoupon_analytics as wx
from tests.shop import product_coupon


class Shop:
    """One stock of the module's brand, made for one test."""

    _numbers = itertools.count()

    def __init__(self, box: wx.Sandbox, client: wx.Client, **rule: int) -> None:
        self.box, self.client = box, client
        number = next(self._numbers)
        self.campaign = f"campaign-{number}"
        made = client.api.create_product_coupon(product_coupon(f"create_{number}", **{"max_count": 100_000, **rule}))
        box.advance(minutes=11)
        self.ids = {
            "product_coupon_id": made["product_coupon_id"],
            "stock_id": made["stock"]["stock_id"],
            "appid": box.appid,
        }

    def plan(self, audience: pd.DataFrame, *, client: wx.Client | None = None, **options: Any) -> Any:
        return (client or self.client).actions.plan_sends(
            audience, **{"campaign": self.campaign, **self.ids, **options}
        )

    def held(self) -> Counter[str]:
        """How many coupons of the stock each user holds, by the server's books."""
        coupons = self.box.truth("user_coupons")
        return Counter(coupons.loc[coupons["stock_id"] == self.ids["stock_id"], "openid"])

    def sends_of_others(self, count: int) -> list[tuple[str, dict[str, str]]]:
        """Calls of another system that sends from the same stock."""
        return [(f"other-{i}", {**self.ids, "send_request_no": f"{self.campaign}-{i:06}"}) for i in range(count)]

    def journal(self) -> pd.DataFrame:
        journal = self.client.actions.journal()
        return journal[journal["stock_id"] == self.ids["stock_id"]]


def users(count: int) -> pd.DataFrame:
    return pd.DataFrame({"openid": [f"user-{i}" for i in range(count)]})


def sends(box: wx.Sandbox) -> int:
    return len([r for r in box.requests() if r["method"] == "POST" and r["path"].endswith("/coupons")])


def when_sent(shop: Shop, count: int, act: Callable[[], object]) -> threading.Thread:
    """Do something in another thread once so many coupons of the stock are sent."""

    def watch() -> None:
        while sum(shop.held().values()) < count:
            threading.Event().wait(0.02)
        act()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread
