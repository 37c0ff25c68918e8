"""The charts of a weekly report, drawn without pyplot: no window opens, and nothing is left open."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from wxcoupon_analytics.plots import (
    plot_budget_use,
    plot_daily_sends,
    plot_funnel,
    plot_quota_days,
    plot_redemption_curve,
    plot_state_breakdown,
)
from wxcoupon_analytics.report.coupon_tables import COHORTS, cohorts_shown
from wxcoupon_analytics.report.numbers import STOCK, Tables
from wxcoupon_analytics.report.readings import Readings
from wxcoupon_analytics.words import Lang

_TOP: Final = 12
_DAYS: Final = 28


def pictures_of(found: Readings, tables: Tables, lang: Lang) -> dict[str, Figure]:
    """Draw every chart that has something to show."""
    stocks, names, history = found.stocks, found.product_coupons, found.stock_history
    # The plot would forecast every stock anew to find these.
    soonest = history.merge(tables["forecast"][STOCK].head(_TOP))
    bars = min(len(tables["sends"]), _TOP)
    shown = min(len(tables["limits"]), _TOP)
    draw: dict[str, tuple[float, Callable[[Axes], Axes]]] = {
        "forecast": (
            2.4 + 0.62 * bars,
            lambda ax: plot_daily_sends(soonest, names, now=found.closing, last_days=_DAYS, ax=ax, lang=lang, top=_TOP),
        ),
        "sends": (2.1 + 0.34 * bars, lambda ax: plot_budget_use(stocks, names, ax=ax, lang=lang, top=_TOP)),
    }
    if shown:
        limited = history.merge(tables["limits"][STOCK].head(_TOP))
        draw["limits"] = (
            2.1 + 0.34 * shown,
            lambda ax: plot_quota_days(limited, names, last_days=14, ax=ax, lang=lang, top=_TOP),
        )
    if found.knows_coupons:
        draw |= _of_coupons(found, lang, bars)
    return {name: _drawn(height, onto) for name, (height, onto) in draw.items()}


def _of_coupons(found: Readings, lang: Lang, bars: int) -> Mapping[str, tuple[float, Callable[[Axes], Axes]]]:
    coupons, stocks, names = found.coupons, found.stocks, found.product_coupons
    return {
        "states": (
            2.4 + 0.34 * bars,
            lambda ax: plot_state_breakdown(
                coupons, by="stock_id", stocks=stocks, product_coupons=names, ax=ax, lang=lang, top=_TOP
            ),
        ),
        "redemption": (3.6, lambda ax: plot_funnel(coupons, ax=ax, lang=lang)),
        "cohorts": (
            5.2,
            lambda ax: plot_redemption_curve(cohorts_shown(found), by="cohort", ax=ax, lang=lang, top=COHORTS),
        ),
    }


def _drawn(height: float, onto: Callable[[Axes], Axes]) -> Figure:
    figure = Figure(figsize=(10.4, height), layout="constrained")
    onto(figure.add_subplot())
    return figure
