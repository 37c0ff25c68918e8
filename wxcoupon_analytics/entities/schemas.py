"""One declared schema per entity, and the two doors between Arrow and pandas.

A column is a field's path joined with ``_``. Every frame of an entity has every column of its schema, in one order and
one dtype, however few rows or fields came: a schema that is inferred per answer turns an optional column that was
all-null one day and numeric the next into a folder no Parquet reader can open.

========================  ====================================  ===========================================
in the API                in Arrow                              in pandas
========================  ====================================  ===========================================
string, enumeration       ``string``                            ``string`` (Arrow-backed)
integer                   ``int64``                             ``Int64``
boolean                   ``bool``                              ``boolean``
RFC 3339 time             ``timestamp[us, Asia/Shanghai]``      ``datetime64[us, Asia/Shanghai]``
list                      ``list<string>``, ``list<struct>``    ``pandas.ArrowDtype`` of that list
Beijing date              ``date32``                            ``date32[day][pyarrow]``
========================  ====================================  ===========================================

Lists and dates have no dtype of pandas' own: ``object`` would lose the type of an empty column and turn a date into
whatever the next operation likes, so they stay Arrow's.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from wxcoupon_analytics.entities.casting import cast_exactly, cast_nested
from wxcoupon_analytics.entities.fields import PRODUCT_COUPON, STOCK, USER_COUPON, USER_COUPON_EVENT, Field
from wxcoupon_analytics.errors import SnapshotError, ValidationError

TIMEZONE: Final = "Asia/Shanghai"
TEXT: Final = pa.string()
NUMBER: Final = pa.int64()
FLAG: Final = pa.bool_()
TIME: Final = pa.timestamp("us", tz=TIMEZONE)
DAY: Final = pa.date32()

_SCALARS: Final[Mapping[str, pa.DataType]] = {"text": TEXT, "time": TIME, "number": NUMBER, "flag": FLAG}
_DTYPES: Final[Mapping[pa.DataType, Any]] = {
    TEXT: pd.StringDtype("pyarrow"),
    NUMBER: pd.Int64Dtype(),
    FLAG: pd.BooleanDtype(),
    TIME: pd.DatetimeTZDtype("us", TIMEZONE),
}


@dataclass(frozen=True, slots=True)
class Column:
    """One column of an entity's frame."""

    name: str
    type: pa.DataType
    unit: str
    label: str
    source: str

    @property
    def dtype(self) -> Any:
        """The pandas dtype."""
        return pandas_dtype(self.type)


@dataclass(frozen=True)
class Entity:
    """What an entity is made of.

    Attributes
    ----------
    name : str
        ``product_coupons``, ``stocks``, ``user_coupons`` or ``user_coupon_events``.
    key : tuple of str
        The columns that identify a row.
    fields : tuple of Field
        The API's fields, nested as the API nests them.
    page_field : str
        The list field by which one of its pages is known (no page of product coupons exists yet).
    other_lists : tuple of str
        What other answers call a list of it.
    apart : frozenset of str
        Fields that hold another entity: rows of that entity's own frame, and no drift here.
    columns : tuple of Column
        The frame, in order.
    """

    name: str
    key: tuple[str, ...]
    fields: tuple[Field, ...]
    columns: tuple[Column, ...]
    page_field: str = ""
    other_lists: tuple[str, ...] = ()
    apart: frozenset[str] = frozenset()

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """The part of the key that every reading has: without one of them, a row is nobody's double."""
        return tuple(name for name in self.key if name != "brand_id")

    @cached_property
    def arrow(self) -> pa.Schema:
        """The frame as a plain Arrow schema: what Parquet files carry."""
        return pa.schema([(column.name, column.type) for column in self.columns])

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The column names, in order."""
        return tuple(column.name for column in self.columns)

    @cached_property
    def as_sent(self) -> pa.StructType:
        """The entity as the API sends it: nested, and with its times still text."""
        return pa.struct([(field.name, as_sent(field_type(field))) for field in self.fields])


def field_type(field: Field) -> pa.DataType:
    """Give a field's Arrow type, nested fields included."""
    if field.kind == "texts":
        return pa.list_(TEXT)
    if field.kind in {"group", "rows"}:
        struct = pa.struct([(inner.name, field_type(inner)) for inner in field.fields])
        return struct if field.kind == "group" else pa.list_(struct)
    return _SCALARS[field.kind]


