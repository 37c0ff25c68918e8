"""Which states the coupons in users' hands are in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import narwhals as nw
from narwhals.typing import IntoFrameT

from wxcoupon_analytics.metrics.coupons import IDS, groups_of, with_dtypes, with_groups
from wxcoupon_analytics.metrics.engines import (
    check_ids,
    collect,
    give_back,
    has_brand,
    latest,
    microseconds,
    open_frame,
)

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
        User coupons, current or a history. pandas, Polars (eager or lazy), PyArrow, DuckDB or PySpark. A lazy frame
        (Polars', DuckDB's, Spark's) is aggregated by its own engine, which may spill to disk, and only the counts come to
        this process; a frame in memory is aggregated by Arrow. Zeros, shares and the order are worked out here.
    by : str or list of str, optional
        Columns to group by, ``"stock_id"`` for example.
    deduplicate : bool, default True
        Count a coupon (brand_id, stock_id, coupon_code) once, at its latest ``fetched_at``, and in the group it is in
        then; a row without stock_id or coupon_code is nobody's double. False skips that, for a frame known to hold one
        row a coupon, as ``store.load`` gives.

    Returns
    -------
    frame
        Of the kind of ``user_coupons``, long form, sorted by group (null groups last), then by state.

        ============ ======================== ==================================================================
        column       dtype, unit              meaning
        ============ ======================== ==================================================================
        *by          as given                 the group; times come back in Asia/Shanghai, categories as strings
        coupon_state string                   the seven states in lifecycle order, then states the API invented
                                              later, alphabetically, then null if a coupon's state is unknown
                                              (in a store: asked for, and not there);
                                              every group has a row for each of them
        count        Int64, coupons
        share        Float64, 0–1             of the group; null when there are no coupons at all
        as_of        datetime, Asia/Shanghai  the latest ``fetched_at`` in the group
        ============ ======================== ==================================================================

        Without ``by`` there is one group, even of an empty frame.

    Raises
    ------
    ValidationError
        A column is missing, ids are floats, ``by`` repeats a column or names one that the result adds, or ``fetched_at``
        is not timezone-aware.

    Notes
    -----
    To deduplicate, a lazy frame is read up to three times: for the states there are, for the rows that have their ids, and
    for those that have not. Over Parquet the first and the last cost next to nothing; a costly query is better stored
    first. Without deduplication it is read once. In DuckDB memory is what the caller's connection allows
    (``SET memory_limit = '2GB'``): the rest goes to its ``temp_directory``.

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
    groups = groups_of(by, _ADDED, own=(), like=user_coupons)
    branded = ["brand_id"] if deduplicate and has_brand(user_coupons) else []
    key = [*branded, *IDS] if deduplicate else []
    needs = [*key, "coupon_state", "fetched_at"]
    frame: Any = open_frame(user_coupons, entity="user_coupons", needs=[*groups.values(), *needs])
    frame = with_groups(frame, needs, groups)
    if isinstance(frame, nw.DataFrame):
        # Narwhals over pandas misplaces an aggregate when a key is null throughout; over Arrow it does not.
        frame = collect(frame, frame.columns)
    frame = with_dtypes(frame, groups)
    if deduplicate:
        frame = latest_coupons(frame, key, list(groups))
    counted = frame.group_by(*groups, "coupon_state").agg(nw.len().alias("count"), as_of=nw.col("fetched_at").max())
    result = _fill(collect(counted, [*groups, "coupon_state", "count", "as_of"]), list(groups)).rename(groups)
    back: IntoFrameT = give_back(result, user_coupons)
    return back


def latest_coupons(frame: Any, key: Sequence[str], columns: Sequence[str]) -> Any:
    """Keep the latest row of every coupon, with the columns asked for, its ``coupon_state`` and its ``fetched_at``.

    The instant and the state's place in the lifecycle become one integer, whose maximum per coupon says both: as fast as
    an ``arg_max`` by hand, ties and all, and of a fixed width, which an engine can spill. The places are dense, so they
    take a look at which states there are.
    """
    schema = frame.collect_schema()
    check_ids({name: schema[name] for name in key}, entity="user_coupons")
    state = nw.col("coupon_state").cast(nw.String)
    found = collect(frame.select(coupon_state=state).unique(), ["coupon_state"])["coupon_state"].to_list()
    ladder = [*LIFECYCLE, *sorted({*found} - {*LIFECYCLE, None})]
    place, rungs = nw.lit(0), len(ladder) + 1
    for rung, name in enumerate(ladder, start=1):
        place = nw.when(state == name).then(nw.lit(rung)).otherwise(place)
    place = place.fill_null(0)  # older Narwhals over Arrow: a condition that is null is not false
    moment = microseconds(frame, "fetched_at").fill_null(0).clip(0)

    wanted = [name for name in dict.fromkeys(columns) if name not in ("coupon_state", "fetched_at")]
    rank = nw.generate_temporary_column_name(8, [*key, *wanted])
    without_ids = nw.col("stock_id").is_null() | nw.col("coupon_code").is_null()
    ranked = frame.filter(~without_ids).with_columns((moment * rungs + place).alias(rank))
    best = latest(ranked, key, rising=[rank, "fetched_at"], columns=[name for name in wanted if name not in key])
    standing: Any = nw.lit(None, nw.String)
    for rung, name in enumerate(ladder, start=1):
        standing = nw.when(nw.col(rank) % rungs == rung).then(nw.lit(name)).otherwise(standing)
    return nw.concat(
        [
            best.select(*wanted, "fetched_at", coupon_state=standing),
            frame.filter(without_ids).select(*wanted, "fetched_at", coupon_state=state),
        ]
    )


def _fill(counted: nw.DataFrame[Any], groups: list[str]) -> nw.DataFrame[Any]:
    """Turn the counts that occur into a row for every group and state.

    Counts go wide, one column a state, where absence is 0, and come back long. A join would lose the null groups.
    """
    found = set(counted["coupon_state"].to_list())
    states = [*LIFECYCLE, *sorted(found - {*LIFECYCLE, None}), *({None} & found)]
    prefix, size = nw.generate_temporary_column_name(8, counted.columns), nw.col("count").cast(nw.Int64)
    slots = {f"{prefix}{place:06}": state for place, state in enumerate(states)}  # in this order as text, too
    is_state = {
        slot: nw.col("coupon_state") == state if state is not None else nw.col("coupon_state").is_null()
        for slot, state in slots.items()
    }
    wide = counted.with_columns(
        size, **{slot: nw.when(it).then(size).otherwise(nw.lit(0)) for slot, it in is_state.items()}
    )
    totals = nw.col("count", *slots).sum(), nw.col("as_of").max()
    per_group = wide.group_by(groups).agg(*totals) if groups else wide.select(*totals)
    long = per_group.rename({"count": prefix}).unpivot(
        list(slots), index=[*groups, prefix, "as_of"], variable_name="coupon_state", value_name="count"
    )
    in_group = nw.when(nw.col(prefix) > 0).then(nw.col(prefix))
    named = {slot: state for slot, state in slots.items() if state is not None}
    return long.sort(*groups, "coupon_state", nulls_last=True).select(
        *groups,
        nw.col("coupon_state").replace_strict(named, default=None, return_dtype=nw.String),
        "count",
        (nw.col("count").cast(nw.Float64) / in_group).alias("share"),
        nw.col("as_of").cast(nw.Datetime("us", "Asia/Shanghai")),  # older Narwhals: the latest of no rows has no dtype
    )
