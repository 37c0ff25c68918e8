"""From the API to frames: many questions at once, up to the documented rates, flattened by Arrow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import pandas as pd

from wxcoupon_analytics.entities.doubles import once_each
from wxcoupon_analytics.entities.flatten import Page, flatten_pages, to_frame
from wxcoupon_analytics.errors import ValidationError
from wxcoupon_analytics.loop import BackgroundLoop, map_bounded
from wxcoupon_analytics.progress import bar
from wxcoupon_analytics.wire.endpoints import MAX_PAGE_SIZE
from wxcoupon_analytics.wire.exchange import IN_FLIGHT, Answer, Exchange
from wxcoupon_analytics.wire.questions import Question, ask

if TYPE_CHECKING:
    from wxcoupon_analytics.snapshots import SnapshotStore


class Fetch:
    """Frames from the API: every column of the entity's schema, always, with the declared dtypes.

    ``fetched_at`` is the platform's own clock: the verified ``Wechatpay-Timestamp`` of the answer a row came in (with a
    client's ``clock``, that clock instead). The first error ends a fetch; nothing partial is returned as if it were whole.
    """

    def __init__(self, loop: BackgroundLoop, exchange: Exchange, *, clock: Callable[[], datetime] | None) -> None:
        self._loop = loop
        self._exchange = exchange
        self._clock = clock

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
        questions = [
            ask(self._exchange.credentials, "get_product_coupon", {"product_coupon_id": i}) for i in _texts("ids", ids)
        ]
        pages = self._pages(questions, what="product coupons", show_progress=show_progress)
        return to_frame("product_coupons", flatten_pages("product_coupons", (p for group in pages for p in group)))

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
        query = {"state": state, "page_size": MAX_PAGE_SIZE}
        ids = _texts("product_coupon_ids", product_coupon_ids)
        questions = [ask(self._exchange.credentials, "list_stocks", {"product_coupon_id": i}, query=query) for i in ids]
        groups = self._pages(questions, what="stocks", show_progress=show_progress)
        table = flatten_pages("stocks", (p for group in groups for p in group))
        return to_frame("stocks", once_each("stocks", table))

    def user_coupons(
        self,
        openids: Iterable[str],
        *,
        appid: str,
        product_coupon_id: str | None = None,
        stock_id: str | None = None,
        coupon_state: str | None = None,
        show_progress: bool | None = None,
    ) -> pd.DataFrame:
        """Fetch the coupons of users, one user at a time: no endpoint lists all coupons.

        Parameters
        ----------
        openids : iterable of str
            A user's ids under ``appid``; duplicates are asked once. An answer has no openid: it is carried over from
            the question, and so is the appid.
        appid : str
            The app the openids belong to; it must be bound to the brand.
        product_coupon_id, stock_id, coupon_state : str, optional
            Only coupons of this product coupon, of this stock, in this state.
        show_progress : bool, optional

        Returns
        -------
        DataFrame
            One row per coupon, in the order of ``openids``; columns as ``wx.describe("user_coupons")``, key
            ``brand_id, stock_id, coupon_code``.

        Raises
        ------
        ApiError, TransportError, VerificationError
            See :class:`~wxcoupon_analytics.api.Api`.

        Notes
        -----
        Source: 指定券状态查询用户商品券列表, ``GET users/{openid}/coupons``.
        """
        query = {
            "appid": appid,
            "product_coupon_id": product_coupon_id,
            "stock_id": stock_id,
            "coupon_state": coupon_state,
            "page_size": MAX_PAGE_SIZE,
        }
        users = _texts("openids", openids)
        questions = [ask(self._exchange.credentials, "list_user_coupons", {"openid": u}, query=query) for u in users]
        groups = self._pages(questions, what="users", show_progress=show_progress, openids=users, appid=appid)
        table = flatten_pages("user_coupons", (p for group in groups for p in group))
        return to_frame("user_coupons", once_each("user_coupons", table))

    def snapshot(
        self,
        store: SnapshotStore,
        *,
        product_coupon_ids: Iterable[str] | None = None,
        openids: Iterable[str] | None = None,
        appid: str | None = None,
        show_progress: bool | None = None,
    ) -> pd.DataFrame:
        """Fetch product coupons, their stocks and users' coupons, and save each as a snapshot.

        Parameters
        ----------
        store : SnapshotStore
        product_coupon_ids : iterable of str, optional
            None: those the store knows of.
        openids : iterable of str, optional
            None: those of whom the store has seen a coupon, each under the appid it was asked with. Someone who held
            none yet must be named again.
        appid : str, optional
            Needed with ``openids``.

        Returns
        -------
        DataFrame
            One row per entity saved: ``entity`` (string), ``rows`` (Int64), ``taken_at`` (datetime64[us, Asia/Shanghai]),
            ``path`` (string).

        Raises
        ------
        ValidationError
            The store knows of none and none were given, or ``openids`` came without ``appid``.
        """
        if openids is not None and appid is None:
            raise ValidationError("openids need the appid they belong to: an openid is valid under one appid only")
        if product_coupon_ids is None:
            product_coupon_ids = store.load("product_coupons", columns=["product_coupon_id"])["product_coupon_id"]
        ids = _texts("product_coupon_ids", product_coupon_ids)
        if not ids:
            raise ValidationError("the store knows of no product coupons yet: pass product_coupon_ids the first time")
        frames = {
            "product_coupons": self.product_coupons(ids, show_progress=show_progress),
            "stocks": self.stocks(ids, show_progress=show_progress),
        }
        if openids is not None:
            asked = {appid or "": _texts("openids", openids)}
        else:
            known = store.load("user_coupons", columns=["appid", "openid"]).drop_duplicates()
            asked = {str(a): list(g) for a, g in known.groupby("appid")["openid"] if appid in (None, a)}
        parts = [self.user_coupons(users, appid=a, show_progress=show_progress) for a, users in asked.items()]
        if parts:
            frames["user_coupons"] = pd.concat(parts, ignore_index=True) if len(parts) > 1 else parts[0]
        saved = [(entity, store.save(entity, frame)) for entity, frame in frames.items()]
        return pd.DataFrame(
            {
                "entity": pd.array([entity for entity, _ in saved], dtype="string"),
                "rows": pd.array([s.rows for _, s in saved], dtype="Int64"),
                "taken_at": pd.Series([s.taken_at for _, s in saved], dtype="datetime64[us, Asia/Shanghai]"),
                "path": pd.array([str(s.path) for _, s in saved], dtype="string"),
            }
        )

    def _pages(
        self,
        questions: Sequence[Question],
        *,
        what: str,
        show_progress: bool | None,
        openids: Sequence[str] | None = None,
        appid: str | None = None,
    ) -> list[list[Page]]:
        """Ask all questions, all pages of each; every page knows what it answers."""
        brand_id = self._exchange.credentials.brand_id

        async def one(numbered: tuple[int, Question]) -> list[Page]:
            index, question = numbered
            answers = await (self._exchange.pages(question) if question.endpoint.items else self._single(question))
            openid = openids[index] if openids is not None else None
            return [Page(a.content, self._fetched_at(a), brand_id, openid, appid) for a in answers]

        async def every() -> list[list[Page]]:
            return await map_bounded(one, enumerate(questions), in_flight=IN_FLIGHT, done=progress.update)

        with bar(len(questions), what=what, show=show_progress) as progress:
            return self._loop.run(every)

    async def _single(self, question: Question) -> list[Answer]:
        return [await self._exchange.answer(question)]

    def _fetched_at(self, answer: Answer) -> datetime:
        return self._clock() if self._clock else answer.signed_at


def _texts(name: str, values: Iterable[str]) -> list[str]:
    """Give the distinct ids in their order, refusing what would be asked wrongly."""
    if isinstance(values, str | bytes):
        raise ValidationError(f"{name} must be a list or a column of texts, not one text: write [{values!r}]")
    distinct = list(dict.fromkeys(values))
    for value in distinct:
        if not isinstance(value, str) or not value.strip():
            shown = (
                "an empty value" if isinstance(value, str) or pd.isna(value) else f"{value!r} ({type(value).__name__})"
            )
            raise ValidationError(
                f"{name} has {shown}; every one must be a non-empty text (ids read as numbers lose digits)"
            )
    return distinct