def as_sent(type_: pa.DataType) -> pa.DataType:
    """Put text where a type has times: the JSON reader would take a time without an offset for UTC, a cast refuses it."""
    if pa.types.is_timestamp(type_):
        return TEXT
    if pa.types.is_list(type_):
        return pa.list_(as_sent(type_.value_type))
    if pa.types.is_struct(type_):
        return pa.struct([(member.name, as_sent(member.type)) for member in type_])
    return type_


def pandas_dtype(type_: pa.DataType) -> Any:
    """Give the pandas dtype a declared Arrow type has in a frame."""
    return _DTYPES.get(type_) or pd.ArrowDtype(type_)


def _columns(fields: Iterable[Field], path: tuple[str, ...] = (), labels: tuple[str, ...] = ()) -> Iterator[Column]:
    for field in fields:
        here, label = (*path, field.name), (*labels, field.label)
        if field.kind == "group":
            yield from _columns(field.fields, here, label)
            continue
        unit = ", ".join(_list_units(field)) if field.kind == "rows" else field.unit
        source = ".".join(here) + ("[]" if field.kind in {"rows", "texts"} else "")
        yield Column("_".join(here), field_type(field), unit, " · ".join(label), source)


def _list_units(field: Field, prefix: str = "") -> Iterator[str]:
    for inner in field.fields:
        if inner.unit:
            yield f"{prefix}{inner.name}: {inner.unit}"
        yield from _list_units(inner, f"{prefix}{inner.name}.")


_ADDED: Final = (
    Column("fetched_at", TIME, "", "数据时间", "the platform's clock: Wechatpay-Timestamp of the answer"),
    Column("fetched_day", DAY, "Beijing date", "数据日期", "the Beijing date of fetched_at"),
    Column("extra", TEXT, "JSON", "其他字段", "fields not declared, and values that do not fit, nested as they came"),
)
_COUPON_ADDED: Final = (
    Column("stock_id", TEXT, "", "批次ID", "stock.stock_id"),
    Column("product_coupon_id", TEXT, "", "商品券ID", "product_coupon.product_coupon_id, else stock.product_coupon_id"),
    Column("openid", TEXT, "", "用户OpenID", "the openid that was asked for"),
    Column("appid", TEXT, "", "AppID", "the appid the openid belongs to"),
)
# What stays of the entities nested in a user coupon: the ids, under the coupon's own names.
ECHOES: Final = ("product_coupon", "stock")


def _entity(name: str, key: tuple[str, ...], fields: tuple[Field, ...], **more: Any) -> Entity:
    of_api = [c for c in _columns(fields) if c.source.partition(".")[0] not in ECHOES]
    if name == "user_coupons":
        of_api += _COUPON_ADDED
    by_name = {column.name: column for column in of_api}
    first = [*key, *(column.name for column in _COUPON_ADDED if column.name in by_name)]
    ordered = dict.fromkeys([*first, *by_name])
    return Entity(name, key, fields, (*(by_name[column] for column in ordered), *_ADDED), **more)


ENTITIES: Final[Mapping[str, Entity]] = {
    entity.name: entity
    for entity in (
        _entity(
            "product_coupons",
            ("brand_id", "product_coupon_id"),
            PRODUCT_COUPON,
            page_field="product_coupon_list",
            apart=frozenset({"stock", "stock_bundle"}),
        ),
        _entity(
            "stocks",
            ("brand_id", "product_coupon_id", "stock_id"),
            STOCK,
            page_field="stock_list",
        ),
        _entity(
            "user_coupons",
            ("brand_id", "stock_id", "coupon_code"),
            USER_COUPON,
            page_field="user_coupon_list",
            other_lists=("user_product_coupon_list",),  # the answer to a bundle sent
        ),
    )
}

