"""Which rows of an audience are sent to, and why the others are not: every rule of a plan, one after the other.

The first that applies gives a row its verdict. What the journal knows comes before what the stock says: a user who has the
coupon has it, whatever state the stock is in now.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from wxcoupon_analytics.actions.audience import repeated
from wxcoupon_analytics.actions.holdout import draws
from wxcoupon_analytics.actions.records import Record
from wxcoupon_analytics.actions.standing import Asked, Standing
from wxcoupon_analytics.actions.stock_checks import Offer
from wxcoupon_analytics.actions.terms import Terms

READY, BLOCKED, HELD_OUT, ALREADY_SENT = "ready", "blocked", "held_out", "already_sent"
_CODE = re.compile("[0-9A-Za-z_-]{1,40}")
HELD_OUT_REASON = "held out of the campaign, to measure what the others do"


@dataclass
class Verdicts:
    """The verdict of each row: ``statuses``, and ``reasons`` where there is something to say.

    ``refused``: rows blocked for nothing but an earlier refusal. ``assigned``: rows that were drawn into an arm by this
    plan. ``fresh``: ready rows that use up a limit; the others ask again what may have used it up already.
    """

    statuses: list[str]
    reasons: list[str | None]
    refused: set[int] = field(default_factory=set)
    assigned: set[int] = field(default_factory=set)
    fresh: set[int] = field(default_factory=set)

    @classmethod
    def over(cls, count: int) -> Verdicts:
        """Start with every row ready."""
        return cls([READY] * count, [None] * count)

    def give(self, row: int, status: str, reason: str | None) -> None:
        """Give a row its verdict, if it has none yet."""
        if self.statuses[row] == READY:
            self.statuses[row], self.reasons[row] = status, reason

    def rows(self, status: str = READY) -> Iterator[int]:
        """Go through the rows of a status."""
        return (row for row, given in enumerate(self.statuses) if given == status)

    def updated(self, now: Verdicts, due: Collection[int]) -> Verdicts:
        """Give later verdicts on the rows that are due or held out, and on those sent meanwhile; the others keep theirs."""
        newer = [
            row in due or status == ALREADY_SENT or before == HELD_OUT
            for row, (before, status) in enumerate(zip(self.statuses, now.statuses, strict=True))
        ]
        return Verdicts(
            [b if new else a for a, b, new in zip(self.statuses, now.statuses, newer, strict=True)],
            [b if new else a for a, b, new in zip(self.reasons, now.reasons, newer, strict=True)],
            refused={row for row in self.refused | now.refused if row in (now if newer[row] else self).refused},
        )

    def counts(self) -> Counter[str]:
        """Count the rows of each status."""
        return Counter(self.statuses)


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a plan judges: the audience, the terms, and how arms are drawn. Row numbers count from 0."""

    terms: Terms
    asked: Sequence[Asked]
    openids: Sequence[str | None]
    wrong_openids: Mapping[int, str]
    wrong_codes: Mapping[int, str]
    holdout: float
    seed: int
    allow_repeat: bool


def asked_of(
    terms: Terms, openids: Sequence[str | None], codes: Sequence[str | None], wrong: Mapping[int, str]
) -> list[Asked]:
    """Give the rows that can be sent to at all: with a usable openid, and the first of their user."""
    verdicts = Verdicts.over(len(openids))
    _check_openids(verdicts, openids, wrong)
    rows = list(verdicts.rows())
    users = [openid for row in rows if (openid := openids[row]) is not None]
    return [
        Asked(row, openid, number, codes[row])
        for row, openid, number in zip(rows, users, terms.numbers(users), strict=True)
    ]


def judge(inputs: Inputs, standing: Standing, offer: Offer) -> Verdicts:
    """Apply every rule."""
    verdicts = Verdicts.over(len(inputs.openids))
    _check_openids(verdicts, inputs.openids, inputs.wrong_openids)
    _check_standing(verdicts, inputs, standing)
    _check_stock(verdicts, inputs, standing, offer)
    _check_codes(verdicts, inputs, standing, offer)
    _check_repeats(verdicts, inputs, standing, offer)
    _check_refusals(verdicts, standing)
    _draw_arms(verdicts, inputs, standing)
    _check_limits(verdicts, inputs, standing, offer)
    return verdicts


def _check_openids(verdicts: Verdicts, openids: Sequence[str | None], wrong: Mapping[int, str]) -> None:
    """Block rows without a usable openid, and all but the first row of each user."""
    for row, what in wrong.items():
        verdicts.give(row, BLOCKED, f"the openid {what}")
    for row in verdicts.rows():
        if openids[row] is None:
            verdicts.give(row, BLOCKED, "the openid is missing")
    for row, first in repeated({row: openids[row] for row in verdicts.rows()}).items():
        verdicts.give(row, BLOCKED, f"the same openid stands in an earlier row (row {first})")


def _check_standing(verdicts: Verdicts, inputs: Inputs, standing: Standing) -> None:
    """Heed what the journal knows of each row's own send, and who is held out for good."""
    terms = inputs.terms
    for each in inputs.asked:
        arm, record = standing.arms.get(each.row), standing.records.get(each.row)
        if record is not None and record.status in ("done", "unknown"):
            _check_record(verdicts, each, record, terms)
        elif arm is not None and arm.is_held_out:
            verdicts.give(each.row, HELD_OUT, HELD_OUT_REASON)
        elif (
            record is not None
            and record.status == "failed"
            and record.intent == terms.send(each.openid, each.number, each.code).text
        ):
            verdicts.refused.add(each.row)


