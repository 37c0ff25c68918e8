"""Numbers: pure functions, frame in, frame out, over any dataframe engine; no network, no files."""

from wxcoupon_analytics.metrics.budget import budget_use
from wxcoupon_analytics.metrics.quota import remaining_daily_quota
from wxcoupon_analytics.metrics.states import state_breakdown

__all__ = ["budget_use", "remaining_daily_quota", "state_breakdown"]
