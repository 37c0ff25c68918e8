"""How the store does as days go by: time against the number of snapshots, bytes against what changed.

    python -m tests.benchmarks.snapshots [users]

Every figure is a ratio within one run. `naive` reads every file and keeps the latest rows, which is what the layout is for.
"""

from __future__ import annotations

import datetime as dt
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa

from wxcoupon_analytics.entities.schemas import TIME, beijing_day, frame_from_rows, frame_of, lookup
from wxcoupon_analytics.snapshots import SnapshotStore

BEIJING = ZoneInfo("Asia/Shanghai")
STOCKS = 200
DAYS = 30
COUPONS_EACH = 2
CHANGED = 0.02


def stocks_of(day: dt.datetime) -> pd.DataFrame:
    rows = [
        {
            "brand_id": "120344",
            "product_coupon_id": f"1000000{n % 20:03}",
            "stock_id": f"10000000000{n:05}",
            "remark": f"stock {n}",
            "state": "SENDING",
            "stock_send_rule_max_count": 100_000,
            "sent_count_info_total_count": (day - START).days * 37 + n,
            "fetched_at": day,
        }
        for n in range(STOCKS)
    ]
    return frame_from_rows("stocks", rows)


START = dt.datetime(2021, 6, 1, 10, tzinfo=BEIJING)


def best(run: Callable[[], object], times: int = 9) -> float:
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        run()
        taken.append(time.perf_counter() - begun)
    return min(taken)


def load_stocks(root: Path, options: dict[str, object]) -> Callable[[], object]:
    return lambda: SnapshotStore(root).load("stocks", **options)


