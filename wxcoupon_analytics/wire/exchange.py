"""One question, answered or refused: attempts, hosts, rates, and what each failure means.

A question's bytes never change between attempts, so a write that is repeated is the same write (same request number,
same body). Every error says in ``maybe_executed`` whether the write may have happened.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import anyio
import httpx
import tenacity
from aiolimiter import AsyncLimiter

from wxcoupon_analytics.credentials import Credentials
from wxcoupon_analytics.errors import (
    ApiError,
    RateLimitError,
    ServerError,
    TransportError,
    VerificationError,
    WxCouponError,
    api_error,
)
from wxcoupon_analytics.wire import redaction
from wxcoupon_analytics.wire.endpoints import Endpoint, Question, mismatch, next_page
from wxcoupon_analytics.wire.signing import WechatpayAuth, signed_at

log = logging.getLogger(__name__)

ATTEMPTS = 5
PATIENCE_SECONDS = 60.0
HOST_REST_SECONDS = 30.0
_NEVER_LEFT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
# Full jitter, over a floor: many notebooks that were refused together must not come back together.
_wait = tenacity.wait_fixed(0.1) + tenacity.wait_random_exponential(multiplier=0.3, max=8)


@dataclass(frozen=True, slots=True)
class Answer:
    """A verified success: its exact bytes, and the platform's clock when it was signed."""

    content: bytes
    signed_at: datetime
    request_id: str | None

    def json(self) -> dict[str, Any]:
        """Parse the body, which must be a JSON object (an empty one is an empty object)."""
        if not self.content:
            return {}
        try:
            parsed = json.loads(self.content)
        except (ValueError, UnicodeDecodeError):
            parsed = None
        if not isinstance(parsed, dict):
            raise TransportError(f"a verified answer that is not a JSON object: {_excerpt(self.content)}")
        return parsed


@dataclass
class _Host:
    url: str
    down_until: float = 0.0


@dataclass
class _Progress:
    """What the attempts at one question have shown so far."""

    maybe_executed: bool = False
    retry_after: float | None = None


