"""Plans executed by processes that are killed, and by several at once: the server's books and its log are the judges."""

from __future__ import annotations

import multiprocessing
import random
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import wxcoupon_analytics as wx
from tests.shop import product_coupon
from wxcoupon_analytics.client import connect  # here, so that the fork server loads all of it once

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL and fork")

_LOG = 2000  # requests the server remembers


@pytest.fixture(scope="module")
def processes() -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.actions.test_execute_processes"])
    return context


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[tuple[wx.Sandbox, dict[str, Any]]]:
    with wx.Sandbox(seed=1, population=False, rate_limits=False) as box, box.client() as client:
        made = client.api.create_product_coupon(product_coupon(max_count=100_000))
        box.advance(hours=1)
        ids = {
            "product_coupon_id": made["product_coupon_id"],
            "stock_id": made["stock"]["stock_id"],
            "appid": box.appid,
        }
        keys = {"brand_id": box.brand_id, **box._keys("brand")}
        yield (
            box,
            {
                "hosts": box.hosts,
                "keys": keys,
                "now": box.now(),
                "ids": ids,
                "journal": tmp_path / "j.sqlite3",
                "timeout": 0.7,
            },
        )


def run(told: dict[str, Any], count: int, say: Connection) -> None:
    """What a notebook does: plan, execute all that is ready, and show what came."""
    credentials = wx.Credentials.brand(**told["keys"])
    options = {"journal": told["journal"], "clock": lambda: told["now"], "timeout": told["timeout"]}
    with connect(credentials, hosts=told["hosts"], **options) as client:
        audience = pd.DataFrame({"openid": [f"user-{i}" for i in range(count)]})
        plan = client.actions.plan_sends(audience, campaign="c", **told["ids"])
        say.send("executing")
        if "together" in told:
            told["together"].wait()
        # The count that a person confirmed for the whole plan stands, however often it was cut off.
        result = plan.execute(confirm=count, max_failures=count)
        say.send(result[["openid", "status", "coupon_code", "attempts"]].to_dict("list"))


def started(processes: Any, told: dict[str, Any], count: int) -> tuple[Any, Connection]:
    hear, say = processes.Pipe(duplex=False)
    process = processes.Process(target=run, args=(told, count, say), daemon=True)
    process.start()
    say.close()
    return process, hear


def done_by_the_journal(told: dict[str, Any]) -> set[str]:
    with connect(wx.Credentials.brand(**told["keys"]), hosts=told["hosts"], journal=told["journal"]) as client:
        journal = client.actions.journal()
    return set(journal.loc[journal["status"] == "done", "request_no"])


def wait_for_progress(told: dict[str, Any], done: int, *, after: int) -> int:
    """Wait until the run after lease ``after`` asks, and so many sends are done, however slow the machine is."""
    with closing(sqlite3.connect(f"file:{told['journal']}?mode=ro", uri=True)) as db:
        while True:
            lease, answered = db.execute("SELECT max(lease), sum(status = 'done') FROM actions").fetchone()
            if lease is not None and lease > after and answered >= done:
                break
            time.sleep(0.002)
    return int(lease)


def wait_until_it_holds(told: dict[str, Any], pid: int, count: int) -> None:
    """Wait until a process has begun so many sends whose outcome is not known."""
    held = "SELECT count(*) FROM actions JOIN leases ON lease = leases.id WHERE pid = ? AND status = 'unknown'"
    with closing(sqlite3.connect(f"file:{told['journal']}?mode=ro", uri=True)) as db:
        while db.execute(held, (pid,)).fetchone() < (count,):
            time.sleep(0.002)


def new_requests(before: list[Any], now: list[Any]) -> list[Any]:
    """What the log shows that it did not show before; it forgets its oldest."""
    for forgotten in range(len(before) + 1):
        kept = before[forgotten:]
        if now[: len(kept)] == kept and (len(now) == _LOG or not forgotten):
            assert kept or not before, "the log forgot what was never read"
            return now[len(kept) :]
    raise AssertionError("unreachable: the empty list is a beginning of any")


def requests(box: wx.Sandbox) -> list[Any]:
    """The server's log; the status of an answer that is late comes later."""
    return [{name: value for name, value in request.items() if name != "status"} for request in box.requests()]


def sent_numbers(seen: list[Any]) -> Counter[str]:
    return Counter(r["request_no"] for r in seen if r["method"] == "POST" and r["path"].endswith("/coupons"))


