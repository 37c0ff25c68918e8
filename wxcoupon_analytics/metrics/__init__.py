"""Numbers: pure functions, frame in, frame out, over any dataframe engine; no network, no files."""

from .budget import budget_use
from .quota import remaining_daily_quota
from .states import state_breakdown

__all__ = ["budget_use", "remaining_daily_quota", "state_breakdown"]
