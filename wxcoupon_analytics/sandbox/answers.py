"""Entities as JSON: field names and order as the pages show them.

A user coupon carries its whole product coupon and stock again, nine tenths of its bytes. Those echoes are written once for
each version of the entity and shared by every answer and every idempotency record, which is why an answer is a tuple of
text parts until the moment it is sent.

The counters of an echo are stale on purpose: zero in the answer to a send, as in the page's example, and last midnight's in
a list. A client that reads counters from echoes must come out wrong here.
"""

from __future__ import annotations

import json
from typing import Any

from wxcoupon_analytics.sandbox.books import (
    CONFIRMING,
    EFFECTIVE,
    PENDING,
    SEQUENTIAL,
    SINGLE,
    UPLOAD,
    USED,
    Coupon,
    Deactivation,
    ProductCoupon,
    Stock,
    Use,
)
from wxcoupon_analytics.sandbox.clock import quota_day, rfc3339

Document = dict[str, Any]
Parts = tuple[str, ...]


def to_json(document: object) -> str:
    """Write JSON as the platform does: no spaces, Chinese as itself."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def _deactivation(end: Deactivation | None) -> Document:
    if end is None:
        return {}
    return {
        "deactivate_request_no": end.request_no,
        "deactivate_time": rfc3339(end.time),
        "deactivate_reason": end.reason,
    }


def product_document(product: ProductCoupon, brand_id: str | None) -> Document:
    """Write a product coupon; ``brand_id`` only appears in the partner's flavour."""
    document = {"product_coupon_id": product.id, **product.facts, "state": product.state}
    document |= _deactivation(product.deactivation)
    return document if brand_id is None else {**document, "brand_id": brand_id}


def stock_document(stock: Stock, now: int, sent: tuple[int, int], brand_id: str | None) -> Document:
    """Write a stock with the given counters (total, today)."""
    rule: Document = {"max_count": stock.max_count}
    if stock.max_count_per_day is not None:
        rule["max_count_per_day"] = stock.max_count_per_day
    if stock.max_count_per_user is not None:
        rule["max_count_per_user"] = stock.max_count_per_user
    document: Document = {"product_coupon_id": stock.product.id, "stock_id": stock.id}
    if stock.code_mode == UPLOAD:
        document["coupon_code_count_info"] = {"total_count": stock.uploaded, "available_count": len(stock.pool)}
    document["stock_send_rule"] = rule
    document |= stock.facts
    document["sent_count_info"] = {"total_count": sent[0], "today_count": sent[1]}
    document["state"] = stock.state_at(now)
    document |= _deactivation(stock.deactivation)
    return document if brand_id is None else {**document, "brand_id": brand_id}


def _use(use: Use) -> Document:
    """Write one use. The amount saved, though a use may report it, is in no answer that shows a use."""
    document: Document = {}
    if use.time is not None:
        document = {"use_request_no": use.request_no, "use_time": rfc3339(use.time)}
        if use.order is not None:
            document["associated_order_info"] = use.order
        if use.pay_score_order is not None:
            document["associated_pay_score_order_info"] = use.pay_score_order
    if use.return_time is not None:
        document |= {"return_request_no": use.return_request_no, "return_time": rfc3339(use.return_time)}
    return document


def _round(coupon: Coupon, index: int, now: int) -> Document:
    use, state = coupon.uses[index], coupon.state_at(now)
    if use.time is not None:
        state = USED
    elif state == CONFIRMING:  # a coupon's state, but none of a round's
        state = PENDING
    elif state in (PENDING, EFFECTIVE):
        opened = index == coupon.next_round() and now >= max(use.opens, coupon.valid_begin)
        state = EFFECTIVE if opened else PENDING
    document: Document = {
        "detail_state": state,
        "valid_begin_time": rfc3339(max(use.opens, coupon.valid_begin)),
        "valid_end_time": rfc3339(coupon.valid_end),
        **_use(use),
    }
    if coupon.delete_time is not None and use.time is None:
        document["delete_time"] = rfc3339(coupon.delete_time)
    return document