def _check_record(verdicts: Verdicts, each: Asked, record: Record, terms: Terms) -> None:
    intent = terms.send(each.openid, each.number, each.code)
    if record.intent != intent.text:
        verdicts.give(
            each.row,
            BLOCKED,
            f"its request number stands for another send, whose outcome is {record.status}: {intent.difference(record.intent)}",
        )
    elif record.status == "done":
        verdicts.give(each.row, ALREADY_SENT, "an earlier run of this campaign sent it")
    else:
        verdicts.reasons[each.row] = "asked again under the same number: the outcome of an earlier attempt is unknown"


def _check_repeats(verdicts: Verdicts, inputs: Inputs, standing: Standing, offer: Offer) -> None:
    """Block users who got this stock otherwise, and those whom the journal alone shows at the stock's limit per user."""
    per_user = offer.per_user
    for each in _new(verdicts, inputs, standing):
        campaign = standing.elsewhere.get(each.row)
        if campaign is not None and not inputs.allow_repeat:
            verdicts.give(
                each.row,
                BLOCKED,
                f"this stock was sent to the user under campaign {campaign!r}; allow_repeat=True sends again",
            )
        elif per_user is not None and (had := standing.coupons.get(each.row, 0)) >= per_user:
            verdicts.give(
                each.row, BLOCKED, f"the stock's limit per user is {per_user}, and the journal shows {had} sent"
            )


def _check_stock(verdicts: Verdicts, inputs: Inputs, standing: Standing, offer: Offer) -> None:
    """Block every new send while the stock cannot be sent at all."""
    if offer.problem is not None:
        for each in _new(verdicts, inputs, standing):
            verdicts.give(each.row, BLOCKED, offer.problem)


def _check_codes(verdicts: Verdicts, inputs: Inputs, standing: Standing, offer: Offer) -> None:
    """Hold each row's coupon code against the stock's code mode, the alphabet, the other rows and the journal."""
    new = list(_new(verdicts, inputs, standing))
    for each in new:
        if each.row in inputs.wrong_codes:
            verdicts.give(each.row, BLOCKED, f"the coupon_code {inputs.wrong_codes[each.row]}")
        elif each.code is None and offer.mode == "API_ASSIGN":
            verdicts.give(each.row, BLOCKED, "the stock is API_ASSIGN: each row needs a coupon_code of your own")
        elif each.code is not None and offer.mode == "WECHATPAY":
            verdicts.give(
                each.row, BLOCKED, "the stock is WECHATPAY: the platform makes the code, coupon_code must be null"
            )
        elif each.code is not None and not _CODE.fullmatch(each.code):
            verdicts.give(each.row, BLOCKED, "the coupon_code is not 1 to 40 of 0-9A-Za-z_-")
        elif each.row in standing.codes_taken:
            verdicts.give(each.row, BLOCKED, "the journal shows its coupon_code sent to another user")
    codes = {each.row: each.code for each in new if verdicts.statuses[each.row] == READY}
    for row, first in repeated(codes).items():
        verdicts.give(row, BLOCKED, f"the same coupon_code stands in an earlier row (row {first})")


def _check_refusals(verdicts: Verdicts, standing: Standing) -> None:
    """Block what was refused for good and is the same as then; of what else is blocked, the refusal is not the reason."""
    verdicts.refused = {row for row in verdicts.refused if verdicts.statuses[row] == READY}
    for row in verdicts.refused:
        record = standing.records[row]
        verdicts.give(
            row,
            BLOCKED,
            f"refused in an earlier run: {record.error_code}: {record.error_message}; execute(retry_failed=True) tries again",
        )


def _draw_arms(verdicts: Verdicts, inputs: Inputs, standing: Standing) -> None:
    """Draw those who are ready and in no arm yet into one; who was sent to before is in the one that is sent to."""
    if inputs.holdout > 0:
        drawn = [each for each in _new(verdicts, inputs, standing) if each.row not in standing.arms]
        drawn_numbers = draws(inputs.terms.campaign, inputs.seed, (each.openid for each in drawn))
        for each, draw in zip(drawn, drawn_numbers, strict=True):
            verdicts.assigned.add(each.row)
            if draw < inputs.holdout and each.row not in standing.records:
                verdicts.give(each.row, HELD_OUT, HELD_OUT_REASON)


def _check_limits(verdicts: Verdicts, inputs: Inputs, standing: Standing, offer: Offer) -> None:
    """Block what lies beyond the stock's limits, in the audience's order.

    The cut goes through both arms at the same place: users after it are in no arm yet, or the order of the audience would
    tell the arms apart.
    """
    new = [each.row for each in _new(verdicts, inputs, standing)]
    verdicts.fresh = set(new if offer.left is None else new[: offer.left])
    if len(verdicts.fresh) < len(new):
        cut, reason = new[len(verdicts.fresh)], offer.spent()
        for row in new[len(verdicts.fresh) :]:
            verdicts.give(row, BLOCKED, reason)
        for row in [row for row in verdicts.assigned if row >= cut]:
            verdicts.assigned.discard(row)
            verdicts.statuses[row], verdicts.reasons[row] = BLOCKED, reason


def _new(verdicts: Verdicts, inputs: Inputs, standing: Standing) -> Iterator[Asked]:
    """Go through the rows that are still ready and would be sent anew: not those that ask after an unknown outcome."""
    for each in inputs.asked:
        record = standing.records.get(each.row)
        if verdicts.statuses[each.row] == READY and (record is None or record.status != "unknown"):
            yield each
