"""The rules between the fields of what is created: which fields go together, and what scope, type and usage mode ask for.

They follow the error tables of 向用户发放商品券 and 失效商品券批次 (https://pay.weixin.qq.com/doc/brand/), quoted where a rule
is one of their rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from wxcoupon_analytics.wire.validation.fields import Findings, Rule, entries, has, instant, join, part

COUPON_OF_TYPE = {"NORMAL": "normal_coupon", "DISCOUNT": "discount_coupon", "EXCHANGE": "exchange_coupon"}
COUPONS = tuple(COUPON_OF_TYPE.values())
COUPON_LISTS = tuple(f"{name}_list" for name in COUPONS)
RULE_OF_MODE = {
    "SINGLE": "single_usage_rule",
    "SEQUENTIAL": "sequential_usage_rule",
    "PROGRESSIVE_BUNDLE": "progressive_bundle_usage_rule",
}
INFO_OF_MODE = {
    "SINGLE": "single_usage_info",
    "SEQUENTIAL": "sequential_usage_info",
    "PROGRESSIVE_BUNDLE": "progressive_bundle_usage_info",
}


def day_periods_need_days(weekly: Mapping[str, Any], path: str, found: Findings) -> None:
    """每周固定可用时间中提供当天可用时间段时，每周可用星期数必填; without day periods only the example's comments ask for it."""
    if has(weekly, "day_list"):
        return
    if has(weekly, "day_period_list"):
        found.wrong(join(path, "day_list"), "is missing; day_period_list needs it: name the days it holds for")
    else:
        found.disputed(
            join(path, "day_list"), "is missing: the request example asks for it, the reference calls it optional"
        )


def validity_is_at_most_a_year(period: Mapping[str, Any], path: str, found: Findings) -> None:
    """Hold a stock to the 365 days that the reference allows between its two times."""
    begin, end = instant(period.get("available_begin_time")), instant(period.get("available_end_time"))
    if begin is not None and end is not None and end - begin > timedelta(days=365):
        found.wrong(
            join(path, "available_end_time"),
            f"lies {(end - begin).days} days after available_begin_time; a stock is valid for at most 365 days",
        )


def days_and_irregular_periods(period: Mapping[str, Any], path: str, found: Findings) -> None:
    """Name the pair that one page forbids and the request example uses."""
    if has(period, "available_days") and has(period, "irregular_available_period_list"):
        found.disputed(
            join(path, "available_days"),
            "stands together with irregular_available_period_list: one page forbids the pair, the request example has it",
        )


def waiting_needs_days(period: Mapping[str, Any], path: str, found: Findings) -> None:
    """Name a waiting time that one page would ignore."""
    if period.get("wait_days_after_receive") and not (
        has(period, "available_days") or has(period, "available_seconds")
    ):
        found.disputed(
            join(path, "wait_days_after_receive"),
            "stands without available_days: one page says that it works only with it, the others do not",
        )


def usage_methods_have_their_targets(display: Mapping[str, Any], path: str, found: Findings) -> None:
    """商品券支持小程序核销时，必须提供「小程序AppID」「小程序跳转路径」; 支持APP核销时，必须提供「APP跳转路径」."""
    methods = entries(display, "coupon_usage_method_list")
    if "MINI_PROGRAM" in methods:
        for name in ("mini_program_appid", "mini_program_path"):
            if not has(display, name):
                found.wrong(join(path, name), "is missing; coupon_usage_method_list has MINI_PROGRAM, which needs it")
    if "APP" in methods and not has(display, "app_path"):
        jump = display.get("app_jump_type")
        if jump is None or jump == "H5":
            found.wrong(join(path, "app_path"), "is missing; coupon_usage_method_list has APP, which needs it")
        else:
            found.disputed(
                join(path, "app_path"),
                "is missing: the error tables ask for it with APP, the pages that know app_jump_type call it a path for H5",
            )


