"""HTTP: routes, authentication, rate limits, signed answers.

The route table is written from the endpoint facts, apart from the client's, and a test holds the two together. Requests are
routed by their *raw* path: a decoded one would turn an openid's ``%2F`` into a path separator, and what was signed must be what
is checked. Path parameters are decoded after routing.

One request costs about 0.8 ms, nearly all of it the RSA signature of the answer; the rest of this file stays out of the way:
handlers are plain ASGI callables, synchronous from the first rule to the last change, so a write is atomic without a lock.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
import socket
import struct
import time
from collections import deque
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote

from starlette.routing import Route, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from wxcoupon_analytics.sandbox import faults as faulty
from wxcoupon_analytics.sandbox.answers import to_json
from wxcoupon_analytics.sandbox.books import Books
from wxcoupon_analytics.sandbox.clock import BusinessClock
from wxcoupon_analytics.sandbox.faults import Answer, Fault, FaultBox
from wxcoupon_analytics.sandbox.keys import BRAND, FLAVOURS, Flavour, Keyring
from wxcoupon_analytics.sandbox.operations import Account, Call, Operations
from wxcoupon_analytics.sandbox.refusals import OK, RefusedError, param_error, too_fast

SLOW, FAST = 20, 500  # requests a second: for what the brand is, and for what its users hold


@dataclass(frozen=True)
class Endpoint:
    """One endpoint, in both flavours; ``operation`` names the method of Operations."""

    operation: str
    method: str
    path: str  # below the flavour's prefix
    rate: int


_PRODUCT = "product-coupons/{product_coupon_id}"
_STOCK = _PRODUCT + "/stocks/{stock_id}"
_COUPON = "users/{openid}/coupons/{coupon_code}"
ENDPOINTS = (  # the busiest first: routing tries them in order
    Endpoint("send_coupon", "POST", "users/{openid}/coupons", FAST),
    Endpoint("list_user_coupons", "GET", "users/{openid}/coupons", FAST),
    Endpoint("get_user_coupon", "GET", _COUPON, FAST),
    Endpoint("confirm_coupon", "POST", _COUPON + "/confirm", FAST),
    Endpoint("use_coupon", "POST", _COUPON + "/use", FAST),
    Endpoint("return_coupon", "POST", _COUPON + "/return", FAST),
    Endpoint("deactivate_user_coupon", "POST", _COUPON + "/deactivate", FAST),
    Endpoint("send_coupon_bundle", "POST", "users/{openid}/coupon-bundles", FAST),
    Endpoint("get_stock", "GET", _STOCK, SLOW),
    Endpoint("list_stocks", "GET", _PRODUCT + "/stocks", SLOW),
    Endpoint("get_product_coupon", "GET", _PRODUCT, SLOW),
    Endpoint("create_product_coupon", "POST", "product-coupons", SLOW),
    Endpoint("deactivate_product_coupon", "POST", _PRODUCT + "/deactivate", SLOW),
    Endpoint("create_stock", "POST", _PRODUCT + "/stocks", SLOW),
    Endpoint("deactivate_stock", "POST", _STOCK + "/deactivate", SLOW),
    Endpoint("update_stock_budget", "POST", _STOCK + "/update-budget", SLOW),
    Endpoint("upload_coupon_codes", "POST", _STOCK + "/upload-coupon-codes", SLOW),
)


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
    ) -> None:
        self.books = books
        self.clock = clock
        self.account = account
        self.keyring = keyring
        self.operations = operations
        self.faults = faults
        self.rate_limits = rate_limits
        self.log: deque[dict[str, Any]] = deque(maxlen=2_000)

    def now(self) -> int:
        """Return business time, after letting everything happen that was due by then."""
        now = self.clock.now()
        self.books.agenda.run(now)
        return now


@dataclass
class Arrived:
    """A request as it came off the wire."""

    method: str
    target: str  # path and query, byte for byte
    headers: dict[str, str]
    params: dict[str, str]
    query: str
    body: bytes


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
        request = await _read(scope, receive)
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
                await _truncate(answer, scope, receive, send)
                return
            if not fault.strikes_before and await self._disturb(fault, record, scope, receive, send):
                return
            faulty.spoil(fault, answer)
        record["status"] = answer.status
        await _send(answer, send)

    def _answer(self, request: Arrived, record: dict[str, Any], fault: Fault | None) -> Answer:
        status, numeric, signed = 200, OK, True
        try:
            body = "".join(self._work(self._admit(request, record))).encode()
        except RefusedError as refusal:
            status, numeric, signed = refusal.status, refusal.numeric, refusal.signed
            body = to_json(refusal.body()).encode()
        headers = {"Content-Type": "application/json; charset=utf-8"} | _request_id(numeric)
        if signed:
            headers |= self._signature(body, at=faulty.signed_at(fault))
        return Answer(status, headers, body)

    def _signature(self, body: bytes, *, at: int | None = None) -> dict[str, str]:
        return self._box.keyring.sign(body, at=at) | {"Wechatpay-Signature-Type": self._flavour.scheme}

    def _admit(self, request: Arrived, record: dict[str, Any]) -> Call:
        """Check a request in the platform's order: signature, rate, form, brand."""
        self._box.keyring.verify(self._flavour, request.method, request.target, request.headers, request.body)
        if self._box.rate_limits and not self._bucket.take():
            raise too_fast()
        _negotiate(request)
        body = _json_object(request.body) if request.method == "POST" else {}
        record["request_no"] = body.get("send_request_no") or body.get("out_request_no")
        try:
            params = {name: unquote(value, errors="strict") for name, value in request.params.items()}
            query = dict(parse_qsl(request.query, keep_blank_values=True, errors="strict"))
        except UnicodeDecodeError:
            raise param_error("path", "not UTF-8 when percent-decoded", location="path") from None
        self._brand_is_named_as_the_flavour_wants(query, body)
        return Call(self._flavour, self._endpoint.operation, params, query, body, self._box.now())

    def _brand_is_named_as_the_flavour_wants(self, query: dict[str, str], body: dict[str, Any]) -> None:
        """A partner names the brand in the query of a GET and the body of a POST; a brand never does, its header says it."""
        place: MutableMapping[str, Any] = body if self._endpoint.method == "POST" else query
        location = "body" if place is body else "query"
        field = "/brand_id" if place is body else "brand_id"
        if self._flavour is BRAND:
            if "brand_id" in query or "brand_id" in body:
                raise param_error(field, "must be absent: the Authorization header names the brand", location=location)
            return
        given = place.get("brand_id")
        if not given:
            raise param_error(field, "required", location=location)
        if given != self._box.account.brand_id:
            raise RefusedError(403, "NO_AUTH", "服务商没有该品牌的此接口权限")

    async def _disturb(self, fault: Fault, record: dict[str, Any], scope: Scope, receive: Receive, send: Send) -> bool:
        """Let a fault strike; return whether it took the answer's place."""
        if fault.kind == "stall":
            await asyncio.sleep(float(fault.options.get("seconds", 5)))
            return False
        if fault.kind == "reset":
            await _reset(scope, receive)
            return True
        if fault.kind in ("status", "non_json", "empty"):
            answer, signed = faulty.gateway_answer(fault)
            answer.headers |= _request_id(OK)
            if signed:
                answer.headers |= self._signature(answer.body)
            record["status"] = answer.status
            await _send(answer, send)
            return True
        return False


