"""Answers that go wrong, on request: what a client must survive, made to happen at will.

A fault is armed with a kind and a filter, and then strikes the next matching requests of the API (never the control routes).
Each is placed where the real thing happens: a proxy's 502 before the platform has seen the request, a reset after the write was
committed, a signature broken between the platform and the client. ``when`` says on which side of the commit a fault strikes,
for the kinds that can be on either.
"""

from __future__ import annotations

import gzip
import json
import math
import random
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from wxcoupon_analytics.sandbox.refusals import (
    NO_SUCH_OBJECT,
    OK,
    PARAM_INVALID,
    TOO_FAST,
    UNPUBLISHED,
)

KINDS: Mapping[str, frozenset[str]] = {
    "tamper_body": frozenset(),  # one digit of the body changes after signing
    "wrong_serial": frozenset(),  # Wechatpay-Serial names a key that is not the account's
    "stale_timestamp": frozenset({"seconds"}),  # properly signed, but long ago
    "missing_signature": frozenset({"header"}),  # a signature header is dropped
    "signtest": frozenset(),  # the platform's own probe of whether callers verify
    "status": frozenset(
        {"code", "retry_after", "signed", "when"}
    ),  # unsigned HTML or signed JSON; 204: nothing, signed
    "non_json": frozenset({"when"}),  # 200, HTML, unsigned: a captive portal
    "empty": frozenset({"when"}),  # 200 without a body, unsigned
    "truncate": frozenset(),  # the connection closes in mid-body
    "half_open": frozenset({"seconds"}),  # half of the body, then silence, then the connection closes
    "reset": frozenset({"when"}),  # the connection is reset without an answer
    "stall": frozenset({"seconds", "when"}),  # the answer is late
    "gzip": frozenset(),  # compressed on the way, correctly signed over the plain body
    "charset": frozenset(),  # GBK bytes declared as UTF-8, correctly signed
}
_CODES = {  # what the platform's JSON says at a status, and the number behind its Request-ID
    400: ("PARAM_ERROR", "参数错误", PARAM_INVALID),
    401: ("SIGN_ERROR", "验证不通过", UNPUBLISHED),
    403: ("NO_AUTH", "", UNPUBLISHED),  # its message is the flavour's
    404: ("NOT_FOUND", "数据不存在", NO_SUCH_OBJECT),
    429: ("RATELIMIT_EXCEEDED", "请求超过接口频率限制", TOO_FAST),
}
_SYSTEM_ERROR = ("SYSTEM_ERROR", "系统异常,请稍后重试", UNPUBLISHED)
_SIGNATURE_HEADERS = ("Wechatpay-Timestamp", "Wechatpay-Nonce", "Wechatpay-Signature", "Wechatpay-Serial")
_HTML = b"<html>\r\n<head><title>%s</title></head>\r\n<body><center><h1>%s</h1></center></body>\r\n</html>\r\n"


