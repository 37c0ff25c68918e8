"""Write the documentation page of the frames' columns anew, from the schemas: ``python -m tests.regenerate_columns``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import wxcoupon_analytics as wx
from wxcoupon_analytics.entities.schemas import ENTITIES, EVENTS

PAGE = Path(__file__).parents[1] / "docs" / "columns.md"
LABELS = {
    "product_coupons": "商品券",
    "stocks": "批次",
    "user_coupons": "用户商品券",
    "user_coupon_events": "商品券回调通知",
}


def page() -> str:
    return "\n".join(lines())


def lines() -> Iterator[str]:
    yield "# The columns of the frames"
    yield ""
    yield 'Written from the schemas by `python -m tests.regenerate_columns`; do not edit. In Python: `wx.describe("stocks")`.'
    yield ""
    yield "Every frame of an entity has every column below, in this order and dtype. A source is the field's path in the answer;"
    yield "`[]` marks a list. Money is in fen (分), times are in Asia/Shanghai."
    for entity in (*ENTITIES.values(), EVENTS):
        yield ""
        yield f"## `{entity.name}` ({LABELS[entity.name]})"
        yield ""
        yield f"One row per {', '.join(f'`{name}`' for name in entity.key)}."
        yield ""
        yield "| column | dtype | unit | label | source |"
        yield "| --- | --- | --- | --- | --- |"
        for row in wx.describe(entity.name).itertuples(index=False):
            yield f"| `{row.column}` | `{row.dtype}` | {row.unit} | {row.label} | {row.source} |"
    yield ""


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
    print(f"{PAGE.name}: {len(page().splitlines())} lines")
