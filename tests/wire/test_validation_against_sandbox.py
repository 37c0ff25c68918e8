"""The checks before the network and the embedded brand behind it, written apart: do they accept and refuse the same?"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

import wxcoupon_analytics as wx
from tests.wire.bodies import (
    DISCOUNT,
    IMAGE,
    LEFT_OUT,
    NORMAL,
    Json,
    changed,
    example,
    product_coupon,
    sending,
)
from wxcoupon_analytics.wire import questions
from wxcoupon_analytics.wire.validation import ApiRuleWarning, check

pytest.importorskip("starlette", reason="needs the sandbox extra")

Platform = Callable[[str, dict[str, str], Json], bool]
PERIOD = "stock.single_usage_rule.coupon_available_period"
SEND_RULE = "stock.stock_send_rule"
DISPLAY = "stock.usage_rule_display_info"
ENTRANCE = "stock.coupon_display_info"
OFF = "single_usage_info.normal_coupon"
WEEKLY = f"{PERIOD}.weekly_available_period"

ALL = product_coupon("ALL", "NORMAL")
PERCENT = product_coupon("ALL", "DISCOUNT")
SINGLE = product_coupon("SINGLE", "NORMAL")
SWAP = product_coupon("SINGLE", "EXCHANGE")
ROUNDS = product_coupon("SINGLE", "NORMAL", "SEQUENTIAL")

VALID = [
    *(
        product_coupon(scope, kind, mode)
        for scope, kind in [
            ("ALL", "NORMAL"),
            ("ALL", "DISCOUNT"),
            ("SINGLE", "NORMAL"),
            ("SINGLE", "DISCOUNT"),
            ("SINGLE", "EXCHANGE"),
        ]
        for mode in ("SINGLE", "SEQUENTIAL")
    ),
    example("create_product_coupon.request.single_all_normal"),
]

CHANGES: list[tuple[Json, str, Any]] = [
    *((ALL, field, LEFT_OUT) for field in (
        "scope", "type", "usage_mode", "single_usage_info", "display_info", "display_info.name", "display_info.image_url",
        "stock", "stock.coupon_code_mode", "stock.stock_send_rule", f"{SEND_RULE}.max_count", "stock.store_scope",
        "stock.single_usage_rule", PERIOD, f"{PERIOD}.available_begin_time", f"{PERIOD}.available_end_time",
        f"{PERIOD}.available_days", DISPLAY, f"{DISPLAY}.coupon_usage_method_list", ENTRANCE, OFF, f"{OFF}.threshold",
        f"{OFF}.discount_amount", "stock.remark", f"{SEND_RULE}.max_count_per_day",
    )),
    (ALL, "out_request_no", "12345"),
    (ALL, "out_request_no", "1" * 41),
    (ALL, "out_request_no", "12345 678"),
    (ALL, "scope", "SHOP"),
    (ALL, "type", "EXCHANGE"),
    (ALL, "type", "DISCOUNT"),
    (ALL, "usage_mode", "SEQUENTIAL"),
    (ALL, "display_info.name", "满减"),
    (ALL, "display_info.name", "满" * 12),
    (ALL, "display_info.name", "满" * 16),
    (ALL, "display_info.name", "满减😀"),
    (ALL, "display_info.name", "满" * 14 + "😀😀"),
    (ALL, "display_info.detail_image_url_list", [IMAGE] * 9),
    (ALL, "stock.remark", "备" * 61),
    (ALL, "stock.coupon_code_mode", "OWN"),
    (ALL, "stock.store_scope", "SOME"),
    *((ALL, f"{SEND_RULE}.max_count", value) for value in (0, 1, 100_000_000, 100_000_001, 1.5, 5.0, True, "5")),
    *((ALL, f"{SEND_RULE}.max_count_per_day", value) for value in (0, 100_000_000, 100_000_001)),
    *((ALL, f"{SEND_RULE}.max_count_per_user", value) for value in (0, 1, 100, 101)),
    *((ALL, f"{OFF}.threshold", value) for value in (-1, 0, 10.5, "10")),
    *((ALL, f"{OFF}.discount_amount", value) for value in (0, 1, 1.5)),
    *((PERCENT, "single_usage_info.discount_coupon.percent_off", value) for value in (0, 1, 99, 100, 101, 30.5)),
    (ALL, "stock.single_usage_rule.normal_coupon", NORMAL),
    *((ALL, f"{PERIOD}.available_begin_time", value) for value in (
        "2025-08-01T00:00:00", "2025-08-01 00:00:00+08:00", "2025-07-31T16:00:00Z", "2025-13-01T00:00:00+08:00",
        "2025-09-01T00:00:00+08:00", 1754000000,
    )),
    *((ALL, f"{PERIOD}.available_days", value) for value in (0, 1, 365, 366)),
    (ALL, f"{PERIOD}.wait_days_after_receive", -1),
    (ALL, WEEKLY, {"day_list": ["MONDAY"]}),
    (ALL, WEEKLY, {"day_list": ["MON"]}),
    (ALL, WEEKLY, {"day_period_list": [{"begin_time": 60, "end_time": 86399}]}),
    *((ALL, WEEKLY, {"day_list": ["MONDAY"], "day_period_list": [{"begin_time": begin, "end_time": end}]})
      for begin, end in ((0, 86399), (0, 86400), (-1, 60), (61, 60))),
    (ALL, f"{PERIOD}.irregular_available_period_list", [{"begin_time": "2025-08-15T00:00:00+08:00"}]),
    (ALL, f"{PERIOD}.irregular_available_period_list",
     [{"begin_time": "2025-08-15T00:00:00+08:00", "end_time": "2025-08-14T00:00:00+08:00"}]),
    *((ALL, f"{DISPLAY}.coupon_usage_method_list", value) for value in ([], ["FAX"], ["MINI_PROGRAM"], ["APP"])),
    (ALL, f"{DISPLAY}.usage_description", "说" * 1000),
    (ALL, f"{DISPLAY}.usage_description", "说" * 1001),
    (ALL, f"{ENTRANCE}.background_color", "red"),
    (ALL, f"{PERIOD}.available_begin_time", "2024-08-01T00:00:00+08:00"),
    (ALL, f"{ENTRANCE}.entrance_mini_program", {"appid": "wx1", "path": "/a", "guidance_wording": "看"}),
    (ALL, f"{ENTRANCE}.entrance_official_account", {}),
    (ALL, f"{ENTRANCE}.entrance_finder", {"finder_video_id": "a", "finder_video_cover_image_url": IMAGE}),
    (ALL, f"{DISPLAY}.app_jump_type", "FOO"),
    (ALL, "brand_id", "120344"),
    (SINGLE, "display_info.original_price", LEFT_OUT),
    (SINGLE, "display_info.original_price", 1.5),
    (SINGLE, "display_info.combo_package_list", LEFT_OUT),
    (SINGLE, "display_info.combo_package_list", []),
    (SINGLE, "display_info.combo_package_list.0.choice_list", []),
    (SINGLE, "single_usage_info", {"normal_coupon": NORMAL}),
    (SINGLE, "single_usage_info", {}),
    (SINGLE, "stock.single_usage_rule.normal_coupon", LEFT_OUT),
    (SINGLE, "stock.single_usage_rule.discount_coupon", DISCOUNT),
    (SINGLE, "type", "DISCOUNT"),
    (SWAP, "scope", "CATEGORY"),
    (SWAP, "stock.single_usage_rule.exchange_coupon.exchange_price", 0),
    (ROUNDS, "sequential_usage_info", LEFT_OUT),
    (ROUNDS, "stock.sequential_usage_rule", LEFT_OUT),
    (ROUNDS, "stock.sequential_usage_rule.normal_coupon_list", LEFT_OUT),
    *((ROUNDS, "sequential_usage_info.count", value) for value in (2, 3, 16)),
    (ROUNDS, "sequential_usage_info.available_days", 2),
    (ROUNDS, "sequential_usage_info.interval_days", 8),
    (ROUNDS, "type", "DISCOUNT"),
    (ROUNDS, "stock.sequential_usage_rule.special_first", "yes"),
    (ALL, "display_info.image_url", "not a url"),
    (ALL, "stock.remark", ""),
    (SINGLE, "display_info.original_price", 0),
    (product_coupon("SINGLE", "NORMAL", "PROGRESSIVE_BUNDLE"), "out_product_no", "P1"),
]  # fmt: skip


@pytest.fixture(scope="module")
def shop() -> Iterator[tuple[wx.Sandbox, wx.Client]]:
    with wx.Sandbox(seed=1, population=False, rate_limits=False) as box, box.client() as client:
        yield box, client


@pytest.fixture(scope="module")
def accepts(shop: tuple[wx.Sandbox, wx.Client]) -> Platform:
    """Send a body as it is, past the client's own checks, and tell whether the brand took it."""
    api = shop[1].api

    def ask_raw(operation: str, path: dict[str, str], body: Json) -> bool:
        with pytest.MonkeyPatch.context() as unchecked:
            unchecked.setattr(questions, "check", lambda *_, **__: None)
            question = questions.ask(api._exchange.credentials, operation, path, body=body)
        try:
            api._loop.run(api._exchange.answer, question)
        except wx.ApiError as error:
            if error.status not in (400, 403):
                raise
            return False
        return True

    return ask_raw


