"""The books: what exists, who holds what, and which request numbers have been answered.

State that time alone changes is never stored. A coupon keeps the facts (received, confirmed, used, deleted, deactivated, its
validity) and its state is worked out from them for a given instant; so is a stock's STOPPED. No job has to run at midnight,
and no row can be stale because one did not.

Running counters exist because a send must check limits in constant time. `count_sent` counts the coupons themselves:
`Sandbox.truth` reports that, so a wrong counter cannot vouch for itself.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from wxcoupon_analytics.sandbox.clock import quota_day

# Product coupon (商品券) and stock (批次) states; a user coupon's (用户商品券) are below.
AUDITING, EFFECTIVE, DEACTIVATED = "AUDITING", "EFFECTIVE", "DEACTIVATED"
SENDING, PAUSED, STOPPED = "SENDING", "PAUSED", "STOPPED"
STOCK_STATES = (AUDITING, SENDING, PAUSED, STOPPED, DEACTIVATED)
CONFIRMING, PENDING, USED, EXPIRED, DELETED = "CONFIRMING", "PENDING", "USED", "EXPIRED", "DELETED"
COUPON_STATES = (CONFIRMING, PENDING, EFFECTIVE, USED, EXPIRED, DELETED, DEACTIVATED)

WECHATPAY, UPLOAD, API_ASSIGN = "WECHATPAY", "UPLOAD", "API_ASSIGN"  # who makes the coupon codes (券Code分配模式)
SINGLE, SEQUENTIAL, BUNDLE = "SINGLE", "SEQUENTIAL", "PROGRESSIVE_BUNDLE"  # usage modes (使用模式)


@dataclass(slots=True, frozen=True)
class Deactivation:
    """Who ended something, when and why."""

    request_no: str
    time: int
    reason: str


@dataclass(slots=True, eq=False)
class ProductCoupon:
    """A product coupon: what is offered. ``facts`` are the fields as the create request, and later changes, gave them."""

    id: str
    facts: dict[str, Any]
    state: str = AUDITING
    deactivation: Deactivation | None = None
    stocks: list[Stock] = field(default_factory=list)
    version: int = 0  # of what an echo shows; every change counts it up

    @property
    def usage_mode(self) -> str:
        """Single use, or one of the two generations of multi-use."""
        mode: str = self.facts["usage_mode"]
        return mode

    def bundle(self, bundle_id: str) -> list[Stock]:
        """Return the stocks of one stock bundle (批次组) in their order; none when there is no such bundle."""
        return [stock for stock in self.stocks if stock.bundle_id == bundle_id]


@dataclass(slots=True, eq=False)
class Stock:
    """A stock: a batch of one product coupon with its own budget, validity and rules."""

    id: str
    product: ProductCoupon
    facts: dict[str, Any]
    max_count: int
    max_count_per_day: int | None
    max_count_per_user: int | None
    available_end: int
    state: str = AUDITING
    deactivation: Deactivation | None = None
    uploaded: int = 0
    pool: deque[str] = field(default_factory=deque)  # uploaded codes not yet given out
    coupons: dict[str, Coupon] = field(default_factory=dict)  # by code: a code is unique within its stock
    held: Counter[str] = field(default_factory=Counter)  # coupons ever received, by openid
    sent_day: int = 0
    sent_today: int = 0
    version: int = 0
    stores: dict[str, int] = field(default_factory=dict)  # associated stores, each with the serial of its association
    store_serial: int = 0

    @property
    def bundle_id(self) -> str | None:
        """The stock bundle it is a step of, if any."""
        info: dict[str, Any] = self.facts.get("stock_bundle_info", {})
        return info.get("stock_bundle_id")

    @property
    def code_mode(self) -> str:
        """Who makes the coupon codes."""
        mode: str = self.facts["coupon_code_mode"]
        return mode

    def state_at(self, now: int) -> str:
        """Return the state; a stock whose available period has ended is STOPPED without anybody's doing."""
        return STOPPED if self.state in (SENDING, PAUSED) and now > self.available_end else self.state

    def sent_on(self, day: int) -> int:
        """Return today's counter, which restarts at Beijing midnight."""
        return self.sent_today if self.sent_day == day else 0


@dataclass(slots=True)
class Use:
    """One use of a coupon (a single coupon has one, a sequential coupon one a round)."""

    request_no: str | None = None
    time: int | None = None
    order: dict[str, Any] | None = None
    pay_score_order: dict[str, Any] | None = None
    return_request_no: str | None = None
    return_time: int | None = None
    opens: int = 0  # a round cannot be used before

    def take_back(self, request_no: str, at: int) -> None:
        """Undo the use: only the return remains on record, as the pages show it."""
        self.request_no = self.time = self.order = self.pay_score_order = None
        self.return_request_no, self.return_time = request_no, at


@dataclass(slots=True, eq=False)
class Tie:
    """What ties the coupons of one bundle send together (用户券组)."""

    id: str
    coupons: list[Coupon] = field(default_factory=list)

    def used(self) -> int:
        """Count the coupons of the bundle that are used."""
        return sum(coupon.uses[0].time is not None for coupon in self.coupons)


