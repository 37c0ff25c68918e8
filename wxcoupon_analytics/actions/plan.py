"""A targeted send, planned: who is sent what, who is not and why, and what it can cost, before anything leaves."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real

from narwhals.typing import IntoFrame

from wxcoupon_analytics.actions.audience import read_audience, texts
from wxcoupon_analytics.actions.once import Once, not_texts, refuse
from wxcoupon_analytics.actions.send_plan import SendPlan
from wxcoupon_analytics.actions.standing import check_shares
from wxcoupon_analytics.actions.terms import Terms
from wxcoupon_analytics.actions.verdicts import Inputs, asked_of


class PlanActions(Once):
    """Sends to an audience: planned first, then executed."""

    def plan_sends(
        self,
        audience: IntoFrame,
        *,
        campaign: str,
        product_coupon_id: str,
        stock_id: str,
        appid: str,
        attach: str | None = None,
        member_card_id: str | None = None,
        confirm_coupons: bool = False,
        holdout: float = 0.0,
        stratify: str | Sequence[str] | None = None,
        seed: int = 0,
        copy: int = 1,
        allow_repeat: bool = False,
    ) -> SendPlan:
        """Plan to send each user of an audience one coupon. Nothing is sent, and nothing recorded.

        Everything that can be checked is: the stock's and the product coupon's state, the usage mode, the end of validity,
        the stock's total and daily limits (as the platform counts them at this moment), missing, empty and repeated
        openids, coupon codes, and what this journal knows: who has this coupon already, was refused it, got the stock
        under another campaign, or is held out. The limit per user counts coupons from anywhere, and no endpoint lists
        them: it is held against the journal only, so the platform may still refuse a user who got one elsewhere.

        Parameters
        ----------
        audience : frame
            One row a user, in the order in which limits are used up: pandas, Polars, PyArrow, DuckDB or PySpark, lazy or
            not. ``openid`` (text); for API_ASSIGN stocks ``coupon_code`` (text). Other columns are carried through.
        campaign : str
            What these sends belong to. With the stock, the openid and ``copy`` it is the identity of a send: the same
            plan, whoever runs it and however often, sends each user one coupon.
        product_coupon_id, stock_id, appid : str
        attach : str, optional
            At most 150 characters, given back in queries and notifications.
        member_card_id : str, optional
            Sends member coupons; each user must hold this membership card.
        confirm_coupons : bool
            Also confirm each coupon after it is sent. Without that it stays CONFIRMING, and unusable, until your own back
            end confirms it when it gets the SEND callback.
        holdout : float
            The share of users to hold out, 0 ≤ ``holdout`` < 1: who is below it in a hash of (``campaign``, ``seed``,
            ``openid``). Each user is drawn alone, so the number held out is itself random, and no change of the audience
            moves a user between arms. Drawn are those who would otherwise be sent to. :meth:`SendPlan.execute` records
            both arms; a user held out once is never sent anything by this campaign again, planned or single.
        stratify : str or list of str, optional
            Columns of the audience within whose groups arms are to be compared. Each group has the same share; the plan
            counts the arms of each, and warns of groups in which there is nothing to compare.
        seed : int
        copy : int
            Which of several coupons for the same user and campaign this is, from 1.
        allow_repeat : bool
            Whether users to whom the journal shows this stock sent under another campaign are sent it again.

        Returns
        -------
        SendPlan
            It shows itself. ``rows``: the audience as a pandas frame (a pandas audience keeps its index and dtypes), then

            =============== ======= ==================================================================================
            column          dtype   meaning
            =============== ======= ==================================================================================
            send_request_no string  the number the send has or would have; null without an openid
            status          string  ``ready``; ``blocked``; ``held_out``; ``already_sent``: an earlier run did
            reason          string  why it is blocked or held out, or what is special about it; else null
            =============== ======= ==================================================================================

        Raises
        ------
        ValidationError
            An argument is wrong, the audience is no frame, lacks ``openid``, has ids that are numbers, or a column of a
            name that the plan adds; or the campaign's arms were drawn with another share or seed.
        NotFoundError
            The brand has no such product coupon or stock.

        Examples
        --------
        >>> import pandas as pd
        >>> import wxcoupon_analytics as wx
        >>> with wx.Sandbox(seed=7) as box, box.client() as client:
        ...     stocks = client.fetch.stocks(box.truth("product_coupons")["product_coupon_id"], state="SENDING")
        ...     stock = stocks[stocks["coupon_code_mode"] == "WECHATPAY"].iloc[0]
        ...     audience = pd.DataFrame({"openid": ["new-1", "new-2", "new-1", None], "city": ["沪", "京", "沪", "深"]})
        ...     ids = dict(product_coupon_id=stock["product_coupon_id"], stock_id=stock["stock_id"], appid=box.appid)
        ...     plan = client.actions.plan_sends(audience, campaign="welcome", **ids)
        ...     result = plan.execute(confirm=2)
        ...     again = client.actions.plan_sends(audience, campaign="welcome", **ids).execute(confirm=0)
        >>> plan.rows[["city", "status", "reason"]]
          city   status                                            reason
        0    沪    ready                                              <NA>
        1    京    ready                                              <NA>
        2    沪  blocked  the same openid stands in an earlier row (row 0)
        3    深  blocked                             the openid is missing
        >>> result["status"].tolist(), again["status"].tolist()
        (['sent', 'sent', 'blocked', 'blocked'], ['already_sent', 'already_sent', 'blocked', 'blocked'])

        Notes
        -----
        Source: 向用户发放商品券, ``POST users/{openid}/coupons``.
        """
        terms = Terms(campaign, product_coupon_id, stock_id, appid, attach, member_card_id, copy)
        _check_arguments(terms, holdout=holdout, seed=seed, confirm_coupons=confirm_coupons, allow_repeat=allow_repeat)
        frame = read_audience(audience)
        strata = [stratify] if isinstance(stratify, str) else list(stratify or ())
        if unknown := [name for name in strata if name not in frame.columns]:
            refuse([f"the audience has no column {', '.join(map(repr, unknown))} to stratify by"])
        # One send stands for all where only the user differs: a wrong attach or appid ends here.
        sample = terms.send("openid", terms.number("openid"))
        self._api.question(sample.operation, sample.path, body=sample.body)
        if holdout > 0:
            check_shares(self._journal, campaign, holdout=float(holdout), seed=int(seed))

        openids, wrong = texts(frame["openid"])
        codes, wrong_codes = (
            texts(frame["coupon_code"]) if "coupon_code" in frame.columns else ([None] * len(frame), {})
        )
        asked = asked_of(terms, openids, codes, wrong)
        inputs = Inputs(terms, asked, openids, wrong, wrong_codes, float(holdout), int(seed), allow_repeat)
        return SendPlan(
            self._api,
            self._journal,
            self._runner,
            self._now,
            frame=frame,
            inputs=inputs,
            strata=strata,
            is_confirming=confirm_coupons,
        )


def _check_arguments(terms: Terms, *, holdout: object, seed: object, **flags: object) -> None:
    problems = not_texts(
        campaign=terms.campaign, product_coupon_id=terms.product_coupon_id, stock_id=terms.stock_id, appid=terms.appid
    )
    if terms.member_card_id is not None:
        problems += not_texts(member_card_id=terms.member_card_id)
    if isinstance(terms.copy, bool) or not isinstance(terms.copy, int) or terms.copy < 1:
        problems.append(f"copy must be a whole number from 1, not {terms.copy!r}")
    if isinstance(holdout, bool) or not isinstance(holdout, Real) or not 0 <= float(holdout) < 1:
        problems.append(f"holdout must be a share from 0 to below 1, not {holdout!r}")
    if isinstance(seed, bool) or not isinstance(seed, Integral) or not -(2**63) <= int(seed) < 2**63:
        problems.append(f"seed must be a whole number, not {seed!r}")
    problems += [
        f"{name} must be True or False, not {flag!r}" for name, flag in flags.items() if not isinstance(flag, bool)
    ]
    refuse(problems)
