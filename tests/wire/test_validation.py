"""Every documented rule of a write, broken one at a time; the documentation's own examples, unbroken."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import wxcoupon_analytics as wx
from tests.wire.bodies import (
    DISCOUNT,
    IMAGE,
    LEFT_OUT,
    NORMAL,
    Json,
    changed,
    example,
    period,
    product_coupon,
    sending,
)
from wxcoupon_analytics.wire.validation import WRITES, ApiRuleWarning, check
from wxcoupon_analytics.wire.validation.fields import characters

OPENID = "oh-394z-6CGkNoJrsDLTTUKiAnp4"
PERIOD = "stock.single_usage_rule.coupon_available_period"
SEND_RULE = "stock.stock_send_rule"
METHODS = "stock.usage_rule_display_info.coupon_usage_method_list"
PACKAGE = "display_info.combo_package_list.0"
WEEKLY = f"{PERIOD}.weekly_available_period"

ALL = product_coupon("ALL", "NORMAL")
PERCENT = product_coupon("ALL", "DISCOUNT")
SINGLE = product_coupon("SINGLE", "NORMAL")
SWAP = product_coupon("SINGLE", "EXCHANGE")
ROUNDS = product_coupon("SINGLE", "NORMAL", "SEQUENTIAL")
BUNDLE = product_coupon("SINGLE", "NORMAL", "PROGRESSIVE_BUNDLE")

ACTING = {"product_coupon_id": "1", "stock_id": "2", "appid": "wx1", "out_request_no": "34657_20250101"}
ENDING = {"out_request_no": "34657_20250101_123456", "deactivate_reason": "重新创建"}
BUDGET = {
    "out_request_no": "34657_20250101",
    "update_mode": "MAX_COUNT",
    "current_max_count": 100,
    "target_max_count": 200,
}
PER_DAY = {
    "out_request_no": "34657_20250101",
    "update_mode": "MAX_COUNT_PER_DAY",
    "current_max_count_per_day": 10,
    "target_max_count_per_day": 20,
}
CODES = {"out_request_no": "34657_20250101", "code_list": ["Code_1", "Code_2"]}
STORES = {"store_list": [{"store_id": "1001"}]}
MEMBER = example("send_coupon.request.member")
USE = {
    **ACTING,
    "use_time": "2025-08-02T12:00:00+08:00",
    "associated_order_info": {"transaction_id": "4200000000", "mchid": "1900000001"},
}
BUNDLE_SENDING = {
    "product_coupon_id": "1",
    "stock_bundle_id": "2",
    "appid": "wx1",
    "send_request_no": "MCHSEND202003101234",
}
BUNDLE_ACTING = {"product_coupon_id": "1", "stock_bundle_id": "2", "appid": "wx1", "out_request_no": "34657_20250101"}

# One undisputed body for every write.
VALID: dict[str, Json] = {
    "create_product_coupon": ALL,
    "update_product_coupon": {"out_request_no": "34657_20250101", "display_info": ALL["display_info"]},
    "deactivate_product_coupon": ENDING,
    "create_stock": {"out_request_no": "34657_20250101", "stock": ALL["stock"]},
    "update_stock": {"out_request_no": "34657_20250101", "remark": "新备注"},
    "deactivate_stock": ENDING,
    "update_stock_budget": BUDGET,
    "upload_coupon_codes": CODES,
    "associate_stores": STORES,
    "disassociate_stores": STORES,
    "create_stock_bundle": {"out_request_no": "34657_20250101", "stock_bundle": BUNDLE["stock_bundle"]},
    "update_stock_bundle": {"out_request_no": "34657_20250101", "store_scope": "ALL"},
    "update_stock_bundle_budget": PER_DAY,
    "associate_bundle_stores": STORES,
    "disassociate_bundle_stores": STORES,
    "send_coupon": sending(),
    "confirm_coupon": ACTING,
    "deactivate_coupon": {**ACTING, "deactivate_reason": "误发"},
    "use_coupon": USE,
    "return_coupon": ACTING,
    "send_coupon_bundle": BUNDLE_SENDING,
    "confirm_coupon_bundle": BUNDLE_ACTING,
    "deactivate_coupon_bundle": {**BUNDLE_ACTING, "deactivate_reason": "误发"},
    "pre_send_coupon": sending(),
    "pre_send_coupon_bundle": BUNDLE_SENDING,
    "set_notify_config": {"notify_url": "https://example.com/notify"},
    "upload_image": {"filename": "a.png", "sha256": "0f" * 32},
}


def ids(operation: str) -> dict[str, str]:
    return {name: OPENID if name == "openid" else "1000000013" for name in WRITES[operation][0]}


def problems(operation: str, body: Any, **options: Any) -> tuple[str, ...]:
    """Everything that is refused; nothing when it is not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ApiRuleWarning)
        try:
            check(operation, ids(operation), body, **{"flavour": "brand", **options})
        except wx.ValidationError as error:
            return vars(error)["problems"]  # type: ignore[no-any-return]
    return ()


