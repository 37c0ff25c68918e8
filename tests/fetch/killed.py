"""A fetch in a process of its own, to be killed: ``python -m tests.fetch.killed CONFIG``."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path

import wxcoupon_analytics as wx
from wxcoupon_analytics.fetch import into_store


def main() -> None:
    config = json.loads(Path(sys.argv[1]).read_text())
    now = datetime.fromisoformat(config["now"])
    into_store.MAX_PAGE_SIZE = config["page_size"]
    into_store.PART_COUPONS = config["part_coupons"]
    credentials = wx.Credentials.brand(**config["credentials"])
    store = wx.SnapshotStore(config["root"], **config["store"])
    with wx.connect(credentials, hosts=config["hosts"], rate=config["rate"], clock=lambda: now) as client:
        print("begins", flush=True)
        fetched = client.fetch.user_coupons(config["openids"], appid=config["appid"], store=store, **config["filters"])
        print(
            json.dumps([fetched.users, fetched.coupons, fetched.vanished, fetched.found, fetched.requests]), flush=True
        )


if __name__ == "__main__":
    main()
