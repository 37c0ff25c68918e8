"""The brand's customers: who receives what, and what becomes of it. A schedule, replayed as business time passes.

Every day is drawn from (seed, day) alone, so the same day brings the same wishes however the clock got there, and it does not
matter what the caller sent meanwhile. A *wish* becomes a coupon only if the rules allow it at that moment: budgets run out, daily
limits are hit and per-user limits bite because they are enforced, not because the data were drawn to look so.

What becomes of a coupon is a race of competing risks, as in life: confirmed, or never; then used, deleted, deactivated or expired,
whichever comes first. The hazards are those of `Behaviour`. Coupons sent through the API live the same life once they are confirmed.
"""

from __future__ import annotations

import math
import random
from bisect import bisect
from functools import cache
from itertools import accumulate, count
from typing import NamedTuple

from wxcoupon_analytics.sandbox import rules
from wxcoupon_analytics.sandbox.behaviour import Behaviour
from wxcoupon_analytics.sandbox.books import (
    API_ASSIGN,
    CONFIRMING,
    EFFECTIVE,
    PENDING,
    USED,
    Books,
    Coupon,
    Deactivation,
    Stock,
    Use,
)
from wxcoupon_analytics.sandbox.catalogue import Campaign, open_shop
from wxcoupon_analytics.sandbox.clock import DAY, midnight, quota_day, weekday
from wxcoupon_analytics.sandbox.events import issue, issue_bundle, record_use
from wxcoupon_analytics.sandbox.refusals import RefusedError

USERS = 3_000
FOREIGN = 20
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_HOURS = list(accumulate((3, 1, 1, 1, 1, 3, 14, 45, 62, 44, 40, 62, 84, 58, 42, 40, 44, 62, 88, 84, 66, 48, 28, 12)))
_CHANNELS = ("API", "RECEIVE_COMPONENT", "BRAND_MANAGE", "MEMBER", "MERCHANT_CARD", "SMALL_ACTIVITY")
_CHANNEL_SHARES = list(accumulate((0.56, 0.19, 0.13, 0.06, 0.04, 0.02)))
MEMBER_CARD = "MemberCardId_88000001"


class Fate(NamedTuple):
    """All that chance decides about one coupon, a number in 0–1 for each matter: none depends on another."""

    hour_of_receipt: float
    channel: float
    is_confirmed: float
    is_wanted: float
    age_at_use: float
    hour_of_use: float
    merchant: float
    is_returned: float
    time_to_return: float
    comes_again: float
    age_at_deletion: float
    age_at_deactivation: float
    has_label: float
    label: float


def foreign_openids(seed: int) -> frozenset[str]:
    """Return users who belong to some other appid."""
    rng = chance_of(seed, "foreign")
    return frozenset(_openid(rng, "oXf9Qz") for _ in range(FOREIGN))


def chance_of(seed: int, *what: object) -> random.Random:
    """Return the generator of one matter; text seeds are hashed whole, the same everywhere and in every version."""
    return random.Random("/".join(map(str, (seed, *what))))  # noqa: S311 - repeatable, not secret


def _openid(rng: random.Random, prefix: str) -> str:
    return prefix + "".join(rng.choices(_ALPHABET, k=28 - len(prefix)))


def _draw(rng: random.Random) -> Fate:
    return Fate(*(rng.random() for _ in Fate._fields))


def _daytime(share: float) -> int:
    """Turn a number in 0–1 into a second of the day, by when people are about."""
    at = share * _HOURS[-1]
    hour = bisect(_HOURS, at)
    below = _HOURS[hour - 1] if hour else 0
    return min(int((hour + (at - below) / (_HOURS[hour] - below)) * 3_600), DAY - 1)


