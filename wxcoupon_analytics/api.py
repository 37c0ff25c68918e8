"""The wire as methods: one per endpoint, dicts in and out, brand and partner alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from wxcoupon_analytics.loop import BackgroundLoop
from wxcoupon_analytics.wire.endpoints import MAX_PAGE_SIZE, Question, ask, next_page
from wxcoupon_analytics.wire.exchange import Exchange

Json = dict[str, Any]


class Api:
    """One method per endpoint; every answer is verified before it is parsed.

    Amounts are integers in fen (分, 1/100 yuan); times RFC 3339 texts with an offset. A write's body carries its request
    number (``send_request_no`` or ``out_request_no``): the same number with the same body gives the first result again.
    ``brand_id`` is added where a partner must give it. Every method raises :class:`ValidationError` before anything is
    sent, :class:`ApiError` on a refusal, :class:`TransportError` when no usable answer came, and
    :class:`VerificationError` on an answer that is not authentic.

    Notes
    -----
    Source: the product-coupon pages of https://pay.weixin.qq.com/doc/brand/ and https://pay.weixin.qq.com/doc/v3/partner/.
    """

    def __init__(self, loop: BackgroundLoop, exchange: Exchange) -> None:
        self._loop = loop
        self._exchange = exchange

    def create_product_coupon(self, body: Mapping[str, Any]) -> Json:
        """Create a product coupon with its first stock (创建商品券).

        ``body`` needs ``out_request_no`` (6–40 of ``[0-9A-Za-z_-]``), ``scope``, ``type``, ``usage_mode``,
        ``display_info`` and ``stock``. 20 a second.
        """
        return self._ask("create_product_coupon", {}, body=body)

    def get_product_coupon(self, product_coupon_id: str) -> Json:
        """Fetch a product coupon without its stocks (查询商品券). 20 a second."""
        return self._ask("get_product_coupon", {"product_coupon_id": product_coupon_id})

    def deactivate_product_coupon(self, product_coupon_id: str, body: Mapping[str, Any]) -> Json:
        """End a product coupon and all its stocks for good (失效商品券).

        ``body``: ``out_request_no``, ``deactivate_reason`` (at most 150 characters). 20 a second.
        """
        return self._ask("deactivate_product_coupon", {"product_coupon_id": product_coupon_id}, body=body)

    def create_stock(self, product_coupon_id: str, body: Mapping[str, Any]) -> Json:
        """Add a stock to a product coupon (添加商品券批次). ``body``: ``out_request_no`` and the stock. 20 a second."""
        return self._ask("create_stock", {"product_coupon_id": product_coupon_id}, body=body)

    def list_stocks(
        self,
        product_coupon_id: str,
        state: str | None = None,
        *,
        stock_bundle_id: str | None = None,
        page_size: int = MAX_PAGE_SIZE,
    ) -> Iterator[Json]:
        """Give a product coupon's stocks one by one, over all pages (查询商品券批次列表). 20 pages a second."""
        query = {"state": state, "stock_bundle_id": stock_bundle_id, "page_size": page_size}
        return self._items("list_stocks", {"product_coupon_id": product_coupon_id}, query)

    def get_stock(self, product_coupon_id: str, stock_id: str) -> Json:
        """Fetch one stock with its counters (查询商品券指定批次). 20 a second."""
        return self._ask("get_stock", {"product_coupon_id": product_coupon_id, "stock_id": stock_id})

    def deactivate_stock(self, product_coupon_id: str, stock_id: str, body: Mapping[str, Any]) -> Json:
        """End a stock for good; coupons already sent stay valid (失效商品券批次).

        ``body``: ``out_request_no``, ``deactivate_reason`` (at most 150 characters). The stock must be SENDING or
        PAUSED. 20 a second.
        """
        return self._ask("deactivate_stock", {"product_coupon_id": product_coupon_id, "stock_id": stock_id}, body=body)

    def send_coupon(self, openid: str, body: Mapping[str, Any]) -> Json:
        """Send one coupon to one user (向用户发放商品券); it is born CONFIRMING.

        ``body``: ``product_coupon_id``, ``stock_id``, ``appid``, ``send_request_no`` (6–128 of ``[0-9A-Za-z_-]``), and
        as needed ``coupon_code``, ``attach``, ``coupon_tag_info``. 500 a second.
        """
        return self._ask("send_coupon", {"openid": openid}, body=body)

    def list_user_coupons(
        self,
        openid: str,
        *,
        appid: str,
        product_coupon_id: str | None = None,
        stock_id: str | None = None,
        coupon_state: str | None = None,
        page_size: int = MAX_PAGE_SIZE,
    ) -> Iterator[Json]:
        """Give a user's coupons one by one, over all pages (指定券状态查询用户商品券列表). 500 pages a second."""
        query = {
            "appid": appid,
            "product_coupon_id": product_coupon_id,
            "stock_id": stock_id,
            "coupon_state": coupon_state,
            "page_size": page_size,
        }
        return self._items("list_user_coupons", {"openid": openid}, query)

    def get_user_coupon(
        self, openid: str, coupon_code: str, *, product_coupon_id: str, stock_id: str, appid: str
    ) -> Json:
        """Fetch one coupon of a user (查询用户商品券详情). 500 a second."""
        query = {"product_coupon_id": product_coupon_id, "stock_id": stock_id, "appid": appid}
        return self._ask("get_user_coupon", {"openid": openid, "coupon_code": coupon_code}, query=query)

    def confirm_coupon(self, openid: str, coupon_code: str, body: Mapping[str, Any]) -> Json:
        """Make a CONFIRMING coupon usable (确认发放用户商品券).

        ``body``: ``product_coupon_id``, ``stock_id``, ``appid``, ``out_request_no``.
        """
        return self._ask("confirm_coupon", {"openid": openid, "coupon_code": coupon_code}, body=body)

    def deactivate_coupon(self, openid: str, coupon_code: str, body: Mapping[str, Any]) -> Json:
        """Take a coupon from a user for good (失效用户商品券).

        ``body``: as :meth:`confirm_coupon`, and ``deactivate_reason``.
        """
        return self._ask("deactivate_coupon", {"openid": openid, "coupon_code": coupon_code}, body=body)

    def use_coupon(self, openid: str, coupon_code: str, body: Mapping[str, Any]) -> Json:
        """Redeem an EFFECTIVE coupon (核销用户商品券).

        ``body``: as :meth:`confirm_coupon`, and ``use_time``, ``associated_order_info``.
        """
        return self._ask("use_coupon", {"openid": openid, "coupon_code": coupon_code}, body=body)

    def return_coupon(self, openid: str, coupon_code: str, body: Mapping[str, Any]) -> Json:
        """Take a redemption back: USED becomes EFFECTIVE again (退券). ``body``: as :meth:`confirm_coupon`."""
        return self._ask("return_coupon", {"openid": openid, "coupon_code": coupon_code}, body=body)

    def _ask(
        self,
        name: str,
        path: Mapping[str, str],
        *,
        query: Mapping[str, str | int | None] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Json:
        question = ask(self._exchange.credentials, name, path, query=query, body=body)
        return self._loop.run(self._exchange.answer, question).json()

    def _items(self, name: str, path: Mapping[str, str], query: Mapping[str, str | int | None]) -> Iterator[Json]:
        # Built here, not in the generator: bad arguments must raise where they are given, not at the first next().
        return self._each_item(ask(self._exchange.credentials, name, path, query=query))

    def _each_item(self, question: Question | None) -> Iterator[Json]:
        seen: set[str] = set()
        while question:
            page = self._loop.run(self._exchange.answer, question).json()
            yield from page.get(question.endpoint.items or "") or []
            question = next_page(question, page, seen)
