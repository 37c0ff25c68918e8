"""Where dataframe engines differ: everything the metrics need to know of it, and nothing else knows.

A metric has two shapes. One over stocks (thousands of rows) collects its input to Arrow and works there, so that all
engines share one arithmetic. One over user coupons (a hundred million rows) aggregates inside the engine and collects
only the aggregate. Either way the result is a small Arrow table, which `give_back` turns into the caller's kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import Any
from zoneinfo import ZoneInfo

import narwhals as nw
import pyarrow as pa
from narwhals.dtypes import DType
from narwhals.typing import IntoFrame

from wxcoupon_analytics.errors import ValidationError

SHANGHAI = ZoneInfo("Asia/Shanghai")


def open_frame(native: IntoFrame, *, entity: str, needs: Iterable[str]) -> nw.DataFrame[Any] | nw.LazyFrame[Any]:
    """Wrap a frame of any engine, once it has the columns needed and its fetch times are aware."""
    frame = wrap(native)
    schema = frame.collect_schema()
    missing = [column for column in needs if column not in schema]
    if missing:
        raise ValidationError(
            f"the {entity} frame lacks {', '.join(missing)}: pass store.load({entity!r}) or "
            f"client.fetch.{entity}(…) with all of its columns"
        )
    fetched_at = schema.get("fetched_at")
    if fetched_at is not None and not _is_aware(fetched_at):
        raise _not_aware("fetched_at", fetched_at, entity)
    return frame


def check_times(columns: Mapping[str, DType], *, entity: str) -> None:
    """Refuse times without a zone: engines take them for the session's or for UTC, eight hours from what is meant.

    A column of nothing but nulls may come without any dtype.
    """
    for name, dtype in columns.items():
        if (dtype.is_temporal() or dtype.is_numeric() or dtype == nw.String) and not _is_aware(dtype):
            raise _not_aware(name, dtype, entity)


def _is_aware(dtype: DType) -> bool:
    return getattr(dtype, "time_zone", None) is not None


def _not_aware(name: str, dtype: DType, entity: str) -> ValidationError:
    time = f"frame[{name!r}]" if dtype.is_temporal() else f"pd.to_datetime(frame[{name!r}])"
    return ValidationError(
        f"{name} of the {entity} frame is {dtype}, not an aware time: localize it first, in pandas with "
        f"{time}.dt.tz_localize('Asia/Shanghai')"
    )


def wrap(native: IntoFrame) -> nw.DataFrame[Any] | nw.LazyFrame[Any]:
    """Wrap a frame of any engine, with every aware time known as one.

    Narwhals cannot read the name of every zone in a pandas dtype: America/New_York is Unknown to it, for its underscore.
    """
    frame = nw.from_native(native)
    if not frame.implementation.is_pandas():
        return frame
    pandas: Any = native
    zoned = pandas.select_dtypes("datetimetz")
    unread = [name for name, dtype in nw.from_native(zoned).schema.items() if dtype == nw.Unknown]
    if not unread:
        return frame
    told_anew = {name: zoned[name].dt.tz_convert("Asia/Shanghai") for name in unread}
    mended: nw.DataFrame[Any] = nw.from_native(pandas.assign(**told_anew))
    return mended


def collect(frame: nw.DataFrame[Any] | nw.LazyFrame[Any], columns: Sequence[str]) -> nw.DataFrame[Any]:
    """Bring columns to this process as Arrow, aware times in Beijing's zone whatever zone the engine answers in."""
    chosen = frame.select(*columns)
    if isinstance(chosen, nw.LazyFrame):
        arrow = chosen.collect("pyarrow")
    else:
        arrow = nw.from_native(chosen.to_arrow(), eager_only=True)
    in_beijing = [
        nw.col(name).dt.convert_time_zone("Asia/Shanghai").cast(nw.Datetime("us", "Asia/Shanghai"))
        for name, dtype in arrow.schema.items()
        if isinstance(dtype, nw.Datetime) and dtype.time_zone
    ]
    labels = [name for name, dtype in arrow.schema.items() if dtype in {nw.Categorical, nw.Enum}]
    # Arrow cannot sort a dictionary column, so labels become plain strings.
    return arrow.with_columns(*in_beijing, *(nw.col(name).cast(nw.String) for name in labels))


