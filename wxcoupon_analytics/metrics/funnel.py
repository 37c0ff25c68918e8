"""What became of the coupons that users received."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import narwhals as nw
from narwhals.typing import IntoFrameT

from wxcoupon_analytics.metrics.coupons import groups_of, open_coupons
from wxcoupon_analytics.metrics.engines import collect, give_back
from wxcoupon_analytics.metrics.states import latest_coupons

_CONFIRMED = ("PENDING", "EFFECTIVE", "USED")
# Where a coupon stands, by its state; any other state is "other".
STANDINGS: Mapping[str, str] = {
    "USED": "used",
    "PENDING": "usable",
    "EFFECTIVE": "usable",
    "EXPIRED": "lost",
    "DELETED": "lost",
    "DEACTIVATED": "lost",
    "CONFIRMING": "unconfirmed",
}
_STAGES = ("received", "confirmed", "used", "usable", "lost", "unconfirmed", "other")
_ADDED = {"stage": nw.String(), "count": nw.Int64(), "share": nw.Float64(), "as_of": nw.Datetime("us", "Asia/Shanghai")}


def coupon_funnel(user_coupons: IntoFrameT, *, by: str | Sequence[str] | None = None) -> IntoFrameT:
    """Count the coupons received, those ever confirmed, and what has become of them.

    Parameters
    ----------
    user_coupons : frame
        User coupons, current or a history. pandas, Polars (eager or lazy), PyArrow, DuckDB or PySpark; a lazy frame is
        aggregated by its own engine.
    by : str or list of str, optional
        Columns to group by, ``"stock_id"`` for example.

    Returns
    -------
    frame
        Of the kind of ``user_coupons``, long form, sorted by group (null groups last), seven rows a group.

        ====== ======================== =====================================================================
        column dtype, unit              meaning
        ====== ======================== =====================================================================
        *by    as given                 the group
        stage  string                   ``received``: all we know of; ``confirmed``: ever, as in
                                        :func:`redemption_rate`. Then where they stand, which adds up to
                                        ``received``: ``used``; ``usable`` (PENDING, EFFECTIVE); ``lost`` (EXPIRED,
                                        DELETED, DEACTIVATED); ``unconfirmed`` (CONFIRMING); ``other`` (invented later,
                                        or not known: asked for, and not there)
        count  Int64, coupons
        share  Float64, 0–1             of the coupons received
        as_of  datetime, Asia/Shanghai  the latest ``fetched_at`` in the group
        ====== ======================== =====================================================================

    Raises
    ------
    ValidationError
        A column is missing, ids are floats, ``by`` repeats a column or names one that the result adds, or ``fetched_at``
        is not timezone-aware.

    Examples
    --------
    >>> from wxcoupon_analytics.entities.flatten import flatten
    >>> from wxcoupon_analytics.metrics.funnel import coupon_funnel
    >>> coupons = flatten("user_coupons", [
    ...     {"coupon_code": code, "coupon_state": state, "stock": {"stock_id": "1"}}
    ...     for code, state in (("A", "EFFECTIVE"), ("B", "USED"), ("C", "CONFIRMING"), ("D", "USED"))
    ... ])
    >>> coupon_funnel(coupons).query("count > 0")[["stage", "count", "share"]].values.tolist()
    [['received', 4, 1.0], ['confirmed', 3, 0.75], ['used', 2, 0.5], ['usable', 1, 0.25], ['unconfirmed', 1, 0.25]]
    """
    groups = groups_of(by, _ADDED, own=["confirm_time"], like=user_coupons)
    frame, key = open_coupons(user_coupons, ["confirm_time"], groups)
    confirmed = ~nw.col("confirm_time").is_null() | nw.col("coupon_state").is_in(_CONFIRMED).fill_null(False)
    flagged = latest_coupons(frame, key, [*groups, "confirm_time"]).with_columns(is_confirmed=confirmed)
    columns = list(dict.fromkeys([*groups, "coupon_state", "is_confirmed"]))
    counted = collect(
        flagged.group_by(*columns).agg(nw.len().alias("count"), as_of=nw.col("fetched_at").max()),
        [*columns, "count", "as_of"],
    ).sort(*columns, nulls_last=True)
    rows: list[dict[str, Any]] = []
    for group, parts in groupby(counted.iter_rows(named=True), key=lambda row: tuple(row[name] for name in groups)):
        rows += [dict(zip(groups.values(), group, strict=True)) | stage for stage in _stages(list(parts))]
    if not (rows or groups):
        rows = _stages([])
    schema = {**{name: counted.schema[inner] for inner, name in groups.items()}, **_ADDED}
    result = nw.from_dict({name: [row[name] for row in rows] for name in schema}, schema, backend="pyarrow")
    back: IntoFrameT = give_back(result, user_coupons)
    return back


def _stages(parts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Add up a group's coupons by where they stand."""
    counts = dict.fromkeys(_STAGES, 0)
    for part in parts:
        counts["received"] += part["count"]
        counts["confirmed"] += part["count"] if part["is_confirmed"] else 0
        counts[STANDINGS.get(part["coupon_state"], "other")] += part["count"]
    as_of = max((part["as_of"] for part in parts if part["as_of"] is not None), default=None)
    received = counts["received"]
    return [
        {"stage": stage, "count": count, "share": count / received if received else None, "as_of": as_of}
        for stage, count in counts.items()
    ]
