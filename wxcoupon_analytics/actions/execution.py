"""A plan carried out: each chosen row by the runner, and every row's outcome in a frame."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import pandas as pd

from wxcoupon_analytics.actions.intent import Intent
from wxcoupon_analytics.actions.records import Record
from wxcoupon_analytics.actions.runner import Outcome, Runner, concerns_all, settled
from wxcoupon_analytics.actions.standing import Arm, Asked
from wxcoupon_analytics.actions.stock_checks import fetch_offer
from wxcoupon_analytics.actions.terms import confirmation, without_echoes
from wxcoupon_analytics.actions.verdicts import ALREADY_SENT, Inputs, Verdicts
from wxcoupon_analytics.api import Api
from wxcoupon_analytics.errors import ApiError, WxCouponError
from wxcoupon_analytics.progress import bar
from wxcoupon_analytics.wire.exchange import Answer, Doubt

# Refusals that are about the user alone: the limit per user, an openid of another appid. The stock need not be looked at.
_ABOUT_THE_USER = (272756740, 268578532)
_LOOK_SECONDS = 1.0
_TIME = pd.DatetimeTZDtype("us", "Asia/Shanghai")
# What an outcome of the runner is called in a result.
_STATUSES = {
    "done": "sent",
    "already": "already_sent",
    "failed": "failed",
    "unknown": "unknown",
    "held_out": "held_out",
    "unsent": "unknown",
    "differs": "blocked",
    "invalid": "blocked",
    "not_started": "blocked",
}


class Execution:
    """One execution of a plan.

    Parameters
    ----------
    records, arms : mapping
        What the journal knew before of a row's send, and which arm its user is in.
    verdicts : Verdicts
        Of every row, as they are now; those of ``chosen`` rows are replaced by what comes of them.
    chosen : collection of int
        The rows to be sent to.
    """

    def __init__(
        self,
        api: Api,
        inputs: Inputs,
        *,
        frame: pd.DataFrame,
        records: Mapping[int, Record],
        arms: Mapping[int, Arm],
        verdicts: Verdicts,
        chosen: Collection[int],
        is_confirming: bool,
        now: Callable[[], datetime],
    ) -> None:
        self._api, self._inputs, self._records, self._arms = api, inputs, records, arms
        self._frame, self._verdicts, self._chosen = frame, verdicts, chosen
        self._is_confirming = is_confirming
        self._watch = _StockWatch(api, inputs, now)
        self._rows = [each for each in inputs.asked if self._is_asked(each)]

    def carry_out(
        self, runner: Runner, *, max_failures: int, retry_failed: bool, show_progress: bool | None
    ) -> pd.DataFrame:
        """Send, and give the result; whatever ends it early carries the result as it stands."""
        counts: Counter[str] = Counter()
        with bar(len(self._rows) * (1 + self._is_confirming), what="sends", show=show_progress) as shown:

            def tick(outcome: Outcome) -> None:
                status = _STATUSES[outcome.status]
                counts["confirmed" if outcome.is_follow_up and outcome.answer is not None else status] += 1
                if not shown.disable:
                    shown.set_postfix(counts, refresh=False)
                    shown.update()

            outcomes: list[Outcome] | None = None
            try:
                outcomes = runner.many(
                    _Intents(self._rows, self._intent),
                    retry_failed=retry_failed,
                    max_failures=max_failures,
                    halt=self._watch.reason,
                    keep=without_echoes,
                    then=self._confirmation,
                    tick=tick,
                )
                self._look_at_refused(outcomes)
            except BaseException as error:
                if (so_far := getattr(error, "outcomes", outcomes)) is not None:
                    error.result = self._result(so_far)  # type: ignore[attr-defined]
                    error.add_note(
                        "Nothing is under way any more. What was sent is recorded: the partial result is on this error as "
                        ".result (in a notebook sys.last_value.result), and executing again sends only the rest."
                    )
                raise
        return self._result(outcomes)

    def _is_asked(self, each: Asked) -> bool:
        # What was sent earlier is asked about again only for its confirm; the runner knows the answer.
        return each.row in self._chosen or (self._is_confirming and self._verdicts.statuses[each.row] == ALREADY_SENT)

    def _intent(self, each: Asked) -> Intent:
        return self._inputs.terms.send(each.openid, each.number, each.code)

    def _confirmation(self, send: Intent, coupon: Mapping[str, Any]) -> Intent | None:
        if not self._is_confirming or coupon.get("coupon_state") != "CONFIRMING":
            return None
        terms = self._inputs.terms
        return confirmation(
            send.path["openid"],
            coupon["coupon_code"],
            product_coupon_id=terms.product_coupon_id,
            stock_id=terms.stock_id,
            appid=terms.appid,
        )

    def _look_at_refused(self, outcomes: list[Outcome]) -> None:
        """Look at the coupons whose confirm was refused: one that someone else has confirmed needs nothing more."""
        refused = {
            index: self._api.question(
                "get_user_coupon",
                {"openid": each.openid, "coupon_code": outcome.answer["coupon_code"]},
                query={name: getattr(self._inputs.terms, name) for name in ("product_coupon_id", "stock_id", "appid")},
            )
            for index, (each, outcome) in enumerate(zip(self._rows, outcomes, strict=True))
            if outcome.answer is not None and outcome.followed is not None and outcome.followed.status == "failed"
        }
        places = list(refused)

        def look(place: int, came: Answer | WxCouponError) -> None:
            # When it cannot be looked at, the refusal stands.
            if isinstance(came, Answer) and came.document.get("coupon_state") != "CONFIRMING":
                followed = Outcome("already", without_echoes(came.document))
                outcomes[places[place]] = replace(outcomes[places[place]], followed=followed)

        looking = self._api.start([(question, Doubt.NONE) for question in refused.values()], look)
        try:
            self._api.wait(looking)
        finally:
            self._api.cancel([looking])

    def _result(self, outcomes: list[Outcome]) -> pd.DataFrame:
        """Put what came of each row beside the audience."""
        count = len(self._frame)
        columns: dict[str, list[Any]] = {
            "send_request_no": [None] * count,
            "status": list(self._verdicts.statuses),
            "reason": list(self._verdicts.reasons),
            **{name: [None] * count for name in ("coupon_code", "coupon_state", "receive_time")},
            **{name: [None] * count for name in ("error_code", "error_message", "request_id")},
            "attempts": [0] * count,
        }
        for each in self._inputs.asked:
            columns["send_request_no"][each.row] = each.number
        for row, outcome in self._known(outcomes):
            columns["status"][row] = (
                "blocked" if outcome.status == "unsent" and outcome.reason else _STATUSES[outcome.status]
            )
            if outcome.status == "already":
                outcome = replace(outcome, reason=columns["reason"][row])
            for name, value in _cells(outcome).items():
                columns[name][row] = value
        added = {name: _column(name, values) for name, values in columns.items()}
        if "coupon_code" in self._frame.columns:
            # Beside codes of the audience's own there is no second column: what was not sent keeps the one it was given.
            given = self._frame["coupon_code"].reset_index(drop=True)
            added["coupon_code"] = given.where(pd.isna(added["coupon_code"]), added["coupon_code"]).array
        result = self._frame.assign(**added)
        if self._inputs.holdout > 0 or any(arm.is_held_out for arm in self._arms.values()):
            at = [self._arms[row].assigned_at if row in self._arms else None for row in range(count)]
            result["assigned_at"] = _column("assigned_at", at)
        return result

    def _known(self, outcomes: list[Outcome]) -> Iterator[tuple[int, Outcome]]:
        """Give what is known of each row: what the journal had, and then what this run made of it."""
        for each in self._inputs.asked:
            if self._verdicts.statuses[each.row] == ALREADY_SENT or each.row in self._verdicts.refused:
                yield each.row, settled(self._intent(each), self._records[each.row])
        for each, outcome in zip(self._rows, outcomes, strict=True):
            yield each.row, outcome


class _Intents(Sequence[Intent]):
    """The sends of rows, each made when it is looked up: all of them at once would take a kilobyte a user."""

    def __init__(self, rows: Sequence[Asked], intent: Callable[[Asked], Intent]) -> None:
        self._rows, self._intent = rows, intent

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        return self._intent(self._rows[index])


class _StockWatch:
    """Looks at the stock when a send is refused: whether it can be sent at all any more."""

    def __init__(self, api: Api, inputs: Inputs, now: Callable[[], datetime]) -> None:
        self._api, self._terms, self._now = api, inputs.terms, now
        self._reason: str | None = None
        self._looked_at: dict[tuple[str, int | None], float] = {}  # a look clears its own kind of refusal only

    def reason(self, intent: Intent, refusal: ApiError) -> str | None:
        """Say why the run must end after this refusal; None when the refusal was about its user."""
        if (of_all := concerns_all(intent, refusal)) is not None:
            return of_all
        if intent.operation != "send_coupon" or refusal.numeric_code in _ABOUT_THE_USER or refusal.code == "USER_ERROR":
            return None
        kind, now = (refusal.code, refusal.numeric_code), time.monotonic()
        if self._reason is None and now - self._looked_at.get(kind, -_LOOK_SECONDS) >= _LOOK_SECONDS:
            self._looked_at[kind] = now
            try:
                offer = fetch_offer(self._api, self._terms.product_coupon_id, self._terms.stock_id, self._now())
            except WxCouponError:
                return None
            self._reason = offer.problem or (offer.spent() if offer.left == 0 else None)
        return self._reason


def _cells(outcome: Outcome) -> dict[str, Any]:
    """Write an outcome into the columns of a result; of a confirm that went wrong, that."""
    coupon, step = outcome.answer or {}, outcome.followed
    reason, told = outcome.reason, outcome
    if outcome.status == "unsent" and reason is None:
        reason = "it did not happen: no answer could be had; execute again"
    if step is not None and step.answer is not None:
        coupon = {**coupon, "coupon_state": step.answer.get("coupon_state")}
    elif step is not None:
        reason, told = f"sent, but not confirmed: {step.reason or step.error_message or step.status}", step
    return {
        "reason": reason,
        "coupon_code": coupon.get("coupon_code"),
        "coupon_state": coupon.get("coupon_state"),
        "receive_time": coupon.get("receive_time"),
        "error_code": told.error_code,
        "error_message": told.error_message,
        "request_id": told.request_id,
        "attempts": outcome.attempts,
    }


def _column(name: str, values: list[Any]) -> Any:
    if name == "attempts":
        return pd.array(values, dtype="Int64")
    if name in ("receive_time", "assigned_at"):
        times = pd.to_datetime(pd.Series(values, dtype=object), utc=True, format="ISO8601")
        return times.dt.tz_convert("Asia/Shanghai").astype(_TIME).array
    return pd.array(values, dtype="string")
