"""What is done with product coupons and stocks: created, ended."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from typing import Any

from wxcoupon_analytics.actions.intent import Intent, derive_request_no
from wxcoupon_analytics.actions.once import Once, not_texts, refuse
from wxcoupon_analytics.errors import ConfirmationError, ValidationError
from wxcoupon_analytics.wire.validation import ApiRuleWarning, check

Json = dict[str, Any]


class CatalogueActions(Once):
    """Creation and ends of product coupons and their stocks."""

    def create_product_coupon(self, spec: Mapping[str, Any], *, out_request_no: str | None = None) -> Json:
        """Create a product coupon with its first stock, or its first stock bundle (创建商品券).

        The request number is derived from the spec, so the same spec again gives the first product coupon again, whoever
        runs it and wherever; another spec is another product coupon. A number of your own ties the call to one product
        coupon whatever becomes of the spec: a changed spec under it is refused.

        Parameters
        ----------
        spec : mapping
            The request body: all five kinds of single use (NORMAL and DISCOUNT with scope ALL or SINGLE, EXCHANGE with
            SINGLE), SEQUENTIAL and PROGRESSIVE_BUNDLE. Start from :func:`~wxcoupon_analytics.template`. Amounts in fen.
        out_request_no : str, optional
            A number of your own (6–40 of ``[0-9A-Za-z_-]``); it may stand in the spec instead. Give one in a notebook that
            is kept: run again with another spec, dates that have moved for instance, it is refused and creates nothing.

        Returns
        -------
        dict
            The product coupon as the platform answered: ``product_coupon_id`` (keep it: no endpoint lists a brand's
            product coupons), ``state`` AUDITING, and in ``stock`` the first stock with its ``stock_id``, or in
            ``stock_bundle`` the first bundle with its stocks.

        Raises
        ------
        ValidationError
            The spec breaks a documented rule (all that is wrong is listed, each with its path), two request numbers
            contradict each other, or the number stands for another spec already. Nothing was sent.
        ApiError, TransportError, VerificationError
            As for :meth:`send_coupon`.

        Warns
        -----
        ApiRuleWarning
            The pages disagree on something in the spec.

        Examples
        --------
        >>> import wxcoupon_analytics as wx
        >>> with wx.Sandbox(population=False) as box, box.client() as client:
        ...     spec = wx.template("single_all_normal", now=client.now())
        ...     spec["display_info"]["name"] = "全场满200减50"
        ...     made = client.actions.create_product_coupon(spec)
        ...     again = client.actions.create_product_coupon(spec)
        >>> made["state"], again["product_coupon_id"] == made["product_coupon_id"]
        ('AUDITING', True)

        Notes
        -----
        Source: 创建商品券, ``POST product-coupons``.
        """
        return self._act(self._creation("create_product_coupon", {}, spec, out_request_no), lambda: None)

    def create_stock(
        self, product_coupon_id: str, spec: Mapping[str, Any], *, out_request_no: str | None = None
    ) -> Json:
        """Add a stock to a product coupon (添加商品券批次).

        The request number is derived from the product coupon and the spec: the same call again gives the first stock
        again. For a second stock that is the same in everything, give a number of your own.

        Parameters
        ----------
        product_coupon_id : str
            Of usage mode SINGLE or SEQUENTIAL; :meth:`create_stock_bundle` is for PROGRESSIVE_BUNDLE.
        spec : mapping
            The request body: ``{"stock": {…}}``, the stock as in a create request.
        out_request_no : str, optional
            A number of your own; it may stand in the spec instead.

        Returns
        -------
        dict
            The stock as the platform answered, ``state`` AUDITING.

        Raises
        ------
        ValidationError
            The stock breaks a documented rule, by itself or beside its product coupon (a discount that belongs into the
            other, as many discounts as uses, …), or as for :meth:`create_product_coupon`. Nothing was sent.
        ApiError, TransportError, VerificationError
            As for :meth:`send_coupon`.

        Examples
        --------
        >>> import wxcoupon_analytics as wx
        >>> with wx.Sandbox(population=False) as box, box.client() as client:
        ...     spec = wx.template("single_all_normal", now=client.now())
        ...     made = client.actions.create_product_coupon(spec)
        ...     more = {"stock": {**spec["stock"], "remark": "加推"}}
        ...     stock = client.actions.create_stock(made["product_coupon_id"], more)
        >>> stock["remark"], stock["stock_id"] != made["stock"]["stock_id"]
        ('加推', True)

        Notes
        -----
        Source: 添加商品券批次, ``POST product-coupons/{product_coupon_id}/stocks``.
        """
        return self._add("create_stock", product_coupon_id, spec, out_request_no)

    def create_stock_bundle(
        self, product_coupon_id: str, spec: Mapping[str, Any], *, out_request_no: str | None = None
    ) -> Json:
        """Add a bundle of stocks, one a use, to a PROGRESSIVE_BUNDLE product coupon (添加商品券批次组).

        Parameters
        ----------
        product_coupon_id : str
        spec : mapping
            The request body: ``{"stock_bundle": {…}}``, the bundle as in a create request.
        out_request_no : str, optional
            As for :meth:`create_stock`.

        Returns
        -------
        dict
            ``stock_bundle_id``, and in ``stock_list`` the stocks.

        Raises
        ------
        ValidationError, ApiError, TransportError, VerificationError
            As for :meth:`create_stock`.

        Examples
        --------
        >>> import wxcoupon_analytics as wx
        >>> with wx.Sandbox(population=False) as box, box.client() as client:
        ...     spec = wx.template("progressive_bundle_all_normal", now=client.now())
        ...     made = client.actions.create_product_coupon(spec)
        ...     more = {"stock_bundle": {**spec["stock_bundle"], "remark": "加推"}}
        ...     bundle = client.actions.create_stock_bundle(made["product_coupon_id"], more)
        >>> [stock["remark"] for stock in bundle["stock_list"]]
        ['加推', '加推', '加推']

        Notes
        -----
        Source: 添加商品券批次组, ``POST product-coupons/{product_coupon_id}/stock-bundles``.
        """
        return self._add("create_stock_bundle", product_coupon_id, spec, out_request_no)

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

        Examples
        --------
        >>> import wxcoupon_analytics as wx
        >>> with wx.Sandbox(population=False) as box, box.client() as client:
        ...     made = client.actions.create_product_coupon(wx.template("single_all_normal", now=client.now()))
        ...     stock_id = made["stock"]["stock_id"]
        ...     ids = made["product_coupon_id"], stock_id
        ...     _ = box.advance(hours=1)
        ...     ended = client.actions.deactivate_stock(*ids, reason="批次信息有误", confirm=stock_id)
        >>> ended["state"]
        'DEACTIVATED'

        Notes
        -----
        Source: 失效商品券批次, ``POST product-coupons/{product_coupon_id}/stocks/{stock_id}/deactivate``.
        """
        refuse(not_texts(product_coupon_id=product_coupon_id, stock_id=stock_id, reason=reason))
        if confirm != stock_id:
            raise ConfirmationError(
                f"deactivating a stock cannot be undone (coupons already sent stay valid); to do it, pass confirm={stock_id!r}"
            )
        path = {"product_coupon_id": product_coupon_id, "stock_id": stock_id}
        return self._end("stock", path, reason, endable=("SENDING", "PAUSED"))

    def deactivate_product_coupon(self, product_coupon_id: str, *, reason: str, confirm: str) -> Json:
        """End a product coupon and all of its stocks for good (失效商品券). Coupons already sent stay valid.

        Parameters
        ----------
        product_coupon_id : str
        reason : str
            Kept with the product coupon; 1–150 characters.
        confirm : str
            The ``product_coupon_id`` again.

        Returns
        -------
        dict
            The product coupon as the platform answered, ``state`` DEACTIVATED. Running the call again gives this result
            again.

        Raises
        ------
        ConfirmationError
            ``confirm`` is not the product coupon's id. Nothing was sent.
        ValidationError
            An argument is wrong, or the product coupon was deactivated by someone else. Nothing was sent.
        ApiError, TransportError, VerificationError
            As for :meth:`send_coupon`.

        Examples
        --------
        >>> import wxcoupon_analytics as wx
        >>> with wx.Sandbox(population=False) as box, box.client() as client:
        ...     made = client.actions.create_product_coupon(wx.template("single_all_normal", now=client.now()))
        ...     its_id = made["product_coupon_id"]
        ...     ended = client.actions.deactivate_product_coupon(its_id, reason="商品已下架", confirm=its_id)
        ...     stock = client.api.get_stock(its_id, made["stock"]["stock_id"])
        >>> ended["state"], stock["state"]
        ('DEACTIVATED', 'DEACTIVATED')

        Notes
        -----
        Source: 失效商品券, ``POST product-coupons/{product_coupon_id}/deactivate``.
        """
        refuse(not_texts(product_coupon_id=product_coupon_id, reason=reason))
        if confirm != product_coupon_id:
            raise ConfirmationError(
                "deactivating a product coupon ends all of its stocks with it and cannot be undone (coupons already sent "
                f"stay valid); to do it, pass confirm={product_coupon_id!r}"
            )
        return self._end("product_coupon", {"product_coupon_id": product_coupon_id}, reason)

    def _creation(self, operation: str, path: Mapping[str, str], spec: object, out_request_no: str | None) -> Intent:
        """Say what a spec means to create, and under which number."""
        if not isinstance(spec, Mapping):
            raise ValidationError(
                f"the spec is the request body as a dict, not {type(spec).__name__}. Nothing was sent"
            )
        body = _without_none(spec)
        if body.get("brand_id") == self._api.brand_id:  # that goes without saying
            del body["brand_id"]
        within = body.pop("out_request_no", None)
        if within is not None and out_request_no is not None and within != out_request_no:
            raise ValidationError(
                f"the spec says out_request_no {within!r}, the argument {out_request_no!r}: give one. Nothing was sent"
            )
        number = within if out_request_no is None else out_request_no
        if number is None:
            # A service provider creates for many brands; whether their numbers are apart no page says.
            number = derive_request_no(operation, self._api.brand_id, *path.values(), _canonical(body))
        return Intent(operation, path, {"out_request_no": number, **body}, number)

    def _add(self, operation: str, product_coupon_id: str, spec: Mapping[str, Any], out_request_no: str | None) -> Json:
        refuse(not_texts(product_coupon_id=product_coupon_id))
        intent = self._creation(operation, {"product_coupon_id": product_coupon_id}, spec, out_request_no)

        def fits_its_product_coupon() -> None:
            # Only what can never change is held against it: a product coupon that has ended since may have taken this
            # stock before, and then the platform gives the first result again.
            coupon = self._api.get_product_coupon(product_coupon_id)
            problems = _problems_beside(coupon, intent.body)
            if problems:
                lines = "\n- ".join(problems)
                raise ValidationError(
                    f"{operation}: product coupon {product_coupon_id} is {coupon.get('usage_mode')}, "
                    f"{coupon.get('scope')}, {coupon.get('type')}, and nothing was sent\n- {lines}"
                )

        return self._act(intent, fits_its_product_coupon)

    def _end(self, what: str, path: Mapping[str, str], reason: str, endable: tuple[str, ...] | None = None) -> Json:
        """Deactivate a stock or a product coupon; ``endable`` are the states it can be ended in, None: any but the end."""
        operation, its_id = f"deactivate_{what}", path[f"{what}_id"]
        number = derive_request_no(operation, *path.values())
        intent = Intent(operation, path, {"out_request_no": number, "deactivate_reason": reason}, number)

        def check() -> Json | None:
            found = self._api.call(f"get_{what}", path)
            state = found.get("state")
            if state == "DEACTIVATED" and found.get("deactivate_request_no") == number:
                return found
            if state == "DEACTIVATED" or (endable and state not in endable):
                since = f" since {found['deactivate_time']}" if found.get("deactivate_time") else ""
                why = f" ({found['deactivate_reason']})" if found.get("deactivate_reason") else ""
                only = f": only one that is {' or '.join(endable)} can be deactivated" if endable else ""
                raise ValidationError(f"{what.replace('_', ' ')} {its_id} is {state}{since}{why}{only}")
            return None

        return self._act(intent, check)


def _problems_beside(product_coupon: Mapping[str, Any], body: Mapping[str, Any]) -> list[str]:
    """Hold a new stock or bundle against its product coupon, by the rules of creating both together."""
    together = {**product_coupon, **body}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ApiRuleWarning)
        try:
            check("create_product_coupon", {}, together, flavour="partner", strict_enums=False)
        except ValidationError as error:
            # What is wrong with the product coupon itself was accepted once, and is no reason now.
            return [problem for problem in error.problems if problem.startswith(("stock.", "stock:", "stock_bundle"))]
    return []


def _canonical(spec: Json) -> str:
    # What is no JSON is refused by the check that follows, which says where it stands.
    try:
        return json.dumps(spec, sort_keys=True, ensure_ascii=False, default=str)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValidationError(f"the spec is no JSON: {error}. Nothing was sent") from error


def _without_none(value: Any) -> Any:
    """Copy a spec without the fields that are None: they count as left out."""
    if isinstance(value, Mapping):
        return {name: _without_none(inner) for name, inner in value.items() if inner is not None}
    return [_without_none(inner) for inner in value] if isinstance(value, list | tuple) else value
