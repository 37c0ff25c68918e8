"""How many coupons a stock may give out: set by compare and set, whatever was tried before."""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Mapping
from typing import Any

from wxcoupon_analytics.actions.intent import Intent, derive_request_no
from wxcoupon_analytics.actions.once import Once, not_texts, refuse
from wxcoupon_analytics.errors import ApiError, ValidationError
from wxcoupon_analytics.wire.validation import ApiRuleWarning

Json = dict[str, Any]


class BudgetActions(Once):
    """Changes of stocks' limits."""

    def update_stock_budget(
        self,
        product_coupon_id: str,
        stock_id: str,
        *,
        max_count: int | None = None,
        max_count_per_day: int | None = None,
    ) -> Json:
        """Set how many coupons a stock may give out, in all or a day (修改商品券批次发放预算).

        Each limit is fetched and changed only if it is still what was fetched; one that has its value already costs no
        change. The API changes one limit a call, so both together are two calls, ``max_count`` first, each in the journal:
        if the second fails, the first stands. A daily limit can be changed, not taken away.

        Parameters
        ----------
        product_coupon_id, stock_id : str
        max_count : int, optional
            Coupons over the stock's life, 1–100,000,000.
        max_count_per_day : int, optional
            Coupons a Beijing day, 1–100,000,000.

        Returns
        -------
        dict
            The stock as it is now.

        Raises
        ------
        ValidationError
            Neither limit is given, one is no whole number within its bounds, or the stock is one of a bundle, whose
            stocks are funded together (``client.api.update_stock_bundle_budget``). Nothing was sent.
        ApiError
            The platform refused; also when someone else changed the limit at the same moment. Call again.
        TransportError, VerificationError
            As for :meth:`send_coupon`.

        Warns
        -----
        ApiRuleWarning
            The new limit is below what was given out already: no page says what becomes of that.
        UserWarning
            Someone else changed the limit right after this call did.

        Examples
        --------
        >>> import wxcoupon_analytics as wx
        >>> with wx.Sandbox(population=False) as box, box.client() as client:
        ...     made = client.actions.create_product_coupon(wx.template("single_all_normal", now=client.now()))
        ...     ids = made["product_coupon_id"], made["stock"]["stock_id"]
        ...     stock = client.actions.update_stock_budget(*ids, max_count=500, max_count_per_day=50)
        >>> stock["stock_send_rule"]
        {'max_count': 500, 'max_count_per_day': 50, 'max_count_per_user': 1}

        Notes
        -----
        Source: 修改商品券批次发放预算, ``POST product-coupons/{product_coupon_id}/stocks/{stock_id}/update-budget``.
        """
        path = {"product_coupon_id": product_coupon_id, "stock_id": stock_id}
        problems = not_texts(**path)
        targets = {"max_count": max_count, "max_count_per_day": max_count_per_day}
        given = {limit: target for limit, target in targets.items() if target is not None}
        if not given:
            problems.append("give max_count, max_count_per_day or both")
        refuse(problems)
        for limit, target in given.items():  # both are held against the rules before one is changed
            change = _budget_change(path, limit, target, target, 0)
            self._api.question(change.operation, path, body=change.body)
        for limit, target in given.items():
            stock = self._set_limit(path, limit, target)
        return stock

    def _set_limit(self, path: Mapping[str, str], limit: str, target: int) -> Json:
        """Bring one limit of a stock to its target, whatever was tried before.

        The number follows from (stock, limit, current, target) and an ordinal: 100 → 200 → 100 → 200 holds the same change
        twice, and the platform would answer the second with the first's result. The ordinal is the first whose number is
        not done in this journal. That is safe to run again, because

        - until its outcome is recorded a change keeps its number and its bytes;
        - the platform changes the limit only from the value named, so that a change under two numbers happens once;
        - a number that another journal has used up shows: the limit, read again, is what it was. The next one is taken.
        """
        self._settle(path, limit, target)
        stock = self._api.get_stock(**path)
        if bundle := (stock.get("stock_bundle_info") or {}).get("stock_bundle_id"):
            raise ValidationError(
                f"stock {path['stock_id']} is one of bundle {bundle}, whose stocks are funded together: use "
                "client.api.update_stock_bundle_budget. Nothing was sent"
            )
        while (current := _limit(stock, limit)) != target:
            _warn_of_less_than_sent(stock, limit, target)
            ordinal = 0
            while self._is_done(change := _budget_change(path, limit, current, target, ordinal)):
                ordinal += 1
            try:
                self._act(change, lambda: None)
            except ApiError:
                stock = self._api.get_stock(**path)
                if _limit(stock, limit) == target:  # another process meant the same, and was first
                    return stock
                raise
            stock = self._api.get_stock(**path)
            if (now := _limit(stock, limit)) not in (current, target):
                warnings.warn(
                    f"{limit} of stock {path['stock_id']} was set to {target}, and someone has set it to {now} since",
                    stacklevel=3,
                )
                return stock
        return stock

    def _settle(self, path: Mapping[str, str], limit: str, target: int) -> None:
        """Ask earlier changes to this target again, whose outcome is open: what they came to is for the journal."""
        for request_no, text in self._journal.unsettled("update_stock_budget"):
            earlier = json.loads(text)
            if earlier["path"] == path and earlier["body"].get(f"target_{limit}") == target:
                # One that is refused can happen no more; the limit itself says what is left to do.
                with contextlib.suppress(ApiError):
                    self._act(Intent("update_stock_budget", path, earlier["body"], request_no), lambda: None)

    def _is_done(self, intent: Intent) -> bool:
        record = self._journal.look(intent.request_no)
        return record is not None and record.status == "done"


def _budget_change(path: Mapping[str, str], limit: str, current: int | None, target: int, ordinal: int) -> Intent:
    number = derive_request_no("update_stock_budget", *path.values(), limit, str(current), str(target), ordinal)
    body: Json = {"out_request_no": number, "update_mode": limit.upper()}
    if current is not None:
        body[f"current_{limit}"] = current
    body[f"target_{limit}"] = target
    return Intent("update_stock_budget", path, body, number)


def _limit(stock: Mapping[str, Any], limit: str) -> int | None:
    """Give a limit of a stock; a daily one may be absent, which some answers write as 0."""
    return (stock.get("stock_send_rule") or {}).get(limit) or None


def _warn_of_less_than_sent(stock: Mapping[str, Any], limit: str, target: int) -> None:
    name, when = {"max_count": ("total_count", ""), "max_count_per_day": ("today_count", " today")}[limit]
    sent = (stock.get("sent_count_info") or {}).get(name) or 0
    if target < sent:
        warnings.warn(
            f"{limit} {target} is less than the {sent} coupons sent{when}: no page says what becomes of that, and the "
            "platform may refuse it",
            ApiRuleWarning,
            stacklevel=4,
        )
