"""Which states the coupons in users' hands are in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import narwhals as nw
from narwhals.typing import IntoFrameT

from wxcoupon_analytics.errors import ValidationError
from wxcoupon_analytics.metrics.engines import check_ids, collect, give_back, has_brand, open_frame

# 待确认 · 待生效 · 已生效 · 已核销 · 已过期 · 已删除 · 已失效, in the order a coupon lives through them.
LIFECYCLE = ("CONFIRMING", "PENDING", "EFFECTIVE", "USED", "EXPIRED", "DELETED", "DEACTIVATED")
_ADDED = ("coupon_state", "count", "share", "as_of")


def state_breakdown(
    user_coupons: IntoFrameT, *, by: str | Sequence[str] | None = None, deduplicate: bool = True
) -> IntoFrameT:
    """Count the coupons in each state, and their share of the group.

    Shares are over the coupons in the frame, which are those we know of: no endpoint lists all.

    Parameters
    ----------
    user_coupons : frame
        User coupons, current or a history. pandas, Polars (eager or lazy), PyArrow, DuckDB or PySpark; a lazy frame is
        aggregated by its own engine, and only the aggregate comes to this process.
    by : str or list of str, optional
        Columns to group by, ``"stock_id"`` for example.
    deduplicate : bool, default True
        Count a coupon (brand_id, stock_id, coupon_code) once, at its latest ``fetched_at``, and in the group it is in
        then; a row without stock_id or coupon_code is nobody's double. False skips that, for a frame known to hold one row a coupon, as ``store.load`` gives.

    Returns
    -------
    frame
        Of the kind of ``user_coupons``, long form, sorted by group (null groups last), then by state.

        ============ ======================== ==================================================================
        column       dtype, unit              meaning
        ============ ======================== ==================================================================
        *by          as given                 the group; times come back in Asia/Shanghai, categories as strings
        coupon_state string                   the seven states in lifecycle order, then states the API invented
                                              later, alphabetically, then null if a coupon's state is unknown;
                                              every group has a row for each of them
        count        Int64, coupons
        share        Float64, 0–1             of the group; null when there are no coupons at all
        as_of        datetime, Asia/Shanghai  the latest ``fetched_at`` in the group
        ============ ======================== ==================================================================

        Without ``by`` there is one group, even of an empty frame.

    Raises
    ------
    ValidationError
        A column is missing, ids are floats, ``by`` repeats a column or names one that the result adds, or ``fetched_at`` is not
        timezone-aware.

    Notes
    -----
    Of two rows of a coupon fetched at the same instant, the one further in the lifecycle counts (one invented later
    counts as further than the seven, none as less), so the answer does not depend on the order of rows.

    Examples
    --------
    >>> from wxcoupon_analytics.entities.flatten import flatten
    >>> from wxcoupon_analytics.metrics import state_breakdown
    >>> coupons = flatten("user_coupons", [
    ...     {"coupon_code": "A", "coupon_state": "EFFECTIVE", "stock": {"stock_id": "1"}},
    ...     {"coupon_code": "B", "coupon_state": "USED", "stock": {"stock_id": "1"}},
    ... ])
    >>> state_breakdown(coupons).query("count > 0")[["coupon_state", "count", "share"]].to_dict("records")
    [{'coupon_state': 'EFFECTIVE', 'count': 1, 'share': 0.5}, {'coupon_state': 'USED', 'count': 1, 'share': 0.5}]
    """
    groups = [by] if isinstance(by, str) else list(by or ())
    clash = sorted({name for name in groups if name in _ADDED or groups.count(name) > 1})
    if clash:
        raise ValidationError(f"by={by!r}: {', '.join(clash)} is given twice or is a column of the result itself")
    key = ["stock_id", "coupon_code"] if deduplicate else []
    needs = dict.fromkeys([*groups, *key, "coupon_state", "fetched_at"])
    frame = open_frame(user_coupons, entity="user_coupons", needs=needs)
    branded = ["brand_id"] if deduplicate and has_brand(user_coupons) else []
    if isinstance(frame, nw.DataFrame):
        # Narwhals over pandas misplaces an aggregate when a key is null throughout; over Arrow it does not.
        frame = collect(frame, list(dict.fromkeys([*branded, *needs])))
    parts: list[Any] = [frame]
    if deduplicate:
        schema = frame.collect_schema()
        check_ids({name: schema[name] for name in key}, entity="user_coupons")
        # A row without its ids is nobody's double, so each of them counts.
        nameless = nw.col("stock_id").is_null() | nw.col("coupon_code").is_null()
        latest = _latest(frame.filter(~nameless), [*branded, *key], [*groups, "coupon_state", "fetched_at"])
        parts = [latest, frame.filter(nameless)]
    counted = [
        part.group_by(*groups, "coupon_state").agg(nw.len().alias("count"), as_of=nw.col("fetched_at").max())
        for part in parts
    ]
    columns = [*groups, "coupon_state", "count", "as_of"]
    result = _fill(nw.concat([collect(part, columns) for part in counted]), groups)
    back: IntoFrameT = give_back(result, user_coupons)
    return back


def _latest(frame: Any, key: list[str], wanted: list[str]) -> Any:
    """Keep the latest row of every key, column by column.

    Each column takes its last value on its own, so the order must leave no ties but between equal rows: after the time,
    the state's place in the lifecycle, then the wanted columns themselves. Nulls come first, that is, lose.
    """
    state, place = nw.col("coupon_state"), nw.generate_temporary_column_name(8, [*key, *wanted])
    rank: nw.Expr = nw.when(~state.is_null()).then(nw.lit(len(LIFECYCLE)))
    for index, name in reversed(list(enumerate(LIFECYCLE))):
        rank = nw.when(state == name).then(nw.lit(index)).otherwise(rank)
    values = [name for name in dict.fromkeys(wanted) if name not in key and name != "fetched_at"]
    order = ["fetched_at", place, *values]
    return (
        frame.with_columns(rank.alias(place))
        .group_by(key)
        .agg(nw.col("fetched_at").max(), *(nw.col(name).last(order_by=order) for name in values))
    )


def _fill(counted: nw.DataFrame[Any], groups: list[str]) -> nw.DataFrame[Any]:
    """Turn the counts that occur into a row for every group and state.

    Counts go wide, one column a state, where absence is 0, and come back long. A join would lose the null groups.
    """
    found = set(counted["coupon_state"].to_list())
    states = [*LIFECYCLE, *sorted(found - {*LIFECYCLE, None})]
    slots: dict[str | None, str] = {
        state: nw.generate_temporary_column_name(8, counted.columns) for state in [*states, *({None} & found)]
    }
    size = nw.col("count").cast(nw.Int64)
    wide = counted.with_columns(
        size,
        *(
            nw.when(nw.col("coupon_state") == state if state is not None else nw.col("coupon_state").is_null())
            .then(size)
            .otherwise(nw.lit(0))
            .alias(slot)
            for state, slot in slots.items()
        ),
    )
    totals = nw.col("count", *slots.values()).sum(), nw.col("as_of").max()
    per_group = wide.group_by(groups).agg(*totals) if groups else wide.select(*totals)
    in_group = nw.when(nw.col("count") > 0).then(nw.col("count"))
    order = nw.generate_temporary_column_name(8, counted.columns)
    long = [
        per_group.select(
            *groups,
            nw.lit(state, nw.String).alias("coupon_state"),
            nw.col(slot).alias("count"),
            (nw.col(slot).cast(nw.Float64) / in_group).alias("share"),
            "as_of",
            nw.lit(place).alias(order),
        )
        for place, (state, slot) in enumerate(slots.items())
    ]
    return nw.concat(long).sort(*groups, order, nulls_last=True).drop(order)
