"""Product coupons and stocks against the embedded brand: created, funded and ended once, however often that is run."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
import tenacity

import wxcoupon_analytics as wx
from tests.wire.bodies import LEFT_OUT, changed, example
from wxcoupon_analytics.wire import exchange


@pytest.fixture
def shop() -> Iterator[tuple[wx.Sandbox, wx.Client]]:
    """A brand that has nothing yet."""
    with wx.Sandbox(seed=1, population=False) as box, box.client() as client:
        yield box, client


@pytest.fixture(scope="module")
def busy() -> Iterator[tuple[wx.Sandbox, wx.Client]]:
    """A brand for tests that count what reaches it, and do not mind what is there."""
    with wx.Sandbox(seed=1, population=False, rate_limits=False) as box, box.client() as client:
        yield box, client


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "_wait", tenacity.wait_none())


def writes(box: wx.Sandbox) -> list[str]:
    """Give the paths of all writes that reached the brand, from the last segment that is no id."""
    return [request["path"].rpartition("/")[2] for request in box.requests() if request["method"] == "POST"]


def test_the_documentations_example_passes_unchanged_and_once(shop: tuple[wx.Sandbox, wx.Client]):
    box, client = shop
    spec = example("create_product_coupon.request.single_all_normal")
    with pytest.warns(wx.ApiRuleWarning, match="available_days: stands together with irregular_available_period_list"):
        made = client.actions.create_product_coupon(spec)
    with pytest.warns(wx.ApiRuleWarning):
        assert client.actions.create_product_coupon(spec) == made
    with box.client() as elsewhere, pytest.warns(wx.ApiRuleWarning):
        assert elsewhere.actions.create_product_coupon(spec) == made, "another machine, another journal"
    assert spec == example("create_product_coupon.request.single_all_normal"), "the caller's own spec is left alone"
    assert box.truth("product_coupons")["product_coupon_id"].tolist() == [made["product_coupon_id"]]
    assert client.actions.journal()["request_no"].tolist() == ["SINGLE_ALL_NORMAL_20250120_002"]


def test_the_number_follows_from_what_the_spec_says_and_not_from_how(shop: tuple[wx.Sandbox, wx.Client]):
    box, client = shop
    spec = wx.template("single_single_normal", now=box.now())
    made = client.actions.create_product_coupon(spec)
    turned = {**dict(reversed(spec.items())), "single_usage_info": None}
    turned["display_info"] = {
        **spec["display_info"],
        "detail_image_url_list": tuple(spec["display_info"]["detail_image_url_list"]),
    }
    assert client.actions.create_product_coupon(turned) == made
    with wx.connect(box.partner_credentials, hosts=box.hosts, clock=box.now) as partner:
        theirs = partner.actions.create_product_coupon(spec)
        assert partner.actions.create_product_coupon({**spec, "brand_id": box.brand_id}) == theirs
        with pytest.raises(wx.ValidationError, match="brand_id"):
            partner.actions.create_product_coupon({**spec, "brand_id": "10000999"})
    before = len(box.truth("product_coupons"))
    other = client.actions.create_product_coupon(changed(spec, "stock.stock_send_rule.max_count", 101))
    assert other["product_coupon_id"] != made["product_coupon_id"]
    assert len(box.truth("product_coupons")) == before + 1


@pytest.mark.usefixtures("impatient")
def test_a_creation_that_was_cut_off_after_it_happened_is_found_again(shop: tuple[wx.Sandbox, wx.Client]):
    box, client = shop
    spec = wx.template("progressive_bundle_all_discount", now=box.now())
    box.faults("reset", times=None, when="after", method="POST")
    with pytest.raises(wx.TransportError) as caught:
        client.actions.create_product_coupon(spec)
    assert caught.value.maybe_executed
    box.faults(None)
    made = client.actions.create_product_coupon(spec)
    assert box.truth("product_coupons")["product_coupon_id"].tolist() == [made["product_coupon_id"]]
    assert client.actions.journal()[["status", "attempts"]].to_numpy().tolist() == [["done", 2]]


def test_another_spec_under_the_same_number_is_refused_with_the_difference(shop: tuple[wx.Sandbox, wx.Client]):
    box, client = shop
    spec = wx.template("single_all_normal", now=box.now())
    client.actions.create_product_coupon(spec, out_request_no="summer_2026")
    more = changed(spec, "stock.stock_send_rule.max_count", 200)
    with pytest.raises(
        wx.ValidationError, match=r"(?s)summer_2026 stands for another.*max_count.*100.*200.*Nothing was sent"
    ):
        client.actions.create_product_coupon(more, out_request_no="summer_2026")
    assert client.actions.create_product_coupon({**spec, "out_request_no": "summer_2026"}, out_request_no="summer_2026")
    with pytest.raises(
        wx.ValidationError, match="the spec says out_request_no 'summer_2026', the argument 'winter_2026'"
    ):
        client.actions.create_product_coupon({**spec, "out_request_no": "summer_2026"}, out_request_no="winter_2026")
    assert len(box.truth("product_coupons")) == 1


def test_a_refused_spec_may_be_mended_under_its_number(shop: tuple[wx.Sandbox, wx.Client]):
    box, client = shop
    spec = wx.template("single_all_normal", now=box.now())
    box.faults("status", times=1, code=400, signed=True, method="POST")
    with pytest.raises(wx.ApiError):
        client.actions.create_product_coupon(spec, out_request_no="summer_2026")
    mended = changed(spec, "display_info.name", "夏日满200减50")
    made = client.actions.create_product_coupon(mended, out_request_no="summer_2026")
    assert made["display_info"]["name"] == "夏日满200减50"


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("stock.stock_send_rule.max_count", 1.5, r"stock\.stock_send_rule\.max_count: must be a whole number"),
        ("stock.stock_send_rule.max_count", object(), r"stock\.stock_send_rule\.max_count: must be a whole number"),
        ("type", "EXCHANGE", "type: EXCHANGE needs scope SINGLE"),
        ("display_info.name", "短", "display_info.name: needs at least 3 characters"),
        ("out_request_no", "short", "out_request_no: needs at least 6"),
        (1, 2, "body: has a field named 1|the spec is no JSON"),
    ],
)
def test_a_wrong_spec_is_refused_before_it_leaves(
    busy: tuple[wx.Sandbox, wx.Client], field: Any, value: object, says: str
):
    box, client = busy
    before, known = writes(box), len(client.actions.journal())
    spec = wx.template("single_all_normal", now=box.now())
    spec = changed(spec, field, value) if isinstance(field, str) else {**spec, field: value}
    with pytest.raises(wx.ValidationError, match=says):
        client.actions.create_product_coupon(spec)
    with pytest.raises(wx.ValidationError, match="the request body as a dict, not list"):
        client.actions.create_product_coupon([spec])
    assert writes(box) == before
    assert len(client.actions.journal()) == known


# --- stocks ------------------------------------------------------------------------------------------------------------


def test_a_stock_is_added_once_and_once_more_under_a_number_of_its_own(shop: tuple[wx.Sandbox, wx.Client]):
    box, client = shop
    spec = wx.template("sequential_all_normal", now=box.now())
    its_id = client.actions.create_product_coupon(spec)["product_coupon_id"]
    more = {"stock": spec["stock"]}
    second = client.actions.create_stock(its_id, more)
    assert client.actions.create_stock(its_id, more) == second
    third = client.actions.create_stock(its_id, more, out_request_no="the_third_one")
    assert len({second["stock_id"], third["stock_id"]}) == 2
    assert len(box.truth("stocks")) == 3
    # Another machine, after the end: what happened is told all the same.
    client.actions.deactivate_product_coupon(its_id, reason="r", confirm=its_id)
    with box.client() as elsewhere:
        assert elsewhere.actions.create_stock(its_id, more)["stock_id"] == second["stock_id"]
        with pytest.raises(wx.ApiError):
            elsewhere.actions.create_stock(its_id, more, out_request_no="the_fourth_one")
    assert len(box.truth("stocks")) == 3


@pytest.mark.parametrize(
    ("name", "field", "value", "says"),
    [
        ("single_all_normal", "single_usage_rule.normal_coupon", {"threshold": 0, "discount_amount": 1}, "does not belong here with scope ALL"),
        ("single_single_normal", "single_usage_rule.normal_coupon", LEFT_OUT, "type NORMAL with scope SINGLE has its discount here"),
        ("sequential_all_normal", "sequential_usage_rule.normal_coupon_list", [{"threshold": 0, "discount_amount": 1}], "has 1 entries, and sequential_usage_info.count is 3"),
        ("single_all_normal", "coupon_code_mode", "OWN", "coupon_code_mode: must be one of"),
    ],
)  # fmt: skip
def test_a_stock_that_does_not_fit_its_product_coupon_is_refused_before_it_leaves(
    busy: tuple[wx.Sandbox, wx.Client], name: str, field: str, value: Any, says: str
):
    box, client = busy
    spec = wx.template(name, now=box.now())
    its_id = client.actions.create_product_coupon(spec)["product_coupon_id"]
    before = writes(box)
    for caller in (box.brand_credentials, box.partner_credentials):
        with wx.connect(caller, hosts=box.hosts) as client, pytest.raises(wx.ValidationError, match=says):
            client.actions.create_stock(its_id, {"stock": changed(spec["stock"], field, value)})
    assert writes(box) == before


def test_bundles_and_stocks_are_each_added_to_their_own_kind(shop: tuple[wx.Sandbox, wx.Client]):
    box, client = shop
    single, bundled = (
        wx.template(name, now=box.now()) for name in ("single_all_normal", "progressive_bundle_all_normal")
    )
    its_id = client.actions.create_product_coupon(bundled)["product_coupon_id"]
    bundle = client.actions.create_stock_bundle(its_id, {"stock_bundle": bundled["stock_bundle"]})
    assert client.actions.create_stock_bundle(its_id, {"stock_bundle": bundled["stock_bundle"]}) == bundle
    assert len(box.truth("stocks")) == 6
    with pytest.raises(wx.ValidationError, match="is PROGRESSIVE_BUNDLE, ALL, NORMAL, and nothing was sent"):
        client.actions.create_stock(its_id, {"stock": single["stock"]})
    other = client.actions.create_product_coupon(single)["product_coupon_id"]
    with pytest.raises(wx.ValidationError, match="is SINGLE, ALL, NORMAL, and nothing was sent"):
        client.actions.create_stock_bundle(other, {"stock_bundle": bundled["stock_bundle"]})
    assert writes(box) == ["product-coupons", "stock-bundles", "product-coupons"]


# --- budgets -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def stock(shop: tuple[wx.Sandbox, wx.Client]) -> dict[str, str]:
    """A stock of 100 coupons, 10 a day."""
    box, client = shop
    spec = changed(wx.template("single_all_normal", now=box.now()), "stock.coupon_code_mode", "WECHATPAY")
    made = client.actions.create_product_coupon(changed(spec, "stock.stock_send_rule.max_count_per_user", 50))
    box.advance(hours=1)
    return {"product_coupon_id": made["product_coupon_id"], "stock_id": made["stock"]["stock_id"]}


def limits(box: wx.Sandbox) -> tuple[int, int]:
    """Give the two limits of the only stock, by the brand's own books."""
    (row,) = box.truth("stocks").to_dict("records")
    return row["stock_send_rule_max_count"], row["stock_send_rule_max_count_per_day"]


