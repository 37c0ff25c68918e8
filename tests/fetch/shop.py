"""A shop whose customers hold as many coupons as a test wants."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import pandas as pd

import wxcoupon_analytics as wx
from tests.shop import product_coupon


@dataclass(frozen=True)
class Shop:
    """One stock that is sending, and those who were given coupons of it."""

    box: wx.Sandbox
    client: wx.Client
    product_coupon_id: str
    stock_id: str

    @property
    def ids(self) -> dict[str, str]:
        return {"product_coupon_id": self.product_coupon_id, "stock_id": self.stock_id, "appid": self.box.appid}

    def give(self, coupons: Mapping[str, int]) -> None:
        calls = [
            (openid, {**self.ids, "send_request_no": f"give-{number:04d}-{zlib.crc32(openid.encode()):010d}"})
            for openid, count in coupons.items()
            for number in range(count)
        ]
        for answer in self.client.api.map("send_coupon", calls):
            assert isinstance(answer, dict), answer

    def pages(self, since: int = 0) -> Counter[str]:
        """How often each page of a list was answered."""
        return Counter(
            request["path"].partition("/users/")[2]
            for request in self.box.requests()[since:]
            if "/users/" in request["path"] and "page_size" in request["path"] and request["status"] == 200
        )

    def held(self, *openids: str) -> pd.DataFrame:
        truth = self.box.truth("user_coupons")
        return truth[truth["openid"].isin(openids)]


@contextmanager
def open_shop(**options: object) -> Iterator[Shop]:
    with wx.Sandbox(seed=1, population=False) as box, box.client(**options) as client:
        made = client.api.create_product_coupon(product_coupon(max_count=100_000, max_count_per_user=100))
        box.advance(hours=1)
        yield Shop(box, client, made["product_coupon_id"], made["stock"]["stock_id"])
