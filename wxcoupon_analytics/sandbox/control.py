"""The box's own routes under ``/_sandbox/``: time, books, faults, the request log.

They are no part of the API: a bearer token that only the parent process was given guards them, and no fault strikes them.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from wxcoupon_analytics.sandbox.answers import coupon_halves, product_document, stock_document, to_json
from wxcoupon_analytics.sandbox.books import count_sent
from wxcoupon_analytics.sandbox.clock import rfc3339
from wxcoupon_analytics.sandbox.faults import Fault
from wxcoupon_analytics.sandbox.orders import Habits, Order, check_habits, orders
from wxcoupon_analytics.sandbox.server import Box

Row = dict[str, Any]


def control_routes(box: Box, token: str) -> list[Route]:
    """Return the control routes."""

    def guarded(act: Callable[[Row], object]) -> Callable[[Request], Any]:
        async def handle(request: Request) -> Response:
            if not hmac.compare_digest(request.headers.get("authorization", "").encode(), f"Bearer {token}".encode()):
                return Response(status_code=403)
            given: Row = await request.json() if request.method == "POST" else dict(request.query_params)
            try:
                content = to_json(act(given))
            except ValueError as error:
                return Response(to_json({"error": str(error)}), 400, media_type="application/json")
            return Response(content, media_type="application/json")

        return handle

    def advance(given: Row) -> object:
        box.clock.advance(given["seconds"])
        return {"now": box.now()}

    def faults(given: Row) -> object:
        if given["kind"] is None:
            box.faults.clear()
        else:
            box.faults.arm(Fault(**given))
        return {}

    return [
        Route("/_sandbox/advance", guarded(advance), methods=["POST"]),
        Route("/_sandbox/faults", guarded(faults), methods=["POST"]),
        Route("/_sandbox/truth", guarded(lambda given: truth(box, given["entity"]))),
        Route("/_sandbox/orders", guarded(lambda given: till(box, given)), methods=["POST"]),
        Route("/_sandbox/customers", guarded(lambda _: box.people.customers() if box.people else [])),
        Route("/_sandbox/appeals", guarded(lambda _: appeals(box))),
        Route("/_sandbox/openids", guarded(lambda _: sorted_openids(box))),
        Route("/_sandbox/requests", guarded(lambda _: list(box.log))),
    ]


def sorted_openids(box: Box) -> list[str]:
    """List everybody who holds or ever held a coupon, in the order of their first."""
    box.now()
    return list(box.books.users)


def appeals(box: Box) -> dict[str, float]:
    """Say of every stock which share of its holders means to use a coupon."""
    box.now()
    return {stock.id: box.people.appeal_of(stock) for stock in box.books.stocks()} if box.people else {}


def truth(box: Box, entity: str) -> list[Row]:
    """Write the books as entities without echoes; counters are counted, coupon by coupon."""
    now = box.now()
    seen = {"brand_id": box.account.brand_id, "fetched_at": rfc3339(now)}
    if entity == "product_coupons":
        return [product_document(product, None) | seen for product in box.books.products.values()]
    if entity == "stocks":
        return [stock_document(stock, now, count_sent(stock, now), None) | seen for stock in box.books.stocks()]
    if entity != "user_coupons":
        raise ValueError(f"unknown entity {entity!r}; there are: product_coupons, stocks, user_coupons")
    rows: list[Row] = []
    for coupon in box.books.coupons():
        head, tail = coupon_halves(coupon, now)
        ids = {"product_coupon_id": coupon.stock.product.id, "stock_id": coupon.stock.id}
        rows.append({**head, **tail, **ids, "openid": coupon.openid, "appid": box.account.appid, **seen})
    return rows


def till(box: Box, given: Row) -> list[Order]:
    """Draw the orders of these users since then; who got a coupon of the stock since then is moved by it."""
    now, since = box.now(), int(given["since"])
    if since >= now:
        raise ValueError(f"since={rfc3339(since)} is not before business time, {rfc3339(now)}: advance the clock first")
    habits = check_habits(Habits(given["rate"], given["lift"], given["amount_fen"]))
    received = {
        coupon.openid: coupon.receive_time
        for stock in box.books.stocks()
        if stock.id == given["stock_id"]
        for coupon in stock.coupons.values()
        if coupon.receive_time >= since
    }
    return orders(given["openids"], received, habits, seed=given["seed"], since=since, until=now)