def collect_entity(
    native: IntoFrame, columns: Mapping[str, DType], *, entity: str, key: Sequence[str]
) -> nw.DataFrame[Any]:
    """Collect the current state of a small entity: these columns in these dtypes, one row a key."""
    arrow = collect(open_frame(native, entity=entity, needs=columns), list(columns))
    arrow = arrow.with_columns(declared(arrow[name], dtype, entity=entity) for name, dtype in columns.items())
    # A row without its ids is nobody's double.
    known = arrow.drop_nulls([name for name in key if name != "brand_id"])
    repeated = known.filter(known.select(*key).is_duplicated())
    if not repeated.is_empty():
        example = ", ".join(f"{name}={repeated[name][0]!r}" for name in key)
        raise ValidationError(
            f"the {entity} frame holds several rows of one key ({example}): a history was given where the current "
            f"state is meant; pass store.load({entity!r})"
        )
    return arrow


def declared(column: nw.Series[Any], dtype: DType, *, entity: str) -> nw.Series[Any]:
    """Cast a column to what the contract says: a pandas merge makes floats of counts, read_csv integers of ids."""
    given = column.dtype
    if column.is_null().all():
        return nw.new_series(column.name, [None] * len(column), dtype, backend="pyarrow")
    if dtype == nw.String:
        check_ids({column.name: given}, entity=entity)
    if dtype == nw.Int64 and not (given.is_numeric() or given == nw.String):
        raise _misfit(column.name, given, dtype, entity)
    if isinstance(dtype, nw.Datetime) and given != nw.String:  # text that names no zone does not cast
        check_times({column.name: given}, entity=entity)
    try:
        cast = column.cast(dtype)
        if isinstance(dtype, nw.Datetime):
            cast.min(), cast.max()  # fail on a year that Python cannot say
    except (pa.ArrowException, OverflowError, ValueError) as error:
        raise _misfit(column.name, given, dtype, entity, f" ({error})") from error
    return cast


def check_ids(columns: Mapping[str, DType], *, entity: str) -> None:
    """Refuse ids that went through a float: the digits it lost may be another's."""
    for name, dtype in columns.items():
        if dtype.is_float():
            raise ValidationError(
                f"{name} of the {entity} frame is {dtype}, and ids that went through a float may have lost digits: read"
                " them again, as text (in pandas dtype={...: 'string'})"
            )


def _misfit(name: str, given: DType, declared: DType, entity: str, why: str = "") -> ValidationError:
    return ValidationError(
        f"{name} of the {entity} frame is {given} where {declared} is meant, and holds values that do not fit{why}: pass"
        f" store.load({entity!r}) or client.fetch.{entity}(…)"
    )


def latest(
    frame: nw.DataFrame[Any] | nw.LazyFrame[Any],
    key: Sequence[str],
    *,
    rising: Sequence[str],
    columns: Sequence[str] = (),
) -> nw.DataFrame[Any] | nw.LazyFrame[Any]:
    """Keep one row of every key: the greatest, compared by ``rising`` and then by ``columns``, nulls below all else.

    The first of ``rising`` decides and the rest of it rises with that (an order, and the time it was made of), so that
    each of them is a plain maximum: the cheapest aggregate there is, of a fixed width, which DuckDB spills to disk.
    Each of ``columns`` takes its last value on its own, and as all of them are in the order, they are of one row.
    """
    rank, *_ = rising
    if isinstance(frame, nw.LazyFrame) and _is_spark(frame):
        # Narwhals has no last(order_by=…) there. Spark's order of structs is field by field, nulls first.
        from pyspark.sql import functions as F  # noqa: N812

        row = F.max(F.struct(*rising, *columns)).alias(rank)
        best: nw.LazyFrame[Any] = nw.from_native(frame.to_native().groupBy(*key).agg(row).select(*key, f"{rank}.*"))
        return best
    order = [rank, *columns]
    kept = [*(nw.col(name).max() for name in rising), *(nw.col(name).last(order_by=order) for name in columns)]
    return frame.group_by(list(key)).agg(*kept)


