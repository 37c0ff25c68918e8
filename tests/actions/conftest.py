from __future__ import annotations

import pytest
import tenacity

import wxcoupon_analytics as wx
from tests.actions.selling import Shop
from wxcoupon_analytics.wire import exchange


@pytest.fixture(scope="module")
def brand():
    with wx.Sandbox(seed=1, population=False, rate_limits=False) as box, box.client() as client:
        yield box, client


@pytest.fixture
def shop(brand):
    yield Shop(*brand)
    brand[0].faults(None)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeats do not wait."""
    monkeypatch.setattr(exchange, "_wait", tenacity.wait_none())
