"""How many of the coupons are used, and how soon."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import reduce
from itertools import groupby
from operator import or_
from statistics import NormalDist
from typing import Any

import narwhals as nw
import numpy as np
import numpy.typing as npt
from narwhals.dtypes import DType
from narwhals.typing import IntoFrame, IntoFrameT

from wxcoupon_analytics.metrics.coupons import IDS, OPEN, check_current, groups_of, open_coupons
from wxcoupon_analytics.metrics.engines import collect, give_back, microseconds
from wxcoupon_analytics.metrics.states import latest_coupons

_Floats = npt.NDArray[np.float64]
_RATES = (
    "used_count",
    "confirmed_count",
    "redemption_rate",
    "matured_used_count",
    "matured_confirmed_count",
    "matured_rate",
)
# Final before their time is over, so that a refresh does not ask for them again.
_SETTLED = ("DELETED", "DEACTIVATED")


def redemption_rate(user_coupons: IntoFrameT, *, by: str | Sequence[str] | None = None) -> IntoFrameT:
    """Say which share of the confirmed coupons is used, and of those among them whose time is over.

    Both are over the coupons we know of, which :func:`coverage` holds against those sent.

    Parameters
    ----------
    user_coupons : frame
        User coupons, current: ``store.load("user_coupons")``. A history may stand below them, not alone: the store's has
        a row only where a coupon changed, so a used one would never mature. pandas, Polars (eager or lazy), PyArrow, DuckDB
        or PySpark; a lazy frame is aggregated by its own engine, and only the aggregate comes to this process.
    by : str or list of str, optional
        Columns to group by, ``"stock_id"`` for example.

    Returns
    -------
    frame
        Of the kind of ``user_coupons``, one row a group, sorted (null groups last); one row in all without ``by``.

        ======================= ======================== ========================================================
        column                  dtype, unit              meaning
        ======================= ======================== ========================================================
        *by                     as given                 the group
        used_count              Int64, coupons           ``coupon_state`` is USED
        confirmed_count         Int64, coupons           ever confirmed: ``confirm_time`` is set, or the state is
                                                         PENDING, EFFECTIVE or USED
        redemption_rate         Float64, 0–1             used / confirmed, to date; null when none is confirmed
        matured_used_count      Int64, coupons           used, of those whose ``valid_end_time`` has passed: at their
                                                         ``fetched_at``, or, of a coupon that is deleted or
                                                         deactivated, at the latest of its stock
        matured_confirmed_count Int64, coupons           confirmed, of those
        matured_rate            Float64, 0–1             their share: of a coupon it changes no more, but by a return
        as_of                   datetime, Asia/Shanghai  the latest ``fetched_at`` in the group
        ======================= ======================== ========================================================

    Raises
    ------
    ValidationError
        A column is missing, ids are floats, ``by`` repeats a column or has a name that the result needs, ``fetched_at`` is
        not timezone-aware, or the frame is the store's history alone.

    Notes
    -----
    A use taken back is none: the coupon is EFFECTIVE again. A coupon of several uses is USED when the last of them is made.
    A coupon counts once, at its latest reading, as in :func:`state_breakdown`. One whose state is not known (asked for, and
    not there) counts as confirmed when ``confirm_time`` is set, and never as used.

    ``client.fetch.refresh`` does not ask again for coupons that are final, so one that was deleted before its
    ``valid_end_time`` may never be read after it. Its outcome is known all the same: it matures with its stock. By its own
    ``fetched_at`` only what was refreshed would mature, and the rate be too high. Where a later fetch left users out
    altogether, their deleted coupons mature and their open ones do not: a little too low.

    The rate to date is low while coupons are young; the matured rate is of campaigns long past. Between the two stands
    :func:`redemption_curve`.

    Examples
    --------
    >>> from wxcoupon_analytics.entities.flatten import flatten
    >>> from wxcoupon_analytics.metrics import redemption_rate
    >>> coupons = flatten("user_coupons", [
    ...     {"coupon_code": code, "coupon_state": state, "stock": {"stock_id": "1"}}
    ...     for code, state in (("A", "EFFECTIVE"), ("B", "USED"), ("C", "CONFIRMING"))
    ... ])
    >>> redemption_rate(coupons)[["used_count", "confirmed_count", "redemption_rate"]].to_dict("records")
    [{'used_count': 1, 'confirmed_count': 2, 'redemption_rate': 0.5}]
    """
    kinds = ["is_used", "is_confirmed", "is_matured"]
    needs = ["stock_id", "coupon_state", "confirm_time", "valid_end_time"]
    groups = groups_of(by, [*_RATES, "as_of"], own=needs, like=user_coupons)
    check_current(user_coupons)
    frame, key = open_coupons(user_coupons, needs, groups)
    state, read = nw.col("coupon_state"), nw.col("fetched_at")
    stock = [name for name in key if name != "coupon_code"]
    settled = state.is_in(_SETTLED).fill_null(False) & ~nw.col("stock_id").is_null()
    flags = latest_coupons(frame, key, [*groups, *needs, *stock]).with_columns(
        is_used=(state == "USED").fill_null(False),
        is_confirmed=~nw.col("confirm_time").is_null() | state.is_in(["PENDING", "EFFECTIVE", "USED"]).fill_null(False),
        is_matured=(
            nw.col("valid_end_time") < nw.when(settled).then(read.max().over(*stock)).otherwise(read)
        ).fill_null(False),
    )
    counted = collect(
        flags.group_by(*groups, *kinds).agg(nw.len().alias("count"), as_of=nw.col("fetched_at").max()),
        [*groups, *kinds, "count", "as_of"],
    )

    def coupons(*which: str) -> nw.Expr:
        chosen = nw.all_horizontal(*which, ignore_nulls=False)
        return nw.when(chosen).then(nw.col("count").cast(nw.Int64)).otherwise(nw.lit(0, nw.Int64))

    counts = counted.with_columns(
        used_count=coupons("is_used", "is_confirmed"),
        confirmed_count=coupons("is_confirmed"),
        matured_used_count=coupons("is_used", "is_confirmed", "is_matured"),
        matured_confirmed_count=coupons("is_confirmed", "is_matured"),
    )
    sums = [nw.col(name).sum() for name in _RATES if name.endswith("_count")]
    totals = (
        counts.group_by(list(groups)).agg(*sums, nw.col("as_of").max()).sort(*groups, nulls_last=True)
        if groups
        else counts.select(*sums, nw.col("as_of").max())
    )
    result = (
        totals.with_columns(
            redemption_rate=_share("used_count", "confirmed_count"),
            matured_rate=_share("matured_used_count", "matured_confirmed_count"),
        )
        .select(*groups, *_RATES, "as_of")
        .rename(groups)
    )
    back: IntoFrameT = give_back(result, user_coupons)
    return back


def _share(part: str, whole: str) -> nw.Expr:
    return nw.when(nw.col(whole) > 0).then(nw.col(part).cast(nw.Float64) / nw.col(whole).cast(nw.Float64))


# What ends a coupon's life, and when; a deletion has no time of its own.
_ENDS: Mapping[str, Sequence[str]] = {
    "USED": ("single_usage_detail_use_time", "progressive_bundle_usage_detail_use_time"),
    "EXPIRED": ("valid_end_time",),
    "DELETED": (),
    "DEACTIVATED": ("deactivate_time",),
}
_TIMES = ("receive_time", "confirm_time", *(name for names in _ENDS.values() for name in names))
_CURVE: Mapping[str, DType] = {
    "day": nw.Int64(),
    "at_risk": nw.Int64(),
    "used_share": nw.Float64(),
    "used_low": nw.Float64(),
    "used_high": nw.Float64(),
    "expired_share": nw.Float64(),
    "deleted_share": nw.Float64(),
    "deactivated_share": nw.Float64(),
    "open_share": nw.Float64(),
    "deletion_width_days": nw.Float64(),
    "as_of": nw.Datetime("us", "Asia/Shanghai"),
}
_HOUR, _DAY = 3_600_000_000, 24  # microseconds, hours


def redemption_curve(user_coupons: IntoFrameT, *, by: str | Sequence[str] | None = None) -> IntoFrameT:
    """Say which share of the coupons is used within so many days of receipt, as if all had been watched that long.

    Used divided by sent is biased for young coupons, which have had no time yet. Here a coupon counts for the days it was
    watched, and no longer.

    Parameters
    ----------
    user_coupons : frame
        User coupons, current: ``store.load("user_coupons")``. With the history below them (``pd.concat`` of that and
        ``store.history("user_coupons")``) deletions are dated better; the history alone does not say until when a coupon
        that did not change was watched. pandas, Polars (eager or lazy), PyArrow, DuckDB or PySpark; a lazy frame is
        aggregated by its own engine. Where it has a column ``event`` (rows of ``user_coupon_events`` under those fetched),
        coupons known only from USE and RETURN are left out: they are known because they were used.
    by : str or list of str, optional
        Columns to group by: the stock, a cohort.

    Returns
    -------
    frame
        Of the kind of ``user_coupons``, one row a group and day, sorted (null groups last), up to the last day to which a
        coupon of the group was watched.

        =================== ======================== ============================================================
        column              dtype, unit              meaning
        =================== ======================== ============================================================
        *by                 as given                 the group
        day                 Int64, days since        24 hours each: day 7 is within 168 hours of ``receive_time``
                            receipt
        at_risk             Int64, coupons           still open after so many days, and still watched
        used_share          Float64, 0–1             cumulative incidence of USED
        used_low, used_high Float64, 0–1             its pointwise 95 % confidence interval; null while nothing is used
        expired_share       Float64, 0–1             cumulative incidence of EXPIRED, at ``valid_end_time``
        deleted_share       Float64, 0–1             of DELETED, by the user
        deactivated_share   Float64, 0–1             of DEACTIVATED, at ``deactivate_time``
        open_share          Float64, 0–1             what remains: the five add up to 1
        deletion_width_days Float64, days            how far apart the readings are between which a deletion lies, in
                                                     the group's mean; null when there is none
        as_of               datetime, Asia/Shanghai  the latest ``fetched_at`` in the group
        =================== ======================== ============================================================

    Raises
    ------
    ValidationError
        A column is missing, ids are floats, ``by`` repeats a column or has a name that the result needs, ``fetched_at`` is
        not timezone-aware, or the frame is the store's history alone.

    Notes
    -----
    The estimator is Aalen and Johansen's (1978) for competing risks: with :math:`n_j` coupons at risk and :math:`d_{kj}` of
    them ending by cause *k* at :math:`t_j`, :math:`F_k(t) = \\sum_{t_j \\le t} S(t_{j-1}) d_{kj} / n_j` and
    :math:`S(t_j) = S(t_{j-1}) (1 - \\sum_k d_{kj} / n_j)`; the variance is the delta method's, the interval on the scale of
    log(−log). Time runs in hours since ``receive_time``; a coupon that ends in the hour it was last watched has ended.

    The latest reading decides: a use taken back is none. Coupons still open (CONFIRMING too: the shares are of coupons
    received) are censored at ``fetched_at``. An end without a time of its own lies between the last reading in which the
    coupon was open (its confirmation or receipt, if there is none) and the first that shows the end: the midpoint is taken.
    So it is with every deletion, and with the use of a coupon of several. A coupon whose state is not known (asked for, and
    not there), or is one that the API invents later, counts as watched until it was last seen open: a frame without such a
    reading leaves it out. Coupons without a ``receive_time`` are left out.

    Examples
    --------
    >>> import pandas as pd
    >>> from wxcoupon_analytics.entities.flatten import flatten
    >>> from wxcoupon_analytics.metrics import redemption_curve
    >>> coupons = flatten("user_coupons", [
    ...     {"coupon_code": "A", "coupon_state": "USED", "stock": {"stock_id": "1"}, "receive_time": "2026-11-01T10:00:00+08:00",
    ...      "single_usage_detail": {"use_time": "2026-11-01T18:00:00+08:00"}},
    ...     {"coupon_code": "B", "coupon_state": "EFFECTIVE", "stock": {"stock_id": "1"}, "receive_time": "2026-11-01T10:00:00+08:00"},
    ... ], fetched_at=pd.Timestamp("2026-11-03T12:00+08:00"))
    >>> redemption_curve(coupons)["used_share"].tolist()  # A was used within a day; B is open, and is watched on
    [0.0, 0.5, 0.5]
    """
    groups = groups_of(by, _CURVE, own=[*_TIMES, "event"], like=user_coupons)
    check_current(user_coupons)
    frame, key = _watched(user_coupons, groups)
    counted = collect(
        _lives(frame, key, list(groups))
        .group_by(*groups, "cause", "hour")
        .agg(nw.len().alias("count"), width=nw.col("width").sum().cast(nw.Int64), as_of=nw.col("fetched_at").max()),
        [*groups, "cause", "hour", "count", "width", "as_of"],
    ).sort(*groups, "hour", "cause", nulls_last=True)
    rows: list[dict[str, Any]] = []
    for group, ends in groupby(counted.iter_rows(named=True), key=lambda row: tuple(row[name] for name in groups)):
        curve = _curve(list(ends))
        rows += [dict(zip(groups.values(), group, strict=True)) | day for day in curve]
    schema = {**{name: counted.schema[inner] for inner, name in groups.items()}, **_CURVE}
    result = nw.from_dict({name: [row[name] for row in rows] for name in schema}, schema, backend="pyarrow")
    back: IntoFrameT = give_back(result, user_coupons)
    return back


def _watched(user_coupons: IntoFrame, groups: Mapping[str, str]) -> tuple[nw.LazyFrame[Any], list[str]]:
    """Say of every reading what it tells of its coupon's life, in microseconds since 1970, and beside it what others tell.

    Instants become integers here, because DuckDB subtracts instants by the calendar of its session's zone.
    """
    has_events = "event" in nw.from_native(user_coupons).collect_schema()
    frame, key = open_coupons(user_coupons, [*_TIMES, *(["event"] if has_events else [])], groups)
    state = nw.col("coupon_state")
    at = {name: microseconds(frame, name) for name in [*_TIMES, "fetched_at"]}
    told: nw.Expr = nw.lit(None, nw.Int64)
    for cause, names in _ENDS.items():
        for name in names:
            told = nw.when((state == cause) & ~nw.col(name).is_null()).then(at[name]).otherwise(told)
    marked: Any = frame.with_columns(
        received=at["receive_time"],
        usable=nw.coalesce(at["confirm_time"], at["receive_time"]),
        told=told,
        open_at=nw.when(state.is_in(OPEN)).then(at["fetched_at"]),
        ended_at=nw.when(state.is_in(list(_ENDS))).then(at["fetched_at"]),
    )
    # A row without its ids is nobody's double: it is all that is known of its coupon.
    alone = reduce(or_, (nw.col(name).is_null() for name in IDS))

    def of_all(name: str, readings: nw.Expr) -> nw.Expr:
        return nw.when(alone).then(nw.col(name)).otherwise(readings.over(*key)).alias(name)

    # An end before the last open reading was undone, and says nothing of the one that was not.
    stands = nw.col("open_at").is_null() | (nw.col("ended_at") >= nw.col("open_at"))
    marked = marked.with_columns(of_all("open_at", nw.col("open_at").max())).with_columns(
        of_all("ended_at", nw.when(stands).then(nw.col("ended_at")).min())
    )
    if not has_events:
        return marked, key
    after_use = nw.col("event").is_in(["USE", "RETURN"])
    known = marked.with_columns(is_known=nw.when(after_use).then(nw.lit(0)).otherwise(nw.lit(1)))
    return known.with_columns(of_all("is_known", nw.col("is_known").max())).filter(nw.col("is_known") == 1), key


def _lives(frame: nw.LazyFrame[Any], key: list[str], groups: list[str]) -> nw.LazyFrame[Any]:
    """Say of every coupon what ended it, in which hour since receipt, and how many seconds wide that instant is."""
    latest = latest_coupons(frame, key, [*groups, "received", "usable", "told", "open_at", "ended_at"])
    coupons = latest.filter(~nw.col("received").is_null()).with_columns(read=microseconds(latest, "fetched_at"))
    state, open_at = nw.col("coupon_state"), nw.col("open_at")
    is_ended, alive, gone = nw.col("is_ended"), nw.col("alive"), nw.col("gone")
    lives: nw.LazyFrame[Any] = (
        coupons.with_columns(
            alive=nw.coalesce("open_at", "usable"),
            gone=nw.col("ended_at"),
            is_ended=state.is_in(list(_ENDS)).fill_null(False),
        )
        .with_columns(
            cause=nw.when(is_ended).then(state).otherwise(nw.lit("OPEN")),
            end=nw.when(is_ended)
            .then(nw.coalesce(nw.col("told"), alive + (gone - alive) // 2))
            .otherwise(nw.when(state.is_in(OPEN)).then(nw.col("read")).otherwise(open_at)),
            width=nw.when(is_ended & nw.col("told").is_null()).then((gone - alive) // 1_000_000).otherwise(nw.lit(0)),
        )
        .filter(~nw.col("end").is_null())
        .with_columns(passed=nw.col("end") - nw.col("received"))
        # A clock that ran ahead may date an end before the receipt.
        .with_columns(hour=nw.when(nw.col("passed") > 0).then(nw.col("passed") // _HOUR).otherwise(nw.lit(0)))
    )
    return lives


def _curve(ends: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Estimate a group's curve from how many coupons ended by which cause in which hour, in order."""
    hours = np.array(sorted({int(end["hour"]) for end in ends}))
    place = {hour: index for index, hour in enumerate(hours)}
    counts = {cause: np.zeros(len(hours)) for cause in ("OPEN", *_ENDS)}
    for end in ends:
        counts[end["cause"]][place[int(end["hour"])]] += end["count"]
    ended: _Floats = np.sum([counts[cause] for cause in _ENDS], axis=0)
    at_risk: _Floats = (ended + counts["OPEN"])[::-1].cumsum()[::-1]
    survival = np.cumprod(1 - ended / at_risk)
    before = np.concatenate([[1.0], survival[:-1]])
    incidence = {cause: np.cumsum(before * counts[cause] / at_risk) for cause in _ENDS}
    variance = _variance(incidence["USED"], before, counts["USED"], ended, at_risk)
    deletions = counts["DELETED"].sum()
    width = sum(end["width"] for end in ends if end["cause"] == "DELETED")
    width_days = width / float(deletions) / 86_400 if deletions else None
    as_of = max((end["as_of"] for end in ends if end["as_of"] is not None), default=None)
    # After the last hour anybody was watched there is nothing to say, unless everything had ended.
    last = int(hours[-1]) // _DAY + (1 if counts["OPEN"][-1] == 0 and survival[-1] < 1e-12 else 0)
    curve = []
    for day in range(last + 1):
        passed = int(np.searchsorted(hours, day * _DAY))  # hours that lie wholly within so many days
        share = {cause: float(curve_[passed - 1]) if passed else 0.0 for cause, curve_ in incidence.items()}
        low, high = _interval(share["USED"], float(variance[passed - 1]) if passed else 0.0)
        curve.append(
            {
                "day": day,
                "at_risk": int(at_risk[passed]) if passed < len(hours) else 0,
                "used_share": share["USED"],
                "used_low": low,
                "used_high": high,
                "expired_share": share["EXPIRED"],
                "deleted_share": share["DELETED"],
                "deactivated_share": share["DEACTIVATED"],
                "open_share": float(survival[passed - 1]) if passed else 1.0,
                "deletion_width_days": width_days,
                "as_of": as_of,
            }
        )
    return curve


