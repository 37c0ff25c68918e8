"""The terms of a send: what is the same for every user, and the write that follows for one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wxcoupon_analytics.actions.intent import Intent, derive_request_no, derive_request_nos


@dataclass(frozen=True, slots=True)
class Terms:
    """Which coupon, for which campaign, with what beside it; ``copy`` counts a user's coupons of one campaign from 1."""

    campaign: str
    product_coupon_id: str
    stock_id: str
    appid: str
    attach: str | None = None
    member_card_id: str | None = None
    copy: int = 1

    def number(self, openid: str) -> str:
        """Derive the request number of the send to one user."""
        return derive_request_no("send_coupon", self.campaign, self.stock_id, openid, self.copy)

    def numbers(self, openids: Sequence[str]) -> list[str]:
        """Derive the request numbers of sends to many users."""
        return derive_request_nos("send_coupon", (self.campaign, self.stock_id), openids, (self.copy,))

    def send(self, openid: str, number: str, coupon_code: str | None = None) -> Intent:
        """Say what sending one user a coupon means."""
        optional = {
            "coupon_code": coupon_code,
            "attach": self.attach,
            "coupon_tag_info": self.member_card_id
            and {"coupon_tag_list": ["MEMBER"], "member_tag_info": {"member_card_id": self.member_card_id}},
        }
        body = {
            "product_coupon_id": self.product_coupon_id,
            "stock_id": self.stock_id,
            "appid": self.appid,
            "send_request_no": number,
            **{name: value for name, value in optional.items() if value is not None},
        }
        return Intent("send_coupon", {"openid": openid}, body, number, self.campaign, self.copy)


def confirmation(openid: str, coupon_code: str, *, product_coupon_id: str, stock_id: str, appid: str) -> Intent:
    """Say what confirming a user's coupon means: the same write whoever asks for it, whatever campaign it came from."""
    number = derive_request_no("confirm_coupon", stock_id, openid, coupon_code)
    body = {
        "product_coupon_id": product_coupon_id,
        "stock_id": stock_id,
        "appid": appid,
        "out_request_no": number,
    }
    return Intent("confirm_coupon", {"openid": openid, "coupon_code": coupon_code}, body, number)


def without_echoes(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the stock and product coupon that come with every user coupon: nine tenths of it, and stale."""
    return {name: value for name, value in answer.items() if name not in ("stock", "product_coupon")}
