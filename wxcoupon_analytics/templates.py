"""Specs of product coupons to start from: one for every kind, in the shape of the documentation's create example.

Source: the request example 单券-全场-满减券 of 创建商品券 (https://pay.weixin.qq.com/doc/brand/), and the tables of that page for
the other kinds.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from wxcoupon_analytics.errors import ValidationError

SHANGHAI = ZoneInfo("Asia/Shanghai")
_VALID_DAYS = 60
_USES = 3
_KINDS = (("ALL", "NORMAL"), ("ALL", "DISCOUNT"), ("SINGLE", "NORMAL"), ("SINGLE", "DISCOUNT"), ("SINGLE", "EXCHANGE"))
_NAMES = {
    ("ALL", "NORMAL"): "请改名-满200减50",
    ("ALL", "DISCOUNT"): "请改名-满200打8折",
    ("SINGLE", "NORMAL"): "请改名-单品减50",
    ("SINGLE", "DISCOUNT"): "请改名-单品8折",
    ("SINGLE", "EXCHANGE"): "请改名-1元兑换",
}
_DISCOUNTS: dict[str, tuple[str, dict[str, int]]] = {
    "NORMAL": ("normal_coupon", {"threshold": 20_000, "discount_amount": 5_000}),
    "DISCOUNT": ("discount_coupon", {"threshold": 20_000, "percent_off": 20}),
    "EXCHANGE": ("exchange_coupon", {"threshold": 0, "exchange_price": 100}),
}
_IMAGE = "https://wxpaylogo.qpic.cn/wxpaylogo/xxxxx/xxx"
_APPID = "wx1234567890"


def template(name: str | None = None, *, now: datetime | None = None) -> dict[str, Any]:
    """Give the spec of a product coupon to edit, for ``client.actions.create_product_coupon``.

    Everything in it is a placeholder that is valid as it stands: say what it is called, what it is worth, how many there
    are and when it holds, and put in the addresses that ``client.api.upload_image`` gave and your own appids. Amounts are
    fen (分), ``percent_off`` 20 means 20 % off (八折). Codes are UPLOAD, as in the documentation's example: upload some
    with ``client.actions.upload_coupon_codes`` before sending, or set ``coupon_code_mode`` to WECHATPAY.

    Set the dates yourself before creating anything for good: these move with the day, and another spec is another
    product coupon.

    Parameters
    ----------
    name : str
        ``usage_mode``, ``scope`` and ``type``, as in ``"single_all_normal"``: usage modes ``single`` (单券),
        ``sequential`` (多次优惠) and ``progressive_bundle`` (多次优惠, newer pages); scopes and types ``all_normal`` (全场满减券),
        ``all_discount`` (全场折扣券), ``single_normal`` (单品满减券), ``single_discount`` (单品折扣券) and ``single_exchange``
        (单品兑换券).
    now : datetime, optional
        The coupons can be used from the midnight after it (Beijing time), for 60 days. Default: the present; for the
        embedded brand pass ``client.now()``.

    Returns
    -------
    dict
        A request body without its request number, each time a new one.

    Raises
    ------
    ValidationError
        There is no such template (the message lists all), or ``now`` is naive.

    Examples
    --------
    >>> import wxcoupon_analytics as wx
    >>> spec = wx.template("single_all_normal")
    >>> spec["single_usage_info"]
    {'normal_coupon': {'threshold': 20000, 'discount_amount': 5000}}
    >>> spec["display_info"]["name"] = "全场满100减10"
    >>> spec["single_usage_info"]["normal_coupon"] = {"threshold": 10000, "discount_amount": 1000}
    """
    if name not in _TEMPLATES:
        asked = "name one" if name is None else f"there is no template {name!r}"
        raise ValidationError(f"{asked}: {', '.join(_TEMPLATES)}")
    if now is not None and now.tzinfo is None:
        raise ValidationError(f"now must be an aware time, not {now!r}: pass client.now()")
    build, scope, kind = _TEMPLATES[name]
    today = (now or datetime.now(SHANGHAI)).astimezone(SHANGHAI).replace(hour=0, minute=0, second=0, microsecond=0)
    first = today + timedelta(days=1)
    period = {
        "available_begin_time": first.isoformat(),
        "available_end_time": (first + timedelta(days=_VALID_DAYS, seconds=-1)).isoformat(),
    }
    return build(scope, kind, period)


def _single(scope: str, kind: str, period: dict[str, Any]) -> dict[str, Any]:
    name, discount = _discount(kind)
    rule: dict[str, Any] = {
        "coupon_available_period": {
            **period,
            "available_days": 30,
            "wait_days_after_receive": 0,
            "weekly_available_period": {"day_list": ["MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY"]},
        }
    }
    info = {}
    if scope == "ALL":
        info["single_usage_info"] = {name: discount}
    else:
        rule[name] = discount
    return {**_head(scope, kind, "SINGLE"), **info, "stock": _stock(single_usage_rule=rule)}


def _sequential(scope: str, kind: str, period: dict[str, Any]) -> dict[str, Any]:
    return {
        **_head(scope, kind, "SEQUENTIAL"),
        "sequential_usage_info": {"type": "EQUAL", "count": _USES, "available_days": 30, "interval_days": 1},
        "stock": _stock(sequential_usage_rule=_each_use(kind, period)),
    }


def _progressive_bundle(scope: str, kind: str, period: dict[str, Any]) -> dict[str, Any]:
    return {
        **_head(scope, kind, "PROGRESSIVE_BUNDLE"),
        "progressive_bundle_usage_info": {"count": _USES, "interval_days": 1},
        "stock_bundle": _stock(progressive_bundle_usage_rule=_each_use(kind, {**period, "available_days": 30})),
    }


def _each_use(kind: str, period: dict[str, Any]) -> dict[str, Any]:
    name, _ = _discount(kind)
    return {"coupon_available_period": period, f"{name}_list": [_discount(kind)[1] for _ in range(_USES)]}


def _discount(kind: str) -> tuple[str, dict[str, int]]:
    name, discount = _DISCOUNTS[kind]
    return name, dict(discount)


def _head(scope: str, kind: str, usage_mode: str) -> dict[str, Any]:
    display: dict[str, Any] = {
        "name": _NAMES[scope, kind],
        "image_url": _IMAGE,
        "background_url": _IMAGE,
        "detail_image_url_list": [_IMAGE],
    }
    if scope == "SINGLE":
        display["original_price"] = 20_000
        choice = {"name": "请改单品名", "price": 20_000, "count": 1, "image_url": _IMAGE}
        display["combo_package_list"] = [{"name": "请改套餐名", "pick_count": 1, "choice_list": [choice]}]
    return {
        "scope": scope,
        "type": kind,
        "usage_mode": usage_mode,
        "display_info": display,
        "out_product_no": "PLEASE_CHANGE",
    }


def _stock(**usage_rule: dict[str, Any]) -> dict[str, Any]:
    return {
        "remark": "请改备注",
        "coupon_code_mode": "UPLOAD",
        "stock_send_rule": {"max_count": 100, "max_count_per_day": 10, "max_count_per_user": 1},
        **usage_rule,
        "usage_rule_display_info": {
            "coupon_usage_method_list": ["OFFLINE", "MINI_PROGRAM", "APP", "PAYMENT_CODE"],
            "mini_program_appid": _APPID,
            "mini_program_path": "/pages/index/product",
            "app_path": "pages/index/product",
            "usage_description": "请改使用说明",
            "coupon_available_store_info": {
                "description": "请改门店说明",
                "mini_program_appid": _APPID,
                "mini_program_path": "/pages/index/store-list",
            },
        },
        "coupon_display_info": {
            "code_display_mode": "QRCODE",
            "background_color": "Color010",
            "entrance_mini_program": {
                "appid": _APPID,
                "path": "/pages/index/product",
                "entrance_wording": "请改入口",
                "guidance_wording": "请改引导",
            },
            "entrance_official_account": {"appid": _APPID},
            "entrance_finder": {
                "finder_id": "gh_12345678",
                "finder_video_id": "UDFsdf24df34dD456Hdf34",
                "finder_video_cover_image_url": _IMAGE,
            },
        },
        "store_scope": "NONE",
        "notify_config": {"notify_appid": _APPID},
    }


_Build = Callable[[str, str, dict[str, Any]], dict[str, Any]]
_BUILDS: dict[str, _Build] = {
    "single": _single,
    "sequential": _sequential,
    "progressive_bundle": _progressive_bundle,
}
_TEMPLATES: dict[str, tuple[_Build, str, str]] = {
    f"{mode}_{scope}_{kind}".lower(): (build, scope, kind) for mode, build in _BUILDS.items() for scope, kind in _KINDS
}
