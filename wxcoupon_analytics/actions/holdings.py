"""A frame of users' coupons, on each of which the same is to be done: who is ready, who is not and why, what came of it."""

from __future__ import annotations

import numbers
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import narwhals as nw
import pandas as pd
from narwhals.typing import IntoFrame

from wxcoupon_analytics.actions.intent import Intent, derive_request_no
from wxcoupon_analytics.actions.journal import Journal
from wxcoupon_analytics.actions.runner import Outcome, settled
from wxcoupon_analytics.actions.terms import confirmation
from wxcoupon_analytics.errors import ConfirmationError, ValidationError

IDS = ("openid", "appid", "product_coupon_id", "stock_id", "coupon_code")
_DID_NOT_HAPPEN = "it did not happen: no answer could be had; run it again"
STATES = ("CONFIRMING", "PENDING", "EFFECTIVE", "USED", "EXPIRED", "DELETED", "DEACTIVATED")


@dataclass(frozen=True, slots=True)
class Deed:
    """What is done to a coupon: the operation, the states it can be done in, and the words for it.

    ``request_no`` and ``time`` are the fields of a coupon that show it was done, ``stays`` says what it leaves.
    """

    operation: str
    done: str
    allowed: tuple[str, ...]
    request_no: str
    time: str
    stays: str


CONFIRM = Deed(
    "confirm_coupon",
    "confirmed",
    ("CONFIRMING",),
    "confirm_request_no",
    "confirm_time",
    "a confirmed coupon can be used by its holder, and cannot be unconfirmed",
)
DEACTIVATE = Deed(
    "deactivate_coupon",
    "deactivated",
    ("CONFIRMING", "PENDING", "EFFECTIVE"),
    "deactivate_request_no",
    "deactivate_time",
    "they are taken from their holders for good; stocks, and all other coupons, stay as they are",
)


def open_holdings(native: IntoFrame) -> pd.DataFrame:
    """Bring a frame of coupons here as pandas, once it has what names a coupon."""
    opened = nw.from_native(native, pass_through=True)
    if not isinstance(opened, nw.DataFrame | nw.LazyFrame):
        raise ValidationError(f"the coupons are a frame, not {type(native).__name__}. Nothing was sent")
    schema = opened.collect_schema()
    problems = []
    if missing := [name for name in IDS if name not in schema]:
        problems.append(f"the frame lacks {', '.join(missing)}: pass rows of store.load('user_coupons')")
    problems += [
        f"{name} is {schema[name]}, and ids read as numbers lose digits: read them as text"
        for name in IDS
        if name in schema and schema[name].is_numeric()
    ]
    if problems:
        raise ValidationError("; ".join(problems) + ". Nothing was sent")
    if isinstance(native, pd.DataFrame):
        return native
    # What the metadata says of list columns, pandas cannot read back.
    frame: pd.DataFrame = opened.lazy().collect("pyarrow").to_arrow().to_pandas(ignore_metadata=True)
    return frame


def count_bundled(frame: pd.DataFrame) -> int:
    """Count the coupons that came in a bundle (用户券组), where the frame says so."""
    name = "user_product_coupon_bundle_info_user_coupon_bundle_id"
    return int(frame[name].notna().sum()) if name in frame.columns else 0


