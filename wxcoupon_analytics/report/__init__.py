"""The weekly report: a week of a brand's coupons in one HTML page and one workbook, for readers who ask nobody."""

from wxcoupon_analytics.report.weekly import WeeklyReport, weekly_report

__all__ = ["WeeklyReport", "weekly_report"]