def test_a_limit_goes_up_and_down_and_up_again_each_time_by_one_change(
    shop: tuple[wx.Sandbox, wx.Client], stock: dict[str, str]
):
    box, client = shop
    before = len(writes(box))
    for target in (200, 100, 200, 100, 200):
        for _ in range(2):  # the second time it has its value already
            answer = client.actions.update_stock_budget(**stock, max_count=target)
            assert answer["stock_send_rule"]["max_count"] == target
            assert limits(box) == (target, 10)
    assert len(writes(box)) - before == 5
    journal = client.actions.journal()
    changes = journal[journal["operation"] == "update_stock_budget"]
    assert changes["request_no"].is_unique
    assert changes["status"].tolist() == ["done"] * 5


def test_both_limits_are_two_changes_each_in_the_journal(shop: tuple[wx.Sandbox, wx.Client], stock: dict[str, str]):
    box, client = shop
    answer = client.actions.update_stock_budget(**stock, max_count=300, max_count_per_day=30)
    assert limits(box) == (300, 30)
    assert answer["stock_send_rule"] == {"max_count": 300, "max_count_per_day": 30, "max_count_per_user": 50}
    assert writes(box)[-2:] == ["update-budget"] * 2
    assert client.actions.journal()["operation"].tolist()[-2:] == ["update_stock_budget"] * 2


