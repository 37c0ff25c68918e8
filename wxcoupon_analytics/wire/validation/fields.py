"""The small engine under the rule tables: what a value may be, which fields a message has, what was found.

A check is a function of (value, path, findings) that notes what is wrong and never raises, so that one pass reports
everything. The factories here build checks, and :func:`message` joins them into a table that can be held against a page
of the documentation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from difflib import get_close_matches
from itertools import pairwise
from typing import Any

# The longest value that is repeated in full: a time with offset has 25 characters, an openid 28, an APIv3 key 32.
_SHOWN_IN_FULL = 26
_INT64 = 2**63 - 1

# A flag is two regional indicators; anything else is a character with its variation selectors, skin tone, keycap and tag
# characters, and what a zero-width joiner glues to it.
_MODIFIERS = "[\ufe0e\ufe0f\u20e3\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]*"
_CHARACTER = re.compile(
    rf"[\U0001f1e6-\U0001f1ff]{{2}}|.{_MODIFIERS}(?:\u200d[^\x00-\x7f]{_MODIFIERS})*", flags=re.DOTALL
)
_HALF_CHARACTER = re.compile("[\ud800-\udfff]")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(?P<seconds>:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?", flags=re.ASCII)
_OFFSET = re.compile(r"(Z|[+-]\d\d:\d\d)$", flags=re.ASCII)


@dataclass(slots=True)
class Findings:
    """What one pass over a request found: ``errors`` for certain, ``disputes`` where the pages do not agree."""

    strict_enums: bool = True
    errors: list[str] = field(default_factory=list)
    disputes: list[str] = field(default_factory=list)

    def wrong(self, path: str, what: str) -> None:
        """Note something that the platform refuses."""
        self.errors.append(f"{path or 'body'}: {what}")

    def disputed(self, path: str, what: str) -> None:
        """Note something that one page or example forbids and another allows."""
        self.disputes.append(f"{path or 'body'}: {what}")


Check = Callable[[Any, str, Findings], None]
Rule = Callable[[Mapping[str, Any], str, Findings], None]


@dataclass(frozen=True, slots=True)
class Field:
    """A row of a message's table. ``why_disputed`` says which pages differ on whether the field must be there."""

    check: Check
    is_required: bool = False
    why_disputed: str | None = None


def required(check: Check) -> Field:
    """Give a row that every page marks 必填."""
    return Field(check, is_required=True)


def optional(check: Check) -> Field:
    """Give a row that may be left out, or that a rule of its own asks for."""
    return Field(check)


def disputed(check: Check, why: str) -> Field:
    """Give a row that one page marks 必填 and another 选填."""
    return Field(check, why_disputed=why)


def message(fields: Mapping[str, Field], *rules: Rule) -> Check:
    """Build the check of an object from its table of fields and the rules that hold between them."""

    def check(value: Any, path: str, found: Findings) -> None:
        if not isinstance(value, Mapping):
            found.wrong(path, f"must be an object, not {shown(value)}")
            return
        for name, row in fields.items():
            here = join(path, name)
            if value.get(name) is not None:
                row.check(value[name], here, found)
            elif row.is_required:
                found.wrong(here, "is missing; it is required")
            elif row.why_disputed is not None:
                found.disputed(here, f"is missing: {row.why_disputed}; give it to be safe")
        for name in value:
            if name not in fields:
                _unknown(name, path, fields, found)
        for rule in rules:
            rule(value, path, found)

    return check


def _unknown(name: Any, path: str, known: Iterable[str], found: Findings) -> None:
    if not isinstance(name, str):
        found.wrong(path, f"has a field named {shown(name)}; names of fields are texts")
        return
    close = get_close_matches(name, known, n=1)
    meant = f"; did you mean {close[0]}?" if close else ""
    # A body may be keyed by openids by mistake; the names of fields are lower case.
    label = name if re.fullmatch("[a-z_]{1,50}", name) else shown(name)
    found.disputed(
        join(path, label), f"no page knows this field, and the platform ignores what it does not know{meant}"
    )


