"""The endpoints' work: read a request, let the rules judge it, change the books, write the answer.

One class a subject; they share the desk. Method names are the operations of the route table.
"""

from __future__ import annotations

from wxcoupon_analytics.sandbox.account_operations import AccountOperations
from wxcoupon_analytics.sandbox.coupon_operations import CouponOperations
from wxcoupon_analytics.sandbox.desk import Account, Call
from wxcoupon_analytics.sandbox.stock_operations import StockOperations
from wxcoupon_analytics.sandbox.store_operations import StoreOperations

__all__ = ["Account", "Call", "Operations"]


class Operations(StockOperations, CouponOperations, StoreOperations, AccountOperations):
    """What each endpoint does."""
