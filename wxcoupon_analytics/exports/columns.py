"""What a frame's column is to somebody at a spreadsheet: the one place that knows units by name and dtype.

A frame counts fen, instants and ids; a sheet shows yuan, Beijing's clock and text. Both exports take their values from
here, so a column never means one thing in Excel and another in CSV.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from functools import cache
from typing import Any, Final, Literal, cast

import narwhals as nw
import pandas as pd
import pyarrow as pa
from narwhals.dtypes import DType
from narwhals.typing import IntoFrame

from wxcoupon_analytics.entities.schemas import ENTITIES, EVENTS
from wxcoupon_analytics.errors import ValidationError
from wxcoupon_analytics.metrics.engines import SHANGHAI, collect

Kind = Literal["text", "id", "count", "number", "share", "yuan", "time", "clock", "day", "duration", "flag", "nested"]
Value = str | int | float | Decimal | bool | datetime | date | timedelta | None

# Formulas begin so, in any spreadsheet: the signs, their full-width forms (read as the narrow ones under a Chinese or
# Japanese locale), and the white space that some strip before they look. After OWASP, "CSV Injection".
_STARTS_FORMULA: Final = re.compile(r"[\t\r\n]|\s*[=+\-@＝＋－＠]")
_ID: Final = re.compile(r"(^|_)(id|no|code|openid|unionid|appid|mchid)$")
_FEN: Final = re.compile(r"_fen(?=$|_low$|_high$)")
_SHARE: Final = re.compile(r"(^|_)(share|rate|incidence|coverage)(_low|_high)?$|^used_(low|high)$")
_EXACT_IN_FLOATS: Final = 2**53
_CENT: Final = Decimal("0.01")
_ROWS_AT_ONCE: Final = 10_000


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a frame, and what it is on a sheet.

    Attributes
    ----------
    name : str
        As in the frame.
    kind : str
        What its values become: ``yuan`` is a Decimal of whole fen, ``time`` Beijing's wall time of an aware instant,
        ``clock`` a time whose zone is not known, ``id`` and ``nested`` text.
    """

    name: str
    kind: Kind

    @property
    def bare_name(self) -> str:
        """The name without the unit that its values no longer have."""
        return _FEN.sub("", self.name) if self.kind == "yuan" else self.name


@dataclass(frozen=True)
class Exported:
    """A frame on its way to a file: its columns, and its rows as a spreadsheet's values."""

    columns: tuple[Column, ...]
    table: pa.Table

    def rows(self) -> Iterator[tuple[Value, ...]]:
        """Give the rows one by one, converting a few at a time."""
        convert = [_CONVERT.get(column.kind) for column in self.columns]
        for batch in self.table.to_batches(max_chunksize=_ROWS_AT_ONCE):
            yield from zip(
                *(
                    [_shown(value, how) for value in values.to_pylist()]
                    for values, how in zip(batch.columns, convert, strict=True)
                ),
                strict=True,
            )


def export(frame: IntoFrame, *, most: int | None = None, kinds: Mapping[str, Kind] | None = None) -> Exported:
    """Bring a frame of any engine here, unless it has more rows than a file of that kind holds.

    Raises
    ------
    ValidationError
        It has more rows than ``most``, ids of more digits than a float keeps, a column of values of several types, two
        of one name, or a name of ``kinds`` that is no column.
    """
    opened = nw.from_native(_in_columns(frame))
    if most is not None and (rows := _row_count(opened)) > most:
        raise ValidationError(
            f"the frame has {rows:,} rows and an Excel sheet holds {most:,} below its header: filter or aggregate it"
            " first, or write Parquet (a SnapshotStore) or wx.to_csv"
        )
    try:
        here = collect(opened, list(opened.collect_schema()))
    except (pa.ArrowException, OverflowError) as error:
        # Its other words may repeat a value, and that may be an openid.
        raise ValidationError(
            f"the frame has what no Arrow type holds: {error.args[-1]}. Bring the column's values to one type first, in"
            " pandas frame[column].astype('string')"
        ) from None
    if unknown := [name for name in kinds or {} if name not in here.schema]:
        raise ValidationError(f"kinds names {', '.join(unknown)}, and the frame has no such column")
    table = here.to_arrow()
    known: dict[str, Kind] = {field.name: "duration" for field in table.schema if pa.types.is_interval(field.type)}
    known.update(kinds or {})
    columns = tuple(Column(name, known.get(name) or kind_of(name, dtype)) for name, dtype in here.schema.items())
    for column in columns:
        if column.kind == "id" and here.schema[column.name].is_float():
            _check_float_ids(here[column.name])
    return Exported(columns, table)


def kind_of(name: str, dtype: DType) -> Kind:
    """Say what a column is, from its dtype, then from the entities' units, then from what its name ends in."""
    if isinstance(dtype, nw.Datetime):
        return "time" if dtype.time_zone else "clock"
    if dtype.is_nested():
        return "nested"
    for type_, kind in _BY_DTYPE.items():
        if dtype == type_:
            return kind
    if not dtype.is_numeric():
        return "text"
    if _unit(name) == "fen" or _FEN.search(name):
        return "yuan"
    if _ID.search(name):
        return "id"
    if dtype.is_integer():
        return "count"
    return "share" if _SHARE.search(name) else "number"


