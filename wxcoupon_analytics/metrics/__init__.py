"""Numbers: pure functions, frame in, frame out, over any dataframe engine; no network, no files."""

from wxcoupon_analytics.metrics.budget import budget_use
from wxcoupon_analytics.metrics.changes import state_changes
from wxcoupon_analytics.metrics.confirming import confirming_age
from wxcoupon_analytics.metrics.funnel import coupon_funnel
from wxcoupon_analytics.metrics.joining import enrich
from wxcoupon_analytics.metrics.known import coverage
from wxcoupon_analytics.metrics.lift import holdout_lift
from wxcoupon_analytics.metrics.pacing import exhaustion_forecast, pace, quota_days
from wxcoupon_analytics.metrics.quota import remaining_daily_quota
from wxcoupon_analytics.metrics.redemption import redemption_curve, redemption_rate
from wxcoupon_analytics.metrics.sends import daily_sends
from wxcoupon_analytics.metrics.states import state_breakdown
from wxcoupon_analytics.metrics.timeline import state_history

__all__ = [
    "budget_use",
    "confirming_age",
    "coupon_funnel",
    "coverage",
    "daily_sends",
    "enrich",
    "exhaustion_forecast",
    "holdout_lift",
    "pace",
    "quota_days",
    "redemption_curve",
    "redemption_rate",
    "remaining_daily_quota",
    "state_breakdown",
    "state_changes",
    "state_history",
]
