from __future__ import annotations

import re

import pytest

import wxcoupon_analytics as wx


def test_show_versions_names_what_a_bug_report_needs(capsys: pytest.CaptureFixture[str]):
    wx.show_versions()
    said = capsys.readouterr().out
    for name in ("python", "wxcoupon-analytics", "pandas", "pyarrow", "duckdb", "narwhals", "httpx"):
        assert re.search(rf"^{name} : \d", said, re.M), name
