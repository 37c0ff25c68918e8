"""What the demonstration brand, a coffee chain, offers: eight product coupons and the stocks of their campaigns.

Days count from the day the box starts, 0; every campaign is placed so that at the start all five stock states are there, one
budget has run out, some daily limits are hit and some are not. Optional fields come and go from stock to stock, as they do in
accounts that several people have kept over a year.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from wxcoupon_analytics.sandbox import validity
from wxcoupon_analytics.sandbox.books import (
    API_ASSIGN,
    BUNDLE,
    SEQUENTIAL,
    SINGLE,
    UPLOAD,
    WECHATPAY,
    Books,
    Deactivation,
    ProductCoupon,
    Stock,
)
from wxcoupon_analytics.sandbox.clock import DAY, midnight, quota_day, rfc3339
from wxcoupon_analytics.sandbox.events import end_product, end_stock, pass_audit, pause, start_sending

_IMAGE = "https://wxpaylogo.qpic.cn/wxpaylogo/PiajxSqBRaEIPAeia7Imvtsr/{}"
_MINI = "wx4fd1234567890abc"


@dataclass(frozen=True)
class Campaign:
    """What is given out together: one stock, or the steps of a bundle; and how much it is wanted."""

    stocks: tuple[Stock, ...]
    begins: int  # day on which sending starts
    daily: float  # receipts wanted on an average day
    appeal: float  # share of holders who would use it, had they all the time


@dataclass(frozen=True)
class Line:
    """One stock of the catalogue."""

    remark: str | None
    mode: str
    total: int
    a_day: int | None
    a_user: int
    begins: int
    available: tuple[int, int]  # first and last day of validity
    daily: float
    appeal: float
    days: int | None = None  # natural days a coupon is valid
    wait: int | None = None
    rule: dict[str, Any] = field(default_factory=dict)
    events: tuple[tuple[int, str], ...] = ()  # (day, "pause" | "resume" | "deactivate")


@dataclass(frozen=True)
class Offer:
    """One product coupon of the catalogue and its stocks."""

    facts: dict[str, Any]
    lines: tuple[Line, ...]
    ends: int | None = None  # day on which the whole product coupon is deactivated
    bundle: bool = False


def _display(name: str, image: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "image_url": _IMAGE.format(image), **more}


def _package(name: str, *choices: tuple[str, int]) -> dict[str, Any]:
    options = [
        {"name": item, "price": price, "count": 1, "image_url": _IMAGE.format(f"item{price}")}
        for item, price in choices
    ]
    return {"name": name, "pick_count": 1, "choice_list": options}


def _normal(threshold: int, amount: int) -> dict[str, Any]:
    return {"threshold": threshold, "discount_amount": amount}


def offers() -> tuple[Offer, ...]:
    """Return the catalogue."""
    latte, bagel = ("拿铁", 2800), ("原味贝果", 1600)
    background = {"background_url": _IMAGE.format("bg01")}
    exchange = {"exchange_coupon": {"threshold": 0, "exchange_price": 990}}
    return (
        Offer(
            {
                "scope": "ALL",
                "type": "NORMAL",
                "usage_mode": SINGLE,
                "single_usage_info": {"normal_coupon": _normal(10_000, 2_000)},
                "display_info": _display("全场满100减20", "all100", **background),
                "out_product_no": "COFFEE_ALL_100_20",
            },
            (
                Line("十月门店通用", WECHATPAY, 20_000, 150, 3, -40, (-40, 50), 130, 0.34, days=14),
                Line("双十一预热", UPLOAD, 30_000, None, 2, -6, (9, 12), 110, 0.45),
                Line("国庆返场", WECHATPAY, 8_000, None, 2, -32, (-32, -3), 60, 0.30, days=10),
                Line("新客专享", API_ASSIGN, 5_000, 60, 1, -26, (-26, 60), 42, 0.48, days=7),
                Line("十一月加推", WECHATPAY, 12_000, 240, 2, 1, (1, 60), 150, 0.36, days=14),
            ),
        ),
        Offer(
            {
                "scope": "ALL",
                "type": "DISCOUNT",
                "usage_mode": SINGLE,
                "single_usage_info": {"discount_coupon": {"threshold": 5_000, "percent_off": 20}},
                "display_info": _display("全场满50享八折", "all80", detail_image_url_list=[_IMAGE.format("d1")]),
                "out_product_no": "COFFEE_ALL_80",
            },
            (
                Line("会员日八折", WECHATPAY, 15_000, 90, 2, -30, (-30, 40), 72, 0.27, days=10, wait=1),
                Line("写字楼专场", UPLOAD, 6_000, None, 1, -24, (-24, 45), 40, 0.22, 21, events=((-4, "pause"),)),
                Line("限量早鸟", WECHATPAY, 800, 120, 1, -21, (-21, 30), 95, 0.52, days=7),
                Line(None, API_ASSIGN, 9_000, 80, 1, -27, (-27, 40), 50, 0.18, 14, events=((-9, "deactivate"),)),
            ),
        ),
        Offer(
            {
                "scope": "SINGLE",
                "type": "NORMAL",
                "usage_mode": SINGLE,
                "single_usage_info": {},
                "display_info": _display(
                    "拿铁立减8元",
                    "latte",
                    original_price=2_800,
                    combo_package_list=[_package("拿铁任选", latte, ("燕麦拿铁", 3_200))],
                ),
            },
            (
                Line("拿铁日常", WECHATPAY, 10_000, 70, 2, -35, (-35, 55), 55, 0.41, 7, rule=_latte(800)),
                Line("社群拉新", API_ASSIGN, 4_000, None, 1, -16, (-16, 45), 38, 0.37, 5, rule=_latte(800)),
                Line("秋季快闪", UPLOAD, 3_000, 50, 1, -25, (-25, -8), 46, 0.33, 5, rule=_latte(1_000)),
            ),
        ),
        Offer(
            {
                "scope": "SINGLE",
                "type": "DISCOUNT",
                "usage_mode": SINGLE,
                "display_info": _display(
                    "早餐贝果七折", "bagel", original_price=1_600, combo_package_list=[_package("贝果任选", bagel)]
                ),
                "out_product_no": "BAGEL_70",
            },
            (
                Line("工作日早餐", WECHATPAY, 9_000, 100, 3, -28, (-28, 60), 62, 0.39, 5, rule=_bagel()),
                Line("早餐新店", WECHATPAY, 3_000, 60, 1, 5, (5, 60), 45, 0.35, 7, rule=_bagel()),
            ),
        ),
        Offer(
            {
                "scope": "SINGLE",
                "type": "EXCHANGE",
                "usage_mode": SINGLE,
                "display_info": _display(
                    "生椰拿铁9.9元兑换",
                    "coco",
                    original_price=2_600,
                    combo_package_list=[_package("生椰拿铁", ("生椰拿铁", 2_600))],
                    **background,
                ),
                "out_product_no": "COCO_EXCHANGE",
            },
            (
                Line("九块九周周兑", UPLOAD, 12_000, 130, 2, -27, (-27, 40), 120, 0.61, 7, rule=exchange),
                Line(
                    "兑换试点",
                    WECHATPAY,
                    2_000,
                    None,
                    1,
                    -23,
                    (-23, 20),
                    24,
                    0.55,
                    7,
                    None,
                    exchange,
                    ((-12, "pause"), (-10, "deactivate")),
                ),
            ),
        ),
        Offer(
            {
                "scope": "ALL",
                "type": "NORMAL",
                "usage_mode": SEQUENTIAL,
                "sequential_usage_info": {"type": "EQUAL", "count": 3, "available_days": 30, "interval_days": 1},
                "display_info": _display("三次券每次减6元", "seq3"),
                "out_product_no": "SEQ_3X6",
            },
            (
                Line("次卡常规", WECHATPAY, 5_000, 40, 1, -25, (-25, 60), 30, 0.58, rule=_rounds(600)),
                Line("次卡校园", WECHATPAY, 2_000, None, 1, -12, (-12, 60), 16, 0.44, wait=1, rule=_rounds(600)),
            ),
        ),
        Offer(
            {
                "scope": "ALL",
                "type": "NORMAL",
                "usage_mode": BUNDLE,
                "progressive_bundle_usage_info": {"count": 3, "interval_days": 2},
                "display_info": _display("三连券越喝越省", "bundle3"),
            },
            tuple(
                Line(
                    f"三连券第{step + 1}张",
                    WECHATPAY,
                    6_000,
                    45,
                    1,
                    -20,
                    (-20, 60),
                    34,
                    0.40 - 0.08 * step,
                    days=15,
                    rule={"normal_coupon": _normal(3_000, amount)},
                )
                for step, amount in enumerate((500, 800, 1_200))
            ),
            bundle=True,
        ),
        Offer(
            {
                "scope": "ALL",
                "type": "NORMAL",
                "usage_mode": SINGLE,
                "single_usage_info": {"normal_coupon": _normal(5_000, 1_000)},
                "display_info": _display("夏日冰饮满50减10", "summer"),
                "out_product_no": "SUMMER_50_10",
            },
            (Line("夏末清仓", WECHATPAY, 4_000, 60, 1, -60, (-60, 10), 40, 0.25, days=20),),
            ends=-15,
        ),
    )


def _latte(amount: int) -> dict[str, Any]:
    return {"normal_coupon": _normal(2_000, amount)}


def _bagel() -> dict[str, Any]:
    return {"discount_coupon": {"threshold": 1_500, "percent_off": 30}}


def _rounds(amount: int) -> dict[str, Any]:
    return {"normal_coupon_list": [_normal(2_000, amount)] * 3, "special_first": False}


def open_shop(books: Books, start: int) -> list[Campaign]:
    """Write the catalogue into the books, put its own events on the agenda, and return what is to be given out."""
    today = quota_day(start)
    campaigns: list[Campaign] = []
    for offer in offers():
        product = books.open_product(offer.facts)
        bundle_id = f"9{product.id}"
        stocks = [
            _open(books, product, line, today, index, bundle_id if offer.bundle else None)
            for index, line in enumerate(offer.lines)
        ]
        first = min(line.begins for line in offer.lines)
        books.agenda.add(midnight(today + first) + 8 * 3_600, pass_audit, product)
        if offer.ends is not None:
            end = Deactivation("DEACT_SUMMER_OVER", midnight(today + offer.ends) + 36_000, "夏季活动结束")
            books.agenda.add(end.time, end_product, product, end)
        groups = [tuple(stocks)] if offer.bundle else [(stock,) for stock in stocks]
        for group, line in zip(groups, offer.lines, strict=False):
            campaigns.append(Campaign(group, today + line.begins, line.daily, line.appeal))
    return campaigns


def _open(books: Books, product: ProductCoupon, line: Line, today: int, index: int, bundle_id: str | None) -> Stock:
    facts: dict[str, Any] = {"remark": line.remark} if line.remark else {}
    facts["coupon_code_mode"] = line.mode
    facts["stock_send_rule"] = {"max_count": line.total, "max_count_per_user": line.a_user}
    if line.a_day is not None:
        facts["stock_send_rule"]["max_count_per_day"] = line.a_day
    facts[validity.RULE_FIELDS.get(product.usage_mode, "single_usage_rule")] = {
        "coupon_available_period": _period(line, today, index),
        **line.rule,
    }
    if bundle_id is not None:
        facts["stock_bundle_info"] = {"stock_bundle_id": bundle_id, "stock_bundle_index": index}
    facts |= _looks(int(product.id) + index)
    stock = books.open_stock(product, facts, validity.available_end(product, facts))
    if line.mode == UPLOAD:
        stock.pool.extend(f"UP{stock.id[-6:]}{number:06d}" for number in range(min(line.total, 8_000)))
        stock.uploaded = len(stock.pool)
    books.agenda.add(midnight(today + line.begins) + 9 * 3_600, start_sending, stock)
    happen: dict[str, Callable[..., None]] = {"pause": pause, "resume": start_sending}
    for day, what in line.events:
        at = midnight(today + day) + 11 * 3_600 + 1_260
        if what == "deactivate":
            books.agenda.add(at, end_stock, stock, Deactivation(f"DEACT_{stock.id}", at, "活动提前结束,重新配置"))
        else:
            books.agenda.add(at, happen[what], stock)
    return stock


def _period(line: Line, today: int, index: int) -> dict[str, Any]:
    opens, closes = line.available
    period: dict[str, Any] = {
        "available_begin_time": rfc3339(midnight(today + opens)),
        "available_end_time": rfc3339(midnight(today + closes) + DAY - 1),
    }
    if line.days is not None:
        period["available_days"] = line.days
    if line.wait is not None:
        period["wait_days_after_receive"] = line.wait
    if line.remark == "工作日早餐":
        days = ["MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY"]
        period["weekly_available_period"] = {
            "day_list": days,
            "day_period_list": [{"begin_time": 21_600, "end_time": 39_599}],
        }
    if index == 1 and line.days is not None:
        spans = [(opens, opens + 20), (opens + 22, closes)]
        period["irregular_available_period_list"] = [
            {"begin_time": rfc3339(midnight(today + a)), "end_time": rfc3339(midnight(today + b))} for a, b in spans
        ]
    return period


def _looks(number: int) -> dict[str, Any]:
    """Return the fields that only decorate; every third stock lacks one of the optional ones."""
    methods = ["OFFLINE", "PAYMENT_CODE"] if number % 3 == 0 else ["MINI_PROGRAM", "OFFLINE"]
    usage: dict[str, Any] = {"coupon_usage_method_list": methods}
    if "MINI_PROGRAM" in methods:
        usage |= {"mini_program_appid": _MINI, "mini_program_path": "/pages/coupon/use"}
    usage["usage_description"] = "每单限用一张,不与其他优惠同享"
    if number % 2:
        usage["coupon_available_store_info"] = {"description": "全国门店可用,以小程序门店列表为准"}
    card: dict[str, Any] = {"code_display_mode": ("QRCODE", "BARCODE", "INVISIBLE")[number % 3]}
    if number % 4:
        card["background_color"] = f"Color0{number % 9 + 1}0"
    if number % 5 == 0:
        card["entrance_mini_program"] = {
            "appid": _MINI,
            "path": "/pages/index/index",
            "entrance_wording": "欢迎选购",
            "guidance_wording": "获取更多优惠",
        }
    looks: dict[str, Any] = {"usage_rule_display_info": usage, "coupon_display_info": card}
    if number % 3:
        looks["notify_config"] = {"notify_appid": _MINI}
    looks["store_scope"] = ("NONE", "ALL", "SPECIFIC")[number % 3]
    return looks