def _variance(incidence: _Floats, before: _Floats, used: _Floats, ended: _Floats, at_risk: _Floats) -> _Floats:
    """Give the delta method's variance of a cumulative incidence (Marubini and Valsecchi 1995, section 10.3).

    .. math:: \\sum_{t_j \\le t} (F(t) - F(t_j))^2 \\frac{d_j}{n_j (n_j - d_j)} + S(t_{j-1})^2 \\frac{d_{kj} (n_j - d_{kj})}{n_j^3}
        - 2 (F(t) - F(t_j)) S(t_{j-1}) \\frac{d_{kj}}{n_j^2}

    The powers of :math:`F(t)` are taken out of the sum, so that it is cumulative.
    """
    left = at_risk - ended
    # Where all that are at risk end, F(t) is F(t_j) from there on: the term is 0.
    hazard = np.divide(ended, at_risk * left, out=np.zeros_like(ended), where=left > 0)
    jump = before * used / at_risk**2
    squares = np.cumsum(hazard)
    mixed = np.cumsum(hazard * incidence + jump)
    rest = np.cumsum(hazard * incidence**2 + before**2 * used * (at_risk - used) / at_risk**3 + 2 * jump * incidence)
    variance: _Floats = incidence**2 * squares - 2 * incidence * mixed + rest
    return np.maximum(variance, 0)


def _interval(share: float, variance: float) -> tuple[float | None, float | None]:
    """Give the 95 % interval of a share on the scale of log(−log), where it cannot leave 0…1."""
    if not 0 < share < 1:
        return None, None
    z = NormalDist().inv_cdf(0.975)
    width = z * math.sqrt(variance) / (share * math.log(share))
    return share ** math.exp(-width), share ** math.exp(width)
