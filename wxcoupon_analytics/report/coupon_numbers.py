"""What a weekly report says of user coupons that no metric says: see :mod:`wxcoupon_analytics.report.numbers`."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

import pandas as pd

from wxcoupon_analytics.entities.fields import FINAL_STATES
from wxcoupon_analytics.report.numbers import by_stock, change, frame, rows_of
from wxcoupon_analytics.report.weeks import Week


def used_in(coupons: Any, week: Week) -> pd.DataFrame:
    """Count the coupons used in a week, by stock: in state USED, and used within it. A use taken back is none.

    Parameters
    ----------
    coupons : DuckDB relation
        Current user coupons with ``used_at``, one row a coupon. A coupon of several uses is used with the last of them.
    week : Week

    Returns
    -------
    DataFrame
        ``stock_id`` (string), ``used_count`` (Int64, coupons); stocks without a use have no row.
    """
    within = f"used_at >= '{week.start.isoformat()}' AND used_at < '{week.end.isoformat()}'"
    counted = (
        coupons.filter(f"coupon_state = 'USED' AND {within}")
        .aggregate("stock_id, count(*) AS used_count", "stock_id")
        .order("stock_id")
    )
    return frame(counted.fetchall(), stock_id="text", used_count="count")


_FINAL: Final = ", ".join(f"'{state}'" for state in FINAL_STATES)


def told_after(coupons: Any, week: Week) -> Any:
    """Keep the coupons that tell how the week ended for them: read after it, or in a state that is final."""
    return coupons.filter(f"NOT ({_may_have_changed(week)})")


def _may_have_changed(week: Week) -> str:
    return f"coupon_state IS NULL OR (coupon_state NOT IN ({_FINAL}) AND fetched_at < '{week.end.isoformat()}')"


def unread_after(coupons: Any, week: Week) -> pd.DataFrame:
    """Count the coupons, by stock, that may have been used, returned or deleted in a week after they were last read.

    Parameters
    ----------
    coupons : DuckDB relation
        As for :func:`used_in`.
    week : Week

    Returns
    -------
    DataFrame
        ``stock_id`` (string), ``unread_count`` (Int64, coupons): still valid in the week, and last read before its end in a
        state that is not final (nor is USED, which a return undoes), or asked for and not there; stocks without such a
        coupon have no row.
    """
    was_valid = f"coalesce(valid_end_time > '{week.start.isoformat()}', true)"
    counted = (
        coupons.filter(f"({_may_have_changed(week)}) AND {was_valid}")
        .aggregate("stock_id, count(*) AS unread_count", "stock_id")
        .order("stock_id")
    )
    return frame(counted.fetchall(), stock_id="text", unread_count="count")


def redeemed_value(
    used: pd.DataFrame, used_before: pd.DataFrame, used_to_date: pd.DataFrame, budget_use: pd.DataFrame
) -> pd.DataFrame:
    """Estimate the face value of the coupons used, by the basis of their discount: never added up across bases.

    .. math:: value = \\sum_{stocks} discount \\times used

    Parameters
    ----------
    used, used_before, used_to_date : DataFrame
        ``stock_id, used_count``: used in the week, in the week before, and ever.
    budget_use : DataFrame
        Of :func:`~wxcoupon_analytics.metrics.budget.budget_use`, for ``discount_fen`` and ``discount_basis``.

    Returns
    -------
    DataFrame
        One row a basis with a coupon used: ``discount_basis`` (string); ``used_count``, ``previous_used_count``,
        ``used_to_date_count`` (Int64, coupons); ``value_fen``, ``previous_value_fen``, ``value_to_date_fen`` (Int64,
        fen; null when the discount is not known); ``change_share`` (Float64, of the value). A fixed discount makes a
        ceiling (a user may pay less than it), one at the threshold a floor.
    """
    worth = {stock: rest for stock, *rest in rows_of(budget_use, "stock_id", "discount_fen", "discount_basis")}
    sums: dict[str, list[int | None]] = {}
    for place, counts in enumerate((used, used_before, used_to_date)):
        for stock, count in rows_of(counts, "stock_id", "used_count"):
            fen, basis = worth.get(stock, (None, "unknown"))
            if not count:
                continue
            total = sums.setdefault(basis, [0, 0, 0, *([None] * 3 if fen is None else [0] * 3)])
            total[place] = (total[place] or 0) + count
            if fen is not None:
                total[place + 3] = (total[place + 3] or 0) + fen * count
    order = ["fixed", "at_threshold", "price_difference", "unknown"]
    found = [(basis, *sums[basis], change(sums[basis][3], sums[basis][4])[1]) for basis in order if basis in sums]
    return frame(
        found,
        discount_basis="text",
        used_count="count",
        previous_used_count="count",
        used_to_date_count="count",
        value_fen="count",
        previous_value_fen="count",
        value_to_date_fen="count",
        change_share="share",
    )


COHORT_DAYS: Final = (1, 3, 7, 14, 28)


def cohort_shares(redemption_curve: pd.DataFrame, received: pd.DataFrame) -> pd.DataFrame:
    """Take from each cohort's curve the share used within so many days of receipt.

    Parameters
    ----------
    redemption_curve : DataFrame
        Of :func:`~wxcoupon_analytics.metrics.redemption.redemption_curve`, by ``cohort``.
    received : DataFrame
        Of :func:`~wxcoupon_analytics.metrics.funnel.coupon_funnel`, by ``cohort``.

    Returns
    -------
    DataFrame
        One row a cohort, the last received last: ``cohort`` (string, the ISO week of receipt); ``received_count``,
        ``used_count`` (Int64, coupons known); ``used_share_1d``, … ``used_share_28d`` (Float64, 0–1; null where no coupon
        of the cohort was watched that long).
    """
    curve = {(c, day): share for c, day, share in rows_of(redemption_curve, "cohort", "day", "used_share")}
    counts = {(c, stage): count for c, stage, count in rows_of(received, "cohort", "stage", "count")}
    cohorts = sorted({cohort for cohort, _ in counts if cohort is not None})
    return frame(
        (
            (c, counts[c, "received"], counts[c, "used"], *(curve.get((c, days)) for days in COHORT_DAYS))
            for c in cohorts
        ),
        cohort="text",
        received_count="count",
        used_count="count",
        **{f"used_share_{days}d": "share" for days in COHORT_DAYS},
    )


def overall_coverage(coverage: pd.DataFrame) -> float | None:
    """Say which share of all coupons sent is known: the sum of the known by the sum of the sent, over stocks that are known.

    Parameters
    ----------
    coverage : DataFrame
        Of :func:`~wxcoupon_analytics.metrics.known.coverage`.
    """
    sums = [(known, sent) for known, sent in rows_of(coverage, "known_count", "sent_count") if sent is not None]
    sent = sum(sent for _, sent in sums)
    return sum(known for known, _ in sums) / sent if sent else None


def stuck_by_stock(confirming_age: pd.DataFrame, *, longer_than: timedelta) -> pd.DataFrame:
    """Count by stock the coupons that had waited for their confirmation longer than a time when they were last read.

    Parameters
    ----------
    confirming_age : DataFrame
        Of :func:`~wxcoupon_analytics.metrics.confirming.confirming_age`.
    longer_than : timedelta

    Returns
    -------
    DataFrame
        ``product_coupon_id``, ``stock_id`` (string), ``stuck_count`` (Int64, coupons), ``longest_age`` (duration: from
        receipt to the last reading, for it may have been confirmed since), ``most_burnt_share``
        (Float64, 0–1: of the validity of the one that has lost most), the most first.
    """
    waited = confirming_age["as_of"] - confirming_age["receive_time"]
    waiting = confirming_age.assign(waited=waited)[(waited > longer_than).fillna(False)]
    found = []
    for key, rows in by_stock(waiting, "waited", "burnt_share"):
        burnt = [share for _, share in rows if share is not None]
        found.append((*key, len(rows), max(age for age, _ in rows), max(burnt, default=None)))
    found.sort(key=lambda row: -row[2])
    return frame(
        found,
        product_coupon_id="text",
        stock_id="text",
        stuck_count="count",
        longest_age="age",
        most_burnt_share="share",
    )


def deletions_by_stock(
    deletions: pd.DataFrame, week: Week, *, opening: datetime, since: datetime | None, unread: pd.DataFrame | None
) -> pd.DataFrame:
    """Count by stock the coupons that users deleted, which no callback reports, as snapshots found them.

    Parameters
    ----------
    deletions : DataFrame
        One row a coupon found deleted: ``product_coupon_id, stock_id, from_state, changed_after, as_of``. It was deleted
        after ``changed_after`` (null: nobody knows when), and not after ``as_of``.
    week : Week
    opening : datetime
        What is found after it is this week's; what is found up to it, and after ``since``, the week before's.
    since : datetime, optional
        None when the week before is not known.
    unread : DataFrame, optional
        Of :func:`unread_after`: what may have been deleted besides. None when nobody knows how many.

    Returns
    -------
    DataFrame
        ``product_coupon_id``, ``stock_id`` (string); ``deleted_count`` (Int64, coupons found that were certainly deleted in
        the week) and ``deleted_count_at_most`` (with those undated and those unread; null when nobody knows how many);
        ``undated_count`` (Int64, coupons found that were deleted in the week or before it: they were last read before it, or never);
        ``previous_deleted_count`` (Int64; null when one of either week may be of another);
        ``deleted_usable_count`` (Int64: of ``deleted_count`` those that were EFFECTIVE, and could have been used), the most
        first.
    """
    begin = week.before.start
    may_be = dict(rows_of(unread, "stock_id", "unread_count")) if unread is not None else {}
    found = []
    for key, rows in by_stock(deletions, "from_state", "changed_after", "as_of"):
        now = [(state, after) for state, after, at in rows if at > opening]
        certain = [state for state, after in now if after is not None and after >= week.start]
        before = [after for _, after, at in rows if since is not None and since < at <= opening]
        undated = len(now) - len(certain)
        is_told = since is not None and not undated and all(after and after >= begin for after in before)
        then = len(before) if is_told else None
        most = None if unread is None else len(now) + may_be.get(key[1], 0)
        if now or before:
            found.append((*key, len(certain), most, undated, then, certain.count("EFFECTIVE")))
    found.sort(key=lambda row: -row[2])
    return frame(
        found,
        product_coupon_id="text",
        stock_id="text",
        deleted_count="count",
        deleted_count_at_most="count",
        undated_count="count",
        previous_deleted_count="count",
        deleted_usable_count="count",
    )
