"""What the platform enforces when coupons are sent and handled: one function a rule.

The organic population goes through `may_send` like everybody else: whatever the box shows after a month of business was allowed
at the moment it happened.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from wxcoupon_analytics.sandbox import fields
from wxcoupon_analytics.sandbox.books import (
    API_ASSIGN,
    BUNDLE,
    CONFIRMING,
    DEACTIVATED,
    EFFECTIVE,
    EXPIRED,
    PAUSED,
    PENDING,
    SENDING,
    UPLOAD,
    WECHATPAY,
    Coupon,
    ProductCoupon,
    Stock,
    Tie,
)
from wxcoupon_analytics.sandbox.clock import quota_day
from wxcoupon_analytics.sandbox.fields import Body
from wxcoupon_analytics.sandbox.refusals import (
    APPID_NOT_BOUND,
    BAD_OPENID,
    NO_SUCH_COUPON,
    PARAM_INVALID,
    PARAM_OUT_OF_RANGE,
    PER_USER_LIMIT,
    RefusedError,
    invalid_request,
    not_found,
    param_error,
    state_forbids,
)
from wxcoupon_analytics.sandbox.refusals import (
    EXPIRED as EXPIRED_NUMBER,
)

DEFAULT_PAGE, LARGEST_PAGE = 20, 50
CLOCK_SLACK = 300  # seconds by which a till's clock may run ahead when it reports a use
_CODE = re.compile(r"[0-9A-Za-z_-]{1,40}")


def may_send(stock: Stock, openid: str, now: int) -> None:
    """Check the stock's state and its three limits: in total, this Beijing day, this user."""
    if stock.state_at(now) != SENDING:
        raise state_forbids("商品券批次不处于可发放状态")
    if len(stock.coupons) >= stock.max_count:
        raise invalid_request("商品券批次总预算不足,已达到发放次数总上限")
    if stock.max_count_per_day is not None and stock.sent_on(quota_day(now)) >= stock.max_count_per_day:
        raise invalid_request("商品券批次每日预算不足,已达到每日发放次数上限")
    if stock.max_count_per_user is not None and stock.held[openid] >= stock.max_count_per_user:
        raise invalid_request("用户已达到该批次的领取次数上限", numeric=PER_USER_LIMIT)
    if stock.code_mode == UPLOAD and not stock.pool:
        raise invalid_request("预上传的券Code已用完,请补充上传")


def not_in_a_bundle(product: ProductCoupon) -> None:
    """The stocks of a bundle are sent together, by another endpoint."""
    if product.usage_mode == BUNDLE:
        message = "usage_mode为PROGRESSIVE_BUNDLE的批次不可使用本接口,请使用【向用户发放商品券批次组API】"
        raise invalid_request(message)


def code_fits_the_mode(stock: Stock, code: object) -> str | None:
    """Return the code the coupon shall have, or None when the platform makes it.

    A code for an ``UPLOAD`` stock is forbidden by the page's text and present in the page's example: it is accepted and ignored.
    """
    if stock.code_mode == API_ASSIGN:
        if code is None:
            raise param_error("/coupon_code", "required: coupon_code_mode is API_ASSIGN")
        if not isinstance(code, str) or not is_code(code):
            raise param_error("/coupon_code", "1 to 40 digits, letters, _ and -", value=code)
        if code in stock.coupons:
            raise invalid_request("用户商品券Code已被使用", numeric=PARAM_INVALID)
        return code
    if stock.code_mode == WECHATPAY and code is not None:
        raise param_error("/coupon_code", "must be absent: coupon_code_mode is WECHATPAY", value=code)
    return None


def is_code(code: object) -> bool:
    """Say whether something can be a coupon code (券Code)."""
    return isinstance(code, str) and _CODE.fullmatch(code) is not None


def appid_is_bound(appid: str, bound: str) -> None:
    """The appid must be one the brand has bound."""
    if appid != bound:
        raise invalid_request("AppID未与该品牌绑定", numeric=APPID_NOT_BOUND)


def openid_is_of_the_appid(openid: str, foreign: frozenset[str]) -> None:
    """An openid means a user under one appid only; no form is required of it."""
    if openid in foreign:
        raise invalid_request("传入的OpenID不合法", numeric=BAD_OPENID)


def is_member(openid: str) -> bool:
    """Say whether a user is a member of the brand: two users in three, by the hash of the openid."""
    return hashlib.sha256(openid.encode()).digest()[0] % 3 != 0


def membership(body: Body, openid: str) -> str | None:
    """Return the member card of a member coupon, or None for an ordinary one."""
    info = fields.optional_mapping(body, "coupon_tag_info")
    if info is None:
        return None
    tags = fields.array(info, "coupon_tag_list", at="/coupon_tag_info", most=10)
    for tag in tags:
        if tag != "MEMBER":
            raise param_error("/coupon_tag_info/coupon_tag_list", "must be one of MEMBER", value=tag)
    if not tags:
        return None
    at = "/coupon_tag_info/member_tag_info"
    card = fields.text(fields.mapping(info, "member_tag_info", at="/coupon_tag_info"), "member_card_id", at=at)
    if not is_member(openid):
        raise RefusedError(403, "USER_ERROR", "用户不是该品牌的会员")
    return card


def held_coupon(stock: Stock, openid: str, code: str) -> Coupon:
    """Return the coupon if this user holds it."""
    coupon = stock.coupons.get(code)
    if coupon is None or coupon.openid != openid:
        raise not_found("用户商品券不存在", numeric=NO_SUCH_COUPON)
    return coupon


