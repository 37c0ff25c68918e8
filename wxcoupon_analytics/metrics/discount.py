"""What one coupon takes off the price: the rule that applies, looked up where the API keeps it.

The API keeps a coupon's rule in one of ten places: by usage mode, by type, and for single use either in the stock
(scope ``SINGLE``) or in the product coupon (scope ``ALL``). Its answers also carry rules that do not apply: the pages'
own examples show a stock with rules of all three types at once. So the rule is chosen by the product coupon's own
``usage_mode`` and ``type``, and where those are not known, only a rule that stands alone is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import narwhals as nw
from narwhals.dtypes import DType

Row = Mapping[str, Any]


class Discount(NamedTuple):
    """Fen off the price, and on what basis that is known."""

    fen: int | None
    basis: str


class _Rule(NamedTuple):
    """One use of a coupon: from which amount on, and the number its type names (fen off, percent off, price)."""

    threshold: int | None
    amount: int | None


UNKNOWN = Discount(None, "unknown")

# The number that makes a rule of each type, and what kind of claim a discount of that type is.
_AMOUNT = {"NORMAL": "discount_amount", "DISCOUNT": "percent_off", "EXCHANGE": "exchange_price"}
_BASIS = {"NORMAL": "fixed", "DISCOUNT": "at_threshold", "EXCHANGE": "price_difference"}


def discount_of(stock: Row, product_coupon: Row | None) -> Discount:
    """Look up the discount of a stock's coupons; never a guess, so `UNKNOWN` when two rules could be meant."""
    coupon = product_coupon or {}
    mode, coupon_type = coupon.get("usage_mode"), coupon.get("type")
    candidates = [
        (kind, rules)
        for find_rules in ([_RULES.get(mode, _no_rules)] if mode else _RULES.values())
        for kind in ([coupon_type] if coupon_type else _AMOUNT)
        if kind in _AMOUNT and (rules := find_rules(stock, coupon, kind))
    ]
    if len(candidates) != 1:
        return UNKNOWN
    [(kind, rules)] = candidates
    worth = [_worth(kind, rule, coupon.get("display_info_original_price")) for rule in rules]
    known = [fen for fen in worth if fen is not None]
    total = storable(sum(known)) if len(known) == len(worth) else None
    return UNKNOWN if total is None else Discount(total, _BASIS[kind])


def storable(number: int) -> int | None:
    """Give a number that a column can hold, None for one beyond: no amount of money is that large."""
    return number if -(2**63) <= number < 2**63 else None


def _worth(kind: str, rule: _Rule, original_price: int | None) -> int | None:
    """Fen that one use takes off, None when a number it depends on is not known."""
    threshold, amount = rule
    if amount is None:
        return None
    if kind == "NORMAL":
        return amount
    if kind == "DISCOUNT":
        return threshold * amount // 100 if threshold else None
    return original_price - amount if original_price is not None else None


def _single(stock: Row, coupon: Row, kind: str) -> list[_Rule]:
    return _own(stock, "single_usage_rule", kind) or _own(coupon, "single_usage_info", kind)


def _sequential(stock: Row, coupon: Row, kind: str) -> list[_Rule]:
    return _listed(stock, "sequential_usage_rule", kind)


def _bundle_step(stock: Row, coupon: Row, kind: str) -> list[_Rule]:
    """Find a step's own rule; a list of several is the whole bundle's, and which of them is this step is not said."""
    listed = _listed(stock, "progressive_bundle_usage_rule", kind)
    return _own(stock, "progressive_bundle_usage_rule", kind) or (listed if len(listed) == 1 else [])


def _no_rules(stock: Row, coupon: Row, kind: str) -> list[_Rule]:
    return []


_RULES: Mapping[str, Callable[[Row, Row, str], list[_Rule]]] = {
    "SINGLE": _single,
    "SEQUENTIAL": _sequential,
    "PROGRESSIVE_BUNDLE": _bundle_step,
}


def _own(row: Row, place: str, kind: str) -> list[_Rule]:
    stem = f"{place}_{kind.lower()}_coupon"
    rule = _Rule(row.get(f"{stem}_threshold"), row.get(f"{stem}_{_AMOUNT[kind]}"))
    return [] if rule == (None, None) else [rule]


def _listed(row: Row, place: str, kind: str) -> list[_Rule]:
    uses: Sequence[Row | None] = row.get(f"{place}_{kind.lower()}_coupon_list") or ()
    return [_Rule(use.get("threshold"), use.get(_AMOUNT[kind])) if use else _Rule(None, None) for use in uses]


def _own_columns(place: str, kinds: Sequence[str]) -> dict[str, DType]:
    return {
        f"{place}_{kind.lower()}_coupon_{field}": nw.Int64() for kind in kinds for field in ("threshold", _AMOUNT[kind])
    }


def _listed_columns(place: str) -> dict[str, DType]:
    return {
        f"{place}_{kind.lower()}_coupon_list": nw.List(nw.Struct({"threshold": nw.Int64, amount: nw.Int64}))
        for kind, amount in _AMOUNT.items()
    }


# Every column a discount is looked up in. All are asked for: a rule left out is a rule that cannot be ruled out.
STOCK_COLUMNS: Mapping[str, DType] = {
    **_own_columns("single_usage_rule", tuple(_AMOUNT)),
    **_listed_columns("sequential_usage_rule"),
    **_own_columns("progressive_bundle_usage_rule", tuple(_AMOUNT)),
    **_listed_columns("progressive_bundle_usage_rule"),
}
PRODUCT_COUPON_COLUMNS: Mapping[str, DType] = {
    "type": nw.String(),
    "usage_mode": nw.String(),
    "display_info_original_price": nw.Int64(),
    **_own_columns("single_usage_info", ("NORMAL", "DISCOUNT")),  # an exchange always has scope SINGLE
}
