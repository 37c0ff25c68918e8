"""Actions one calls one at a time: checked before anything leaves, journaled, and safe to run again."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd

from wxcoupon_analytics.actions.intent import Intent, derive_request_no
from wxcoupon_analytics.actions.journal import Journal
from wxcoupon_analytics.api import Api
from wxcoupon_analytics.errors import ConfirmationError, JournalError, ValidationError, WxCouponError
from wxcoupon_analytics.wire.exchange import Doubt

# An attempt that was cut off may still be worked on behind a gateway for so long.
STILL_RUNNING = timedelta(minutes=10)


class Actions:
    """Sends and deactivations.

    Every action derives its request number from what is meant, so running a cell again returns the first result; the
    journal records the intent before the request leaves, and what came of it.
    """

    def __init__(self, api: Api, journal: Journal) -> None:
        self._api = api
        self._journal = journal

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
        problems = _not_texts(
            openid=openid, product_coupon_id=product_coupon_id, stock_id=stock_id, appid=appid, campaign=campaign
        )
        if isinstance(copy, bool) or not isinstance(copy, int) or copy < 1:
            problems.append(f"copy must be a whole number from 1, not {copy!r}")
        if member_card_id is not None:
            problems += _not_texts(member_card_id=member_card_id)
        _refuse(problems)
        number = send_request_no or derive_request_no("send_coupon", campaign, stock_id, openid, copy)
        optional = {
            "coupon_code": coupon_code,
            "attach": attach,
            "coupon_tag_info": member_card_id
            and {"coupon_tag_list": ["MEMBER"], "member_tag_info": {"member_card_id": member_card_id}},
        }
        body = {
            "product_coupon_id": product_coupon_id,
            "stock_id": stock_id,
            "appid": appid,
            "send_request_no": number,
            **{name: value for name, value in optional.items() if value is not None},
        }
        intent = Intent("send_coupon", {"openid": openid}, body, number, campaign, copy)

        def check() -> dict[str, Any] | None:
            stock = self._api.get_stock(product_coupon_id, stock_id)
            problems = _code_problems(stock.get("coupon_code_mode"), coupon_code)
            if stock.get("state") != "SENDING":
                # A journal of another machine may know what ours does not: ask the platform before refusing.
                for coupon in self._api.list_user_coupons(openid, appid=appid, stock_id=stock_id):
                    if coupon.get("send_request_no") == number:
                        return coupon
                problems.append(f"stock {stock_id} is {stock.get('state')}: coupons are sent only while it is SENDING")
            _refuse(problems)
            return None

        return self._act(intent, check)

    def deactivate_stock(self, product_coupon_id: str, stock_id: str, *, reason: str, confirm: str) -> dict[str, Any]:
        """End a stock for good (失效商品券批次). No new coupons can be had from it; those already sent stay valid.

        Parameters
        ----------
        product_coupon_id, stock_id : str
        reason : str
            Kept with the stock; 1–150 characters.
        confirm : str
            The ``stock_id`` again.

        Returns
        -------
        dict
            The stock as the platform answered, ``state`` DEACTIVATED. Running the call again gives this result again.

        Raises
        ------
        ConfirmationError
            ``confirm`` is not the stock's id. Nothing was sent.
        ValidationError
            An argument is wrong, or the stock is neither SENDING nor PAUSED. Nothing was sent.
        ApiError, TransportError, VerificationError
            As for :meth:`send_coupon`.
        """
        _refuse(_not_texts(product_coupon_id=product_coupon_id, stock_id=stock_id, reason=reason))
        if confirm != stock_id:
            raise ConfirmationError(
                f"deactivating a stock cannot be undone (coupons already sent stay valid); to do it, pass confirm={stock_id!r}"
            )
        number = derive_request_no("deactivate_stock", product_coupon_id, stock_id)
        path = {"product_coupon_id": product_coupon_id, "stock_id": stock_id}
        body = {"out_request_no": number, "deactivate_reason": reason}
        intent = Intent("deactivate_stock", path, body, number)

        def check() -> dict[str, Any] | None:
            stock = self._api.get_stock(product_coupon_id, stock_id)
            state = stock.get("state")
            if state == "DEACTIVATED" and stock.get("deactivate_request_no") == number:
                return stock
            if state not in ("SENDING", "PAUSED"):
                since = f" since {stock['deactivate_time']}" if stock.get("deactivate_time") else ""
                why = f" ({stock['deactivate_reason']})" if stock.get("deactivate_reason") else ""
                raise ValidationError(
                    f"stock {stock_id} is {state}{since}{why}: only a stock that is SENDING or PAUSED can be deactivated"
                )
            return None

        return self._act(intent, check)

    def journal(self) -> pd.DataFrame:
        """Give everything ever attempted under this brand, oldest first: the audit.

        Returns
        -------
        DataFrame
            One row per request number: ``operation``, ``campaign``, ``copy`` (Int64), ``request_no``, ``status`` (``done``;
            ``failed``: refused, or certain never to have left; ``unknown``: run it again), ``attempts`` (Int64), ``who``, ``started_at`` and ``ended_at``
            (datetime64[us, Asia/Shanghai], this machine's clock), ``intent`` (JSON text: path and body), ``error_code``,
            ``error_message``, ``request_id``.
        """
        return self._journal.frame()

    def _act(self, intent: Intent, check: Callable[[], dict[str, Any] | None]) -> dict[str, Any]:
        """Do what is meant once: the recorded result, else the checks, the intent made durable, the request, its outcome."""
        self._api.question(intent.operation, intent.path, body=intent.body)  # wrong arguments end here
        earlier = self._journal.look(intent.request_no)
        if earlier is None or earlier.status == "failed":
            found = check()
            earlier = self._journal.begin(intent)
        else:
            # What may have succeeded is asked again as it was: what would refuse a new one is no reason now.
            found = None
            if earlier.open_to(intent):
                earlier = self._journal.begin(intent)
        if earlier and earlier.status != "failed" and earlier.intent != intent.text:
            raise ValidationError(
                f"request number {intent.request_no} stands for another {intent.operation} already, whose outcome is "
                f"{earlier.status}: {intent.difference(earlier.intent)}. Nothing was sent"
            )
        if earlier and earlier.answer is not None:
            return earlier.answer
        doubt = Doubt.NONE
        if earlier and earlier.status == "unknown":
            doubt = Doubt.RECENT if datetime.now(UTC) - earlier.touched_at < STILL_RUNNING else Doubt.OLD
        try:
            answer = found or self._api.call(intent.operation, intent.path, body=intent.body, doubt=doubt)
        except WxCouponError as error:
            self._record(intent, error)
            raise
        self._record(intent, answer)
        return answer

    def _record(self, intent: Intent, outcome: dict[str, Any] | WxCouponError) -> None:
        """Write down what came of it; what came of it must not be lost because that fails."""
        try:
            self._journal.end(intent, outcome)
        except JournalError as error:
            done = "failed" if isinstance(outcome, WxCouponError) else "was done"
            # The same call again finds it unknown, and asks.
            warnings.warn(f"{intent.operation} {done}, but this could not be recorded: {error}", stacklevel=4)


def _not_texts(**values: object) -> list[str]:
    return [
        f"{name} must be a non-empty text, not {value!r}"
        for name, value in values.items()
        if not isinstance(value, str) or not value.strip()
    ]


def _code_problems(mode: object, coupon_code: str | None) -> list[str]:
    """Hold a coupon code against the stock's code mode (券Code分配模式)."""
    if mode == "API_ASSIGN" and coupon_code is None:
        return ["the stock is API_ASSIGN: each send needs a coupon_code of your own"]
    if mode == "WECHATPAY" and coupon_code is not None:
        return ["the stock is WECHATPAY: the platform makes the code, coupon_code must not be given"]
    if mode == "UPLOAD" and coupon_code is not None:
        # The page forbids it, the page's own example does it.
        warnings.warn(
            "the stock is UPLOAD: the platform takes a code you uploaded; coupon_code may be refused", stacklevel=5
        )
    return []


def _refuse(problems: list[str]) -> None:
    if problems:
        raise ValidationError("; ".join(problems) + ". Nothing was sent")
