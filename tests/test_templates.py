"""Templates: each is a spec that both sides accept as it stands, and that is nobody else's to change."""

from __future__ import annotations

import copy
import itertools
import warnings
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import wxcoupon_analytics as wx
from tests.wire.bodies import LEFT_OUT, changed
from tests.wire.bodies import example as documented
from wxcoupon_analytics.wire import questions
from wxcoupon_analytics.wire.validation import ApiRuleWarning, check

NAMES = [
    f"{mode}_{kind}"
    for mode in ("single", "sequential", "progressive_bundle")
    for kind in ("all_normal", "all_discount", "single_normal", "single_discount", "single_exchange")
]
numbers = itertools.count(10_000_000)


@pytest.fixture(scope="module")
def shop() -> Iterator[tuple[wx.Sandbox, wx.Client]]:
    with wx.Sandbox(seed=1, population=False, rate_limits=False) as box, box.client() as client:
        yield box, client


@pytest.mark.parametrize("name", NAMES)
def test_both_accept_it_as_it_stands_whoever_calls(shop: tuple[wx.Sandbox, wx.Client], name: str):
    box, client = shop
    with wx.connect(box.partner_credentials, hosts=box.hosts, clock=box.now) as partner:
        for caller in (client, partner):  # a warning would be an error here
            made = caller.actions.create_product_coupon(wx.template(name, now=box.now()))
            assert f"{made['usage_mode']}_{made['scope']}_{made['type']}".lower() == name
            assert len(made["stock_bundle"]["stock_list"] if "bundle" in name else [made["stock"]]) == (
                3 if "bundle" in name else 1
            )


def test_what_is_made_from_it_can_be_sent_confirmed_and_used(shop: tuple[wx.Sandbox, wx.Client]):
    box, client = shop
    spec = wx.template("single_single_exchange", now=box.now())
    spec["stock"]["coupon_code_mode"] = "WECHATPAY"
    made = client.actions.create_product_coupon(spec)
    box.advance(days=1)
    ids = {"product_coupon_id": made["product_coupon_id"], "stock_id": made["stock"]["stock_id"], "appid": box.appid}
    sent = client.actions.send_coupon("o1", **ids)
    confirmed = client.api.confirm_coupon("o1", sent["coupon_code"], {**ids, "out_request_no": "confirm_1"})
    assert confirmed["coupon_state"] == "EFFECTIVE"


def test_the_first_has_the_fields_of_the_documentations_example():
    def fields(value: Any, at: str = "") -> set[str]:
        if isinstance(value, dict):
            return {
                found for name, inner in value.items() for found in (f"{at}.{name}", *fields(inner, f"{at}.{name}"))
            }
        return {found for inner in value for found in fields(inner, at)} if isinstance(value, list) else set()

    theirs = fields(documented("create_product_coupon.request.single_all_normal"))
    irregular = {field for field in theirs if "irregular" in field}  # one page forbids it beside available_days
    assert fields(wx.template("single_all_normal")) == theirs - irregular - {".out_request_no"}


def test_each_is_a_fresh_copy():
    first = wx.template("sequential_all_normal")
    untouched = copy.deepcopy(first)
    first["stock"]["sequential_usage_rule"]["normal_coupon_list"][0]["threshold"] = 1
    first["display_info"]["detail_image_url_list"].clear()
    assert wx.template("sequential_all_normal") == untouched
    assert first["stock"]["sequential_usage_rule"]["normal_coupon_list"][1]["threshold"] == 20_000


def test_it_holds_from_the_midnight_after_now_in_beijing():
    now = datetime.fromisoformat("2026-12-31T23:30:00+00:00")  # already the new year there
    period = wx.template("single_all_normal", now=now)["stock"]["single_usage_rule"]["coupon_available_period"]
    assert period["available_begin_time"] == "2027-01-02T00:00:00+08:00"
    assert period["available_end_time"] == "2027-03-02T23:59:59+08:00"
    begins = wx.template("single_all_normal")["stock"]["single_usage_rule"]["coupon_available_period"]
    assert datetime.fromisoformat(begins["available_begin_time"]) > datetime.now().astimezone()


def test_no_such_template_names_all_of_them():
    for arguments in ((), ("single",), (None,)):
        with pytest.raises(wx.ValidationError) as caught:
            wx.template(*arguments)
        assert all(name in str(caught.value) for name in NAMES)
    with pytest.raises(wx.ValidationError, match="must be an aware time"):
        wx.template("single_all_normal", now=datetime(2026, 1, 1))  # noqa: DTZ001


@pytest.fixture(scope="module")
def accepts(shop: tuple[wx.Sandbox, wx.Client]) -> Callable[[dict[str, Any]], bool]:
    """Send a spec past the client's own checks, and tell whether the brand took it."""
    api = shop[1].api

    def ask_raw(body: dict[str, Any]) -> bool:
        with pytest.MonkeyPatch.context() as unchecked:
            unchecked.setattr(questions, "check", lambda *_, **__: None)
            question = questions.ask(api._exchange.credentials, "create_product_coupon", {}, body=body)
        try:
            api._loop.run(api._exchange.answer, question)
        except wx.ApiError as error:
            if error.status != 400:
                raise
            return False
        return True

    return ask_raw


