"""``wxcoupon demo``."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pandas as pd

import wxcoupon_analytics as wx
from tests.cli.commands import COMMAND, run


def test_the_demo_shows_the_whole_line_and_may_be_run_again(tmp_path: Path):
    for _ in range(2):
        done = subprocess.run(
            [*COMMAND, "demo", "--to", str(tmp_path / "demo")], capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
    said = done.stdout
    for expected in ("budget_use", "remaining_daily_quota", "state_breakdown", "PAUSED → DEACTIVATED", "Done in"):
        assert expected in said
    codes = re.findall(r"(?:first call|second call|confirmed) +(\d{16}) +(\w+)", said)
    assert [state for _, state in codes] == ["CONFIRMING", "CONFIRMING", "EFFECTIVE"]
    assert len({code for code, _ in codes}) == 1, "the second call must not send a second coupon"
    assert "…" not in said.split("Done in")[0].split("remaining_daily_quota")[0], "a table was cut"
    store = wx.SnapshotStore(tmp_path / "demo")
    assert len(store.snapshots("stocks")) == 3
    assert len(pd.read_parquet(tmp_path / "demo" / "user_coupons")) == len(store.history("user_coupons"))
    assert len(store.history("user_coupons")) > len(store.load("user_coupons")) > 20_000
    for name in ("budget_use", "remaining_daily_quota", "state_breakdown"):
        assert (tmp_path / "demo" / f"{name}.png").stat().st_size > 20_000


def test_the_demo_leaves_a_folder_alone_that_is_not_its_own(tmp_path: Path):
    (tmp_path / "my-report.xlsx").touch()
    result = run("demo", "--to", tmp_path)
    assert result.exit_code == 1
    assert "no demo made it: name another folder with --to" in result.output
    assert [p.name for p in tmp_path.iterdir()] == ["my-report.xlsx"]
