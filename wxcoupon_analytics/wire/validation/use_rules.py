"""The tables and rules of what is done with stocks and coupons: end, fund, send, confirm, use, return.

Sources: the pages of the same names of https://pay.weixin.qq.com/doc/brand/ and
https://pay.weixin.qq.com/doc/v3/partner/. Confirming a coupon bundle (确认发放用户商品券(多次优惠)) has no page at hand; its
table is that of a single coupon by analogy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wxcoupon_analytics.wire.validation.create_rules import ID_ALPHABET, MAX_COUNT, OUT_REQUEST_NO
from wxcoupon_analytics.wire.validation.fields import (
    Check,
    Field,
    Findings,
    address,
    choice,
    disputed,
    entries,
    fen,
    has,
    join,
    list_of,
    message,
    optional,
    required,
    shown,
    text,
    time,
    whole,
)

_COUPON_CODE = text(1, 40, alphabet=ID_ALPHABET)
_ATTACH = text(0, 150)
_REASON = text(1, 150)
_SEND_REQUEST_NO = text(
    6, 128, alphabet=ID_ALPHABET, advised=40, why="the page of sending a coupon allows 128, one of sending a bundle 40"
)

# --- rules between fields --------------------------------------------------------------------------------------------


def _current_beside_target(body: Mapping[str, Any], path: str, found: Findings) -> None:
    """Hold a change of budget to one limit, with the value it is compared with beside the one it is set to."""
    pairs = {
        "MAX_COUNT": ("current_max_count", "target_max_count"),
        "MAX_COUNT_PER_DAY": ("current_max_count_per_day", "target_max_count_per_day"),
    }
    mode = body.get("update_mode")
    if not isinstance(mode, str) or mode not in pairs:
        return
    current, target = pairs[mode]
    if not has(body, target):
        found.wrong(join(path, target), f"is missing; update_mode {mode} sets it")
    if not has(body, current) and mode == "MAX_COUNT_PER_DAY":
        found.disputed(
            join(path, current), "is missing: right only for a stock that has no daily limit yet; no page says so"
        )
    elif not has(body, current):
        found.wrong(
            join(path, current), f"is missing; update_mode {mode} changes the limit only if this is its value now"
        )
    for other in (name for pair in pairs.values() if pair != pairs[mode] for name in pair):
        if has(body, other):
            found.wrong(
                join(path, other), f"does not belong to update_mode {mode}; one call changes one limit: make two calls"
            )


def _codes_are_distinct(body: Mapping[str, Any], path: str, found: Findings) -> None:
    seen: dict[str, int] = {}
    for index, code in enumerate(entries(body, "code_list")):
        if isinstance(code, str) and (first := seen.setdefault(code, index)) != index:
            found.disputed(
                join(path, f"code_list[{index}]"),
                f"{shown(code)} stands at [{first}] already: the answer has a list for duplicates, and no page allows them",
            )


def _member_coupons_name_their_card(tags: Mapping[str, Any], path: str, found: Findings) -> None:
    """当用户商品券标签列表中有 MEMBER 时提供会员标签信息."""
    is_member = "MEMBER" in entries(tags, "coupon_tag_list")
    if is_member and not has(tags, "member_tag_info"):
        found.wrong(join(path, "member_tag_info"), "is missing; coupon_tag_list has MEMBER: give member_card_id in it")
    if not is_member and has(tags, "member_tag_info"):
        found.disputed(
            join(path, "member_tag_info"),
            "stands without MEMBER in coupon_tag_list: one page ties them together, another lists them apart",
        )


def _use_names_an_order(body: Mapping[str, Any], path: str, found: Findings) -> None:
    """订单信息必须至少传入…: the sentence is cut off in the pages at hand, so an empty order is disputed, not wrong."""
    if not has(body, "associated_order_info"):
        found.disputed(
            join(path, "associated_order_info"),
            "is missing: the partner page asks for it, the brand's types do not say",
        )
    for name, ids in (
        ("associated_order_info", ("transaction_id", "out_trade_no")),
        ("associated_pay_score_order_info", ("order_id", "out_order_no")),
    ):
        if has(body, name) and not any(has(body[name], one) for one in ids):
            found.disputed(
                join(path, name), f"has neither {ids[0]} nor {ids[1]}: one page asks for one of them, another for none"
            )


# --- tables ----------------------------------------------------------------------------------------------------------

DEACTIVATE = message({"out_request_no": required(OUT_REQUEST_NO), "deactivate_reason": required(_REASON)})

UPDATE_BUDGET = message(
    {
        "out_request_no": required(OUT_REQUEST_NO),
        "update_mode": required(choice("MAX_COUNT", "MAX_COUNT_PER_DAY")),
        "current_max_count": optional(MAX_COUNT),
        "target_max_count": optional(MAX_COUNT),
        "current_max_count_per_day": optional(MAX_COUNT),
        "target_max_count_per_day": optional(MAX_COUNT),
    },
    _current_beside_target,
)

UPLOAD_CODES = message(
    {"out_request_no": required(OUT_REQUEST_NO), "code_list": required(list_of(_COUPON_CODE, least=1, most=200))},
    _codes_are_distinct,
)

STORES = message({"store_list": required(list_of(message({"store_id": required(text())}), least=1))})


def _coupon_tag_info(member_card_id: Field) -> Field:
    return optional(
        message(
            {
                "coupon_tag_list": optional(list_of(choice("MEMBER"))),
                "member_tag_info": optional(message({"member_card_id": member_card_id})),
            },
            _member_coupons_name_their_card,
        )
    )


_STOCK = {"product_coupon_id": required(text()), "stock_id": required(text()), "appid": required(text())}
_BUNDLE = {"product_coupon_id": required(text()), "stock_bundle_id": required(text()), "appid": required(text())}
_SENDING = {"send_request_no": required(_SEND_REQUEST_NO), "attach": optional(_ATTACH)}
_ACTING = {"out_request_no": required(OUT_REQUEST_NO)}

SEND = message(
    {
        **_STOCK,
        "coupon_code": optional(_COUPON_CODE),
        **_SENDING,
        "coupon_tag_info": _coupon_tag_info(
            disputed(text(), "required on the page of sending a bundle, optional on that of sending a coupon")
        ),
    }
)
SEND_BUNDLE = message({**_BUNDLE, **_SENDING, "coupon_tag_info": _coupon_tag_info(required(text()))})
PRE_SEND = message({**_STOCK, "coupon_code": optional(_COUPON_CODE), **_SENDING})
PRE_SEND_BUNDLE = message({**_BUNDLE, **_SENDING})
CONFIRM = message({**_STOCK, **_ACTING})
CONFIRM_BUNDLE = message({**_BUNDLE, **_ACTING})
DEACTIVATE_COUPON = message({**_STOCK, **_ACTING, "deactivate_reason": required(_REASON)})
DEACTIVATE_BUNDLE = message({**_BUNDLE, **_ACTING, "deactivate_reason": required(_REASON)})
RETURN = message({**_STOCK, **_ACTING, "sequential_coupon_index": optional(whole())})


def _order(*ids: str) -> Check:
    return message({name: optional(text()) for name in (*ids, "mchid", "sub_mchid")})


USE = message(
    {
        **_STOCK,
        **_ACTING,
        "use_time": required(time),
        "associated_order_info": optional(_order("transaction_id", "out_trade_no")),
        "associated_pay_score_order_info": optional(_order("order_id", "out_order_no")),
        "sequential_coupon_index": optional(whole()),
        "store_id": optional(text()),
        "saved_amount": optional(fen()),
    },
    _use_names_an_order,
)

SET_NOTIFY_CONFIG = message({"notify_url": required(address)})

# What is signed and sent as the part called meta, not the multipart body.
IMAGE_META = message({"filename": required(text()), "sha256": required(text(64, 64, alphabet="0-9A-Fa-f"))})
