"""One question, answered or refused: attempts, hosts, rates, and what each failure means.

A question's bytes never change between attempts, so a write that is repeated is the same write (same request number,
same body). Every error says in ``maybe_executed`` whether the write may have happened.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

import httpx
import tenacity

from wxcoupon_analytics.credentials import Credentials
from wxcoupon_analytics.errors import (
    ApiError,
    AuthenticationError,
    RateLimitError,
    ServerError,
    TransportError,
    VerificationError,
    WxCouponError,
    api_error,
    masked,
)
from wxcoupon_analytics.wire.endpoints import Endpoint
from wxcoupon_analytics.wire.pacing import Pace
from wxcoupon_analytics.wire.questions import Question, ask_for_proof, mismatch, next_page, shows, stranger
from wxcoupon_analytics.wire.signing import WechatpayAuth, explain_refused_signature, signed_at

log = logging.getLogger(__name__)

# Enough to keep 500 requests a second going at 100 ms each; the pace does the rest.
IN_FLIGHT = 64
ATTEMPTS = 5
PATIENCE_SECONDS = 60.0
HOST_REST_SECONDS = 30.0
_NEVER_LEFT = (httpx.ConnectError, httpx.ConnectTimeout)
# Over all threads of a client: connections are not free, neither here nor there.
_CONNECTIONS = 128
_TIMEOUTS = (httpx.TimeoutException, TimeoutError)
# Full jitter, over a floor: many notebooks that were refused together must not come back together.
_wait = tenacity.wait_fixed(0.1) + tenacity.wait_random_exponential(multiplier=0.3, max=8)


@dataclass(frozen=True, slots=True)
class Answer:
    """A verified success: its exact bytes, what they say, the platform's clock when it was signed, and its Request-ID."""

    content: bytes
    document: dict[str, Any]
    signed_at: datetime
    request_id: str | None = None


class Doubt(Enum):
    """Whether an attempt made before a call may have succeeded, and may still be running."""

    NONE = "none"
    OLD = "old"
    RECENT = "recent"


@dataclass
class _Host:
    url: str
    down_until: float = 0.0


