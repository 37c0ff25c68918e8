"""Warnings of drift are given once a process; each test starts as a new process would."""

import pytest

from wxcoupon_analytics.entities import flatten


@pytest.fixture(autouse=True)
def _nothing_warned_yet(monkeypatch):
    monkeypatch.setattr(flatten, "_warned", set())