def disputes(operation: str, body: Any, **options: Any) -> list[str]:
    """The lines of the one warning; none when there is none."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check(operation, ids(operation), body, **{"flavour": "brand", **options})
    assert len(caught) <= 1
    assert all(w.category is ApiRuleWarning for w in caught)
    return [line.removeprefix("- ") for w in caught for line in str(w.message).splitlines()[1:]]


# --- what passes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flavour", ["brand", "partner"])
@pytest.mark.parametrize("operation", WRITES)
def test_every_write_passes_undisputed_when_the_pages_agree(operation: str, flavour: str):
    check(operation, ids(operation), VALID[operation], flavour=flavour)  # a warning would be an error


@pytest.mark.parametrize(
    ("scope", "kind"),
    [("ALL", "NORMAL"), ("ALL", "DISCOUNT"), ("SINGLE", "NORMAL"), ("SINGLE", "DISCOUNT"), ("SINGLE", "EXCHANGE")],
)
@pytest.mark.parametrize("mode", ["SINGLE", "SEQUENTIAL", "PROGRESSIVE_BUNDLE"])
def test_every_kind_of_product_coupon_passes(scope: str, kind: str, mode: str):
    check("create_product_coupon", {}, product_coupon(scope, kind, mode), flavour="brand")


@pytest.mark.parametrize(
    ("operation", "name"),
    [
        ("send_coupon", "send_coupon.request.member"),
        ("send_coupon", "send_coupon.request.ordinary"),
        ("deactivate_stock", "deactivate_stock.request"),
    ],
)
def test_the_documentations_examples_pass(operation: str, name: str):
    check(operation, ids(operation), example(name), flavour="brand")


def test_the_create_example_passes_and_its_disputed_pair_is_named():
    with pytest.warns(ApiRuleWarning, match="create_product_coupon") as caught:
        check("create_product_coupon", {}, example("create_product_coupon.request.single_all_normal"), flavour="brand")
    assert len(caught) == 1
    assert str(caught[0].message).count("\n- ") == 1
    assert "available_days: stands together with irregular_available_period_list" in str(caught[0].message)
    assert caught[0].filename == __file__


def test_fields_that_are_none_count_as_left_out():
    assert problems("send_coupon", sending(coupon_code=None, attach=None)) == ()
    assert problems("send_coupon", sending(appid=None)) == ("appid: is missing; it is required",)


# --- what is refused -------------------------------------------------------------------------------------------------

REFUSED_CREATE: list[tuple[str, Json, str, Any, str, str]] = [
    # rule, body, field to change, its new value, path of the problem, reason
    ("out_request_no has 6 characters or more", ALL, "out_request_no", "12345", "out_request_no", "at least 6"),
    ("out_request_no has 40 characters or fewer", ALL, "out_request_no", "1" * 41, "out_request_no", "at most 40"),
    ("out_request_no has no blank", ALL, "out_request_no", "12345 678", "out_request_no", "0-9A-Za-z_-"),
    ("out_request_no is there", ALL, "out_request_no", LEFT_OUT, "out_request_no", "is missing"),
    ("scope is there", ALL, "scope", LEFT_OUT, "scope", "is missing"),
    ("type is there", ALL, "type", LEFT_OUT, "type", "is missing"),
    ("usage_mode is there", ALL, "usage_mode", LEFT_OUT, "usage_mode", "is missing"),
    ("scope is one of its values", ALL, "scope", "SHOP", "scope", "one of ALL, SINGLE"),
    ("a misspelt value names the nearest", ALL, "type", "NORMALE", "type", "did you mean NORMAL?"),
    ("EXCHANGE needs scope SINGLE", SWAP, "scope", "ALL", "type", "EXCHANGE needs scope SINGLE"),
    ("EXCHANGE does not go with CATEGORY", SWAP, "scope", "CATEGORY", "type", "EXCHANGE needs scope SINGLE"),
    ("display_info is there", ALL, "display_info", LEFT_OUT, "display_info", "is missing"),
    ("name has 3 characters or more", ALL, "display_info.name", "满减", "display_info.name", "at least 3"),
    ("name has 15 characters or fewer", ALL, "display_info.name", "满" * 16, "display_info.name", "at most 15"),
    ("image_url is there", ALL, "display_info.image_url", LEFT_OUT, "display_info.image_url", "is missing"),
    ("image_url is a URL", ALL, "display_info.image_url", "a.png", "display_info.image_url", "must be a URL"),
    ("there are 8 detail images or fewer", ALL, "display_info.detail_image_url_list", [IMAGE] * 9, "display_info.detail_image_url_list", "at most 8"),
    ("a detail image is a URL", ALL, "display_info.detail_image_url_list", [IMAGE, "x"], "display_info.detail_image_url_list[1]", "must be a URL"),
    ("scope SINGLE needs the original price", SINGLE, "display_info.original_price", LEFT_OUT, "display_info.original_price", "scope SINGLE needs it"),
    ("scope SINGLE needs the packages", SINGLE, "display_info.combo_package_list", LEFT_OUT, "display_info.combo_package_list", "scope SINGLE needs it"),
    ("scope SINGLE needs a package at least", SINGLE, "display_info.combo_package_list", [], "display_info.combo_package_list", "scope SINGLE needs it"),
    ("a price is whole fen", SINGLE, "display_info.original_price", 99.5, "display_info.original_price", "fen are whole numbers"),
    ("a package has a name", SINGLE, f"{PACKAGE}.name", LEFT_OUT, "display_info.combo_package_list[0].name", "is missing"),
    ("a package has choices", SINGLE, f"{PACKAGE}.choice_list", [], "display_info.combo_package_list[0].choice_list", "is empty"),
    ("a choice's price is whole fen", SINGLE, f"{PACKAGE}.choice_list.0.price", 1.0, "display_info.combo_package_list[0].choice_list[0].price", "fen are whole numbers"),
    ("scope ALL needs single_usage_info", ALL, "single_usage_info", LEFT_OUT, "single_usage_info", "scope ALL needs it"),
    ("an amount off for all goods is in the product coupon", ALL, "single_usage_info", {}, "single_usage_info.normal_coupon", "is missing"),
    ("a percentage off for all goods is in the product coupon", PERCENT, "single_usage_info", {}, "single_usage_info.discount_coupon", "is missing"),
    ("the discount of all goods is not in the stock", ALL, "stock.single_usage_rule.normal_coupon", NORMAL, "stock.single_usage_rule.normal_coupon", "does not belong here with scope ALL"),
    ("an amount off for single goods is not in the product coupon", SINGLE, "single_usage_info", {"normal_coupon": NORMAL}, "single_usage_info.normal_coupon", "move it to stock.single_usage_rule"),
    ("a percentage off for single goods is not in the product coupon", SINGLE, "single_usage_info", {"discount_coupon": DISCOUNT}, "single_usage_info.discount_coupon", "move it to stock.single_usage_rule"),
    ("the discount of single goods is in the stock", SINGLE, "stock.single_usage_rule.normal_coupon", LEFT_OUT, "stock.single_usage_rule.normal_coupon", "is missing"),
    ("a stock's discount is of the coupon's type", SINGLE, "type", "DISCOUNT", "stock.single_usage_rule.normal_coupon", "belongs to another type"),
    ("a stock has one discount", SINGLE, "stock.single_usage_rule.discount_coupon", DISCOUNT, "stock.single_usage_rule.discount_coupon", "stands beside normal_coupon"),
    ("a threshold is not negative", ALL, "single_usage_info.normal_coupon.threshold", -1, "single_usage_info.normal_coupon.threshold", "at least 0"),
    ("a threshold is there", ALL, "single_usage_info.normal_coupon.threshold", LEFT_OUT, "single_usage_info.normal_coupon.threshold", "is missing"),
    ("an amount off is whole fen", ALL, "single_usage_info.normal_coupon.discount_amount", 50.0, "single_usage_info.normal_coupon.discount_amount", "fen are whole numbers"),
    ("an amount off takes something off", ALL, "single_usage_info.normal_coupon.discount_amount", 0, "single_usage_info.normal_coupon.discount_amount", "at least 1"),
    ("percent_off takes something off", PERCENT, "single_usage_info.discount_coupon.percent_off", 0, "single_usage_info.discount_coupon.percent_off", "at least 1"),
    ("percent_off leaves something", PERCENT, "single_usage_info.discount_coupon.percent_off", 101, "single_usage_info.discount_coupon.percent_off", "at most"),
    ("an exchange price is there", SWAP, "stock.single_usage_rule.exchange_coupon.exchange_price", LEFT_OUT, "stock.single_usage_rule.exchange_coupon.exchange_price", "is missing"),
    ("a stock is there", ALL, "stock", LEFT_OUT, "stock", "is missing"),
    ("a stock is an object", ALL, "stock", "WECHATPAY", "stock", "must be an object"),
    ("remark has 60 characters or fewer", ALL, "stock.remark", "备" * 61, "stock.remark", "at most 60"),
    ("coupon_code_mode is there", ALL, "stock.coupon_code_mode", LEFT_OUT, "stock.coupon_code_mode", "is missing"),
    ("coupon_code_mode is one of its values", ALL, "stock.coupon_code_mode", "OWN", "stock.coupon_code_mode", "one of"),
    ("max_count is there", ALL, f"{SEND_RULE}.max_count", LEFT_OUT, f"{SEND_RULE}.max_count", "is missing"),
    ("max_count is 100,000,000 or less", ALL, f"{SEND_RULE}.max_count", 100_000_001, f"{SEND_RULE}.max_count", "at most 100,000,000"),
    ("max_count is a number, not a truth value", ALL, f"{SEND_RULE}.max_count", True, f"{SEND_RULE}.max_count", "not true"),
    ("max_count is a number, not a text", ALL, f"{SEND_RULE}.max_count", "100", f"{SEND_RULE}.max_count", "give an int"),
    ("max_count_per_day is 100,000,000 or less", ALL, f"{SEND_RULE}.max_count_per_day", 100_000_001, f"{SEND_RULE}.max_count_per_day", "at most 100,000,000"),
    ("max_count_per_user is 100 or less", ALL, f"{SEND_RULE}.max_count_per_user", 101, f"{SEND_RULE}.max_count_per_user", "at most 100"),
    ("usage_mode SINGLE needs single_usage_rule", ALL, "stock.single_usage_rule", LEFT_OUT, "stock.single_usage_rule", "needs it"),
    ("a time has an offset", ALL, f"{PERIOD}.available_begin_time", "2025-08-01T00:00:00", f"{PERIOD}.available_begin_time", "has no offset"),
    ("a time is RFC 3339", ALL, f"{PERIOD}.available_begin_time", "2025-08-01 00:00:00+08:00", f"{PERIOD}.available_begin_time", "not an RFC 3339 time"),
    ("a time is a day of the calendar", ALL, f"{PERIOD}.available_begin_time", "2025-02-30T00:00:00+08:00", f"{PERIOD}.available_begin_time", "does not exist"),
    ("a time is a text", ALL, f"{PERIOD}.available_begin_time", 1754000000, f"{PERIOD}.available_begin_time", "RFC 3339"),
    ("a stock begins before it ends", ALL, f"{PERIOD}.available_end_time", "2025-07-31T23:59:59+08:00", f"{PERIOD}.available_end_time", "must come after available_begin_time"),
    ("begin and end are compared as instants", ALL, f"{PERIOD}.available_end_time", "2025-08-01T01:00:00+09:00", f"{PERIOD}.available_end_time", "must come after"),
    ("a stock is valid for 365 days or less", ALL, f"{PERIOD}.available_end_time", "2026-08-01T00:00:01+08:00", f"{PERIOD}.available_end_time", "at most 365 days"),
    ("available_days is 365 or less", ALL, f"{PERIOD}.available_days", 366, f"{PERIOD}.available_days", "at most 365"),
    ("an irregular period begins before it ends", ALL, f"{PERIOD}.irregular_available_period_list", [{"begin_time": "2025-08-15T00:00:00+08:00", "end_time": "2025-08-14T00:00:00+08:00"}], f"{PERIOD}.irregular_available_period_list[0].end_time", "must come after begin_time"),
    ("an irregular period has an end", ALL, f"{PERIOD}.irregular_available_period_list", [{"begin_time": "2025-08-15T00:00:00+08:00"}], f"{PERIOD}.irregular_available_period_list[0].end_time", "is missing"),
    ("day_period_list needs day_list", ALL, WEEKLY, {"day_period_list": [{"begin_time": 60, "end_time": 86399}]}, f"{WEEKLY}.day_list", "day_period_list needs it"),
    ("a day of the week is one of seven", ALL, WEEKLY, {"day_list": ["MON"]}, f"{WEEKLY}.day_list[0]", "did you mean MONDAY?"),
    ("a second of the day is not negative", ALL, WEEKLY, {"day_list": ["MONDAY"], "day_period_list": [{"begin_time": -1, "end_time": 60}]}, f"{WEEKLY}.day_period_list[0].begin_time", "at least 0"),
    ("a second of the day is below 86,400", ALL, WEEKLY, {"day_list": ["MONDAY"], "day_period_list": [{"begin_time": 0, "end_time": 86400}]}, f"{WEEKLY}.day_period_list[0].end_time", "at most 86,399"),
    ("a period of the day begins before it ends", ALL, WEEKLY, {"day_list": ["MONDAY"], "day_period_list": [{"begin_time": 61, "end_time": 60}]}, f"{WEEKLY}.day_period_list[0].end_time", "must come after"),
    ("usage methods are there", ALL, METHODS, [], METHODS, "is empty"),
    ("a usage method is one of its values", ALL, METHODS, ["FAX"], f"{METHODS}[0]", "one of OFFLINE"),
    ("MINI_PROGRAM needs the appid", ALL, METHODS, ["MINI_PROGRAM"], "stock.usage_rule_display_info.mini_program_appid", "MINI_PROGRAM"),
    ("MINI_PROGRAM needs the path", ALL, METHODS, ["MINI_PROGRAM"], "stock.usage_rule_display_info.mini_program_path", "MINI_PROGRAM"),
    ("APP needs app_path", ALL, METHODS, ["APP"], "stock.usage_rule_display_info.app_path", "APP"),
    ("usage_description has 1000 characters or fewer", ALL, "stock.usage_rule_display_info.usage_description", "说" * 1001, "stock.usage_rule_display_info.usage_description", "at most 1000"),
    ("coupon_display_info is there", ALL, "stock.coupon_display_info", LEFT_OUT, "stock.coupon_display_info", "is missing"),
    ("background_color is one of ten", ALL, "stock.coupon_display_info.background_color", "red", "stock.coupon_display_info.background_color", "Color010"),
    ("the mini program's entrance has a wording", ALL, "stock.coupon_display_info.entrance_mini_program", {"appid": "wx1", "path": "/a", "guidance_wording": "看"}, "stock.coupon_display_info.entrance_mini_program.entrance_wording", "is missing"),
    ("the finder's entrance has an id", ALL, "stock.coupon_display_info.entrance_finder", {}, "stock.coupon_display_info.entrance_finder.finder_id", "is missing"),
    ("store_scope is there", ALL, "stock.store_scope", LEFT_OUT, "stock.store_scope", "is missing"),
    ("store_scope is one of its values", ALL, "stock.store_scope", "SOME", "stock.store_scope", "one of NONE, ALL, SPECIFIC"),
    ("SEQUENTIAL needs sequential_usage_info", ROUNDS, "sequential_usage_info", LEFT_OUT, "sequential_usage_info", "needs it"),
    ("SEQUENTIAL needs sequential_usage_rule", ROUNDS, "stock.sequential_usage_rule", LEFT_OUT, "stock.sequential_usage_rule", "needs it"),
    ("SEQUENTIAL has as many discounts as uses", ROUNDS, "sequential_usage_info.count", 4, "stock.sequential_usage_rule.normal_coupon_list", "count is 4"),
    ("SEQUENTIAL's discounts are of the coupon's type", ROUNDS, "type", "DISCOUNT", "stock.sequential_usage_rule.normal_coupon_list", "belongs to another type"),
    ("SEQUENTIAL has discounts", ROUNDS, "stock.sequential_usage_rule.normal_coupon_list", LEFT_OUT, "stock.sequential_usage_rule", "holds no discount"),
    ("SEQUENTIAL has 15 uses or fewer", ROUNDS, "sequential_usage_info.count", 16, "sequential_usage_info.count", "at most 15"),
    ("SEQUENTIAL lasts 3 days or more", ROUNDS, "sequential_usage_info.available_days", 2, "sequential_usage_info.available_days", "at least 3"),
    ("SEQUENTIAL lasts 365 days or less", ROUNDS, "sequential_usage_info.available_days", 366, "sequential_usage_info.available_days", "at most 365"),
    ("SEQUENTIAL waits 7 days or less", ROUNDS, "sequential_usage_info.interval_days", 8, "sequential_usage_info.interval_days", "at most 7"),
    ("special_first is a truth value", ROUNDS, "stock.sequential_usage_rule.special_first", "yes", "stock.sequential_usage_rule.special_first", "true or false"),
    ("PROGRESSIVE_BUNDLE needs its info", BUNDLE, "progressive_bundle_usage_info", LEFT_OUT, "progressive_bundle_usage_info", "needs it"),
    ("PROGRESSIVE_BUNDLE needs a stock bundle", BUNDLE, "stock_bundle", LEFT_OUT, "stock_bundle", "is missing"),
    ("PROGRESSIVE_BUNDLE needs its usage rule", BUNDLE, "stock_bundle.progressive_bundle_usage_rule", LEFT_OUT, "stock_bundle.progressive_bundle_usage_rule", "needs it"),
    ("PROGRESSIVE_BUNDLE has as many discounts as uses", BUNDLE, "progressive_bundle_usage_info.count", 4, "stock_bundle.progressive_bundle_usage_rule.normal_coupon_list", "count is 4"),
    ("a brand names itself in the signature only", ALL, "brand_id", "120344", "brand_id", "does not belong in a brand's body"),
    ("a text is whole characters", ALL, "stock.remark", "\ud83d", "stock.remark", "half a surrogate pair"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "field", "value", "path", "reason"),
    [row[1:] for row in REFUSED_CREATE],
    ids=[r[0] for r in REFUSED_CREATE],
)
def test_creating_a_product_coupon(body: Json, field: str, value: Any, path: str, reason: str):
    found = problems("create_product_coupon", changed(body, field, value))
    path = path.replace("list.0", "list[0]")
    assert [p for p in found if p.startswith(f"{path}: ") and reason in p], found


REFUSED: list[tuple[str, str, str, Any, str, str]] = [
    # rule, operation, field to change, its new value, path of the problem, reason
    ("send_request_no is there", "send_coupon", "send_request_no", LEFT_OUT, "send_request_no", "is missing"),
    ("send_request_no has 6 characters or more", "send_coupon", "send_request_no", "12345", "send_request_no", "at least 6"),
    ("send_request_no has 128 characters or fewer", "send_coupon", "send_request_no", "1" * 129, "send_request_no", "at most 128"),
    ("send_request_no has no other characters", "send_coupon", "send_request_no", "12345678.9", "send_request_no", "'.'"),
    ("a send names the product coupon", "send_coupon", "product_coupon_id", LEFT_OUT, "product_coupon_id", "is missing"),
    ("a send names the stock", "send_coupon", "stock_id", "", "stock_id", "is empty"),
    ("an id is a text", "send_coupon", "stock_id", 1000000013001, "stock_id", "must be a text"),
    ("a send names the appid", "send_coupon", "appid", LEFT_OUT, "appid", "is missing"),
    ("a coupon code has 40 characters or fewer", "send_coupon", "coupon_code", "1" * 41, "coupon_code", "at most 40"),
    ("a coupon code has no other characters", "send_coupon", "coupon_code", "码1", "coupon_code", "'码'"),
    ("attach has 150 characters or fewer", "send_coupon", "attach", "附" * 151, "attach", "at most 150"),
    ("a tag is MEMBER", "send_coupon", "coupon_tag_info", {"coupon_tag_list": ["VIP"]}, "coupon_tag_info.coupon_tag_list[0]", "one of MEMBER"),
    ("a member coupon names the card", "send_coupon", "coupon_tag_info", {"coupon_tag_list": ["MEMBER"]}, "coupon_tag_info.member_tag_info", "has MEMBER"),
    ("a member bundle names the card", "send_coupon_bundle", "coupon_tag_info", {"coupon_tag_list": ["MEMBER"], "member_tag_info": {}}, "coupon_tag_info.member_tag_info.member_card_id", "is missing"),
    ("a bundle's send names the bundle", "send_coupon_bundle", "stock_bundle_id", LEFT_OUT, "stock_bundle_id", "is missing"),
    ("a pre-send's attach has 150 characters or fewer", "pre_send_coupon", "attach", "附" * 151, "attach", "at most 150"),
    ("a bundle's pre-send names the bundle", "pre_send_coupon_bundle", "stock_bundle_id", LEFT_OUT, "stock_bundle_id", "is missing"),
    ("a confirm has its own number", "confirm_coupon", "out_request_no", "1" * 41, "out_request_no", "at most 40"),
    ("a bundle's confirm names the bundle", "confirm_coupon_bundle", "stock_bundle_id", LEFT_OUT, "stock_bundle_id", "is missing"),
    ("ending a stock has a reason", "deactivate_stock", "deactivate_reason", LEFT_OUT, "deactivate_reason", "is missing"),
    ("a reason is not empty", "deactivate_stock", "deactivate_reason", "", "deactivate_reason", "is empty"),
    ("a reason has 150 characters or fewer", "deactivate_stock", "deactivate_reason", "因" * 151, "deactivate_reason", "at most 150"),
    ("ending a product coupon has a reason", "deactivate_product_coupon", "deactivate_reason", LEFT_OUT, "deactivate_reason", "is missing"),
    ("ending a user's coupon has a reason", "deactivate_coupon", "deactivate_reason", LEFT_OUT, "deactivate_reason", "is missing"),
    ("ending a user's bundle has a reason", "deactivate_coupon_bundle", "deactivate_reason", LEFT_OUT, "deactivate_reason", "is missing"),
    ("a use has its time", "use_coupon", "use_time", LEFT_OUT, "use_time", "is missing"),
    ("a use's time has an offset", "use_coupon", "use_time", "2025-08-02T12:00:00", "use_time", "has no offset"),
    ("what was saved is whole fen", "use_coupon", "saved_amount", 12.5, "saved_amount", "fen are whole numbers"),
    ("an index is not negative", "return_coupon", "sequential_coupon_index", -1, "sequential_coupon_index", "at least 0"),
    ("MAX_COUNT has its target", "update_stock_budget", "target_max_count", LEFT_OUT, "target_max_count", "sets it"),
    ("MAX_COUNT has its present value", "update_stock_budget", "current_max_count", LEFT_OUT, "current_max_count", "is missing"),
    ("a budget is 100,000,000 or less", "update_stock_budget", "target_max_count", 100_000_001, "target_max_count", "at most"),
    ("one call changes one limit", "update_stock_budget", "target_max_count_per_day", 5, "target_max_count_per_day", "make two calls"),
    ("update_mode is one of its values", "update_stock_budget", "update_mode", "MAX", "update_mode", "one of"),
    ("MAX_COUNT_PER_DAY has its target", "update_stock_bundle_budget", "target_max_count_per_day", LEFT_OUT, "target_max_count_per_day", "sets it"),
    ("codes are there", "upload_coupon_codes", "code_list", [], "code_list", "is empty"),
    ("one call uploads 200 codes or fewer", "upload_coupon_codes", "code_list", [f"c{n}" for n in range(201)], "code_list", "at most 200 entries, not 201"),
    ("an uploaded code has 40 characters or fewer", "upload_coupon_codes", "code_list", ["a", "b" * 41], "code_list[1]", "at most 40"),
    ("an uploaded code has no other characters", "upload_coupon_codes", "code_list", ["a b"], "code_list[0]", "' '"),
    ("stores are there", "associate_stores", "store_list", [], "store_list", "is empty"),
    ("a store is an object with its id", "disassociate_stores", "store_list", ["1001"], "store_list[0]", "must be an object"),
    ("a bundle's stores have ids", "associate_bundle_stores", "store_list", [{}], "store_list[0].store_id", "is missing"),
    ("a bundle lets go of stores by id", "disassociate_bundle_stores", "store_list", [{}], "store_list[0].store_id", "is missing"),
    ("a changed product coupon has its display", "update_product_coupon", "display_info", LEFT_OUT, "display_info", "is missing"),
    ("a changed name has 15 characters or fewer", "update_product_coupon", "display_info.name", "满" * 16, "display_info.name", "at most 15"),
    ("a changed stock's methods have their targets", "update_stock", "usage_rule_display_info", {"coupon_usage_method_list": ["APP"]}, "usage_rule_display_info.app_path", "APP"),
    ("a changed bundle's remark is short", "update_stock_bundle", "remark", "备" * 61, "remark", "at most 60"),
    ("an added stock has a usage rule", "create_stock", "stock.single_usage_rule", LEFT_OUT, "stock.single_usage_rule", "is missing"),
    ("an added stock has one discount", "create_stock", "stock.single_usage_rule", {"coupon_available_period": period(), "normal_coupon": NORMAL, "discount_coupon": DISCOUNT}, "stock.single_usage_rule.discount_coupon", "stands beside"),
    ("an added bundle has a usage rule", "create_stock_bundle", "stock_bundle.progressive_bundle_usage_rule", LEFT_OUT, "stock_bundle.progressive_bundle_usage_rule", "needs it"),
    ("an added bundle has its limit for each user", "create_stock_bundle", "stock_bundle.stock_send_rule.max_count_per_user", LEFT_OUT, "stock_bundle.stock_send_rule.max_count_per_user", "is missing"),
    ("the address of notifications is a URL", "set_notify_config", "notify_url", "example.com", "notify_url", "must be a URL"),
    ("an image has its name", "upload_image", "filename", LEFT_OUT, "filename", "is missing"),
    ("an image's digest has 64 digits", "upload_image", "sha256", "0f", "sha256", "at least 64"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("operation", "field", "value", "path", "reason"), [row[1:] for row in REFUSED], ids=[r[0] for r in REFUSED]
)
def test_a_broken_rule_is_refused(operation: str, field: str, value: Any, path: str, reason: str):
    found = problems(operation, changed(VALID[operation], field, value))
    assert [p for p in found if p.startswith(f"{path}: ") and reason in p], found
    assert len(found) == 1, "and nothing else is"


def test_all_problems_are_reported_at_once_with_their_paths():
    body = changed(ALL, "display_info.name", "x")
    body = changed(body, f"{SEND_RULE}.max_count", 5e6)
    body = changed(body, f"{PERIOD}.available_begin_time", "2025-08-01")
    body = changed(body, "out_request_no", LEFT_OUT)
    with pytest.raises(wx.ValidationError, match="4 problems, nothing was sent") as caught:
        check("create_product_coupon", {}, body, flavour="brand")
    told = vars(caught.value)["problems"]
    assert [p.partition(":")[0] for p in told] == [
        "out_request_no",
        "display_info.name",
        f"{SEND_RULE}.max_count",
        f"{PERIOD}.available_begin_time",
    ]
    assert all(p in str(caught.value) for p in told)


def test_the_path_needs_its_ids_as_texts_and_an_openid_is_never_repeated():
    with pytest.raises(wx.ValidationError, match="openid: is empty") as caught:
        check("confirm_coupon", {"openid": "", "coupon_code": 17}, ACTING, flavour="brand")  # type: ignore[dict-item]
    assert "coupon_code: must be a text, not int: ids keep their leading zeros only as text" in str(caught.value)
    everywhere = dict.fromkeys(("scope", "type", "display_info", "stock", "out_request_no", OPENID), OPENID)
    assert OPENID not in "".join(problems("create_product_coupon", everywhere))
    pem = "-----BEGIN PRIVATE KEY-----\n" + "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC" * 50
    assert "MIIE" not in "".join(problems("send_coupon", sending(coupon_code=pem, stock_id={"a": pem})))
    assert OPENID not in "".join(disputes("send_coupon", sending(**{OPENID: {}})))


def test_a_partner_may_name_the_brand_in_the_body():
    assert problems("send_coupon", sending(brand_id="120344"), flavour="partner") == ()
    assert problems("send_coupon", sending(brand_id=120344), flavour="partner")


def test_an_operation_or_flavour_that_does_not_exist_is_refused():
    with pytest.raises(wx.ValidationError, match="is no write of the API"):
        check("get_stock", {}, {}, flavour="brand")
    with pytest.raises(wx.ValidationError, match="brand or partner"):
        check("send_coupon", {"openid": OPENID}, sending(), flavour="merchant")


def test_thousands_of_bad_codes_are_all_in_the_data_and_some_in_the_message():
    body = {"out_request_no": "34657_20250101", "code_list": ["?" * n for n in range(1, 1001)]}
    with pytest.raises(wx.ValidationError) as caught:
        check("upload_coupon_codes", ids("upload_coupon_codes"), body, flavour="brand")
    assert len(vars(caught.value)["problems"]) > 1000
    assert len(str(caught.value)) < 10_000


# --- what is disputed ------------------------------------------------------------------------------------------------

DISPUTED: list[tuple[str, str, Json, str, Any, str]] = [
    # dispute, operation, body, field to change, its new value, beginning of the warning
    ("name of 13 to 15", "create_product_coupon", ALL, "display_info.name", "满" * 13, "display_info.name: has 13 characters"),
    ("remark of 21 to 60", "create_product_coupon", ALL, "stock.remark", "备" * 21, "stock.remark: has 21 characters"),
    ("7 or 8 detail images", "create_product_coupon", ALL, "display_info.detail_image_url_list", [IMAGE] * 7, "display_info.detail_image_url_list: has 7"),
    ("no background_url", "create_product_coupon", ALL, "display_info.background_url", LEFT_OUT, "display_info.background_url: is missing"),
    ("no usage_description", "create_product_coupon", ALL, "stock.usage_rule_display_info.usage_description", LEFT_OUT, "stock.usage_rule_display_info.usage_description: is missing"),
    ("no notify_config", "create_product_coupon", ALL, "stock.notify_config", LEFT_OUT, "stock.notify_config: is missing"),
    ("no notify_appid", "create_product_coupon", ALL, "stock.notify_config", {}, "stock.notify_config.notify_appid: is missing"),
    ("no code_display_mode", "create_product_coupon", ALL, "stock.coupon_display_info", {}, "stock.coupon_display_info.code_display_mode: is missing"),
    ("an emoji of several code points", "create_product_coupon", ALL, "display_info.name", "👨‍👩‍👧" * 5, "display_info.name: has 5 characters of 25 code points"),
    ("no guidance_wording", "create_product_coupon", ALL, "stock.coupon_display_info.entrance_mini_program", {"appid": "wx1", "path": "/a", "entrance_wording": "看"}, "stock.coupon_display_info.entrance_mini_program.guidance_wording"),
    ("no finder video", "create_product_coupon", ALL, "stock.coupon_display_info.entrance_finder", {"finder_id": "gh_1", "finder_video_cover_image_url": IMAGE}, "stock.coupon_display_info.entrance_finder.finder_video_id"),
    ("no limit for each user", "create_product_coupon", ALL, f"{SEND_RULE}.max_count_per_user", LEFT_OUT, f"{SEND_RULE}.max_count_per_user: is missing"),
    ("scope CATEGORY", "create_product_coupon", ALL, "scope", "CATEGORY", "scope: CATEGORY"),
    ("two discounts in the product coupon", "create_product_coupon", ALL, "single_usage_info.discount_coupon", DISCOUNT, "single_usage_info.discount_coupon: is given with type NORMAL"),
    ("a price with scope ALL", "create_product_coupon", ALL, "display_info.original_price", 100, "display_info.original_price: is given with scope ALL"),
    ("the info of another usage mode", "create_product_coupon", ALL, "sequential_usage_info", ROUNDS["sequential_usage_info"], "sequential_usage_info: is given with usage_mode SINGLE"),
    ("a time without seconds", "create_product_coupon", ALL, f"{PERIOD}.available_begin_time", "2025-08-01T00:00+08:00", f"{PERIOD}.available_begin_time: 2025-08-01T00:00+08:00 has no seconds"),
    ("weekly days left out", "create_product_coupon", ALL, WEEKLY, {}, f"{WEEKLY}.day_list: is missing"),
    ("waiting for more than 30 days", "create_product_coupon", ALL, f"{PERIOD}.wait_days_after_receive", 31, f"{PERIOD}.wait_days_after_receive: is 31"),
    ("waiting without available_days", "create_product_coupon", changed(ALL, f"{PERIOD}.available_days", LEFT_OUT), f"{PERIOD}.wait_days_after_receive", 1, f"{PERIOD}.wait_days_after_receive: stands without"),
    ("APP by pass code", "create_product_coupon", changed(ALL, METHODS, ["APP"]), "stock.usage_rule_display_info.app_jump_type", "PASSCODE_LINK", "stock.usage_rule_display_info.app_path: is missing"),
    ("half a mini program", "create_product_coupon", ALL, "stock.usage_rule_display_info.coupon_available_store_info", {"description": "全部", "mini_program_appid": "wx1"}, "stock.usage_rule_display_info.coupon_available_store_info.mini_program_path: is missing beside"),
    ("a bundle sent as a stock", "create_product_coupon", changed(BUNDLE, "stock_bundle", LEFT_OUT), "stock", BUNDLE["stock_bundle"], "stock_bundle: is missing beside stock"),
    ("a bundle of two", "create_product_coupon", product_coupon("ALL", "NORMAL", "PROGRESSIVE_BUNDLE", rounds=2), "out_product_no", "P1", "progressive_bundle_usage_info.count: is 2"),
    ("a bundle with codes of one's own", "create_stock_bundle", VALID["create_stock_bundle"], "stock_bundle.coupon_code_mode", "API_ASSIGN", "stock_bundle.coupon_code_mode: API_ASSIGN"),
    ("an added stock without code_display_mode", "create_stock", VALID["create_stock"], "stock.coupon_display_info", {}, "stock.coupon_display_info.code_display_mode: is missing"),
    ("an added stock with two usage rules", "create_stock", VALID["create_stock"], "stock.sequential_usage_rule", ROUNDS["stock"]["sequential_usage_rule"], "stock.sequential_usage_rule: stands beside single_usage_rule"),
    ("send_request_no of 41 to 128", "send_coupon", sending(), "send_request_no", "1" * 128, "send_request_no: has 128 characters"),
    ("a member without a card", "send_coupon", MEMBER, "coupon_tag_info.member_tag_info", {}, "coupon_tag_info.member_tag_info.member_card_id: is missing"),
    ("a card without MEMBER", "send_coupon", MEMBER, "coupon_tag_info.coupon_tag_list", [], "coupon_tag_info.member_tag_info: stands without MEMBER"),
    ("a code twice", "upload_coupon_codes", CODES, "code_list", ["a", "b", "a"], "code_list[2]: 'a' stands at [0]"),
    ("the first daily limit", "update_stock_budget", PER_DAY, "current_max_count_per_day", LEFT_OUT, "current_max_count_per_day: is missing"),
    ("a use without an order", "use_coupon", USE, "associated_order_info", LEFT_OUT, "associated_order_info: is missing"),
    ("an order without a number", "use_coupon", USE, "associated_order_info", {}, "associated_order_info: has neither transaction_id nor out_trade_no"),
    ("a misspelt field", "send_coupon", sending(), "atach", "x", "atach: no page knows this field, and the platform ignores what it does not know; did you mean attach?"),
    ("a new field", "create_product_coupon", ALL, "stock.colour_of_the_moon", 1, "stock.colour_of_the_moon: no page knows this field"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("operation", "body", "field", "value", "beginning"), [row[1:] for row in DISPUTED], ids=[r[0] for r in DISPUTED]
)
def test_a_disputed_rule_is_a_warning_that_names_the_dispute(
    operation: str, body: Json, field: str, value: Any, beginning: str
):
    (told,) = disputes(operation, changed(body, field, value))
    assert told.startswith(beginning), told


def test_an_unknown_value_of_an_enumeration_can_be_let_through():
    body = changed(ALL, "usage_mode", "FOREVER")
    assert problems("create_product_coupon", body)
    (told,) = disputes("create_product_coupon", body, strict_enums=False)
    assert told.startswith("usage_mode: must be one of SINGLE, SEQUENTIAL, PROGRESSIVE_BUNDLE, not 'FOREVER'")
    not_a_text = problems("create_product_coupon", changed(ALL, "usage_mode", 3), strict_enums=False)
    assert not_a_text == ("usage_mode: must be one of SINGLE, SEQUENTIAL, PROGRESSIVE_BUNDLE, not 3",)


def test_several_disputes_are_one_warning():
    body = changed(changed(ALL, "display_info.name", "满" * 14), "stock.remark", "备" * 30)
    assert len(disputes("create_product_coupon", body)) == 2


# --- for every input -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("满200减50", 7),
        ("😀", 1),
        ("👍🏽", 1),
        ("👨‍👩‍👧‍👦", 1),
        ("🇨🇳🇨🇳", 2),
        ("1️⃣", 1),
        ("❤️", 1),
        ("", 0),
        ("a\nb", 3),
        ("🏴󠁧󠁢󠁥󠁮󠁧󠁿", 1),
    ],
)
def test_characters_are_counted_as_a_reader_sees_them(text: str, count: int):
    assert characters(text) == count


@given(st.text())
def test_there_are_never_more_characters_than_code_points(text: str):
    assert bool(text) <= characters(text) <= len(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10) | st.sampled_from(["SINGLE", "ALL"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
PLACES = {"ALL": ALL, "SWAP": SWAP, "ROUNDS": ROUNDS, "BUNDLE": BUNDLE}


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(deeper for step, child in children for deeper in _paths(child, (*path, step)))]


def _replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    fresh = dict(value) if isinstance(value, dict) else list(value)
    fresh[path[0]] = _replaced(value[path[0]], path[1:], new)
    return fresh


@settings(deadline=None)
@given(operation=st.sampled_from(sorted(WRITES)), data=st.data(), strict=st.booleans())
def test_no_json_crashes_the_check(operation: str, data: st.DataObject, strict: bool):
    whole = data.draw(st.sampled_from([VALID[operation], *PLACES.values()]))
    for _ in range(data.draw(st.integers(0, 3))):
        whole = _replaced(whole, data.draw(st.sampled_from(_paths(whole))), data.draw(JSON))
    told = problems(operation, whole, strict_enums=strict, flavour=data.draw(st.sampled_from(["brand", "partner"])))
    assert all(isinstance(p, str) and ": " in p for p in told)