@dataclass
class _Progress:
    """What the attempts at one question have shown so far."""

    maybe_executed: bool = False
    maybe_running: bool = False  # and what is running may yet succeed, whatever is seen now
    retry_after: float = 0.0

    def doubt(self, *, running: bool = True) -> None:
        """An attempt may have succeeded; unless the platform itself said that it is over, it may still be running."""
        self.maybe_executed = True
        self.maybe_running |= running


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
    user_agent : str
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
        self._paces: dict[str, Pace] = {}
        self._timeout = timeout
        self._extensions = {"timeout": httpx.Timeout(timeout).as_dict()}
        self._transport = transport
        self._auth = WechatpayAuth(credentials)
        self._connections = asyncio.Semaphore(_CONNECTIONS)
        self._headers = (("Accept", "application/json"), ("Accept-Encoding", "gzip"), ("User-Agent", user_agent))

    async def aclose(self) -> None:
        """Close all connections."""
        await self._transport.aclose()

    async def answer(self, question: Question, doubt: Doubt = Doubt.NONE) -> Answer:
        """Ask until there is an answer, a refusal that repeating cannot change, or patience ends.

        A refusal that follows an attempt which may have succeeded (``doubt``: one made before this call) is not believed:
        the platform is asked whether the write happened.

        Raises
        ------
        ApiError
            Refused. 429 and 5xx only after repeats.
        VerificationError
            The last attempt's answer was not authentic, or was about something else than the question.
        TransportError
            No usable answer came.
        """
        progress = _Progress(maybe_executed=doubt is not Doubt.NONE, maybe_running=doubt is Doubt.RECENT)
        try:
            return await self._ask(question, progress)
        except WxCouponError as error:
            error.maybe_executed = progress.maybe_executed and question.is_write
            if error.maybe_executed and isinstance(error, ApiError) and not _worth_repeating(error):
                read = ask_for_proof(self.credentials, question)
                if read is not None:
                    return await self._proof(question, read, error, progress)
            raise

    async def pages(self, question: Question) -> list[Answer]:
        """Ask for every page of a list."""
        answers: list[Answer] = []
        seen: set[str] = set()
        here: Question | None = question
        while here:
            answers.append(answer := await self.page(here))
            here = next_page(here, answer.document, seen)
        rows = sum(len(answer.document.get(question.endpoint.items or "") or []) for answer in answers)
        total = answers[-1].document.get("total_count")
        if isinstance(total, int) and rows < total:
            log.warning("%s: the list says it has %s entries, but %s came", question.endpoint.name, total, rows)
        return answers

    async def page(self, question: Question) -> Answer:
        """Ask for one page of a list; its rows must be of those that were asked for.

        Raises
        ------
        VerificationError
            A row is not: the signed answer belongs to another request.
        """
        answer = await self.answer(question)
        if wrong := stranger(question, answer.document):
            raise VerificationError(
                f"{question.endpoint.name}: a signed answer with rows of another {wrong} than asked for: it belongs to another "
                "request"
            )
        return answer

    async def _ask(self, question: Question, progress: _Progress) -> Answer:
        try:
            return await self._attempt(question, progress)  # nearly always enough, and tenacity is not free
        except WxCouponError as error:
            if not _worth_repeating(error):
                raise
            first = error
        repeats = tenacity.AsyncRetrying(
            stop=tenacity.stop_after_attempt(ATTEMPTS) | tenacity.stop_before_delay(PATIENCE_SECONDS),
            wait=lambda state: max(_wait(state), progress.retry_after),
            retry=tenacity.retry_if_exception(_worth_repeating),
            sleep=asyncio.sleep,
            reraise=True,
        )
        async for repeat in repeats:
            with repeat:
                if repeat.retry_state.attempt_number == 1:
                    raise first
                return await self._attempt(question, progress)
        raise AssertionError("tenacity either returns or raises")

    async def _proof(self, question: Question, read: Question, refused: ApiError, progress: _Progress) -> Answer:
        """Look whether a write happened before it was refused, by its request number; raise the refusal if it did not."""
        try:
            answers = await self.pages(read) if read.endpoint.items else [await self.answer(read)]
        except WxCouponError as error:
            log.warning("%s: whether it happened could not be seen: %s", question.endpoint.name, type(error).__name__)
            raise refused from error
        for answer in answers:
            for entity in (
                (answer.document.get(read.endpoint.items) or []) if read.endpoint.items else [answer.document]
            ):
                if shows(question, entity):
                    return Answer(
                        json.dumps(entity, ensure_ascii=False).encode(), entity, answer.signed_at, answer.request_id
                    )
        # It did not happen and will not, unless an earlier attempt is still being worked on behind some gateway.
        refused.maybe_executed = progress.maybe_running
        raise refused

    def rate(self, endpoint: Endpoint) -> float:
        """Give the limit in requests a second that an endpoint's calls keep to."""
        return self._rate or endpoint.rate

    def _pace(self, endpoint: Endpoint) -> Pace:
        if endpoint.name not in self._paces:
            self._paces[endpoint.name] = Pace(self.rate(endpoint))
        return self._paces[endpoint.name]

    async def _attempt(self, question: Question, progress: _Progress) -> Answer:
        name, pace = question.endpoint.name, self._pace(question.endpoint)
        await pace.turn()
        now = time.monotonic()
        host = next((h for h in self._hosts if h.down_until <= now), min(self._hosts, key=lambda h: h.down_until))
        progress.retry_after = 0.0
        try:
            # The timeout stands beside the transport's own: an answer that drips must end as well.
            async with self._connections, asyncio.timeout(self._timeout * 3):
                response = await self._send(host, question)
        except _NEVER_LEFT as error:
            host.down_until = time.monotonic() + HOST_REST_SECONDS
            raise TransportError(f"{name}: {host.url} cannot be reached: {error}") from None
        except (httpx.TransportError, *_TIMEOUTS) as error:
            progress.doubt()
            if isinstance(error, _TIMEOUTS):
                host.down_until = time.monotonic() + HOST_REST_SECONDS
            raise TransportError(f"{name}: no whole answer from {host.url}: {error or 'it took too long'}") from None
        except VerificationError:
            progress.doubt()
            raise
        log.debug("%s: %s, Request-ID %s", name, response.status_code, response.headers.get("Request-ID"))
        if response.is_success:
            progress.doubt(running=False)
            return _success(question, response)
        refusal = _refusal(question, response)
        # Only the platform's own refusal says that nothing happened; a gateway speaks for itself.
        signed = bool(response.extensions.get("wechatpay_signed"))
        if response.status_code >= 500 or response.status_code == 408 or isinstance(refusal, TransportError):
            progress.doubt(running=not signed)
        if response.status_code == 429:
            pace.slow_down()
            progress.retry_after = _retry_after(response)
        elif response.status_code >= 500:
            progress.retry_after = _retry_after(response)
        elif isinstance(refusal, AuthenticationError) and refusal.code == "SIGN_ERROR":
            refusal.hint = explain_refused_signature(response)
        raise refusal

    async def _send(self, host: _Host, question: Question) -> httpx.Response:
        """Sign, send, verify: what ``httpx.AsyncClient`` does, without its cookies, its redirects and its log of every URL."""
        headers = [*self._headers, ("Content-Type", question.content_type)] if question.body else [*self._headers]
        extensions: dict[str, Any] = self._extensions
        if question.signed is not None:
            extensions = {**extensions, "wechatpay_signed_part": question.signed}
        request = httpx.Request(
            question.endpoint.method,
            host.url + question.target,
            headers=headers,
            content=question.body,
            extensions=extensions,
        )
        flow = self._auth.async_auth_flow(request)
        response = await self._transport.handle_async_request(await anext(flow))
        response.request = request
        try:
            await flow.asend(response)
        except StopAsyncIteration:
            return response
        raise AssertionError("signing is one request and one answer")