def test_limits_changed_from_elsewhere_do_not_use_up_a_change_unseen(
    shop: tuple[wx.Sandbox, wx.Client], stock: dict[str, str]
):
    box, client = shop
    with box.client() as elsewhere:  # a journal of its own, and so the same numbers
        for target in (200, 100, 200, 100):
            elsewhere.actions.update_stock_budget(**stock, max_count=target)
        assert client.actions.update_stock_budget(**stock, max_count=200)["stock_send_rule"]["max_count"] == 200
        assert limits(box)[0] == 200
        elsewhere.actions.update_stock_budget(**stock, max_count=100)
        assert limits(box)[0] == 100


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_change_that_was_cut_off_is_settled_by_the_next_run(
    shop: tuple[wx.Sandbox, wx.Client], stock: dict[str, str], when: str
):
    box, client = shop
    box.faults("reset", times=None, when=when, method="POST")
    with pytest.raises(wx.TransportError):
        client.actions.update_stock_budget(**stock, max_count=200)
    assert limits(box)[0] == {"before": 100, "after": 200}[when]
    box.faults(None)
    client.actions.update_stock_budget(**stock, max_count=200)
    assert limits(box)[0] == 200
    journal = client.actions.journal()
    assert journal[journal["operation"] == "update_stock_budget"]["status"].tolist() == ["done"]
    client.actions.update_stock_budget(**stock, max_count=100)
    client.actions.update_stock_budget(**stock, max_count=200)
    assert limits(box)[0] == 200


