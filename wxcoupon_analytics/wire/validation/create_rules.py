"""The tables of what is created and changed: product coupons, stocks and stock bundles.

Every table is in the order of the documentation's pages. Sources: 创建商品券, 添加商品券批次, 添加商品券批次组 and 修改…
of https://pay.weixin.qq.com/doc/brand/ and https://pay.weixin.qq.com/doc/v3/partner/, and the request example
【单券-全场-满减券】 of 2025-12-02. "One page" in a warning is a page of the documentation that says more than these.
"""

from __future__ import annotations

from wxcoupon_analytics.wire.validation.between_fields import (
    COUPON_LISTS,
    COUPONS,
    as_many_discounts_as_rounds,
    bundle_has_its_usage_rule,
    day_periods_need_days,
    days_and_irregular_periods,
    discount_of_all_goods_is_in_the_product_coupon,
    discount_of_single_goods_is_in_the_stock,
    exchange_is_for_single_goods,
    one_kind,
    single_goods_have_price_and_package,
    stock_has_a_usage_rule,
    stock_of_the_mode,
    usage_info_of_the_mode,
    usage_methods_have_their_targets,
    validity_is_at_most_a_year,
    waiting_needs_days,
)
from wxcoupon_analytics.wire.validation.fields import (
    Check,
    Field,
    address,
    choice,
    disputed,
    fen,
    flag,
    in_order,
    list_of,
    message,
    optional,
    required,
    text,
    time,
    together,
    whole,
)

ID_ALPHABET = "0-9A-Za-z_-"
MAX_COUNT = whole(1, 100_000_000)
OUT_REQUEST_NO = text(6, 40, alphabet=ID_ALPHABET)

_DAY_SECONDS = 86_400
_MAX_ROUNDS = 15
_WEEK = ("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY")
_COLOURS = tuple(f"Color{n:03}" for n in range(10, 101, 10))
_ONE_PAGE_ASKS = "required on one page, optional on another"

_NORMAL_COUPON = message({"threshold": required(fen()), "discount_amount": required(fen(1))})
_DISCOUNT_COUPON = message({"threshold": required(fen()), "percent_off": required(whole(1, 99))})
_EXCHANGE_COUPON = message({"threshold": required(fen()), "exchange_price": required(fen())})

_COMBO_PACKAGE = message(
    {
        "name": required(text(advised=15, why="one page allows 15, the reference gives no limit")),
        "pick_count": required(whole(1)),
        "choice_list": required(
            list_of(
                message(
                    {
                        "name": required(text(advised=15, why="one page allows 15, the reference gives no limit")),
                        "price": required(fen()),
                        "count": required(
                            whole(1, advised=range(1, 100), why="one page allows 99, the reference gives no limit")
                        ),
                        "image_url": optional(address),
                        "mini_program_appid": optional(text()),
                        "mini_program_path": optional(text()),
                    }
                ),
                least=1,
                advised=99,
                why="one page allows 99, the reference gives no limit",
            )
        ),
    }
)

DISPLAY_INFO = message(
    {
        "name": required(text(3, 15, advised=12, why="the request example allows 12, the reference 15")),
        "image_url": required(address),
        "background_url": disputed(address, _ONE_PAGE_ASKS),
        "detail_image_url_list": optional(
            list_of(address, most=8, advised=6, why="the request example allows 6, the reference 8")
        ),
        "original_price": optional(fen()),
        "combo_package_list": optional(
            list_of(_COMBO_PACKAGE, advised=50, why="one page allows 50, the reference gives no limit")
        ),
    }
)

_WEEKLY_PERIOD = message(
    {
        "day_list": optional(list_of(choice(*_WEEK))),
        "day_period_list": optional(
            list_of(
                message(
                    {
                        "begin_time": required(whole(0, _DAY_SECONDS - 1)),
                        "end_time": required(whole(0, _DAY_SECONDS - 1)),
                    },
                    in_order("begin_time", "end_time", read=lambda value: value if type(value) is int else None),
                )
            )
        ),
    },
    day_periods_need_days,
)