def books(box: wx.Sandbox) -> Counter[str]:
    return Counter(box.truth("user_coupons")["openid"])


@pytest.mark.parametrize(("count", "kills"), [(400, 3), pytest.param(5000, 100, marks=pytest.mark.slow)])
def test_killed_at_any_instant_and_resumed_every_user_gets_exactly_one(
    count: int, kills: int, processes: Any, shop: Any
):
    box, told = shop
    instants = random.Random(5)
    box.faults("reset", times=None, when="after", method="POST", path="/coupons$", probability=0.01)
    box.faults("stall", times=None, when="after", seconds=3, method="POST", path="/coupons$", probability=0.002)
    log = requests(box)
    repeated_after_journaled = unanswered = lease = 0

    def asked_since() -> Counter[str]:
        nonlocal log
        before, log = log, requests(box)
        return sent_numbers(new_requests(before, log))

    for _ in range(kills):
        known = done_by_the_journal(told)
        process, hear = started(processes, told, count)
        assert hear.recv() == "executing"
        lease = wait_for_progress(told, min(len(known) + instants.randint(0, count // kills), count - 1), after=lease)
        time.sleep(instants.uniform(0, 0.02))
        process.kill()
        process.join()
        time.sleep(0.02)  # what was on its way arrives
        asked = asked_since()
        repeated_after_journaled += len(known & asked.keys())
        unanswered += len(asked.keys() - done_by_the_journal(told))
        held = books(box)
        assert set(held.values()) <= {1}
    assert unanswered > kills / 4, "the kills did cut requests off"
    assert 0 < len(known) < count, "they were spread over the run"
    # To the end, in parts that the log can hold.
    result: dict[str, list[Any]] = {}
    while not result:
        known = done_by_the_journal(told)
        process, hear = started(processes, told, count)
        assert hear.recv() == "executing"
        if hear.poll(None if count - len(known) < _LOG // 2 else 1.0):
            result = hear.recv()
        process.kill()
        process.join()
        time.sleep(0.02)
        repeated_after_journaled += len(known & asked_since().keys())
    assert books(box) == {f"user-{i}": 1 for i in range(count)}
    assert Counter(result["status"]).keys() <= {"sent", "already_sent"}
    coupons = box.truth("user_coupons").set_index("openid")["coupon_code"]
    assert coupons[result["openid"]].tolist() == result["coupon_code"]
    assert repeated_after_journaled == 0


@pytest.mark.slow
def test_two_processes_share_one_plan(processes: Any, shop: Any):
    box, told = shop
    count = 1500
    # A busy machine may answer after 0.7 s, and what is not answered is asked again: here nothing may be.
    told |= {"timeout": 60, "together": processes.Barrier(2)}
    runs = [started(processes, told, count) for _ in range(2)]
    assert [hear.recv() for _, hear in runs] == ["executing"] * 2
    results = [hear.recv() for _, hear in runs]
    for process, _ in runs:
        process.join()
    assert books(box) == {f"user-{i}": 1 for i in range(count)}
    for result in results:
        assert set(result["status"]) <= {"sent", "already_sent"}
    assert results[0]["coupon_code"] == results[1]["coupon_code"]
    sent = [Counter(result["status"])["sent"] for result in results]
    assert sum(sent) == count, "each by one of them"
    assert min(sent) > 0, "both worked"
    assert set(sent_numbers(box.requests()).values()) == {1}, "and nothing was asked twice"


@pytest.mark.slow
def test_when_one_of_two_processes_is_killed_the_other_takes_over(processes: Any, shop: Any):
    box, told = shop
    count = 1500
    # Some answers are slow, so that the one that dies holds something.
    box.faults("stall", times=None, when="after", seconds=0.4, method="POST", path="/coupons$", probability=0.05)
    (first, first_says), (second, second_says) = (started(processes, told, count) for _ in range(2))
    assert (first_says.recv(), second_says.recv()) == ("executing", "executing")
    wait_until_it_holds(told, first.pid, 20)
    first.kill()
    first.join()
    result = second_says.recv()
    second.join()
    assert books(box) == {f"user-{i}": 1 for i in range(count)}
    assert set(result["status"]) <= {"sent", "already_sent"}
    assert max(result["attempts"]) == 2, "what the dead one held was asked again"