OPENID = "oh-394z-6CGkNoJrsDLTTUKiAnp4"
numbers = itertools.count(10_000_000)


def numbered(body: Json, name: str) -> Json:
    """Give a request number of its own to a body that is not about its number."""
    about_the_number = body[name] in ("12345", "1" * 41, "12345 678", "1" * 129)
    return body if about_the_number else {**body, name: f"NO_{next(numbers)}"}


def verdict(operation: str, path: dict[str, str], body: Json) -> bool | None:
    """Accepted, refused, or None where the pages leave it open."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ApiRuleWarning)
        try:
            check(operation, path, body, flavour="brand")
        except wx.ValidationError:
            return False
    return None if caught else True


@pytest.mark.parametrize("body", VALID, ids=lambda b: f"{b['scope']}-{b['type']}-{b['usage_mode']}")
def test_both_accept_what_is_valid(accepts: Platform, body: Json):
    body = numbered(body, "out_request_no")
    assert verdict("create_product_coupon", {}, body) is not False
    assert accepts("create_product_coupon", {}, body)


@pytest.mark.parametrize(("body", "field", "value"), CHANGES, ids=lambda v: v if isinstance(v, str) else None)
def test_both_agree_on_a_changed_product_coupon(accepts: Platform, body: Json, field: str, value: Any):
    body = numbered(changed(body, field, value), "out_request_no")
    ours = verdict("create_product_coupon", {}, body)
    assert ours in (None, accepts("create_product_coupon", {}, body))


SENDS: list[dict[str, Any]] = [
    {},
    {"attach": "附" * 150},
    {"attach": "附" * 151},
    {"attach": 5},
    {"coupon_code": "1" * 41},
    {"coupon_code": "码"},
    {"send_request_no": "12345"},
    {"send_request_no": "1" * 129},
    {"send_request_no": "12345 678"},
    {"product_coupon_id": LEFT_OUT},
    {"stock_id": LEFT_OUT},
    {"stock_id": 17},
    {"appid": LEFT_OUT},
    {"appid": ""},
    {"coupon_tag_info": {"coupon_tag_list": ["VIP"]}},
    {"coupon_tag_info": {"coupon_tag_list": ["MEMBER"]}},
    {"coupon_tag_info": "MEMBER"},
    {"brand_id": "120344"},
]
ENDINGS: list[dict[str, Any]] = [
    {"deactivate_reason": LEFT_OUT},
    {"deactivate_reason": ""},
    {"deactivate_reason": "因" * 151},
    {"deactivate_reason": 7},
    {"out_request_no": "12345"},
    {"out_request_no": "1" * 41},
    {"brand_id": "120344"},
    {"deactivate_reason": "因" * 150},  # the one that is valid: last, for it ends the stock
]


@pytest.fixture(scope="module")
def stock(shop: tuple[wx.Sandbox, wx.Client]) -> dict[str, str]:
    """A stock that is being sent."""
    box, client = shop
    body = numbered(ALL, "out_request_no")
    for name, moment in (("begin", box.now()), ("end", box.now() + timedelta(days=60))):
        body = changed(body, f"{PERIOD}.available_{name}_time", moment.isoformat(timespec="seconds"))
    made = client.api.create_product_coupon(changed(body, f"{SEND_RULE}.max_count_per_user", 100))
    box.advance(days=1)
    return {"product_coupon_id": made["product_coupon_id"], "stock_id": made["stock"]["stock_id"]}


@pytest.mark.parametrize("change", SENDS, ids=lambda c: "-".join(c) or "valid")
def test_both_agree_on_a_send(
    shop: tuple[wx.Sandbox, wx.Client], accepts: Platform, stock: dict[str, str], change: dict[str, Any]
):
    path = {"openid": OPENID}
    body = numbered(sending(**{**stock, "appid": shop[0].appid, **change}), "send_request_no")
    body = {name: value for name, value in body.items() if value is not LEFT_OUT}
    assert verdict("send_coupon", path, body) in (None, accepts("send_coupon", path, body))


@pytest.mark.parametrize("change", ENDINGS, ids="-".join)
def test_both_agree_on_ending_a_stock(accepts: Platform, stock: dict[str, str], change: dict[str, Any]):
    body = numbered({"out_request_no": "34657_20250101", "deactivate_reason": "重新创建", **change}, "out_request_no")
    body = {name: value for name, value in body.items() if value is not LEFT_OUT}
    assert verdict("deactivate_stock", stock, body) in (None, accepts("deactivate_stock", stock, body))