_AVAILABLE_PERIOD = message(
    {
        "available_begin_time": required(time),
        "available_end_time": required(time),
        "available_days": optional(whole(1, 365)),
        "available_seconds": optional(whole(1, 365 * _DAY_SECONDS)),
        "wait_days_after_receive": optional(
            whole(0, 365, advised=range(31), why="one page allows 30, the reference gives no limit")
        ),
        "interval_days": optional(whole()),
        "weekly_available_period": optional(_WEEKLY_PERIOD),
        "irregular_available_period_list": optional(
            list_of(
                message({"begin_time": required(time), "end_time": required(time)}, in_order("begin_time", "end_time"))
            )
        ),
    },
    in_order("available_begin_time", "available_end_time"),
    validity_is_at_most_a_year,
    days_and_irregular_periods,
    waiting_needs_days,
)

_SINGLE_USAGE_RULE = message(
    {
        "coupon_available_period": required(_AVAILABLE_PERIOD),
        "normal_coupon": optional(_NORMAL_COUPON),
        "discount_coupon": optional(_DISCOUNT_COUPON),
        "exchange_coupon": optional(_EXCHANGE_COUPON),
    },
    one_kind(COUPONS, needed=False),
)

# A sequential rule and a bundle's rule have the same fields; special_first is missing from one of the bundle's types.
_ROUNDS_RULE = message(
    {
        "coupon_available_period": required(_AVAILABLE_PERIOD),
        "normal_coupon_list": optional(list_of(_NORMAL_COUPON, most=_MAX_ROUNDS)),
        "discount_coupon_list": optional(list_of(_DISCOUNT_COUPON, most=_MAX_ROUNDS)),
        "exchange_coupon_list": optional(list_of(_EXCHANGE_COUPON, most=_MAX_ROUNDS)),
        "special_first": optional(flag),
    },
    one_kind(COUPON_LISTS, needed=True),
)

_MINI_PROGRAM_PAIR = together(
    "mini_program_appid", "mini_program_path", why="one page wants both or neither, the others do not say"
)

_USAGE_RULE_DISPLAY_INFO = message(
    {
        "coupon_usage_method_list": required(
            list_of(choice("OFFLINE", "MINI_PROGRAM", "APP", "PAYMENT_CODE"), least=1)
        ),
        "mini_program_appid": optional(text()),
        "mini_program_path": optional(text()),
        "app_jump_type": optional(choice("H5", "PASSCODE_LINK", "USAGE_GUIDE")),
        "app_path": optional(text()),
        "passcode_link": optional(text()),
        "usage_description": disputed(text(0, 1000), _ONE_PAGE_ASKS),
        "coupon_available_store_info": optional(
            message(
                {
                    "description": disputed(
                        text(0, advised=1000, why="one page allows 1000, the reference gives no limit"), _ONE_PAGE_ASKS
                    ),
                    "mini_program_appid": optional(text()),
                    "mini_program_path": optional(text()),
                },
                _MINI_PROGRAM_PAIR,
            )
        ),
    },
    usage_methods_have_their_targets,
)


def _coupon_display_info(code_display_mode: Field) -> Check:
    return message(
        {
            "code_display_mode": code_display_mode,
            "background_color": optional(choice(*_COLOURS)),
            "entrance_mini_program": optional(
                message(
                    {
                        "appid": required(text()),
                        "path": required(text()),
                        "entrance_wording": required(
                            text(advised=5, why="one page allows 5, the reference gives no limit")
                        ),
                        "guidance_wording": disputed(
                            text(0, advised=6, why="one page allows 6, the reference gives no limit"), _ONE_PAGE_ASKS
                        ),
                    }
                )
            ),
            "entrance_official_account": optional(message({"appid": required(text())})),
            "entrance_finder": optional(
                message(
                    {
                        "finder_id": required(text()),
                        "finder_video_id": disputed(text(), _ONE_PAGE_ASKS),
                        "finder_video_cover_image_url": disputed(address, _ONE_PAGE_ASKS),
                    }
                )
            ),
        }
    )


_CODE_DISPLAY_MODE = choice("INVISIBLE", "BARCODE", "QRCODE")
_REMARK = optional(text(0, 60, advised=20, why="the reference allows 20, the request example 60"))
_NOTIFY_CONFIG = message({"notify_appid": disputed(text(), _ONE_PAGE_ASKS)})
_STORE_SCOPE = choice("NONE", "ALL", "SPECIFIC")