def many_snapshots(root: Path) -> None:
    print(f"load('stocks'), {STOCKS} stocks a snapshot")
    stores = {}
    for count in (20, 2000):
        stores[count] = store = SnapshotStore(root / str(count))
        begun = time.perf_counter()
        for n in range(count):
            store.save("stocks", stocks_of(START + dt.timedelta(days=n)))
        files = len(list((root / str(count) / "stocks").rglob("*.parquet")))
        spent = time.perf_counter() - begun
        print(f"  {count:>5} saved, {spent / count * 1000:.0f} ms each; {files} files")
    cases: dict[str, Callable[[int], dict[str, object]]] = {
        "now": lambda count: {},
        "as of the middle": lambda count: {"as_of": START + dt.timedelta(days=count // 2)},
        "as of a month's end": lambda count: {"as_of": START + dt.timedelta(days=min(count, 1_004) - 1)},
        "three columns": lambda count: {"columns": ["stock_id", "state", "sent_count_info_total_count"]},
    }
    for name, options in cases.items():
        few, lots = (best(load_stocks(root / str(count), options(count))) for count in (20, 2000))
        print(f"  {name:<22}{few * 1000:>8.1f} ms with 20 {lots * 1000:>8.1f} ms with 2,000   × {lots / few:.2f}")
    naive = best(
        lambda: (
            pd.read_parquet(root / "2000" / "stocks").sort_values("taken_at").drop_duplicates("stock_id", keep="last")
        ),
        2,
    )
    print(f"  naive (compacted files, pandas)                {naive * 1000:>8.1f} ms with 2,000")


def coupons_of(users: np.ndarray, state: np.ndarray, when: dt.datetime) -> pa.Table:
    """The answers of all users: two coupons each, with what a live coupon carries."""
    n = len(state)
    who = np.repeat(users, COUPONS_EACH)
    received = pa.array(np.arange(n) * 977 % 10**9 * 10**6 + 1_760_000_000_000_000, pa.int64()).cast(
        pa.timestamp("us", "UTC")
    )
    columns = {
        "brand_id": pa.repeat("120344", n),
        "stock_id": pa.array([f"10000000000{k % 50:05}" for k in range(n)]),
        "product_coupon_id": pa.array([f"1000000{k % 10:03}" for k in range(n)]),
        "coupon_code": pa.array([f"{k * 2654435761 % 10**12:012}{k:08}" for k in range(n)]),
        "coupon_state": pa.array(np.where(state == 0, "EFFECTIVE", "USED")),
        "openid": pa.array(who),
        "appid": pa.repeat("wx233544546545989", n),
        "valid_begin_time": received.cast(TIME),
        "valid_end_time": received.cast(TIME),
        "receive_time": received.cast(TIME),
        "send_request_no": pa.array([f"wx{k * 40503 % 10**10:010}{k:012}" for k in range(n)]),
        "send_channel": pa.repeat("API", n),
        "single_usage_detail_use_request_no": pa.array([f"use{k}" if s else None for k, s in enumerate(state)]),
        "attach": pa.nulls(n, pa.string()),
        "fetched_at": pa.array(np.arange(n) // 10_000 * 10**6 + int(when.timestamp()) * 10**6, pa.int64())
        .cast(pa.timestamp("us", "UTC"))
        .cast(TIME),
    }
    schema = lookup("user_coupons").arrow
    arrays = [columns[f.name].cast(f.type) if f.name in columns else pa.nulls(n, f.type) for f in schema]
    table = pa.Table.from_arrays(arrays, schema=schema)
    return table.set_column(schema.names.index("fetched_day"), "fetched_day", beijing_day(table["fetched_at"]))


def size(root: Path) -> int:
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file())


def daily_fetches(root: Path, count: int) -> None:
    rng = np.random.default_rng(7)
    users = np.array([f"o{rng.bytes(13).hex()}" for _ in range(count)])
    state = np.zeros(count * COUPONS_EACH, "int8")
    full = SnapshotStore(root / "full")
    full.save("user_coupons", frame_of(coupons_of(users, state, START)))
    copy = size(root / "full" / "user_coupons")
    print(
        f"\n{DAYS} daily fetches of {count:,} users with {COUPONS_EACH} coupons each, {CHANGED:.0%} of which change; a full copy is {copy / 1e6:.1f} MB"
    )
    store = SnapshotStore(root / "coupons")
    sizes, merges = [], []
    times: dict[int, dict[str, float]] = {}
    for day in range(DAYS):
        when = START + dt.timedelta(days=day)
        if day:
            chosen = rng.choice(len(state), int(len(state) * CHANGED), replace=False)
            state[chosen] ^= 1
        answer = coupons_of(users, state, when)
        begun = time.perf_counter()
        parts = 5
        for part in range(parts):
            asked = users[part * count // parts : (part + 1) * count // parts]
            rows = answer.slice(part * len(answer) // parts, len(answer) // parts)
            store.merge(
                rows,
                appid="wx233544546545989",
                asked=asked.tolist(),
                filters={},
                fetch_id=f"day {day}",
                started_at=when,
                complete=part == parts - 1,
                brand_id="120344",
            )
        merges.append(time.perf_counter() - begun)
        sizes.append(size(store.root))
        if day in (0, DAYS - 1):
            times[day] = readings(SnapshotStore(store.root))
    assert len(store.load("user_coupons", columns=["coupon_code"])) == len(state)
    added = [after - before for before, after in pairwise(sizes)]
    print(
        f"  added a day: {statistics.mean(added) / 1e6:.2f} MB, {statistics.mean(added) / copy:.1%} of a full copy (at most {max(added) / copy:.1%})"
    )
    print(f"  merging a day: {merges[0]:.1f} s the first, {statistics.mean(merges[1:]):.1f} s the others")
    for name in times[0]:
        first, last = times[0][name], times[DAYS - 1][name]
        print(
            f"  {name:<22}{first * 1000:>8.1f} ms on day 1 {last * 1000:>8.1f} ms on day {DAYS}   × {last / first:.2f}"
        )


def readings(store: SnapshotStore) -> dict[str, float]:
    three = ["stock_id", "coupon_state", "openid"]
    counted = "stock_id, coupon_state, count(*)"
    return {
        "load": best(lambda: store.load("user_coupons"), 3),
        "load, three columns": best(lambda: store.load("user_coupons", columns=three), 5),
        "scan": best(lambda: store.scan("user_coupons").aggregate(counted).fetchall(), 5),
    }


def main() -> None:
    print(
        f"{platform.machine()}, Python {platform.python_version()}, pyarrow {pa.__version__}, DuckDB {duckdb.__version__}\n"
    )
    root = Path(tempfile.mkdtemp())
    try:
        many_snapshots(root)
        daily_fetches(root, int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
    finally:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