def text(
    least: int = 1,
    most: int | None = None,
    *,
    alphabet: str | None = None,
    advised: int | None = None,
    why: str = "",
) -> Check:
    """Build the check of a text: lengths in characters, ``alphabet`` as the inside of a regular expression's class.

    Longer than ``advised`` is disputed, and ``why`` says by which page.
    """
    stranger = re.compile(f"[^{alphabet}]") if alphabet else None

    def check(value: Any, path: str, found: Findings) -> None:
        if not isinstance(value, str):
            found.wrong(path, f"must be a text, not {shown(value)}")
            return
        if _HALF_CHARACTER.search(value):
            found.wrong(path, "holds half a surrogate pair, which is no character; read the source as UTF-8")
            return
        length = characters(value)
        if length < least:
            found.wrong(
                path, "is empty" if not value else f"needs at least {least} characters, {shown(value)} has {length}"
            )
        elif most is not None and length > most:
            found.wrong(path, f"may have at most {most} characters, {shown(value)} has {length}; shorten it")
        elif most is not None and len(value) > most:
            found.disputed(
                path,
                f"has {length} characters of {len(value)} code points: an emoji counts as one, and no page says whether "
                f"one that is joined of several does; keep to {most} code points to be safe",
            )
        elif advised is not None and length > advised:
            found.disputed(path, f"has {length} characters: {why}; keep to {advised} to be safe")
        if stranger and (odd := stranger.search(value)):
            found.wrong(path, f"may consist of {alphabet} only, {shown(value)} has {odd[0]!r}; replace it")

    return check


def address(value: Any, path: str, found: Findings) -> None:
    """Check a URL."""
    text()(value, path, found)
    if isinstance(value, str) and value and not value.startswith(("https://", "http://")):
        found.wrong(path, f"must be a URL that starts with https://, not {shown(value)}")


def whole(least: int = 0, most: int = _INT64, *, advised: range | None = None, why: str = "") -> Check:
    """Build the check of a whole number. Outside ``advised`` is disputed, and ``why`` says by which page."""
    return _integer(least, most, "must be a whole number", advised, why)


def fen(least: int = 0) -> Check:
    """Build the check of an amount of money in fen (分)."""
    return _integer(least, _INT64, "must be an amount in fen, and fen are whole numbers", None, "")


def _integer(least: int, most: int, kind: str, advised: range | None, why: str) -> Check:
    def check(value: Any, path: str, found: Findings) -> None:
        # True is an int to Python, but true is no number to JSON.
        if isinstance(value, bool) or not isinstance(value, int):
            found.wrong(path, f"{kind}, not {shown(value)}; give an int")
        elif value < least:
            found.wrong(path, f"must be at least {least:,}, not {shown(value)}")
        elif value > most:
            found.wrong(path, f"must be at most {most:,}, not {shown(value)}")
        elif advised is not None and value not in advised:
            found.disputed(path, f"is {value}: {why}")

    return check


def flag(value: Any, path: str, found: Findings) -> None:
    """Check a truth value."""
    if not isinstance(value, bool):
        found.wrong(path, f"must be true or false, not {shown(value)}")


def choice(*values: str, doubtful: Mapping[str, str] | None = None) -> Check:
    """Build the check of an enumeration. ``doubtful`` gives the values that not every page lists, each with the dispute."""
    doubts = doubtful or {}

    def check(value: Any, path: str, found: Findings) -> None:
        if not isinstance(value, str):
            found.wrong(path, f"must be one of {', '.join(values)}, not {shown(value)}")
        elif value in doubts:
            found.disputed(path, f"{value}: {doubts[value]}")
        elif value not in values:
            close = get_close_matches(value.upper(), values, n=1)
            meant = f"; did you mean {close[0]}?" if close else ""
            what = f"must be one of {', '.join(values)}, not {shown(value)}{meant}"
            if found.strict_enums:
                found.wrong(path, f"{what}; strict_enums=False lets a value through that is newer than this package")
            else:
                found.disputed(path, what)

    return check


def list_of(
    item: Check, least: int = 0, most: int | None = None, *, advised: int | None = None, why: str = ""
) -> Check:
    """Build the check of a list. Longer than ``advised`` is disputed, and ``why`` says by which page."""

    def check(value: Any, path: str, found: Findings) -> None:
        if not isinstance(value, list | tuple):
            found.wrong(path, f"must be a list, not {shown(value)}")
            return
        if len(value) < least:
            found.wrong(path, "is empty; it needs at least one entry")
        elif most is not None and len(value) > most:
            found.wrong(path, f"may have at most {most} entries, not {len(value)}")
        elif advised is not None and len(value) > advised:
            found.disputed(path, f"has {len(value)} entries: {why}")
        for index, entry in enumerate(value):
            item(entry, f"{path}[{index}]", found)

    return check


