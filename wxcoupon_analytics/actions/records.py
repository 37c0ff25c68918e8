"""What is known of a write, from its beginning to its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from wxcoupon_analytics.actions.intent import Intent
from wxcoupon_analytics.errors import ApiError, RateLimitError, WxCouponError


@dataclass(frozen=True, slots=True)
class Record:
    """What the journal knows of one request number; ``is_held`` while a living run is asking."""

    intent: str
    status: str
    answer: dict[str, Any] | None
    attempts: int
    touched_at: datetime
    error_code: str | None
    error_message: str | None
    request_id: str | None
    is_held: bool = False

    @property
    def did_not_happen(self) -> bool:
        """Whether it is certain that it has not."""
        return self.status in ("failed", "unsent")

    def is_open_to(self, text: str, *, retry_failed: bool) -> bool:
        """Whether a write may be asked: what did not happen may be mended, what may have happened only repeated."""
        if self.status == "unsent":
            return True
        if self.status == "failed":
            return retry_failed or self.intent != text
        return self.status == "unknown" and self.intent == text and not self.is_held


@dataclass(frozen=True, slots=True)
class Claim:
    """A write that is durable and ours to ask; ``before`` is what was known of it until now."""

    intent: Intent
    text: str
    attempts: int
    before: Record | None


@dataclass(frozen=True, slots=True)
class End:
    """What came of a claim: an answer, or the error in its place."""

    claim: Claim
    outcome: Mapping[str, Any] | WxCouponError
    request_id: str | None = None
    is_final: bool = True  # False: refused, but for a reason that may pass

    @property
    def status(self) -> str:
        """What it makes of the write: ``done``, ``failed`` (refused for good), ``unsent`` (it did not happen), ``unknown``."""
        if not isinstance(self.outcome, WxCouponError):
            return "done"
        if self.outcome.maybe_executed:
            return "unknown"
        refused = isinstance(self.outcome, ApiError) and not isinstance(self.outcome, RateLimitError)
        return "failed" if refused and self.is_final else "unsent"
