"""state_breakdown over stored user coupons through DuckDB, as ratios to hand-written SQL within one run; and its memory.

    python -m tests.benchmarks.state_breakdown                      # 10 million rows: the ratios, and spilling
    python -m tests.benchmarks.state_breakdown --large 100000000    # and that many, in a process of its own

The hand-written SQL is the fastest of several ways that were tried (``arg_max``, ``max`` of a struct, ``row_number``
with QUALIFY, ``last`` in order): ``last`` for one row a coupon, in which ties between two fetches of one instant are
settled by chance. state_breakdown settles them by the lifecycle, and beside the rows that count it fills in those that
are nought, and answers with a relation.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb
import narwhals as nw

import wxcoupon_analytics as wx

_BY_STATE = "SELECT coupon_state, count(*), max(fetched_at) FROM {} GROUP BY ALL"
_LATEST = """(SELECT last(coupon_state ORDER BY fetched_at) AS coupon_state, max(fetched_at) AS fetched_at
              FROM {} GROUP BY brand_id, stock_id, coupon_code)"""


def generate(path: Path, rows: int) -> None:
    """Write user coupons of twenty stocks, every tenth of them fetched twice, in the order they were sent."""
    connection = duckdb.connect(config={"preserve_insertion_order": False})
    connection.execute(
        f"""COPY (
            SELECT '120344' AS brand_id,
                   (1000000013001 + hash(coupon, 'stock') % 20)::VARCHAR AS stock_id,
                   md5(coupon::VARCHAR) AS coupon_code,
                   ['CONFIRMING', 'PENDING', 'EFFECTIVE', 'EFFECTIVE', 'EFFECTIVE', 'USED', 'USED', 'EXPIRED',
                    'DELETED', 'DEACTIVATED'][1 + (hash(i, 'state') % 10)::INT] AS coupon_state,
                   TIMESTAMPTZ '2026-11-01 08:00:00+08:00' + to_seconds((hash(i, 'at') % 1800000)::BIGINT) AS fetched_at
            FROM (SELECT i, i * 10 // 11 AS coupon FROM range({rows}) AS t(i))
        ) TO '{path}' (FORMAT parquet, COMPRESSION zstd)"""
    )


def spent() -> tuple[float, float]:
    """Now on the wall, and by the CPU: on a machine that others use too, the second is the steadier."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return time.perf_counter(), used.ru_utime + used.ru_stime


def best(runs: list[Callable[[], object]], rounds: int) -> list[tuple[float, float]]:
    """Give the least wall time and the least CPU time of each, taking turns."""
    least = [(float("inf"), float("inf"))] * len(runs)
    for _ in range(rounds):
        for n, run in enumerate(runs):
            wall, cpu = spent()
            run()
            least[n] = min(least[n][0], spent()[0] - wall), min(least[n][1], spent()[1] - cpu)
    return least


def compare(path: Path) -> None:
    connection = duckdb.connect()
    for deduplicate, source, rounds in ((False, f"'{path}'", 15), (True, _LATEST.format(f"'{path}'"), 5)):
        query = _BY_STATE.format(source)
        by_hand = dict(row[:2] for row in connection.execute(query).fetchall())
        ours = wx.state_breakdown(connection.from_parquet(str(path)), deduplicate=deduplicate)
        counted = {state: count for state, count, *_ in ours.fetchall()}
        assert sum(counted.values()) == sum(by_hand.values()), "both count the same coupons"
        (hand_wall, hand_cpu), (wall, cpu) = best(
            [
                lambda query=query: connection.execute(query).fetchall(),
                lambda deduplicate=deduplicate: wx.state_breakdown(
                    connection.from_parquet(str(path)), deduplicate=deduplicate
                ).fetchall(),
            ],
            rounds,
        )
        print(
            f"deduplicate={deduplicate!s:<6} by hand {hand_wall:6.3f} s ({hand_cpu:6.3f} of CPU), "
            f"ours {wall:6.3f} s ({cpu:6.3f}): {wall / hand_wall:.2f} × ({cpu / hand_cpu:.2f} ×)"
        )


def measured(path: Path, *, deduplicate: bool, memory_limit: str | None = None) -> dict[str, Any]:
    """Run one breakdown in a process of its own: how long, the peak of its resident memory, and what it spilled."""
    argv = [sys.executable, "-m", "tests.benchmarks.state_breakdown", "--alone", str(path), str(int(deduplicate))]
    done = subprocess.run(
        [*argv, memory_limit or ""], capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2]
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def alone(path: str, *, deduplicate: bool, memory_limit: str) -> None:
    """Be that process: print what it took as JSON."""
    with tempfile.TemporaryDirectory(dir=Path(path).parent) as spill:
        connection = duckdb.connect(config={"temp_directory": spill, "threads": 2})
        if memory_limit:
            connection.execute(f"SET memory_limit = '{memory_limit}'")
        wall, cpu = spent()
        with watched(Path(spill)) as sizes:
            counted = wx.state_breakdown(connection.from_parquet(path), deduplicate=deduplicate).fetchall()
        found = {"seconds": spent()[0] - wall, "cpu": spent()[1] - cpu, "coupons": sum(row[1] for row in counted)}
        found["spilled_mb"] = max(sizes) / 1e6
        connection.close()
    # ru_maxrss would start at the parent's: a forked child inherits the mark.
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    print(json.dumps({**found, "peak_mb": int(peak.split()[1]) * 1024 / 1e6}), flush=True)
    os._exit(0)  # DuckDB 2 under Narwhals prints pages while Python ends


@contextmanager
def watched(folder: Path) -> Iterator[list[int]]:
    """Look at a folder ten times a second, for DuckDB removes what it spilled; gives the sizes seen, in bytes."""
    sizes, done = [0], threading.Event()

    def look() -> None:
        while not done.wait(0.1):
            with suppress(FileNotFoundError):
                sizes.append(sum(file.stat().st_blocks * 512 for file in folder.iterdir()))

    watcher = threading.Thread(target=look)
    watcher.start()
    yield sizes
    done.set()
    watcher.join()


def show(path: Path, *, deduplicate: bool, memory_limit: str | None = None) -> None:
    found = measured(path, deduplicate=deduplicate, memory_limit=memory_limit)
    print(
        f"deduplicate={deduplicate!s:<6} memory_limit={memory_limit or 'none':<7} {found['coupons']:>12,} coupons in "
        f"{found['seconds']:6.1f} s; peak {found['peak_mb']:,.0f} MB resident, {found['spilled_mb']:,.0f} MB spilled"
    )


def main() -> None:
    if sys.argv[1:2] == ["--alone"]:
        _, _, path, deduplicate, memory_limit = sys.argv
        return alone(path, deduplicate=bool(int(deduplicate)), memory_limit=memory_limit)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument(
        "--large", type=int, help="this many rows too: 100 million are 2 GB and, deduplicated, 8 GB spilled"
    )
    asked = parser.parse_args()
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, duckdb {duckdb.__version__}, narwhals {nw.__version__}"
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "user_coupons.parquet")
        generate(path, asked.rows)
        print(f"\n{asked.rows:,} rows, {path.stat().st_size / 1e6:,.0f} MB of Parquet")
        compare(path)
        show(path, deduplicate=True, memory_limit="400MB")
        if asked.large:
            generate(path, asked.large)
            print(f"\n{asked.large:,} rows, {path.stat().st_size / 1e6:,.0f} MB of Parquet")
            show(path, deduplicate=False)
            show(path, deduplicate=True, memory_limit="2GB")


if __name__ == "__main__":
    main()
