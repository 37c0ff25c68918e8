"""What the platform enforces when a product coupon, a stock or a bundle is created or changed: one function a rule, in the pages' words.

Where two pages dispute a bound (names of 12 or 15 characters, remarks of 20 or 60), the wider one is enforced: the box must
not refuse what a live account accepts. Where a page's own example breaks a rule of another page (``available_days`` together with
``irregular_available_period_list``), the example wins.
"""

from __future__ import annotations

from typing import Any

from wxcoupon_analytics.sandbox import fields
from wxcoupon_analytics.sandbox.books import API_ASSIGN, BUNDLE, SEQUENTIAL, SINGLE, UPLOAD, WECHATPAY
from wxcoupon_analytics.sandbox.clock import DAY
from wxcoupon_analytics.sandbox.fields import Body
from wxcoupon_analytics.sandbox.refusals import PARAM_OUT_OF_RANGE, PARAM_TOO_SHORT, invalid_request, param_error

MAX_BUDGET = 100_000_000
MAX_PER_USER = 100
MAX_FEN = 100_000_000
MAX_PRICE = 10**12  # no page bounds a price; the books' integers do
MAX_VALID_DAYS = 365
MAX_ROUNDS = 15
MAX_INTERVAL_DAYS = 7
LEAST_SEQUENTIAL_DAYS = 3
LIVE_STOCKS = 200
DAYS = ("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY")
_RULES = {"NORMAL": "normal_coupon", "DISCOUNT": "discount_coupon", "EXCHANGE": "exchange_coupon"}
_TERMS = {"NORMAL": "满减券", "DISCOUNT": "折扣券"}
STOCK_RULE_MISSING = (
    "单券使用模式的商品券批次,应该在「单券使用规则」中包含对应类型的优惠规则。对于文档中标记不应填写的优惠规则应删除。"
)
ROUND_RULES_MISSING = (
    "多次优惠使用模式的商品券批次,应该在「多次优惠使用规则」中包含对应类型的优惠规则,且数量与多次优惠的优惠次数相等"
)


def check_product(body: Body) -> None:
    """Check everything in a create request above its stock."""
    scope = fields.choice(body, "scope", ("ALL", "SINGLE", "CATEGORY"))
    kind = fields.choice(body, "type", ("NORMAL", "DISCOUNT", "EXCHANGE"))
    mode = fields.choice(body, "usage_mode", (SINGLE, SEQUENTIAL, BUNDLE))
    fields.optional_text(body, "out_product_no", most=40)
    exchange_is_for_single_items(scope, kind)
    check_display(fields.mapping(body, "display_info"), scope)
    if mode == SINGLE:
        discount_sits_where_the_scope_says(body, scope, kind)
    elif mode == SEQUENTIAL:
        rounds_are_described(body)
    else:
        steps_are_described(body)


def check_display(display: Body, scope: str) -> None:
    """Check what a product coupon shows, when it is created or changed."""
    names_and_images(display)
    fields.optional_integer(display, "original_price", at="/display_info", least=0, most=MAX_PRICE)
    if scope == "SINGLE":
        single_items_name_their_price(display)
        single_items_list_their_packages(display)


def check_stock(stock: Body, product: Body, *, at: str = "/stock") -> None:
    """Check a stock against the product coupon it belongs to."""
    fields.optional_text(stock, "remark", at=at, most=60)
    fields.choice(stock, "coupon_code_mode", (WECHATPAY, UPLOAD, API_ASSIGN), at=at)
    budgets(fields.mapping(stock, "stock_send_rule", at=at), at=f"{at}/stock_send_rule")
    fields.choice(stock, "store_scope", ("NONE", "ALL", "SPECIFIC"), at=at)
    if product["usage_mode"] == SEQUENTIAL:
        rule = fields.mapping(stock, "sequential_usage_rule", at=at)
        count: int = product["sequential_usage_info"]["count"]
        one_rule_a_round(rule, product["type"], count, at=f"{at}/sequential_usage_rule")
        period(rule, at=f"{at}/sequential_usage_rule")
    else:
        rule = fields.mapping(stock, "single_usage_rule", at=at)
        stock_rule_fits_the_type(rule, product, at=f"{at}/single_usage_rule")
        period(rule, at=f"{at}/single_usage_rule")
    usage_methods(fields.mapping(stock, "usage_rule_display_info", at=at), at=f"{at}/usage_rule_display_info")
    display = fields.mapping(stock, "coupon_display_info", at=at)
    fields.text(display, "code_display_mode", at=f"{at}/coupon_display_info")
    card(display, at=f"{at}/coupon_display_info")


