"""The embedded brand as a command finds it: alive, and named by its configuration."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import wxcoupon_analytics as wx
from wxcoupon_analytics.sandbox.sharing import publish, serve_now


@pytest.fixture(scope="session")
def live() -> Iterator[wx.Sandbox]:
    """A brand that lives in the present, as a real one does."""
    with serve_now(seed=7) as box:
        yield box


@pytest.fixture
def served(live: wx.Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> wx.Sandbox:
    """That brand, found by its configuration as another process would find it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WXCOUPON_CONFIG", str(publish(live, tmp_path / "brand")))
    return live
