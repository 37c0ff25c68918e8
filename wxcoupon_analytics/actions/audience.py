"""The audience: a frame of any kind in, one pandas frame and two lists out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import narwhals as nw
import pandas as pd
import pyarrow as pa
from narwhals.typing import IntoFrame

from wxcoupon_analytics.errors import ValidationError

# What a plan and its result add to the audience; coupon_code is the audience's own where a stock asks for codes.
ADDED = (
    "send_request_no",
    "status",
    "reason",
    "coupon_code",
    "coupon_state",
    "receive_time",
    "error_code",
    "error_message",
    "request_id",
    "attempts",
    "assigned_at",
)
_DTYPES = {
    pa.string(): pd.StringDtype(),
    pa.large_string(): pd.StringDtype(),
    pa.string_view(): pd.StringDtype(),
    pa.bool_(): pd.BooleanDtype(),
    pa.int8(): pd.Int8Dtype(),
    pa.int16(): pd.Int16Dtype(),
    pa.int32(): pd.Int32Dtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.uint8(): pd.UInt8Dtype(),
    pa.uint16(): pd.UInt16Dtype(),
    pa.uint32(): pd.UInt32Dtype(),
    pa.uint64(): pd.UInt64Dtype(),
    pa.float32(): pd.Float32Dtype(),
    pa.float64(): pd.Float64Dtype(),
}


def read_audience(audience: IntoFrame) -> pd.DataFrame:
    """Bring an audience to pandas: a pandas frame as it is (index and dtypes too), any other kind through Arrow.

    Raises
    ------
    ValidationError
        It is no frame, has no ``openid`` column or a numeric one, or has a column of a name that a plan adds.
    """
    frame = audience.copy() if isinstance(audience, pd.DataFrame) else _through_arrow(audience)
    names = list(frame.columns)
    if twice := sorted({str(name) for name in names if names.count(name) > 1}):
        raise ValidationError(f"the audience has several columns named {', '.join(twice)}. Nothing was sent")
    if clashing := [name for name in names if name in ADDED and name != "coupon_code"]:
        raise ValidationError(
            f"the audience has a column named {', '.join(clashing)}, which the plan adds itself: rename or drop it, in pandas "
            f"with audience.drop(columns={clashing!r}). Nothing was sent"
        )
    if "openid" not in names:
        raise ValidationError(
            f"the audience has no column openid, only {', '.join(map(str, names[:20]))}. Nothing was sent"
        )
    for name in ("openid", "coupon_code"):
        # A column of nothing but nulls comes as float from pandas.
        if name in names and pd.api.types.is_numeric_dtype(frame[name].dtype) and frame[name].notna().any():
            raise ValidationError(
                f"{name} is {frame[name].dtype}, and what went through a number may have lost digits: read it as text, in "
                f"pandas with dtype={{{name!r}: 'string'}}. Nothing was sent"
            )
    return frame


def texts(column: pd.Series[Any]) -> tuple[list[str | None], dict[int, str]]:
    """Give the texts of a column, None where there is none, and what is wrong where something is."""
    found: list[str | None] = []
    wrong: dict[int, str] = {}
    for row, (value, is_missing) in enumerate(zip(column.astype(object), column.isna(), strict=True)):
        text = value if isinstance(value, str) else None
        if text is not None and not text.strip():
            wrong[row] = "is empty"
        elif text is not None and not _can_be_encoded(text):
            wrong[row] = "holds half a surrogate pair, which no encoding can carry"
        elif text is None and not is_missing:
            wrong[row] = f"is no text but {type(value).__name__}"
        found.append(None if row in wrong else text)
    return found, wrong


def repeated(values: Mapping[int, str | None]) -> dict[int, int]:
    """Give the rows whose value stands in an earlier one, with that one."""
    first: dict[str, int] = {}
    return {
        row: first[value] for row, value in values.items() if value is not None and first.setdefault(value, row) != row
    }


def _through_arrow(audience: IntoFrame) -> pd.DataFrame:
    try:
        frame = nw.from_native(audience)
    except TypeError as error:
        raise ValidationError(
            f"the audience must be a frame (pandas, Polars, PyArrow, DuckDB, PySpark), not {type(audience).__name__}"
        ) from error
    table: pa.Table = (frame.collect("pyarrow") if isinstance(frame, nw.LazyFrame) else frame).to_arrow()
    pandas: pd.DataFrame = table.to_pandas(types_mapper=_mapped)
    return pandas


def _mapped(type_: pa.DataType) -> Any:
    if pa.types.is_timestamp(type_) or pa.types.is_duration(type_) or pa.types.is_dictionary(type_):
        return None
    return _DTYPES.get(type_, pd.ArrowDtype(type_))


def _can_be_encoded(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)
