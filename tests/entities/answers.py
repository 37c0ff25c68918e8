"""Answers for the tests of flattening, and what to read from the frames."""

import json
from pathlib import Path

import pandas as pd

from wxcoupon_analytics.entities.flatten import to_table

RECORDED = Path(__file__).parents[1] / "recorded"


def recorded(name):
    return (RECORDED / f"{name}.json").read_bytes()


def values(entity, frame):
    """The only row, as plain values without the nulls."""
    (row,) = to_table(entity, frame).to_pylist()
    return {name: value for name, value in row.items() if value is not None}


def coupon(**fields):
    ids = {"product_coupon": {"product_coupon_id": "7"}, "stock": {"product_coupon_id": "7", "stock_id": "70"}}
    return {"coupon_code": "c", **ids, **fields}


def stock(stock_id="70", *, sent=0):
    return {"product_coupon_id": "7", "stock_id": stock_id, "sent_count_info": {"total_count": sent}}


def extra(frame):
    return [None if pd.isna(text) else json.loads(text) for text in frame["extra"]]
