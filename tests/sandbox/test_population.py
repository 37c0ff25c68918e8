"""The seeded brand: believable, repeatable, and never outside its own rules."""

from __future__ import annotations

from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from wxcoupon_analytics.sandbox import Sandbox

from .caller import Caller

STATES = {"CONFIRMING", "PENDING", "EFFECTIVE", "USED", "EXPIRED", "DELETED", "DEACTIVATED"}


def raw_truth(box: Sandbox, entity: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = box._control("GET", f"truth?entity={entity}")
    return rows


@pytest.fixture(scope="module")
def coupons(box: Sandbox) -> list[dict[str, Any]]:
    return raw_truth(box, "user_coupons")


@pytest.fixture(scope="module")
def stocks(box: Sandbox) -> list[dict[str, Any]]:
    return raw_truth(box, "stocks")


def test_the_sizes_are_those_of_a_small_chain(
    box: Sandbox, coupons: list[dict[str, Any]], stocks: list[dict[str, Any]]
) -> None:
    assert 20_000 <= len(coupons) <= 30_000
    assert 2_500 <= len(box.openids()) <= 3_000
    assert len(stocks) == 22
    assert len(raw_truth(box, "product_coupons")) == 8
    assert box.now() == datetime.fromisoformat("2026-11-02T10:00:00+08:00")


def test_all_states_modes_and_kinds_are_there(
    coupons: list[dict[str, Any]], stocks: list[dict[str, Any]], box: Sandbox
) -> None:
    share = {state: count / len(coupons) for state, count in Counter(c["coupon_state"] for c in coupons).items()}
    assert set(share) == STATES
    assert all(0.002 < part < 0.6 for part in share.values()), share
    assert 0.15 < share["USED"] < 0.4
    assert {stock["state"] for stock in stocks} == {"AUDITING", "SENDING", "PAUSED", "STOPPED", "DEACTIVATED"}
    assert {stock["coupon_code_mode"] for stock in stocks} == {"WECHATPAY", "UPLOAD", "API_ASSIGN"}
    products = raw_truth(box, "product_coupons")
    kinds = {(p["scope"], p["type"], p["usage_mode"]) for p in products}
    assert len(kinds) == 7
    assert all(3 <= len(p["display_info"]["name"]) <= 15 for p in products)
    assert {p["state"] for p in products} == {"EFFECTIVE", "DEACTIVATED"}
    assert len({c["send_channel"] for c in coupons}) >= 5
    for optional in ("attach", "channel_custom_info", "coupon_tag_info", "user_product_coupon_bundle_info"):
        assert 0 < sum(optional in c for c in coupons) < len(coupons)
    assert 0 < sum("notify_config" in s for s in stocks) < len(stocks)


def test_the_calendar_shows(coupons: list[dict[str, Any]]) -> None:
    received = [datetime.fromisoformat(coupon["receive_time"]) for coupon in coupons]
    by_weekday = Counter(at.weekday() for at in received)
    assert by_weekday[5] > 1.15 * by_weekday[1]  # Saturday, Tuesday
    by_hour = Counter(at.hour for at in received)
    assert by_hour[18] > 10 * by_hour[3]


def test_the_hazard_of_use_falls_with_time(coupons: list[dict[str, Any]]) -> None:
    ages = [
        (
            datetime.fromisoformat(coupon["single_usage_detail"]["use_time"])
            - datetime.fromisoformat(coupon["receive_time"])
        ).days
        for coupon in coupons
        if coupon.get("single_usage_detail", {}).get("use_time")
    ]
    first, second, third = (sum(low <= age < low + 2 for age in ages) for low in (0, 2, 4))
    assert first > 1.5 * second > 1.5 * third


def test_better_offers_are_used_more(coupons: list[dict[str, Any]]) -> None:
    def rate(stock_id: str) -> float:
        mine = [c for c in coupons if c["stock_id"] == stock_id]
        return sum(c["coupon_state"] == "USED" for c in mine) / len(mine)

    assert rate("1000000017001") > 1.5 * rate("1000000014001")  # exchange for 9.9 yuan; 20 % off


def assert_limits_hold(coupons: list[dict[str, Any]], stocks: list[dict[str, Any]]) -> Counter[str]:
    """Count again from the coupons alone, and return on how many days each stock hit its daily limit."""
    total: Counter[str] = Counter()
    daily: dict[str, Counter[str]] = defaultdict(Counter)
    user: Counter[tuple[str, str]] = Counter()
    for coupon in coupons:
        total[coupon["stock_id"]] += 1
        daily[coupon["stock_id"]][coupon["receive_time"][:10]] += 1
        user[coupon["stock_id"], coupon["openid"]] += 1
    hit: Counter[str] = Counter()
    for stock in stocks:
        rule, stock_id = stock["stock_send_rule"], stock["stock_id"]
        assert total[stock_id] <= rule["max_count"]
        assert total[stock_id] == stock["sent_count_info"]["total_count"]
        limit = rule.get("max_count_per_day")
        if limit is not None:
            assert max(daily[stock_id].values(), default=0) <= limit
            hit[stock_id] = sum(count == limit for count in daily[stock_id].values())
        most = max((n for (held, _), n in user.items() if held == stock_id), default=0)
        assert most <= rule["max_count_per_user"]
    return hit


def test_no_limit_is_ever_passed_and_some_are_reached(
    coupons: list[dict[str, Any]], stocks: list[dict[str, Any]]
) -> None:
    hit = assert_limits_hold(coupons, stocks)
    assert any(0 < days < 20 for days in hit.values())
    assert any(stock["sent_count_info"]["total_count"] == stock["stock_send_rule"]["max_count"] for stock in stocks)
    assert any("max_count_per_day" not in stock["stock_send_rule"] for stock in stocks)


def test_facts_of_a_coupon_s_life_come_in_order(coupons: list[dict[str, Any]]) -> None:
    for coupon in coupons:
        life = [coupon["receive_time"], coupon.get("confirm_time")]
        detail = coupon.get("single_usage_detail") or {}
        life.append(detail.get("use_time"))
        times = [text for text in life if text]
        assert times == sorted(times)
        if detail.get("use_time"):
            assert coupon["coupon_state"] == "USED"
            assert coupon["valid_begin_time"] <= detail["use_time"] <= coupon["valid_end_time"]
        assert ("deactivate_time" in coupon) == (coupon["coupon_state"] == "DEACTIVATED")


def test_bundles_are_three_tied_coupons(coupons: list[dict[str, Any]]) -> None:
    bundles = defaultdict(list)
    for coupon in coupons:
        if tie := coupon.get("user_product_coupon_bundle_info"):
            bundles[tie["user_coupon_bundle_id"]].append((coupon, tie))
    assert bundles
    for members in bundles.values():
        assert [tie["user_coupon_bundle_index"] for _, tie in members] == [0, 1, 2]
        used = sum("use_time" in coupon["progressive_bundle_usage_detail"] for coupon, _ in members)
        assert {tie["used_count"] for _, tie in members} == {used}


def test_a_month_later_business_went_on_within_the_rules() -> None:
    with Sandbox() as box:
        before = {stock["stock_id"]: stock for stock in raw_truth(box, "stocks")}
        box.advance(days=60)
        stocks, coupons = raw_truth(box, "stocks"), raw_truth(box, "user_coupons")
        assert_limits_hold(coupons, stocks)
        after = {stock["stock_id"]: stock for stock in stocks}
        assert before["1000000013005"]["state"] == "AUDITING"
        assert after["1000000013005"]["sent_count_info"]["total_count"] > 1_000  # began the day after the start
        assert after["1000000013002"]["state"] == "STOPPED"  # the double-eleven campaign is over
        by_day = Counter(coupon["receive_time"][:10] for coupon in coupons)
        days = [(box.now() - timedelta(days=back)).date().isoformat() for back in range(1, 88)]
        assert min(by_day[day] for day in days) > 100


def test_a_seed_means_the_same_books_however_the_clock_got_there() -> None:
    with Sandbox(history_days=6) as one, Sandbox(history_days=6) as two, Sandbox(seed=8, history_days=6) as other:
        one.advance(days=2)
        for _ in range(8):
            two.advance(hours=6)
        other.advance(days=2)
        for entity in ("product_coupons", "stocks", "user_coupons"):
            assert raw_truth(one, entity) == raw_truth(two, entity)
        assert raw_truth(one, "user_coupons") != raw_truth(other, "user_coupons")
        assert one.foreign_openids() == two.foreign_openids()


def test_the_api_shows_what_the_books_hold(box: Sandbox, reader: Caller, stocks: list[dict[str, Any]]) -> None:
    for stock in stocks[::4]:
        shown = reader.stock((stock["product_coupon_id"], stock["stock_id"]))
        assert shown == {name: value for name, value in stock.items() if name not in ("brand_id", "fetched_at")}
    openid = box.openids()[0]
    listed = reader.get(f"users/{openid}/coupons?appid={box.appid}&page_size=50").json
    held = [row for row in raw_truth(box, "user_coupons") if row["openid"] == openid]
    assert listed["total_count"] == len(held)
    for shown, row in zip(listed["user_coupon_list"], held, strict=True):
        assert shown["stock"]["stock_id"] == row["stock_id"]
        shown = {name: value for name, value in shown.items() if name not in ("stock", "product_coupon")}
        assert shown.items() <= row.items()


def test_what_a_client_sends_lives_on_once_it_is_confirmed(tmp_path: Path) -> None:
    with Sandbox(history_days=0) as box:
        caller = Caller(box, tmp_path)
        ids = ("1000000015", "1000000015002")

        def send(number: int) -> None:
            openid = f"oClient{number}"
            code = caller.send(ids, openid, verify=False, coupon_code=f"C{number}").json["coupon_code"]
            caller.act("confirm", ids, openid, code)

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(send, range(60)))
        box.advance(days=6)
        mine = [row for row in raw_truth(box, "user_coupons") if row["openid"].startswith("oClient")]
        assert len(mine) == 60
        assert 5 <= sum(row["coupon_state"] == "USED" for row in mine) <= 40