@pytest.mark.usefixtures("impatient")
def test_a_change_that_was_cut_off_and_undone_by_others_is_made_anew(
    shop: tuple[wx.Sandbox, wx.Client], stock: dict[str, str]
):
    box, client = shop
    box.faults("reset", times=None, when="after", method="POST")
    with pytest.raises(wx.TransportError):
        client.actions.update_stock_budget(**stock, max_count=200)
    box.faults(None)
    with box.client() as elsewhere:
        elsewhere.actions.update_stock_budget(**stock, max_count=150)
    # The number of the first attempt is answered with 200, which is no longer so.
    assert client.actions.update_stock_budget(**stock, max_count=200)["stock_send_rule"]["max_count"] == 200
    assert limits(box)[0] == 200


@pytest.mark.usefixtures("impatient")
def test_whatever_is_tried_from_wherever_the_limit_is_what_was_asked_for_last(
    shop: tuple[wx.Sandbox, wx.Client], stock: dict[str, str]
):
    box, client = shop
    chance = random.Random(7)
    with box.client() as elsewhere:  # a journal of its own: the numbers meet
        for _ in range(40):
            caller, target = chance.choice([client, elsewhere]), chance.choice([100, 200, 300])
            when, times = chance.choice(["before", "after"]), chance.choice([0, 1, None])
            if times != 0:
                box.faults("reset", times=times, when=when, method="POST")
            try:
                answer = caller.actions.update_stock_budget(**stock, max_count=target)
            except wx.TransportError:
                box.faults(None)
                answer = caller.actions.update_stock_budget(**stock, max_count=target)
            box.faults(None)
            assert answer["stock_send_rule"]["max_count"] == target == limits(box)[0]
        for journal in (client.actions.journal(), elsewhere.actions.journal()):
            changes = journal[journal["operation"] == "update_stock_budget"]
            assert changes["status"].isin(["done", "unknown"]).all()


