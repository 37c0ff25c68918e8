"""The shapes of what requests bring into the books: which fields exist, and of which JSON type.

A request is cut to this shape before any rule looks at it. Fields the platform does not know are ignored, nulls count as absent, and
a value of the wrong type is refused by its name; so the books can hold nothing that an answer could not show.
"""

from __future__ import annotations

from typing import Any

from wxcoupon_analytics.sandbox.refusals import param_error

Shape = type | dict[str, Any] | list[Any]  # a leaf's type, an object's fields, or a list's one item shape

_NORMAL = {"threshold": int, "discount_amount": int}
_DISCOUNT = {"threshold": int, "percent_off": int}
_EXCHANGE = {"threshold": int, "exchange_price": int}
_MINI_PROGRAM = {"mini_program_appid": str, "mini_program_path": str}
_PERIOD: dict[str, Shape] = {
    "available_begin_time": str,
    "available_end_time": str,
    "available_days": int,
    "available_seconds": int,
    "wait_days_after_receive": int,
    "weekly_available_period": {
        "day_list": [str],
        "day_period_list": [{"begin_time": int, "end_time": int}],
    },
    "irregular_available_period_list": [{"begin_time": str, "end_time": str}],
}
_CHOICE = {"name": str, "price": int, "count": int, "image_url": str, **_MINI_PROGRAM}

_CHANGEABLE: dict[str, Shape] = {
    "remark": str,
    "usage_rule_display_info": {
        "coupon_usage_method_list": [str],
        **_MINI_PROGRAM,
        "app_path": str,
        "app_jump_type": str,
        "passcode_link": str,
        "usage_description": str,
        "coupon_available_store_info": {"description": str, **_MINI_PROGRAM},
    },
    "coupon_display_info": {
        "code_display_mode": str,
        "background_color": str,
        "entrance_mini_program": {"appid": str, "path": str, "entrance_wording": str, "guidance_wording": str},
        "entrance_official_account": {"appid": str},
        "entrance_finder": {"finder_id": str, "finder_video_id": str, "finder_video_cover_image_url": str},
    },
    "store_scope": str,
    "notify_config": {"notify_appid": str},
}
_STOCK_HEAD: dict[str, Shape] = {
    "remark": str,
    "coupon_code_mode": str,
    "stock_send_rule": {"max_count": int, "max_count_per_day": int, "max_count_per_user": int},
}
STOCK: dict[str, Shape] = {
    **_STOCK_HEAD,
    "single_usage_rule": {
        "coupon_available_period": _PERIOD,
        "normal_coupon": _NORMAL,
        "discount_coupon": _DISCOUNT,
        "exchange_coupon": _EXCHANGE,
    },
    "sequential_usage_rule": {
        "coupon_available_period": _PERIOD,
        "normal_coupon_list": [_NORMAL],
        "discount_coupon_list": [_DISCOUNT],
        "exchange_coupon_list": [_EXCHANGE],
        "special_first": bool,
    },
    **_CHANGEABLE,
}
STOCK_BUNDLE: dict[str, Shape] = {
    **_STOCK_HEAD,
    "progressive_bundle_usage_rule": {
        "coupon_available_period": _PERIOD,
        "normal_coupon_list": [_NORMAL],
        "discount_coupon_list": [_DISCOUNT],
        "exchange_coupon_list": [_EXCHANGE],
    },
    **_CHANGEABLE,
}
STOCK_CHANGES = _CHANGEABLE
DISPLAY: dict[str, Shape] = {
    "name": str,
    "image_url": str,
    "background_url": str,
    "detail_image_url_list": [str],
    "original_price": int,
    "combo_package_list": [{"name": str, "pick_count": int, "choice_list": [_CHOICE]}],
}
ORDER: dict[str, Shape] = {"transaction_id": str, "out_trade_no": str, "mchid": str, "sub_mchid": str}
PAY_SCORE_ORDER: dict[str, Shape] = {"order_id": str, "out_order_no": str, "mchid": str, "sub_mchid": str}
STORES: dict[str, Shape] = {"store_list": [{"store_id": str}]}
PRODUCT: dict[str, Shape] = {
    "scope": str,
    "type": str,
    "usage_mode": str,
    "single_usage_info": {"normal_coupon": _NORMAL, "discount_coupon": _DISCOUNT},
    "sequential_usage_info": {"type": str, "count": int, "available_days": int, "interval_days": int},
    "progressive_bundle_usage_info": {"count": int, "interval_days": int},
    "display_info": DISPLAY,
    "out_product_no": str,
    "stock": STOCK,
    "stock_bundle": STOCK_BUNDLE,
}
_WORDS = {str: "a string", int: "an integer", bool: "true or false"}


def fit(value: Any, shape: Shape, *, at: str = "") -> Any:
    """Cut a value to its shape, or refuse it by name."""
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            raise param_error(at, "must be an object", value=value)
        known = ((name, value[name], inner) for name, inner in shape.items() if value.get(name) is not None)
        return {name: fit(item, inner, at=f"{at}/{name}") for name, item, inner in known}
    if isinstance(shape, list):
        if not isinstance(value, list):
            raise param_error(at, "must be an array", value=value)
        return [fit(item, shape[0], at=f"{at}/{index}") for index, item in enumerate(value)]
    if not isinstance(value, shape) or (isinstance(value, bool) and shape is not bool):
        raise param_error(at, f"must be {_WORDS[shape]}", value=value)
    return value
