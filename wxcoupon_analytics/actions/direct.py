"""All actions in one place: what ``client.actions`` is."""

from __future__ import annotations

import pandas as pd

from wxcoupon_analytics.actions.budgets import BudgetActions
from wxcoupon_analytics.actions.catalogue import CatalogueActions
from wxcoupon_analytics.actions.codes import CodeActions
from wxcoupon_analytics.actions.coupons import CouponActions
from wxcoupon_analytics.actions.plan import PlanActions


class Actions(CatalogueActions, BudgetActions, CodeActions, CouponActions, PlanActions):
    """What changes the world.

    Every action derives its request number from what is meant, so running a cell again returns the first result; the
    journal records the intent before the request leaves, and what came of it.
    """

    def journal(self) -> pd.DataFrame:
        """Give everything ever attempted under this brand, oldest first: the audit.

        Returns
        -------
        DataFrame
            One row per request number: ``operation``, ``campaign`` (string), ``copy`` (Int64), ``request_no``, ``status``
            (``done``; ``failed``: refused for good; ``unsent``: certain not to have happened; ``unknown``: it may have
            happened, run it again), ``attempts`` (Int64), ``who``, ``started_at`` and ``ended_at`` (datetime64[us,
            Asia/Shanghai], this machine's clock), ``openid``, ``stock_id``, ``intent`` (JSON text: path and body),
            ``error_code``, ``error_message``, ``request_id`` (string).

        Examples
        --------
        >>> import wxcoupon_analytics as wx
        >>> with wx.Sandbox(population=False) as box, box.client() as client:
        ...     _ = client.actions.create_product_coupon(wx.template("single_all_normal", now=client.now()))
        ...     journal = client.actions.journal()
        >>> journal[["operation", "status", "attempts"]].to_numpy().tolist()
        [['create_product_coupon', 'done', 1]]
        """
        return self._journal.frame()