# A frame like the others, but of what the platform tells unasked: no endpoint answers with it, so it stands apart.
_FROM_ENVELOPE: Final = {
    "event_id": "id",
    "event_type": "event_type",
    "event": "event_type, without its PRODUCT_COUPON. or PRODUCT_COUPON_SP.",
    "event_time": "create_time",
    "summary": "summary",
}
EVENTS: Final = Entity(
    "user_coupon_events",
    ("event_id",),
    USER_COUPON_EVENT,
    (
        *(
            replace(column, source=_FROM_ENVELOPE.get(column.name, f"resource.{column.source}"))
            for column in _columns(USER_COUPON_EVENT)
        ),
        *_ADDED,
    ),
    page_field="user_coupon_event_list",
)


def lookup(entity: str) -> Entity:
    """Find an entity by name.

    Raises
    ------
    ValidationError
        When there is no such entity; the message lists those there are.

    Examples
    --------
    >>> lookup("stocks").key
    ('brand_id', 'product_coupon_id', 'stock_id')
    """
    found = EVENTS if entity == EVENTS.name else ENTITIES.get(entity)
    if found is None:
        raise ValidationError(f"no entity {entity!r}: there are {', '.join(ENTITIES)} and {EVENTS.name}")
    return found


def describe(entity: str) -> pd.DataFrame:
    """Document an entity's columns.

    Parameters
    ----------
    entity : str
        ``product_coupons``, ``stocks``, ``user_coupons`` or ``user_coupon_events``.

    Returns
    -------
    DataFrame
        One row a column of the frame, in the frame's order: ``column``, ``dtype`` (pandas), ``unit`` (``fen``,
        ``count``, ``days``, …; for a list, of each member), ``label`` (the API's Chinese words, outermost first) and
        ``source`` (the field's path in the answer, ``[]`` marking a list). All ``string``.

    Raises
    ------
    ValidationError
        When there is no such entity.

    Examples
    --------
    >>> columns = describe("stocks").set_index("column")
    >>> columns.loc["stock_send_rule_max_count", ["dtype", "unit", "label", "source"]].tolist()
    ['Int64', 'count', '发放规则 · 发放次数总上限', 'stock_send_rule.max_count']
    """
    rows = [(c.name, str(c.dtype), c.unit, c.label, c.source) for c in lookup(entity).columns]
    return pd.DataFrame(rows, columns=["column", "dtype", "unit", "label", "source"], dtype="string")


def to_frame(entity: str, table: pa.Table) -> pd.DataFrame:
    """Turn an Arrow table of an entity into its pandas frame.

    The table needs the declared columns in the declared order; its types may be any that cast without loss, so that
    what comes back from another engine (times in UTC, large strings) is welcome. Columns after the declared ones are
    not: select first.
    """
    return frame_of(table.cast(lookup(entity).arrow))


def frame_of(table: pa.Table) -> pd.DataFrame:
    """Turn a table of declared types into pandas, each column in the dtype of its type."""
    frame: pd.DataFrame = table.to_pandas(types_mapper=_mapped)
    # Any row count, any pandas: what the mapper does not reach is brought to the declared dtype here.
    wrong = {f.name: pandas_dtype(f.type) for f in table.schema if frame.dtypes[f.name] != pandas_dtype(f.type)}
    return frame.astype(wrong) if wrong else frame


def _mapped(type_: pa.DataType) -> Any:
    return None if pa.types.is_timestamp(type_) else pandas_dtype(type_)


