"""``wxcoupon doctor`` as a command; what it checks is tested beside it."""

from __future__ import annotations

import json

import wxcoupon_analytics as wx
from tests.cli.commands import run


def test_all_is_well_with_the_brand_that_is_served(served: wx.Sandbox):
    result = run("doctor", "--json")
    assert result.exit_code == 0
    checks = json.loads(result.stdout)
    assert all(check["ok"] for check in checks)
    assert f"host {served.hosts[0]}" in [check["name"] for check in checks]
    assert run("doctor").stdout.splitlines()[-1] == f"all {len(checks)} checks passed"


def test_a_failed_check_is_an_exit_status(served: wx.Sandbox):
    assert run("doctor", "--host", "http://127.0.0.1:9", "--timeout", 2).exit_code == 1
    assert run("doctor", "--timeout", -1).exit_code == 2