def one_kind(names: tuple[str, ...], *, needed: bool) -> Rule:
    """Build the rule that a usage rule speaks of one coupon type (对于文档中标记不应填写的优惠规则应删除)."""

    def rule(usage: Mapping[str, Any], path: str, found: Findings) -> None:
        given = [name for name in names if has(usage, name)]
        for extra in given[1:]:
            found.wrong(
                join(path, extra),
                f"stands beside {given[0]}; keep the rule of the product coupon's type and remove the other",
            )
        if needed and not given:
            found.wrong(path, f"holds no discount; give {', '.join(names[:-1])} or {names[-1]}")

    return rule


def exchange_is_for_single_goods(body: Mapping[str, Any], path: str, found: Findings) -> None:
    """EXCHANGE: 仅在 scope 为 SINGLE 时可配置."""
    if body.get("type") == "EXCHANGE" and body.get("scope") in ("ALL", "CATEGORY"):
        found.wrong(join(path, "type"), f"EXCHANGE needs scope SINGLE, not {body['scope']}; change one of them")


def single_goods_have_price_and_package(body: Mapping[str, Any], path: str, found: Findings) -> None:
    """单品券必须提供商品原价; 单品券必须提供商品券套餐组合信息."""
    display = join(path, "display_info")
    for name in ("original_price", "combo_package_list"):
        there = has(body.get("display_info"), name)
        if body.get("scope") == "SINGLE" and not there:
            found.wrong(join(display, name), "is missing; a product coupon of scope SINGLE needs it")
        elif body.get("scope") == "ALL" and there:
            found.disputed(
                join(display, name),
                "is given with scope ALL: the pages provide it for scope SINGLE only, an example answer has it with ALL",
            )


def usage_info_of_the_mode(body: Mapping[str, Any], path: str, found: Findings) -> None:
    """单券模式下，全场券需要提供「单券模式信息」; 多次优惠模式下必须提供「多次优惠模式信息」."""
    mode, scope = body.get("usage_mode"), body.get("scope")
    own = INFO_OF_MODE.get(mode) if isinstance(mode, str) else None
    if own is None:
        return
    if not has(body, own) and (mode != "SINGLE" or scope == "ALL"):
        found.wrong(join(path, own), f"is missing; usage_mode {mode}{' with scope ALL' * (mode == 'SINGLE')} needs it")
    for other in INFO_OF_MODE.values():
        if other != own and has(body, other):
            found.disputed(
                join(path, other), f"is given with usage_mode {mode}: the pages rule it out, an example answer has it"
            )


def discount_of_all_goods_is_in_the_product_coupon(body: Mapping[str, Any], path: str, found: Findings) -> None:
    """单券模式下，全场满减券/折扣券应在商品券中提供满减券/折扣券使用规则信息."""
    own = COUPON_OF_TYPE.get(str(body.get("type")))
    info = part(body, "single_usage_info")
    if (
        body.get("usage_mode") != "SINGLE"
        or body.get("scope") != "ALL"
        or own is None
        or not has(body, "single_usage_info")
    ):
        return
    here = join(path, "single_usage_info")
    if own != "exchange_coupon" and not has(info, own):
        found.wrong(join(here, own), f"is missing; type {body['type']} with scope ALL has its discount here")
    for other in COUPONS:
        if other != own and has(info, other):
            found.disputed(
                join(here, other),
                f"is given with type {body['type']}: the pages rule it out, an example answer has both",
            )


def discount_of_single_goods_is_in_the_stock(body: Mapping[str, Any], path: str, found: Findings) -> None:
    """单品满减券或单品折扣券不应在商品券中设置使用规则，而是应该在商品券批次中设置."""
    if body.get("usage_mode") != "SINGLE":
        return
    info, rule = part(body, "single_usage_info"), part(body, "stock", "single_usage_rule")
    in_stock = join(path, "stock.single_usage_rule")
    own = COUPON_OF_TYPE.get(str(body.get("type")))
    if body.get("scope") == "SINGLE":
        for name in COUPONS:
            if has(info, name):
                found.wrong(
                    join(path, f"single_usage_info.{name}"),
                    f"does not belong here with scope SINGLE; move it to stock.single_usage_rule.{name}",
                )
        if own and has(part(body, "stock"), "single_usage_rule") and not has(rule, own):
            found.wrong(join(in_stock, own), f"is missing; type {body['type']} with scope SINGLE has its discount here")
            _of_another_type(rule, COUPONS, str(body["type"]), in_stock, found)
    elif body.get("scope") == "ALL":
        for name in COUPONS:
            if has(rule, name):
                found.wrong(
                    join(in_stock, name),
                    f"does not belong here with scope ALL; the discount of the product coupon holds (single_usage_info.{name})",
                )


