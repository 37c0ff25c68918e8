"""First looks at the numbers: each plot draws one metric, and every number on it comes from that metric.

A plot takes the frame its metric takes, of any engine, and an ``ax`` to draw into (a new figure without one). It returns
the Axes, shows nothing by itself, and changes no setting of matplotlib.
"""

from wxcoupon_analytics.plots.budget import plot_budget_use, plot_remaining_daily_quota
from wxcoupon_analytics.plots.funnel import plot_funnel
from wxcoupon_analytics.plots.quota_days import plot_quota_days
from wxcoupon_analytics.plots.redemption import plot_redemption_curve
from wxcoupon_analytics.plots.sends import plot_daily_sends
from wxcoupon_analytics.plots.states import plot_state_breakdown, plot_state_history
from wxcoupon_analytics.plots.svg import svg_text

__all__ = [
    "plot_budget_use",
    "plot_daily_sends",
    "plot_funnel",
    "plot_quota_days",
    "plot_redemption_curve",
    "plot_remaining_daily_quota",
    "plot_state_breakdown",
    "plot_state_history",
    "svg_text",
]