def test_a_limit_that_changes_between_the_look_and_the_change_is_left_as_it_is(
    shop: tuple[wx.Sandbox, wx.Client], stock: dict[str, str], monkeypatch: pytest.MonkeyPatch
):
    box, client = shop
    look = client.api.get_stock
    with box.client() as elsewhere:

        def interrupted(*args: str, **ids: str) -> dict[str, Any]:
            seen = look(*args, **ids)
            monkeypatch.undo()
            elsewhere.actions.update_stock_budget(**stock, max_count=150)
            return seen

        monkeypatch.setattr(client.api, "get_stock", interrupted)
        with pytest.raises(wx.ApiError):
            client.actions.update_stock_budget(**stock, max_count=200)
        assert limits(box)[0] == 150
        assert client.actions.update_stock_budget(**stock, max_count=200)["stock_send_rule"]["max_count"] == 200

        look = client.api.get_stock

        def same_meant(*args: str, **ids: str) -> dict[str, Any]:
            seen = look(*args, **ids)
            monkeypatch.undo()
            elsewhere.actions.update_stock_budget(**stock, max_count=170)
            elsewhere.actions.update_stock_budget(**stock, max_count=400)
            return seen

        monkeypatch.setattr(client.api, "get_stock", same_meant)
        assert client.actions.update_stock_budget(**stock, max_count=400)["stock_send_rule"]["max_count"] == 400


def test_a_first_daily_limit_can_be_set(shop: tuple[wx.Sandbox, wx.Client]):
    box, client = shop
    spec = changed(wx.template("single_all_normal", now=box.now()), "stock.stock_send_rule.max_count_per_day", LEFT_OUT)
    made = client.actions.create_product_coupon(spec)
    ids = {"product_coupon_id": made["product_coupon_id"], "stock_id": made["stock"]["stock_id"]}
    with pytest.warns(wx.ApiRuleWarning, match="right only for a stock that has no daily limit yet"):
        client.actions.update_stock_budget(**ids, max_count_per_day=5)
    assert limits(box) == (100, 5)


def test_less_than_was_sent_is_warned_of(shop: tuple[wx.Sandbox, wx.Client], stock: dict[str, str]):
    box, client = shop
    for number in range(3):
        client.actions.send_coupon(f"o{number}", appid=box.appid, **stock)
    with (
        pytest.warns(wx.ApiRuleWarning, match="max_count 2 is less than the 3 coupons sent:"),
        pytest.raises(wx.ApiError),
    ):
        client.actions.update_stock_budget(**stock, max_count=2)
    with pytest.warns(wx.ApiRuleWarning, match="max_count_per_day 1 is less than the 3 coupons sent today"):
        client.actions.update_stock_budget(**stock, max_count_per_day=1)
    assert limits(box) == (100, 1)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({}, "give max_count, max_count_per_day or both"),
        ({"max_count": 0}, "target_max_count: must be at least 1"),
        ({"max_count": True}, "target_max_count: must be a whole number"),
        ({"max_count": 500, "max_count_per_day": 100_000_001}, "target_max_count_per_day: must be at most"),
        ({"max_count": 500, "stock_id": ""}, "stock_id must be a non-empty text"),
    ],
)
def test_a_wrong_limit_is_refused_before_anything_leaves(
    busy: tuple[wx.Sandbox, wx.Client], arguments: dict[str, Any], says: str
):
    box, client = busy
    before = len(box.requests())
    with pytest.raises(wx.ValidationError, match=says):
        client.actions.update_stock_budget(**{"product_coupon_id": "1", "stock_id": "2", **arguments})
    assert len(box.requests()) == before


