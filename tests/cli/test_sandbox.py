"""``wxcoupon sandbox``, and the folder by which other processes find the brand."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pandas as pd
import psutil
import pytest

import wxcoupon_analytics as wx
from tests.cli.commands import COMMAND, run
from wxcoupon_analytics.sandbox.sharing import publish, serve_now


def test_it_serves_other_processes_until_it_is_interrupted(tmp_path: Path):
    folder = tmp_path / "brand"
    with subprocess.Popen(
        [*COMMAND, "sandbox", "--to", folder, "--json"], stdout=subprocess.PIPE, text=True, cwd=tmp_path
    ) as server:
        assert server.stdout is not None
        try:
            found = json.loads(server.stdout.readline())
            environment = os.environ | {"WXCOUPON_CONFIG": found["config"]}
            for name in ("wxcoupon.toml", "sandbox.json"):
                assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
            script = (
                "import wxcoupon_analytics as wx; box = wx.Sandbox.shared(); "
                "print(box.hosts[0], len(box.openids()), abs((box.now() - wx.connect(wx.Credentials.load()).now()).total_seconds()))"
            )
            done = subprocess.run(
                [sys.executable, "-c", script], env=environment, capture_output=True, text=True, cwd=tmp_path
            )
            assert done.returncode == 0, done.stderr
            host, customers, apart = done.stdout.split()
            assert host == found["hosts"][0]
            assert int(customers) == len(pd.read_csv(found["customers"])) > 1_000
            assert float(apart) < 30, "its business time must be the present, for programs that know no other"
        finally:
            server.send_signal(signal.SIGINT)
            assert server.wait(timeout=20) == 0
    gone = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert "is not served any more: start `wxcoupon sandbox` again" in gone.stderr


def test_a_folder_or_a_port_that_is_taken_is_told_and_left_alone(served: wx.Sandbox, tmp_path: Path):
    pytest.importorskip("jupyterlab")
    config = Path(os.environ["WXCOUPON_CONFIG"])
    (journal := config.with_name("journal.sqlite3")).touch()
    before = config.read_text()
    for command in (["sandbox", "--to"], ["lab", "--no-browser", "--to"]):
        folder = config.parent
        if command[0] == "lab":
            publish(served, (folder := tmp_path / "lab") / ".sandbox")
        result = run(*command, folder)
        assert result.exit_code == 1
        assert "is being served already, on port" in result.stderr
    assert config.read_text() == before
    assert journal.exists()
    port = served.hosts[0].rpartition(":")[2]
    result = run("sandbox", "--to", tmp_path / "other", "--port", port)
    assert result.exit_code == 1
    assert f"port {port} of 127.0.0.1 cannot be had" in result.stderr
    assert run("sandbox", "--port", 65_536).exit_code == 2


@pytest.mark.parametrize(
    "damaged",
    [
        "",
        "[]",
        "{}",
        '{"port": 1}',
        "null",
        '{"port": 1, "token": "t", "server": null}',
        '{"port": 1, "token": "t", "server": {"host": "h", "pid": 1, "started": 1.0, "more": 1}}',
        '{"port": 1, "token": "t", "server": {"host": "h", "pid": "1", "started": 1.0}}',
        '{"port": null, "token": "t", "server": {"host": "h", "pid": 1, "started": 1.0}}',
        '{"port": 1, "token": "t", "server": {"host": "h", "pid": 1, "started": 1.0}, "behaviour": {"segments": null}}',
        '{"port": 1, "token": "t", "server": {"host": "h", "pid": 1, "started": 1.0}, "behaviour": {"segments": {}, "x": 1}}',
    ],
)
def test_a_handle_that_tells_nothing_is_a_brand_that_has_ended(served: wx.Sandbox, damaged: str):
    config = Path(os.environ["WXCOUPON_CONFIG"])
    (handle := config.with_name("sandbox.json")).write_text(damaged)
    with pytest.raises(wx.WxCouponError, match="is not served any more: start `wxcoupon sandbox` again"):
        wx.Sandbox.shared()
    assert publish(served, config.parent) == config
    assert json.loads(handle.read_text())["token"]
    assert wx.Sandbox.shared().hosts == served.hosts


def test_one_that_is_busy_or_stopped_is_served_all_the_same(served: wx.Sandbox, tmp_path: Path):
    with serve_now(seed=8) as other:
        folder = publish(other, tmp_path / "other").parent
        server = json.loads((folder / "sandbox.json").read_text())["pid"]
        os.kill(server, signal.SIGSTOP)
        try:
            with pytest.raises(wx.WxCouponError, match="is being served already, on port"):
                publish(served, folder)
        finally:
            os.kill(server, signal.SIGCONT)
        os.kill(server, signal.SIGKILL)
        psutil.wait_procs([psutil.Process(server)], timeout=30)
        assert publish(served, folder).parent == folder, "nobody has waited for the killed one, and it serves no more"


def test_who_listens_in_the_place_of_one_that_ended_does_not_keep_its_folder(served: wx.Sandbox, tmp_path: Path):
    with serve_now(seed=8) as other:
        folder = publish(other, tmp_path / "other").parent
        handle = json.loads((folder / "sandbox.json").read_text())
    with socket.create_server(("127.0.0.1", 0)) as silent:
        handle["port"] = silent.getsockname()[1]
        (folder / "sandbox.json").write_text(json.dumps(handle))
        publish(served, folder)
    assert json.loads((folder / "sandbox.json").read_text())["port"] != handle["port"]


def test_who_shares_a_brand_knows_how_its_customers_behave(served: wx.Sandbox):
    handle = Path(os.environ["WXCOUPON_CONFIG"]).with_name("sandbox.json")
    behaviour = wx.sandbox.Behaviour(returned=0.5)
    handle.write_text(json.dumps(json.loads(handle.read_text()) | {"behaviour": behaviour.to_document()}))
    assert wx.Sandbox.shared().behaviour.returned == 0.5


def test_a_folder_that_is_none_is_one_line(tmp_path: Path):
    (tmp_path / "file").touch()
    result = run("sandbox", "--to", tmp_path / "file")
    assert result.exit_code == 1
    assert result.stderr == f"{tmp_path / 'file'} cannot be used: File exists\n"


def test_one_process_shares_one_with_itself_and_its_journal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WXCOUPON_CONFIG", raising=False)
    with wx.Sandbox.shared() as box:
        assert wx.Sandbox.shared() is box
        with box.client() as client:
            paths = {client._journal.path}
        (box.folder / "snapshots").mkdir()
        box.advance(days=1)
        with wx.Sandbox.shared().client() as client:
            assert client.now() == box.now()
            assert {client._journal.path} == paths
        folder = box.folder
        publish(box, folder)
        assert (folder / "snapshots").exists(), "nothing there is known to be of another brand"
        publish(box, folder)
        assert [path.name for path in sorted(folder.iterdir())] == ["sandbox.json", "wxcoupon.toml"]