class Population:
    """Plays the customers' part: puts each day's wishes, and what follows from them, on the agenda."""

    def __init__(self, books: Books, behaviour: Behaviour, seed: int, *, start: int, since: int) -> None:
        self._books = books
        self._behaviour = behaviour
        self._seed = seed
        self._since = since
        rng = chance_of(seed, "users")
        self._segment = cache(self._draw_segment)
        self._openids = [_openid(rng, "oh3Y4v") for _ in range(USERS)]
        self._weights = list(accumulate(rng.lognormvariate(0.0, 0.6) for _ in range(USERS)))
        self._campaigns = open_shop(books, start)
        self._appeal = {stock: campaign.appeal for campaign in self._campaigns for stock in campaign.stocks}
        self._plan_day(since, quota_day(since))

    def customers(self) -> list[tuple[str, str]]:
        """Return the brand's own file of its customers: who they are, and of which segment."""
        return [(openid, self._segment(openid)) for openid in self._openids]

    def appeal_of(self, stock: Stock) -> float:
        """Return the share of holders who mean to use a coupon; of a stock that an API caller made, the behaviour's."""
        return self._appeal.get(stock, self._behaviour.appeal)

    def _draw_segment(self, openid: str) -> str:
        """Say of which kind a user is: anybody, as a caller may send to whom the brand does not know."""
        segments = self._behaviour.segments
        weights = [segment.share for segment in segments.values()]
        return chance_of(self._seed, "segment", openid).choices(list(segments), weights)[0]

    def _plan_day(self, _at: int, day: int) -> None:
        """Draw one day's wishes; the next day is drawn when it comes."""
        for number, campaign in enumerate(self._campaigns):
            age = day - campaign.begins
            if age < 0 or midnight(day) > campaign.stocks[0].available_end:
                continue
            rng = chance_of(self._seed, number, day)
            usual = campaign.daily * self._behaviour.arrivals[weekday(day)]
            wanted = usual * (1.05 + 0.9 * math.exp(-age / 4)) * rng.lognormvariate(0, 0.12)
            users = rng.choices(self._openids, cum_weights=self._weights, k=round(wanted))
            for openid in users:
                fate = _draw(rng)
                at = midnight(day) + _daytime(fate.hour_of_receipt)
                if at >= self._since:
                    self._books.agenda.add(at, self._receive, campaign, openid, fate)
        self._books.agenda.add(midnight(day + 1), self._plan_day, day + 1)

    def _receive(self, at: int, campaign: Campaign, openid: str, fate: Fate) -> None:
        """Give a user what they wish for, if the rules allow it."""
        try:
            for stock in campaign.stocks:
                rules.may_send(stock, openid, at)
        except RefusedError:
            return
        channel = _CHANNELS[bisect(_CHANNEL_SHARES, fate.channel)]
        if channel == "MEMBER" and not rules.is_member(openid):
            channel = "API"
        stock = campaign.stocks[0]
        number = f"SEND{stock.id[-6:]}{len(stock.coupons) + 1:07d}"
        if len(campaign.stocks) > 1:
            coupons = issue_bundle(self._books, campaign.stocks, openid, at, request_no=number, channel=channel)
        else:
            code = _free_code(stock) if stock.code_mode == API_ASSIGN else None
            coupons = [issue(self._books, stock, openid, at, request_no=number, channel=channel, code=code)]
        for coupon in coupons:
            _label(coupon, fate)
        never = self._behaviour.never_confirmed
        if fate.is_confirmed >= never:
            delay = 1 + int(self._behaviour.confirm_seconds * ((fate.is_confirmed - never) / (1 - never)) ** 3)
            self._books.agenda.add(at + delay, self._confirm, coupons, fate)

    def _confirm(self, at: int, coupons: list[Coupon], fate: Fate) -> None:
        """Do what the brand's back end does when it hears of a send."""
        for index, coupon in enumerate(coupons):
            if coupon.state_at(at) == CONFIRMING:
                coupon.confirm_request_no, coupon.confirm_time = f"CFM{coupon.send_request_no[4:]}{index}", at
                coupon.touch()
                self._live(at, coupon, fate if index == 0 else self._fate_of(coupon))

    def after_confirm(self, coupon: Coupon, now: int) -> None:
        """Let a coupon that an API caller confirmed live on like any other."""
        self._live(now, coupon, self._fate_of(coupon))

    def _fate_of(self, coupon: Coupon) -> Fate:
        return _draw(chance_of(self._seed, coupon.openid, coupon.stock.id, coupon.send_request_no))

    def _live(self, now: int, coupon: Coupon, fate: Fate) -> None:
        """Put on the agenda what will become of a confirmed coupon."""
        behaviour, segment, end = self._behaviour, self._segment(coupon.openid), coupon.valid_end
        if fate.is_wanted < self.appeal_of(coupon.stock):
            self._plan_use(now, coupon, 0, fate)
        if deleted := behaviour.deleted_at(now, end, segment, fate.age_at_deletion):
            self._books.agenda.add(deleted, self._delete, coupon)
        if deactivated := behaviour.deactivated_at(now, end, fate.age_at_deactivation):
            self._books.agenda.add(deactivated, self._deactivate, coupon)

    def _plan_use(self, now: int, coupon: Coupon, index: int, fate: Fate) -> None:
        """Choose when a coupon is used; later than its end means never."""
        begin = max(now, coupon.valid_begin, coupon.uses[index].opens)
        at = self._behaviour.used_at(begin, coupon.valid_end, self._segment(coupon.openid), fate.age_at_use)
        if at is not None and at - begin > DAY // 2:  # not within the first visit: at an hour when people are about
            at = max(midnight(quota_day(at)) + _daytime(fate.hour_of_use), begin)
        if at is not None and at <= coupon.valid_end:
            self._books.agenda.add(at, self._use, coupon, index, fate)

    def _use(self, at: int, coupon: Coupon, index: int, fate: Fate) -> None:
        if coupon.state_at(at) != EFFECTIVE or coupon.next_round() != index or at < coupon.uses[index].opens:
            return
        serial = f"{coupon.stock.id[-6:]}{coupon.code[-8:]}{index}"
        order = {
            "transaction_id": f"42000{at}{serial[-10:]}",
            "out_trade_no": f"POS{at}{serial[-5:]}",
            "mchid": "1900000109",
        }
        if fate.merchant < 0.15:
            order["sub_mchid"] = "1900000209"
        record_use(coupon, index, Use(f"USE{at}{serial}", at, order))
        if fate.is_returned < self._behaviour.returned:
            self._books.agenda.add(at + 300 + int(fate.time_to_return * 2 * DAY), self._return, coupon, index, fate)
        elif index + 1 < len(coupon.uses):
            again = _draw(chance_of(self._seed, coupon.stock.id, coupon.code, index))
            if again.is_wanted < self._behaviour.goes_on:
                self._plan_use(at, coupon, index + 1, again)

    def _return(self, at: int, coupon: Coupon, index: int, fate: Fate) -> None:
        """Take a use back; one customer in three comes again."""
        if coupon.next_round() != index + 1 or coupon.state_at(at) not in (USED, EFFECTIVE):
            return
        coupon.uses[index].take_back(f"RET{at}{coupon.code[-8:]}", at)
        coupon.touch()
        if fate.comes_again < self._behaviour.comes_again:  # and then stays with it
            self._plan_use(at + DAY, coupon, index, fate._replace(is_returned=1.0))

    def _delete(self, at: int, coupon: Coupon) -> None:
        """Let the user remove the coupon from the wallet."""
        if coupon.state_at(at) in (PENDING, EFFECTIVE):
            coupon.delete_time = at
            coupon.touch()

    def _deactivate(self, at: int, coupon: Coupon) -> None:
        """Let the brand withdraw the coupon."""
        if coupon.state_at(at) in (PENDING, EFFECTIVE):
            coupon.deactivation = Deactivation(f"DEA{at}{coupon.code[-8:]}", at, "风控命中,收回优惠")
            coupon.touch()


def _free_code(stock: Stock) -> str:
    """Return the code the brand's back end would assign next; what another caller has used is passed over."""
    for number in count(len(stock.coupons) + 1):
        code = f"BR{stock.id[-6:]}-{number:06d}"
        if code not in stock.coupons:
            break
    return code


def _label(coupon: Coupon, fate: Fate) -> None:
    """Give a coupon the optional fields of the channel it came through."""
    if coupon.send_channel == "API" and fate.has_label < 0.4:
        coupon.attach = f"campaign={coupon.stock.id[-4:]};city={('上海', '杭州', '成都', '深圳')[int(fate.label * 4)]}"
    elif coupon.send_channel == "BRAND_MANAGE":
        coupon.channel_custom_info = f'{{"activity_id":"{10_000 + int(fate.label * 90)}"}}'
    elif coupon.send_channel == "MEMBER":
        coupon.member_card_id = MEMBER_CARD
