"""``wxcoupon report``."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pandas as pd
import pytest

import wxcoupon_analytics as wx
from tests.cli.commands import run, users


def test_it_writes_the_week_from_the_store_alone(served: wx.Sandbox, monkeypatch: pytest.MonkeyPatch):
    file = users(Path("customers.csv"), served.openids()[:50])
    ids = ["--product-coupon-id", "1000000013", "--appid", served.appid]
    assert run("fetch", "--openids", file, *ids).exit_code == 0
    monkeypatch.delenv("WXCOUPON_CONFIG")
    day = f"{served.now():%Y-%m-%d}"
    result = run("report", "--week", day, "--lang", "en", "--out", "week.html", "--out", "week.xlsx", "--json")
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert said["week"] == f"{served.now():%G-W%V}"
    assert said["files"] == ["week.html", "week.xlsx"]
    assert said["headline"] in Path("week.html").read_text(encoding="utf-8")
    assert len(pd.read_excel("week.xlsx", sheet_name=None)) > 3

    named = run("report", "--week", day)
    assert named.stdout.splitlines()[0] == f"report-{said['week']}.html"
    assert Path(f"report-{said['week']}.html").exists()


def test_a_store_without_snapshots_is_told(served: wx.Sandbox, tmp_path: Path):
    result = run("report", "--store", "none", "--out", "week.html")
    assert result.exit_code == 1
    assert result.stderr.startswith("SnapshotError: ")
    assert not Path("week.html").exists()
    assert run("report", "--out", "week.pdf").stderr.startswith("ValidationError: week.pdf: name a file")
    assert run("report", "--out", "nowhere/week.html").stderr.startswith("ValidationError: nowhere/week.html cannot")
    assert run("report", "--lang", "fr").exit_code == 2


def test_a_store_that_cannot_be_reached_is_one_line():
    pytest.importorskip("fsspec")
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    result = run("report", "--store", f"http://somebody:not-to-be-shown@127.0.0.1:{port}/store")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"SnapshotError: http://127.0.0.1:{port}/store cannot be listed (")
    assert result.stderr.count("\n") == 1
    assert "not-to-be-shown" not in result.stderr


def test_a_folder_that_is_not_ours_to_write_to_is_told_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    tmp_path.chmod(0o500)
    if os.access(tmp_path, os.W_OK):
        pytest.skip("this user may write everywhere")
    monkeypatch.chdir(tmp_path)
    result = run("report", "--store", tmp_path / "none")
    assert result.stderr.startswith("ValidationError: report-WEEK.html cannot be written: . is not yours")