def test_truth_has_the_frame_s_columns(box: Sandbox, stocks: list[dict[str, Any]]) -> None:
    frame = box.truth("stocks")
    assert isinstance(frame, pd.DataFrame)
    assert frame["sent_count_info_total_count"].sum() == sum(s["sent_count_info"]["total_count"] for s in stocks)
    assert set(frame["brand_id"]) == {box.brand_id}
    coupons = box.truth("user_coupons")
    assert {"openid", "appid", "product_coupon_id", "stock_id", "fetched_at", "fetched_day"} <= set(coupons.columns)
    assert (coupons["fetched_at"] == pd.Timestamp(box.now())).all()
    with pytest.raises(ValueError, match="there are: product_coupons, stocks, user_coupons"):
        box.truth("users")  # type: ignore[arg-type]


def test_customers_and_callers_never_get_the_same_code(tmp_path: Path) -> None:
    with Sandbox(history_days=0) as box:
        caller = Caller(box, tmp_path)
        ids = ("1000000015", "1000000015002")
        sent = caller.stock(ids)["sent_count_info"]["total_count"]
        taken = [f"BR{ids[1][-6:]}-{sent + 1 + ahead:06d}" for ahead in (1, 2, 9)]
        for number, code in enumerate(taken):
            assert caller.send(ids, f"oCaller{number}", coupon_code=code).status == 200
        box.advance(days=2)
        rows = [row for row in raw_truth(box, "user_coupons") if row["stock_id"] == ids[1]]
        codes = Counter(row["coupon_code"] for row in rows)
        assert len(rows) > 30
        assert max(codes.values()) == 1
        assert len(rows) == caller.stock(ids)["sent_count_info"]["total_count"]
        holders = {row["coupon_code"]: row["openid"] for row in rows}
        assert [holders[code] for code in taken] == ["oCaller0", "oCaller1", "oCaller2"]