def _success(question: Question, response: httpx.Response) -> Answer:
    name, content = question.endpoint.name, response.content
    document = _json(content) if content else {}
    if document is None:
        raise TransportError(f"{name}: a verified answer that is not a JSON object: {_excerpt(content)}")
    if wrong := mismatch(question, document):
        raise VerificationError(
            f"{name}: a signed answer that is not about the {wrong} asked for: it belongs to another request"
        )
    return Answer(content, document, signed_at(response.headers), response.headers.get("Request-ID"))


def _refusal(question: Question, response: httpx.Response) -> WxCouponError:
    """Read a 3xx, 4xx or 5xx answer."""
    name, openid = question.endpoint.name, question.given.get("openid")
    status, request_id = response.status_code, response.headers.get("Request-ID")
    body = _json(response.content) or {}
    if not isinstance(body.get("code"), str):
        if status == 429 or status >= 500:
            return api_error(status, "NOT_JSON", _excerpt(response.content), request_id=request_id, openid=openid)
        excerpt = masked(_excerpt(response.content), openid)
        return TransportError(f"{name}: HTTP {status}, not the API's own answer: {excerpt}")
    signed = bool(response.extensions.get("wechatpay_signed"))
    message, detail = str(body.get("message", "")), body.get("detail")
    return api_error(status, body["code"], message, detail=detail, request_id=request_id, signed=signed, openid=openid)


def _json(content: bytes) -> dict[str, Any] | None:
    """Parse a body that must be a JSON object."""
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None


def _retry_after(response: httpx.Response) -> float:
    """Seconds to wait by the answer's own word; dates, which the platform does not send, are not read."""
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() else 0.0


def _worth_repeating(error: BaseException) -> bool:
    if isinstance(error, ApiError):
        return isinstance(error, RateLimitError | ServerError)
    return isinstance(error, TransportError | VerificationError)


def _excerpt(content: bytes) -> str:
    text = content[:200].decode("utf-8", "replace")
    return repr(text) + (f" … ({len(content)} bytes)" if len(content) > 200 else "") if content else "an empty body"
