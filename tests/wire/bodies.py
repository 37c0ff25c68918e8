"""Request bodies: the documentation's own examples as they stand, and valid ones that no page disputes."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

Json = dict[str, Any]
REQUESTS = Path(__file__).parent / "requests"
IMAGE = "https://wxpaylogo.qpic.cn/wxpaylogo/xxxxx/xxx"
LEFT_OUT = object()

NORMAL = {"threshold": 20000, "discount_amount": 5000}
DISCOUNT = {"threshold": 10000, "percent_off": 30}
EXCHANGE = {"threshold": 10000, "exchange_price": 100}
RULE = {"NORMAL": NORMAL, "DISCOUNT": DISCOUNT, "EXCHANGE": EXCHANGE}
FIELD = {"NORMAL": "normal_coupon", "DISCOUNT": "discount_coupon", "EXCHANGE": "exchange_coupon"}


def example(name: str) -> Json:
    """Give a request example of the documentation, unchanged."""
    body: Json = json.loads((REQUESTS / f"{name}.json").read_text(encoding="utf-8"))
    return body


def period() -> Json:
    return {
        "available_begin_time": "2025-08-01T00:00:00+08:00",
        "available_end_time": "2025-08-31T23:59:59+08:00",
        "available_days": 30,
    }


def stock(**more: Any) -> Json:
    return {
        "remark": "八月",
        "coupon_code_mode": "WECHATPAY",
        "stock_send_rule": {"max_count": 10_000_000, "max_count_per_day": 100_000, "max_count_per_user": 1},
        "usage_rule_display_info": {"coupon_usage_method_list": ["OFFLINE"], "usage_description": "工作日可用"},
        "coupon_display_info": {"code_display_mode": "QRCODE"},
        "store_scope": "NONE",
        "notify_config": {"notify_appid": "wx4fd12345678"},
        **more,
    }


def product_coupon(scope: str, kind: str, mode: str = "SINGLE", rounds: int = 3) -> Json:
    """Give a create request that every page agrees with."""
    body: Json = {
        "out_request_no": "CREATE_20250101_001",
        "scope": scope,
        "type": kind,
        "usage_mode": mode,
        "display_info": {"name": "满200减50", "image_url": IMAGE, "background_url": IMAGE},
    }
    if scope == "SINGLE":
        body["display_info"]["original_price"] = 10000
        choice = {"name": "美式", "price": 10000, "count": 1}
        body["display_info"]["combo_package_list"] = [{"name": "咖啡", "pick_count": 1, "choice_list": [choice]}]
    if mode == "SINGLE":
        rule: Json = {"coupon_available_period": period()}
        (rule if scope == "SINGLE" else body.setdefault("single_usage_info", {}))[FIELD[kind]] = dict(RULE[kind])
        body["stock"] = stock(single_usage_rule=rule)
        return body
    rule = {"coupon_available_period": period(), f"{FIELD[kind]}_list": [dict(RULE[kind]) for _ in range(rounds)]}
    if mode == "SEQUENTIAL":
        del rule["coupon_available_period"]["available_days"]
        body["sequential_usage_info"] = {"type": "EQUAL", "count": rounds, "available_days": 30, "interval_days": 1}
        body["stock"] = stock(sequential_usage_rule=rule)
    else:
        body["progressive_bundle_usage_info"] = {"count": rounds, "interval_days": 1}
        body["stock_bundle"] = stock(progressive_bundle_usage_rule=rule)
    return body


def sending(**more: Any) -> Json:
    return {
        "product_coupon_id": "1000000013",
        "stock_id": "1000000013001",
        "appid": "wx233544546545989",
        "send_request_no": "MCHSEND202003101234",
        **more,
    }


def changed(body: Json, dotted: str, value: Any) -> Json:
    """Give a copy with one field set, or with ``LEFT_OUT`` taken away; numbers in the path are list indexes."""
    body = copy.deepcopy(body)
    *steps, last = dotted.split(".")
    place: Any = body
    for step in steps:
        place = place[int(step)] if step.isdecimal() else place.setdefault(step, {})
    if value is LEFT_OUT:
        del place[last]
    else:
        place[int(last) if last.isdecimal() else last] = value
    return body
