"""HTTP: authentication, rate limits, signed answers.

Requests are routed by their *raw* path: a decoded one would turn an openid's ``%2F`` into a path separator, and what was signed must be what
is checked. Path parameters are decoded after routing.

One request costs about 0.8 ms, nearly all of it the RSA signature of the answer; the rest of this file stays out of the way:
handlers are plain ASGI callables, synchronous from the first rule to the last change, so a write is atomic without a lock.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
import time
from collections import deque
from collections.abc import MutableMapping
from typing import Any
from urllib.parse import parse_qsl, unquote

from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from wxcoupon_analytics.sandbox import faults as faulty
from wxcoupon_analytics.sandbox.answers import to_json
from wxcoupon_analytics.sandbox.books import Books
from wxcoupon_analytics.sandbox.clock import BusinessClock
from wxcoupon_analytics.sandbox.connections import Arrived, half_open, read, reset, send_answer, truncate
from wxcoupon_analytics.sandbox.faults import Answer, Fault, FaultBox
from wxcoupon_analytics.sandbox.keys import BRAND, Flavour, Keyring
from wxcoupon_analytics.sandbox.operations import Account, Call, Operations
from wxcoupon_analytics.sandbox.population import Population
from wxcoupon_analytics.sandbox.refusals import OK, UNPUBLISHED, RefusedError, no_authority, param_error, too_fast
from wxcoupon_analytics.sandbox.routes import ENDPOINTS, Endpoint
from wxcoupon_analytics.sandbox.uploads import parts_of


class Bucket:
    """A token bucket that holds one second's worth: bursts within a second pass, the rate over any longer time does not."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._tokens = float(rate)
        self._filled = time.monotonic()

    def take(self) -> bool:
        """Take a token if there is one."""
        now = time.monotonic()
        self._tokens = min(self._rate, self._tokens + (now - self._filled) * self._rate)
        self._filled = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Box:
    """Everything one sandbox process holds."""

    def __init__(
        self,
        books: Books,
        clock: BusinessClock,
        account: Account,
        keyring: Keyring,
        operations: Operations,
        *,
        faults: FaultBox,
        rate_limits: bool,
        people: Population | None = None,
    ) -> None:
        self.books = books
        self.clock = clock
        self.account = account
        self.keyring = keyring
        self.operations = operations
        self.faults = faults
        self.rate_limits = rate_limits
        self.people = people
        self.log: deque[dict[str, Any]] = deque(maxlen=2_000)

    def now(self) -> int:
        """Return business time, after letting everything happen that was due by then."""
        now = self.clock.now()
        self.books.agenda.run(now)
        return now