class Exchange:
    """Asks questions of the API's hosts, as one set of credentials.

    Parameters
    ----------
    credentials : Credentials
    hosts : sequence of str
        Tried in order: one that cannot be reached rests for half a minute, then the first is first again.
    timeout : float
        Seconds to connect, and to wait between two pieces of an answer.
    rate : float, optional
        Requests a second for every endpoint, instead of the documented limits.
    transport : httpx.AsyncBaseTransport
    """

    def __init__(
        self,
        credentials: Credentials,
        hosts: Sequence[str],
        *,
        timeout: float,
        rate: float | None,
        transport: httpx.AsyncBaseTransport,
        user_agent: str,
    ) -> None:
        self.credentials = credentials
        self._hosts = [_Host(url.rstrip("/")) for url in hosts]
        self._rate = rate
        self._limiters: dict[str, AsyncLimiter] = {}
        self._timeout = timeout
        redaction.tame_httpx_log()
        self._http = httpx.AsyncClient(
            transport=transport,
            auth=WechatpayAuth(credentials),
            timeout=httpx.Timeout(timeout),
            trust_env=False,
            follow_redirects=False,
            # httpx keeps cookies by itself; a signed API has no use for them.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
            headers={"Accept": "application/json", "Accept-Encoding": "gzip", "User-Agent": user_agent},
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def answer(self, question: Question) -> Answer:
        """Ask until there is an answer, a refusal that repeating cannot change, or patience ends.

        Raises
        ------
        ApiError
            Refused. 429 and 5xx only after repeats.
        VerificationError
            The last attempt's answer was not authentic, or was about something else than the question.
        TransportError
            No usable answer came.
        """
        progress = _Progress()
        attempts = tenacity.AsyncRetrying(
            stop=tenacity.stop_after_attempt(ATTEMPTS) | tenacity.stop_after_delay(PATIENCE_SECONDS),
            wait=lambda state: max(_wait(state), progress.retry_after or 0.0),
            retry=tenacity.retry_if_exception(_worth_repeating),
            sleep=anyio.sleep,
            reraise=True,
        )
        try:
            async for attempt in attempts:
                with attempt:
                    return await self._attempt(question, progress)
        except WxCouponError as error:
            error.maybe_executed = progress.maybe_executed and question.is_write
            raise
        raise AssertionError("tenacity either returns or raises")

    async def pages(self, question: Question) -> list[Answer]:
        """Ask for every page of a list."""
        answers: list[Answer] = []
        seen: set[str] = set()
        here: Question | None = question
        while here:
            answers.append(answer := await self.answer(here))
            here = next_page(here, answer.json(), seen)
        return answers

    def _limiter(self, endpoint: Endpoint) -> AsyncLimiter:
        """The endpoint's own limiter: a leaky bucket of a twentieth of a second, so that no window of one second is overrun."""
        if endpoint.name not in self._limiters:
            rate = self._rate or endpoint.rate
            burst = max(1.0, rate / 20)
            self._limiters[endpoint.name] = AsyncLimiter(burst, burst / rate)
        return self._limiters[endpoint.name]

    async def _attempt(self, question: Question, progress: _Progress) -> Answer:
        await self._limiter(question.endpoint).acquire()
        host = next((h for h in self._hosts if h.down_until <= time.monotonic()), self._hosts[0])
        progress.retry_after = None
        name = question.endpoint.name
        headers = {"Content-Type": "application/json"} if question.body else {}
        request = self._http.build_request(
            question.endpoint.method, host.url + question.target, content=question.body, headers=headers
        )
        try:
            # Beside the transport's own limits: an answer that drips must end as well.
            with anyio.fail_after(self._timeout * 3):
                response = await self._http.send(request)
        except _NEVER_LEFT as error:
            host.down_until = time.monotonic() + HOST_REST_SECONDS
            raise TransportError(f"{name}: {host.url} cannot be reached: {error}") from None
        except (httpx.TransportError, TimeoutError) as error:
            progress.maybe_executed = True
            if isinstance(error, httpx.TimeoutException | TimeoutError):
                host.down_until = time.monotonic() + HOST_REST_SECONDS
            raise TransportError(
                f"{name}: no whole answer from {host.url}: {str(error) or 'it took too long'}"
            ) from None
        except VerificationError:
            progress.maybe_executed = True
            raise
        log.debug("%s: %s, Request-ID %s", name, response.status_code, response.headers.get("Request-ID"))
        if response.is_success:
            return self._success(question, response, progress)
        raise _refusal(name, response, progress)

    def _success(self, question: Question, response: httpx.Response, progress: _Progress) -> Answer:
        answer = Answer(response.content, signed_at(response.headers), response.headers.get("Request-ID"))
        progress.maybe_executed = True
        # List pages stay bytes for Arrow; their rows are held against the question once they are columns.
        if question.expected and (wrong := mismatch(question, answer.json())):
            raise VerificationError(
                f"{question.endpoint.name}: a signed answer about another {wrong} than asked for: it belongs to another request"
            )
        return answer


def _refusal(name: str, response: httpx.Response, progress: _Progress) -> WxCouponError:
    """Read a 3xx, 4xx or 5xx answer."""
    status, request_id = response.status_code, response.headers.get("Request-ID")
    retry_after = response.headers.get("Retry-After", "")
    if retry_after.isascii() and retry_after.isdigit():
        progress.retry_after = min(float(retry_after), PATIENCE_SECONDS)
    if status >= 500:
        progress.maybe_executed = True
    try:
        body = json.loads(response.content)
    except (ValueError, UnicodeDecodeError):
        body = None
    if not (isinstance(body, Mapping) and isinstance(body.get("code"), str)):
        if status == 429 or status >= 500:
            return api_error(status, "NOT_JSON", _excerpt(response.content), request_id=request_id)
        return TransportError(f"{name}: HTTP {status}, not the API's own answer: {_excerpt(response.content)}")
    return api_error(
        status,
        body["code"],
        str(body.get("message", "")),
        detail=body.get("detail"),
        request_id=request_id,
        signed=bool(response.extensions.get("wechatpay_signed")),
    )


def _worth_repeating(error: BaseException) -> bool:
    if isinstance(error, ApiError):
        return isinstance(error, RateLimitError | ServerError)
    return isinstance(error, TransportError | VerificationError)


def _excerpt(content: bytes) -> str:
    text = content[:200].decode("utf-8", "replace")
    return repr(text) + (f" … ({len(content)} bytes)" if len(content) > 200 else "") if content else "an empty body"
