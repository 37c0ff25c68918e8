"""A small extract of the embedded brand's books, to try things on and to run the examples of the docstrings."""

from __future__ import annotations

from importlib.resources import files

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from wxcoupon_analytics.entities.flatten import to_frame
from wxcoupon_analytics.errors import ValidationError

ENTITIES = ("product_coupons", "stocks", "user_coupons")


def load_sample(entity: str) -> pd.DataFrame:
    """Load a bundled frame: a coffee chain's product coupons, stocks, or the coupons of its first users.

    All three were fetched at the same moment, Monday 2026-11-02 10:00 in Beijing, from ``wx.Sandbox(seed=7)``.

    Parameters
    ----------
    entity : {"product_coupons", "stocks", "user_coupons"}

    Returns
    -------
    DataFrame
        Columns as ``wx.describe(entity)``.

    Raises
    ------
    ValidationError
        There is no sample of that name.

    Examples
    --------
    >>> import wxcoupon_analytics as wx
    >>> wx.load_sample("stocks")[["stock_id", "state", "sent_count_info_total_count"]].head(3)
            stock_id    state  sent_count_info_total_count
    0  1000000013001  SENDING                         3351
    1  1000000013002  SENDING                         1048
    2  1000000013003  STOPPED                         1639
    """
    if entity not in ENTITIES:
        raise ValidationError(f"there is no sample {entity!r}; there are {', '.join(ENTITIES)}")
    data = files(__name__).joinpath(f"{entity}.parquet").read_bytes()
    return to_frame(entity, pq.read_table(pa.BufferReader(data)))
