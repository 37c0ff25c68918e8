"""What came of a long fetch, and what failed in a tolerant one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import pandas as pd
import pyarrow as pa

from wxcoupon_analytics.entities.schemas import NUMBER, TEXT, frame_of
from wxcoupon_analytics.errors import (
    ApiError,
    RateLimitError,
    ServerError,
    TransportError,
    WxCouponError,
)

# So many silences or failures of the platform in a row are no longer about the users who were asked for.
OUTAGE: Final = 200
_OF_THE_PLATFORM = (TransportError, ServerError, RateLimitError)
_FAILURES: Final = pa.schema(
    [
        ("openid", TEXT),
        ("error", TEXT),
        ("status", NUMBER),
        ("code", TEXT),
        ("message", TEXT),
        ("request_id", TEXT),
        ("numeric_code", NUMBER),
    ]
)


class Failures(dict[str, WxCouponError]):
    """What a tolerant fetch passes over: by openid, why its question failed for good."""

    def __init__(self) -> None:
        super().__init__()
        self._in_a_row = 0

    def note(self, openid: str, error: BaseException | None) -> None:
        """Take what came of a user's question; raise a failure that is not this one user's."""
        self._in_a_row = self._in_a_row + 1 if isinstance(error, _OF_THE_PLATFORM) else 0
        if error is None:
            return
        # That an answer is not authentic, or that the caller may not ask, is about every question there is.
        of_all = error.is_about_the_caller if isinstance(error, ApiError) else not isinstance(error, TransportError)
        if of_all or not isinstance(error, WxCouponError) or self._in_a_row >= OUTAGE:
            raise error
        self[openid] = error


def failures_frame(failures: Iterable[tuple[str, WxCouponError]]) -> pd.DataFrame:
    """Lay failures out: whose question failed, and how."""
    rows = []
    for openid, error in failures:
        row = {"openid": openid, "error": type(error).__name__, "message": str(error)}
        if isinstance(error, ApiError):
            row |= {name: getattr(error, name) for name in ("status", "code", "message", "request_id", "numeric_code")}
        rows.append(row)
    return frame_of(pa.Table.from_pylist(rows, _FAILURES))


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a fetch into a store came to, over all its runs. The rows are in the store.

    Attributes
    ----------
    users : int
        Users wholly answered.
    coupons : int
        Coupons in the answers.
    new, changed, unchanged : int
        How many of these the store had not known, had known otherwise, or had known so.
    vanished : int
        Coupons the store knew that the answers should have had and had not. Each was asked for by itself; ``found`` of
        them have a state again, that of the others is null.
    found : int
    requests : int
        Answers received and kept, those of users who failed later too; the wire's own repeats are not counted.
    failures : DataFrame
        With ``on_error="collect"``, one row a user whose question failed for good, and nothing of whom was stored (or
        whose vanished coupon could not be asked for): ``openid``, ``error`` (the error's class), ``status`` (Int64),
        ``code``, ``message``, ``request_id``, ``numeric_code`` (Int64); texts are ``string``.
    fetch_id : str
        As in the store's record of the fetch.
    started_at, ended_at : datetime
        Asia/Shanghai.
    resumed : bool
        Whether an earlier run that did not end had begun it.
    notes : tuple of str
        What else there is to say.

    Examples
    --------
    >>> import tempfile
    >>> import wxcoupon_analytics as wx
    >>> store = wx.SnapshotStore(tempfile.mkdtemp())
    >>> with wx.Sandbox(seed=7) as box, box.client() as client:
    ...     fetched = client.fetch.user_coupons(box.openids()[:100], appid=box.appid, store=store)
    >>> fetched.users, fetched.complete, fetched.coupons == len(store.load("user_coupons"))
    (100, True, True)
    """

    users: int
    coupons: int
    new: int
    changed: int
    unchanged: int
    vanished: int
    found: int
    requests: int
    failures: pd.DataFrame
    fetch_id: str
    started_at: datetime
    ended_at: datetime
    resumed: bool = False
    notes: tuple[str, ...] = ()
    path: str | None = field(default=None, repr=False)

    @property
    def complete(self) -> bool:
        """Whether nobody's question failed."""
        return self.failures.empty

    def __repr__(self) -> str:
        vanished = f", {self.vanished:,} vanished ({self.found:,} found again)" if self.vanished else ""
        failed = f"; {len(self.failures):,} failed" if len(self.failures) else ""
        taken_up = "; taken up from an earlier run" if self.resumed else ""
        said = "".join(f"\n  note: {note}" for note in self.notes)
        return (
            f"<Fetched {self.users:,} users, {self.coupons:,} coupons: {self.new:,} new, {self.changed:,} changed,"
            f" {self.unchanged:,} unchanged{vanished}; {self.requests:,} requests{failed}{taken_up}>{said}"
        )