def _of_another_type(rule: Mapping[str, Any], names: tuple[str, ...], kind: str, path: str, found: Findings) -> None:
    for name in names:
        if has(rule, name):
            found.wrong(join(path, name), f"belongs to another type than {kind}; remove it")


def stock_of_the_mode(body: Mapping[str, Any], path: str, found: Findings) -> None:
    """Say which of ``stock`` and ``stock_bundle`` a usage mode creates, and which usage rule that must hold."""
    mode = body.get("usage_mode")
    own = RULE_OF_MODE.get(mode) if isinstance(mode, str) else None
    wanted = "stock_bundle" if mode == "PROGRESSIVE_BUNDLE" else "stock"
    container = wanted
    if not has(body, wanted):
        other = "stock" if wanted == "stock_bundle" else "stock_bundle"
        if has(body, other) and mode != "SINGLE":
            container = other
            found.disputed(join(path, wanted), f"is missing beside {other}: the pages differ on which {mode} takes")
        else:
            found.wrong(join(path, wanted), "is missing; a product coupon is created with its first one")
            return
    if own and isinstance(body[container], Mapping) and not has(body[container], own):
        found.wrong(join(path, f"{container}.{own}"), f"is missing; usage_mode {mode} needs it")


def as_many_discounts_as_rounds(body: Mapping[str, Any], path: str, found: Findings) -> None:
    """应该在「多次优惠使用规则」中包含对应类型的优惠规则，且数量与多次优惠的优惠次数相等."""
    mode = body.get("usage_mode")
    if mode not in ("SEQUENTIAL", "PROGRESSIVE_BUNDLE"):
        return
    own = COUPON_OF_TYPE.get(str(body.get("type")))
    count = part(body, INFO_OF_MODE[mode]).get("count")
    for container in ("stock", "stock_bundle"):
        rule = part(body, container, RULE_OF_MODE[mode])
        if own is None or not rule:
            continue
        here = join(path, f"{container}.{RULE_OF_MODE[mode]}")
        if not has(rule, f"{own}_list"):
            found.wrong(join(here, f"{own}_list"), f"is missing; type {body['type']} has its discounts here")
            _of_another_type(rule, COUPON_LISTS, str(body["type"]), here, found)
        elif type(count) is int and len(given := entries(rule, f"{own}_list")) != count:
            found.wrong(
                join(here, f"{own}_list"),
                f"has {len(given)} entries, and {INFO_OF_MODE[mode]}.count is {count}; give one for each use",
            )


def stock_has_a_usage_rule(body: Mapping[str, Any], path: str, found: Findings) -> None:
    """Hold a stock that is added to a coupon of unknown usage mode to having the rule of one (当且仅当 usage_mode 为 … 时提供)."""
    stock, here = body.get("stock"), join(path, "stock")
    if not isinstance(stock, Mapping):
        return
    given = [name for name in RULE_OF_MODE.values() if has(stock, name)]
    if not given:
        found.wrong(
            join(here, "single_usage_rule"),
            "is missing, and so are the rules of the other usage modes; give the one of the product coupon's usage_mode",
        )
    for extra in given[1:]:
        found.disputed(
            join(here, extra),
            f"stands beside {given[0]}: the pages give a stock the rule of its usage mode only, an example answer has both",
        )


def bundle_has_its_usage_rule(body: Mapping[str, Any], path: str, found: Findings) -> None:
    """多次优惠使用模式的商品券批次，应该在「多次优惠使用规则」中包含对应类型的优惠规则."""
    bundle = body.get("stock_bundle")
    if isinstance(bundle, Mapping) and not has(bundle, "progressive_bundle_usage_rule"):
        found.wrong(join(path, "stock_bundle.progressive_bundle_usage_rule"), "is missing; a stock bundle needs it")
