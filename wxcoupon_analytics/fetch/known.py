"""Whom to ask: everyone who was ever heard of, and those of whom something may still change."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pandas as pd

from wxcoupon_analytics.entities.fields import FINAL_STATES
from wxcoupon_analytics.errors import ValidationError

if TYPE_CHECKING:
    from wxcoupon_analytics.snapshots import SnapshotStore


def sent_to(journal: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """Give the appid and openid of every send in a journal that may have happened.

    Parameters
    ----------
    journal : DataFrame
        As ``client.actions.journal()`` gives it.

    Examples
    --------
    >>> intent = '{"path": {"openid": "o1"}, "body": {"appid": "wx1", "stock_id": "7"}}'
    >>> list(sent_to(pd.DataFrame({"operation": ["send_coupon"], "status": ["done"], "intent": [intent]})))
    [('wx1', 'o1')]
    """
    sends = journal[(journal["operation"] == "send_coupon") & journal["status"].isin(["done", "unknown"])]
    for text in sends["intent"]:
        intent = json.loads(text)
        yield intent["body"]["appid"], intent["path"]["openid"]


def learn(store: SnapshotStore, sends: Iterable[tuple[str, str]]) -> None:
    """Put the users of sends on the store's list of those it knows."""
    by_appid: dict[str, dict[str, None]] = {}
    for appid, openid in sends:
        by_appid.setdefault(appid, {})[openid] = None
    for appid, openids in by_appid.items():
        store.add_openids(openids, appid=appid)


def product_coupons_of(brand_id: str, store: SnapshotStore) -> list[str]:
    """Give the product coupons of a brand that a store knows of.

    Raises
    ------
    ValidationError
        It knows of none.
    """
    known = store.load("product_coupons", columns=["brand_id", "product_coupon_id"])
    ids: list[str] = known.loc[known["brand_id"].fillna(brand_id) == brand_id, "product_coupon_id"].tolist()
    if not ids:
        raise ValidationError(
            "the store knows of no product coupons yet: the first time, name them (product_coupon_ids=)"
        )
    return ids


def must_hold_openids(store: SnapshotStore) -> None:
    """Refuse to take openids out of a store that has none.

    Raises
    ------
    ValidationError
        The store keeps pseudonyms.
    """
    if store.pseudonymous:
        raise ValidationError(
            "this store keeps pseudonyms, and nobody can be asked for by a pseudonym: pass openids=, the users' openids"
        )


def can_change(returns_within: timedelta | None, now: datetime) -> str:
    """Say in SQL which coupons may be other than when they were last seen, now or later.

    >>> can_change(None, datetime(2026, 11, 2))
    "coupon_state IS NULL OR coupon_state NOT IN ('EXPIRED', 'DELETED', 'DEACTIVATED')"
    """
    states = ", ".join(f"'{state}'" for state in FINAL_STATES)
    rule = f"coupon_state IS NULL OR coupon_state NOT IN ({states})"
    if returns_within is None:
        return rule
    # Of a coupon of several uses the last one's time lies in a list; none comes after the coupon's end.
    used = "coalesce(single_usage_detail_use_time, progressive_bundle_usage_detail_use_time, valid_end_time)"
    oldest = (now - returns_within).isoformat()
    return f"({rule}) AND NOT (coupon_state IS NOT NULL AND coupon_state = 'USED' AND coalesce({used} < TIMESTAMPTZ '{oldest}', false))"
