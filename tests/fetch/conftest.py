from __future__ import annotations

from collections.abc import Iterator

import pytest
import tenacity

from tests.fetch.shop import Shop, open_shop
from wxcoupon_analytics.fetch import into_store
from wxcoupon_analytics.wire import exchange


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """A shop of one's own, whose lists come in pages of two."""
    monkeypatch.setattr(into_store, "MAX_PAGE_SIZE", 2)
    monkeypatch.setattr(exchange, "_wait", tenacity.wait_none())
    with open_shop() as shop:
        yield shop
