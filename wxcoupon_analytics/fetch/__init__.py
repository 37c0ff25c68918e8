"""From the API to frames and into stores: many questions at once, up to the documented rates, flattened by Arrow.

``Fetch`` is what ``client.fetch`` is. ``asked`` and ``known`` say whom to ask, ``line`` asks, ``into_store`` is the long
fetch and ``into_frame`` the short one, ``spool`` keeps what a long one was told, ``outcome`` is what comes of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal, overload

import pandas as pd
import pyarrow as pa

from wxcoupon_analytics.entities.doubles import once_each
from wxcoupon_analytics.entities.flatten import flatten_pages, to_frame
from wxcoupon_analytics.entities.schemas import FLAG, NUMBER, TEXT, TIME, frame_of
from wxcoupon_analytics.errors import ValidationError
from wxcoupon_analytics.fetch.asked import Asked, distinct
from wxcoupon_analytics.fetch.into_frame import pages_of
from wxcoupon_analytics.fetch.into_store import IntoStore, Request
from wxcoupon_analytics.fetch.known import can_change, learn, must_hold_openids, product_coupons_of
from wxcoupon_analytics.fetch.line import Line
from wxcoupon_analytics.fetch.outcome import Failures, Fetched, failures_frame
from wxcoupon_analytics.loop import BackgroundLoop
from wxcoupon_analytics.wire.endpoints import MAX_PAGE_SIZE
from wxcoupon_analytics.wire.exchange import Exchange
from wxcoupon_analytics.wire.questions import Question, ask

if TYPE_CHECKING:
    from wxcoupon_analytics.snapshots import SnapshotStore

__all__ = ["Fetch", "Fetched"]

OnError = Literal["raise", "collect"]
_HALF_A_DAY = timedelta(hours=12)  # less than a day: a nightly fetch must not take up the one that failed last night
# An order of WeChat Pay can be refunded for a year (交易时间超过一年的订单无法提交退款).
_A_YEAR = timedelta(days=365)
_SAVED = pa.schema([("entity", TEXT), ("rows", NUMBER), ("taken_at", TIME), ("path", TEXT), ("complete", FLAG)])


class Fetch:
    """Frames from the API: every column of the entity's schema, always, with the declared dtypes.

    ``fetched_at`` is the platform's own clock: the verified ``Wechatpay-Timestamp`` of the answer a row came in (with a
    client's ``clock``, that clock instead). The first error ends a fetch, unless it is told to collect them; nothing
    partial is returned as if it were whole.
    """

    def __init__(
        self,
        loop: BackgroundLoop,
        exchange: Exchange,
        *,
        clock: Callable[[], datetime] | None,
        sends: Callable[[], Iterable[tuple[str, str]]] = lambda: (),
    ) -> None:
        self._line = Line(loop, exchange, clock)
        self._sends = sends

    def product_coupons(self, ids: Iterable[str], *, show_progress: bool | None = None) -> pd.DataFrame:
        """Fetch product coupons by id.

        There is no endpoint that lists a brand's product coupons: keep the ids you create.

        Parameters
        ----------
        ids : iterable of str
        show_progress : bool, optional
            None: only where someone is watching.

        Returns
        -------
        DataFrame
            One row per product coupon, in the order asked, duplicates once; columns as
            ``wx.describe("product_coupons")``, key ``brand_id, product_coupon_id``.

        Raises
        ------
        NotFoundError
            An id is not this brand's.
        ApiError, TransportError, VerificationError
            See :class:`~wxcoupon_analytics.api.Api`.

        Examples
        --------
        >>> import wxcoupon_analytics as wx
        >>> with wx.Sandbox(seed=7) as box, box.client() as client:
        ...     frame = client.fetch.product_coupons(box.truth("product_coupons")["product_coupon_id"])
        >>> frame["display_info_name"].notna().all()
        np.True_

        Notes
        -----
        Source: 查询商品券, ``GET product-coupons/{product_coupon_id}``.
        """
        questions = [self._ask("get_product_coupon", {"product_coupon_id": i}) for i in distinct("ids", ids)]
        pages = pages_of(self._line, questions, what="product coupons", show_progress=show_progress)
        return to_frame("product_coupons", flatten_pages("product_coupons", pages))

    def stocks(
        self, product_coupon_ids: Iterable[str], *, state: str | None = None, show_progress: bool | None = None
    ) -> pd.DataFrame:
        """Fetch all stocks of some product coupons, with their counters.

        Parameters
        ----------
        product_coupon_ids : iterable of str
        state : str, optional
            Only stocks in this state: AUDITING, SENDING, PAUSED, STOPPED or DEACTIVATED.
        show_progress : bool, optional

        Returns
        -------
        DataFrame
            One row per stock; columns as ``wx.describe("stocks")``, key ``brand_id, product_coupon_id, stock_id``.
            ``sent_count_info_today_count`` counts since Beijing midnight of ``fetched_day``.

        Raises
        ------
        ApiError, TransportError, VerificationError
            See :class:`~wxcoupon_analytics.api.Api`. VerificationError too when an answer holds another product
            coupon's stocks.

        Notes
        -----
        Source: 查询商品券批次列表, ``GET product-coupons/{product_coupon_id}/stocks``.
        """
        query: dict[str, str | int | None] = {"state": state, "page_size": MAX_PAGE_SIZE}
        ids = distinct("product_coupon_ids", product_coupon_ids)
        questions = [self._ask("list_stocks", {"product_coupon_id": i}, query) for i in ids]
        pages = pages_of(self._line, questions, what="stocks", show_progress=show_progress)
        return to_frame("stocks", once_each("stocks", flatten_pages("stocks", pages)))

    @overload
    def user_coupons(
        self,
        openids: Iterable[str],
        *,
        appid: str,
        product_coupon_id: str | None = ...,
        stock_id: str | None = ...,
        coupon_state: str | None = ...,
        store: None = ...,
        on_error: Literal["raise"] = ...,
        resume: bool = ...,
        resume_within: timedelta = ...,
        show_progress: bool | None = ...,
    ) -> pd.DataFrame: ...

    @overload
    def user_coupons(
        self,
        openids: Iterable[str],
        *,
        appid: str,
        product_coupon_id: str | None = ...,
        stock_id: str | None = ...,
        coupon_state: str | None = ...,
        store: None = ...,
        on_error: Literal["collect"],
        resume: bool = ...,
        resume_within: timedelta = ...,
        show_progress: bool | None = ...,
    ) -> tuple[pd.DataFrame, pd.DataFrame]: ...

    @overload
    def user_coupons(
        self,
        openids: Iterable[str],
        *,
        appid: str,
        product_coupon_id: str | None = ...,
        stock_id: str | None = ...,
        coupon_state: str | None = ...,
        store: SnapshotStore,
        on_error: OnError = ...,
        resume: bool = ...,
        resume_within: timedelta = ...,
        show_progress: bool | None = ...,
    ) -> Fetched: ...

    def user_coupons(
        self,
        openids: Iterable[str],
        *,
        appid: str,
        product_coupon_id: str | None = None,
        stock_id: str | None = None,
        coupon_state: str | None = None,
        store: SnapshotStore | None = None,
        on_error: OnError = "raise",
        resume: bool = True,
        resume_within: timedelta = _HALF_A_DAY,
        show_progress: bool | None = None,
    ) -> pd.DataFrame | tuple[pd.DataFrame, pd.DataFrame] | Fetched:
        """Fetch the coupons of users, one user at a time: no endpoint lists all coupons.

        Into a ``store``, a fetch may be of any length: its memory does not grow with the number of users, and every page
        is kept on disk before it counts. When it ends early (Stop, an error, ``kill -9``), the same call goes on from
        there: who was answered is not asked again, a list half read goes on at its next page.

        Parameters
        ----------
        openids : iterable of str
            Users' ids under ``appid``; duplicates are asked once, a generator is welcome. An answer has no openid: it is
            carried over from the question, and so is the appid.
        appid : str
            The app the openids belong to; it must be bound to the brand.
        product_coupon_id, stock_id, coupon_state : str, optional
            Only coupons of this product coupon, of this stock, in this state.
        store : SnapshotStore, optional
            Where the coupons go, part by part, instead of into a frame. A coupon that the store knows and an answer
            should have had is asked for by itself, so that its new state is known; one that cannot be found has a null
            ``coupon_state`` from then on.
        on_error : {"raise", "collect"}
            ``"raise"``: the first user whose question fails for good ends the fetch. ``"collect"``: such users are left
            out and come as a frame. What is not about one user ends the fetch all the same: an answer that is not
            authentic (VerificationError), a signature that is not accepted (AuthenticationError), an appid that is not
            bound to the brand or a right that it lacks (``NO_AUTH``), or nothing but silence and failures of the
            platform for 200 users in a row.
        resume : bool, default True
            With a store: go on from where the same fetch (brand, appid, filters, openids in any order, store) ended
            early. False begins anew.
        resume_within : timedelta, default 12 hours
            An unfinished fetch that was begun longer ago is not gone on with but begun anew; what it had stored stays.
        show_progress : bool, optional
            None: only where someone is watching.

        Returns
        -------
        DataFrame
            Without a store: one row per coupon, in the order of ``openids``; columns as ``wx.describe("user_coupons")``,
            key ``brand_id, stock_id, coupon_code``. With ``on_error="collect"`` a tuple of that frame and the failures.
        Fetched
            With a store: counts, and the ``failures``.

        Raises
        ------
        ApiError, TransportError, VerificationError
            See :class:`~wxcoupon_analytics.api.Api`.
        SnapshotError
            With a store: another process is at this same fetch, or the disk does not take what was answered.
        ValidationError
            An openid is empty or no text; nothing was asked.

        Examples
        --------
        >>> import wxcoupon_analytics as wx
        >>> with wx.Sandbox(seed=7) as box, box.client() as client:
        ...     strangers, someone = box.foreign_openids()[:2], box.openids()[:1]
        ...     coupons, failures = client.fetch.user_coupons(strangers + someone, appid=box.appid, on_error="collect")
        >>> len(coupons) > 0, failures["numeric_code"].tolist()
        (True, [268578532, 268578532])

        Notes
        -----
        Source: 指定券状态查询用户商品券列表, ``GET users/{openid}/coupons``; for coupons that an answer lacked
        查询用户商品券详情, ``GET users/{openid}/coupons/{coupon_code}``.
        """
        filters = {"product_coupon_id": product_coupon_id, "stock_id": stock_id, "coupon_state": coupon_state}
        given = {name: value for name, value in filters.items() if value is not None}
        _check_on_error(on_error)
        if store is None:
            return self._frame_of_user_coupons(openids, appid, given, on_error, show_progress)
        with Asked(openids, stored_as=store.pseudonym) as asked:
            request = Request(asked.digest, appid, given, on_error, resume, resume_within)
            return self._into_store(store, request, asked, show_progress)

    def refresh(
        self,
        store: SnapshotStore,
        *,
        appid: str,
        openids: Iterable[str] | None = None,
        returns_within: timedelta | None = _A_YEAR,
        on_error: OnError = "raise",
        resume: bool = True,
        resume_within: timedelta = _HALF_A_DAY,
        show_progress: bool | None = None,
    ) -> Fetched:
        """Fetch only the users who, by what the store last saw, hold a coupon that can have changed.

        A coupon can change unless it was ``EXPIRED``, ``DELETED`` or ``DEACTIVATED``: these are final. ``CONFIRMING``,
        ``PENDING`` and ``EFFECTIVE`` lead on; a null state (the coupon was not where it should have been) and one that
        these pages do not know may be anything by now. ``USED`` is left by a return (退券), which makes it ``EFFECTIVE``
        again. Every coupon of such a user is fetched, new ones too; who holds none that can change gets no question, so
        that new coupons of those come with :meth:`snapshot` or :meth:`user_coupons`.

        Parameters
        ----------
        store : SnapshotStore
        appid : str
            Only users of this app.
        openids : iterable of str, optional
            Only these of them. A store of pseudonyms needs them.
        returns_within : timedelta or None, default 365 days
            A coupon used longer ago counts as final. No page of the coupon API limits returns; the default is how long an
            order of WeChat Pay can be refunded. None: no limit.
        on_error, resume, resume_within, show_progress
            As for :meth:`user_coupons`.

        Returns
        -------
        Fetched

        Raises
        ------
        ValidationError
            The store keeps pseudonyms, and no openids were given.
        ApiError, TransportError, VerificationError, SnapshotError
            As for :meth:`user_coupons`.

        Examples
        --------
        >>> import tempfile
        >>> import wxcoupon_analytics as wx
        >>> store = wx.SnapshotStore(tempfile.mkdtemp())
        >>> with wx.Sandbox(seed=7) as box, box.client() as client:
        ...     _ = client.fetch.user_coupons(box.openids()[:100], appid=box.appid, store=store)
        ...     _ = box.advance(hours=6)
        ...     refreshed = client.fetch.refresh(store, appid=box.appid)
        >>> refreshed.users < 100, refreshed.changed > 0
        (True, True)
        """
        _check_on_error(on_error)
        if openids is None:
            must_hold_openids(store)
        where = can_change(returns_within, self._line.now())
        held = store.load("user_coupons", columns=["brand_id", "appid", "openid"], where=where)
        ours = (held["brand_id"] == self._line.exchange.credentials.brand_id) & (held["appid"] == appid)
        changeable = held.loc[ours, "openid"].dropna().drop_duplicates()
        with ExitStack() as stack:
            if openids is None:
                asked, name = stack.enter_context(Asked(changeable)), "refresh"
            else:
                only = frozenset(changeable)
                asked = stack.enter_context(Asked(openids, stored_as=store.pseudonym, only=only))
                name = f"refresh {asked.digest}"
            request = Request(name, appid, {}, on_error, resume, resume_within)
            return self._into_store(store, request, asked, show_progress)

    def snapshot(
        self,
        store: SnapshotStore,
        *,
        product_coupon_ids: Iterable[str] | None = None,
        openids: Iterable[str] | None = None,
        appid: str | None = None,
        on_error: OnError = "raise",
        resume: bool = True,
        show_progress: bool | None = None,
    ) -> pd.DataFrame:
        """Fetch product coupons, their stocks and users' coupons into a store.

        Parameters
        ----------
        store : SnapshotStore
        product_coupon_ids : iterable of str, optional
            None: those of this brand that the store knows of.
        openids : iterable of str, optional
            None: everyone the store ever heard of, coupon or not: who was asked before, who stands in an event saved in
            it, and whom this client's journal has a send to; each under the appid they were met with.
        appid : str, optional
            Needed with ``openids``; without, only users of this app.
        on_error : {"raise", "collect"}
            For users' coupons, see :meth:`user_coupons`: what was collected makes their snapshot incomplete.
        resume : bool, default True
            Whether users' coupons go on from where an earlier run ended early.
        show_progress : bool, optional

        Returns
        -------
        DataFrame
            One row per entity saved (and, for users' coupons, per appid): ``entity`` (string), ``rows`` (Int64, fetched),
            ``taken_at`` (datetime64[us, Asia/Shanghai]), ``path`` (string; null when nothing was new), ``complete``
            (boolean; false when a user's question failed).

        Raises
        ------
        ValidationError
            The store knows of none and none were given, it keeps pseudonyms and no openids were given, or ``openids``
            came without ``appid``.
        """
        _check_on_error(on_error)
        if openids is not None and appid is None:
            raise ValidationError("openids need the appid they belong to: an openid is valid under one appid only")
        if openids is None:
            must_hold_openids(store)
        if product_coupon_ids is None:
            product_coupon_ids = product_coupons_of(self._line.exchange.credentials.brand_id, store)
        ids = distinct("product_coupon_ids", product_coupon_ids)
        if not ids:
            raise ValidationError("product_coupon_ids names none: leave it out for those that the store knows of")
        saved: list[tuple[object, ...]] = []
        for entity, frame in (
            ("product_coupons", self.product_coupons(ids, show_progress=show_progress)),
            ("stocks", self.stocks(ids, show_progress=show_progress)),
        ):
            kept = store.save(entity, frame)
            saved.append((entity, kept.rows, kept.taken_at, str(kept.path), True))
        for each_appid, asked, name in self._everyone(store, openids, appid):
            with asked:
                request = Request(name or asked.digest, each_appid, {}, on_error, resume, _HALF_A_DAY)
                fetched = self._into_store(store, request, asked, show_progress)
            saved.append(("user_coupons", fetched.coupons, fetched.ended_at, fetched.path, fetched.complete))
        return frame_of(pa.Table.from_pylist([dict(zip(_SAVED.names, row, strict=True)) for row in saved], _SAVED))

    def _everyone(
        self, store: SnapshotStore, openids: Iterable[str] | None, appid: str | None
    ) -> Iterable[tuple[str, Asked, str | None]]:
        """Give whom to ask, app by app; a name for those whom the store named."""
        if openids is not None:
            yield appid or "", Asked(openids, stored_as=store.pseudonym), None
            return
        learn(store, self._sends())
        for each_appid, group in store.openids(appid=appid).groupby("appid"):
            yield str(each_appid), Asked(group["openid"]), "everyone"

    def _into_store(self, store: SnapshotStore, request: Request, asked: Asked, show_progress: bool | None) -> Fetched:
        return IntoStore(self._line, store, request).run(asked, show_progress=show_progress)

    def _frame_of_user_coupons(
        self,
        openids: Iterable[str],
        appid: str,
        filters: dict[str, str],
        on_error: OnError,
        show_progress: bool | None,
    ) -> pd.DataFrame | tuple[pd.DataFrame, pd.DataFrame]:
        users = distinct("openids", openids)
        query: dict[str, str | int | None] = {"appid": appid, **filters, "page_size": MAX_PAGE_SIZE}
        questions = [self._ask("list_user_coupons", {"openid": user}, query) for user in users]
        failures = Failures() if on_error == "collect" else None
        pages = pages_of(
            self._line, questions, what="users", show_progress=show_progress, appid=appid, failures=failures
        )
        frame = to_frame("user_coupons", once_each("user_coupons", flatten_pages("user_coupons", pages)))
        return frame if failures is None else (frame, failures_frame(failures.items()))

    def _ask(self, name: str, path: dict[str, str], query: dict[str, str | int | None] | None = None) -> Question:
        return ask(self._line.exchange.credentials, name, path, query=query)


def _check_on_error(on_error: object) -> None:
    if on_error not in ("raise", "collect"):
        raise ValidationError(f"on_error is 'raise' or 'collect', not {on_error!r}")