def held_bundle(tie: Tie | None, openid: str, stocks: Sequence[Stock]) -> Tie:
    """Return the user coupon bundle if this user holds it and it was sent from these stocks."""
    if tie is None or tie.coupons[0].openid != openid or tie.coupons[0].stock not in stocks:
        raise not_found("用户券组不存在", numeric=NO_SUCH_COUPON)
    return tie


def may_confirm(coupon: Coupon, now: int) -> None:
    """Only a coupon that waits for it can be confirmed."""
    _state_is(coupon, now, (CONFIRMING,), "用户商品券不处于待确认状态")


def may_use(coupon: Coupon, now: int) -> None:
    """Only an effective coupon can be used."""
    _state_is(coupon, now, (EFFECTIVE,), "用户商品券不处于已生效状态")


def may_return(coupon: Coupon, index: int) -> None:
    """Only a use that happened, and was not overtaken by a later one, can be taken back."""
    if coupon.deactivation is not None or coupon.delete_time is not None or coupon.uses[index].time is None:
        raise state_forbids("用户商品券不处于已核销状态")
    if index != coupon.next_round() - 1:
        raise state_forbids("多次优惠只能退回最近一次核销")


def may_confirm_bundle(tie: Tie, now: int) -> list[Coupon]:
    """Return the coupons of a bundle that wait to be confirmed; there must be one."""
    waiting = [coupon for coupon in tie.coupons if coupon.state_at(now) == CONFIRMING]
    if not waiting:
        raise state_forbids("用户券组不处于待确认状态")
    return waiting


def may_deactivate_bundle(tie: Tie, now: int) -> list[Coupon]:
    """Return the coupons of a bundle that can be deactivated; there must be one. Used ones stay used."""
    alive = [coupon for coupon in tie.coupons if coupon.state_at(now) in (CONFIRMING, PENDING, EFFECTIVE)]
    if not alive:
        raise state_forbids("用户券组当前状态不允许失效")
    return alive


def may_deactivate_coupon(coupon: Coupon, now: int) -> None:
    """A coupon that is used, gone or over cannot be deactivated."""
    _state_is(coupon, now, (CONFIRMING, PENDING, EFFECTIVE), "用户商品券当前状态不允许失效")


def _state_is(coupon: Coupon, now: int, allowed: tuple[str, ...], message: str) -> None:
    state = coupon.state_at(now)
    if state == EXPIRED:
        raise state_forbids("用户商品券已过期", numeric=EXPIRED_NUMBER)
    if state not in allowed:
        raise state_forbids(message)


def round_to_use(coupon: Coupon, index: int | None, now: int) -> int:
    """Return which round a use means; rounds come in order, and each opens an interval after the one before."""
    following = coupon.next_round()
    if index is not None and index != following:
        raise invalid_request("多次优惠索引不正确,应按顺序核销", numeric=PARAM_OUT_OF_RANGE)
    if now < coupon.uses[following].opens:
        raise state_forbids("未到多次优惠的使用间隔时间")
    return following


def round_to_return(coupon: Coupon, index: int | None) -> int:
    """Return which round a return means: the last one used, unless told."""
    if index is None:
        return max(coupon.next_round() - 1, 0)
    if not 0 <= index < len(coupon.uses):
        raise param_error("/sequential_coupon_index", "no such round", value=index, numeric=PARAM_OUT_OF_RANGE)
    return index


def use_time_is_credible(coupon: Coupon, index: int, at: int, now: int) -> None:
    """A coupon is used while it is valid, a round once it is open, and neither in the future, business time."""
    opens = max(coupon.valid_begin, coupon.uses[index].opens)
    if not opens <= at <= min(now + CLOCK_SLACK, coupon.valid_end):
        issue = "must lie within the coupon's validity and not after now"
        raise param_error("/use_time", issue, value=at, numeric=PARAM_OUT_OF_RANGE)


def an_order_is_named(order: Body | None, pay_score_order: Body | None) -> None:
    """A use belongs to an order: a payment's, or a pay-score service order's; one of them says which."""
    if not order and not pay_score_order:
        raise param_error("/associated_order_info", "required, unless associated_pay_score_order_info is given")


def may_deactivate_stock(stock: Stock, now: int) -> None:
    """Only a stock that is sending or paused can be deactivated."""
    if stock.state_at(now) not in (SENDING, PAUSED):
        raise state_forbids("商品券批次当前状态不允许失效,仅 SENDING 或 PAUSED 状态可失效")


def may_change_product(product: ProductCoupon) -> None:
    """What has been deactivated stays as it was."""
    if product.state == DEACTIVATED:
        raise state_forbids("商品券已失效,不能修改")


def may_change_stock(stock: Stock) -> None:
    """What has been deactivated stays as it was."""
    if stock.state == DEACTIVATED:
        raise state_forbids("商品券批次已失效,不能修改")


def takes_stores(stock: Stock) -> None:
    """Only a stock for particular stores (特定门店可用) has a list of them."""
    may_change_stock(stock)
    if stock.facts.get("store_scope") != "SPECIFIC":
        raise invalid_request("批次的可用门店范围(store_scope)不为SPECIFIC,无需关联门店")


def may_deactivate_product(product: ProductCoupon) -> None:
    """A product coupon ends once."""
    if product.state == DEACTIVATED:
        raise state_forbids("商品券已失效")


def page_size(given: str | None) -> int:
    """Return how many entities a page shall hold."""
    if given is None:
        return DEFAULT_PAGE
    if not (given.isdecimal() and len(given) < 4) or not 1 <= int(given) <= LARGEST_PAGE:
        raise param_error(
            "page_size",
            f"must be within 1 and {LARGEST_PAGE}",
            value=given,
            numeric=PARAM_OUT_OF_RANGE,
            message="分页大小超出限制,请根据接口文档调整到允许的范围",
            location="query",
        )
    return int(given)
