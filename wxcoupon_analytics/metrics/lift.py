"""Whether sending coupons made people order who would not have."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import narwhals as nw
import numpy as np
import numpy.typing as npt
from narwhals.dtypes import DType
from narwhals.typing import IntoFrame, IntoFrameT

from wxcoupon_analytics.errors import ValidationError, masked
from wxcoupon_analytics.metrics.coupons import groups_of, made_lazy, with_dtypes, with_groups
from wxcoupon_analytics.metrics.engines import SHANGHAI, check_ids, collect, give_back, microseconds, wrap
from wxcoupon_analytics.metrics.quota import in_beijing

_LIFT: Mapping[str, DType] = {
    "measure": nw.String(),
    "sent_users": nw.Int64(),
    "held_out_users": nw.Int64(),
    "sent_value": nw.Float64(),
    "held_out_value": nw.Float64(),
    "lift": nw.Float64(),
    "lift_low": nw.Float64(),
    "lift_high": nw.Float64(),
    "relative_lift": nw.Float64(),
    "sample_ratio_p": nw.Float64(),
    "window_days": nw.Float64(),
    "as_of": nw.Datetime("us", "Asia/Shanghai"),
}
_DAY = 86_400_000_000  # microseconds
_LEVEL = 0.95
_Amounts = npt.NDArray[np.float64]


def holdout_lift(
    result: IntoFrameT,
    outcomes: IntoFrame,
    *,
    window_days: float | None = None,
    now: datetime | None = None,
    holdout: float | None = None,
    by: str | Sequence[str] | None = None,
) -> IntoFrameT:
    """Hold the orders of the users a campaign was sent to against those of the users held out.

    Users held out hold no coupon, so redemptions say nothing about them: what counts is the brand's own orders.

    Parameters
    ----------
    result : frame
        What ``plan.execute`` of a plan with ``holdout`` gave back: ``openid``, ``status`` and ``assigned_at``. Rows
        with an ``assigned_at`` are in the experiment: ``held_out`` is one arm, every other status the other, failed,
        unknown and cut off in the middle too (intention to treat), for leaving them out would choose whom to compare.
    outcomes : frame
        The brand's own orders, of any engine, one row an order: ``openid``, ``order_time`` (aware) and ``amount_fen``
        (a whole number; a refund is below 0). Who has none ordered nothing. Other people's orders do no harm.
    window_days : float, optional
        For how long after ``assigned_at`` orders count, the same for everybody. Users whose window is not over are left
        out, in both arms. By default as long as there is for whoever was assigned last.
    now : aware datetime, optional
        Up to when ``outcomes`` has all orders. By default the last ``order_time`` in it.
    holdout : float, optional
        The share that ``plan_sends`` was told to hold out, for the check of the sample ratio. By default read from the column
        ``holdout`` of ``result``, if there is one.
    by : str or list of str, optional
        Columns of ``result`` to group by; every group is compared within itself.

    Returns
    -------
    frame
        Of the kind of ``result``, two rows a group: ``measure`` ``order_rate``, the share of users with an order, and
        ``amount_fen``, the mean amount of all users.

        ============== ============================= =============================================================
        column         dtype, unit                   meaning
        ============== ============================= =============================================================
        *by            as given                      the group
        measure        string                        order_rate (Float64, 0–1) or amount_fen (fen a user)
        sent_users     Int64, users                  assigned to be sent
        held_out_users Int64, users
        sent_value     Float64, as ``measure``       of those assigned to be sent; null without users
        held_out_value Float64, as ``measure``
        lift           Float64, as ``measure``       their difference: per user whom the campaign was meant for
        lift_low,      Float64, as ``measure``       95 % interval: Newcombe's for the rate, Welch's for the amount; null
        lift_high                                    when it cannot be had (an arm of one user, amounts all alike)
        relative_lift  Float64, ratio                ``lift`` / ``held_out_value``; null when that is 0
        sample_ratio_p Float64, 0–1                  how likely arms as uneven as these are by chance, if ``holdout``
                                                     was the share: below 0.001, look for what lost users before
                                                     believing the rest. Null when the share is not known
        window_days    Float64, days                 the window
        as_of          datetime, Asia/Shanghai       up to when orders are known
        ============== ============================= =============================================================

    Raises
    ------
    ValidationError
        A column is missing or of a dtype that cannot mean what it should, a time names no zone, an order has no time or
        amount, an openid is in the experiment twice, nobody is, nobody's window is over, or ``holdout`` is no share.

    Notes
    -----
    Rates: R. G. Newcombe, Interval estimation for the difference between independent proportions, Statistics in Medicine
    17 (1998), method 10 (from the Wilson intervals of both, without continuity correction). Amounts: B. L. Welch 1947, for
    unequal variances. Sample ratio: Pearson's chi-square, one degree of freedom. Two measures and many groups are many
    comparisons: decide beforehand which one decides.

    Examples
    --------
    >>> import pandas as pd
    >>> from wxcoupon_analytics.metrics import holdout_lift
    >>> at = pd.Timestamp("2026-11-02T10:00+08:00")
    >>> result = pd.DataFrame({"openid": [f"u{n}" for n in range(150)], "assigned_at": at,
    ...                        "status": ["sent"] * 70 + ["held_out"] * 80})
    >>> buyers = [*range(56), *range(70, 118)]
    >>> orders = pd.DataFrame({"openid": [f"u{n}" for n in buyers], "order_time": at + pd.Timedelta(days=1), "amount_fen": 2500})
    >>> lift = holdout_lift(result, orders)
    >>> lift[["measure", "sent_value", "held_out_value", "lift_low", "lift_high"]].head(1).round(4).values.tolist()
    [['order_rate', 0.8, 0.6, 0.0524, 0.3339]]
    """
    groups = groups_of(by, _LIFT, own=["openid", "status", "assigned_at", "holdout"], like=result)
    people = _experiment(result, groups)
    orders, last_order = _orders(outcomes)
    known_until = last_order if now is None else _since_1970(in_beijing(now))
    people, window = _watched(people, window_days, known_until)
    bought = _bought(orders, people, window)
    facts = {
        "window_days": window / _DAY if window is not None else None,
        "as_of": None if known_until is None else _instant(known_until),
    }
    rows = [
        {**dict(zip(groups.values(), key, strict=True)), **row, **facts}
        for key, members in _groups(people, list(groups))
        for row in _compare(members, bought, holdout)
    ]
    schema: dict[str, Any] = {**{name: people.schema[inner] for inner, name in groups.items()}, **_LIFT}
    table = nw.from_dict({name: [row[name] for row in rows] for name in schema}, schema, backend="pyarrow")
    back: IntoFrameT = give_back(table, result)
    return back


def _experiment(result: IntoFrame, groups: Mapping[str, str]) -> nw.DataFrame[Any]:
    """Collect who was assigned to which arm, and when."""
    frame: Any = wrap(result)
    schema = frame.collect_schema()
    needs = ["openid", "status", "assigned_at"]
    if missing := [name for name in [*needs, *groups.values()] if name not in schema]:
        raise ValidationError(
            f"the result lacks {', '.join(missing)}: pass the frame that plan.execute gave back, of a plan with a holdout"
        )
    _check_time(schema["assigned_at"], "assigned_at of the result")
    check_ids({"openid": schema["openid"]}, entity="result")
    chosen = with_groups(frame, [*needs, *(["holdout"] if "holdout" in schema else [])], groups)
    people: nw.DataFrame[Any] = with_dtypes(collect(chosen, chosen.collect_schema().names()), groups)
    people = people.with_columns(nw.col("openid").cast(nw.String))
    people = people.filter(~nw.col("assigned_at").is_null() & ~nw.col("openid").is_null())
    if people.is_empty():
        raise ValidationError(
            "nobody in the result has an assigned_at, so there is no experiment: plan the sends with holdout=…, and pass what "
            "plan.execute gave back"
        )
    twice = people.filter(nw.col("openid").is_duplicated())
    if not twice.is_empty():
        openid = twice["openid"][0]
        raise ValidationError(
            f"openid {masked(openid, openid)} is in the experiment more than once: pass the result of one plan at a time"
        )
    return people.with_columns(
        assigned_us=nw.col("assigned_at").dt.timestamp("us"),
        is_held_out=(nw.col("status") == "held_out").fill_null(False),
    )


def _orders(outcomes: IntoFrame) -> tuple[nw.LazyFrame[Any], int | None]:
    """Open the orders, once they are what they should be, and say when the last of them was made."""
    frame: Any = wrap(outcomes)
    schema = frame.collect_schema()
    columns = ["openid", "order_time", "amount_fen"]
    if missing := [name for name in columns if name not in schema]:
        raise ValidationError(
            f"the outcomes lack {', '.join(missing)}: pass one row an order, with openid, order_time and amount_fen"
        )
    check_ids({"openid": schema["openid"]}, entity="outcomes")
    _check_time(schema["order_time"], "order_time of the outcomes")
    if not schema["amount_fen"].is_integer():
        raise ValidationError(
            f"amount_fen of the outcomes is {schema['amount_fen']}: amounts are whole fen, so multiply yuan by 100, round, and "
            "make them integers (in pandas .astype('Int64'))"
        )
    orders = made_lazy(frame, columns)
    orders = orders.with_columns(order_us=microseconds(orders, "order_time"))
    unclear = nw.when(nw.col("order_time").is_null() | nw.col("amount_fen").is_null()).then(nw.lit(1))
    about = collect(
        orders.select(nw.col("order_us").max().alias("last"), unclear.sum().alias("unclear")), ["last", "unclear"]
    )
    if about["unclear"][0]:
        raise ValidationError(
            f"{int(about['unclear'][0])} of the outcomes have no order_time or no amount_fen: drop or mend them"
        )
    return orders, about["last"][0]


def _watched(
    people: nw.DataFrame[Any], window_days: float | None, known_until: int | None
) -> tuple[nw.DataFrame[Any], int | None]:
    """Choose the window, in microseconds, and keep the users for whom it is over."""
    if window_days is not None and not (math.isfinite(window_days) and window_days > 0):
        raise ValidationError(f"window_days={window_days!r} is no window: give a number of days above 0")
    if known_until is None:  # no order at all, and nobody says up to when there was none
        return people, None if window_days is None else round(window_days * _DAY)
    last = people["assigned_us"].max()
    window = known_until - last if window_days is None else round(window_days * _DAY)
    over = people.filter(nw.col("assigned_us") + window <= known_until)
    if window <= 0 or over.is_empty():
        raise ValidationError(
            f"orders are known up to {_instant(known_until).isoformat()}, and the last user was assigned at "
            f"{_instant(last).isoformat()}: nobody's window is over. Wait, take a shorter window_days, or say with now=… up to "
            "when the outcomes are complete"
        )
    return over, window


def _bought(
    orders: nw.LazyFrame[Any], people: nw.DataFrame[Any], window: int | None
) -> Mapping[str, tuple[int, float]]:
    """Count each user's orders, and add up their amounts, within the window; users without orders are not there.

    As floats, which add whole fen exactly up to 2⁵³: Polars adds up integers of 32 bits in 32 bits.
    """
    windows = people.select("openid", "assigned_us", until_us=nw.col("assigned_us") + (window or 0))
    there: Any = nw.from_native(give_back(windows, orders.to_native()))
    at, amount = nw.col("order_us"), nw.col("amount_fen")
    joined = orders.with_columns(nw.col("openid").cast(nw.String)).join(there, on="openid", how="inner")
    in_time = (at >= nw.col("assigned_us")) & (at <= nw.col("until_us"))
    sums = (
        joined.filter(in_time)
        .with_columns(an_order=nw.when(amount >= 0).then(nw.lit(1)).otherwise(nw.lit(0)))
        .group_by("openid")
        .agg(nw.col("an_order").sum().cast(nw.Int64), nw.col("amount_fen").cast(nw.Float64).sum())
    )
    found = collect(sums, ["openid", "an_order", "amount_fen"])
    return {openid: (count, total) for openid, count, total in found.iter_rows()}


def _groups(people: nw.DataFrame[Any], groups: list[str]) -> Iterator[tuple[tuple[Any, ...], list[dict[str, Any]]]]:
    """Go over the groups in order, null groups last."""
    members: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    ordered = people.sort(*groups, nulls_last=True) if groups else people
    for person in ordered.iter_rows(named=True):
        members.setdefault(tuple(person[name] for name in groups), []).append(person)
    yield from members.items()


def _compare(
    members: Sequence[Mapping[str, Any]], bought: Mapping[str, tuple[int, float]], holdout: float | None
) -> Iterator[dict[str, Any]]:
    """Compare a group's two arms, by rate and by amount."""
    nothing = (0, 0.0)
    arms = [
        np.array([bought.get(p["openid"], nothing) for p in members if p["is_held_out"] == held], dtype=np.float64)
        for held in (False, True)
    ]
    sent, held = (arm.reshape(-1, 2) for arm in arms)
    n, m = len(sent), len(held)
    shared = {"sent_users": n, "held_out_users": m, "sample_ratio_p": _ratio_p(n, m, _planned(members, holdout))}
    buyers, others = int((sent[:, 0] > 0).sum()), int((held[:, 0] > 0).sum())
    rates = newcombe_interval(buyers, n, others, m) if n and m else (None, None)
    yield {**shared, **_row("order_rate", buyers / n if n else None, others / m if m else None, rates)}
    mean, other = (float(arm[:, 1].mean()) if len(arm) else None for arm in (sent, held))
    yield {**shared, **_row("amount_fen", mean, other, welch_interval(sent[:, 1], held[:, 1]))}


