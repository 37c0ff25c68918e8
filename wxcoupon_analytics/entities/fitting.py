"""Fit JSON values into a declared type, and say what is left over.

The exact path for answers that drifted. Nothing is lost by it: what a value holds is either in the fitted part or in
the leftover, at the place it came in. A declared type is compiled once into a tree of the three classes below.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal, InvalidOperation
from enum import Enum
from functools import lru_cache, partial
from typing import Any, Final, Protocol

import pyarrow as pa

from wxcoupon_analytics.entities.payloads import Literal, is_unicode


class _Nothing(Enum):
    NOTHING = "nothing"


NOTHING: Final = _Nothing.NOTHING

# Two's complement, the range of the API's integers and of Arrow's int64.
_LEAST, _MOST = -(2**63), 2**63 - 1


class Fitter(Protocol):
    """Fits values into one declared type."""

    def fit(self, value: Any) -> tuple[Any, Any]:
        """Split a JSON value into what fits the type and what does not (``NOTHING`` when all of it fits)."""

    def paths(self, left: Any) -> Iterator[str]:
        """Name the places of a leftover, ``[]`` standing for any element of a list."""


def fitter(type_: pa.DataType) -> Fitter:
    """Compile a declared type.

    A number sent as text, or a whole number sent as ``3.0``, is coerced because nothing is lost by it; ``12.5`` for an
    integer is not.

    Examples
    --------
    >>> rules = fitter(pa.list_(pa.struct([("threshold", pa.int64()), ("percent_off", pa.int64())])))
    >>> fitted, left = rules.fit([{"threshold": "100", "percent_off": 12.5, "cap": 9}, {"threshold": 200.0}])
    >>> fitted
    [{'threshold': 100, 'percent_off': None}, {'threshold': 200}]
    >>> left, list(rules.paths(left))
    ([{'percent_off': 12.5, 'cap': 9}, {}], ['[].percent_off', '[].cap'])
    """
    if pa.types.is_struct(type_):
        return _Object(type_)
    if pa.types.is_list(type_):
        return _List(type_)
    return _Scalar(type_)


class _Object:
    def __init__(self, type_: pa.StructType) -> None:
        self.members = {member.name: fitter(member.type) for member in type_}
        # Most members are scalars: asked directly, without a call between.
        self._scalars = {name: member.coerce for name, member in self.members.items() if isinstance(member, _Scalar)}

    def fit(self, value: Any) -> tuple[Any, Any]:
        if not isinstance(value, dict):
            return None, NOTHING if value is None else value
        fitted: dict[str, Any] = {}
        left: dict[str, Any] = {}
        for name, inner in value.items():
            coerce = self._scalars.get(name)
            if coerce is not None:
                fitted[name] = scalar = coerce(inner)
                if scalar is None and inner is not None:
                    left[name] = inner
            elif name in self.members:
                fitted[name], rest = self.members[name].fit(inner)
                if rest is not NOTHING:
                    left[name] = rest
            else:
                left[name] = inner
        return fitted, left or NOTHING

    def paths(self, left: Any) -> Iterator[str]:
        if not isinstance(left, dict):
            yield ""
            return
        for name, rest in left.items():
            if name not in self.members:
                yield name
                continue
            for path in self.members[name].paths(rest):
                yield name + path if path[:1] in {"", "["} else f"{name}.{path}"


class _List:
    def __init__(self, type_: pa.ListType) -> None:
        self.element = fitter(type_.value_type)
        # Places are kept: an element that fits leaves an empty object, or null, where it stood.
        self.blank: Any = {} if isinstance(self.element, _Object) else None

    def fit(self, value: Any) -> tuple[Any, Any]:
        if not isinstance(value, list):
            return None, NOTHING if value is None else value
        pairs = [self.element.fit(inner) for inner in value]
        if all(rest is NOTHING for _, rest in pairs):
            return [fitted for fitted, _ in pairs], NOTHING
        return [fitted for fitted, _ in pairs], [self.blank if rest is NOTHING else rest for _, rest in pairs]

    def paths(self, left: Any) -> Iterator[str]:
        if not isinstance(left, list):
            yield ""
            return
        for rest in left:
            if rest != self.blank:
                for path in self.element.paths(rest):
                    yield "[]" + path if path[:1] in {"", "["} else f"[].{path}"


class _Scalar:
    def __init__(self, type_: pa.DataType) -> None:
        self.coerce = _coercion(type_)

    def fit(self, value: Any) -> tuple[Any, Any]:
        fitted = self.coerce(value)
        return fitted, NOTHING if fitted is not None or value is None else value

    def paths(self, left: Any) -> Iterator[str]:
        yield ""


def _coercion(type_: pa.DataType) -> Callable[[Any], Any]:
    if pa.types.is_string(type_):
        return _text
    if pa.types.is_timestamp(type_):
        return partial(_time, type_)
    if pa.types.is_boolean(type_):
        return _flag
    return _integer


def _text(value: Any) -> str | None:
    if isinstance(value, str):
        return value if value.isascii() or is_unicode(value) else None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return None


def _time(type_: pa.DataType, value: Any) -> str | None:
    return value if isinstance(value, str) and _is_time(type_, value) else None


def _flag(value: Any) -> bool | None:
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value)
    return value if isinstance(value, bool) else None


def _integer(value: Any) -> int | None:
    if isinstance(value, str):
        if len(value) > 20 or not value.isascii() or not value.removeprefix("-").isdecimal():
            return None
        number = int(value)
        return number if str(number) == value and _LEAST <= number <= _MOST else None
    if isinstance(value, float):
        # Beyond 2**53 a float stands for several integers, and what was written may be none although its float is.
        return int(value) if abs(value) < 2**53 and value.is_integer() and _is_exact(value) else None
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if _LEAST <= value <= _MOST else None


def _is_exact(value: float) -> bool:
    try:
        return not isinstance(value, Literal) or Decimal(value.text) == int(value)
    except InvalidOperation:  # an exponent beyond all bounds
        return False


@lru_cache(maxsize=65_536)
def _is_time(type_: pa.DataType, text: str) -> bool:
    """Ask Arrow, so that this path takes exactly the times that the vectorised one takes: those with an offset."""
    try:
        pa.scalar(text).cast(type_)
    except (pa.ArrowInvalid, UnicodeEncodeError):
        return False
    return True
