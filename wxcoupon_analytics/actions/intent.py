"""What an action means, and the request number that follows from it.

The number is a pure function of the meaning, so the same cell run twice asks the platform the same thing twice, and gets
the first result again: nothing has to be remembered for that to be safe. What a number stands for is fixed for ever; change
``_VERSION`` if the derivation must ever change.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_VERSION = "wxcoupon-1"


def derive_request_no(operation: str, *meaning: str | int) -> str:
    """Derive the request number of an action: 36 of ``[0-9A-Za-z_-]``, within the 40 every page allows.

    >>> derive_request_no("send_coupon", "double-11", "1000000013001", "oh-394z-6CGkNoJrsDLTTUKiAnp4", 1)
    'wxc-2013c269fbba9b8d50a6660da61511b6'
    """
    # JSON keeps the parts apart whatever characters they hold: ("a", "b,c") and ("a,b", "c") must differ.
    text = json.dumps([_VERSION, operation, *meaning], ensure_ascii=True, separators=(",", ":"))
    return "wxc-" + hashlib.sha256(text.encode()).hexdigest()[:32]


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
        return json.dumps({"path": dict(self.path), "body": dict(self.body)}, ensure_ascii=False, sort_keys=True)

    def difference(self, earlier: str) -> str:
        """Say in which fields this write differs from an earlier one of the same number."""
        then, now = json.loads(earlier), json.loads(self.text)
        before, after = {**then["path"], **then["body"]}, {**now["path"], **now["body"]}
        return "; ".join(
            f"{name} was {before.get(name)!r}, now {after.get(name)!r}"
            for name in sorted(before.keys() | after.keys())
            if before.get(name) != after.get(name)
        )
