"""JSON in and out without losing what it said: every answer in a payload, every number as it was written.

Python's own reader is too kind for an archive: of a key sent twice it keeps one, a fraction becomes the nearest double,
and ``1e999`` becomes an infinity that it then writes as no JSON at all.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

from wxcoupon_analytics.errors import ValidationError

_EXACT_DIGITS: Final = 4000  # Python refuses to make integers of more than 4300


class Literal(float):
    """A number as it was written: a fraction, an exponent, or more digits than Python makes an integer of."""

    __slots__ = ("text",)
    text: str

    def __new__(cls, text: str) -> Literal:
        """Keep the text beside the nearest double."""
        literal = super().__new__(cls, text)
        literal.text = text
        return literal


def _integer(text: str) -> int | Literal:
    return int(text) if len(text) <= _EXACT_DIGITS else Literal(text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object; of a key sent twice the last value counts and the earlier ones keep a name of their own."""
    built = dict(pairs)
    if len(built) < len(pairs):
        left = Counter(name for name, _ in pairs)
        number = dict.fromkeys(left, 0)
        for name, value in pairs:
            left[name] -= 1
            if left[name]:
                number[name] += 1
                while (numbered := f"{name}#{number[name]}") in built:
                    number[name] += 1
                built[numbered] = value
    return built


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_object, parse_float=Literal, parse_int=_integer, parse_constant=_no_constant
)


def read_json(text: str) -> Any:
    """Read an answer; :func:`write_json` gives back every value it held."""
    try:
        return DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        raise ValidationError(f"the answer is not JSON: {error}; it begins {text[:60]!r}") from error


def write_json(value: Any) -> str:
    """Write what was read, as compactly as JSON can; what UTF-8 cannot hold stays escaped."""
    try:
        text = _written(value)
    except RecursionError as error:
        raise ValidationError("the answer is nested too deeply to be kept") from error
    return text if is_unicode(text) else _HALF.sub(lambda half: f"\\u{ord(half[0]):04x}", text)


def _written(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join([f"{_quoted(name)}:{_written(inner)}" for name, inner in value.items()]) + "}"
    if isinstance(value, list):
        return "[" + ",".join([_written(inner) for inner in value]) + "]"
    if isinstance(value, Literal):
        return value.text
    return _quoted(value)


_quoted: Final = json.JSONEncoder(ensure_ascii=False).encode
_HALF: Final = re.compile("[\ud800-\udfff]")  # of a surrogate pair


def decoded(content: bytes) -> str:
    """Read an answer's bytes as text."""
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise ValidationError(f"the answer is not UTF-8: {error}; it begins {content[:60]!r}") from error


def is_unicode(text: str) -> bool:
    """Say whether text can be stored: JSON may escape half of a surrogate pair, which no UTF-8 holds."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def answers(payload: Any) -> Iterator[bytes]:
    """List the answers in a payload, each as the bytes of one JSON value."""
    for part in _parts(payload):
        if isinstance(part, str):
            if not is_unicode(part):
                raise ValidationError(f"the payload is not JSON: text with half a surrogate pair, {part[:60]!r}")
            yield part.encode()
        elif isinstance(part, Mapping):
            try:
                yield json.dumps(part, allow_nan=False).encode()
            except (TypeError, ValueError, RecursionError) as error:
                raise ValidationError(f"the payload is not what JSON can say: {error}") from error
        else:
            raise ValidationError(
                f"a payload is an object, a page or a list of them, not {type(part).__name__}: {part!r:.60}"
            )


def _parts(payload: Any) -> Iterator[Any]:
    """Take a list of answers apart, whether it came as a Python list or as a JSON one."""
    if isinstance(payload, list | tuple):
        for part in payload:
            yield from _parts(part)
    elif isinstance(payload, bytes | bytearray | memoryview | str):
        text = payload if isinstance(payload, str) else decoded(bytes(payload))
        if text.lstrip()[:1] == "[":
            elements = [read_json(text)]
            while elements:
                element = elements.pop()
                if isinstance(element, list):
                    elements += reversed(element)
                else:
                    yield write_json(element)
        else:
            yield text
    else:
        yield payload
