"""How the embedded brand's customers behave: the truth, stated as hazards, that an analysis of its data should find.

What ends a confirmed coupon is a race. Whether its holder means to use it at all is the offer's appeal; when, has a Weibull
hazard that falls with the coupon's age. Deletion by the user and withdrawal by the brand have constant hazards. What kind of
customer it is, and which day of the week, multiplies a hazard (proportional hazards). The earliest cause wins; the end of
validity comes to whatever is left.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from wxcoupon_analytics.sandbox.clock import DAY, midnight, quota_day, weekday

Week = Sequence[float]  # seven factors, Monday to Sunday
_EVEN: Final[Week] = (1.0,) * 7


@dataclass(frozen=True)
class Segment:
    """One kind of customer.

    Parameters
    ----------
    share : float
        Weight among the segments: how many of the customers are of this kind.
    use, delete : sequence of 7 floats
        Hazard ratios of using and of deleting a coupon, Monday to Sunday.
    """

    share: float
    use: Week = _EVEN
    delete: Week = _EVEN

    def __post_init__(self) -> None:
        _set(self, "share", _at_least_zero("share", self.share))
        for name in ("use", "delete"):
            _set(self, name, _week(name, getattr(self, name)))


def _segments() -> Mapping[str, Segment]:
    return {
        "office": Segment(0.45, use=(1.2, 1.2, 1.2, 1.2, 1.1, 0.5, 0.4), delete=(0.8,) * 7),
        "campus": Segment(0.25, use=(0.7, 0.7, 0.7, 0.8, 1.0, 1.0, 0.8), delete=(1.6, 1.6, 1.6, 1.6, 1.6, 2.4, 2.4)),
        "community": Segment(0.30, use=(0.7, 0.7, 0.7, 0.7, 0.9, 1.8, 1.8)),
    }


@dataclass(frozen=True)
class Behaviour:
    """What is true of the embedded brand's customers.

    The defaults are a coffee chain's; a `Sandbox` of your own parameters shows whether an analysis finds them.

    Parameters
    ----------
    arrivals : sequence of 7 floats
        Factors on the receipts wanted of every campaign, Monday to Sunday.
    never_confirmed : float, default 0.03
        Share of the sends that the brand's back end never confirms. The others are confirmed 1 + ``confirm_seconds`` · u³
        seconds after receipt (whole ones), with u even between 0 and 1.
    confirm_seconds : float, default 40
        The longest lag, less the first second.
    appeal : float, default 0.3
        Share of the holders who mean to use a coupon, had they all the time, of stocks made through the API. Those of the
        coffee chain have their own: `Sandbox.appeals`.
    use_shape, use_scale_days : float, default 0.6 and 4
        Weibull hazard of use, of those who mean to use a coupon: (shape / scale) · (age / scale)^(shape − 1) a day, times the
        segment's ratio of the day. From half a day after the coupon became usable on, the day is kept and the hour is one
        at which people are about.
    goes_on : float, default 0.8
        Share of those who used one of a sequential coupon's uses who mean to make the next.
    returned : float, default 0.04
        Share of the uses that are taken back, five minutes to two days later.
    comes_again : float, default 0.33
        Share of those who mean to use it a second time after that, a day later at the earliest, and then stay with it.
    deletions_a_day, deactivations_a_day : float, default 0.003 and 0.0007
        Constant hazards, the first times the segment's ratio of the day.
    segments : mapping of str to Segment
        The kinds of customers. `Sandbox.customers` says who is of which.

    Raises
    ------
    ValueError
        A number makes no sense, or the segments' shares are all 0.

    Examples
    --------
    >>> from wxcoupon_analytics.sandbox import Behaviour, Segment
    >>> weekends = Segment(1.0, use=(0.5, 0.5, 0.5, 0.5, 0.5, 2.0, 2.0))
    >>> Behaviour(never_confirmed=0.1, segments={"families": weekends}).segments["families"].use[5]
    2.0
    """

    arrivals: Week = (0.84, 0.85, 0.88, 0.93, 1.08, 1.30, 1.22)
    never_confirmed: float = 0.03
    confirm_seconds: float = 40.0
    appeal: float = 0.3
    use_shape: float = 0.6
    use_scale_days: float = 4.0
    goes_on: float = 0.8
    returned: float = 0.04
    comes_again: float = 0.33
    deletions_a_day: float = 0.003
    deactivations_a_day: float = 0.0007
    segments: Mapping[str, Segment] = field(default_factory=_segments)

    def __post_init__(self) -> None:
        _set(self, "arrivals", _week("arrivals", self.arrivals))
        for name in ("confirm_seconds", "deletions_a_day", "deactivations_a_day"):
            _set(self, name, _at_least_zero(name, getattr(self, name)))
        for name in ("use_shape", "use_scale_days"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name}={getattr(self, name)!r} must be more than 0")
            _set(self, name, float(getattr(self, name)))
        for name in ("never_confirmed", "appeal", "goes_on", "returned", "comes_again"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)!r} must be from 0 to 1: it is a share")
            _set(self, name, float(getattr(self, name)))
        if not sum(segment.share for segment in self.segments.values()) > 0:
            raise ValueError("segments must have at least one whose share is more than 0")

    def to_document(self) -> dict[str, Any]:
        """Write the parameters as JSON can hold them."""
        segments = {name: dataclasses.asdict(segment) for name, segment in self.segments.items()}
        return {**{f.name: getattr(self, f.name) for f in dataclasses.fields(self)}, "segments": segments}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Behaviour:
        """Read what `to_document` wrote: an equal one."""
        segments = {name: Segment(**given) for name, given in document["segments"].items()}
        return cls(**{**document, "segments": segments})

    def used_at(self, begin: int, until: int, segment: str, chance: float) -> int | None:
        """Turn a number in 0–1 into the instant at which a coupon usable from ``begin`` would be used, if before ``until``."""
        return _instant(begin, until, chance, self.segments[segment].use, self.use_shape, self.use_scale_days)

    def deleted_at(self, begin: int, until: int, segment: str, chance: float) -> int | None:
        """Turn a number in 0–1 into the instant at which its holder would delete it."""
        return self._constant(begin, until, chance, self.segments[segment].delete, self.deletions_a_day)

    def deactivated_at(self, begin: int, until: int, chance: float) -> int | None:
        """Turn a number in 0–1 into the instant at which the brand would withdraw it."""
        return self._constant(begin, until, chance, _EVEN, self.deactivations_a_day)

    @staticmethod
    def _constant(begin: int, until: int, chance: float, week: Week, a_day: float) -> int | None:
        return _instant(begin, until, chance, week, 1.0, 1 / a_day) if a_day else None


def _instant(begin: int, until: int, chance: float, week: Week, shape: float, scale_days: float) -> int | None:
    """Find when the cumulative hazard of a coupon's life reaches an exponential draw, day of the week by day of the week.

    Between two midnights the weekday's ratio is constant, so the Weibull's cumulative hazard :math:`(age / scale)^{shape}`
    grows by that ratio times its difference, and is inverted where the draw is reached.
    """
    wanted = -math.log(1 - chance)
    scale = scale_days * DAY
    if max(week) * (max(until - begin, 0) / scale) ** shape < wanted:
        return None
    day, reached, before = quota_day(begin), 0.0, 0.0
    while midnight(day) <= until:
        after = (max(midnight(day + 1) - begin, 0) / scale) ** shape
        gain = week[weekday(day)] * (after - before)
        if reached + gain > wanted:
            age = scale * (before + (wanted - reached) / week[weekday(day)]) ** (1 / shape)
            at = begin + int(age)
            return at if at <= until else None
        day, reached, before = day + 1, reached + gain, after
    return None


def _set(frozen: object, name: str, value: object) -> None:
    """Put a value in the form that compares and that JSON holds, whatever sequence or kind of number was given."""
    object.__setattr__(frozen, name, value)


def _week(name: str, week: Sequence[float]) -> tuple[float, ...]:
    if len(week) != 7:
        raise ValueError(f"{name} must have 7 numbers, Monday to Sunday, not {len(week)}")
    return tuple(_at_least_zero(name, factor) for factor in week)


def _at_least_zero(name: str, value: float) -> float:
    if not 0 <= value < math.inf:
        raise ValueError(f"{name} must not hold {value!r}: at least 0, and finite")
    return float(value)