def time(value: Any, path: str, found: Findings) -> None:
    """Check an RFC 3339 time with its offset."""
    example = "write it like 2025-08-01T00:00:00+08:00"
    if not isinstance(value, str):
        found.wrong(path, f"must be an RFC 3339 text, not {shown(value)}; {example}")
    elif (match := _TIME.fullmatch(value)) is None:
        found.wrong(path, f"{shown(value)} is not an RFC 3339 time; {example}")
    elif _OFFSET.search(value) is None:
        found.wrong(path, f"{shown(value)} has no offset, so it names no instant; {example}")
    elif instant(value) is None:
        found.wrong(path, f"{shown(value)} does not exist in the calendar; {example}")
    elif match["seconds"] is None:
        found.disputed(
            path, f"{value} has no seconds: RFC 3339 and the pages ask for them, an example answer has none; {example}"
        )


def instant(value: Any) -> datetime | None:
    """Give the instant that a well-formed time names, or None."""
    if not isinstance(value, str) or not _TIME.fullmatch(value) or not _OFFSET.search(value):
        return None
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        return None


def in_order(earlier: str, later: str, *, read: Callable[[Any], Any] = lambda value: instant(value)) -> Rule:
    """Build the rule that one time comes before another, or one second of the day where ``read`` says so."""

    def rule(value: Mapping[str, Any], path: str, found: Findings) -> None:
        begin, end = read(value.get(earlier)), read(value.get(later))
        if begin is not None and end is not None and begin >= end:
            found.wrong(join(path, later), f"{shown(value[later])} must come after {earlier}, {shown(value[earlier])}")

    return rule


def together(*names: str, why: str) -> Rule:
    """Build the rule that a page wants fields together or not at all."""

    def rule(value: Mapping[str, Any], path: str, found: Findings) -> None:
        given = [has(value, name) for name in names]
        if any(a != b for a, b in pairwise(given)):
            missing = next(name for name, there in zip(names, given, strict=True) if not there)
            found.disputed(join(path, missing), f"is missing beside {names[given.index(True)]}: {why}")

    return rule


def join(path: str, name: str) -> str:
    """Give the path of a field."""
    return f"{path}.{name}" if path else name


def has(value: Any, name: str) -> bool:
    """Tell whether an object gives a field: null and the empty list say nothing."""
    there = value.get(name) if isinstance(value, Mapping) else None
    return bool(there) if isinstance(there, list | tuple) else there is not None


def part(value: Any, *names: str) -> Mapping[str, Any]:
    """Give the object under a path of names, empty when there is none: its own check says what is wrong with it."""
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def entries(value: Any, name: str) -> list[Any]:
    """Give the list in a field, empty when there is none."""
    there = value.get(name) if isinstance(value, Mapping) else None
    return list(there) if isinstance(there, list | tuple) else []


def characters(value: str) -> int:
    """Count characters as the API's length limits do: a Chinese character is one, and so is an emoji.

    Code points are counted, except that an emoji of several (variation selector, skin tone, keycap, flag, or a family
    joined by U+200D) counts once.

    >>> characters("满200减50"), characters("好👨‍👩‍👧🇨🇳👍🏽")
    (7, 4)
    """
    return len(value) if value.isascii() else sum(1 for _ in _CHARACTER.finditer(value))


def shown(value: Any) -> str:
    """Show a value in a message: in full when short, otherwise its beginning, so that no openid or key is repeated."""
    if isinstance(value, str):
        return repr(value) if len(value) <= _SHOWN_IN_FULL else f"{value[:8]!r}… ({len(value)} characters)"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float):
        # Python refuses to print an int of thousands of digits.
        return repr(value) if isinstance(value, float) or abs(value) < 10**20 else "a number of more than 20 digits"
    if isinstance(value, Mapping):
        return "an object"
    return "a list" if isinstance(value, list | tuple) else f"a {type(value).__name__}"
