"""Reading one field of a request: is it there, is it of its type, is it within its bounds.

Every refusal names the field by its JSON pointer, gives the value that came, and carries the number of its kind (too long, too
short, out of range, invalid), as the platform's own do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from wxcoupon_analytics.sandbox.clock import parse_rfc3339
from wxcoupon_analytics.sandbox.refusals import (
    PARAM_OUT_OF_RANGE,
    PARAM_TOO_LONG,
    PARAM_TOO_SHORT,
    RefusedError,
    param_error,
)

Body = Mapping[str, Any]
REQUEST_NO = re.compile(r"[0-9A-Za-z_-]+")


def pointer(at: str, name: str) -> str:
    """Join a JSON pointer."""
    return f"{at}/{name}"


def text(body: Body, name: str, *, at: str = "", least: int = 1, most: int | None = None) -> str:
    """Return a required text; lengths count characters, so an emoji is one."""
    value = body.get(name)
    field = pointer(at, name)
    if value is None or value == "":
        raise param_error(field, "required", value=value)
    if not isinstance(value, str):
        raise param_error(field, "must be a string", value=value)
    if len(value) < least:
        raise param_error(field, f"{len(value)} characters, at least {least}", value=value, numeric=PARAM_TOO_SHORT)
    if most is not None and len(value) > most:
        raise param_error(field, f"{len(value)} characters, at most {most}", value=value, numeric=PARAM_TOO_LONG)
    return value


def optional_text(body: Body, name: str, *, at: str = "", most: int | None = None) -> str | None:
    """Return a text, or None when it is absent; no page forbids an empty one."""
    value = body.get(name)
    return value if value is None or value == "" else text(body, name, at=at, most=most)


def integer(body: Body, name: str, *, at: str = "", least: int, most: int) -> int:
    """Return a required integer; JSON's true and 1.0 are not integers."""
    value = body.get(name)
    field = pointer(at, name)
    if value is None:
        raise param_error(field, "required")
    if not isinstance(value, int) or isinstance(value, bool):
        raise param_error(field, "must be an integer", value=value)
    if not least <= value <= most:
        raise param_error(field, f"must be within {least} and {most}", value=value, numeric=PARAM_OUT_OF_RANGE)
    return value


def optional_integer(body: Body, name: str, *, at: str = "", least: int, most: int) -> int | None:
    """Return an integer, or None when it is absent."""
    return integer(body, name, at=at, least=least, most=most) if body.get(name) is not None else None


def choice(body: Body, name: str, allowed: tuple[str, ...], *, at: str = "") -> str:
    """Return a required enumeration value."""
    value = text(body, name, at=at)
    if value not in allowed:
        raise param_error(pointer(at, name), "must be one of " + " ".join(allowed), value=value)
    return value


def mapping(body: Body, name: str, *, at: str = "") -> Body:
    """Return a required object."""
    value = body.get(name)
    if not isinstance(value, dict):
        raise param_error(pointer(at, name), "required" if value is None else "must be an object", value=value)
    return value


def optional_mapping(body: Body, name: str, *, at: str = "") -> Body | None:
    """Return an object, or None when it is absent."""
    return mapping(body, name, at=at) if body.get(name) is not None else None


def array(body: Body, name: str, *, at: str = "", most: int) -> list[Any]:
    """Return a list; absent is empty."""
    value = body.get(name)
    if value is None:
        return []
    field = pointer(at, name)
    if not isinstance(value, list):
        raise param_error(field, "must be an array", value=value)
    if len(value) > most:
        raise param_error(field, f"{len(value)} items, at most {most}", numeric=PARAM_TOO_LONG)
    return value


def texts(body: Body, name: str, *, at: str = "", most: int) -> list[str]:
    """Return a required list of texts; it may be empty."""
    if body.get(name) is None:
        raise param_error(pointer(at, name), "required")
    values = array(body, name, at=at, most=most)
    for index, value in enumerate(values):
        if not isinstance(value, str):
            raise param_error(f"{at}/{name}/{index}", "must be a string", value=value)
    return values


def objects(body: Body, name: str, *, at: str = "", most: int) -> list[Body]:
    """Return a list of objects; absent is empty."""
    values = array(body, name, at=at, most=most)
    for index, value in enumerate(values):
        if not isinstance(value, dict):
            raise param_error(f"{at}/{name}/{index}", "must be an object", value=value)
    return values


def instant(body: Body, name: str, *, at: str = "") -> int:
    """Return a required RFC 3339 time, in the pages' words when it is none."""
    value = text(body, name, at=at)
    try:
        return parse_rfc3339(value)
    except ValueError:
        raise bad_time(pointer(at, name), value) from None


def bad_time(field: str, value: str) -> RefusedError:
    """Build the refusal of a time the platform cannot read."""
    message = "时间字符串格式错误,请使用 RFC3339 标准格式"
    return param_error(field, "not RFC 3339", value=value, message=message)


def request_no(body: Body, name: str) -> str:
    """Return a request number: 6 to 40 characters, sends up to 128, of digits, letters, ``_`` and ``-``."""
    value = text(body, name, least=6, most=128 if name == "send_request_no" else 40)
    if not REQUEST_NO.fullmatch(value):
        raise param_error(f"/{name}", "only digits, letters, _ and -", value=value)
    return value
