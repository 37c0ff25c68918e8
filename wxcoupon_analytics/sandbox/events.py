"""What changes the books, whoever causes it: an API call, the seeded population, or the passing of an audit.

Each function makes one change and nothing else. Whether it is allowed has been judged before, by rules.py.
"""

from __future__ import annotations

from collections.abc import Sequence

from wxcoupon_analytics.sandbox import validity
from wxcoupon_analytics.sandbox.books import (
    AUDITING,
    DEACTIVATED,
    EFFECTIVE,
    PAUSED,
    SENDING,
    Books,
    Coupon,
    Deactivation,
    ProductCoupon,
    Stock,
    Use,
)
from wxcoupon_analytics.sandbox.clock import midnight, quota_day


def pass_audit(_at: int, product: ProductCoupon) -> None:
    """Let a product coupon pass its audit."""
    if product.state == AUDITING:
        product.state = EFFECTIVE
        product.version += 1


def start_sending(_at: int, stock: Stock) -> None:
    """Let a stock pass its audit, or go on after a pause."""
    if stock.state in (AUDITING, PAUSED):
        stock.state = SENDING
        stock.version += 1


def pause(_at: int, stock: Stock) -> None:
    """Pause a stock, as the brand does on its platform's web page; no endpoint does."""
    if stock.state == SENDING:
        stock.state = PAUSED
        stock.version += 1


def end_stock(_at: int, stock: Stock, end: Deactivation) -> None:
    """Deactivate a stock for good."""
    if stock.state != DEACTIVATED:
        stock.state, stock.deactivation = DEACTIVATED, end
        stock.version += 1


def end_product(at: int, product: ProductCoupon, end: Deactivation) -> None:
    """Deactivate a product coupon and all of its stocks."""
    product.state, product.deactivation = DEACTIVATED, end
    product.version += 1
    for stock in product.stocks:
        end_stock(at, stock, end)


def issue(
    books: Books, stock: Stock, openid: str, now: int, *, request_no: str, channel: str, code: str | None = None
) -> Coupon:
    """Give a user one coupon; it waits to be confirmed."""
    begin, last = validity.window(stock.product, stock.facts, now)
    uses = [Use() for _ in range(validity.rounds(stock.product))]
    coupon = Coupon("", openid, stock, now, begin, last, request_no, channel, uses)
    return books.issue(coupon, code=code)


def issue_bundle(
    books: Books, steps: Sequence[Stock], openid: str, now: int, *, request_no: str, channel: str
) -> list[Coupon]:
    """Give a user one coupon of every step of a bundle, tied together."""
    tie = books.next_tie()
    for stock in steps:
        coupon = issue(books, stock, openid, now, request_no=request_no, channel=channel)
        coupon.tie = tie
        tie.coupons.append(coupon)
    return tie.coupons


def record_use(coupon: Coupon, index: int, use: Use) -> None:
    """Use a coupon once; an earlier return stays on record, and the next round opens an interval later."""
    before = coupon.uses[index]
    use.return_request_no, use.return_time, use.opens = before.return_request_no, before.return_time, before.opens
    coupon.uses[index] = use
    if index + 1 < len(coupon.uses):
        assert use.time is not None
        interval = coupon.stock.product.facts["sequential_usage_info"].get("interval_days") or 0
        coupon.uses[index + 1].opens = midnight(quota_day(use.time) + interval) if interval else use.time
    coupon.touch()
