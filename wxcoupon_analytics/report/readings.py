"""What a store holds on one week: the only place of the report that reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from wxcoupon_analytics.errors import SnapshotError
from wxcoupon_analytics.report.weeks import Week

if TYPE_CHECKING:
    from wxcoupon_analytics.snapshots import SnapshotStore

ENTITIES: Final = ("product_coupons", "stocks", "user_coupons")
_LOOK_BACK: Final = timedelta(weeks=5)  # of stocks: what sends of two weeks and a chart of four rest on
_A_WEEK: Final = timedelta(days=7)
_TICK: Final = timedelta(microseconds=1)
_COUPON_COLUMNS: Final = (
    "brand_id",
    "product_coupon_id",
    "stock_id",
    "coupon_code",
    "openid",
    "appid",
    "coupon_state",
    "receive_time",
    "confirm_time",
    "valid_begin_time",
    "valid_end_time",
    "deactivate_time",
    "single_usage_detail_use_time",
    "progressive_bundle_usage_detail_use_time",
    "fetched_at",
)
_USES: Final = "sequential_usage_detail_detail_item_list"
_HISTORY_COLUMNS: Final = (
    "brand_id",
    "product_coupon_id",
    "stock_id",
    "coupon_code",
    "openid",
    "coupon_state",
    "receive_time",
    "fetched_at",
)


@dataclass(frozen=True)
class Readings:
    """The frames a report on one week is made of.

    Attributes
    ----------
    week : Week
    now, closing, closing_before : datetime
        When the report is made, and up to when snapshots tell of this week and of the one before: at the same hour.
    product_coupons, stocks, stocks_before : DataFrame
        The current state as of ``closing``; of stocks also as of ``closing_before``.
    stock_history : DataFrame
        Every reading of the last weeks, and the last one of stocks that were not read in them.
    coupons, coupons_before, coupons_opening : DuckDB relation
        User coupons as of both closings and as of ``opening``, with ``cohort`` (the ISO week of receipt) and ``used_at``.
    knows_coupons, knew_coupons : bool
        Whether there was any snapshot of user coupons by then; without one, no coupon says nothing.
    opening : datetime
        After when what snapshots find is of this week: what the first of them find still is of the week before.
    knew_at_opening : bool
        Whether user coupons had been fetched by then.
    knows_deletions, knew_deletions : bool
        Whether this week can be asked for deletions: what coupons were at ``opening`` was not pruned; and whether the week
        before can: this one is over, and coupons were known when that one began.
    coupon_history : DataFrame
        User coupons as they were two weeks before ``closing``, and every reading since; after a prune from ``opening`` on,
        and no rows where that cannot be told either.
    snapshots : DataFrame
        ``entity, taken_at, rows, complete`` of all snapshots up to ``closing``.
    """

    week: Week
    now: datetime
    closing: datetime
    closing_before: datetime
    product_coupons: pd.DataFrame
    stocks: pd.DataFrame
    stocks_before: pd.DataFrame
    stock_history: pd.DataFrame
    coupons: Any
    coupons_before: Any
    coupons_opening: Any
    knows_coupons: bool
    knew_coupons: bool
    opening: datetime
    knew_at_opening: bool
    knows_deletions: bool
    knew_deletions: bool
    coupon_history: pd.DataFrame
    snapshots: pd.DataFrame

    @property
    def is_over(self) -> bool:
        """Whether the week is over: one that still runs is not held against a whole one."""
        return self.week.end <= self.now


def read(store: SnapshotStore, week: Week, now: datetime) -> Readings:
    """Read what a store knows of a week.

    Raises
    ------
    SnapshotError
        It knows of no stocks by then, or of stocks of two brands under one id, or a file cannot be read.
    """
    closing = week.closing(now)
    before = closing - _A_WEEK
    snapshots = _snapshots(store)
    known = snapshots[snapshots["taken_at"] <= closing].reset_index(drop=True)
    if not (known["entity"] == "stocks").any():
        raise SnapshotError(_nothing_known(store, week, snapshots))
    coupons_since = known.loc[known["entity"] == "user_coupons", "taken_at"].min()
    coupons = _coupons(store, closing)
    coupons_before, is_told = _coupons_before(store, before, coupons)
    stocks = store.load("stocks", as_of=closing)
    _check_brands(store, stocks)

    def knew(at: datetime, then: Any) -> bool:
        """Tell whether coupons had been fetched by then: of a history that was pruned, what they were is what is left."""
        return bool(coupons_since <= at) or bool(then.limit(1).fetchall())

    is_over = week.end <= now
    opening = before if is_over else week.before.closing(now)
    coupons_opening = coupons_before if is_over else _coupons_before(store, opening, coupons)[0]
    coupon_history, told_since = _coupon_history(store, (before - _A_WEEK, opening), closing)
    return Readings(
        week=week,
        now=now,
        closing=closing,
        closing_before=before,
        product_coupons=store.load("product_coupons", as_of=closing),
        stocks=stocks,
        stocks_before=store.load("stocks", as_of=before),
        stock_history=_stock_history(store, week.start - _LOOK_BACK, closing, stocks),
        coupons=coupons,
        coupons_before=coupons_before,
        coupons_opening=coupons_opening,
        knows_coupons=bool(coupons_since <= closing),
        knew_coupons=is_told and knew(before, coupons_before),
        opening=opening,
        knew_at_opening=knew(opening, coupons_opening),
        knows_deletions=told_since is not None,
        knew_deletions=is_over and told_since == before - _A_WEEK and bool(coupons_since <= told_since),
        coupon_history=coupon_history,
        snapshots=known,
    )


def _snapshots(store: SnapshotStore) -> pd.DataFrame:
    listed = [store.snapshots(entity).assign(entity=entity) for entity in ENTITIES]
    found = pd.concat([listing for listing in listed if len(listing)] or listed[:1], ignore_index=True)
    return found[["entity", "taken_at", "rows", "complete"]].astype({"entity": "string"})


def _stock_history(store: SnapshotStore, since: datetime, until: datetime, stocks: pd.DataFrame) -> pd.DataFrame:
    """Read the history of stocks, and of those that it has no reading of the last one there is."""
    history = store.history("stocks", since=since, until=until)
    key = ["brand_id", "product_coupon_id", "stock_id"]
    is_missing = (
        stocks[key].merge(history[key].drop_duplicates(), on=key, how="left", indicator=True)["_merge"] == "left_only"
    )
    missing = stocks[is_missing.to_numpy()]
    return pd.concat([missing, history], ignore_index=True)[history.columns] if len(missing) else history


def _nothing_known(store: SnapshotStore, week: Week, snapshots: pd.DataFrame) -> str:
    stocks = snapshots.loc[snapshots["entity"] == "stocks", "taken_at"]
    first = "it has none at all" if stocks.empty else f"its first is of {stocks.min():%Y-%m-%d %H:%M}, Beijing time"
    return (
        f"{store!r} has no snapshot of stocks to report {week.name} from ({week.monday} to {week.days[-1]}): {first}. "
        "Fetch every day, with wxcoupon fetch or client.fetch.snapshot(store)"
    )


def _check_brands(store: SnapshotStore, stocks: pd.DataFrame) -> None:
    """Refuse stocks that only their brand tells apart: no table of a report has room for two of one id."""
    if (twice := stocks.loc[stocks["stock_id"].duplicated(keep=False)]).empty:
        return
    stock_id = twice["stock_id"].iloc[0]
    brands = ", ".join(sorted({repr(brand) for brand in twice.loc[twice["stock_id"] == stock_id, "brand_id"].dropna()}))
    raise SnapshotError(
        f"{store!r} has stock {stock_id!r} more than once, of the brands {brands}, and a report tells stocks "
        "apart by their ids: keep a store for each brand"
    )


def _coupons(store: SnapshotStore, as_of: datetime) -> Any:
    """Scan user coupons, with the ISO week of their receipt and when those of several uses were used."""
    scanned = store.scan("user_coupons", engine="duckdb", as_of=as_of, columns=[*_COUPON_COLUMNS, _USES])
    used_at = (
        "coalesce(single_usage_detail_use_time, progressive_bundle_usage_detail_use_time, "
        f"list_max([use.use_time FOR use IN {_USES}]))"
    )
    cohort = "strftime(timezone('Asia/Shanghai', receive_time), '%G-W%V')"
    columns: Sequence[str] = [*_COUPON_COLUMNS, f"{cohort} AS cohort", f"{used_at} AS used_at"]
    return scanned.project(", ".join(columns))


def _coupons_before(store: SnapshotStore, as_of: datetime, now: Any) -> tuple[Any, bool]:
    """Scan user coupons a week earlier, and say whether that can be told: of a history that was pruned it cannot."""
    try:
        return _coupons(store, as_of), True
    except SnapshotError:
        return now.limit(0), False


def _coupon_history(
    store: SnapshotStore, since: Sequence[datetime], until: datetime
) -> tuple[pd.DataFrame, datetime | None]:
    """Read what every coupon was at the first of some instants that can be told, every reading after it, and say which it is.

    Of a pruned history, readings alone would not do: a change shows only beside what the coupon was before.
    """
    columns = list(_HISTORY_COLUMNS)
    for at in since:
        try:
            held = store.load("user_coupons", as_of=at, columns=columns)
        except SnapshotError:
            continue
        later = store.history("user_coupons", since=at + _TICK, until=until)[columns]
        return pd.concat([held, later], ignore_index=True), at
    return store.load("user_coupons", as_of=until, columns=columns)[:0], None