def _stock(coupon_code_mode: Check, max_count_per_user: Field) -> Check:
    """Build the table of a new stock or stock bundle; their pages differ in these two fields."""
    return message(
        {
            "remark": _REMARK,
            "coupon_code_mode": required(coupon_code_mode),
            "stock_send_rule": required(
                message(
                    {
                        "max_count": required(MAX_COUNT),
                        "max_count_per_day": optional(MAX_COUNT),
                        "max_count_per_user": max_count_per_user,
                    }
                )
            ),
            "single_usage_rule": optional(_SINGLE_USAGE_RULE),
            "sequential_usage_rule": optional(_ROUNDS_RULE),
            "progressive_bundle_usage_rule": optional(_ROUNDS_RULE),
            "usage_rule_display_info": required(_USAGE_RULE_DISPLAY_INFO),
            "coupon_display_info": required(_coupon_display_info(disputed(_CODE_DISPLAY_MODE, _ONE_PAGE_ASKS))),
            "store_scope": required(_STORE_SCOPE),
            "notify_config": disputed(_NOTIFY_CONFIG, _ONE_PAGE_ASKS),
        }
    )


_BUNDLE_CODE_MODE = choice(
    "WECHATPAY", "UPLOAD", doubtful={"API_ASSIGN": "the page of stock bundles leaves it out, the brand's types have it"}
)
_NEW_STOCK = _stock(choice("WECHATPAY", "UPLOAD", "API_ASSIGN"), disputed(whole(1, 100), _ONE_PAGE_ASKS))
_NEW_BUNDLE = _stock(_BUNDLE_CODE_MODE, required(whole(1, 100)))

CREATE_PRODUCT_COUPON = message(
    {
        "out_request_no": required(OUT_REQUEST_NO),
        "scope": required(
            choice("ALL", "SINGLE", doubtful={"CATEGORY": "one partner page lists it, the other pages do not"})
        ),
        "type": required(choice("NORMAL", "DISCOUNT", "EXCHANGE")),
        "usage_mode": required(choice("SINGLE", "SEQUENTIAL", "PROGRESSIVE_BUNDLE")),
        "single_usage_info": optional(
            message(
                {
                    "normal_coupon": optional(_NORMAL_COUPON),
                    "discount_coupon": optional(_DISCOUNT_COUPON),
                }
            )
        ),
        "sequential_usage_info": optional(
            message(
                {
                    "type": required(choice("INCREMENTAL", "EQUAL")),
                    "count": required(whole(1, _MAX_ROUNDS)),
                    "available_days": required(whole(3, 365)),
                    "interval_days": optional(whole(0, 7)),
                }
            )
        ),
        "progressive_bundle_usage_info": optional(
            message(
                {
                    "count": required(
                        whole(
                            1,
                            _MAX_ROUNDS,
                            advised=range(3, _MAX_ROUNDS + 1),
                            why="a request example asks for 3 at least, the reference does not",
                        )
                    ),
                    "interval_days": optional(whole(0, 7)),
                }
            )
        ),
        "display_info": required(DISPLAY_INFO),
        "out_product_no": optional(text(0, advised=40, why="one page allows 40, the reference gives no limit")),
        "stock": optional(_NEW_STOCK),
        "stock_bundle": optional(_NEW_BUNDLE),
    },
    exchange_is_for_single_goods,
    single_goods_have_price_and_package,
    usage_info_of_the_mode,
    discount_of_all_goods_is_in_the_product_coupon,
    discount_of_single_goods_is_in_the_stock,
    stock_of_the_mode,
    as_many_discounts_as_rounds,
)

UPDATE_PRODUCT_COUPON = message({"out_request_no": required(OUT_REQUEST_NO), "display_info": required(DISPLAY_INFO)})

CREATE_STOCK = message(
    {"out_request_no": required(OUT_REQUEST_NO), "stock": required(_NEW_STOCK)}, stock_has_a_usage_rule
)

CREATE_STOCK_BUNDLE = message(
    {"out_request_no": required(OUT_REQUEST_NO), "stock_bundle": required(_NEW_BUNDLE)}, bundle_has_its_usage_rule
)

# A stock and a stock bundle are changed by the same fields.
UPDATE_STOCK = message(
    {
        "out_request_no": required(OUT_REQUEST_NO),
        "remark": _REMARK,
        "usage_rule_display_info": optional(_USAGE_RULE_DISPLAY_INFO),
        "coupon_display_info": optional(_coupon_display_info(optional(_CODE_DISPLAY_MODE))),
        "notify_config": optional(_NOTIFY_CONFIG),
        "store_scope": optional(_STORE_SCOPE),
    }
)