EDITS: list[tuple[str, st.SearchStrategy[Any]]] = [
    ("display_info.name", st.text(st.sampled_from("券满减50 ab😀"), max_size=18)),
    ("display_info.detail_image_url_list", st.lists(st.just("https://wxpaylogo.qpic.cn/a/b"), max_size=10)),
    ("display_info.original_price", st.sampled_from([LEFT_OUT, -1, 0, 1, 10_000, "100"])),
    ("display_info.combo_package_list", st.sampled_from([LEFT_OUT, []])),
    ("out_product_no", st.sampled_from([LEFT_OUT, "P1", "满"])),
    ("type", st.sampled_from(["NORMAL", "DISCOUNT", "EXCHANGE", "GIFT"])),
    ("scope", st.sampled_from(["ALL", "SINGLE"])),
    ("usage_mode", st.sampled_from(["SINGLE", "SEQUENTIAL", "PROGRESSIVE_BUNDLE"])),
    ("single_usage_info", st.just(LEFT_OUT)),
    ("single_usage_info.normal_coupon.discount_amount", st.sampled_from([0, 1, 5_000, 1.5, True])),
    ("single_usage_info.discount_coupon.percent_off", st.sampled_from([0, 1, 30, 99, 100])),
    ("sequential_usage_info.count", st.integers(1, 17)),
    ("sequential_usage_info.available_days", st.sampled_from([2, 3, 365, 366])),
    ("progressive_bundle_usage_info.count", st.integers(2, 16)),
    ("STOCK.remark", st.text(st.sampled_from("备注ab"), max_size=62)),
    ("STOCK.coupon_code_mode", st.sampled_from(["WECHATPAY", "UPLOAD", "OWN"])),
    ("STOCK.stock_send_rule.max_count", st.sampled_from([LEFT_OUT, 0, 1, 100_000_000, 100_000_001, "5"])),
    ("STOCK.stock_send_rule.max_count_per_day", st.sampled_from([LEFT_OUT, 0, 1, 100_000_001])),
    ("STOCK.stock_send_rule.max_count_per_user", st.sampled_from([0, 1, 100, 101])),
    ("STOCK.usage_rule_display_info.coupon_usage_method_list", st.sampled_from([[], ["OFFLINE"], ["TELEPATHY"]])),
    ("STOCK.usage_rule_display_info.mini_program_path", st.just(LEFT_OUT)),
    ("STOCK.usage_rule_display_info.app_path", st.just(LEFT_OUT)),
    ("STOCK.coupon_display_info.background_color", st.sampled_from([LEFT_OUT, "Color010", "Color000"])),
    ("STOCK.coupon_display_info.entrance_finder", st.sampled_from([LEFT_OUT, {"finder_id": "f"}, {}])),
    ("STOCK.store_scope", st.sampled_from(["NONE", "ALL", "SPECIFIC", "SOME", LEFT_OUT])),
    ("RULE.coupon_available_period.available_end_time", st.sampled_from(
        ["2026-11-03T00:00:00+08:00", "2027-11-01T00:00:00+08:00", "2030-01-01T00:00:00+08:00", "2026-12-01T00:00:00"])),
    ("RULE.coupon_available_period.available_days", st.sampled_from([0, 1, 365, 366])),
    ("RULE.coupon_available_period.weekly_available_period.day_list", st.sampled_from([["FUNDAY"], ["MONDAY"]])),
    ("RULE.coupon_available_period.weekly_available_period.day_period_list",
     st.sampled_from([[{"begin_time": 0, "end_time": 86_399}], [{"begin_time": 60, "end_time": 30}], [{"begin_time": 5}]])),
]  # fmt: skip


def within(spec: Any, dotted: str) -> bool:
    """Tell whether a spec has a field."""
    for step in dotted.split("."):
        if step not in spec:
            return False
        spec = spec[step]
    return True


@st.composite
def edited(draw: st.DrawFn) -> dict[str, Any]:
    """Give a template with up to three fields changed, wherever it has them."""
    name = draw(st.sampled_from(NAMES))
    spec = wx.template(name, now=datetime.fromisoformat("2026-11-02T10:00:00+08:00"))
    stock = "stock_bundle" if "bundle" in name else "stock"
    rule = f"{stock}.{next(field for field in spec[stock] if field.endswith('_usage_rule'))}"
    for field, values in draw(st.lists(st.sampled_from(EDITS), max_size=3, unique_by=lambda edit: edit[0])):
        dotted = field.replace("STOCK", stock).replace("RULE", rule)
        value, parent = draw(values), dotted.rpartition(".")[0]
        if parent and not within(spec, parent):  # this kind has no such field
            continue
        if value is not LEFT_OUT or within(spec, dotted):
            spec = changed(spec, dotted, value)
    return spec


@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(spec=edited())
@example(spec=changed(wx.template("progressive_bundle_single_exchange"), "stock_bundle.coupon_code_mode", "WECHATPAY"))
def test_both_agree_on_whatever_is_edited(accepts: Callable[[dict[str, Any]], bool], spec: dict[str, Any]):
    body = {"out_request_no": f"NO_{next(numbers)}", **spec}
    with warnings.catch_warnings(record=True) as disputes:
        warnings.simplefilter("always", ApiRuleWarning)
        try:
            check("create_product_coupon", {}, body, flavour="brand")
            problems: tuple[str, ...] = ()
        except wx.ValidationError as error:
            problems = error.problems
    # Where the pages disagree, the request goes out, and either answer is one that some page announced.
    if problems or not disputes:
        assert accepts(body) is not bool(problems), problems
