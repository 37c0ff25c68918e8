"""A fetch killed with -9 at random instants, again and again, ends with exactly the rows of one that nobody disturbed."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import wxcoupon_analytics as wx

pytestmark = pytest.mark.slow

KILLS = 20
USERS = 300
RATE = 100


class Run:
    """The same fetch, in a process each time."""

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        folder.mkdir()
        self.root = folder / "data"
        self._config = folder / "config.json"
        self._config.write_text(json.dumps({**config, "root": str(self.root)}))

    def start(self) -> subprocess.Popen[bytes]:
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.fetch.killed", str(self._config)],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )
        assert child.stdout
        assert child.stdout.readline() == b"begins\n"
        return child

    def finish(self) -> list[int]:
        with self.start() as child:
            out, _ = child.communicate(timeout=300)
            assert child.returncode == 0
            return json.loads(out)

    def kill_after(self, seconds: float) -> bool:
        """Whether there was still something to kill."""
        with self.start() as child:
            time.sleep(seconds)
            child.kill()
            return child.wait() != 0


class Log:
    """Every request the platform saw, beyond the last 2,000 that it remembers."""

    def __init__(self, box: wx.Sandbox) -> None:
        self._box, self._client, self._marks = box, box.client(), 0
        self.pages: Counter[str] = Counter()
        self.mark()

    def mark(self) -> None:
        self._marks += 1
        with pytest.raises(wx.NotFoundError):
            self._client.api.get_product_coupon(f"mark-{self._marks}")

    def take(self) -> None:
        """Count what came since the last time."""
        paths = [request["path"] for request in self._box.requests() if request["status"] in (200, 404)]
        since = next(n for n, path in enumerate(paths) if path.endswith(f"/mark-{self._marks}"))
        self.pages.update(path for path in paths[since + 1 :] if "/users/" in path)
        self.mark()


@pytest.mark.parametrize(
    ("filters", "pseudonymize"),
    [({}, None), ({"coupon_state": "EFFECTIVE"}, "a key of thirty-two bytes at least")],
    ids=["everything", "one state, under pseudonyms"],
)
def test_killed_twenty_times_it_ends_with_the_rows_of_an_undisturbed_one(filters, pseudonymize, tmp_path: Path):
    dice = random.Random(20)
    options = {"pseudonymize": pseudonymize} if pseudonymize else {}
    with wx.Sandbox(seed=7) as box:
        openids = box.openids()[:USERS]
        config = {
            "credentials": {"brand_id": box.brand_id, **box._keys("brand")},
            "hosts": box.hosts,
            "appid": box.appid,
            "openids": openids,
            "page_size": 4,
            "part_coupons": 150,
            "rate": RATE,
            "store": options,
        }
        # Both stores know of an earlier day: with a filter, there are coupons that have left the state since.
        early = {**config, "filters": {}, "now": box.now().isoformat(), "page_size": 50, "rate": None}
        config |= {"filters": filters, "now": box.advance(days=2).isoformat()}
        runs = []
        for name in ("undisturbed", "killed"):
            folder = tmp_path / name
            Run(folder, early).finish()
            folder.rename(tmp_path / f"{name}-early")
            run = Run(folder, config)
            (tmp_path / f"{name}-early" / "data").rename(run.root)
            runs.append(run)
        undisturbed, killed = runs
        log = Log(box)
        expected = undisturbed.finish()
        log.take()
        due, log.pages = log.pages, Counter()
        seconds = sum(due.values()) / RATE
        kills = 0
        while kills < KILLS:
            kills += killed.kill_after(dice.uniform(0, 1.2 * seconds / KILLS))
            log.take()
        ended = killed.finish()
        log.take()
        log._client.close()
        assert ended[:4] == expected[:4]
        assert log.pages.keys() == due.keys()
        # What was asked for twice had been on its way when a kill came: at 100 a second that is a few.
        again = sum(log.pages.values()) - len(log.pages)
        print(f"{kills} kills, {sum(due.values())} requests undisturbed, {again} asked again")
        assert set(due.values()) == {1}
        assert again <= 4 * kills
        left, right = (wx.SnapshotStore(run.root, **options) for run in runs)
        pd.testing.assert_frame_equal(left.load("user_coupons"), right.load("user_coupons"))
        order = ["stock_id", "coupon_code", "fetched_at", "coupon_state"]
        histories = [s.history("user_coupons").sort_values(order, ignore_index=True) for s in (left, right)]
        pd.testing.assert_frame_equal(histories[0][order], histories[1][order])
        assert not any((right.scratch("any").parent).glob("user_coupons*"))
