"""How fast users' coupons come into a store, and whether memory stays flat: ``python -m tests.benchmarks.fetch``.

Every user holds one coupon. The embedded brand answers as fast as it can (``--limits``: as fast as the platform allows, 500 a
second); it runs beside the client on the same cores, and signs every answer. Beside it, the same users into a frame, and a
second fetch in which nothing has changed.
"""

from __future__ import annotations

import argparse
import gc
import platform
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import wxcoupon_analytics as wx
from tests.benchmarks.wire import cpu_seconds, open_shop, resident_mb


class Resident:
    """Resident memory, looked at four times a second."""

    def __init__(self) -> None:
        self.seen: list[float] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        while not self._over.wait(0.25):
            self.seen.append(resident_mb())

    def __enter__(self) -> Resident:
        gc.collect()
        self.seen.append(resident_mb())
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.seen.append(resident_mb())

    def tenths(self) -> str:
        """Least and most in each tenth of the time: between two parts, and while one is stored."""
        size = max(1, -(-len(self.seen) // 10))
        parts = [self.seen[n : n + size] for n in range(0, len(self.seen), size)]
        return " ".join(f"{min(part):.0f}–{max(part):.0f}" for part in parts)


def openids(count: int) -> Iterator[str]:
    return (f"oBench-{number:021d}" for number in range(count))


@contextmanager
def customers(count: int, *, limits: bool = False) -> Iterator[tuple[wx.Sandbox, wx.Client]]:
    """A shop with so many customers, who hold one coupon each."""
    with (
        wx.Sandbox(seed=1, population=False, rate_limits=limits) as box,
        box.client(rate=None if limits else 100_000) as client,
    ):
        ids = open_shop(box, client)
        calls = ((openid, {**ids, "send_request_no": f"bench-{n:010d}"}) for n, openid in enumerate(openids(count)))
        for answer in client.api.map("send_coupon", calls):
            assert isinstance(answer, dict), answer
        yield box, client


def measured(what: str, users: int, run: Callable[[], Any]) -> None:
    with Resident() as resident:
        cpu, wall = cpu_seconds(), time.perf_counter()
        came = run()
        cpu, wall = cpu_seconds() - cpu, time.perf_counter() - wall
    print(f"{what}: {users / wall:,.0f} users a second, {cpu / users * 1e3:.2f} ms of CPU a user; {came}")
    print("  MB resident, by tenths of the time: " + resident.tenths(), flush=True)


def main() -> None:
    arguments: Any = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--users", type=int, default=50_000)
    arguments.add_argument("--limits", action="store_true", help="the platform's limit, 500 users a second")
    options = arguments.parse_args()
    print(f"{platform.machine()}, Python {platform.python_version()}, {options.users:,} users")
    with customers(options.users, limits=options.limits) as (box, client), tempfile.TemporaryDirectory() as folder:
        store, appid = wx.SnapshotStore(folder), box.appid

        def into_store() -> Any:
            return client.fetch.user_coupons(openids(options.users), appid=appid, store=store)

        measured("into a store, all new      ", options.users, into_store)
        measured("into a store, nothing new  ", options.users, into_store)
        measured(
            "into a frame               ",
            options.users,
            lambda: f"{len(client.fetch.user_coupons(openids(options.users), appid=appid)):,} rows",
        )


if __name__ == "__main__":
    main()