@dataclass(slots=True, eq=False)
class Coupon:
    """A user coupon: the facts of its life. Its state is `state_at` an instant."""

    code: str
    openid: str
    stock: Stock
    receive_time: int
    valid_begin: int
    valid_end: int
    send_request_no: str
    send_channel: str
    uses: list[Use]
    attach: str | None = None
    channel_custom_info: str | None = None
    member_card_id: str | None = None
    confirm_request_no: str | None = None
    confirm_time: int | None = None
    delete_time: int | None = None
    deactivation: Deactivation | None = None
    tie: Tie | None = None
    written: tuple[str, str, str] | None = None  # a cache of answers.py: (state, head, tail)

    def state_at(self, now: int) -> str:
        """Return the state at an instant; what somebody did outranks what time did."""
        if self.deactivation is not None:
            return DEACTIVATED
        if self.delete_time is not None:
            return DELETED
        if self.uses[-1].time is not None:
            return USED
        if now > self.valid_end:
            return EXPIRED
        if self.confirm_time is None:
            return CONFIRMING
        return PENDING if now < self.valid_begin else EFFECTIVE

    def next_round(self) -> int:
        """Return the index of the first use that has not happened."""
        return next((index for index, use in enumerate(self.uses) if use.time is None), len(self.uses))

    def touch(self) -> None:
        """Forget the written form after a change; a bundle's count of uses shows on all its coupons."""
        self.written = None
        if self.tie is not None:
            for coupon in self.tie.coupons:
                coupon.written = None


@dataclass(slots=True)
class Settled:
    """A write that was begun: the digest of what was asked, and the parts of the first answer once they are written."""

    digest: bytes
    parts: tuple[str, ...] | None = None


class Agenda:
    """What will happen at which business time; equal times keep the order in which they were put down."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = 0

    def add(self, at: int, what: Callable[..., None], *arguments: Any) -> None:
        """Put something down: ``what(at, *arguments)`` runs when time has come that far."""
        self._count += 1
        heapq.heappush(self._heap, (at, self._count, what, arguments))

    def run(self, until: int) -> None:
        """Let everything happen that is due."""
        while self._heap and self._heap[0][0] <= until:
            at, _, what, arguments = heapq.heappop(self._heap)
            what(at, *arguments)


class Books:
    """Everything the brand's side of the platform remembers."""

    def __init__(self) -> None:
        self.products: dict[str, ProductCoupon] = {}
        self.users: dict[str, list[Coupon]] = {}  # by openid, in the order received; only ever appended to
        self.ties: dict[str, Tie] = {}
        self.settled: dict[tuple[str, str], Settled] = {}  # by operation and request number: numbers are the brand's
        self.notify: dict[str, tuple[str, int]] = {}  # by flavour: the address for events, and when it was set
        self.agenda = Agenda()
        self._sends = 0

    def stocks(self) -> Iterator[Stock]:
        """Go over every stock, in the order created."""
        for product in self.products.values():
            yield from product.stocks

    def coupons(self) -> Iterator[Coupon]:
        """Go over every user coupon, user by user."""
        for coupons in self.users.values():
            yield from coupons

    def open_product(self, facts: dict[str, Any]) -> ProductCoupon:
        """Write a new product coupon into the books, in audit."""
        product = ProductCoupon(str(1_000_000_013 + len(self.products)), facts)
        self.products[product.id] = product
        return product

    def open_stock(self, product: ProductCoupon, facts: dict[str, Any], available_end: int) -> Stock:
        """Write a new stock into the books, in audit; its send rule moves into fields of its own."""
        rule = facts["stock_send_rule"]
        stock = Stock(
            id=f"{product.id}{len(product.stocks) + 1:03d}",
            product=product,
            facts={name: value for name, value in facts.items() if name != "stock_send_rule"},
            max_count=rule["max_count"],
            max_count_per_day=rule.get("max_count_per_day"),
            max_count_per_user=rule.get("max_count_per_user"),
            available_end=available_end,
        )
        product.stocks.append(stock)
        return stock

    def open_bundle(self, product: ProductCoupon, steps: list[dict[str, Any]], available_end: int) -> list[Stock]:
        """Write the stocks of a new bundle into the books, in audit; each learns the bundle's id and its own place."""
        taken = len({stock.bundle_id for stock in product.stocks} - {None})
        bundle_id = f"9{product.id}" + (f"{taken:03d}" if taken else "")
        return [
            self.open_stock(
                product,
                {**facts, "stock_bundle_info": {"stock_bundle_id": bundle_id, "stock_bundle_index": index}},
                available_end,
            )
            for index, facts in enumerate(steps)
        ]

    def issue(self, coupon: Coupon, *, code: str | None) -> Coupon:
        """Enter a sent coupon; the caller has checked every rule (rules.py). A code means one coupon of its stock, for ever."""
        stock, day = coupon.stock, quota_day(coupon.receive_time)
        if stock.code_mode == UPLOAD:
            coupon.code = stock.pool.popleft()
        else:
            coupon.code = code or _wechatpay_code(stock.id, len(stock.coupons) + 1)
        if coupon.code in stock.coupons:
            raise AssertionError(f"the code {coupon.code!r} of stock {stock.id} was already given out")
        stock.coupons[coupon.code] = coupon
        stock.held[coupon.openid] += 1
        stock.sent_today = stock.sent_on(day) + 1
        stock.sent_day = day
        self.users.setdefault(coupon.openid, []).append(coupon)
        return coupon

    def next_tie(self) -> Tie:
        """Return a new, empty user coupon bundle."""
        self._sends += 1
        tie = Tie(f"{7_000_000_000 + self._sends}")
        self.ties[tie.id] = tie
        return tie


def count_sent(stock: Stock, now: int) -> tuple[int, int]:
    """Count a stock's coupons one by one: over its life, and received on the present Beijing day."""
    today = quota_day(now)
    return len(stock.coupons), sum(quota_day(coupon.receive_time) == today for coupon in stock.coupons.values())


def _wechatpay_code(stock_id: str, serial: int) -> str:
    """Make a 16-digit code that does not look like a counter; the factor is prime to 10, so no two serials meet."""
    return f"{(int(stock_id) * 7_919 + serial * 6_364_136_223_846_793) % 10**16:016d}"