def _row(
    measure: str, sent: float | None, held: float | None, interval: tuple[float | None, float | None]
) -> dict[str, Any]:
    lift = None if sent is None or held is None else sent - held
    low, high = interval
    return {
        "measure": measure,
        "sent_value": sent,
        "held_out_value": held,
        "lift": lift,
        "lift_low": low,
        "lift_high": high,
        "relative_lift": lift / held if lift is not None and held else None,
    }


def newcombe_interval(a: int, n: int, b: int, m: int) -> tuple[float, float]:
    """Give the 95 % interval of a/n − b/m, Newcombe's method 10.

    >>> low, high = newcombe_interval(56, 70, 48, 80)
    >>> round(low, 4), round(high, 4)
    (0.0524, 0.3339)
    """
    from scipy import stats

    p, q = a / n, b / m
    of_p, of_q = (stats.binomtest(k, size).proportion_ci(_LEVEL, method="wilson") for k, size in ((a, n), (b, m)))
    low = p - q - math.hypot(p - of_p.low, of_q.high - q)
    high = p - q + math.hypot(of_p.high - p, q - of_q.low)
    return float(low), float(high)


def welch_interval(sent: _Amounts, held: _Amounts) -> tuple[float | None, float | None]:
    """Give the 95 % interval of the difference of two means, null for fewer than two values or no variance at all."""
    from scipy import stats

    if min(len(sent), len(held)) < 2 or (np.ptp(sent) == 0 and np.ptp(held) == 0):
        return None, None
    interval = stats.ttest_ind(sent, held, equal_var=False).confidence_interval(_LEVEL)
    return float(interval.low), float(interval.high)


