"""User coupons with what their stock and product coupon say about them; a look-up never adds a row."""

from __future__ import annotations

from typing import Any

import narwhals as nw
import pyarrow.compute as pc
from narwhals.typing import IntoFrame, IntoFrameT

from wxcoupon_analytics.errors import ValidationError
from wxcoupon_analytics.metrics.budget import budget_use
from wxcoupon_analytics.metrics.engines import check_ids, collect, give_back, has_brand, open_frame, same_name

LINK = "wxcoupon_link"
_ADDED = ("name", "discount_fen", "discount_basis")
_OF_COUPON = ("brand_id", "stock_id", "product_coupon_id")


def enrich(user_coupons: IntoFrameT, stocks: IntoFrame, product_coupons: IntoFrame) -> IntoFrameT:
    """Put beside every user coupon the columns of its stock and of its product coupon.

    Parameters
    ----------
    user_coupons : frame
        User coupons, current or a history. pandas, Polars (eager or lazy), PyArrow, DuckDB or PySpark; a lazy frame stays
        lazy, joined by its own engine.
    stocks, product_coupons : frame
        The current stocks and product coupons, one row each, of any engine.

    Returns
    -------
    frame
        Of the kind of ``user_coupons``: its rows, no more and no fewer, in its order (a lazy frame has none), its columns as
        they are, then all columns of ``stocks`` and of ``product_coupons`` but the ids. Where a name stands in two of the
        three frames (``state``, ``deactivate_time``, ``fetched_at``, …), it becomes ``stock_…`` and ``product_coupon_…``. At
        the end:

        ============== =================== ====================================================================
        column         dtype, unit         meaning
        ============== =================== ====================================================================
        name           string              ``display_info_name`` of the product coupon
        discount_fen   Int64, fen a coupon as in :func:`budget_use`; null when unknown
        discount_basis string              fixed, at_threshold, price_difference or unknown
        ============== =================== ====================================================================

    Raises
    ------
    ValidationError
        A column is missing or has the name of one that would be added, ids are floats, ``fetched_at`` is not
        timezone-aware, or ``stocks`` or ``product_coupons`` has several rows of one id (a history).

    Notes
    -----
    Joined on ``stock_id`` and ``product_coupon_id`` of the user coupon, and ``brand_id`` where both frames have it: a null
    brand matches only a null one. A coupon whose stock is not among ``stocks`` has nulls, and a discount that is unknown.

    Examples
    --------
    >>> from wxcoupon_analytics.metrics import enrich
    >>> from wxcoupon_analytics.samples import load_sample
    >>> coupons = enrich(load_sample("user_coupons"), load_sample("stocks"), load_sample("product_coupons"))
    >>> coupons.groupby(["name", "coupon_state"])["discount_fen"].sum().index.names
    FrozenList(['name', 'coupon_state'])
    """
    frame: Any = open_frame(user_coupons, entity="user_coupons", needs=["stock_id", "product_coupon_id"])
    schema = frame.collect_schema()
    check_ids({name: schema[name] for name in ("stock_id", "product_coupon_id")}, entity="user_coupons")
    of_stock, of_product = _whole(stocks, "stocks"), _whole(product_coupons, "product_coupons")
    worth = nw.from_native(budget_use(of_stock.to_native(), of_product.to_native()), eager_only=True)

    same = same_name(user_coupons)
    own = set(map(same, schema.names()))
    stock_columns = [name for name in of_stock.columns if name not in _OF_COUPON]
    product_columns = [name for name in of_product.columns if name not in _OF_COUPON]
    stock_names = _renamed(stock_columns, "stock_", meets=own | set(product_columns) | set(_ADDED))
    product_names = _renamed(product_columns, "product_coupon_", meets=own | set(stock_columns) | set(_ADDED))
    new = [*stock_names.values(), *product_names.values(), *_ADDED]
    clash = sorted({name for name in new if same(name) in own or new.count(name) > 1})
    if clash:
        raise ValidationError(
            f"the user_coupons frame already has {', '.join(clash)}, which enrich adds: pass it as store.load gives it, or "
            "rename those columns"
        )

    stock_table = nw.concat([of_stock, worth.select(*_ADDED)], how="horizontal")
    by_stock, by_product = has_brand(user_coupons, stocks), has_brand(user_coupons, product_coupons)
    stock_table = with_link(stock_table, "stock_id", branded=by_stock, entity="stocks").select(
        LINK, *(nw.col(old).alias(name) for old, name in stock_names.items()), *_ADDED
    )
    product_table = with_link(of_product, "product_coupon_id", branded=by_product, entity="product_coupons").select(
        LINK, *(nw.col(old).alias(name) for old, name in product_names.items())
    )
    joined = look_up(frame, stock_table, "stock_id", branded=by_stock)
    joined = look_up(joined, product_table, "product_coupon_id", branded=by_product)
    title, basis = product_names["display_info_name"], nw.col("discount_basis")
    result = joined.with_columns(
        name=nw.coalesce(title, "name"),
        discount_basis=nw.when(basis.is_null()).then(nw.lit("unknown")).otherwise(basis),
    ).select(*schema.names(), *new)
    back: IntoFrameT = result.to_native()
    return back


def _whole(native: IntoFrame, entity: str) -> nw.DataFrame[Any]:
    """Collect all of a small frame's columns."""
    frame = open_frame(native, entity=entity, needs=[])
    return collect(frame, frame.collect_schema().names())


def _renamed(names: list[str], prefix: str, *, meets: set[str]) -> dict[str, str]:
    return {name: prefix + name if name in meets else name for name in names}


def link(name: str, *, branded: bool) -> nw.Expr:
    """Make one text of an id and its brand. Null is a brand of its own, in every engine; a null id meets nothing."""
    own = nw.col(name).cast(nw.String)
    return nw.concat_str(nw.col("brand_id").cast(nw.String).fill_null(""), own, separator="\x1f") if branded else own


def with_link(table: nw.DataFrame[Any], name: str, *, branded: bool, entity: str) -> nw.DataFrame[Any]:
    """Give a small table the column by which it is looked up, and only the rows that can be."""
    check_ids({name: table.schema[name]}, entity=entity)
    linked = table.with_columns(link(name, branded=branded).alias(LINK)).drop_nulls([LINK])
    repeated = linked.filter(nw.col(LINK).is_duplicated())
    if not repeated.is_empty():
        raise ValidationError(
            f"the {entity} frame holds several rows of {name}={repeated[name][0]!r}: joining them would count coupons more "
            f"than once; pass store.load({entity!r})"
        )
    return linked


def look_up(frame: Any, table: nw.DataFrame[Any], name: str, *, branded: bool) -> Any:
    """Add a linked table's columns to a frame of any engine; rows that nothing is found for get nulls."""
    sought = frame.with_columns(link(name, branded=branded).alias(LINK))
    if isinstance(sought, nw.LazyFrame):
        there: Any = nw.from_native(give_back(table, frame.to_native()))
        return sought.join(there, on=LINK, how="left").drop(LINK)
    # In memory a position is all it takes, and keeps the rows' order; Arrow's joins do not know lists.
    keys = collect(sought, [LINK]).to_arrow()[LINK].cast("string")
    found = pc.index_in(keys, value_set=table[LINK].to_arrow().cast("string"))
    rows = nw.from_native(table.drop(LINK).to_arrow().take(found), eager_only=True)
    added: Any = nw.from_native(give_back(rows, frame.to_native()), eager_only=True)
    return frame.with_columns(*added.iter_columns())
