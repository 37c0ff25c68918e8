"""The create rules, each with a request that breaks exactly it, and the page's example that breaks none."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from .caller import Caller, product_request

# The request of the page 【单券-全场-满减券】, as the page shows it.
EXAMPLE: dict[str, Any] = {
    "out_request_no": "SINGLE_ALL_NORMAL_20250120_002",
    "scope": "ALL",
    "type": "NORMAL",
    "usage_mode": "SINGLE",
    "single_usage_info": {"normal_coupon": {"threshold": 20000, "discount_amount": 5000}},
    "display_info": {
        "name": "全场满200减50",
        "image_url": "https://wxpaylogo.qpic.cn/wxpaylogo/xxxxx/xxx",
        "background_url": "https://wxpaylogo.qpic.cn/wxpaylogo/xxxxx/xxx",
        "detail_image_url_list": ["https://wxpaylogo.qpic.cn/wxpaylogo/xxxxx/xxx"],
    },
    "out_product_no": "Product_1234567890",
    "stock": {
        "remark": "8月工作日有效批次",
        "coupon_code_mode": "UPLOAD",
        "stock_send_rule": {"max_count": 10000000, "max_count_per_day": 100000, "max_count_per_user": 1},
        "single_usage_rule": {
            "coupon_available_period": {
                "available_begin_time": "2025-08-01T00:00:00+08:00",
                "available_end_time": "2025-08-31T23:59:59+08:00",
                "available_days": 30,
                "wait_days_after_receive": 0,
                "weekly_available_period": {"day_list": ["MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY"]},
                "irregular_available_period_list": [
                    {"begin_time": "2025-08-15T00:00:00+08:00", "end_time": "2025-08-15T23:59:59+08:00"}
                ],
            }
        },
        "usage_rule_display_info": {
            "coupon_usage_method_list": ["OFFLINE", "MINI_PROGRAM", "APP", "PAYMENT_CODE"],
            "mini_program_appid": "wx1234567890",
            "mini_program_path": "/pages/index/product",
            "app_path": "pages/index/product",
            "usage_description": "工作日可用",
            "coupon_available_store_info": {
                "description": "所有门店可用,可使用小程序查看门店列表",
                "mini_program_appid": "wx1234567890",
                "mini_program_path": "/pages/index/store-list",
            },
        },
        "coupon_display_info": {
            "code_display_mode": "QRCODE",
            "background_color": "Color010",
            "entrance_mini_program": {
                "appid": "wx1234567890",
                "path": "/pages/index/product",
                "entrance_wording": "欢迎选购",
                "guidance_wording": "获取更多优惠",
            },
            "entrance_official_account": {"appid": "wx1234567890"},
            "entrance_finder": {
                "finder_id": "gh_12345678",
                "finder_video_id": "UDFsdf24df34dD456Hdf34",
                "finder_video_cover_image_url": "https://wxpaylogo.qpic.cn/wxpaylogo/xxxxx/xxx",
            },
        },
        "store_scope": "NONE",
        "notify_config": {"notify_appid": "wx4fd12345678"},
    },
}
_ITEM = {"name": "美式", "price": 2_000, "count": 1}
PERIOD = "stock.single_usage_rule.coupon_available_period"
WEEKLY = f"{PERIOD}.weekly_available_period"
USAGE = "stock.usage_rule_display_info"


def single_item(kind: str, rule: dict[str, Any]) -> dict[str, Any]:
    """A single-item coupon of a type, its rule in the stock."""
    body = product_request("REPLACED")
    del body["single_usage_info"]
    body |= {"scope": "SINGLE", "type": kind}
    packages = [{"name": "任选", "pick_count": 1, "choice_list": [_ITEM]}]
    body["display_info"] |= {"original_price": 2_000, "combo_package_list": packages}
    name = {"NORMAL": "normal_coupon", "DISCOUNT": "discount_coupon", "EXCHANGE": "exchange_coupon"}[kind]
    body["stock"]["single_usage_rule"][name] = rule
    return body


def sequential() -> dict[str, Any]:
    body = product_request("REPLACED")
    del body["single_usage_info"]
    body |= {"usage_mode": "SEQUENTIAL", "sequential_usage_info": {"type": "EQUAL", "count": 2, "available_days": 9}}
    rule = body["stock"].pop("single_usage_rule")
    rule["normal_coupon_list"] = [{"threshold": 10, "discount_amount": 1}] * 2
    body["stock"]["sequential_usage_rule"] = rule
    return body


BASES = {
    "page": EXAMPLE,
    "item": single_item("NORMAL", {"threshold": 0, "discount_amount": 100}),
    "exchange": single_item("EXCHANGE", {"threshold": 0, "exchange_price": 990}),
    "percent": single_item("DISCOUNT", {"threshold": 0, "percent_off": 30}),
    "rounds": sequential(),
}
GONE = object()
CARD = "stock.coupon_display_info"


def changed(base: str, **changes: Any) -> dict[str, Any]:
    body = copy.deepcopy(BASES[base])
    for path, value in changes.items():
        *folders, name = path.split(".")
        place = body
        for folder in folders:
            place = place[folder]
        if value is GONE:
            del place[name]
        else:
            place[name] = value
    return body


@pytest.mark.parametrize("base", BASES)
def test_a_good_request_of_each_kind_is_accepted_and_comes_back(caller: Caller, base: str) -> None:
    body = {**BASES[base], "out_request_no": caller.new_number()}
    reply = caller.post("product-coupons", body)
    assert reply.status == 200, reply.json
    answer = reply.json
    stock = answer.pop("stock")
    for name in ("product_coupon_id", "state"):
        assert answer.pop(name)
    assert answer == {name: value for name, value in body.items() if name not in ("out_request_no", "stock")}
    assert {name: stock[name] for name in body["stock"]} == body["stock"]
    assert caller.post("product-coupons", body).body == reply.body
    other = {**body, "out_product_no": "Another"}
    assert caller.post("product-coupons", other).json["code"] == "INVALID_REQUEST"


WORDS = [
    ("page", {"type": "EXCHANGE"}, "兑换券仅支持单品券"),
    ("page", {"single_usage_info": GONE}, "全场券需要提供「单券模式信息(single_usage_info)」"),
    ("page", {"single_usage_info": {}}, "全场满减券应在商品券中提供满减券使用规则信息"),
    ("page", {"type": "DISCOUNT"}, "全场折扣券应在商品券中提供折扣券使用规则信息"),
    (
        "page",
        {"stock.single_usage_rule.normal_coupon": {"threshold": 1, "discount_amount": 1}},
        "应该在「单券使用规则」中",
    ),
    ("page", {WEEKLY: {"day_period_list": [{"begin_time": 60, "end_time": 120}]}}, "每周可用星期数(day_list)必填"),
    ("page", {f"{USAGE}.mini_program_appid": GONE}, "必须提供「小程序AppID」"),
    ("page", {f"{USAGE}.mini_program_path": ""}, "必须提供「小程序跳转路径」"),
    ("page", {f"{USAGE}.app_path": GONE}, "必须提供「APP跳转路径」"),
    ("item", {"display_info.original_price": GONE}, "单品券必须提供商品原价,请补充"),
    ("item", {"display_info.combo_package_list": []}, "单品券必须提供商品券套餐组合信息,请补充"),
    (
        "item",
        {"single_usage_info": {"normal_coupon": {}, "discount_coupon": {"threshold": 1}}},
        "单品满减券或单品折扣券不应",
    ),
    ("item", {"stock.single_usage_rule.normal_coupon": GONE}, "应该在「单券使用规则」中"),
    ("percent", {"stock.single_usage_rule.exchange_coupon": {"threshold": 0}}, "应该在「单券使用规则」中"),
    ("rounds", {"sequential_usage_info": GONE}, "必须提供「多次优惠模式信息(sequential_usage_info)」"),
    ("rounds", {"stock.sequential_usage_rule.normal_coupon_list": []}, "且数量与多次优惠的优惠次数相等"),
    ("rounds", {"stock.sequential_usage_rule.discount_coupon_list": [{}]}, "且数量与多次优惠的优惠次数相等"),
]


@pytest.mark.parametrize(("base", "changes", "words"), WORDS)
def test_fields_that_do_not_go_together_are_refused_in_the_pages_words(
    caller: Caller, base: str, changes: dict[str, Any], words: str
) -> None:
    reply = caller.post("product-coupons", {**changed(base, **changes), "out_request_no": caller.new_number()})
    assert (reply.status, reply.json["code"]) == (400, "INVALID_REQUEST"), reply.json
    assert words in reply.json["message"]


INVALID, LONG, SHORT, RANGE = 268435461, 268435462, 268435463, 268435464
FIELDS = [
    ("page", "scope", "EVERYTHING", INVALID),
    ("page", "type", GONE, INVALID),
    ("page", "usage_mode", "TWICE", INVALID),
    ("page", "display_info", GONE, INVALID),
    ("page", "display_info.name", "两字", SHORT),
    ("page", "display_info.name", "字" * 16, LONG),
    ("page", "display_info.image_url", GONE, INVALID),
    ("page", "display_info.detail_image_url_list", ["u"] * 9, LONG),
    ("page", "display_info.image_url", "not a url", INVALID),
    ("page", "display_info.background_url", "wxpaylogo.qpic.cn/a", INVALID),
    ("page", "display_info.detail_image_url_list", ["https://a.cn/1", "2"], INVALID),
    ("page", "stock.remark", "字" * 61, LONG),
    ("page", "stock.coupon_code_mode", "RANDOM", INVALID),
    ("page", "stock.stock_send_rule.max_count", 0, RANGE),
    ("page", "stock.stock_send_rule.max_count", 100_000_001, RANGE),
    ("page", "stock.stock_send_rule.max_count", 1.5, INVALID),
    ("page", "stock.stock_send_rule.max_count", True, INVALID),
    ("page", "stock.stock_send_rule.max_count_per_day", 100_000_001, RANGE),
    ("page", "stock.stock_send_rule.max_count_per_user", 101, RANGE),
    ("page", f"{PERIOD}.available_days", 366, RANGE),
    ("page", f"{PERIOD}.available_begin_time", GONE, INVALID),
    ("page", f"{PERIOD}.available_end_time", "2025-08-31 23:59:59", INVALID),
    ("page", f"{PERIOD}.available_end_time", "2025-07-31T23:59:59+08:00", RANGE),
    ("page", f"{WEEKLY}.day_list", ["Montag"], INVALID),
    ("page", f"{USAGE}.coupon_usage_method_list", [], SHORT),
    ("page", f"{USAGE}.usage_description", "字" * 1_001, LONG),
    ("page", "stock.coupon_display_info.background_color", "Color110", INVALID),
    ("page", "stock.store_scope", "SOME", INVALID),
    ("page", "single_usage_info.normal_coupon.discount_amount", -1, RANGE),
    ("percent", "stock.single_usage_rule.discount_coupon.percent_off", 100, RANGE),
    ("exchange", "stock.single_usage_rule.exchange_coupon.exchange_price", "990", INVALID),
    ("item", "display_info.combo_package_list", [{"name": "空", "pick_count": 1}], INVALID),
    ("rounds", "sequential_usage_info.count", 1, RANGE),
    ("rounds", "sequential_usage_info.count", 16, RANGE),
    ("rounds", "sequential_usage_info.available_days", 2, RANGE),
    ("rounds", "sequential_usage_info.available_days", 366, RANGE),
    ("rounds", "sequential_usage_info.interval_days", 8, RANGE),
    ("page", f"{PERIOD}.available_seconds", 0, RANGE),
    ("page", f"{PERIOD}.available_seconds", -60, RANGE),
    ("page", f"{PERIOD}.available_seconds", 365 * 86_400 + 1, RANGE),
    ("page", f"{PERIOD}.available_end_time", "2026-08-01T00:00:01+08:00", RANGE),
    ("page", f"{PERIOD}.available_end_time", "9999-12-31T23:59:59Z", INVALID),
    ("page", f"{CARD}.code_display_mode", GONE, INVALID),
    ("page", f"{CARD}.entrance_finder", {"finder_id": "f", "finder_video_id": "v"}, INVALID),
    ("page", f"{CARD}.entrance_official_account", {}, INVALID),
    ("page", f"{CARD}.entrance_mini_program", {"appid": "wx1", "path": "/p"}, INVALID),
    ("page", f"{USAGE}.coupon_available_store_info", {"mini_program_appid": "wx1"}, INVALID),
    ("page", f"{USAGE}.app_jump_type", "JUMP", INVALID),
]


@pytest.mark.parametrize(("base", "path", "value", "numeric"), FIELDS)
def test_a_field_out_of_its_bounds_is_named(caller: Caller, base: str, path: str, value: object, numeric: int) -> None:
    reply = caller.post("product-coupons", {**changed(base, **{path: value}), "out_request_no": caller.new_number()})
    assert (reply.json["code"], reply.numeric) == ("PARAM_ERROR", numeric), reply.json
    assert reply.json["detail"]["field"].startswith("/" + path.replace(".", "/"))


@pytest.mark.parametrize("path", ["display_info.background_url", f"{USAGE}.usage_description", "stock.notify_config"])
def test_what_one_page_requires_and_another_does_not_may_be_absent(caller: Caller, path: str) -> None:
    body = {**changed("page", **{path: GONE}), "out_request_no": caller.new_number()}
    assert caller.post("product-coupons", body).status == 200


def test_the_widest_bounds_are_within(caller: Caller) -> None:
    widest = [
        ("page", {f"{PERIOD}.available_end_time": "2026-08-01T00:00:00+08:00", f"{PERIOD}.available_days": 365}),
        ("page", {f"{PERIOD}.available_seconds": 365 * 86_400, f"{PERIOD}.available_days": GONE}),
        ("page", {f"{USAGE}.app_jump_type": "H5", f"{CARD}.entrance_mini_program.guidance_wording": GONE}),
        ("page", {"stock.remark": "", "display_info.background_url": ""}),
        ("item", {"display_info.original_price": 0}),
        ("item", {"display_info.original_price": 100_000_001}),
        ("rounds", {"sequential_usage_info.available_days": 3, "sequential_usage_info.interval_days": 7}),
    ]
    for base, changes in widest:
        body = {**changed(base, **changes), "out_request_no": caller.new_number()}
        assert caller.post("product-coupons", body).status == 200


def test_an_emoji_is_one_character(caller: Caller) -> None:
    body = {**changed("page", **{"display_info.name": "🎉" * 15}), "out_request_no": caller.new_number()}
    assert caller.post("product-coupons", body).status == 200


def test_a_stock_added_later_obeys_the_same_rules(caller: Caller) -> None:
    product, _ = caller.create(
        single_item("NORMAL", {"threshold": 0, "discount_amount": 100}) | {"out_request_no": caller.new_number()}
    )
    stock = copy.deepcopy(BASES["item"]["stock"])
    path = f"product-coupons/{product}/stocks"
    assert caller.post(path, {"out_request_no": caller.new_number(), "stock": stock}).status == 200
    del stock["single_usage_rule"]["normal_coupon"]
    refused = caller.post(path, {"out_request_no": caller.new_number(), "stock": stock})
    assert "应该在「单券使用规则」中" in refused.json["message"]