def test_a_stock_of_a_bundle_is_not_funded_alone(shop: tuple[wx.Sandbox, wx.Client]):
    box, client = shop
    made = client.actions.create_product_coupon(wx.template("progressive_bundle_all_normal", now=box.now()))
    first = made["stock_bundle"]["stock_list"][0]["stock_id"]
    with pytest.raises(wx.ValidationError, match="update_stock_bundle_budget"):
        client.actions.update_stock_budget(made["product_coupon_id"], first, max_count=500)
    assert writes(box) == ["product-coupons"]


# --- ends --------------------------------------------------------------------------------------------------------------


def test_a_product_coupon_ends_once_with_its_stocks_and_what_was_sent_stays(
    shop: tuple[wx.Sandbox, wx.Client], stock: dict[str, str]
):
    box, client = shop
    its_id = stock["product_coupon_id"]
    sent = client.actions.send_coupon("o1", appid=box.appid, **stock)
    for confirm in ("", "yes", True, stock["stock_id"]):
        with pytest.raises(
            wx.ConfirmationError, match=f"ends all of its stocks.*already sent stay valid.*confirm='{its_id}'"
        ):
            client.actions.deactivate_product_coupon(its_id, reason="商品已下架", confirm=confirm)
    with pytest.raises(wx.ValidationError, match="deactivate_reason: may have at most 150"):
        client.actions.deactivate_product_coupon(its_id, reason="因" * 151, confirm=its_id)
    assert "deactivate" not in writes(box)
    ended = client.actions.deactivate_product_coupon(its_id, reason="商品已下架", confirm=its_id)
    assert (ended["state"], ended["deactivate_reason"]) == ("DEACTIVATED", "商品已下架")
    assert client.actions.deactivate_product_coupon(its_id, reason="商品已下架", confirm=its_id) == ended
    with pytest.raises(wx.ValidationError, match="deactivate_reason was '商品已下架', now '别的'"):
        client.actions.deactivate_product_coupon(its_id, reason="别的", confirm=its_id)
    with box.client() as elsewhere:
        again = elsewhere.actions.deactivate_product_coupon(its_id, reason="商品已下架", confirm=its_id)
        assert again["deactivate_time"] == ended["deactivate_time"]
    assert box.truth("stocks")["state"].tolist() == ["DEACTIVATED"]
    ids = {**stock, "appid": box.appid, "out_request_no": "confirm_1"}
    assert client.api.confirm_coupon("o1", sent["coupon_code"], ids)["confirm_request_no"] == "confirm_1"


def test_a_product_coupon_someone_else_ended_says_so(shop: tuple[wx.Sandbox, wx.Client], stock: dict[str, str]):
    _, client = shop
    its_id = stock["product_coupon_id"]
    client.api.deactivate_product_coupon(its_id, {"out_request_no": "by-hand", "deactivate_reason": "夏季结束"})
    with pytest.raises(wx.ValidationError, match=r"product coupon \d+ is DEACTIVATED since 2026-11-02T.*夏季结束"):
        client.actions.deactivate_product_coupon(its_id, reason="r", confirm=its_id)


@pytest.mark.usefixtures("impatient")
def test_an_end_that_was_cut_off_is_found_again(shop: tuple[wx.Sandbox, wx.Client], stock: dict[str, str]):
    box, client = shop
    its_id = stock["product_coupon_id"]
    box.faults("reset", times=None, when="after", method="POST")
    with pytest.raises(wx.TransportError):
        client.actions.deactivate_product_coupon(its_id, reason="r", confirm=its_id)
    box.faults(None)
    assert client.actions.deactivate_product_coupon(its_id, reason="r", confirm=its_id)["state"] == "DEACTIVATED"
