"""What makes two rows readings of one thing: the same key. A row without its ids is nobody's double."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from wxcoupon_analytics.entities.schemas import Entity, lookup


def doubled(schema: Entity, table: pa.Table) -> pa.BooleanArray:
    """Mark the rows that a later row of the same key replaces; a null brand is a brand like any other."""
    keys = table.select(schema.key).to_pandas()
    return pa.array(keys.duplicated(keep="last") & keys[list(schema.ids)].notna().all(axis=1), pa.bool_())


def once_each(entity: str, table: pa.Table) -> pa.Table:
    """Keep the last row of every key: an entity that moved between two pages while they were asked for is in both."""
    return table.filter(pc.invert(doubled(lookup(entity), table)))
