"""Frames as the files people open: Excel workbooks, and CSV that a spreadsheet reads right."""

from wxcoupon_analytics.exports.comma_separated import to_csv
from wxcoupon_analytics.exports.workbook import Sheet, to_excel, write_workbook

__all__ = ["Sheet", "to_csv", "to_excel", "write_workbook"]