def _planned(members: Sequence[Mapping[str, Any]], holdout: float | None) -> float | None:
    """Find the share that was to be held out."""
    given: set[Any] = {holdout} if holdout is not None else {person.get("holdout") for person in members} - {None}
    if len(given) != 1:
        return None
    [share] = given
    if not 0 < share < 1:
        raise ValidationError(f"holdout={share!r} is no share between 0 and 1: give the one that plan_sends was given")
    return float(share)


def _ratio_p(sent: int, held: int, share: float | None) -> float | None:
    from scipy import stats

    if share is None or sent + held == 0:
        return None
    expected = [(sent + held) * (1 - share), (sent + held) * share]
    return float(stats.chisquare([sent, held], expected).pvalue)


def _check_time(dtype: DType, which: str) -> None:
    if getattr(dtype, "time_zone", None) is None:
        raise ValidationError(
            f"{which} is {dtype}, not an aware time: localize it first, in pandas with .dt.tz_localize('Asia/Shanghai')"
        )


def _since_1970(at: datetime) -> int:
    return int(at.timestamp()) * 1_000_000 + at.microsecond


def _instant(since_1970: int) -> datetime:
    return datetime.fromtimestamp(since_1970 // 1_000_000, SHANGHAI).replace(microsecond=since_1970 % 1_000_000)
