"""Which hosts a command calls."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import wxcoupon_analytics as wx
from tests.cli.commands import run


def test_an_option_comes_before_what_stands_beside_the_credentials(served: wx.Sandbox):
    result = run("fetch", "--host", "http://127.0.0.1:9", "--product-coupon-id", "1000000013")
    assert result.exit_code == 1
    assert result.stderr.startswith("TransportError: ")
    assert "127.0.0.1:9" in result.stderr


def test_the_environment_may_name_them_with_the_keys(served: wx.Sandbox, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("WXCOUPON_CONFIG")
    for name, value in {"brand_id": served.brand_id, **served._keys("brand")}.items():
        monkeypatch.setenv(f"WXCOUPON_{name.upper()}", value)
    monkeypatch.setenv("WXCOUPON_HOSTS", f"{served.hosts[0]} http://127.0.0.1:9")
    assert wx.Credentials.load().hosts == (served.hosts[0], "http://127.0.0.1:9")
    monkeypatch.setenv("WXCOUPON_HOSTS", "http://example.com")
    result = run("fetch", "--product-coupon-id", "1000000013")
    assert result.exit_code == 1
    assert "only https:// is spoken" in result.stderr


def test_no_other_is_called_unless_one_is_named(served: wx.Sandbox, tmp_path: Path, monkeypatch):
    config = Path(os.environ["WXCOUPON_CONFIG"])
    plain = tmp_path / "plain.toml"
    plain.write_text("\n".join(line for line in config.read_text().splitlines() if not line.startswith("hosts")))
    monkeypatch.setenv("WXCOUPON_CONFIG", str(plain))
    assert wx.Credentials.load().hosts == ()
    plain.write_text(plain.read_text() + "\nhosts = 'not a list'\n")
    assert wx.Credentials.load().hosts == ("not", "a", "list")
    plain.write_text(plain.read_text().replace("'not a list'", "80"))
    with pytest.raises(wx.CredentialsError, match="hosts must be a list of URLs"):
        wx.Credentials.load()
