"""How a plan shows itself: the numbers of its summary, in text and in a notebook."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from html import escape
from typing import Protocol

import pandas as pd

_KINDS_SHOWN = 12
_STATUS_NAMES = {
    "ready": "ready",
    "already_sent": "already sent",
    "held_out": "held out",
    "blocked": "blocked",
}


class Plan(Protocol):
    """What is shown of a plan."""

    @property
    def summary(self) -> pd.Series:
        """What it comes to, number by number."""

    @property
    def reasons(self) -> pd.DataFrame:
        """How many rows have each status and reason."""

    @property
    def strata(self) -> pd.DataFrame:
        """How many rows of each stratum are in each arm."""

    @property
    def lopsided_strata(self) -> list[str]:
        """The strata in which an arm is empty."""


def text(plan: Plan) -> str:
    """Show a plan as plain text."""
    return f"{outline(plan)}\n  → {_command(plan)}"


def outline(plan: Plan) -> str:
    """Show a plan as plain text, but for what carries it out, which is not a call in Python everywhere."""
    lines = list(_lines(plan))
    width = max(len(label) for label, _ in lines)
    return "\n".join([_title(plan), *(f"  {label:{width}}  {told}" for label, told in lines)])


def html(plan: Plan) -> str:
    """Show a plan in a notebook."""
    rows = "".join(
        f"<tr><th style='text-align:left'>{escape(label)}</th><td style='text-align:left'>{escape(told)}</td></tr>"
        for label, told in _lines(plan)
    )
    shares = {"held_out_share": "{:.1%}".format}
    strata = "" if plan.strata.empty else plan.strata.to_html(index=False, na_rep="", formatters=shares)
    return (
        f"<div><p><strong>{escape(_title(plan))}</strong></p><table>{rows}</table>{strata}"
        f"<pre>{escape(_command(plan))}</pre></div>"
    )


def _title(plan: Plan) -> str:
    told = plan.summary
    return f"Plan: send {told['name'] or 'a coupon without a name'} to {told['ready']:,} of {told['rows']:,} rows"


def _lines(plan: Plan) -> Iterator[tuple[str, str]]:
    told = plan.summary
    yield "campaign", str(told["campaign"])
    yield "stock", f"{told['stock_id']} of product coupon {told['product_coupon_id']}, {told['stock_state']}"
    shown = plan.reasons.head(_KINDS_SHOWN)
    for status, reason, rows in zip(shown["status"], shown["reason"], shown["rows"], strict=True):
        yield _STATUS_NAMES[status], f"{rows:,}" + ("" if pd.isna(reason) else f": {reason}")
    if (more := len(plan.reasons) - _KINDS_SHOWN) > 0:
        yield "…", f"and {more:,} more kinds: see plan.reasons"
    for name in ("total", "daily", "codes"):
        if told[f"{name}_left"] is not None:
            yield f"{name} quota", f"{told[f'{name}_left']:,} before, {told[f'{name}_left_after']:,} after"
    yield "face value", _cost(plan)
    about = f"about {timedelta(seconds=round(told['seconds']))}" if told["seconds"] >= 1 else "under a second"
    yield "duration", f"{about} at the rate limit"
    yield (
        "confirming",
        (
            "each coupon is confirmed right after it is sent"
            if told["confirms_coupons"]
            else "coupons arrive CONFIRMING and cannot be used until your back end confirms them (SEND callback); with "
            "confirm_coupons each is confirmed right after it is sent"
        ),
    )
    for group in plan.lopsided_strata:
        yield "stratum", f"{group}: one arm is empty, nothing can be compared there"


def _cost(plan: Plan) -> str:
    told = plan.summary
    if told["face_value_fen"] is None:
        return "not known: the discount of this stock cannot be told from its rules"
    bound = "at least" if told["discount_basis"] == "at_threshold" else "at most"
    each, total = (_yuan(told[name]) for name in ("discount_fen", "face_value_fen"))
    return f"{bound} {total} if all are used ({told['ready']:,} × {each}, {told['discount_basis']})"


def _command(plan: Plan) -> str:
    return f"result = plan.execute(confirm={plan.summary['ready']})"


def _yuan(fen: int) -> str:
    return f"¥{fen // 100:,}.{fen % 100:02}"
