"""The server is a process of its own that is never left behind, and the handle says clearly what is wrong."""

from __future__ import annotations

import gc
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from wxcoupon_analytics.errors import WxCouponError
from wxcoupon_analytics.sandbox import Sandbox
from wxcoupon_analytics.sandbox.clock import parse_rfc3339, rfc3339

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import os, sys, time
from wxcoupon_analytics.sandbox import Sandbox
box = Sandbox(population=False)
box.start()
print(box.hosts[0].rpartition(":")[2], flush=True)
if "--fork" in sys.argv:
    child = os.fork()
    if child == 0:
        time.sleep(30)
        os._exit(0)
    print(child, flush=True)
if "--stay" in sys.argv:
    time.sleep(60)
"""


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except ConnectionRefusedError:
        return False
    return True


def soon_deaf(port: int) -> bool:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if not listens(port):
            return True
        time.sleep(0.05)
    return False


def script(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    path = folder / "script.py"
    path.write_text(SCRIPT)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, path, *arguments], stdout=subprocess.PIPE, text=True, env=environment, cwd=folder
    )


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_it_dies_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    with script(tmp_path, "--stay") as parent:
        assert parent.stdout is not None
        port = int(parent.stdout.readline())
        assert listens(port)
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
        assert soon_deaf(port)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_it_dies_with_a_killed_parent_whose_child_still_holds_the_pipe(tmp_path: Path) -> None:
    with script(tmp_path, "--fork", "--stay") as parent:
        assert parent.stdout is not None
        port, child = int(parent.stdout.readline()), int(parent.stdout.readline())
        try:
            os.kill(parent.pid, signal.SIGKILL)
            parent.wait()
            assert soon_deaf(port)
            os.kill(child, 0)  # the child is still there
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_script_without_a_main_guard_that_forgets_to_stop_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "starlette.py").write_text("raise SystemExit('imported from the working folder')")
    with script(tmp_path) as parent:
        assert parent.stdout is not None
        port = int(parent.stdout.readline())
        assert parent.wait(timeout=20) == 0
        assert soon_deaf(port)


def test_stopping_reaps_and_may_be_repeated() -> None:
    box = Sandbox(population=False).start()
    port = int(box.hosts[0].rpartition(":")[2])
    assert box.start() is box
    box.stop()
    box.stop()
    assert not listens(port)
    with pytest.raises(WxCouponError, match="not running"):
        _ = box.hosts
    assert repr(box) == "<Sandbox not started>"


def test_a_box_that_is_dropped_is_ended_without_a_warning() -> None:
    box = Sandbox(population=False).start()
    port = int(box.hosts[0].rpartition(":")[2])
    del box
    gc.collect()
    assert soon_deaf(port)


def test_a_box_can_be_started_again() -> None:
    box = Sandbox(population=False)
    for _ in range(2):
        with box:
            assert box.openids() == []
            begun = box.now()
            assert box.advance(hours=30) == begun + timedelta(hours=30)
            assert box._control("POST", "advance", {"seconds": 0})["now"] == box.now().timestamp()
        assert begun.isoformat() == "2026-11-02T10:00:00+08:00"


def test_two_boxes_have_their_own_keys_and_ports() -> None:
    with Sandbox(population=False) as one, Sandbox(population=False) as two:
        assert one.hosts != two.hosts
        assert one._known["public_key"] != two._known["public_key"]


def test_keys_are_not_on_the_command_line() -> None:
    with Sandbox(population=False) as box:
        assert box._end is not None
        process: Any = box._end.peek()[2][0]  # type: ignore[index]
        arguments = " ".join(map(str, process.args))
        assert "PRIVATE" not in arguments
        assert box._known["token"] not in arguments


def test_a_taken_port_is_named_as_the_reason() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(WxCouponError, match=r"could not start.*in use"):
            Sandbox(population=False, port=taken.getsockname()[1]).start()


def test_a_missing_extra_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "uvicorn" else found(name))
    with pytest.raises(WxCouponError, match=r"needs uvicorn: pip install 'wxcoupon-analytics\[sandbox\]'"):
        Sandbox().start()


def test_business_time_stands_still_and_only_moves_forward() -> None:
    start = datetime.fromisoformat("2026-02-28T23:00:00+08:00")
    with Sandbox(population=False, start=start) as box:
        assert box.now() == start
        time.sleep(1.1)
        assert box.now() == start
        assert str(box.now().tzinfo) == "Asia/Shanghai"
        assert box.advance(hours=1, minutes=30).isoformat() == "2026-03-01T00:30:00+08:00"
        with pytest.raises(ValueError, match="only moves forward"):
            box.advance(seconds=-1)
        assert box.now().isoformat() == "2026-03-01T00:30:00+08:00"
        with pytest.raises(ValueError, match="ends with the year 9998"):
            box.advance(days=366 * 9_000)
        assert box.openids() == []
    with pytest.raises(ValueError, match="timezone-aware"):
        Sandbox(start=datetime(2026, 1, 1))  # noqa: DTZ001


def test_a_ticking_clock_runs_on_both_sides() -> None:
    with Sandbox(population=False, tick=True) as box:
        begun = box.now()
        time.sleep(2.1)
        assert 1 <= (box.now() - begun).total_seconds() <= 4
        for _ in range(4):
            box.advance(minutes=1)
            told = box._control("POST", "advance", {"seconds": 0})["now"]
            assert abs(told - box.now().timestamp()) <= 1


def test_the_log_keeps_what_came_and_no_more_than_two_thousand() -> None:
    with Sandbox(population=False) as box:
        port = box._known["port"]
        line = "GET /brand/marketing/product-coupon/users/o%20x/coupons?n={} HTTP/1.1\r\nHost: box\r\n\r\n"
        with socket.create_connection(("127.0.0.1", port)) as sock, sock.makefile("rb") as answers:
            for number in range(2_010):
                sock.sendall(line.format(number).encode())
                length = 0
                while (header := answers.readline()) != b"\r\n":
                    if header.lower().startswith(b"content-length"):
                        length = int(header.split(b":")[1])
                answers.read(length)
        log = box.requests()
        assert len(log) == 2_000
        assert log[-1]["path"] == "/brand/marketing/product-coupon/users/o%20x/coupons?n=2009"
        assert (log[-1]["method"], log[-1]["status"], log[-1]["request_no"]) == ("GET", 401, None)
        assert json.dumps(log[-1]["body_sha256"]).count("e3b0c44298fc") == 1


def test_the_server_loads_nothing_of_the_client() -> None:
    code = "import sys, wxcoupon_analytics.sandbox.__main__; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    ours = {name for name in done.stdout.split() if name.startswith("wxcoupon_analytics")}
    allowed = {"wxcoupon_analytics", "wxcoupon_analytics.errors"}
    assert {name for name in ours if not name.startswith("wxcoupon_analytics.sandbox")} <= allowed
    assert not {"pandas", "pyarrow", "httpx", "aiohttp"} & set(done.stdout.split())


@pytest.mark.parametrize(
    "text", ["9999-12-31T23:59:59Z", "9999-12-31T16:00:00Z", "0001-01-01T00:00:00+14:00", "0000-01-01T00:00:00Z"]
)
def test_a_time_that_cannot_be_written_in_beijing_cannot_be_read(text: str) -> None:
    with pytest.raises(ValueError):
        parse_rfc3339(text)


@pytest.mark.parametrize(
    "text", ["9999-12-31T23:59:59+08:00", "1969-12-31T23:59:59+08:00", "0001-01-02T00:00:00+08:00"]
)
def test_a_time_is_written_back_as_it_was_read(text: str) -> None:
    assert rfc3339(parse_rfc3339(text)) == text
