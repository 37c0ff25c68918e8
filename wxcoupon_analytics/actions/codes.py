"""Codes of one's own, put into a stock's pool: a column of them, in batches, each once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import narwhals as nw
import pandas as pd
from narwhals.typing import IntoSeries

from wxcoupon_analytics.actions.intent import Intent, derive_request_no
from wxcoupon_analytics.actions.once import Once, not_texts, refuse
from wxcoupon_analytics.actions.runner import Outcome
from wxcoupon_analytics.errors import ApiError, ValidationError
from wxcoupon_analytics.progress import bar

# 单次最多可上传200个券Code.
BATCH = 200
_CODE = re.compile("[0-9A-Za-z_-]{1,40}")
_LISTED = 50
# Enough for 20 a second; more would only leave more codes unknown when it is interrupted.
_IN_FLIGHT = 12


class CodeActions(Once):
    """Uploads of coupon codes."""

    def upload_coupon_codes(
        self,
        product_coupon_id: str,
        stock_id: str,
        codes: IntoSeries | Iterable[str],
        *,
        retry_failed: bool = False,
        show_progress: bool | None = None,
    ) -> pd.DataFrame:
        """Put codes of your own into the pool of an UPLOAD stock (预上传券Code).

        Every code is checked before any leaves, and none is mended: what is wrong is said with its place. They go in
        batches of 200, the most that the API takes. A batch's request number is derived from its codes, so after an
        interruption the same call uploads what is missing, and a batch that was taken is not sent again. Sorting the column
        anew makes other batches; a code that is there already then says so, and does no harm.

        Parameters
        ----------
        product_coupon_id, stock_id : str
            A stock whose ``coupon_code_mode`` is UPLOAD.
        codes : series of pandas, Polars or PyArrow, or iterable of str
            Texts of 1–40 of ``[0-9A-Za-z_-]``, each once.
        retry_failed : bool
            Whether to send batches again that the platform refused before.
        show_progress : bool, optional
            None: only where someone is watching.

        Returns
        -------
        DataFrame
            One row per code, in order: ``coupon_code``, ``status`` (``uploaded``; ``already_there``: in this stock's pool, or
            sent from it; ``duplicate`` and ``failed``: the platform did not take it; ``unknown``: no answer could be had, run it
            again; ``blocked``: not sent), ``message`` (what was wrong), ``out_request_no``, ``request_id``, all string.

        Raises
        ------
        ValidationError
            A code is null, no text, of another alphabet, too long or there twice (all are listed, in full in
            ``problems``), or the stock is not UPLOAD. Nothing was sent.
        ApiError, TransportError, VerificationError
            The stock could not be looked at. What becomes of the batches stands in the frame.
        KeyboardInterrupt
            Its ``result`` is the frame as far as it came.

        Examples
        --------
        >>> import wxcoupon_analytics as wx
        >>> with wx.Sandbox(population=False) as box, box.client() as client:
        ...     made = client.actions.create_product_coupon(wx.template("single_all_normal", now=client.now()))
        ...     ids = made["product_coupon_id"], made["stock"]["stock_id"]
        ...     result = client.actions.upload_coupon_codes(*ids, ["SPRING-001", "SPRING-002"])
        ...     pool = client.api.get_stock(*ids)["coupon_code_count_info"]
        >>> result[["coupon_code", "status"]].to_numpy().tolist(), pool["available_count"]
        ([['SPRING-001', 'uploaded'], ['SPRING-002', 'uploaded']], 2)

        Notes
        -----
        Source: 预上传券Code, ``POST product-coupons/{product_coupon_id}/stocks/{stock_id}/upload-coupon-codes``.
        """
        refuse(not_texts(product_coupon_id=product_coupon_id, stock_id=stock_id))
        wanted = _checked(codes)
        path = {"product_coupon_id": product_coupon_id, "stock_id": stock_id}
        mode = self._api.get_stock(**path).get("coupon_code_mode")
        if mode != "UPLOAD":
            raise ValidationError(
                f"stock {stock_id} is {mode}: only an UPLOAD stock has a pool to put codes into. Nothing was sent"
            )
        batches = [_batch(path, wanted[start : start + BATCH]) for start in range(0, len(wanted), BATCH)]
        with bar(len(batches), what="batches of codes", show=show_progress) as progress:
            try:
                outcomes = self._runner.many(
                    batches,
                    retry_failed=retry_failed,
                    halt=_concerns_the_stock,
                    tick=lambda _: progress.update(),
                    in_flight=_IN_FLIGHT,
                )
            except BaseException as error:
                if (so_far := getattr(error, "outcomes", None)) is not None:
                    error.result = _result(batches, so_far)  # type: ignore[attr-defined]
                raise
        return _result(batches, outcomes)


def _checked(codes: IntoSeries | Iterable[str]) -> list[str]:
    """Give the codes as they are, or say everything that is wrong with them."""
    column: Any = nw.from_native(codes, allow_series=True, pass_through=True)
    if isinstance(column, nw.DataFrame | nw.LazyFrame | str | bytes | dict):
        raise ValidationError(f"codes are a column or a list of texts, not {type(codes).__name__}. Nothing was sent")
    values = column.to_list() if isinstance(column, nw.Series) else list(column)
    problems = []
    first: dict[str, int] = {}
    for place, value in enumerate(values):
        if not isinstance(value, str):
            what = "is null" if pd.api.types.is_scalar(value) and pd.isna(value) else f"is {value!r}, no text"
        elif _CODE.fullmatch(value) is None:
            what = f"{value!r} is not 1–40 of 0-9A-Za-z_-"
        elif first.setdefault(value, place) != place:
            what = f"{value!r} stands at [{first[value]}] already"
        else:
            continue
        problems.append(f"codes[{place}] {what}")
    if not values:
        problems.append("there are no codes")
    if problems:
        more = [f"… and {len(problems) - _LISTED} more"] if len(problems) > _LISTED else []
        lines = "\n- ".join([*problems[:_LISTED], *more])
        error = ValidationError(f"{len(problems)} of {len(values)} codes are wrong, nothing was sent\n- {lines}")
        error.problems = tuple(problems)
        raise error
    return values


def _batch(path: dict[str, str], codes: Sequence[str]) -> Intent:
    number = derive_request_no("upload_coupon_codes", *path.values(), *codes)
    return Intent("upload_coupon_codes", path, {"out_request_no": number, "code_list": list(codes)}, number)


def _concerns_the_stock(_: Intent, error: ApiError) -> str | None:
    """Say why the other batches would be refused too: all but a wrong parameter is about the stock or the caller."""
    return None if error.code == "PARAM_ERROR" else f"no batch would be taken now: {error}"


def _result(batches: Sequence[Intent], outcomes: Sequence[Outcome]) -> pd.DataFrame:
    rows = [
        (code, *came, batch.request_no, outcome.request_id)
        for batch, outcome in zip(batches, outcomes, strict=True)
        for code, came in _each_code(batch, outcome)
    ]
    columns = ["coupon_code", "status", "message", "out_request_no", "request_id"]
    return pd.DataFrame(rows, columns=columns, dtype="string")


def _each_code(batch: Intent, outcome: Outcome) -> list[tuple[str, tuple[str, str | None]]]:
    """Say of each code of a batch what came of it."""
    codes: list[str] = batch.body["code_list"]
    if outcome.answer is None:
        if outcome.status in ("not_started", "invalid", "differs"):
            status = "blocked"
        else:  # a refusal that ends the run is none for good: the next run asks again
            refused = outcome.status == "failed" or (outcome.status == "unsent" and outcome.reason)
            status = "failed" if refused else "unknown"
        return [(code, (status, outcome.reason or outcome.error_message)) for code in codes]
    came: dict[str, tuple[str, str | None]] = {}
    for field, status in (("duplicate_code_list", "duplicate"), ("already_exist_code_list", "already_there")):
        came |= dict.fromkeys(outcome.answer.get(field) or [], (status, None))
    for failed in outcome.answer.get("failed_code_list") or []:
        # A brand's answer says what is wrong with each, a partner's gives the codes alone.
        known = isinstance(failed, dict)
        came[failed["coupon_code"] if known else failed] = ("failed", failed.get("message") if known else None)
    came |= dict.fromkeys(outcome.answer.get("success_code_list") or [], ("uploaded", None))
    unsaid = ("unknown", "the answer does not name this code")
    return [(code, came.get(code, unsaid)) for code in codes]
