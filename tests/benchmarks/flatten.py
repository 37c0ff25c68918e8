"""Flattening 20,000 user coupons, from the bytes of their pages to a pandas frame, as ratios within one run.

    python -m tests.benchmarks.flatten

Beside ``pandas.json_normalize`` on the same pages (what one would write first) and a bare ``pyarrow.json`` read of them
(what any Arrow solution has to pay if it parses every byte).
"""

from __future__ import annotations

import datetime as dt
import io
import json
import platform
import random
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.json as pj

sys.path.insert(0, str(Path(__file__).parents[2]))

from wxcoupon_analytics.entities.flatten import Page, SchemaDriftWarning, flatten_pages, to_frame

COUPONS, PER_PAGE, STOCKS = 20_000, 50, 20
RECORDED = Path(__file__).parents[1] / "recorded" / "send_coupon.response.member.json"


def pages(*, moving: bool = False, drifting: bool = False) -> list[bytes]:
    """Pages as they come: the recorded coupon with its echoes, over twenty stocks, a third of them used."""
    recorded = json.loads(RECORDED.read_text("utf-8"))
    draw = random.Random(7)
    coupons = []
    for n in range(COUPONS):
        stock = recorded["stock"] | {"stock_id": str(1_000_000_013_001 + draw.randrange(STOCKS))}
        if moving:
            stock["sent_count_info"] = {"total_count": n, "today_count": n % 1000}
        coupon = recorded | {"coupon_code": f"Code_{n}", "stock": stock, "send_request_no": f"S{n:030}"}
        if n % 3 == 0:
            order = {"transaction_id": f"42{n:026}", "out_trade_no": f"T{n}", "mchid": "1900000109"}
            coupon["single_usage_detail"] = {
                "use_request_no": f"U{n}",
                "use_time": "2025-08-09T12:00:00+08:00",
                "associated_order_info": order,
            }
            coupon["coupon_state"] = "USED"
        if drifting:
            coupon["new_field"] = {"since": n}
        coupons.append(coupon)
    starts = range(0, COUPONS, PER_PAGE)
    return [_page(coupons[start : start + PER_PAGE]) for start in starts]


def _page(coupons: list[object]) -> bytes:
    page = {"total_count": COUPONS, "next_page_token": "next", "user_coupon_list": coupons}
    return json.dumps(page, ensure_ascii=False, separators=(",", ":")).encode()


def flattened(contents: list[bytes]) -> pd.DataFrame:
    now = dt.datetime(2025, 8, 10, tzinfo=dt.UTC)
    asked = (Page(content, now, "120344", "openid", "appid") for content in contents)
    return to_frame("user_coupons", flatten_pages("user_coupons", asked))


def normalized(contents: list[bytes]) -> pd.DataFrame:
    return pd.json_normalize([coupon for content in contents for coupon in json.loads(content)["user_coupon_list"]])


def bare(contents: list[bytes]) -> pa.Table:
    return pj.read_json(io.BytesIO(b"\n".join(contents)))


def best(runs: list[Callable[[list[bytes]], object]], contents: list[bytes], rounds: int = 5) -> list[float]:
    """The fastest of each, taking turns: what else the machine did is not what is measured."""
    times = [float("inf")] * len(runs)
    for _ in range(rounds):
        for n, run in enumerate(runs):
            start = time.perf_counter()
            run(contents)
            times[n] = min(times[n], time.perf_counter() - start)
    return times


def main() -> None:
    warnings.simplefilter("ignore", SchemaDriftWarning)
    print(
        f"{platform.machine()}, Python {platform.python_version()}, pandas {pd.__version__}, pyarrow {pa.__version__}"
    )
    print(f"{COUPONS:,} user coupons in {COUPONS // PER_PAGE} pages\n")
    print(f"{'pages':<18}{'rows/s':>9}{'× json_normalize':>18}{'× bare pyarrow.json':>21}")
    for name, kind in (("clean", {}), ("moving counters", {"moving": True}), ("all drifting", {"drifting": True})):
        contents = pages(**kind)
        ours, naive, arrow = best([flattened, normalized, bare], contents)
        print(f"{name:<18}{COUPONS / ours:>9,.0f}{naive / ours:>18.1f}{arrow / ours:>21.2f}")


if __name__ == "__main__":
    main()
