"""Between Arrow types: what may become a declared type, and how."""

from __future__ import annotations

import pyarrow as pa


def cast_nested(array: pa.Array, type_: pa.DataType) -> pa.Array:
    """Cast the times inside lists too. Arrow's own cast of a struct also reads what lies behind its nulls, and fails."""
    if pa.types.is_list(type_):
        values = cast_nested(array.values, type_.value_type)
        return pa.ListArray.from_arrays(array.offsets, values, type=type_, mask=array.is_null())
    if pa.types.is_struct(type_):
        members = [cast_nested(inner, member.type) for inner, member in zip(array.flatten(), type_, strict=True)]
        return pa.StructArray.from_arrays(members, fields=list(type_), mask=array.is_null())
    return array.cast(type_)


def cast_exactly(array: pa.Array | pa.ChunkedArray, type_: pa.DataType) -> pa.Array | pa.ChunkedArray:
    """Cast what can only mean one value of a declared type. Arrow would also take 5 for a time and a date for midnight.

    Raises
    ------
    ValueError
        When it could mean several, or none; the message says what to do.
    """
    if array.type == type_:
        return array
    if array.null_count == len(array):
        return pa.nulls(len(array), type_)
    if reason := _refusal(array.type, type_):
        raise ValueError(reason)
    if pa.types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    return array.cast(type_)


def _refusal(given: pa.DataType, declared: pa.DataType) -> str:
    """Say why a type cannot become a declared one; empty when it can."""
    if pa.types.is_dictionary(given):
        return _refusal(given.value_type, declared)
    if given == declared or pa.types.is_null(given):
        return ""
    if pa.types.is_list(declared):
        return _refusal(given.value_type, declared.value_type) if _is_list(given) else "these are no lists"
    if pa.types.is_struct(declared):
        return _objects_refusal(given, declared)
    if pa.types.is_timestamp(declared):
        if pa.types.is_timestamp(given) and given.tz is None:
            return "these times have no zone; give them one with .dt.tz_localize('Asia/Shanghai')"
        return (
            "" if pa.types.is_timestamp(given) or _is_text(given) else "only aware times and RFC 3339 text are instants"
        )
    if pa.types.is_string(declared):
        if pa.types.is_floating(given):
            return "ids that went through a float may have lost digits: read them again, as text (dtype='string')"
        return "" if _is_text(given) else "this is not text"
    if pa.types.is_boolean(declared):
        return "" if pa.types.is_boolean(given) else "only true and false are flags"
    if pa.types.is_integer(declared):
        number = pa.types.is_integer(given) or pa.types.is_floating(given)
        return "" if number or _is_text(given) else "these are no whole numbers"
    return "" if pa.types.is_date(given) or _is_text(given) else "only dates and ISO text are days"


def _objects_refusal(given: pa.DataType, declared: pa.StructType) -> str:
    if not pa.types.is_struct(given):
        return "these are no objects"
    members = {member.name: member.type for member in declared}
    if unknown := [member.name for member in given if member.name not in members]:
        return f"its objects have no member {', '.join(unknown)}"
    return next((reason for member in given if (reason := _refusal(member.type, members[member.name]))), "")


def _is_text(type_: pa.DataType) -> bool:
    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_))


def _is_list(type_: pa.DataType) -> bool:
    return bool(pa.types.is_list(type_) or pa.types.is_large_list(type_) or pa.types.is_fixed_size_list(type_))
