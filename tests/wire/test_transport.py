"""The transport against raw sockets: what goes out, byte for byte, and what each kind of failure is called."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import httpx
import pytest

from wxcoupon_analytics.wire.transport import AiohttpTransport

Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


def exchange(
    peer: Peer, *, path: str = "/x", method: str = "GET", content: bytes = b"", times: int = 1
) -> list[httpx.Response]:
    async def main() -> list[httpx.Response]:
        serving: list[asyncio.Task[None]] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            serving.append(asyncio.current_task())  # type: ignore[arg-type]
            try:
                await peer(reader, writer)
            except asyncio.IncompleteReadError:
                pass
            finally:
                writer.close()
                await writer.wait_closed()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server, AiohttpTransport() as transport, httpx.AsyncClient(transport=transport, timeout=0.5) as http:
            try:
                return [
                    await http.request(method, f"http://127.0.0.1:{port}{path}", content=content) for _ in range(times)
                ]
            finally:
                await transport.aclose()
                await asyncio.gather(*serving)

    return asyncio.run(main())


async def read_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")), 0
    )
    return head + await reader.readexactly(length)


def test_path_query_and_body_leave_byte_for_byte():
    seen: list[bytes] = []

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await read_request(reader))
        writer.write(OK)

    path = "/users/%2F%3F%25%26%40%20%E4%B8%AD%2E%2E/coupons?page_token=%2B%2F%3D&x=a%26b"
    exchange(peer, path=path, method="POST", content='{"a":"中 文"}'.encode())
    assert seen[0].startswith(f"POST {path} HTTP/1.1\r\n".encode())
    assert seen[0].endswith('{"a":"中 文"}'.encode())
    names = [line.split(b":")[0].lower() for line in seen[0].split(b"\r\n\r\n")[0].split(b"\r\n")[1:]]
    assert len(names) == len(set(names)), f"a header left twice: {names}"


def test_no_redirect_is_followed():
    seen: list[bytes] = []

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await read_request(reader))
        writer.write(b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    assert [r.status_code for r in exchange(peer, times=2)] == [302, 302]
    assert len(seen) == 2


def test_nothing_is_sent_twice_below_us_when_a_kept_alive_connection_dies():
    seen: list[bytes] = []

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await read_request(reader))
        writer.write(OK)
        await writer.drain()
        seen.append(await read_request(reader))

    with pytest.raises(httpx.RemoteProtocolError, match="closed the connection without an answer"):
        exchange(peer, times=2)
    assert len(seen) == 2


def test_no_listener_is_a_connect_error_which_certainly_never_left():
    async def main() -> None:
        async with AiohttpTransport() as transport, httpx.AsyncClient(transport=transport) as http:
            await http.get("http://127.0.0.1:1/")

    with pytest.raises(httpx.ConnectError):
        asyncio.run(main())


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", httpx.RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", httpx.RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", httpx.RemoteProtocolError),
        (b"hello, this is not HTTP\r\n\r\n", httpx.RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd", httpx.RemoteProtocolError),
    ],
    ids=["closed", "short body", "short chunk", "not http", "broken gzip"],
)
def test_what_may_have_arrived_is_never_called_a_connect_error(answer: bytes, error: type[Exception]):
    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(answer)

    with pytest.raises(error):
        exchange(peer, method="POST", content=b"{}")


def test_silence_is_a_read_timeout():
    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        await asyncio.sleep(0.8)

    with pytest.raises(httpx.ReadTimeout):
        exchange(peer)
