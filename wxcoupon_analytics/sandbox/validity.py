"""When a user coupon may be used, worked out from its stock's rules and the moment it was received.

"领取后N天开始生效" (wait_days_after_receive) and "生效后N天内有效" (available_days) count natural days, as the pages' own example
does: received 2025-08-02, 30 days, ends 2025-08-31T23:59:59. With nothing to wait for, a coupon is valid from the second it
is received. Seconds (available_seconds) count from the begin of validity too.
"""

from __future__ import annotations

from typing import Any

from wxcoupon_analytics.sandbox.books import BUNDLE, SEQUENTIAL, ProductCoupon
from wxcoupon_analytics.sandbox.clock import midnight, parse_rfc3339, quota_day

RULE_FIELDS = {SEQUENTIAL: "sequential_usage_rule", BUNDLE: "progressive_bundle_usage_rule"}


def usage_rule(product: ProductCoupon, stock_facts: dict[str, Any]) -> dict[str, Any]:
    """Return the stock's usage rule; the field depends on the usage mode."""
    rule: dict[str, Any] = stock_facts[RULE_FIELDS.get(product.usage_mode, "single_usage_rule")]
    return rule


def available_end(product: ProductCoupon, stock_facts: dict[str, Any]) -> int:
    """Return the end of the stock's own available period."""
    return parse_rfc3339(usage_rule(product, stock_facts)["coupon_available_period"]["available_end_time"])


def window(product: ProductCoupon, stock_facts: dict[str, Any], received: int) -> tuple[int, int]:
    """Return the first and the last second at which a coupon received then is valid."""
    period = usage_rule(product, stock_facts)["coupon_available_period"]
    last = parse_rfc3339(period["available_end_time"])
    wait = period.get("wait_days_after_receive") or 0
    if product.usage_mode == BUNDLE:  # step i of a bundle opens i intervals after the first
        wait += stock_facts["stock_bundle_info"]["stock_bundle_index"] * (
            product.facts["progressive_bundle_usage_info"].get("interval_days") or 0
        )
    opens = midnight(quota_day(received) + wait) if wait else received
    begin = min(max(opens, parse_rfc3339(period["available_begin_time"])), last)
    days = period.get("available_days")
    if product.usage_mode == SEQUENTIAL:
        days = product.facts["sequential_usage_info"]["available_days"]
    if days:
        last = min(last, midnight(quota_day(begin) + days) - 1)
    if period.get("available_seconds"):
        last = min(last, begin + int(period["available_seconds"]))
    return begin, last


def rounds(product: ProductCoupon) -> int:
    """Return how often one coupon can be used."""
    return int(product.facts["sequential_usage_info"]["count"]) if product.usage_mode == SEQUENTIAL else 1
