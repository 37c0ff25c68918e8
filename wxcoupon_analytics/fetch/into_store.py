"""The long fetch: users' coupons into a store, in constant memory, and never the same page twice.

Two threads of work go side by side. Pages are asked for, verified and put into a spool (:mod:`wxcoupon_analytics.fetch.spool`),
each durable before it counts; whenever enough users are wholly answered, their pages are closed as a part, which is
flattened and merged into the store while the asking goes on, and then dropped from the spool. At the end the coupons that
the store knew and the answers lacked are asked for one by one, so that their new state is known.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Literal

from wxcoupon_analytics.entities.doubles import once_each
from wxcoupon_analytics.entities.flatten import Page, flatten_pages, to_frame
from wxcoupon_analytics.errors import ApiError, NotFoundError
from wxcoupon_analytics.fetch.asked import Asked
from wxcoupon_analytics.fetch.line import Line
from wxcoupon_analytics.fetch.outcome import Failures, Fetched, failures_frame
from wxcoupon_analytics.fetch.spool import FOUND_AGAIN, Lost, Spool, Tally, sweep
from wxcoupon_analytics.progress import bar
from wxcoupon_analytics.wire.endpoints import MAX_PAGE_SIZE
from wxcoupon_analytics.wire.questions import ask, next_page

if TYPE_CHECKING:
    import pyarrow as pa

    from wxcoupon_analytics.snapshots import Merged, SnapshotStore

log = logging.getLogger(__name__)

# A part is stored when it holds so many coupons, or the answers of so many users: some 100 MB on the way through.
PART_COUPONS: Final = 50_000
PART_USERS: Final = 50_000
# What nobody took up again for so long is not kept on disk.
_KEPT_FOR: Final = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Request:
    """What a long fetch is about.

    ``name`` says for whom, so that the same call again is known: the digest of the openids, or, where the store says whom
    to ask (storing the first part changes that), what it was asked for.
    """

    name: str
    appid: str
    filters: Mapping[str, str]
    on_error: Literal["raise", "collect"]
    resume: bool
    resume_within: timedelta


@dataclass(frozen=True, slots=True)
class _User:
    openid: str
    who: str
    tokens: list[str]


class IntoStore:
    """One run of one long fetch."""

    def __init__(self, line: Line, store: SnapshotStore, request: Request) -> None:
        self._line = line
        self._store = store
        self._request = request
        self._brand_id = line.exchange.credentials.brand_id
        self._openids: dict[str, str] = {}  # of the users in the spool, where the store keeps pseudonyms
        self._under_way: set[str] = set()
        self._failures = Failures()
        self._stored: Merged | None = None  # the last part that had something new

    def run(self, asked: Asked, *, show_progress: bool | None) -> Fetched:
        """Ask everyone who is not answered yet, and store everything.

        Raises
        ------
        SnapshotError
            The same fetch is running, or its answers cannot be kept or stored (under another key, nothing is asked).
        WxCouponError
            A question failed for good. What was answered is kept: the same call goes on from there.
        """
        self._store.check_key()  # or openids would lie in the clear beside pseudonyms, if only until the first part
        request, now = self._request, self._line.now()
        folder = self._store.scratch(self._folder())
        sweep(folder.parent, max(request.resume_within, _KEPT_FOR))
        spool = Spool(folder, now=now, since=now - request.resume_within if request.resume else None)
        notes = []
        if spool.outdated:
            notes.append(
                f"a fetch begun at {spool.outdated:%Y-%m-%d %H:%M %z} had not ended; this one began anew, and what that"
                " one had stored stays stored"
            )
            log.warning(notes[0])
        with closing(spool):
            # Where the store says whom to ask, it may no longer name those whose answers an earlier run stored.
            done = spool.count_done(map(self._store.pseudonym, asked)) if spool.users else 0
            users = spool.users + asked.count - done
            try:
                with bar(users, what="users", show=show_progress, initial=spool.users) as progress:
                    self._take_up(asked, spool)
                    self._ask_users(asked, spool, progress, done)
                self._look_for_the_lost(asked, spool, show_progress)
            except BaseException as error:
                error.add_note(
                    f"{spool.users:,} of {users:,} users are answered, and that is kept: until"
                    f" {spool.started_at + request.resume_within:%Y-%m-%d %H:%M %z} the same call goes on from there"
                )
                raise
            fetched = self._fetched(spool, tuple(notes))
        spool.discard()
        return fetched

    def _folder(self) -> str:
        """Name the fetch by its question, so that the same call finds what an earlier one left."""
        request = self._request
        text = json.dumps([self._brand_id, request.appid, sorted(request.filters.items()), request.name])
        return f"user_coupons-{hashlib.blake2b(text.encode(), digest_size=16).hexdigest()}"

    # asking ----------------------------------------------------------------------------------------------------------

    def _take_up(self, asked: Asked, spool: Spool) -> None:
        """Store what an earlier run was told, apart from what this one will be: it is as of then."""
        if self._store.pseudonymous and (waiting := spool.waiting()):
            self._openids |= asked.known_as(waiting)
        if spool.open_users:
            spool.close_part()
        for part in spool.closed_parts():
            self._merge(spool, part, complete=False)

    def _ask_users(self, asked: Asked, spool: Spool, progress: Any, done: int) -> None:
        merging: deque[Future[None]] = deque()

        async def answer(user: _User) -> None:
            await self._ask(user, spool)

        def settled(user: _User, error: BaseException | None) -> None:
            self._under_way.discard(user.who)
            self._note(user.openid, error)
            progress.update()
            full = spool.open_coupons >= PART_COUPONS or spool.open_users >= PART_USERS
            if merging and (full or merging[0].done()):  # a store slower than the API holds the asking back
                self._line.loop.result(merging.popleft())
            if full:
                merging.append(merger.submit(self._merge, spool, spool.close_part(), complete=False))

        with ThreadPoolExecutor(1, "wxcoupon-merge") as merger:
            self._line.each(answer, self._to_ask(asked, spool, progress, done), settled=settled)
            for future in merging:
                self._line.loop.result(future)
        # The part that ends the fetch says so, and whether anybody is missing.
        self._merge(spool, spool.close_part(), complete=not self._failures)

    def _to_ask(self, asked: Asked, spool: Spool, progress: Any, done: int) -> Iterator[_User]:
        for openid in asked:
            who = self._store.pseudonym(openid)
            if who in self._under_way or openid in self._failures or spool.is_done(who):
                if done:  # by an earlier run: the bar began with them
                    done -= 1
                else:
                    progress.update()
                continue
            self._under_way.add(who)
            if self._store.pseudonymous:
                self._openids[who] = openid
            yield _User(openid, who, spool.tokens(who))

    async def _ask(self, user: _User, spool: Spool) -> None:
        """Ask for a user's pages, from where an earlier run got."""
        query: dict[str, str | int | None] = {
            "appid": self._request.appid,
            **self._request.filters,
            "page_size": MAX_PAGE_SIZE,
        }
        start = ask(self._line.exchange.credentials, "list_user_coupons", {"openid": user.openid}, query=query)
        seen = set(user.tokens[:-1])
        here = next_page(start, {"next_page_token": user.tokens[-1]}, seen) if user.tokens else start
        may_be_stale = goes_on = bool(user.tokens)
        while here:
            try:
                answer = await self._line.exchange.page(here)
            except ApiError as error:
                # A token may have lost its meaning since it was given; the list itself has not.
                if not may_be_stale or error.status not in (400, 404):
                    raise
                spool.forget(user.who)
                here, seen, may_be_stale, goes_on = start, set(), False, False
                continue
            may_be_stale = False
            following = next_page(here, answer.document, seen)
            coupons, total = len(answer.document.get("user_coupon_list") or ()), answer.document.get("total_count")
            if following is None and isinstance(total, int) and spool.coupons_of(user.who) + coupons < total:
                log.warning("list_user_coupons: a list says it has %s entries, but fewer came", total)
                if goes_on:  # it moved on between the two runs
                    spool.forget(user.who)
                    here, seen, goes_on = start, set(), False
                    continue
            spool.keep(
                user.who,
                answer.content,
                fetched_at=self._line.fetched_at(answer),
                coupons=coupons,
                next_token=answer.document["next_page_token"] if following else None,
            )
            here = following

    def _note(self, openid: str, error: BaseException | None) -> None:
        """Count a failure that is one user's; raise any other."""
        if error is not None and self._request.on_error == "raise":
            raise error
        self._failures.note(openid, error)

    # storing ---------------------------------------------------------------------------------------------------------

    def _merge(self, spool: Spool, part: int, *, complete: bool) -> None:
        users = spool.users_of(part)
        asked = {self._openid(who): answered_at for who, answered_at in users.items()}
        merged = self._store.merge(
            self._flattened(spool, part),
            appid=self._request.appid,
            asked=asked,
            filters=self._request.filters,
            fetch_id=spool.fetch_id,
            started_at=spool.started_at,
            complete=complete,
            brand_id=self._brand_id,
        )
        vanished = [(self._store.pseudonym(openid), lost) for openid, lost in _lost(merged.vanished)]
        counts = Tally(
            coupons=merged.rows,
            new=merged.new,
            changed=merged.changed,
            unchanged=merged.unchanged,
            vanished=len(merged.vanished),
        )
        spool.stored(part, counts, vanished)
        self._stored = merged if merged.path else self._stored
        for who in users:
            self._openids.pop(who, None)

    def _flattened(self, spool: Spool, part: int) -> pa.Table:
        pages = (
            Page(kept.content, kept.fetched_at, self._brand_id, self._openid(kept.who), self._request.appid)
            for kept in spool.pages_of(part)
        )
        return once_each("user_coupons", flatten_pages("user_coupons", pages))

    def _openid(self, who: str) -> str:
        return self._openids[who] if self._store.pseudonymous else who

    # what the answers lacked -----------------------------------------------------------------------------------------

    def _look_for_the_lost(self, asked: Asked, spool: Spool, show_progress: bool | None) -> None:
        """Ask by itself for each coupon that should have been in an answer and was not."""
        losers = spool.lost_by()
        if not losers:
            return
        self._openids |= asked.known_as(losers)

        async def look(lost: tuple[str, Lost]) -> None:
            await self._look_for(*lost, spool)

        def settled(lost: tuple[str, Lost], error: BaseException | None) -> None:
            self._note(self._openids[lost[0]], error)
            progress.update()

        each = ((who, lost) for who in sorted(losers & self._openids.keys()) for lost in spool.lost(who))
        self._store_found(spool)
        with bar(spool.count_lost(), what="missing coupons", show=show_progress) as progress:
            while block := list(islice(each, PART_COUPONS)):
                self._line.each(look, iter(block), settled=settled)
                self._store_found(spool)

    async def _look_for(self, who: str, lost: Lost, spool: Spool) -> None:
        query = {
            "product_coupon_id": lost.product_coupon_id,
            "stock_id": lost.stock_id,
            "appid": self._request.appid,
        }
        path = {"openid": self._openids[who], "coupon_code": lost.coupon_code}
        exchange = self._line.exchange
        try:
            answer = await exchange.answer(ask(exchange.credentials, "get_user_coupon", path, query=query))
        except NotFoundError:
            spool.keep_found(who, lost, None, fetched_at=self._line.now())
        else:
            spool.keep_found(who, lost, answer.content, fetched_at=self._line.fetched_at(answer))

    def _store_found(self, spool: Spool) -> None:
        """Store what was found again: answers about coupons, not about all that a user holds."""
        found = self._flattened(spool, FOUND_AGAIN)
        if len(found):
            self._store.save("user_coupons", to_frame("user_coupons", found))
            spool.stored(FOUND_AGAIN, Tally(found=len(found)))

    def _fetched(self, spool: Spool, notes: tuple[str, ...]) -> Fetched:
        return Fetched(
            users=spool.users,
            **asdict(spool.tally()),
            failures=failures_frame(self._failures.items()),
            fetch_id=spool.fetch_id,
            started_at=spool.started_at,
            ended_at=self._line.now(),
            resumed=spool.resumed,
            notes=notes,
            path=str(self._store.file_of(self._stored)) if self._stored else None,
        )


def _lost(vanished: pa.Table) -> Iterator[tuple[str, Lost]]:
    """Give whose coupons are lost, and which; one without its ids cannot be asked for."""
    for row in vanished.select(["openid", *Lost._fields]).to_pylist():
        openid = row.pop("openid")
        if all(row.values()):
            yield openid, Lost(**row)
