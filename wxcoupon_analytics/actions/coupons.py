"""What is done with users' coupons: sent, confirmed, taken away."""

from __future__ import annotations

import warnings
from typing import Any

import pandas as pd
from narwhals.typing import IntoFrame

from wxcoupon_analytics.actions.holdings import (
    CONFIRM,
    DEACTIVATE,
    Deed,
    Holdings,
    count_bundled,
    open_holdings,
)
from wxcoupon_analytics.actions.intent import derive_request_no
from wxcoupon_analytics.actions.once import Once, not_texts, refuse
from wxcoupon_analytics.actions.runner import concerns_all, failures_allowed
from wxcoupon_analytics.actions.terms import Terms, without_echoes
from wxcoupon_analytics.progress import bar
from wxcoupon_analytics.wire.validation import ApiRuleWarning


class CouponActions(Once):
    """Sends, confirmations and deactivations of users' coupons."""

    def send_coupon(
        self,
        openid: str,
        *,
        product_coupon_id: str,
        stock_id: str,
        appid: str,
        campaign: str = "single",
        copy: int = 1,
        send_request_no: str | None = None,
        coupon_code: str | None = None,
        attach: str | None = None,
        member_card_id: str | None = None,
    ) -> dict[str, Any]:
        """Send one coupon to one user (向用户发放商品券).

        The request number is derived from ``campaign``, ``stock_id``, ``openid`` and ``copy``: the same arguments again
        give the first result again, whoever runs them and wherever. To give the user another one, say ``copy=2``.

        Parameters
        ----------
        openid : str
            The user, under ``appid``.
        product_coupon_id, stock_id, appid : str
        campaign : str
            What this send belongs to; part of its identity.
        copy : int
            Which of several coupons for the same user and campaign this is, from 1.
        send_request_no : str, optional
            A number of your own instead (6–128 of ``[0-9A-Za-z_-]``).
        coupon_code : str, optional
            Required for API_ASSIGN stocks (1–40 of ``[0-9A-Za-z_-]``), an error for WECHATPAY stocks.
        attach : str, optional
            At most 150 characters, given back in queries and notifications.
        member_card_id : str, optional
            Sends a member coupon; the user must hold this membership card.

        Returns
        -------
        dict
            The user coupon as the platform answered: ``coupon_code``, ``coupon_state`` (CONFIRMING: unusable until
            confirmed), ``valid_begin_time``, ``valid_end_time``, ``send_request_no``, ….

        Raises
        ------
        ValidationError
            An argument is wrong, the stock is not SENDING, or this request number stands for another send already.
            Nothing was sent.
        ApiError
            The platform refused; ``hint`` says what is known of its reason.
        TransportError, VerificationError
            No answer that can be trusted. With ``maybe_executed`` the coupon may have been sent: run the same call again.

        Examples
        --------
        >>> import wxcoupon_analytics as wx
        >>> with wx.Sandbox(seed=7) as box, box.client() as client:
        ...     stocks = client.fetch.stocks(box.truth("product_coupons")["product_coupon_id"], state="SENDING")
        ...     stock = stocks[stocks["coupon_code_mode"] == "WECHATPAY"].iloc[0]
        ...     ids = dict(product_coupon_id=stock["product_coupon_id"], stock_id=stock["stock_id"], appid=box.appid)
        ...     first = client.actions.send_coupon("a-new-user", campaign="welcome", **ids)
        ...     again = client.actions.send_coupon("a-new-user", campaign="welcome", **ids)
        >>> first["coupon_state"], again["coupon_code"] == first["coupon_code"]
        ('CONFIRMING', True)
        """
        problems = not_texts(
            openid=openid, product_coupon_id=product_coupon_id, stock_id=stock_id, appid=appid, campaign=campaign
        )
        if isinstance(copy, bool) or not isinstance(copy, int) or copy < 1:
            problems.append(f"copy must be a whole number from 1, not {copy!r}")
        if member_card_id is not None:
            problems += not_texts(member_card_id=member_card_id)
        refuse(problems)
        terms = Terms(campaign, product_coupon_id, stock_id, appid, attach, member_card_id, copy)
        number = terms.number(openid) if send_request_no is None else send_request_no
        intent = terms.send(openid, number, coupon_code)

        def check() -> dict[str, Any] | None:
            stock = self._api.get_stock(product_coupon_id, stock_id)
            problems = _code_problems(stock.get("coupon_code_mode"), coupon_code)
            if stock.get("state") != "SENDING":
                # A journal of another machine may know what ours does not: ask the platform before refusing.
                for coupon in self._api.list_user_coupons(openid, appid=appid, stock_id=stock_id):
                    if coupon.get("send_request_no") == number:
                        return coupon
                problems.append(f"stock {stock_id} is {stock.get('state')}: coupons are sent only while it is SENDING")
            refuse(problems)
            return None

        return self._act(intent, check)

    def confirm_coupons(
        self,
        frame: IntoFrame,
        *,
        confirm: int,
        retry_failed: bool = False,
        max_failures: int | None = None,
        show_progress: bool | None = None,
    ) -> pd.DataFrame:
        """Confirm many users' coupons, so that they can be used (确认发放用户商品券).

        A coupon sent by API is CONFIRMING and unusable until someone confirms it, normally the brand's own back end when
        it is notified. Coupons are confirmed together up to the rate limit, each journaled before it is asked for; run the
        same call again after an interruption, and only what is left is asked for.

        Parameters
        ----------
        frame : frame of pandas, Polars, PyArrow, DuckDB or PySpark
            One row per coupon, with ``openid``, ``appid``, ``product_coupon_id``, ``stock_id`` and ``coupon_code`` (texts), as
            in ``store.load("user_coupons")``. A ``coupon_state`` other than CONFIRMING blocks its row; without the column, or
            where it is null, the platform says whether it can be.
        confirm : int
            How many coupons this confirms: the message of the :class:`ConfirmationError` says. Those that an earlier run
            did may be counted in, so that the same cell can run again.
        retry_failed : bool
            Whether to ask again for what the platform refused before.
        max_failures : int, optional
            End the run when more than so many have failed, the rest ``blocked``. Default: one in twenty, and at least 20.
        show_progress : bool, optional
            None: only where someone is watching.

        Returns
        -------
        DataFrame
            The frame's rows and columns as pandas, and then, in place of columns of the same name: ``out_request_no``,
            ``status`` (``confirmed``; ``already_confirmed``: by an earlier run; ``blocked``: not asked for, ``reason`` says why;
            ``failed``: refused; ``unknown``: no answer could be had, run it again), ``reason``, ``coupon_state`` (as last
            known), all string; ``confirm_time`` (datetime64[us, Asia/Shanghai]); ``error_code``, ``error_message``,
            ``request_id`` (string); ``attempts`` (Int64).

        Raises
        ------
        ValidationError
            The frame lacks a column, or has ids as numbers. Nothing was sent.
        ConfirmationError
            ``confirm`` is not the number of coupons to be confirmed. Nothing was sent.
        KeyboardInterrupt
            The Stop button: within two seconds no request is made any more. Its ``result`` is the frame as far as it came.

        Examples
        --------
        >>> import wxcoupon_analytics as wx
        >>> with wx.Sandbox(population=False) as box, box.client() as client:
        ...     spec = wx.template("single_all_normal", now=client.now())
        ...     spec["stock"]["coupon_code_mode"] = "WECHATPAY"
        ...     made = client.actions.create_product_coupon(spec)
        ...     _ = box.advance(days=1)
        ...     ids = dict(product_coupon_id=made["product_coupon_id"], stock_id=made["stock"]["stock_id"], appid=box.appid)
        ...     for openid in ("o-one", "o-two"):
        ...         _ = client.actions.send_coupon(openid, **ids)
        ...     coupons = client.fetch.user_coupons(["o-one", "o-two"], appid=box.appid)
        ...     result = client.actions.confirm_coupons(coupons, confirm=2)
        >>> result[["openid", "status", "coupon_state"]].to_numpy().tolist()
        [['o-one', 'confirmed', 'EFFECTIVE'], ['o-two', 'confirmed', 'EFFECTIVE']]

        Notes
        -----
        Source: 确认发放用户商品券, ``POST users/{openid}/coupons/{coupon_code}/confirm``.
        """
        return self._do_to_all(CONFIRM, open_holdings(frame), confirm, retry_failed, max_failures, show_progress)

    def deactivate_coupons(
        self,
        frame: IntoFrame,
        *,
        reason: str,
        confirm: int,
        retry_failed: bool = False,
        max_failures: int | None = None,
        show_progress: bool | None = None,
    ) -> pd.DataFrame:
        """Take many coupons from their holders, for good (失效用户商品券).

        Everything else is as for :meth:`confirm_coupons`.

        Parameters
        ----------
        frame : frame of pandas, Polars, PyArrow, DuckDB or PySpark
            As for :meth:`confirm_coupons`. A ``coupon_state`` of USED, EXPIRED, DELETED or DEACTIVATED blocks its row.
        reason : str
            Kept with each coupon; 1–150 characters.
        confirm : int
            How many coupons this takes away.
        retry_failed, max_failures, show_progress
            As for :meth:`confirm_coupons`.

        Returns
        -------
        DataFrame
            As :meth:`confirm_coupons`, with ``status`` ``deactivated``, ``already_deactivated``, ``blocked``, ``failed`` or
            ``unknown``, and ``deactivate_time`` instead of ``confirm_time``.

        Raises
        ------
        ValidationError, ConfirmationError, KeyboardInterrupt
            As :meth:`confirm_coupons`; also when the reason is empty or too long.

        Warns
        -----
        ApiRuleWarning
            Coupons belong to bundles, which the pages end as a whole, or do not speak of.

        Examples
        --------
        >>> import wxcoupon_analytics as wx
        >>> with wx.Sandbox(population=False) as box, box.client() as client:
        ...     spec = wx.template("single_all_normal", now=client.now())
        ...     spec["stock"]["coupon_code_mode"] = "WECHATPAY"
        ...     made = client.actions.create_product_coupon(spec)
        ...     _ = box.advance(days=1)
        ...     ids = dict(product_coupon_id=made["product_coupon_id"], stock_id=made["stock"]["stock_id"], appid=box.appid)
        ...     _ = client.actions.send_coupon("o-one", **ids)
        ...     coupons = client.fetch.user_coupons(["o-one"], appid=box.appid)
        ...     result = client.actions.deactivate_coupons(coupons, reason="发错人群", confirm=1)
        ...     again = client.actions.deactivate_coupons(coupons, reason="发错人群", confirm=1)
        >>> [*result["status"], *again["status"]]
        ['deactivated', 'already_deactivated']

        Notes
        -----
        Source: 失效用户商品券, ``POST users/{openid}/coupons/{coupon_code}/deactivate``.
        """
        refuse(not_texts(reason=reason))
        # The reason is the same for all: a wrong one ends here, and not with every row.
        anybody = {"openid": "-", "coupon_code": "-"}
        body = dict.fromkeys(("product_coupon_id", "stock_id", "appid"), "-")
        body |= {"out_request_no": derive_request_no("-"), "deactivate_reason": reason}
        self._api.question("deactivate_coupon", anybody, body=body)
        coupons = open_holdings(frame)
        if bundled := count_bundled(coupons):
            warnings.warn(
                f"{bundled} of these coupons belong to bundles: the partner page ends such by their bundle "
                "(client.api.deactivate_coupon_bundle), the brand's does not say; the platform may refuse them",
                ApiRuleWarning,
                stacklevel=2,
            )
        return self._do_to_all(
            DEACTIVATE, coupons, confirm, retry_failed, max_failures, show_progress, deactivate_reason=reason
        )

    def _do_to_all(
        self,
        deed: Deed,
        frame: pd.DataFrame,
        confirm: int,
        retry_failed: bool,
        max_failures: int | None,
        show_progress: bool | None,
        **said: str,
    ) -> pd.DataFrame:
        holdings = Holdings(frame, deed, self._journal, retry_failed=retry_failed, said=said)
        holdings.check_confirmation(confirm)
        with bar(len(holdings.ready), what=deed.done, show=show_progress) as progress:
            try:
                outcomes = self._runner.many(
                    list(holdings.ready.values()),
                    retry_failed=retry_failed,
                    max_failures=failures_allowed(len(holdings.ready)) if max_failures is None else max_failures,
                    halt=concerns_all,
                    keep=without_echoes,
                    tick=lambda _: progress.update(),
                )
            except BaseException as error:
                if (so_far := getattr(error, "outcomes", None)) is not None:
                    error.result = holdings.result(so_far)  # type: ignore[attr-defined]
                raise
        return holdings.result(outcomes)


def _code_problems(mode: object, coupon_code: str | None) -> list[str]:
    """Hold a coupon code against the stock's code mode (券Code分配模式)."""
    if mode == "API_ASSIGN" and coupon_code is None:
        return ["the stock is API_ASSIGN: each send needs a coupon_code of your own"]
    if mode == "WECHATPAY" and coupon_code is not None:
        return ["the stock is WECHATPAY: the platform makes the code, coupon_code must not be given"]
    if mode == "UPLOAD" and coupon_code is not None:
        # The page forbids it, the page's own example does it.
        warnings.warn(
            "the stock is UPLOAD: the platform takes a code you uploaded; coupon_code may be refused", stacklevel=6
        )
    return []