def microseconds(frame: nw.DataFrame[Any] | nw.LazyFrame[Any], name: str) -> nw.Expr:
    """Express an aware time as an integer, microseconds since 1970, in the words that its engine understands."""
    instant = nw.col(name)
    if isinstance(frame, nw.LazyFrame) and frame.implementation.is_duckdb():
        return instant.dt.total_microseconds()  # epoch_us, which takes an instant as well as an interval
    if isinstance(frame, nw.LazyFrame) and _is_spark(frame):
        return instant.cast(nw.Int64) * 1_000_000 + instant.dt.microsecond()
    return instant.dt.timestamp("us")


def _is_spark(frame: nw.LazyFrame[Any]) -> bool:
    return frame.implementation in {nw.Implementation.PYSPARK, nw.Implementation.PYSPARK_CONNECT}


def same_name(native: IntoFrame) -> Callable[[str], str]:
    """Give what two names have in common when they name one column: DuckDB and Spark do not mind their case."""
    frame = nw.from_native(native)
    minds_case = isinstance(frame, nw.DataFrame) or not (frame.implementation.is_duckdb() or _is_spark(frame))
    return str if minds_case else str.lower


def has_brand(*frames: IntoFrame) -> bool:
    """Tell whether all of these frames say whose rows they hold; one that does not is of a single brand."""
    return all("brand_id" in nw.from_native(frame).collect_schema() for frame in frames)


def give_back(result: nw.DataFrame[Any], like: IntoFrame) -> Any:
    """Turn a small Arrow result into the kind of frame the caller handed in."""
    given = nw.from_native(like)
    engine = given.implementation
    table = result.to_arrow().replace_schema_metadata(None)
    if engine.is_pyarrow():
        return table
    if engine.is_pandas():
        return _to_pandas(table, engine.to_native_namespace())
    if engine.is_duckdb():
        return _to_relation(table, like)
    if isinstance(given, nw.DataFrame):
        return nw.from_arrow(table, backend=engine).to_native()
    # Polars' lazy frames, and Spark, whose session the caller's frame knows.
    backend: Any = engine
    return result.lazy(backend, session=getattr(like, "sparkSession", None)).to_native()


_INTEGERS = tuple(f"{sign}Int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64))


def _to_pandas(table: Any, pd: Any) -> Any:
    """Convert with the package's nullable dtypes: a null must not turn a count into a float."""
    nullable = {
        **{name.lower(): getattr(pd, f"{name}Dtype")() for name in _INTEGERS},
        "float": pd.Float32Dtype(),
        "double": pd.Float64Dtype(),
        "bool": pd.BooleanDtype(),
        "string": pd.StringDtype("pyarrow"),
        "large_string": pd.StringDtype("pyarrow"),
    }

    def dtype(arrow_type: Any) -> Any:
        name = str(arrow_type)
        return pd.ArrowDtype(arrow_type) if name.startswith(("date", "list")) else nullable.get(name)

    return table.to_pandas(types_mapper=dtype)


def _to_relation(result: Any, like: Any) -> Any:
    """Put a table beside the caller's own relations, on the connection that only their relation knows.

    Relations of two connections cannot be joined, and a relation does not give its connection away; but its `query`
    runs there, binding ``result`` by its name here, once and for good. DuckDB 1 leaves behind the view that `query`
    defines on its way, so it is asked to drop that again.
    """
    view = nw.generate_temporary_column_name(12, like.columns, prefix="wxcoupon_")
    relation = like.query(view, "SELECT * FROM result")
    if version("duckdb").startswith("1."):
        like.query(view, f"DROP VIEW IF EXISTS {view}")
    return relation