def check_bundle(bundle: Body, product: Body, *, at: str = "/stock_bundle") -> None:
    """Check a stock bundle against the product coupon it belongs to; codes are never the caller's own here."""
    fields.optional_text(bundle, "remark", at=at, most=60)
    fields.choice(bundle, "coupon_code_mode", (WECHATPAY, UPLOAD), at=at)
    budgets(fields.mapping(bundle, "stock_send_rule", at=at), at=f"{at}/stock_send_rule")
    fields.choice(bundle, "store_scope", ("NONE", "ALL", "SPECIFIC"), at=at)
    rule = fields.mapping(bundle, "progressive_bundle_usage_rule", at=at)
    count: int = product["progressive_bundle_usage_info"]["count"]
    one_rule_a_round(rule, product["type"], count, at=f"{at}/progressive_bundle_usage_rule")
    period(rule, at=f"{at}/progressive_bundle_usage_rule")
    usage_methods(fields.mapping(bundle, "usage_rule_display_info", at=at), at=f"{at}/usage_rule_display_info")
    card(fields.mapping(bundle, "coupon_display_info", at=at), at=f"{at}/coupon_display_info")


def check_changes(changes: Body) -> None:
    """Check what a change of a stock or a bundle brings; what it leaves out stays."""
    fields.optional_text(changes, "remark", most=60)
    if changes.get("store_scope") is not None:
        fields.choice(changes, "store_scope", ("NONE", "ALL", "SPECIFIC"))
    if changes.get("usage_rule_display_info") is not None:
        usage_methods(changes["usage_rule_display_info"], at="/usage_rule_display_info")
    if changes.get("coupon_display_info") is not None:
        card(changes["coupon_display_info"], at="/coupon_display_info")


def steps_of(bundle: Body, product: Body) -> list[dict[str, Any]]:
    """Return the facts of the stocks a checked bundle stands for: the same but for each one's own discount."""
    common = {name: value for name, value in bundle.items() if name != "progressive_bundle_usage_rule"}
    rule = bundle["progressive_bundle_usage_rule"]
    discount_name = _RULES[product["type"]]
    return [
        {
            **common,
            "progressive_bundle_usage_rule": {
                "coupon_available_period": rule["coupon_available_period"],
                discount_name: step,
            },
        }
        for step in rule[f"{discount_name}_list"]
    ]


def exchange_is_for_single_items(scope: str, kind: str) -> None:
    """An exchange coupon (兑换券) exchanges one item."""
    if kind == "EXCHANGE" and scope != "SINGLE":
        raise invalid_request("兑换券仅支持单品券")


def names_and_images(display: Body) -> None:
    """The name has 3 to 15 characters, there are at most eight detail images (详情图), and an image is a URL.

    The pages take only addresses that the upload answered; whose they are cannot be told from a copy of them, so any URL will do.
    """
    fields.text(display, "name", at="/display_info", least=3, most=15)
    images = [("image_url", fields.text(display, "image_url", at="/display_info"))]
    if background := fields.optional_text(display, "background_url", at="/display_info"):
        images.append(("background_url", background))
    details = fields.array(display, "detail_image_url_list", at="/display_info", most=8)
    images += [(f"detail_image_url_list/{index}", url) for index, url in enumerate(details)]
    for name, url in images:
        if not url.startswith(("https://", "http://")):
            raise param_error(f"/display_info/{name}", "must be a URL", value=url)


def single_items_name_their_price(display: Body) -> None:
    """A single-item coupon (单品券) shows what the item costs without it."""
    if display.get("original_price") is None:
        raise invalid_request("单品券必须提供商品原价,请补充")
    fields.integer(display, "original_price", at="/display_info", least=0, most=MAX_PRICE)


def single_items_list_their_packages(display: Body) -> None:
    """A single-item coupon lists its packages (套餐组合), each with something to choose from."""
    packages = fields.objects(display, "combo_package_list", at="/display_info", most=100)
    if not packages:
        raise invalid_request("单品券必须提供商品券套餐组合信息,请补充")
    for index, package in enumerate(packages):
        at = f"/display_info/combo_package_list/{index}"
        fields.text(package, "name", at=at)
        fields.integer(package, "pick_count", at=at, least=1, most=1_000)
        choices = fields.objects(package, "choice_list", at=at, most=100)
        if not choices:
            raise param_error(f"{at}/choice_list", "required")
        for number, option in enumerate(choices):
            spot = f"{at}/choice_list/{number}"
            fields.text(option, "name", at=spot)
            fields.integer(option, "price", at=spot, least=0, most=MAX_PRICE)
            fields.integer(option, "count", at=spot, least=1, most=1_000)


