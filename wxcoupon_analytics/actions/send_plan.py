"""A plan of sends: what it shows, and its execution."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cached_property
from numbers import Integral

import pandas as pd

from wxcoupon_analytics.actions import plan_view
from wxcoupon_analytics.actions.execution import Execution
from wxcoupon_analytics.actions.journal import Journal
from wxcoupon_analytics.actions.runner import Runner, failures_allowed
from wxcoupon_analytics.actions.standing import Standing, assign, look_up, look_up_arms
from wxcoupon_analytics.actions.stock_checks import Offer, fetch_offer
from wxcoupon_analytics.actions.verdicts import ALREADY_SENT, BLOCKED, HELD_OUT, READY, Inputs, Verdicts, judge
from wxcoupon_analytics.api import Api
from wxcoupon_analytics.errors import ConfirmationError, ValidationError

_ARMS = (READY, ALREADY_SENT, HELD_OUT)
_OVERTAKEN = "this plan holds the user out, but another run of the campaign has begun to send to them"


class SendPlan:
    """What a send to an audience would do, made by :meth:`Actions.plan_sends`; it shows itself.

    Attributes
    ----------
    rows : DataFrame
        The audience, then ``send_request_no``, ``status`` and ``reason``: see :meth:`Actions.plan_sends`.
    summary : Series
        What the plan shows, by name: ``summary["ready"]`` and so on. Counts of rows (``rows``, ``ready``, ``blocked``,
        ``held_out``, ``already_sent``); ``total_left``, ``daily_left`` and ``codes_left`` of the stock before, and
        ``…_after`` (coupons; None where there is no such limit); ``discount_fen`` a coupon with its ``discount_basis``,
        and ``face_value_fen`` of all that are ready (a ceiling for ``fixed`` and ``price_difference``, a floor for
        ``at_threshold``, None when unknown); ``seconds`` at the rate limit.
    reasons : DataFrame
        How many ``rows`` (Int64) have each ``status`` and ``reason`` (string), most first.
    strata : DataFrame
        With ``stratify``: how many rows of each group are ``ready``, ``already_sent`` and ``held_out`` (Int64), and the
        ``held_out_share`` of these. ``lopsided_strata`` names the groups in which one arm is empty.
    """

    def __init__(
        self,
        api: Api,
        journal: Journal,
        runner: Runner,
        now: Callable[[], datetime],
        *,
        frame: pd.DataFrame,
        inputs: Inputs,
        strata: Sequence[str],
        is_confirming: bool,
    ) -> None:
        self._api, self._journal, self._runner, self._now = api, journal, runner, now
        self._frame, self._inputs, self._strata = frame, inputs, list(strata)
        self._is_confirming = is_confirming
        _, self._offer, self._verdicts = self._judged()
        self.rows = self._rows()

    @cached_property
    def summary(self) -> pd.Series:
        """What the plan comes to, number by number."""
        offer, counts = self._offer, self._verdicts.counts()
        ready, fresh = counts[READY], len(self._verdicts.fresh)
        terms = self._inputs.terms
        left = {"total": offer.total_left, "daily": offer.daily_left, "codes": offer.codes_left}
        return pd.Series(
            {
                "campaign": terms.campaign,
                "name": offer.name,
                "product_coupon_id": terms.product_coupon_id,
                "stock_id": terms.stock_id,
                "stock_state": offer.stock.get("state"),
                "rows": len(self._frame),
                "ready": ready,
                "blocked": counts[BLOCKED],
                "held_out": counts[HELD_OUT],
                "already_sent": counts[ALREADY_SENT],
                **{f"{name}_left": count for name, count in left.items()},
                **{f"{name}_left_after": None if n is None else max(n - fresh, 0) for name, n in left.items()},
                "discount_fen": offer.discount_fen,
                "discount_basis": offer.discount_basis,
                "face_value_fen": None if offer.discount_fen is None else offer.discount_fen * ready,
                "seconds": ready / self._api.rate("send_coupon"),
                "confirms_coupons": self._is_confirming,
            },
            dtype=object,
            name="plan",
        )

    @cached_property
    def reasons(self) -> pd.DataFrame:
        """How many rows have each status and reason."""
        # Which row it is that came earlier is no reason of its own.
        told = self.rows["reason"].str.replace(r" \(row \d+\)$", "", regex=True)
        counts = pd.DataFrame({"status": self.rows["status"], "reason": told}).value_counts(dropna=False)
        frame = counts.rename("rows").reset_index().astype({"status": "string", "reason": "string", "rows": "Int64"})
        return frame.sort_values(["rows", "status", "reason"], ascending=[False, True, True], ignore_index=True)

    @cached_property
    def strata(self) -> pd.DataFrame:
        """How many rows of each stratum are in each arm."""
        statuses = self.rows["status"].to_numpy()
        arms = pd.DataFrame({name: self._frame[name].array for name in self._strata})
        arms = arms.assign(**{status: statuses == status for status in _ARMS})
        if not self._strata:
            return arms.iloc[:0].assign(held_out_share=pd.Series(dtype="Float64"))
        counts = arms.groupby(self._strata, dropna=False, observed=True)[list(_ARMS)].sum().astype("Int64")
        return counts.assign(held_out_share=counts[HELD_OUT] / counts.sum(axis="columns")).reset_index()

    @property
    def lopsided_strata(self) -> list[str]:
        """The strata in which an arm is empty."""
        if self._inputs.holdout == 0 or not self._strata:
            return []
        counts = self.strata
        lopsided = (counts[READY] + counts[ALREADY_SENT] == 0) != (counts[HELD_OUT] == 0)
        return [", ".join(map(str, group)) for group in counts.loc[lopsided, self._strata].itertuples(index=False)]

    def count_due(self, *, retry_failed: bool = False) -> int:
        """How many coupons :meth:`execute` with the same ``retry_failed`` is to send: the number to confirm."""
        return len(self._due(self._verdicts, retry_failed=retry_failed))

    def execute(
        self,
        *,
        confirm: int,
        show_progress: bool | None = None,
        max_failures: int | None = None,
        retry_failed: bool = False,
    ) -> pd.DataFrame:
        """Send what is ready, up to the rate limit, each coupon once.

        The stock is looked at again first. The run ends itself when a limit is reached or the stock leaves SENDING (the
        rest is ``blocked``), when a refusal would meet every send (keys, rights, appid), or when too many have failed.
        Executing again, from this plan, a new one, another notebook or after a power cut, sends nothing twice: what an
        earlier run sent comes back ``already_sent``.

        Parameters
        ----------
        confirm : int
            The number of rows that are to be sent now, as the plan shows it; or that together with those an earlier run has
            settled, so that the same cell may be run again. Anything else is refused.
        show_progress : bool, optional
            None: only where someone is watching.
        max_failures : int, optional
            End the run when more sends than this have failed or stayed without an answer, each after its own repeats. By
            default 5 % of those to be sent, and at least 20.
        retry_failed : bool
            Also send to those whom an earlier run was refused for good; they count into ``confirm``.

        Returns
        -------
        DataFrame
            One row per audience row, in its order: the audience's columns, then

            =============== ===================== ====================================================================
            column          dtype                 meaning
            =============== ===================== ====================================================================
            send_request_no string                null without an openid
            status          string                ``sent``; ``already_sent``: an earlier run did; ``blocked``: not
                                                  attempted, or turned away by a limit; ``held_out``; ``failed``:
                                                  refused for good; ``unknown``: no answer could be had, execute
                                                  again: the same request number is used
            reason          string                why, where there is something to say
            coupon_code     string                of a sent coupon (where the audience's column stands, if it has one)
            coupon_state    string                as answered: CONFIRMING, or after the confirm what it became
            receive_time    datetime64[us,        when the user got it, by the platform's clock
                            Asia/Shanghai]
            error_code      string                of a refusal, of the send or of the confirm
            error_message   string
            request_id      string                the ``Request-ID`` of the answer
            attempts        Int64                 runs that have asked for it; 0 when none has
            assigned_at     datetime64[us,        only with a holdout: when the user was put into an arm, business time
                            Asia/Shanghai]
            =============== ===================== ====================================================================

        Raises
        ------
        ConfirmationError
            ``confirm`` is not the number. Nothing was sent.
        ValidationError
            ``max_failures`` is no number. Nothing was sent.
        JournalError
            The journal cannot be written. Nothing was sent.
        KeyboardInterrupt
            The Stop button. Within two seconds no request is being made any more; then it is raised again, with the frame as
            it stands as its ``result``: what was in flight is sent or ``unknown``.

        Notes
        -----
        With ``confirm_coupons`` each coupon is confirmed as soon as it is sent, a step of its own in the journal. One whose
        confirm was refused is looked at: if someone else has confirmed it in the meantime, it shows the state it has;
        otherwise it stays ``sent``, and ``reason`` says so.
        """
        if max_failures is not None and (
            isinstance(max_failures, bool) or not isinstance(max_failures, int) or max_failures < 0
        ):
            raise ValidationError(f"max_failures must be a whole number from 0, not {max_failures!r}. Nothing was sent")
        standing, _, now = self._judged()
        due = self._due(self._verdicts, retry_failed=retry_failed)
        settled = {row for row in due if now.statuses[row] == ALREADY_SENT or (row in now.refused and not retry_failed)}
        earlier = self._verdicts.counts()[ALREADY_SENT] + len(self._verdicts.refused - due)
        _check_confirmation(confirm, left=len(due - settled), planned=len(due), whole=len(due) + earlier)
        # What became possible since the plan was made is not in the number that was confirmed.
        chosen = due & self._due(now, retry_failed=retry_failed)
        arms, drawn = standing.arms, set[int]()
        if self._inputs.holdout > 0:
            drawn = self._verdicts.assigned & now.assigned
            users = {each: now.statuses[each.row] == HELD_OUT for each in self._inputs.asked if each.row in drawn}
            campaign, share, seed = self._inputs.terms.campaign, self._inputs.holdout, self._inputs.seed
            assign(self._journal, campaign, users, holdout=share, seed=seed, at=self._now())
            arms = look_up_arms(self._journal, self._inputs.terms, self._inputs.asked)
        verdicts = self._verdicts.updated(now, due)
        for row in (drawn - arms.keys() - due) | (set(verdicts.rows()) - chosen):
            verdicts.statuses[row], verdicts.reasons[row] = BLOCKED, _OVERTAKEN
        execution = Execution(
            self._api,
            self._inputs,
            frame=self._frame,
            records=standing.records,
            arms=arms,
            verdicts=verdicts,
            chosen=chosen,
            is_confirming=self._is_confirming,
            now=self._now,
        )
        if max_failures is None:
            max_failures = failures_allowed(len(chosen))
        return execution.carry_out(
            self._runner, max_failures=max_failures, retry_failed=retry_failed, show_progress=show_progress
        )

    def __repr__(self) -> str:
        return plan_view.text(self)

    def _repr_html_(self) -> str:
        return plan_view.html(self)

    def _judged(self) -> tuple[Standing, Offer, Verdicts]:
        """Hold every rule against the journal and the stock as they are now."""
        terms = self._inputs.terms
        standing = look_up(self._journal, terms, self._inputs.asked)
        offer = fetch_offer(self._api, terms.product_coupon_id, terms.stock_id, self._now())
        return standing, offer, judge(self._inputs, standing, offer)

    def _due(self, verdicts: Verdicts, *, retry_failed: bool) -> set[int]:
        return set(verdicts.rows()) | (verdicts.refused if retry_failed else set())

    def _rows(self) -> pd.DataFrame:
        numbers: list[str | None] = [None] * len(self._frame)
        for each in self._inputs.asked:
            numbers[each.row] = each.number
        return self._frame.assign(
            send_request_no=pd.array(numbers, dtype="string"),
            status=pd.array(self._verdicts.statuses, dtype="string"),
            reason=pd.array(self._verdicts.reasons, dtype="string"),
        )


def _check_confirmation(confirm: object, *, left: int, planned: int, whole: int) -> None:
    """Refuse any number but that of the sends that are left, with or without those that an earlier run has settled."""
    if isinstance(confirm, Integral) and not isinstance(confirm, bool) and confirm in (left, planned, whole):
        return
    raise ConfirmationError(
        f"this would send {left:,} coupons; to do it, pass confirm={left}, not {confirm!r}. Nothing was sent"
    )
