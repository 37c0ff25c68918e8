"""What journaling costs a bulk send: ``python -m tests.benchmarks.actions``.

The same sends through ``plan.execute`` and bare through ``client.api.map``, one after the other in each round, on the
embedded brand without rate limits, with a journal on disk: what it takes where nothing else holds the sends back. Two
ratios, each the median over the rounds with their range: sends a second, and CPU seconds of this process a send, which other
work on the machine disturbs less. ``--plan 200000`` also times planning.
"""

from __future__ import annotations

import argparse
import gc
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd

import wxcoupon_analytics as wx
from tests.benchmarks.wire import cpu_seconds, open_shop, sends
from wxcoupon_analytics.actions.send_plan import SendPlan


def measured(work: Callable[[], None], count: int) -> tuple[float, float]:
    """CPU seconds of this process a send, and sends a second."""
    gc.collect()
    cpu, wall = cpu_seconds(), time.perf_counter()
    work()
    return (cpu_seconds() - cpu) / count, count / (time.perf_counter() - wall)


def bare(client: wx.Client, ids: dict[str, str], name: str, count: int) -> None:
    answers = client.api.map("send_coupon", sends(ids, name, count))
    assert all(isinstance(answer, dict) for answer in answers)


def journaled(plan: SendPlan, count: int) -> None:
    result = plan.execute(confirm=count, show_progress=False)
    assert set(result["status"]) == {"sent"}


def compare(count: int, rounds: int, journal: Path) -> None:
    with (
        wx.Sandbox(seed=1, population=False, rate_limits=False) as box,
        box.client(rate=100_000, journal=journal) as client,
    ):
        ids = open_shop(box, client)
        bare(client, ids, "warm", 200)
        runs: dict[str, list[tuple[float, float]]] = {"bare": [], "journaled": []}
        for number in range(rounds):
            audience = pd.DataFrame({"openid": [f"oBench-plan{number}-{i:08d}" for i in range(count)]})
            plan = client.actions.plan_sends(audience, campaign=f"bench-{number}", **ids)
            order = [
                ("bare", lambda n=number: bare(client, ids, f"bare{n}", count)),
                ("journaled", lambda p=plan: journaled(p, count)),
            ]
            for name, run in order if number % 2 else order[::-1]:
                runs[name].append(measured(run, count))
        for name, told in runs.items():
            cpu, rate = (statistics.median(figures) for figures in zip(*told, strict=True))
            print(f"{name:10} {cpu * 1e3:7.3f} ms of CPU a send, {rate:6,.0f} sends a second")
        pairs = list(zip(runs["bare"], runs["journaled"], strict=True))
        slower = [1 - ours / theirs for (_, theirs), (_, ours) in pairs]
        dearer = [ours / theirs - 1 for (theirs, _), (ours, _) in pairs]
        print(f"journaling costs {_told(slower)} of the throughput, {_told(dearer)} more CPU")


def _told(figures: list[float]) -> str:
    return f"{statistics.median(figures):.1%} ({min(figures):.1%} … {max(figures):.1%})"


def plan_many(count: int, journal: Path) -> None:
    with wx.Sandbox(seed=1, population=False) as box, box.client(journal=journal) as client:
        ids = open_shop(box, client)
        audience = pd.DataFrame({"openid": [f"oBench-{i:010d}" for i in range(count)], "city": "沪"})
        wall = time.perf_counter()
        plan = client.actions.plan_sends(audience, campaign="bench", holdout=0.1, stratify="city", **ids)
        print(f"{count:,} rows planned in {time.perf_counter() - wall:.1f} s, {plan.summary['ready']:,} ready")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--count", type=int, default=4000)
    arguments.add_argument("--rounds", type=int, default=11)
    arguments.add_argument("--plan", type=int, default=0, metavar="ROWS")
    options = arguments.parse_args()
    print(f"{platform.machine()}, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as folder:
        compare(options.count, options.rounds, Path(folder) / "journal.sqlite3")
        if options.plan:
            plan_many(options.plan, Path(folder) / "plan.sqlite3")


if __name__ == "__main__":
    main()