def _usage_detail(coupon: Coupon, now: int) -> Document:
    mode = coupon.stock.product.usage_mode
    if mode == SEQUENTIAL:
        rounds = [_round(coupon, index, now) for index in range(len(coupon.uses))]
        used = sum(use.time is not None for use in coupon.uses)
        detail = {"total_count": len(rounds), "used_count": used, "detail_item_list": rounds}
        return {"sequential_usage_detail": detail}
    return {"single_usage_detail" if mode == SINGLE else "progressive_bundle_usage_detail": _use(coupon.uses[0])}


def coupon_halves(coupon: Coupon, now: int) -> tuple[Document, Document]:
    """Write a user coupon without its echoes: the fields before them, and those after."""
    head: Document = {
        "coupon_code": coupon.code,
        "coupon_state": coupon.state_at(now),
        "valid_begin_time": rfc3339(coupon.valid_begin),
        "valid_end_time": rfc3339(coupon.valid_end),
        "receive_time": rfc3339(coupon.receive_time),
        "send_request_no": coupon.send_request_no,
        "send_channel": coupon.send_channel,
    }
    if coupon.confirm_time is not None:
        head |= {"confirm_request_no": coupon.confirm_request_no, "confirm_time": rfc3339(coupon.confirm_time)}
    head |= _deactivation(coupon.deactivation)
    head |= _usage_detail(coupon, now)
    if coupon.tie is not None:
        head["user_product_coupon_bundle_info"] = {
            "user_coupon_bundle_id": coupon.tie.id,
            "user_coupon_bundle_index": coupon.tie.coupons.index(coupon),
            "total_count": len(coupon.tie.coupons),
            "used_count": coupon.tie.used(),
        }
    tail: Document = {}
    if coupon.attach is not None:
        tail["attach"] = coupon.attach
    if coupon.channel_custom_info is not None:
        tail["channel_custom_info"] = coupon.channel_custom_info
    if coupon.member_card_id is not None:
        member = {"member_card_id": coupon.member_card_id}
        tail["coupon_tag_info"] = {"coupon_tag_list": ["MEMBER"], "member_tag_info": member}
    return head, tail


class Writer:
    """Writes user coupons with their echoes, each echo once a version."""

    def __init__(self, brand_id: str) -> None:
        self._brand_id = brand_id
        self._echoes: dict[tuple[str, bool, bool], tuple[tuple[int, int, str, int], str]] = {}

    def coupon(self, coupon: Coupon, now: int, *, partner: bool, fresh: bool = False) -> Parts:
        """Write one user coupon; ``fresh`` is the answer to a send."""
        state = coupon.state_at(now)
        written = coupon.written
        if written is None or written[0] != state or len(coupon.uses) > 1:  # rounds open with time alone
            head, tail = coupon_halves(coupon, now)
            written = (state, to_json(head)[:-1], to_json(tail)[1:-1])
            coupon.written = written
        closing = f",{written[2]}" if written[2] else ""
        closing += f',"brand_id":"{self._brand_id}"}}' if partner else "}"
        return (written[1], self._echo(coupon.stock, now, partner, fresh), closing)

    def _echo(self, stock: Stock, now: int, partner: bool, fresh: bool) -> str:
        """Write both nested entities; the text is shared by all coupons of the stock until one of the two changes."""
        day = quota_day(now)
        version = (stock.version, stock.product.version, stock.state_at(now), 0 if fresh else day)
        key = (stock.id, partner, fresh)
        kept = self._echoes.get(key)
        if kept is not None and kept[0] == version:
            return kept[1]
        brand_id = self._brand_id if partner else None
        sent = (0, 0) if fresh else (len(stock.coupons) - stock.sent_on(day), 0)
        document = stock_document(stock, now, sent, brand_id)
        if fresh and "coupon_code_count_info" in document:
            document["coupon_code_count_info"] = {"total_count": 0, "available_count": 0}
        product = to_json(product_document(stock.product, brand_id))
        text = f',"product_coupon":{product},"stock":{to_json(document)}'
        self._echoes[key] = (version, text)
        return text
