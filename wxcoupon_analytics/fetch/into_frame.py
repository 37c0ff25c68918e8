"""The short way: all answers at once, in memory, for a frame."""

from __future__ import annotations

from collections.abc import Sequence

from wxcoupon_analytics.entities.flatten import Page
from wxcoupon_analytics.errors import WxCouponError
from wxcoupon_analytics.fetch.line import Line
from wxcoupon_analytics.fetch.outcome import Failures
from wxcoupon_analytics.loop import map_bounded
from wxcoupon_analytics.progress import bar
from wxcoupon_analytics.wire.exchange import IN_FLIGHT
from wxcoupon_analytics.wire.questions import Question


def pages_of(
    line: Line,
    questions: Sequence[Question],
    *,
    what: str,
    show_progress: bool | None,
    appid: str | None = None,
    failures: Failures | None = None,
) -> list[Page]:
    """Ask all questions, all pages of each, in their order; every page knows what it answers.

    With ``failures``, a user's failure is put there, nothing of his is given, and the others go on.
    """
    exchange = line.exchange
    brand_id = exchange.credentials.brand_id

    async def one(question: Question) -> list[Page]:
        openid = question.given.get("openid")
        try:
            answers = await exchange.pages(question) if question.endpoint.items else [await exchange.answer(question)]
        except WxCouponError as error:
            if failures is None or openid is None:
                raise
            failures.note(openid, error)
            return []
        if failures is not None and openid is not None:
            failures.note(openid, None)
        return [Page(a.content, line.fetched_at(a), brand_id, openid, appid) for a in answers]

    async def every() -> list[list[Page]]:
        return await map_bounded(one, questions, in_flight=IN_FLIGHT, done=progress.update)

    with bar(len(questions), what=what, show=show_progress) as progress:
        return [page for group in line.loop.run(every) for page in group]
