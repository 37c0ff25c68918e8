"""The wire as methods: one per endpoint, dicts in and out, brand and partner alike."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from itertools import islice
from typing import Any

from wxcoupon_analytics.errors import ValidationError, WxCouponError
from wxcoupon_analytics.loop import BackgroundLoop
from wxcoupon_analytics.wire.endpoints import ENDPOINTS, MAX_PAGE_SIZE, Endpoint
from wxcoupon_analytics.wire.exchange import Answer, Doubt, Exchange
from wxcoupon_analytics.wire.questions import Question, ask, ask_upload_image, next_page

Json = dict[str, Any]
_PARTS = 4


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

    def __init__(self, loop: BackgroundLoop, exchange: Exchange, *, strict_enums: bool) -> None:
        self._loop = loop
        self._exchange = exchange
        self._strict_enums = strict_enums

    @property
    def brand_id(self) -> str:
        """The brand all calls are for (品牌ID)."""
        return self._exchange.credentials.brand_id

    def create_product_coupon(self, body: Mapping[str, Any]) -> Json:
        """Create a product coupon with its first stock (创建商品券).

        ``body`` needs ``out_request_no`` (6–40 of ``[0-9A-Za-z_-]``), ``scope``, ``type``, ``usage_mode``,
        ``display_info`` and ``stock``. 20 a second.
        """
        return self.call("create_product_coupon", {}, body=body)

    def get_product_coupon(self, product_coupon_id: str) -> Json:
        """Fetch a product coupon without its stocks (查询商品券). 20 a second."""
        return self.call("get_product_coupon", {"product_coupon_id": product_coupon_id})

    def deactivate_product_coupon(self, product_coupon_id: str, body: Mapping[str, Any]) -> Json:
        """End a product coupon and all its stocks for good (失效商品券).

        ``body``: ``out_request_no``, ``deactivate_reason`` (at most 150 characters). 20 a second.
        """
        return self.call("deactivate_product_coupon", {"product_coupon_id": product_coupon_id}, body=body)

    def update_product_coupon(self, product_coupon_id: str, body: Mapping[str, Any]) -> Json:
        """Change how a product coupon is shown (修改商品券). ``body``: ``out_request_no``, ``display_info``. 20 a second."""
        return self.call("update_product_coupon", {"product_coupon_id": product_coupon_id}, body=body)

    def create_stock(self, product_coupon_id: str, body: Mapping[str, Any]) -> Json:
        """Add a stock to a product coupon (添加商品券批次). ``body``: ``out_request_no``, ``stock``. 20 a second."""
        return self.call("create_stock", {"product_coupon_id": product_coupon_id}, body=body)

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
        return self.call("get_stock", {"product_coupon_id": product_coupon_id, "stock_id": stock_id})

    def deactivate_stock(self, product_coupon_id: str, stock_id: str, body: Mapping[str, Any]) -> Json:
        """End a stock for good; coupons already sent stay valid (失效商品券批次).

        ``body``: ``out_request_no``, ``deactivate_reason`` (at most 150 characters). The stock must be SENDING or
        PAUSED. 20 a second.
        """
        return self.call("deactivate_stock", {"product_coupon_id": product_coupon_id, "stock_id": stock_id}, body=body)

    def update_stock(self, product_coupon_id: str, stock_id: str, body: Mapping[str, Any]) -> Json:
        """Change a stock's remark, display, notification or store scope (修改商品券指定批次). 20 a second."""
        return self.call("update_stock", {"product_coupon_id": product_coupon_id, "stock_id": stock_id}, body=body)

    def update_stock_budget(self, product_coupon_id: str, stock_id: str, body: Mapping[str, Any]) -> Json:
        """Change one limit of a stock, if it is still what ``body`` says it is (修改商品券批次发放预算).

        ``body``: ``out_request_no``, ``update_mode`` (``MAX_COUNT`` or ``MAX_COUNT_PER_DAY``), and for that limit
        ``current_…`` and ``target_…`` (coupons). 20 a second.
        """
        return self.call(
            "update_stock_budget", {"product_coupon_id": product_coupon_id, "stock_id": stock_id}, body=body
        )

    def upload_coupon_codes(self, product_coupon_id: str, stock_id: str, body: Mapping[str, Any]) -> Json:
        """Put codes into an UPLOAD stock's pool (预上传券Code). ``body``: ``out_request_no``, ``code_list`` (at most 200). 20 a
        second.

        The answer says which codes were taken, which were there already, which stood twice and which failed.
        """
        return self.call(
            "upload_coupon_codes", {"product_coupon_id": product_coupon_id, "stock_id": stock_id}, body=body
        )

    def associate_stores(self, product_coupon_id: str, stock_id: str, body: Mapping[str, Any]) -> Json:
        """Make a stock usable in stores (批次关联门店). ``body``: ``store_list`` of ``store_id``. 20 a second."""
        return self.call("associate_stores", {"product_coupon_id": product_coupon_id, "stock_id": stock_id}, body=body)

    def list_associated_stores(
        self, product_coupon_id: str, stock_id: str, *, page_size: int = MAX_PAGE_SIZE
    ) -> Iterator[Json]:
        """Give the stores a stock is usable in, over all pages (查询批次关联门店列表). 20 pages a second."""
        path = {"product_coupon_id": product_coupon_id, "stock_id": stock_id}
        return self._items("list_associated_stores", path, {"page_size": page_size})

    def disassociate_stores(self, product_coupon_id: str, stock_id: str, body: Mapping[str, Any]) -> Json:
        """Take stores away from a stock (批次取消关联门店). ``body``: ``store_list`` of ``store_id``. 20 a second."""
        return self.call(
            "disassociate_stores", {"product_coupon_id": product_coupon_id, "stock_id": stock_id}, body=body
        )

    def create_stock_bundle(self, product_coupon_id: str, body: Mapping[str, Any]) -> Json:
        """Add a bundle of stocks, one a use, to a PROGRESSIVE_BUNDLE product coupon (添加商品券批次组).

        ``body``: ``out_request_no``, ``stock_bundle``. 20 a second.
        """
        return self.call("create_stock_bundle", {"product_coupon_id": product_coupon_id}, body=body)

    def update_stock_bundle(self, product_coupon_id: str, stock_bundle_id: str, body: Mapping[str, Any]) -> Json:
        """Change all stocks of a bundle (修改商品券批次组). ``body`` as :meth:`update_stock`. 20 a second."""
        path = {"product_coupon_id": product_coupon_id, "stock_bundle_id": stock_bundle_id}
        return self.call("update_stock_bundle", path, body=body)

    def update_stock_bundle_budget(self, product_coupon_id: str, stock_bundle_id: str, body: Mapping[str, Any]) -> Json:
        """Change one limit of a bundle (修改商品券批次组发放预算). ``body`` as :meth:`update_stock_budget`. 20 a second."""
        path = {"product_coupon_id": product_coupon_id, "stock_bundle_id": stock_bundle_id}
        return self.call("update_stock_bundle_budget", path, body=body)

    def associate_bundle_stores(self, product_coupon_id: str, stock_bundle_id: str, body: Mapping[str, Any]) -> Json:
        """Make a bundle usable in stores (批次组批量关联门店). ``body`` as :meth:`associate_stores`. 20 a second."""
        path = {"product_coupon_id": product_coupon_id, "stock_bundle_id": stock_bundle_id}
        return self.call("associate_bundle_stores", path, body=body)

    def disassociate_bundle_stores(self, product_coupon_id: str, stock_bundle_id: str, body: Mapping[str, Any]) -> Json:
        """Take stores away from a bundle (批次组批量取消关联门店). ``body`` as :meth:`associate_stores`. 20 a second."""
        path = {"product_coupon_id": product_coupon_id, "stock_bundle_id": stock_bundle_id}
        return self.call("disassociate_bundle_stores", path, body=body)

    def send_coupon(self, openid: str, body: Mapping[str, Any]) -> Json:
        """Send one coupon to one user (向用户发放商品券); it is born CONFIRMING.

        ``body``: ``product_coupon_id``, ``stock_id``, ``appid``, ``send_request_no`` (6–128 of ``[0-9A-Za-z_-]``), and
        as needed ``coupon_code``, ``attach``, ``coupon_tag_info``. 500 a second.
        """
        return self.call("send_coupon", {"openid": openid}, body=body)

    def pre_send_coupon(self, openid: str, body: Mapping[str, Any]) -> Json:
        """Prepare a coupon that the user then takes in a mini program (向用户预发放商品券); gives its ``token``.

        ``body`` as :meth:`send_coupon`, without ``coupon_tag_info``. 500 a second.
        """
        return self.call("pre_send_coupon", {"openid": openid}, body=body)

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
        return self.call("get_user_coupon", {"openid": openid, "coupon_code": coupon_code}, query=query)

    def confirm_coupon(self, openid: str, coupon_code: str, body: Mapping[str, Any]) -> Json:
        """Make a CONFIRMING coupon usable (确认发放用户商品券).

        ``body``: ``product_coupon_id``, ``stock_id``, ``appid``, ``out_request_no``. 500 a second.
        """
        return self.call("confirm_coupon", {"openid": openid, "coupon_code": coupon_code}, body=body)

    def deactivate_coupon(self, openid: str, coupon_code: str, body: Mapping[str, Any]) -> Json:
        """Take a coupon from a user for good (失效用户商品券).

        ``body``: as :meth:`confirm_coupon`, and ``deactivate_reason`` (at most 150 characters). 500 a second.
        """
        return self.call("deactivate_coupon", {"openid": openid, "coupon_code": coupon_code}, body=body)

    def use_coupon(self, openid: str, coupon_code: str, body: Mapping[str, Any]) -> Json:
        """Redeem an EFFECTIVE coupon (核销用户商品券).

        ``body``: as :meth:`confirm_coupon`, and ``use_time``, ``associated_order_info``. 500 a second.
        """
        return self.call("use_coupon", {"openid": openid, "coupon_code": coupon_code}, body=body)

    def return_coupon(self, openid: str, coupon_code: str, body: Mapping[str, Any]) -> Json:
        """Take a redemption back: USED becomes EFFECTIVE again (退券). ``body``: as :meth:`confirm_coupon`. 500 a second."""
        return self.call("return_coupon", {"openid": openid, "coupon_code": coupon_code}, body=body)

    def send_coupon_bundle(self, openid: str, body: Mapping[str, Any]) -> Json:
        """Send a bundle: one call, several tied coupons (向用户发放商品券批次组).

        ``body``: ``product_coupon_id``, ``stock_bundle_id``, ``appid``, ``send_request_no``, and as needed ``attach``,
        ``coupon_tag_info``. 500 a second.
        """
        return self.call("send_coupon_bundle", {"openid": openid}, body=body)

    def pre_send_coupon_bundle(self, openid: str, body: Mapping[str, Any]) -> Json:
        """Prepare a bundle that the user then takes in a mini program (向用户预发放商品券批次组). Partners only."""
        return self.call("pre_send_coupon_bundle", {"openid": openid}, body=body)

    def confirm_coupon_bundle(self, openid: str, user_coupon_bundle_id: str, body: Mapping[str, Any]) -> Json:
        """Make the coupons of a bundle usable (确认发放用户商品券(多次优惠)).

        No page of this endpoint was at hand: its path and body follow the single coupon's, unconfirmed.
        """
        path = {"openid": openid, "user_coupon_bundle_id": user_coupon_bundle_id}
        return self.call("confirm_coupon_bundle", path, body=body)

    def deactivate_coupon_bundle(self, openid: str, user_coupon_bundle_id: str, body: Mapping[str, Any]) -> Json:
        """Take a bundle from a user for good (失效用户商品券组).

        ``body``: ``product_coupon_id``, ``stock_bundle_id``, ``appid``, ``out_request_no``, ``deactivate_reason``.
        """
        path = {"openid": openid, "user_coupon_bundle_id": user_coupon_bundle_id}
        return self.call("deactivate_coupon_bundle", path, body=body)

    def set_notify_config(self, body: Mapping[str, Any]) -> Json:
        """Say where notifications go (设置商品券事件通知地址). ``body``: ``notify_url``. 20 a second."""
        return self.call("set_notify_config", {}, body=body)

    def get_notify_config(self) -> Json:
        """Ask where notifications go (获取商品券事件通知地址). 20 a second."""
        return self.call("get_notify_config", {})

    def upload_image(self, filename: str, content: bytes) -> str:
        """Upload an image and give its URL (图片上传): .jpg, .jpeg, .png or .bmp; only such URLs may stand in a coupon."""
        question = ask_upload_image(self._exchange.credentials, filename, content)
        return str(self._loop.run(self._exchange.answer, question).document["image_url"])

    def map(self, name: str, calls: Iterable[Sequence[Any]], *, in_flight: int = 96) -> Iterator[Any]:
        """Make many calls of one method at once, up to the rate limit.

        Lazy: calls are taken from ``calls`` as earlier ones are answered, at most ``in_flight`` ahead of what was
        yielded. Abandoning the iterator, or an interrupt, cancels what is under way; a write that was under way may have
        happened, so make the same call with the same request number again.

        Parameters
        ----------
        name : str
            A method of this class that takes ids and a body or an id: ``"send_coupon"``, ``"get_stock"``, ….
        calls : iterable of tuple
            The positional arguments of each call. A write carries its request number in its body.
        in_flight : int

        Yields
        ------
        dict, or WxCouponError
            For each call, in order, its answer or the error in its place.

        Raises
        ------
        ValidationError
            There is no such method, or it is one that takes more than ids and a body.

        Examples
        --------
        >>> import wxcoupon_analytics as wx
        >>> with wx.Sandbox(seed=7) as box, box.client() as client:
        ...     calls = [("1000000013",), ("no-such-coupon",)]
        ...     first, second = client.api.map("get_product_coupon", calls)
        >>> first["display_info"]["name"], type(second).__name__
        ('全场满100减20', 'NotFoundError')
        """
        fitting = [e.name for e in ENDPOINTS.values() if not e.query and e.name != "upload_image"]
        if name not in fitting:
            raise ValidationError(f"map takes one of {', '.join(fitting)}; not {name!r}")
        if isinstance(in_flight, bool) or not isinstance(in_flight, int) or in_flight < 1:
            raise ValidationError(f"in_flight is a whole number from 1, not {in_flight!r}")
        endpoint = ENDPOINTS[name]
        return self._each_answer(endpoint, iter(calls), in_flight)

    def _each_answer(self, endpoint: Endpoint, calls: Iterator[Sequence[Any]], in_flight: int) -> Iterator[Any]:
        # In parts: each crossing between the threads costs a good part of a request.
        size = max(1, in_flight // _PARTS)
        window: deque[Future[list[Json | WxCouponError]]] = deque()
        try:
            while True:
                while (len(window) + 1) * size <= in_flight and (part := list(islice(calls, size))):
                    window += self._loop.start(partial(self._answers, endpoint), [part])
                if not window:
                    return
                yield from self._loop.result(window.popleft())
        finally:
            self._loop.cancel(window)

    async def _answers(self, endpoint: Endpoint, part: list[Sequence[Any]]) -> list[Json | WxCouponError]:
        # All are laid out before any is asked: a call that cannot even be checked must not leave others under way.
        questions = [self._question_or_error(endpoint, call) for call in part]
        return await asyncio.gather(*(self._answer(question) for question in questions))

    def _question_or_error(self, endpoint: Endpoint, call: Sequence[Any]) -> Question | ValidationError:
        try:
            return self._question(endpoint, call)
        except ValidationError as error:
            return error

    async def _answer(self, question: Question | ValidationError) -> Json | WxCouponError:
        if isinstance(question, ValidationError):
            return question
        try:
            return (await self._exchange.answer(question)).document
        except WxCouponError as error:
            return error

    def _question(self, endpoint: Endpoint, call: Sequence[Any]) -> Question:
        """Lay positional arguments out as the method would: the ids of the path, then a write's body."""
        ids = re.findall(r"{(\w+)}", endpoint.path)
        writes = endpoint.method != "GET"
        if not isinstance(call, tuple | list) or len(call) != len(ids) + writes:
            wanted = ", ".join([*ids, "body"] if writes else ids)
            raise ValidationError(f"each call of {endpoint.name} is a tuple ({wanted})")
        body = call[-1] if writes else None
        return self.question(endpoint.name, dict(zip(ids, call, strict=False)), body=body)

    def call(
        self,
        name: str,
        path: Mapping[str, str],
        *,
        query: Mapping[str, str | int | None] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Json:
        """Ask an endpoint by its name: what all methods here do."""
        question = self.question(name, path, query=query, body=body)
        return self._loop.run(self._exchange.answer, question).document

    def question(
        self,
        name: str,
        path: Mapping[str, str],
        *,
        query: Mapping[str, str | int | None] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Question:
        """Say what would be asked, held against the documented rules, without asking."""
        return ask(self._exchange.credentials, name, path, query=query, body=body, strict_enums=self._strict_enums)

    def start(
        self, asked: Sequence[tuple[Question, Doubt]], done: Callable[[int, Answer | WxCouponError], object]
    ) -> Future[None]:
        """Ask questions together, and give a future that ends when all are answered.

        With ``Doubt`` an earlier attempt at a write may have succeeded, so that a refusal is believed only after looking.
        ``done`` is told what came of each, by its place in ``asked``; it is called in the loop's thread.
        """
        return self._loop.start(lambda _: self._ask_all(asked, done), (None,))[0]

    async def _ask_all(
        self, asked: Sequence[tuple[Question, Doubt]], done: Callable[[int, Answer | WxCouponError], object]
    ) -> None:
        async def ask_one(place: int, question: Question, doubt: Doubt) -> None:
            try:
                came: Answer | WxCouponError = await self._exchange.answer(question, doubt)
            except WxCouponError as error:
                came = error
            done(place, came)

        await asyncio.gather(*(ask_one(place, *pair) for place, pair in enumerate(asked)))

    def wait(self, future: Future[None]) -> None:
        """Wait for what :meth:`start` began, so that the Stop button is heard."""
        self._loop.result(future)

    def cancel(self, futures: Iterable[Future[None]]) -> None:
        """End what :meth:`start` began and is not answered; such a write may have happened."""
        self._loop.cancel(futures)

    def rate(self, name: str) -> float:
        """Give how many calls of an endpoint are made in a second at most."""
        return self._exchange.rate(ENDPOINTS[name])

    def _items(self, name: str, path: Mapping[str, str], query: Mapping[str, str | int | None]) -> Iterator[Json]:
        # Built here, not in the generator: bad arguments must raise where they are given, not at the first next().
        return self._each_item(self.question(name, path, query=query))

    def _each_item(self, question: Question | None) -> Iterator[Json]:
        seen: set[str] = set()
        while question:
            page = self._loop.run(self._exchange.page, question).document
            yield from page.get(question.endpoint.items or "") or []
            question = next_page(question, page, seen)
