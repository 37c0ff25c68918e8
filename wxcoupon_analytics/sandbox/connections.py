"""Below HTTP: the request as it came, the answer as it goes, and connections that break in the middle.

ASGI hides what these need: the socket, and the request target byte for byte. `WireProtocol` hands both to the application.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any

from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from wxcoupon_analytics.sandbox.faults import Answer

_TRANSPORT, _TARGET = "wxcoupon.transport", "wxcoupon.target"


@dataclass
class Arrived:
    """A request as it came off the wire."""

    method: str
    target: str  # path and query, byte for byte
    headers: dict[str, str]
    params: dict[str, str]
    query: str
    body: bytes


class WireProtocol(HttpToolsProtocol):
    """uvicorn's protocol, handing the application the socket's transport and the request target as it came."""

    def on_headers_complete(self) -> None:
        """Add what ASGI leaves out, before the application starts."""
        scope: MutableMapping[str, Any] = self.scope  # type: ignore[assignment]
        scope["extensions"] = {_TRANSPORT: self.transport, _TARGET: self.url}
        super().on_headers_complete()


async def read(scope: Scope, receive: Receive) -> Arrived:
    """Read a whole request."""
    chunks: list[bytes] = []
    more = True
    while more:
        message = await receive()
        chunks.append(message.get("body", b""))
        more = message.get("more_body", False)
    return Arrived(
        method=scope["method"],
        target=scope["extensions"][_TARGET].decode("latin-1"),
        headers={name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]},
        params=scope["path_params"],
        query=scope["query_string"].decode("latin-1"),
        body=b"".join(chunks),
    )


def _start(answer: Answer) -> Message:
    headers = [(name.encode(), value.encode()) for name, value in answer.headers.items()]
    if answer.status != 204:  # which has no body, and says no length (RFC 9110, 8.6)
        headers.append((b"Content-Length", str(len(answer.body)).encode()))
    return {"type": "http.response.start", "status": answer.status, "headers": headers}


async def send_answer(answer: Answer, send: Send) -> None:
    """Send a whole answer."""
    await send(_start(answer))
    await send({"type": "http.response.body", "body": answer.body})


async def _half(answer: Answer, send: Send) -> None:
    await send(_start(answer))
    await send({"type": "http.response.body", "body": answer.body[: len(answer.body) // 2], "more_body": True})


async def truncate(answer: Answer, scope: Scope, receive: Receive, send: Send) -> None:
    """Send half of the body and close: the promised Content-Length never comes."""
    await _half(answer, send)
    scope["extensions"][_TRANSPORT].close()
    await _gone(receive)


async def half_open(answer: Answer, seconds: float, scope: Scope, receive: Receive, send: Send) -> None:
    """Send half of the body and keep the connection open for a while, as after a router lost its state; then close."""
    await _half(answer, send)
    try:
        await asyncio.wait_for(_gone(receive), seconds)  # the client may give up first
    except TimeoutError:
        scope["extensions"][_TRANSPORT].close()
        await _gone(receive)


async def reset(scope: Scope, receive: Receive) -> None:
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