def discount_sits_where_the_scope_says(body: Body, scope: str, kind: str) -> None:
    """All-goods discounts sit in the product coupon, single-item ones in the stock."""
    info = fields.optional_mapping(body, "single_usage_info")
    if scope == "SINGLE":
        if info and (info.get("normal_coupon") or info.get("discount_coupon")):
            message = "单品满减券或单品折扣券不应在商品券中设置「满减券使用规则」或「折扣券使用规则」,而是应该在商品券批次中设置"
            raise invalid_request(message)
        return
    if info is None:
        raise invalid_request("单券模式下,全场券需要提供「单券模式信息(single_usage_info)」")
    rule = fields.optional_mapping(info, _RULES[kind], at="/single_usage_info")
    if rule is None:
        raise invalid_request(f"单券模式下,全场{_TERMS[kind]}应在商品券中提供{_TERMS[kind]}使用规则信息")
    discount(rule, kind, at=f"/single_usage_info/{_RULES[kind]}")


def rounds_are_described(body: Body) -> None:
    """A multi-use coupon (多次优惠) says how many rounds it has and how long they last."""
    if body.get("sequential_usage_info") is None:
        raise invalid_request("多次优惠模式下必须提供「多次优惠模式信息(sequential_usage_info)」")
    info = fields.mapping(body, "sequential_usage_info")
    at = "/sequential_usage_info"
    fields.choice(info, "type", ("INCREMENTAL", "EQUAL"), at=at)
    fields.integer(info, "count", at=at, least=2, most=MAX_ROUNDS)
    fields.integer(info, "available_days", at=at, least=LEAST_SEQUENTIAL_DAYS, most=MAX_VALID_DAYS)
    fields.optional_integer(info, "interval_days", at=at, least=0, most=MAX_INTERVAL_DAYS)


def steps_are_described(body: Body) -> None:
    """A progressive bundle (多次优惠, newer pages) says how many coupons it has; bounds by analogy with the rounds."""
    if body.get("progressive_bundle_usage_info") is None:
        raise invalid_request("多次优惠模式下必须提供「多次优惠模式信息(progressive_bundle_usage_info)」")
    info = fields.mapping(body, "progressive_bundle_usage_info")
    at = "/progressive_bundle_usage_info"
    fields.integer(info, "count", at=at, least=2, most=MAX_ROUNDS)
    fields.optional_integer(info, "interval_days", at=at, least=0, most=MAX_INTERVAL_DAYS)


def discount(rule: Body, kind: str, *, at: str) -> None:
    """Check the numbers of one discount; money in fen, ``percent_off`` 30 meaning 30 % less."""
    fields.integer(rule, "threshold", at=at, least=0, most=MAX_FEN)
    if kind == "DISCOUNT":
        fields.integer(rule, "percent_off", at=at, least=1, most=99)
    elif kind == "EXCHANGE":
        fields.integer(rule, "exchange_price", at=at, least=0, most=MAX_FEN)
    else:
        fields.integer(rule, "discount_amount", at=at, least=1, most=MAX_FEN)


def stock_rule_fits_the_type(rule: Body, product: Body, *, at: str) -> None:
    """A single-item stock carries the rule of its type and no other; an all-goods stock carries none."""
    given = [name for name in _RULES.values() if rule.get(name) is not None]
    wanted = _RULES[product["type"]] if product["scope"] == "SINGLE" else None
    if given != ([wanted] if wanted else []):
        raise invalid_request(STOCK_RULE_MISSING)
    if wanted:
        discount(fields.mapping(rule, wanted, at=at), product["type"], at=f"{at}/{wanted}")


def one_rule_a_round(rule: Body, kind: str, count: int, *, at: str) -> None:
    """A multi-use stock carries one rule for each round, all of the product coupon's type."""
    name = _RULES[kind] + "_list"
    others = [f"{other}_list" for other in _RULES.values() if f"{other}_list" != name]
    rules = fields.objects(rule, name, at=at, most=100)
    if len(rules) != count or any(rule.get(other) for other in others):
        raise invalid_request(ROUND_RULES_MISSING)
    for index, item in enumerate(rules):
        discount(item, kind, at=f"{at}/{name}/{index}")


def budgets(rule: Body, *, at: str) -> None:
    """Check the limits of sending: in total, a day, a user."""
    fields.integer(rule, "max_count", at=at, least=1, most=MAX_BUDGET)
    fields.optional_integer(rule, "max_count_per_user", at=at, least=1, most=MAX_PER_USER)
    fields.optional_integer(rule, "max_count_per_day", at=at, least=1, most=MAX_BUDGET)


