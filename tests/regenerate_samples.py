"""Write the bundled samples anew, from the embedded brand: ``python -m tests.regenerate_samples``."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

import wxcoupon_analytics as wx
from wxcoupon_analytics import samples
from wxcoupon_analytics.entities.flatten import to_table

USERS = 100


def fetch() -> dict[str, pd.DataFrame]:
    with wx.Sandbox(seed=7) as box, box.client() as client:
        ids = box.truth("product_coupons")["product_coupon_id"]
        return {
            "product_coupons": client.fetch.product_coupons(ids),
            "stocks": client.fetch.stocks(ids),
            "user_coupons": client.fetch.user_coupons(box.openids()[:USERS], appid=box.appid),
        }


if __name__ == "__main__":
    for entity, frame in fetch().items():
        path = Path(samples.__file__).with_name(f"{entity}.parquet")
        pq.write_table(to_table(entity, frame), path, compression="zstd")
        print(f"{path.name}: {len(frame)} rows, {path.stat().st_size:,} bytes")