def starts_formula(text: str) -> bool:
    """Tell whether a spreadsheet might take a text for a formula."""
    return _STARTS_FORMULA.match(text) is not None


_BY_DTYPE: Final[Mapping[type[DType], Kind]] = {nw.Boolean: "flag", nw.Date: "day", nw.Duration: "duration"}


def hours(span: timedelta) -> str:
    """Write a duration as hours, minutes and seconds."""
    sign = "-" if span < timedelta() else ""
    minutes, seconds = divmod(abs(span), timedelta(minutes=1))
    rest = f"{seconds.total_seconds():09.6f}".rstrip("0").rstrip(".")
    return f"{sign}{minutes // 60}:{minutes % 60:02}:{rest}"


@cache
def _units() -> Mapping[str, str]:
    return {column.name: column.unit for entity in (*ENTITIES.values(), EVENTS) for column in entity.columns}


def _unit(name: str) -> str:
    """Look up an entity's unit; a join puts the entity's name before names that meet."""
    known = _units()
    return next((known[bare] for bare in (name, *_without_prefix(name)) if bare in known), "")


def _without_prefix(name: str) -> list[str]:
    return [name.removeprefix(prefix) for prefix in ("stock_", "product_coupon_") if name.startswith(prefix)]


def _in_columns(frame: IntoFrame) -> IntoFrame:
    """Bring what only pandas has into columns as any engine has them.

    That is an index by ``set_index``, ``groupby`` or ``describe`` (one of whole numbers without a name is only a count),
    names that are no texts, by ``pivot_table``, and periods and intervals, which Arrow takes for numbers.
    """
    if not nw.dependencies.is_pandas_dataframe(frame):
        return frame
    index = frame.index
    if index.nlevels > 1 or index.name is not None or not pd.api.types.is_integer_dtype(index.dtype):
        if doubled := [str(name) for name in index.names if name in frame.columns]:
            raise ValidationError(
                f"{', '.join(doubled)} is both the index and a column: frame.reset_index(drop=True) keeps the column"
            )
        try:
            frame = frame.reset_index()
        except ValueError as error:  # two of its levels have one name, or a column has the name an unnamed one gets
            raise ValidationError(
                f"the index cannot become columns: {error}; name it anew, frame.rename_axis(…)"
            ) from None
    else:
        frame = frame.reset_index(drop=True)  # older versions make a column of one that rows were taken out of
    frame = frame.set_axis([_name(label) for label in frame.columns], axis="columns")
    if doubled := frame.columns[frame.columns.duplicated()].tolist():
        raise ValidationError(
            f"several columns are called {doubled[0]!r}: a sheet could not tell them apart, rename them"
        )
    for name, dtype in frame.dtypes.items():
        labels = getattr(dtype, "categories", None)
        if isinstance(dtype if labels is None else labels.dtype, pd.PeriodDtype | pd.IntervalDtype):
            frame = frame.assign(**{str(name): frame[name].astype(object).map(str, na_action="ignore")})
    return cast(IntoFrame, frame)


def _name(label: object) -> str:
    if not isinstance(label, tuple):
        return str(label)
    return "_".join(str(part) for part in label if part != "" and not pd.isna(part))  # an index has no further levels


def _row_count(frame: nw.DataFrame[Any] | nw.LazyFrame[Any]) -> int:
    """Count rows where they are: a hundred million need not come here to be found too many."""
    if isinstance(frame, nw.DataFrame):
        return len(frame)
    return int(frame.select(nw.len()).collect("pyarrow").item())


def _check_float_ids(ids: nw.Series[Any]) -> None:
    if (lost := ids.filter(ids.abs() >= _EXACT_IN_FLOATS)).len():
        raise ValidationError(
            f"{ids.name} holds {lost[0]!r}, a float: ids that went through a float may have lost digits, read them again"
            " as text (in pandas dtype={...: 'string'})"
        )


def _shown(value: Any, convert: Callable[[Any], Value] | None) -> Value:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, float) and math.isinf(value):
        return str(value)
    return convert(value) if convert else cast(Value, value)


def _yuan(fen: float | Decimal) -> Decimal:
    """Divide without a float; what is a mean of fen is rounded to a fen."""
    yuan = Decimal(str(fen)).scaleb(-2)
    return yuan if isinstance(fen, int) else yuan.quantize(_CENT, ROUND_HALF_UP)


def _wall_time(instant: datetime) -> datetime:
    return instant.astimezone(SHANGHAI).replace(tzinfo=None)


def _span(value: Any) -> Value:
    """Take DuckDB's only duration, the INTERVAL, for days and a rest; its months, as of ``age()``, have no length."""
    if not isinstance(value, pa.MonthDayNano):
        return cast(timedelta, value)
    rest = timedelta(days=value.days, microseconds=value.nanoseconds // 1000)
    return f"{value.months} months {hours(rest)}" if value.months else rest


def _id_text(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _json_text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


_CONVERT: Final[Mapping[Kind, Callable[[Any], Value]]] = {
    "text": str,
    "id": _id_text,
    "yuan": _yuan,
    "time": _wall_time,
    "duration": _span,
    "nested": _json_text,
}
