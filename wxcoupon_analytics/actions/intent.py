"""What an action means, and the request number that follows from it.

The number is a pure function of the meaning, so the same cell run twice asks the platform the same thing twice, and gets
the first result again: nothing has to be remembered for that to be safe. What a number stands for is fixed for ever; change
``_VERSION`` if the derivation must ever change.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii
from typing import Any

from wxcoupon_analytics.errors import masked

_VERSION = "wxcoupon-1"
_CANONICAL = json.JSONEncoder(ensure_ascii=False, sort_keys=True)


def derive_request_no(operation: str, *meaning: str | int) -> str:
    """Derive the request number of an action: 36 of ``[0-9A-Za-z_-]``, within the 40 every page allows.

    >>> derive_request_no("send_coupon", "double-11", "1000000013001", "oh-394z-6CGkNoJrsDLTTUKiAnp4", 1)
    'wxc-2013c269fbba9b8d50a6660da61511b6'
    """
    # JSON keeps the parts apart whatever characters they hold: ("a", "b,c") and ("a,b", "c") must differ.
    text = json.dumps([_VERSION, operation, *meaning], ensure_ascii=True, separators=(",", ":"))
    return "wxc-" + hashlib.sha256(text.encode()).hexdigest()[:32]


def derive_request_nos(
    operation: str, before: Sequence[str | int], each: Iterable[str], after: Sequence[str | int] = ()
) -> list[str]:
    """Derive the numbers of many actions whose meanings differ in one text: as :func:`derive_request_no` would, faster.

    >>> derive_request_nos("send_coupon", ["double-11", "1000000013001"], ["oh-394z-6CGkNoJrsDLTTUKiAnp4"], [1])
    ['wxc-2013c269fbba9b8d50a6660da61511b6']
    """
    head = hashlib.sha256(json.dumps([_VERSION, operation, *before], separators=(",", ":"))[:-1].encode() + b",")
    tail = "".join(f",{json.dumps(part)}" for part in after) + "]"
    numbers = []
    for text in each:
        digest = head.copy()
        digest.update((encode_basestring_ascii(text) + tail).encode())
        numbers.append("wxc-" + digest.hexdigest()[:32])
    return numbers


@dataclass(frozen=True, slots=True)
class Intent:
    """One write, complete: on whom, and with which body. ``request_no`` stands in the body under its own name."""

    operation: str
    path: Mapping[str, str]
    body: Mapping[str, Any]
    request_no: str
    campaign: str | None = None
    copy: int | None = None

    @property
    def text(self) -> str:
        """Path and body as one canonical JSON text: equal texts are the same write."""
        return _CANONICAL.encode({"path": dict(self.path), "body": dict(self.body)})

    def difference(self, earlier: str) -> str:
        """Say in which fields this write differs from an earlier one of the same number.

        >>> then = Intent("send_coupon", {"openid": "o1"}, {"stock": {"rule": {"max_count": 100}}}, "n1")
        >>> now = Intent("send_coupon", {"openid": "o1"}, {"stock": {"rule": {"max_count": 200}}}, "n1")
        >>> now.difference(then.text)
        'stock.rule.max_count was 100, now 200'
        """
        then, now = (_leaves({**said["path"], **said["body"]}) for said in map(json.loads, (earlier, self.text)))
        return "; ".join(
            f"{name} was {_shown(name, then.get(name))}, now {_shown(name, now.get(name))}"
            for name in sorted(then.keys() | now.keys())
            if then.get(name) != now.get(name)
        )


def _leaves(value: Any, at: str = "") -> dict[str, Any]:
    """Lay nested fields out by their paths; an empty object or list is a leaf."""
    if isinstance(value, dict) and value:
        inner = [(f"{at}.{name}" if at else name, entry) for name, entry in value.items()]
    elif isinstance(value, list) and value:
        inner = [(f"{at}[{index}]", entry) for index, entry in enumerate(value)]
    else:
        return {at: value}
    return {path: leaf for name, entry in inner for path, leaf in _leaves(entry, name).items()}


def _shown(name: str, value: Any) -> str:
    return masked(value, value) if name == "openid" and isinstance(value, str) else repr(value)
