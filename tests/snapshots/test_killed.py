"""Writers at once, and writers killed at any instant: nothing lost, nothing doubled, and the folder always reads.

Each writer is a process of its own. It says after each write what it has written, so that the store can be held against
what it promised; what it had not said may be there or not.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from tests.snapshots.frames import at
from wxcoupon_analytics.snapshots import SnapshotStore

pytestmark = pytest.mark.skipif(os.name == "nt", reason="kill -9 is POSIX")

STOCKS = """
import datetime as dt, sys
from zoneinfo import ZoneInfo
from wxcoupon_analytics.entities.schemas import frame_from_rows
from wxcoupon_analytics.snapshots import SnapshotStore

root, who, first, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
store = SnapshotStore(root)
key = {"brand_id": "1", "product_coupon_id": "7"}
frame = frame_from_rows("stocks", [{**key, "stock_id": f"{who}-{n}"} for n in range(30)])
print("ready", flush=True)
for n in range(first, first + count):
    day = dt.datetime(2020, 1, 1, 10, tzinfo=ZoneInfo("Asia/Shanghai")) + dt.timedelta(days=5 * n)
    store.save("stocks", frame, taken_at=day)
    print(n, flush=True)
"""

COUPONS = """
import datetime as dt, sys
from zoneinfo import ZoneInfo
from tests.snapshots.frames import answers, coupon
from wxcoupon_analytics.snapshots import SnapshotStore

root, who, first, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
store = SnapshotStore(root)
print("ready", flush=True)
for n in range(first, first + count):
    when = dt.datetime(2020, 1, 1, 10, tzinfo=ZoneInfo("Asia/Shanghai")) + dt.timedelta(days=5 * n)
    rows = [coupon(f"{who}-{k}", f"S{n if k == 0 else 0}", who=who, when=when) for k in range(10)]
    store.merge(answers(*rows), appid="wx1", asked=[who, f"{who}-{n}"], filters={}, fetch_id=f"{who}-{n}",
                started_at=when, complete=n % 3 == 0, brand_id="1")
    print(n, flush=True)
"""


def writer(code: str, root: Path, who: str, first: int, count: int) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(root), who, str(first), str(count)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def said(process: subprocess.Popen[str]) -> int:
    """Wait for a writer's end; give the last write it told of."""
    assert process.stdout is not None
    lines = process.stdout.read().split()
    process.stdout.close()
    process.wait()
    return int(lines[-1]) if lines else -1


def outside_readers_read(folder: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        pd.read_parquet(folder)
    if list(folder.rglob("*.parquet")):
        duckdb.sql(f"SELECT count(*), max(taken_at) FROM read_parquet('{folder}/**/*.parquet')").fetchall()


def test_two_processes_saving_at_once_lose_nothing(store):
    processes = [writer(STOCKS, store.root, who, 0, 8) for who in ("a", "b")]
    assert [said(process) for process in processes] == [7, 7]
    assert store.snapshots("stocks")["rows"].tolist() == [30] * 16
    assert len(store.load("stocks")) == 60
    assert len(store.history("stocks")) == 16 * 30


def test_two_processes_merging_at_once_lose_nothing(store):
    processes = [writer(COUPONS, store.root, who, 0, 4) for who in ("a", "b")]
    assert [said(process) for process in processes] == [3, 3]
    holds_both(store, {"a": 3, "b": 3})


def holds_both(store: SnapshotStore, last: dict[str, int]) -> None:
    loaded = store.load("user_coupons", columns=["coupon_code", "coupon_state", "fetched_at"])
    assert loaded["coupon_code"].tolist() == sorted(f"{who}-{k}" for who in last for k in range(10))
    for who, n in last.items():
        its = loaded[loaded["coupon_code"].str.startswith(who)]
        state = its.set_index("coupon_code")["coupon_state"][f"{who}-0"]
        assert state in (f"S{n}", f"S{n + 1}")  # a write it did not live to tell of may be there
        done = int(state[1:])
        assert its["fetched_at"].nunique() == 1  # the unchanged ones are as fresh as the changed one
        assert len(store.history("user_coupons").query(f"openid == '{who}'")) == 10 + done
        assert {f"{who}-{m}" for m in range(done + 1)} <= set(store.openids()["openid"])


def kill_stocks(store: SnapshotStore, rounds: int, seed: int) -> None:
    rng, told = random.Random(seed), -1
    for _ in range(rounds):
        process = writer(STOCKS, store.root, "a", told + 1, 10_000)
        time.sleep(rng.uniform(0.02, 0.6))
        os.kill(process.pid, signal.SIGKILL)
        last = max(told, said(process))
        listed = SnapshotStore(store.root).snapshots("stocks")
        assert (listed["rows"] == 30).all()
        days = {int(n) for n in (listed["taken_at"] - at(1, month=1).replace(year=2020)).dt.days // 5}
        assert set(range(last + 1)) <= days <= set(range(last + 2))
        assert len(store.history("stocks")) == 30 * len(listed)
        assert len(store.load("stocks")) == (30 if len(listed) else 0)
        outside_readers_read(store.root / "stocks")
        told = max(days, default=-1)


def kill_coupons(store: SnapshotStore, rounds: int, seed: int) -> None:
    rng, told = random.Random(seed), -1
    for _ in range(rounds):
        process = writer(COUPONS, store.root, "a", told + 1, 10_000)
        time.sleep(rng.uniform(0.05, 1.5))
        os.kill(process.pid, signal.SIGKILL)
        told = max(told, said(process))
        if told >= 0:
            holds_both(SnapshotStore(store.root), {"a": told})
            state = store.load("user_coupons", where="coupon_code = 'a-0'")["coupon_state"][0]
            told = int(state[1:])
        outside_readers_read(store.root / "user_coupons")


def test_a_saver_killed_at_any_instant_loses_and_doubles_nothing(store):
    kill_stocks(store, 3, seed=1)


def test_a_merger_killed_at_any_instant_loses_and_doubles_nothing(store):
    kill_coupons(store, 2, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_many_killed_savers(store, seed):
    kill_stocks(store, 40, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_many_killed_mergers(store, seed):
    kill_coupons(store, 40, seed)


@pytest.mark.slow
def test_killed_while_another_writes(store):
    other = writer(COUPONS, store.root, "b", 0, 60)
    kill_coupons_beside(store, 15)
    holds_both(store, {"b": said(other)} | {"a": last_of(store, "a")})


def kill_coupons_beside(store: SnapshotStore, rounds: int) -> None:
    rng, told = random.Random(5), -1
    for _ in range(rounds):
        process = writer(COUPONS, store.root, "a", told + 1, 10_000)
        time.sleep(rng.uniform(0.5, 2.0))
        os.kill(process.pid, signal.SIGKILL)
        told = max(told, said(process))
        if told >= 0:
            told = last_of(store, "a")


def last_of(store: SnapshotStore, who: str) -> int:
    state = store.load("user_coupons", where=f"coupon_code = '{who}-0'")["coupon_state"][0]
    return int(state[1:])
