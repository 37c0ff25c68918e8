"""Fit one JSON value into a declared type, and say what is left over.

The exact path for answers that drifted. Nothing is lost by it: what a value holds is either in the fitted part or in
the leftover, at the place it came in.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from functools import lru_cache
from typing import Any, Final

import pyarrow as pa


class _Nothing(Enum):
    NOTHING = "nothing"


NOTHING: Final = _Nothing.NOTHING

# Two's complement, the range of the API's integers and of Arrow's int64.
_LEAST, _MOST = -(2**63), 2**63 - 1


def fit(type_: pa.DataType, value: Any) -> tuple[Any, Any]:
    """Split a JSON value into what fits a type and what does not (``NOTHING`` when all of it fits).

    A number sent as text, or a whole number sent as ``3.0``, is coerced because nothing is lost by it; an amount such
    as ``"12.5"`` for an integer is not.

    Examples
    --------
    >>> rule = pa.struct([("threshold", pa.int64()), ("percent_off", pa.int64())])
    >>> fit(rule, {"threshold": "100", "percent_off": 12.5, "cap": 9})
    ({'threshold': 100, 'percent_off': None}, {'percent_off': 12.5, 'cap': 9})
    """
    if value is None:
        return None, NOTHING
    if pa.types.is_struct(type_):
        return _fit_object(type_, value) if isinstance(value, dict) else (None, value)
    if pa.types.is_list(type_):
        return _fit_list(type_.value_type, value) if isinstance(value, list) else (None, value)
    fitted = _fit_scalar(type_, value)
    return (None, value) if fitted is None else (fitted, NOTHING)


def _fit_object(type_: pa.StructType, value: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    members = members_of(type_)
    fitted: dict[str, Any] = {}
    left: dict[str, Any] = {}
    for name, inner in value.items():
        if name in members:
            fitted[name], rest = fit(members[name], inner)
        else:
            rest = inner
        if rest is not NOTHING:
            left[name] = rest
    return {name: fitted.get(name) for name in members}, left or NOTHING


def _fit_list(type_: pa.DataType, values: list[Any]) -> tuple[list[Any], Any]:
    pairs = [fit(type_, value) for value in values]
    left: Any = NOTHING
    if any(rest is not NOTHING for _, rest in pairs):
        # Places are kept: an element that fitted leaves an empty object (or null) where it stood.
        blank = {} if pa.types.is_struct(type_) else None
        left = [blank if rest is NOTHING else rest for _, rest in pairs]
    return [fitted for fitted, _ in pairs], left


def _fit_scalar(type_: pa.DataType, value: Any) -> Any:
    if pa.types.is_string(type_):
        return _text(value)
    if pa.types.is_timestamp(type_):
        return value if isinstance(value, str) and is_time(type_, value) else None
    if pa.types.is_boolean(type_):
        return value if isinstance(value, bool) else {"true": True, "false": False}.get(value) if isinstance(value, str) else None
    return _integer(value)


def _text(value: Any) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        return None
    return value if value.isascii() or is_unicode(value) else None


def _integer(value: Any) -> int | None:
    if isinstance(value, str):
        if len(value) > 20 or not value.isascii() or not value.removeprefix("-").isdecimal():
            return None
        number = int(value)
        return number if str(number) == value and _LEAST <= number <= _MOST else None
    if isinstance(value, float):
        value = int(value) if abs(value) < 2**53 and value.is_integer() else None
    if value is None or isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if _LEAST <= value <= _MOST else None


def is_unicode(text: str) -> bool:
    """Say whether text can be stored: JSON may escape half of a surrogate pair, which no UTF-8 holds."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@lru_cache(maxsize=65_536)
def is_time(type_: pa.DataType, text: str) -> bool:
    """Ask Arrow, so that this path takes exactly the times the vectorised one takes: those with an offset."""
    try:
        pa.scalar(text).cast(type_)
    except (pa.ArrowInvalid, UnicodeEncodeError):
        return False
    return True


@lru_cache(maxsize=256)
def members_of(type_: pa.StructType) -> dict[str, pa.DataType]:
    """Give a struct's members by name."""
    return {member.name: member.type for member in type_}


def left_paths(type_: pa.DataType, left: Any) -> Iterator[str]:
    """Name the places of a leftover, ``[]`` standing for any element.

    Examples
    --------
    >>> rules = pa.list_(pa.struct([("threshold", pa.int64())]))
    >>> list(left_paths(pa.struct([("rules", rules)]), {"rules": [{}, {"cap": 9}], "remark": "x"}))
    ['rules[].cap', 'remark']
    """
    if pa.types.is_struct(type_) and isinstance(left, dict):
        members = members_of(type_)
        for name, inner in left.items():
            if name not in members:
                yield name
                continue
            for rest in left_paths(members[name], inner):
                yield f"{name}.{rest}" if rest and not rest.startswith("[") else f"{name}{rest}"
    elif pa.types.is_list(type_) and isinstance(left, list):
        for inner in left:
            if inner is not None and inner != {}:
                for rest in left_paths(type_.value_type, inner):
                    yield f"[].{rest}" if rest else "[]"
    else:
        yield ""