def _number(value: object, *, least: float = -math.inf, most: float = math.inf) -> bool:
    """Say whether something is a finite number within bounds; true is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and least <= value <= most


def _is_retry_after(value: object) -> bool:
    """Say whether something can stand in Retry-After: seconds, or an HTTP date."""
    if not isinstance(value, str):
        return value is None or (isinstance(value, int) and _number(value, least=0))
    try:
        parsedate_to_datetime(value)
    except ValueError:
        return value.isdecimal()
    return True


def _has_json(status: int) -> bool:
    return status in _CODES or 500 <= status <= 599


_FITS: Mapping[str, tuple[Callable[[Any], bool], str]] = {  # what each option may be, and that in words
    "seconds": (_number, "a number"),
    "code": (lambda value: isinstance(value, int) and _number(value, least=200, most=599), "a status from 200 to 599"),
    "retry_after": (_is_retry_after, "a number of seconds or an HTTP date"),
    "signed": (lambda value: isinstance(value, bool), "True or False"),
    "when": (lambda value: value in ("before", "after"), "'before' or 'after' (the commit)"),
    "header": (
        lambda value: isinstance(value, str) and value.lower() in map(str.lower, _SIGNATURE_HEADERS),
        "one of " + ", ".join(_SIGNATURE_HEADERS),
    ),
}


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
        if not isinstance(fault.kind, str) or fault.kind not in KINDS:
            raise ValueError(f"unknown fault {fault.kind!r}; there are: {', '.join(KINDS)}")
        unknown = set(fault.options) - KINDS[fault.kind]
        if unknown:
            takes = ", ".join(sorted(KINDS[fault.kind])) or "none"
            raise ValueError(f"fault {fault.kind!r} does not take {', '.join(sorted(unknown))}; its options: {takes}")
        for name, value in fault.options.items():
            if not _FITS[name][0](value):
                raise ValueError(f"{name} is {_FITS[name][1]}, not {value!r}")
        _filters_make_sense(fault)
        code = fault.options.get("code", 500)
        if fault.options.get("signed") and code != 204 and not _has_json(code):
            raise ValueError(f"the platform signs 204, 400, 401, 403, 404, 429 and 5xx, not {code}")
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


def _filters_make_sense(fault: Fault) -> None:
    """Check which requests a fault is to strike, and how long it may stall them."""
    times = fault.times
    if times is not None and not (isinstance(times, int) and _number(times, least=1)):
        raise ValueError(f"times is a whole number of 1 or more, or None, not {times!r}")
    if fault.probability is not None and not _number(fault.probability, least=0, most=1):
        raise ValueError(f"probability is a number from 0 to 1, not {fault.probability!r}")
    for name, text in (("path", fault.path), ("method", fault.method)):
        if text is not None and not isinstance(text, str):
            raise ValueError(f"{name} is a text, not {text!r}")
    try:
        re.compile(fault.path or "")
    except re.error as error:
        raise ValueError(f"path is no regular expression: {fault.path!r} ({error})") from None
    if fault.kind in ("stall", "half_open") and not _number(fault.options.get("seconds", 5), least=0, most=3_600):
        raise ValueError(f"seconds is a number from 0 to 3600, not {fault.options['seconds']!r}")


@dataclass
class Answer:
    """An answer on its way out."""

    status: int
    headers: dict[str, str]
    body: bytes


def gateway_answer(fault: Fault, *, no_auth: str) -> tuple[Answer, bool]:
    """Make the answer of a ``status``, ``non_json`` or ``empty`` fault, and say whether the platform signs it.

    ``no_auth`` is the flavour's wording of a 403.
    """
    if fault.kind == "empty":
        return Answer(200, {"Content-Type": "application/json; charset=utf-8"}, b""), False
    if fault.kind == "non_json":
        return Answer(200, {"Content-Type": "text/html"}, _HTML % (b"Welcome", b"Please log in")), False
    status = fault.options.get("code", 500)
    if status == 204:
        return Answer(204, {}, b""), fault.options.get("signed", True)
    headers: dict[str, str] = {}
    if fault.options.get("retry_after") is not None:
        headers["Retry-After"] = str(fault.options["retry_after"])
    if fault.options.get("signed"):
        code, message, _ = _CODES.get(status, _SYSTEM_ERROR)
        body = json.dumps({"code": code, "message": message or no_auth}, ensure_ascii=False).encode()
        return Answer(status, headers | {"Content-Type": "application/json; charset=utf-8"}, body), True
    title = str(status).encode()
    return Answer(status, headers | {"Content-Type": "text/html"}, _HTML % (title, title)), False


def numeric_code(status: int) -> int:
    """Return the number behind the Request-ID that fits a status."""
    return OK if status < 400 else _CODES.get(status, _SYSTEM_ERROR)[2]


def in_gbk(body: bytes) -> bytes:
    """Write a JSON object in GBK (its superset, which has every character), with at least one character that tells."""
    text = body.decode()
    if text.isascii():
        text = text.removesuffix("}") + ("," if len(text) > 2 else "") + '"charset":"国标"}'
    return text.encode("gb18030")


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
        dropped = fault.options.get("header", "Wechatpay-Signature").lower()
        answer.headers = {name: value for name, value in answer.headers.items() if name.lower() != dropped}
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