class EndpointApp:
    """One route: an ASGI application that answers, signs, and lets an armed fault strike."""

    def __init__(self, box: Box, flavour: Flavour, endpoint: Endpoint) -> None:
        self._box = box
        self._flavour = flavour
        self._endpoint = endpoint
        self._bucket = Bucket(endpoint.rate)
        self._work = getattr(box.operations, endpoint.operation)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        request = await read(scope, receive)
        record: dict[str, Any] = {
            "method": request.method,
            "path": request.target,
            "body_sha256": hashlib.sha256(request.body).hexdigest(),
            "status": None,
            "request_no": None,
        }
        self._box.log.append(record)
        fault = self._box.faults.strike(request.method, request.target)
        if fault is not None and fault.strikes_before and await self._disturb(fault, record, scope, receive, send):
            return
        answer = self._answer(request, record, fault)
        if fault is not None:
            if fault.kind == "truncate":
                await truncate(answer, scope, receive, send)
                return
            if fault.kind == "half_open":
                await half_open(answer, fault.options.get("seconds", 5), scope, receive, send)
                return
            if not fault.strikes_before and await self._disturb(fault, record, scope, receive, send):
                return
            faulty.spoil(fault, answer)
        record["status"] = answer.status
        await send_answer(answer, send)

    def _answer(self, request: Arrived, record: dict[str, Any], fault: Fault | None) -> Answer:
        status, numeric, signed = 200, OK, True
        try:
            body = "".join(self._work(self._admit(request, record))).encode()
        except RefusedError as refusal:
            status, numeric, signed = refusal.status, refusal.numeric, refusal.signed
            body = to_json(refusal.body()).encode()
        if fault is not None and fault.kind == "charset":
            body = faulty.in_gbk(body)
        headers = {"Content-Type": "application/json; charset=utf-8"} | _request_id(numeric)
        if signed:
            headers |= self._signature(body, at=faulty.signed_at(fault))
        return Answer(status, headers, body)

    def _signature(self, body: bytes, *, at: int | None = None) -> dict[str, str]:
        return self._box.keyring.sign(body, at=at) | {"Wechatpay-Signature-Type": self._flavour.scheme}

    def _admit(self, request: Arrived, record: dict[str, Any]) -> Call:
        """Check a request in the platform's order: signature, rate, form, brand."""
        parts = parts_of(request.headers.get("content-type", ""), request.body) if self._endpoint.uploads else {}
        written = parts.get("meta", b"") if self._endpoint.uploads else request.body
        self._box.keyring.verify(self._flavour, request.method, request.target, request.headers, written)
        if self._box.rate_limits and not self._bucket.take():
            raise too_fast()
        _negotiate(request, "multipart/form-data" if self._endpoint.uploads else "application/json")
        body = _json_object(written) if request.method != "GET" else {}
        record["request_no"] = body.get("send_request_no") or body.get("out_request_no")
        try:
            params = {name: unquote(value, errors="strict") for name, value in request.params.items()}
            query = dict(parse_qsl(request.query, keep_blank_values=True, errors="strict"))
        except UnicodeDecodeError:
            raise param_error("path", "not UTF-8 when percent-decoded", location="path") from None
        self._brand_is_named_as_the_flavour_wants(query, body)
        now = self._box.now()
        return Call(self._flavour, self._endpoint.operation, params, query, body, now, parts.get("file"))

    def _brand_is_named_as_the_flavour_wants(self, query: dict[str, str], body: dict[str, Any]) -> None:
        """A partner names the brand in the query of a GET and the body of a write; a brand never does, its header says it."""
        place: MutableMapping[str, Any] = query if self._endpoint.method == "GET" else body
        location = "body" if place is body else "query"
        field = "/brand_id" if place is body else "brand_id"
        if self._flavour is BRAND:
            if "brand_id" in query or "brand_id" in body:
                raise param_error(field, "must be absent: the Authorization header names the brand", location=location)
            return
        given = place.get("brand_id")
        if not given:
            if self._endpoint.names_brand:
                raise param_error(field, "required", location=location)
        elif given != self._box.account.brand_id:
            raise no_authority(self._flavour.no_auth)

    async def _disturb(self, fault: Fault, record: dict[str, Any], scope: Scope, receive: Receive, send: Send) -> bool:
        """Let a fault strike; return whether it took the answer's place."""
        if fault.kind == "stall":
            await asyncio.sleep(float(fault.options.get("seconds", 5)))
            return False
        if fault.kind == "reset":
            await reset(scope, receive)
            return True
        if fault.kind in ("status", "non_json", "empty"):
            answer, signed = faulty.gateway_answer(fault, no_auth=self._flavour.no_auth)
            answer.headers |= _request_id(faulty.numeric_code(answer.status))
            if signed:
                answer.headers |= self._signature(answer.body)
            record["status"] = answer.status
            await send_answer(answer, send)
            return True
        return False


def _negotiate(request: Arrived, wanted: str) -> None:
    """Check Accept and, on a write, Content-Type: the platform answers in JSON only and wants to be told what comes."""
    accept = request.headers.get("accept", "")
    if "application/json" not in accept and "*/*" not in accept:
        raise param_error("Accept", "must be application/json", value=accept, location="header")
    kind = request.headers.get("content-type", "")
    if request.method != "GET" and not kind.lower().startswith(wanted):
        raise param_error("Content-Type", f"must be {wanted}", value=kind, location="header")


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body.decode())
        if b"\\u" in body:
            to_json(document).encode()  # half a surrogate pair is JSON, but no text that an answer could repeat
    except (ValueError, RecursionError):
        raise param_error("", "not JSON", message="请求体不是合法的JSON") from None
    if not isinstance(document, dict):
        raise param_error("", "must be an object", message="请求体不是JSON对象")
    return document


def _request_id(numeric: int) -> dict[str, str]:
    return {"Request-ID": f"08{secrets.token_hex(15).upper()}-{numeric}"}


def raw_path_app(routes: list[Route]) -> ASGIApp:
    """Return the application: it routes by the percent-encoded path."""
    router = Router(routes, redirect_slashes=False, default=_no_such_path)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["path"] = scope["raw_path"].decode("latin-1")
        await router(scope, receive, send)

    return app


async def _no_such_path(_scope: Scope, _receive: Receive, send: Send) -> None:
    body = to_json({"code": "NOT_FOUND", "message": "请求的接口不存在"}).encode()
    headers = {"Content-Type": "application/json; charset=utf-8"} | _request_id(UNPUBLISHED)
    await send_answer(Answer(404, headers, body), send)


def api_routes(box: Box) -> list[Route]:
    """Return the routes of every endpoint, in the flavours that have it."""
    return [
        Route(flavour.prefix + endpoint.path, EndpointApp(box, flavour, endpoint), methods=[endpoint.method])
        for endpoint in ENDPOINTS
        for flavour in endpoint.flavours
    ]