def _negotiate(request: Arrived) -> None:
    """Check Accept and, on a POST, Content-Type: the platform speaks JSON only and wants to be told so."""
    accept = request.headers.get("accept", "")
    if "application/json" not in accept and "*/*" not in accept:
        raise param_error("Accept", "must be application/json", value=accept, location="header")
    kind = request.headers.get("content-type", "")
    if request.method == "POST" and not kind.startswith("application/json"):
        raise param_error("Content-Type", "must be application/json", value=kind, location="header")


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


async def _read(scope: Scope, receive: Receive) -> Arrived:
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return Arrived(
        method=scope["method"],
        target=scope["extensions"][_TARGET].decode("ascii"),
        headers={name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]},
        params=scope["path_params"],
        query=scope["query_string"].decode("ascii"),
        body=body,
    )


def _start(answer: Answer) -> Message:
    headers = [(name.encode(), value.encode()) for name, value in answer.headers.items()]
    headers.append((b"Content-Length", str(len(answer.body)).encode()))
    return {"type": "http.response.start", "status": answer.status, "headers": headers}


async def _send(answer: Answer, send: Send) -> None:
    await send(_start(answer))
    await send({"type": "http.response.body", "body": answer.body})


async def _truncate(answer: Answer, scope: Scope, receive: Receive, send: Send) -> None:
    """Send half of the body and close: the promised Content-Length never comes."""
    await send(_start(answer))
    await send({"type": "http.response.body", "body": answer.body[: len(answer.body) // 2], "more_body": True})
    scope["extensions"][_TRANSPORT].close()
    await _gone(receive)


async def _reset(scope: Scope, receive: Receive) -> None:
    """Close the connection the hard way: with no time to linger, the system sends RST instead of FIN."""
    transport = scope["extensions"][_TRANSPORT]
    sock = transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
    await _gone(receive)


async def _gone(receive: Receive) -> None:
    """Wait until uvicorn has noticed that the connection is closed; it would otherwise report an unfinished answer."""
    while (await receive())["type"] != "http.disconnect":
        pass


_TRANSPORT, _TARGET = "wxcoupon.transport", "wxcoupon.target"


class WireProtocol(HttpToolsProtocol):
    """uvicorn's protocol, handing the application the socket's transport and the request target as it came."""

    def on_headers_complete(self) -> None:
        """Add what ASGI leaves out, before the application starts."""
        scope: MutableMapping[str, Any] = self.scope  # type: ignore[assignment]
        scope["extensions"] = {_TRANSPORT: self.transport, _TARGET: self.url}
        super().on_headers_complete()


def raw_path_app(routes: list[Route]) -> ASGIApp:
    """Return the application: it routes by the percent-encoded path."""
    router = Router(routes, redirect_slashes=False, default=_no_such_path)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["path"] = scope["raw_path"].decode("ascii")
        await router(scope, receive, send)

    return app


async def _no_such_path(_scope: Scope, _receive: Receive, send: Send) -> None:
    body = to_json({"code": "NOT_FOUND", "message": "请求的接口不存在"}).encode()
    await _send(Answer(404, {"Content-Type": "application/json; charset=utf-8"} | _request_id(OK), body), send)


def api_routes(box: Box) -> list[Route]:
    """Return the routes of both flavours."""
    return [
        Route(flavour.prefix + endpoint.path, EndpointApp(box, flavour, endpoint), methods=[endpoint.method])
        for endpoint in ENDPOINTS
        for flavour in FLAVOURS
    ]
