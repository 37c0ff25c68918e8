"""The brand's own till: orders that no coupon API knows of, by customers whom a coupon moves by a known amount.

A user orders once within the time asked about with a known probability, and a known amount more likely with a coupon of the
stock in hand. What a user does depends on the seed and the openid alone, so two worlds that differ in who was sent a
coupon differ in nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from wxcoupon_analytics.sandbox.population import chance_of

_SPREAD = 0.5  # of the logarithm of an amount


class Habits(NamedTuple):
    """How customers order: the truth that an analysis should find."""

    rate: float
    lift: float
    amount_fen: int


class Order(NamedTuple):
    """One order."""

    openid: str
    time: int
    amount_fen: int


def check_habits(habits: Habits) -> Habits:
    """Refuse probabilities that are none."""
    rate, lift, amount = habits
    if not (0 <= rate <= 1 and 0 <= rate + lift <= 1):
        raise ValueError(f"rate={rate} and rate + lift={rate + lift} must be from 0 to 1: they are probabilities")
    if amount < 1:
        raise ValueError(f"amount_fen={amount} must be at least 1: it is the mean amount of an order")
    return habits


def orders(
    openids: Iterable[str], received: Mapping[str, int], habits: Habits, *, seed: int, since: int, until: int
) -> list[Order]:
    """Draw what users ordered from one instant to another, and as long before it, in order of time.

    ``received`` says when those who hold a coupon got it: its effect is an order after that.
    """
    found = []
    for openid in dict.fromkeys(openids):
        chance = chance_of(seed, "orders", since, openid)
        earlier, decides, when = (chance.random() for _ in range(3))
        amount = max(round(chance.lognormvariate(math.log(habits.amount_fen) - _SPREAD**2 / 2, _SPREAD)), 1)
        if earlier < habits.rate:
            found.append(Order(openid, since - round(earlier / habits.rate * (until - since)) - 1, amount))
        if decides < habits.rate:
            found.append(Order(openid, since + round(when * (until - since)), amount))
        elif decides < habits.rate + habits.lift and openid in received:
            begin = max(received[openid], since)
            found.append(Order(openid, begin + round(when * (until - begin)), amount))
    return sorted(found, key=lambda order: (order.time, order.openid))
