"""Do what is meant, once: one write or two hundred thousand, by the same path.

Each intent is durable before its request leaves, and each outcome after it came; both in group commits, so that the disk is
waited for some twenty times a second and not a thousand. What an earlier run has done is not asked again; what it left
unknown is, and a refusal is then believed only after looking.
"""

from __future__ import annotations

import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from wxcoupon_analytics.actions.intent import Intent
from wxcoupon_analytics.actions.journal import Journal
from wxcoupon_analytics.actions.records import Claim, End, Record
from wxcoupon_analytics.api import Api
from wxcoupon_analytics.errors import ApiError, JournalError, ValidationError, WxCouponError
from wxcoupon_analytics.wire.exchange import Answer, Doubt
from wxcoupon_analytics.wire.questions import Question

Json = dict[str, Any]

# An attempt that was cut off may still be worked on behind a gateway for so long.
STILL_RUNNING = timedelta(minutes=10)
# Some wait to be recorded at any moment: more than bare calls would need to keep the API busy.
IN_FLIGHT = 128
# A commit for so many, or for fewer after so long.
_GROUP = 24
_GROUP_SECONDS = 0.1
# How often to look whether another run is done with what it holds, or dead.
_LOOK_SECONDS = 0.25
_BEAT_SECONDS = 5.0
# What is in flight when the Stop button is pressed may still be answered for so long.
_GRACE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an intent.

    ``status`` is ``done`` (now) or ``already`` (by an earlier run, or another one meanwhile), both with ``answer``;
    ``failed``: refused for good; ``unsent``: it did not happen, and may be asked again freely; ``unknown``: it may have
    happened, ask again; ``differs``: its number stands for another write, and ``invalid``: it breaks the documented rules
    (nothing was sent); ``held_out``: its user is to get nothing in this campaign; ``not_started``: the run ended before.
    ``followed`` is what came of the intent that followed from it.
    """

    status: str
    answer: Json | None = None
    error: WxCouponError | None = None
    error_code: str | None = None
    error_message: str | None = None
    request_id: str | None = None
    attempts: int = 0
    reason: str | None = None
    followed: Outcome | None = None
    is_follow_up: bool = False


class Runner:
    """Carries intents out: journaled, at the rate limit, each by one run only."""

    def __init__(self, api: Api, journal: Journal) -> None:
        self._api = api
        self._journal = journal

    def one(self, intent: Intent, check: Callable[[], Json | None]) -> Json:
        """Carry out one intent and give its answer, the recorded one if it was done before.

        ``check`` is called when nothing is known that may have succeeded: it raises what is wrong, and returns the
        platform's entity if it shows that the write has happened after all. What may have succeeded is asked again as it
        was: what would refuse a new one is no reason then.

        Raises
        ------
        WxCouponError
            Whatever ended it.
        """
        self._api.question(intent.operation, intent.path, body=intent.body)  # wrong arguments end here
        earlier = self._journal.look(intent.request_no)
        if (earlier is None or earlier.did_not_happen) and (found := check()) is not None:
            with self._journal.lease() as lease:
                [claim] = self._journal.write(lease, begins=[intent], retry_failed=True)
                if isinstance(claim, Claim):
                    self._journal.write(lease, ends=[End(claim, found)])
            return found
        [outcome] = self.many([intent], retry_failed=True)
        if outcome.answer is None:
            assert outcome.error is not None
            raise outcome.error
        return outcome.answer

    def many(
        self,
        intents: Sequence[Intent],
        *,
        retry_failed: bool = False,
        max_failures: int | None = None,
        halt: Callable[[Intent, ApiError], str | None] = lambda intent, error: None,
        keep: Callable[[Json], Json] = lambda answer: answer,
        then: Callable[[Intent, Json], Intent | None] = lambda intent, answer: None,
        tick: Callable[[Outcome], object] = lambda outcome: None,
        in_flight: int = IN_FLIGHT,
    ) -> list[Outcome]:
        """Carry out many intents and give their outcomes in order.

        Parameters
        ----------
        intents : sequence of Intent
            Looked up as earlier ones are answered, at most ``in_flight`` ahead.
        retry_failed : bool
            Whether to ask again what was refused for good. Another body under its number is asked in any case.
        max_failures : int, optional
            The run ends itself when more than so many of its requests have failed, each after its own repeats; refused
            follow-ups do not count.
        halt : callable
            Called with every plain refusal. When it gives a reason, the refusal is not final (``unsent``), and the run ends
            itself for that reason.
        keep : callable
            What of an answer to keep, in the journal and in the outcome.
        then : callable
            Gives the intent that follows from an intent and its answer, a step of its own; None for none. What has been
            done is followed up even when the run ends itself, but not after the Stop button.
        tick : callable
            Called with each outcome, as it is recorded; those of what followed say ``is_follow_up``.

        Raises
        ------
        JournalError
            Before anything was sent.
        KeyboardInterrupt
            Within two seconds no request is under way any more; then it is raised again, a few seconds later where a hundred
            thousand were not begun. ``outcomes`` on it is what would have been returned: what was not answered is
            ``unknown``, what was not begun ``not_started``.
        """
        with self._journal.lease() as lease:
            run = _Run(
                self._api, self._journal, lease, intents, retry_failed, max_failures, halt, keep, then, tick, in_flight
            )
            try:
                run.carry_out()
            except BaseException as error:
                with suppress(KeyboardInterrupt):  # pressed again: what is not known by then is unknown
                    run.wind_down("the run was stopped before this")
                error.outcomes = run.in_order()  # type: ignore[attr-defined]
                raise
            return run.in_order()


class _Run:
    """One run: what waits, what is under way, and what came of it."""

    def __init__(
        self,
        api: Api,
        journal: Journal,
        lease: int,
        intents: Sequence[Intent],
        retry_failed: bool,
        max_failures: int | None,
        halt: Callable[[Intent, ApiError], str | None],
        keep: Callable[[Json], Json],
        then: Callable[[Intent, Json], Intent | None],
        tick: Callable[[Outcome], object],
        in_flight: int,
    ) -> None:
        self._api, self._journal, self._lease = api, journal, lease
        self._retry_failed, self._max_failures = retry_failed, max_failures
        self._halt, self._keep, self._then, self._tick = halt, keep, then, tick
        self._in_flight = in_flight
        self._outcomes: dict[int, Outcome] = {}  # what follows from intent i stands at ~i
        # A place and not an iterator: the Stop button would lose what it was just giving, and break off a generator.
        self._intents, self._begun = intents, 0
        self._following: deque[tuple[int, Intent]] = deque()
        self._taken: dict[int, Intent] = {}  # begun, and no outcome yet
        self._held: deque[int] = deque()  # in the hands of another run
        self._look_at = 0.0
        self._wrote_at = time.monotonic()
        self._ends: list[tuple[int, End]] = []
        self._under_way: dict[int, Claim] = {}
        self._groups: list[Future[None]] = []  # as they were asked together
        self._arrived: deque[tuple[int, Answer | WxCouponError]] = deque()
        self._enough = threading.Event()
        self._wanted = 1
        self._failures = 0
        self._started = False
        self._halted: str | None = None
        self._is_broken = False  # the journal cannot be written

    def carry_out(self) -> None:
        """Begin, ask, wait, record, until nothing is left."""
        while True:
            begins = self._next()
            if self._ends or begins or time.monotonic() - self._wrote_at > _BEAT_SECONDS:
                self._turn(begins)
            if not self._under_way:
                if self._halted is not None and (self._is_broken or not self._following):
                    self._leave(self._halted)
                    return
                if not (self._held or self._following or begins):
                    return
            self._wait()
            self._collect()

    def wind_down(self, reason: str) -> None:
        """Let what is in flight be answered for a moment, cut off the rest, and record what came."""
        # Whether a refusal is final would have to be asked about; that is for the next run.
        self._halt = lambda intent, error: reason
        self._halted = self._halted or reason
        deadline = time.monotonic() + _GRACE_SECONDS
        try:
            while len(self._arrived) < len(self._under_way) and time.monotonic() < deadline:
                time.sleep(0.02)
        finally:
            self._api.cancel(self._groups)
            self._take_in()
            if self._ends:
                self._turn({})
            self._tick = lambda outcome: None  # what was not begun is no progress, and may be a hundred thousand
            self._leave(reason)

    def in_order(self) -> list[Outcome]:
        """Give the outcomes in the order of the intents."""
        begun, not_begun = Outcome("unknown"), Outcome("not_started", reason=self._halted)
        told = [
            self._outcomes.get(index, begun if index < self._begun else not_begun)
            for index in range(len(self._intents))
        ]
        for index, followed in self._outcomes.items():
            if index < 0:
                told[~index] = replace(told[~index], followed=followed)
        return told

    def _next(self) -> dict[int, tuple[Intent, Question]]:
        """Take what there is room for, a group at a time; what another run holds is looked at again now and then."""
        begins: dict[int, tuple[Intent, Question]] = {}
        room = self._in_flight - len(self._under_way)
        if self._is_broken or room < min(_GROUP, self._in_flight):
            return begins
        chosen = [self._following.popleft() for _ in range(min(room, len(self._following)))]
        if self._halted is None:
            until = min(self._begun + room - len(chosen), len(self._intents))
            chosen += [(index, self._intents[index]) for index in range(self._begun, until)]
            self._begun = until
            if self._held and not chosen and time.monotonic() >= self._look_at:
                self._look_at = time.monotonic() + _LOOK_SECONDS
                held = [self._held.popleft() for _ in range(min(room, len(self._held)))]
                chosen = [(index, self._taken[index]) for index in held]
        self._taken.update(chosen)
        for index, intent in chosen:
            try:
                begins[index] = intent, self._api.question(intent.operation, intent.path, body=intent.body)
            except ValidationError as error:
                self._settle(index, Outcome("invalid", error=error, reason=str(error)))
        return begins

    def _turn(self, begins: dict[int, tuple[Intent, Question]]) -> None:
        """Record what came and what is begun in one commit; then show the one and ask the other."""
        intents = [intent for intent, _ in begins.values()]
        answers: list[Claim | Record] = []
        try:
            answers = self._journal.write(
                self._lease, ends=[end for _, end in self._ends], begins=intents, retry_failed=self._retry_failed
            )
        except JournalError as error:
            if not self._started:
                raise
            # What came of it must not be lost because that fails; the next run finds it unknown, and asks.
            self._halted, self._is_broken = str(error), True
            for _, end in self._ends:
                done = "failed" if isinstance(end.outcome, WxCouponError) else "was done"
                operation = end.claim.intent.operation
                warnings.warn(f"{operation} {done}, but this could not be recorded: {error}", stacklevel=2)
        self._wrote_at = time.monotonic()
        # Written twice is as good as once: an interrupt before this is over does no harm.
        for index, end in self._ends:
            self._settle(index, self._came_of(end))
        self._ends.clear()
        asked: list[tuple[int, Claim, Question]] = []
        for (index, (intent, question)), answer in zip(begins.items(), answers, strict=False):
            if isinstance(answer, Claim):
                asked.append((index, answer, question))
            elif answer.is_held and answer.intent == intent.text:
                self._held.append(index)
            else:
                self._settle(index, settled(intent, answer))
        if asked:
            self._ask(asked)

    def _ask(self, asked: list[tuple[int, Claim, Question]]) -> None:
        self._started = True
        self._under_way.update((index, claim) for index, claim, _ in asked)
        indices = [index for index, _, _ in asked]

        def arrive(place: int, came: Answer | WxCouponError) -> None:
            self._arrived.append((indices[place], came))
            if len(self._arrived) >= self._wanted:
                self._enough.set()

        self._groups.append(self._api.start([(question, _doubt(claim)) for _, claim, question in asked], arrive))

    def _wait(self) -> None:
        """Wait for a group of answers, or for the first few when no more come soon."""
        self._wanted = max(1, min(_GROUP, len(self._under_way)))
        self._enough.clear()
        if len(self._arrived) < self._wanted:
            # Short waits: Polars takes SIGINT for itself in a way that does not wake a waiting thread.
            self._enough.wait(_GROUP_SECONDS)

    def _collect(self) -> None:
        """Take in what has arrived; raise what is no outcome: a closed client, a mistake of ours."""
        self._take_in()
        for group in [group for group in self._groups if group.done()]:
            self._api.wait(group)
            self._groups.remove(group)

    def _take_in(self) -> None:
        """Turn what has arrived into ends; what was cut off without an answer stays as it was begun."""
        while self._arrived:
            index, came = self._arrived.popleft()
            claim = self._under_way.pop(index)
            if isinstance(came, Answer):
                self._ends.append((index, End(claim, self._keep(came.document), came.request_id)))
                continue
            end = End(claim, came)
            # Not final until it is known to be about this one alone: finding out takes requests, which may be stopped.
            self._ends.append((index, replace(end, is_final=False)))
            if not self._must_halt(claim.intent, came, is_follow_up=index < 0):
                self._ends[-1] = index, end

    def _must_halt(self, intent: Intent, error: WxCouponError, *, is_follow_up: bool) -> bool:
        if isinstance(error, ApiError) and not error.maybe_executed and (reason := self._halt(intent, error)):
            self._halted = reason
            return True
        # That a follow-up is refused says nothing of those to come: someone else may have done it in the meantime.
        self._failures += not (is_follow_up and isinstance(error, ApiError))
        if self._max_failures is not None and self._failures > self._max_failures:
            self._halted = self._halted or (
                f"the run ended itself after {self._failures} failures (max_failures={self._max_failures})"
            )
        return False

    def _came_of(self, end: End) -> Outcome:
        if not isinstance(end.outcome, WxCouponError):
            return Outcome(end.status, dict(end.outcome), request_id=end.request_id, attempts=end.claim.attempts)
        error = end.outcome
        api = error if isinstance(error, ApiError) else None
        return Outcome(
            end.status,
            error=error,
            error_code=api.code if api else None,
            error_message=api.message if api else str(error),
            request_id=api.request_id if api else None,
            attempts=end.claim.attempts,
            reason=None if end.is_final else self._halted,
        )

    def _settle(self, index: int, outcome: Outcome) -> None:
        intent = self._taken.get(index)
        if intent is None:
            return
        self._outcomes[index] = outcome
        del self._taken[index]
        self._tick(outcome if index >= 0 else replace(outcome, is_follow_up=True))
        if index >= 0 and outcome.answer is not None and (after := self._then(intent, outcome.answer)) is not None:
            self._following.append((~index, after))

    def _leave(self, reason: str) -> None:
        """Say of what was not done what the journal knows of it."""
        left = {index: intent for index, intent in enumerate(self._intents) if index not in self._outcomes}
        left |= {index: intent for index, intent in self._taken.items() if index < 0} | dict(self._following)
        self._following.clear()
        try:
            known = self._journal.known([intent.request_no for intent in left.values()])
        except JournalError:
            known = {}
        for index, intent in left.items():
            record = known.get(intent.request_no)
            self._taken[index] = intent
            # That an earlier run could not do it says nothing of this one, which has not tried.
            is_open = record is None or record.status == "unsent"
            self._settle(
                index, Outcome("not_started", reason=reason) if is_open else settled(intent, known[intent.request_no])
            )


def failures_allowed(count: int) -> int:
    """Give how many of so many may fail before a run had better end itself: one in twenty, and twenty in any case."""
    return max(20, count // 20)


def concerns_all(_: Intent, error: ApiError) -> str | None:
    """Say why a refusal holds for every request, if it does: there is no use in asking for the rest."""
    return f"refused for all: {error}" if error.is_about_the_caller else None


def settled(intent: Intent, record: Record) -> Outcome:
    """Say what an earlier record means for an intent."""
    if record.status == "held_out":
        error: WxCouponError | None = ValidationError(
            f"this user is held out of campaign {intent.campaign!r}, to measure what the others do. Nothing was sent"
        )
        return Outcome("held_out", error=error, reason=str(error))
    if record.status in ("done", "unknown") and record.intent != intent.text:
        error = ValidationError(
            f"request number {intent.request_no} stands for another {intent.operation} already, whose outcome is "
            f"{record.status}: {intent.difference(record.intent)}. Nothing was sent"
        )
        return Outcome("differs", error=error, reason=str(error), attempts=record.attempts)
    return Outcome(
        "already" if record.status == "done" else record.status,
        record.answer,
        error_code=record.error_code,
        error_message=record.error_message,
        request_id=record.request_id,
        attempts=record.attempts,
    )


def _doubt(claim: Claim) -> Doubt:
    """Whether an earlier attempt may have succeeded, and may still be running."""
    if claim.before is None or claim.before.status != "unknown":
        return Doubt.NONE
    return Doubt.RECENT if datetime.now(UTC) - claim.before.touched_at < STILL_RUNNING else Doubt.OLD
