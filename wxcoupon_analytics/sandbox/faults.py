"""Answers that go wrong, on request: what a client must survive, made to happen at will.

A fault is armed with a kind and a filter, and then strikes the next matching requests of the API (never the control routes).
Each is placed where the real thing happens: a proxy's 502 before the platform has seen the request, a reset after the write was
committed, a signature broken between the platform and the client. ``when`` says on which side of the commit a fault strikes,
for the kinds that can be on either.
"""

from __future__ import annotations

import gzip
import json
import random
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

KINDS: Mapping[str, frozenset[str]] = {
    "tamper_body": frozenset(),  # one digit of the body changes after signing
    "wrong_serial": frozenset(),  # Wechatpay-Serial names a key that is not the account's
    "stale_timestamp": frozenset({"seconds"}),  # properly signed, but long ago
    "missing_signature": frozenset({"header"}),  # a signature header is dropped
    "signtest": frozenset(),  # the platform's own probe of whether callers verify
    "status": frozenset({"code", "retry_after", "signed", "when"}),  # an error status; unsigned HTML, or signed JSON
    "non_json": frozenset({"when"}),  # 200, HTML, unsigned: a captive portal
    "empty": frozenset({"when"}),  # 200 without a body, unsigned
    "truncate": frozenset(),  # the connection closes in mid-body
    "reset": frozenset({"when"}),  # the connection is reset without an answer
    "stall": frozenset({"seconds", "when"}),  # the answer is late
    "gzip": frozenset(),  # compressed on the way, correctly signed over the plain body
}
_CODES = {429: ("RATELIMIT_EXCEEDED", "频率限制"), 403: ("NO_AUTH", "品牌没有此接口权限")}
_HTML = b"<html>\r\n<head><title>%s</title></head>\r\n<body><center><h1>%s</h1></center></body>\r\n</html>\r\n"


@dataclass
class Fault:
    """One armed fault."""

    kind: str
    times: int | None
    path: str | None
    method: str | None
    probability: float | None
    options: dict[str, Any]

    @property
    def strikes_before(self) -> bool:
        """Whether it strikes before the platform has acted; only kinds with a ``when`` can."""
        return "when" in KINDS[self.kind] and self.options.get("when", "before") == "before"


class FaultBox:
    """The armed faults; the first that matches a request strikes it."""

    def __init__(self, seed: int) -> None:
        self._armed: list[Fault] = []
        self._random = random.Random(seed)  # noqa: S311 - repeatable, not secret

    def arm(self, fault: Fault) -> None:
        """Arm a fault; unknown kinds and options are a ValueError."""
        if fault.kind not in KINDS:
            raise ValueError(f"unknown fault {fault.kind!r}; there are: {', '.join(KINDS)}")
        unknown = set(fault.options) - KINDS[fault.kind]
        if unknown:
            takes = ", ".join(sorted(KINDS[fault.kind])) or "none"
            raise ValueError(f"fault {fault.kind!r} does not take {', '.join(sorted(unknown))}; its options: {takes}")
        if fault.options.get("when", "before") not in ("before", "after"):
            raise ValueError("when is 'before' or 'after' (the commit)")
        self._armed.append(fault)

    def clear(self) -> None:
        """Disarm everything."""
        self._armed.clear()

    def strike(self, method: str, target: str) -> Fault | None:
        """Return the fault that strikes this request, and count it."""
        for fault in self._armed:
            if fault.method is not None and fault.method.upper() != method:
                continue
            if fault.path is not None and not re.search(fault.path, target):
                continue
            if fault.probability is not None and self._random.random() >= fault.probability:
                continue
            if fault.times is not None:
                fault.times -= 1
                if fault.times <= 0:
                    self._armed.remove(fault)
            return fault
        return None


@dataclass
class Answer:
    """An answer on its way out."""

    status: int
    headers: dict[str, str]
    body: bytes


def gateway_answer(fault: Fault) -> tuple[Answer, bool]:
    """Make the answer of a ``status``, ``non_json`` or ``empty`` fault, and say whether the platform signs it."""
    if fault.kind == "empty":
        return Answer(200, {"Content-Type": "application/json; charset=utf-8"}, b""), False
    if fault.kind == "non_json":
        return Answer(200, {"Content-Type": "text/html"}, _HTML % (b"Welcome", b"Please log in")), False
    status = int(fault.options.get("code", 500))
    headers: dict[str, str] = {}
    if fault.options.get("retry_after") is not None:
        headers["Retry-After"] = str(fault.options["retry_after"])
    if fault.options.get("signed"):
        code, message = _CODES.get(status, ("SYSTEM_ERROR", "系统异常,请稍后重试"))
        body = json.dumps({"code": code, "message": message}, ensure_ascii=False).encode()
        return Answer(status, headers | {"Content-Type": "application/json; charset=utf-8"}, body), True
    title = str(status).encode()
    return Answer(status, headers | {"Content-Type": "text/html"}, _HTML % (title, title)), False


def signed_at(fault: Fault | None) -> int | None:
    """Return the time an answer shall claim to be signed at; None is now."""
    if fault is None or fault.kind != "stale_timestamp":
        return None
    return int(time.time()) - int(fault.options.get("seconds", 360))


def spoil(fault: Fault, answer: Answer) -> None:
    """Do to a signed answer what happens between the platform and the client."""
    if fault.kind == "tamper_body":
        answer.body = _change_a_digit(answer.body)
    elif fault.kind == "wrong_serial":
        answer.headers["Wechatpay-Serial"] = "PUB_KEY_ID_" + "0" * 31
    elif fault.kind == "missing_signature":
        answer.headers.pop(fault.options.get("header", "Wechatpay-Signature"), None)
    elif fault.kind == "signtest":
        answer.headers["Wechatpay-Signature"] = "WECHATPAY/SIGNTEST/" + secrets.token_urlsafe(64)
    elif fault.kind == "gzip":
        answer.body = gzip.compress(answer.body, mtime=0)
        answer.headers["Content-Encoding"] = "gzip"


def _change_a_digit(body: bytes) -> bytes:
    """Change the last digit: the JSON stays valid, so that only the signature can tell. No digit: a space is added."""
    for index in range(len(body) - 1, -1, -1):
        digit = body[index]
        if 0x30 <= digit <= 0x39:
            return body[:index] + bytes([0x30 + (digit - 0x30 + 1) % 10]) + body[index + 1 :]
    return body + b" "