def to_table(entity: str, frame: pd.DataFrame) -> pa.Table:
    """Turn an entity's frame into a table of the plain declared schema, without pandas metadata.

    Dtypes other than the declared ones are cast when they can mean one thing only (a float column of whole numbers, a
    time in another zone, categories of text), and refused otherwise.

    Raises
    ------
    SnapshotError
        When a declared column is missing, a column is not declared, or values do not fit; the message names them.
    """
    schema = lookup(entity)
    if missing := [name for name in schema.names if name not in frame.columns]:
        raise SnapshotError(
            f"this is not a frame of {entity!r}: {', '.join(missing)} missing. A frame of an entity has every column of"
            f" its schema, see describe({entity!r}); add what is missing as nulls with frame.reindex(columns=…)."
        )
    if unknown := [str(name) for name in frame.columns if name not in schema.names]:
        raise SnapshotError(
            f"{entity!r} has no column {', '.join(unknown)}. Drop it, or keep its values as JSON text in 'extra'."
        )
    arrays = [_to_arrow(entity, column, frame[column.name]) for column in schema.columns]
    return pa.Table.from_arrays(arrays, schema=schema.arrow)


def _to_arrow(entity: str, column: Column, series: pd.Series[Any]) -> pa.Array | pa.ChunkedArray:
    try:
        array = pa.array(series, from_pandas=True)
        return cast_exactly(array, column.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError, pa.ArrowKeyError, ValueError) as error:
        raise SnapshotError(
            f"column {column.name!r} of {entity!r} is {column.dtype}, and this frame's {series.dtype} does not fit:"
            f" {error}. Convert it with frame[{column.name!r}].astype(…) first."
        ) from error


def beijing_day(times: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Give the Beijing date of each instant."""
    return pc.cast(pc.local_timestamp(times), DAY, safe=False)


def frame_from_rows(entity: str, rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Build an entity's frame from flat rows.

    Parameters
    ----------
    entity : str
        ``product_coupons``, ``stocks``, ``user_coupons`` or ``user_coupon_events``.
    rows : iterable of mapping
        Keys are column names; what is absent is null. Times, also inside lists, are aware datetimes or RFC 3339 text
        with an offset. ``fetched_day`` follows from ``fetched_at`` when it is not given.

    Returns
    -------
    DataFrame
        Every column of :func:`describe`, in its order and dtype.

    Raises
    ------
    ValidationError
        When a key is no column, or a value does not fit its column.

    Examples
    --------
    >>> frame = frame_from_rows("stocks", [{"stock_id": "1", "fetched_at": "2026-11-02T00:30:00+08:00"}])
    >>> str(frame.loc[0, "fetched_day"]), frame["stock_send_rule_max_count"].dtype
    ('2026-11-02', Int64Dtype())
    """
    schema = lookup(entity)
    listed = list(rows)
    if unknown := sorted({name for row in listed for name in row} - set(schema.names)):
        raise ValidationError(f"{entity!r} has no column {', '.join(unknown)}: see describe({entity!r})")
    arrays: dict[str, pa.Array] = {}
    for column in schema.columns:
        try:
            values = [_as_sent(row.get(column.name), column.type) for row in listed]
            arrays[column.name] = cast_nested(pa.array(values, as_sent(column.type)), column.type)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
            raise ValidationError(f"column {column.name!r} of {entity!r} is {column.dtype}: {error}") from error
    arrays["fetched_day"] = pc.coalesce(arrays["fetched_day"], beijing_day(arrays["fetched_at"]))
    return frame_of(pa.table(arrays, schema=schema.arrow))


def _as_sent(value: Any, type_: pa.DataType) -> Any:
    """Write times as text, and refuse what Arrow would drop without a word."""
    if value is None or isinstance(value, str | int):
        return value
    if value is pd.NaT or value is pd.NA:
        return None
    if isinstance(value, float) and not value.is_integer():
        raise pa.ArrowInvalid(f"{value!r} is not an integer")
    if isinstance(value, dt.datetime):
        return value.isoformat()
    if isinstance(value, Mapping) and pa.types.is_struct(type_):
        members = {member.name: member.type for member in type_}
        if unknown := [str(name) for name in value if name not in members]:
            raise pa.ArrowInvalid(f"its objects have no member {', '.join(unknown)}")
        return {name: _as_sent(inner, members[name]) for name, inner in value.items()}
    if isinstance(value, list | tuple) and pa.types.is_list(type_):
        return [_as_sent(inner, type_.value_type) for inner in value]
    return value
