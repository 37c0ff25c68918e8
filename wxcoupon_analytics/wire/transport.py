"""An httpx transport that sends over aiohttp: a sixth of the CPU per request of httpx's own pool, and no re-quoting.

What this file owes its callers is truth about failure: ``httpx.ConnectError`` and ``ConnectTimeout`` mean that the
request certainly never left; every other error means that it may have arrived.
"""

from __future__ import annotations

import aiohttp
import httpx
from yarl import URL


class AiohttpTransport(httpx.AsyncBaseTransport):
    """Send httpx requests over one aiohttp session.

    The URL goes out byte for byte as it was signed (``encoded=True``; the ready-made bridge re-quotes ``%2B%2F%3D``), no
    cookie is kept, no redirect followed, no environment proxy used, and nothing is sent twice below us.
    """

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    def _open(self) -> aiohttp.ClientSession:
        # Made on first use: a session belongs to the event loop it is made in.
        if self._session is None:
            # Unlimited: a caller that waits for a free connection must not take that for a host out of reach.
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=30)
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            )
            # aiohttp resends a GET whose kept-alive connection had died; retries are ours to count.
            self._session._retry_connection = False
        return self._session

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request and read its whole answer."""
        timeout = request.extensions.get("timeout", {})
        limits = aiohttp.ClientTimeout(
            total=None,
            sock_connect=timeout.get("connect"),
            sock_read=timeout.get("read"),
        )
        try:
            async with self._open().request(
                request.method,
                URL(str(request.url), encoded=True),
                headers=[(k.decode("latin-1"), v.decode("latin-1")) for k, v in request.headers.raw],
                data=request.content or None,
                allow_redirects=False,
                timeout=limits,
            ) as answer:
                body = await answer.read()
        except aiohttp.ClientSSLError as error:
            raise httpx.ConnectError(f"TLS: {error}", request=request) from error
        except aiohttp.ConnectionTimeoutError as error:
            raise httpx.ConnectTimeout("no connection in time", request=request) from error
        except aiohttp.ClientConnectorError as error:
            raise httpx.ConnectError(error.strerror or str(error.os_error), request=request) from error
        except TimeoutError as error:
            raise httpx.ReadTimeout("no answer in time", request=request) from error
        except aiohttp.ClientPayloadError as error:
            raise httpx.RemoteProtocolError("the answer broke off", request=request) from error
        except aiohttp.ServerDisconnectedError as error:
            raise httpx.RemoteProtocolError(
                "the server closed the connection without an answer", request=request
            ) from error
        except (aiohttp.ClientResponseError, aiohttp.InvalidURL) as error:
            # The error's own text repeats the URL, and with it the user.
            raise httpx.RemoteProtocolError(f"not an HTTP answer ({type(error).__name__})", request=request) from error
        except (aiohttp.ClientError, OSError) as error:
            raise httpx.ReadError(f"the connection broke ({type(error).__name__})", request=request) from error
        try:
            return httpx.Response(answer.status, headers=answer.raw_headers, content=body, request=request)
        except httpx.DecodingError as error:
            raise httpx.RemoteProtocolError("the answer's compression is broken", request=request) from error

    async def aclose(self) -> None:
        """Close the session and its connections."""
        if self._session is not None:
            await self._session.close()
