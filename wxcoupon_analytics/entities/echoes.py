"""Cut the echoes in answers about user coupons down to their ids, before anything parses them.

A coupon repeats its whole stock and product coupon: nine tenths of the bytes, the same few texts over and over. A text
that was met before is recognised by comparing memory; one whose counters have moved since, by comparing what stands
before and after them. Anything else is parsed, once, and remembered.

What is cut is told by its name alone, wherever it stands: good enough for the strict reading, which refuses every answer
with something in a place that is not declared. The exact path reads the answer itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from wxcoupon_analytics.entities.fields import USER_COUPON
from wxcoupon_analytics.entities.payloads import DECODER, write_json
from wxcoupon_analytics.entities.schemas import ECHOES

ID_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    field.name: tuple(inner.name for inner in field.fields) for field in USER_COUPON if field.name in ECHOES
}

# In JSON, such characters are a key and nothing else, if the first quote is not escaped. The check comes after that
# quote because a pattern that begins with a plain character is searched for three times as fast.
_ECHO: Final = re.compile(rf'"(?<!\\")({"|".join(ECHOES)})"[ \t\r\n]*:[ \t\r\n]*(?=\{{)')
# Strings are matched too, to be stepped over: digits inside them are no numbers.
_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[-+.0-9eE]+')
_COUNTER: Final = "(?:0|[1-9][0-9]*)"
# So much of an echo tells one stock from another; so many are kept in memory, and as often is one looked at anew.
_TELLING: Final = 96
_REMEMBERED: Final = 4096
_LESSONS: Final = 8


class Shortener:
    """Cuts echoes short."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], _Echo] = {}
        self._parse = DECODER.raw_decode

    def shorten(self, text: str) -> tuple[str, int]:
        """Give the same JSON with no more than the ids in its echoes, and their number; what is no JSON stays as it is."""
        parts: list[str] = []
        done = 0
        while found := _ECHO.search(text, done):
            start = found.end()
            key = (found[1], text[start : start + _TELLING])
            echo = self._known.get(key)
            end = echo.end_in(text, start) if echo else None
            if echo is None or end is None:
                try:
                    value, end = self._parse(text, start)
                except (ValueError, RecursionError):
                    break
                echo = self._remember(key, _Echo(text[start:end], ids_of(found[1], value)), echo)
            parts += text[done:start], echo.short
            done = end
        parts.append(text[done:])
        return "".join(parts), len(parts) // 2

    def _remember(self, key: tuple[str, str], echo: _Echo, before: _Echo | None) -> _Echo:
        if before is not None:
            echo.learn_from(before)
        elif len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[key] = echo
        return echo


class _Echo:
    """One echo: its text and, once it was seen to change, where its counters are."""

    def __init__(self, text: str, ids: dict[str, Any]) -> None:
        self.text = text
        self.short = write_json(ids)
        self._moves = all(isinstance(value, str) for value in ids.values())
        self._lessons = 0
        self._counters: tuple[str, re.Pattern[str], str] | None = None

    def end_in(self, text: str, start: int) -> int | None:
        """Say where this echo ends in a text; None when something else stands there."""
        if self._counters is None:
            return start + len(self.text) if text.startswith(self.text, start) else None
        before, counters, after = self._counters
        if not text.startswith(before, start):
            return None
        moved = counters.match(text, start + len(before))
        return moved.end() + len(after) if moved and text.startswith(after, moved.end()) else None

    def learn_from(self, other: _Echo) -> None:
        """Find what differs from an earlier reading; if it is numbers alone, any numbers will do there."""
        self._lessons = other._lessons + 1
        if self._lessons > _LESSONS or not self._moves or self.short != other.short:
            return
        # Numbers that moved before may have stood still this time.
        head, tail = (other._counters[0], other._counters[2]) if other._counters else (other.text, other.text)
        first = len(_shared(self.text, head))
        last = len(self.text) - len(_shared(self.text[first:][::-1], tail[::-1]))
        numbers = [token.span() for token in _TOKEN.finditer(self.text) if token[0].isdecimal()]
        between = [(start, end) for start, end in numbers if end >= first and start <= last]
        if not between or between[0][0] > first or between[-1][1] < last:
            return  # something else moved
        start, end = between[0][0], between[-1][1]
        pattern, done = "", start
        for number, after in between:
            pattern += re.escape(self.text[done:number]) + _COUNTER
            done = after
        self._counters = self.text[:start], re.compile(pattern), self.text[end:]


def _shared(one: str, other: str) -> str:
    """Give the beginning that two texts share."""
    length = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return one[:length]


def ids_of(echo: str, value: Mapping[str, Any]) -> dict[str, Any]:
    """Keep of an echo what is the coupon's own; an id sent twice has its earlier values under numbered names."""
    ids = ID_FIELDS[echo]
    return {name: inner for name, inner in value.items() if name in ids or name.partition("#")[0] in ids}