def period(rule: Body, *, at: str) -> None:
    """Check when coupons may be used (券可核销时间)."""
    at = f"{at}/coupon_available_period"
    available: Any = rule.get("coupon_available_period")
    if not isinstance(available, dict):
        raise param_error(at, "required", value=available)
    begin = fields.instant(available, "available_begin_time", at=at)
    end = fields.instant(available, "available_end_time", at=at)
    if end <= begin:
        raise param_error(f"{at}/available_end_time", "must be after available_begin_time", numeric=PARAM_OUT_OF_RANGE)
    if end - begin > MAX_VALID_DAYS * DAY:
        issue = f"at most {MAX_VALID_DAYS} days after available_begin_time"
        raise param_error(f"{at}/available_end_time", issue, numeric=PARAM_OUT_OF_RANGE)
    fields.optional_integer(available, "available_seconds", at=at, least=1, most=MAX_VALID_DAYS * DAY)
    fields.optional_integer(available, "available_days", at=at, least=1, most=MAX_VALID_DAYS)
    fields.optional_integer(available, "wait_days_after_receive", at=at, least=0, most=MAX_VALID_DAYS)
    weekly = fields.optional_mapping(available, "weekly_available_period", at=at)
    if weekly is not None:
        weekly_hours_need_days(weekly, at=f"{at}/weekly_available_period")
    for index, span in enumerate(fields.objects(available, "irregular_available_period_list", at=at, most=100)):
        spot = f"{at}/irregular_available_period_list/{index}"
        opens = fields.instant(span, "begin_time", at=spot)
        if fields.instant(span, "end_time", at=spot) <= opens:
            raise param_error(f"{spot}/end_time", "must be after begin_time", numeric=PARAM_OUT_OF_RANGE)


def weekly_hours_need_days(weekly: Body, *, at: str) -> None:
    """Hours of the day (day_period_list) make sense only on named days (day_list)."""
    days = fields.array(weekly, "day_list", at=at, most=7)
    hours = fields.objects(weekly, "day_period_list", at=at, most=100)
    if hours and not days:
        message = "每周固定可用时间(weekly_available_period)中提供当天可用时间段时(day_period_list),每周可用星期数(day_list)必填"
        raise invalid_request(message)
    for day in days:
        if day not in DAYS:
            raise param_error(f"{at}/day_list", "must be one of " + " ".join(DAYS), value=day)
    for index, span in enumerate(hours):
        spot = f"{at}/day_period_list/{index}"
        begin = fields.integer(span, "begin_time", at=spot, least=0, most=86_399)
        fields.integer(span, "end_time", at=spot, least=begin, most=86_399)


def usage_methods(display: Body, *, at: str) -> None:
    """Check how coupons may be used: a mini program needs its appid and path, an app its path."""
    methods = fields.array(display, "coupon_usage_method_list", at=at, most=10)
    if not methods:
        raise param_error(f"{at}/coupon_usage_method_list", "required", numeric=PARAM_TOO_SHORT)
    for method in methods:
        if method not in ("OFFLINE", "MINI_PROGRAM", "APP", "PAYMENT_CODE"):
            raise param_error(f"{at}/coupon_usage_method_list", "unknown usage method", value=method)
    if "MINI_PROGRAM" in methods:
        if not display.get("mini_program_appid"):
            raise invalid_request("商品券支持小程序核销时,必须提供「小程序AppID」")
        if not display.get("mini_program_path"):
            raise invalid_request("商品券支持小程序核销时,必须提供「小程序跳转路径」")
    if "APP" in methods and not display.get("app_path"):
        raise invalid_request("商品券支持APP核销时,必须提供「APP跳转路径」")
    fields.optional_text(display, "usage_description", at=at, most=1_000)
    if display.get("app_jump_type") is not None:
        fields.choice(display, "app_jump_type", ("H5", "PASSCODE_LINK", "USAGE_GUIDE"), at=at)
    given_objects_are_whole(display, {"coupon_available_store_info": ("description",)}, at=at)


def card(display: Body, *, at: str) -> None:
    """Check how the coupon looks in the user's wallet (guidance_wording is required on one page only)."""
    if display.get("code_display_mode") is not None:
        fields.choice(display, "code_display_mode", ("INVISIBLE", "BARCODE", "QRCODE"), at=at)
    if display.get("background_color") is not None:
        fields.choice(display, "background_color", tuple(f"Color{number:02d}0" for number in range(1, 11)), at=at)
    needs = {
        "entrance_mini_program": ("appid", "path", "entrance_wording"),
        "entrance_official_account": ("appid",),
        "entrance_finder": ("finder_id", "finder_video_id", "finder_video_cover_image_url"),
    }
    given_objects_are_whole(display, needs, at=at)


def given_objects_are_whole(display: Body, needs: dict[str, tuple[str, ...]], *, at: str) -> None:
    """An object may be left out, but what is given has its required fields."""
    for name, required in needs.items():
        given = fields.optional_mapping(display, name, at=at)
        if given is not None:
            for field in required:
                fields.text(given, field, at=f"{at}/{name}")
