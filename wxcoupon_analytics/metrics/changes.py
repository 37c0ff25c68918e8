"""What happened to coupons between one reading and the next."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import Any

import narwhals as nw
from narwhals.typing import IntoFrameT

from wxcoupon_analytics.metrics.coupons import IDS, open_coupons
from wxcoupon_analytics.metrics.engines import collect, give_back
from wxcoupon_analytics.metrics.states import LIFECYCLE

_COLUMNS = (
    "product_coupon_id",
    "stock_id",
    "coupon_code",
    "openid",
    "from_state",
    "to_state",
    "changed_after",
    "as_of",
    "is_silent",
)


def state_changes(user_coupon_history: IntoFrameT) -> IntoFrameT:
    """List every change of a coupon's state between two readings, among them the deletions that no callback reports.

    Parameters
    ----------
    user_coupon_history : frame
        User coupons as they were read time after time, in any order: ``store.history("user_coupons")``. pandas, Polars
        (eager or lazy), PyArrow, DuckDB or PySpark. Of a lazy frame a lazy one comes back, and nothing has run yet.

    Returns
    -------
    frame
        Of the kind of ``user_coupon_history``, one row a change, in the order of ``as_of`` (a lazy frame has none).

        ================= ======================== ==============================================================
        column            dtype, unit              meaning
        ================= ======================== ==============================================================
        product_coupon_id string
        stock_id          string
        coupon_code       string
        openid            string
        from_state        string                   in the reading before
        to_state          string                   in the first reading that shows another state
        changed_after     datetime, Asia/Shanghai  ``fetched_at`` of the reading before; the change came after it …
        as_of             datetime, Asia/Shanghai  … and not after this, ``fetched_at`` of the first that shows it
        is_silent         boolean                  ``to_state`` is DELETED: the platform sends callbacks for sends, uses
                                                   and returns only, and of a deletion gives not even the time
        ================= ======================== ==============================================================

    Raises
    ------
    ValidationError
        A column is missing, ids are floats, or ``fetched_at`` is not timezone-aware.

    Notes
    -----
    A coupon's first reading is no change: what it was before is not known. States passed through between two readings are
    not seen. Readings that lack an id, a state (the coupon was asked for, and not there) or a time say nothing and are left
    out; of two in one second, the one further in the lifecycle came later. A store's history has a row only where a coupon
    changed, so there ``changed_after`` is the first reading of the state before, not the last. In DuckDB and Spark instants
    show in the zone of the session.

    Examples
    --------
    >>> import pandas as pd
    >>> from wxcoupon_analytics.entities.flatten import flatten
    >>> from wxcoupon_analytics.metrics import state_changes
    >>> history = pd.concat(
    ...     flatten("user_coupons", {"coupon_code": "A", "coupon_state": state, "stock": {"stock_id": "1"}},
    ...         fetched_at=pd.Timestamp(f"2026-11-{day}T10:00+08:00"))
    ...     for day, state in (("01", "PENDING"), ("02", "EFFECTIVE"), ("03", "EFFECTIVE"), ("04", "DELETED")))
    >>> state_changes(history)[["from_state", "to_state", "is_silent"]].values.tolist()
    [['PENDING', 'EFFECTIVE', False], ['EFFECTIVE', 'DELETED', True]]
    """
    frame, key = open_coupons(user_coupon_history, ["product_coupon_id", "openid"])
    state, place, before, when = nw.col("coupon_state"), "lifecycle_place", "state_before", "fetched_before"
    says_nothing = reduce(or_, (nw.col(name).is_null() for name in (*IDS, "coupon_state", "fetched_at")))
    order = ["fetched_at", place, "coupon_state"]
    rung: nw.Expr = nw.lit(len(LIFECYCLE))
    for number, name in enumerate(LIFECYCLE):
        rung = nw.when(state == name).then(nw.lit(number)).otherwise(rung)
    changes: Any = (
        frame.filter(~says_nothing)
        .with_columns(rung.alias(place))
        .with_columns(
            state.shift(1).over(*key, order_by=order).alias(before),
            nw.col("fetched_at").shift(1).over(*key, order_by=order).alias(when),
        )
        .filter(nw.col(before) != state)
        .select(
            "product_coupon_id",
            "stock_id",
            "coupon_code",
            "openid",
            from_state=nw.col(before),
            to_state=state,
            changed_after=nw.col(when),
            as_of=nw.col("fetched_at"),
            is_silent=state == "DELETED",
        )
    )
    given: Any = nw.from_native(user_coupon_history)
    if isinstance(given, nw.LazyFrame):
        lazy: IntoFrameT = changes.to_native()
        return lazy
    result = collect(changes, _COLUMNS).sort("as_of", "stock_id", "coupon_code", "changed_after", nulls_last=True)
    back: IntoFrameT = give_back(result, user_coupon_history)
    return back