class Holdings:
    """The rows of a frame with what is meant for each: an intent where there is something to do, else why there is not."""

    def __init__(
        self, frame: pd.DataFrame, deed: Deed, journal: Journal, *, retry_failed: bool, said: Mapping[str, str]
    ) -> None:
        self._frame = frame
        self._deed = deed
        texts = {name: _texts(frame, name) for name in (*IDS, "coupon_state", deed.request_no, deed.time)}
        self._states, self._times = texts["coupon_state"], texts[deed.time]
        self._intents = [
            _intent(deed, dict(zip(IDS, row, strict=True)), said)
            for row in zip(*(texts[name] for name in IDS), strict=True)
        ]
        self.ready: dict[int, Intent] = {}
        self._settled: dict[int, Outcome] = {}  # by earlier runs
        self._blocked: dict[int, str] = {}
        known = journal.known([intent.request_no for intent in self._intents if intent])
        seen: set[str] = set()
        for row, intent in enumerate(self._intents):
            if intent is None:
                lacking = [name for name in IDS if not texts[name][row]]
                self._blocked[row] = f"{', '.join(lacking)} must be a non-empty text"
                continue
            record, state = known.get(intent.request_no), self._states[row]
            status = record and record.status
            if intent.request_no in seen:
                self._blocked[row] = "the same coupon stands in an earlier row"
            elif record and (
                status == "done" or (status == "failed" and record.intent == intent.text and not retry_failed)
            ):
                # That it was done holds whatever was said with it, a reason for instance.
                self._settled[row] = settled(intent, replace(record, intent=intent.text))
            elif status == "unknown":
                # It may have happened: the state is no reason then, and asking again settles it.
                self.ready[row] = intent
            elif texts[deed.request_no][row] == intent.request_no:
                self._settled[row] = Outcome("already")
            elif state in STATES and state not in deed.allowed:
                self._blocked[row] = (
                    f"it is {state}: only a coupon that is {' or '.join(deed.allowed)} can be {deed.done}"
                )
            else:
                self.ready[row] = intent
            seen.add(intent.request_no)

    def check_confirmation(self, confirm: object) -> None:
        """Refuse unless the number of coupons to act on is given; those that earlier runs settled may be counted in."""
        count, before = len(self.ready), len(self._settled)
        is_number = isinstance(confirm, numbers.Integral) and not isinstance(confirm, bool)
        if is_number and confirm in (count, count + before):
            return
        rest = [f"{before} were settled by earlier runs"] if before else []
        rest += [f"{number} blocked, {why}" for why, number in Counter(self._blocked.values()).most_common()]
        raise ConfirmationError(
            f"{count} of {len(self._frame)} coupons would be {self._deed.done}"
            + (f" ({'; '.join(rest)})" if rest else "")
            + f": {self._deed.stays}. To do it, pass confirm={count}, not {confirm!r}. Nothing was sent"
        )

    def result(self, outcomes: Sequence[Outcome]) -> pd.DataFrame:
        """Give the frame with what came of each row; ``outcomes`` are those of the ready ones, in order."""
        came = self._settled | dict(zip(self.ready, outcomes, strict=True))
        time = self._deed.time
        columns = ["out_request_no", "status", "reason", "coupon_state", time]
        columns += ["error_code", "error_message", "request_id", "attempts"]
        rows = [self._row(row, came.get(row)) for row in range(len(self._frame))]
        table = pd.DataFrame(rows, columns=columns, index=self._frame.index, dtype="string")
        instants = pd.to_datetime(table[time], utc=True, format="ISO8601", errors="coerce")
        table[time] = instants.dt.tz_convert("Asia/Shanghai").astype(pd.DatetimeTZDtype("us", "Asia/Shanghai"))
        table["attempts"] = table["attempts"].astype("Int64")
        return pd.concat([self._frame.drop(columns=columns, errors="ignore"), table], axis=1)

    def _row(self, row: int, outcome: Outcome | None) -> tuple[str | None, ...]:
        intent, state, time = self._intents[row], self._states[row], self._times[row]
        number = intent.request_no if intent else None
        if outcome is None:
            return (number, "blocked", self._blocked[row], state, time, None, None, None, "0")
        if outcome.answer and (outcome.status == "done" or state is None or state in self._deed.allowed):
            # What the frame says of a coupon that was done before may be newer, if it says that it was done.
            state, time = outcome.answer.get("coupon_state"), outcome.answer.get(self._deed.time)
        return (
            number,
            self._status(outcome),
            outcome.reason or (_DID_NOT_HAPPEN if outcome.status == "unsent" else None),
            state,
            time,
            outcome.error_code,
            outcome.error_message,
            outcome.request_id,
            str(outcome.attempts),
        )

    def _status(self, outcome: Outcome) -> str:
        if outcome.status in ("not_started", "invalid", "differs") or (outcome.status == "unsent" and outcome.reason):
            return "blocked"
        words = {"done": self._deed.done, "already": f"already_{self._deed.done}", "unsent": "unknown"}
        return words.get(outcome.status, outcome.status)


def _intent(deed: Deed, ids: Mapping[str, str | None], said: Mapping[str, str]) -> Intent | None:
    named = {name: value for name, value in ids.items() if value is not None}
    if len(named) < len(ids):
        return None
    intent = confirmation(**named)
    if deed is CONFIRM:
        return intent
    number = derive_request_no(deed.operation, *(named[name] for name in ("stock_id", "openid", "coupon_code")))
    return replace(
        intent, operation=deed.operation, body={**intent.body, "out_request_no": number, **said}, request_no=number
    )


def _texts(frame: pd.DataFrame, name: str) -> list[str | None]:
    """Give a column's texts, times as RFC 3339, and None for whatever is neither."""
    if name not in frame.columns:
        return [None] * len(frame)
    column = frame[name].map(lambda at: at.isoformat(), na_action="ignore") if _is_time(frame[name]) else frame[name]
    return [value if isinstance(value, str) and value.strip() else None for value in column]


def _is_time(column: pd.Series[Any]) -> bool:
    return pd.api.types.is_datetime64_any_dtype(column.dtype)
