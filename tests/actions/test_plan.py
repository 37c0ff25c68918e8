"""Planning a send: every rule that can be checked before anything leaves, on a real embedded brand."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import wxcoupon_analytics as wx
from tests.shop import product_coupon
from tests.spark import local_session
from wxcoupon_analytics.actions.stock_checks import problem_of


@pytest.fixture(scope="module")
def brand():
    """One brand for all tests here: each makes a stock of its own, under a campaign of its own."""
    with wx.Sandbox(seed=1, population=False) as box, box.client() as client:
        yield box, client


@pytest.fixture
def shop(brand, request: pytest.FixtureRequest):
    """A brand, a client, and a way to plan for a stock made for this test."""
    box, client = brand
    ids = another_stock(box, client)

    def plan(audience: object, **options: Any) -> Any:
        return client.actions.plan_sends(
            audience, **{"campaign": request.node.name, "appid": box.appid, **ids, **options}
        )

    return box, client, plan


_numbers = itertools.count()


def another_stock(box: wx.Sandbox, client: wx.Client, *, mode: str = "WECHATPAY", **rule: int) -> dict[str, str]:
    """Make another product coupon with a stock of its own; give the ids to plan with."""
    made = client.api.create_product_coupon(product_coupon(f"create_{next(_numbers)}", mode=mode, **rule))
    box.advance(minutes=11)
    return {"product_coupon_id": made["product_coupon_id"], "stock_id": made["stock"]["stock_id"]}


def users(count: int) -> pd.DataFrame:
    return pd.DataFrame({"openid": [f"user-{i}" for i in range(count)]})


def reasons(plan: Any) -> list[str | None]:
    return [None if pd.isna(reason) else reason for reason in plan.rows["reason"]]


def writes(box: wx.Sandbox) -> list[dict[str, Any]]:
    return [r for r in box.requests() if r["method"] == "POST" and "/users/" in r["path"]]


def test_bad_and_repeated_openids_are_blocked_with_the_reason_and_nothing_is_sent_or_recorded(shop):
    box, client, plan = shop
    before = len(client.actions.journal()), len(writes(box))
    audience = pd.DataFrame({"openid": ["a", None, np.nan, "", " ", 7, "a", "b", "x\ud800", pd.NA], "age": range(10)})
    made = plan(audience)
    assert made.rows["status"].tolist() == ["ready", *["blocked"] * 6, "ready", *["blocked"] * 2]
    assert reasons(made) == [
        None,
        "the openid is missing",
        "the openid is missing",
        "the openid is empty",
        "the openid is empty",
        "the openid is no text but int",
        "the same openid stands in an earlier row (row 0)",
        None,
        "the openid holds half a surrogate pair, which no encoding can carry",
        "the openid is missing",
    ]
    assert made.rows["send_request_no"].notna().tolist() == [s == "ready" for s in made.rows["status"]]
    assert (len(client.actions.journal()), len(writes(box))) == before


def test_a_pandas_audience_keeps_its_index_its_columns_and_their_dtypes(shop):
    *_, plan = shop
    audience = pd.DataFrame(
        {
            "openid": pd.Categorical(["a", "b"]),
            "spent": np.array([1, 2], dtype="int16"),
            "seen": pd.to_datetime(["2026-01-01", None]).tz_localize("UTC"),
            "tags": [["x"], []],
            7: [True, False],
        },
        index=pd.Index(["first", "second"], name="who"),
    )
    made = plan(audience)
    pd.testing.assert_frame_equal(made.rows[list(audience.columns)], audience)
    assert made.rows.columns[5:].tolist() == ["send_request_no", "status", "reason"]
    assert audience.columns.tolist() == ["openid", "spent", "seen", "tags", 7], "the caller's frame is not touched"
    made.rows["status"] = "ready"
    result = made.execute(confirm=2)
    pd.testing.assert_frame_equal(result[list(audience.columns)], audience)


def test_what_becomes_of_the_callers_frame_afterwards_changes_no_plan(shop):
    *_, plan = shop
    audience = users(2)
    made = plan(audience)
    audience.loc[0, "openid"] = "somebody else"  # before pandas 3, a shallow copy would follow
    assert made.execute(confirm=2)["openid"].tolist() == ["user-0", "user-1"]


KINDS: dict[str, Callable[[pa.Table], object]] = {
    "polars": pl.from_arrow,
    "polars lazy": lambda table: pl.from_arrow(table).lazy(),  # type: ignore[union-attr]
    "pyarrow": lambda table: table,
    "duckdb": duckdb.from_arrow,
    "pandas with arrow": lambda table: table.to_pandas(types_mapper=pd.ArrowDtype),
}


@pytest.mark.parametrize("kind", KINDS)
def test_any_kind_of_frame_is_an_audience(kind: str, shop):
    *_, plan = shop
    table = pa.table(
        {
            "openid": ["a", "b", None],
            "points": pa.array([1, None, 3], pa.int64()),
            "city": ["沪", None, "京"],
            "vip": [True, None, False],
            "tags": [["x"], None, []],
        }
    )
    rows = plan(KINDS[kind](table)).rows
    assert rows["status"].tolist() == ["ready", "ready", "blocked"]
    assert rows["points"].isna().tolist() == [False, True, False]
    assert pd.api.types.is_integer_dtype(rows["points"].dtype), "no float from a null"
    assert pd.api.types.is_string_dtype(rows["city"].dtype)
    assert pd.api.types.is_bool_dtype(rows["vip"].dtype)
    assert list(rows["tags"][0]) == ["x"]


@pytest.mark.slow
def test_a_spark_frame_is_an_audience(shop):
    *_, plan = shop
    frame = local_session().createDataFrame([("a", 1), ("b", None)], "openid string, points int")
    rows = plan(frame).rows
    assert rows["status"].tolist() == ["ready", "ready"]
    assert str(rows["points"].dtype) == "Int32"


@pytest.mark.parametrize(
    ("audience", "says"),
    [
        ("users.csv", "must be a frame"),
        (pd.Series(["a"], name="openid"), "must be a frame"),
        (pd.DataFrame({"user": ["a"]}), "no column openid, only user"),
        (pd.DataFrame({"openid": [1.5]}), "openid is float64.*may have lost digits"),
        (pd.DataFrame({"openid": [7]}), "openid is int64"),
        (pd.DataFrame({"openid": ["a"], "status": ["vip"]}), "a column named status.*rename or drop it"),
        (pd.DataFrame({"openid": ["a"], "reason": [1], "attempts": [1]}), "named reason, attempts"),
        (pd.DataFrame([["a", "b"]], columns=["openid", "openid"]), "several columns named openid"),
    ],
)
def test_what_cannot_be_an_audience_is_refused(audience, says, shop):
    *_, plan = shop
    with pytest.raises(wx.ValidationError, match=says):
        plan(audience)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"campaign": " "}, "campaign must be a non-empty text"),
        ({"appid": None}, "appid must be"),
        ({"attach": "附" * 151}, "attach: may have at most 150"),
        ({"member_card_id": ""}, "member_card_id must be"),
        ({"holdout": 1.0}, "holdout must be a share"),
        ({"holdout": -0.1}, "holdout must be a share"),
        ({"holdout": float("nan")}, "holdout must be a share"),
        ({"holdout": True}, "holdout must be a share"),
        ({"holdout": "0.1"}, "holdout must be a share"),
        ({"seed": 1.0}, "seed must be a whole number"),
        ({"copy": 0}, "copy must be"),
        ({"stratify": "city"}, "no column 'city' to stratify by"),
        ({"confirm_coupons": 1}, "confirm_coupons must be True or False"),
        ({"allow_repeat": "yes", "copy": True}, "copy must be.*allow_repeat must be"),
    ],
)
def test_wrong_arguments_are_refused(options, says, shop):
    *_, plan = shop
    with pytest.raises(wx.ValidationError, match=says):
        plan(users(1), **options)


def test_an_empty_audience_is_a_plan_of_nothing(shop):
    *_, plan = shop
    made = plan(users(0))
    assert made.summary["ready"] == 0
    assert "0 of 0 rows" in repr(made)
    assert len(made.execute(confirm=0)) == 0


def test_a_stock_that_is_not_there_is_an_error_of_the_plan(shop):
    *_, plan = shop
    with pytest.raises(wx.NotFoundError):
        plan(users(1), stock_id="404")


def test_a_stock_that_cannot_be_sent_blocks_every_row_with_its_state(shop):
    box, client, plan = shop
    ids = another_stock(box, client)
    plan(users(1), **ids).execute(confirm=1)
    client.actions.deactivate_stock(*ids.values(), reason="r", confirm=ids["stock_id"])
    made = plan(users(2), **ids)
    assert made.rows["status"].tolist() == ["already_sent", "blocked"], "who has it, has it"
    assert reasons(made)[1] == "the stock is DEACTIVATED: coupons are sent only while it is SENDING"
    fresh = client.api.create_product_coupon(product_coupon("create_audited"))
    auditing = plan(users(1), product_coupon_id=fresh["product_coupon_id"], stock_id=fresh["stock"]["stock_id"])
    assert reasons(auditing) == ["the product coupon is AUDITING: coupons are sent only while it is EFFECTIVE"]


def test_a_stock_whose_coupons_would_be_over_is_not_sent(shop):
    box, client, plan = shop
    ids = [plan(users(0)).summary[name] for name in ("product_coupon_id", "stock_id")]
    stock, product = client.api.get_stock(*ids), client.api.get_product_coupon(ids[0])
    period = stock["single_usage_rule"]["coupon_available_period"]
    assert problem_of(stock, product, box.now()) is None
    period["available_end_time"] = (box.now() - timedelta(seconds=1)).isoformat()
    assert "were valid until" in problem_of(stock, product, box.now())
    for said in (None, "", "soon", 7, {}):  # what cannot be read is no reason to refuse
        period["available_end_time"] = said
        assert problem_of(stock, product, box.now()) is None
    stock["single_usage_rule"] = None
    assert problem_of(stock, product, box.now()) is None


def test_a_step_of_a_bundle_is_not_sent_alone(client: wx.Client, box: wx.Sandbox):  # of the whole seeded history
    products = box.truth("product_coupons")
    bundle = products.loc[products["usage_mode"] == "PROGRESSIVE_BUNDLE", "product_coupon_id"].iloc[0]
    stock = next(client.api.list_stocks(bundle))
    made = client.actions.plan_sends(
        users(2), campaign="c", product_coupon_id=bundle, stock_id=stock["stock_id"], appid=box.appid
    )
    assert set(reasons(made)) == {
        "the stock is one step of a bundle: bundles are sent whole, with client.api.send_coupon_bundle"
    }


@pytest.mark.parametrize(
    ("rule", "left", "limit"),
    [
        ({"max_count": 3}, 3, r"budget \(max_count\)"),
        ({"max_count_per_day": 2}, 2, r"daily limit \(max_count_per_day\)"),
    ],
)
def test_rows_beyond_a_limit_are_blocked_in_the_audiences_order_and_what_was_sent_counts(rule, left, limit, shop):
    box, client, plan = shop
    ids = another_stock(box, client, **rule)
    client.actions.send_coupon("somebody", appid=box.appid, **ids)
    made = plan(users(5), **ids)
    assert made.rows["status"].tolist() == ["ready"] * (left - 1) + ["blocked"] * (6 - left)
    assert set(reasons(made)[left - 1 :]) == {
        f"beyond the stock's {limit.replace(chr(92), '')}: {left - 1} could be sent"
    }
    result = made.execute(confirm=left - 1)
    assert result["status"].tolist() == ["sent"] * (left - 1) + ["blocked"] * (6 - left)
    if "max_count_per_day" in rule:
        box.advance(days=1)
        tomorrow = plan(users(5), **ids)
        assert tomorrow.rows["status"].tolist() == ["already_sent"] + ["ready"] * 2 + ["blocked"] * 2


def test_a_pool_of_uploaded_codes_is_a_limit(shop):
    box, client, plan = shop
    ids = another_stock(box, client, mode="UPLOAD")
    client.api.upload_coupon_codes(*ids.values(), {"out_request_no": "upload_1", "code_list": ["C-1", "C-2"]})
    made = plan(users(3), **ids)
    assert made.rows["status"].tolist() == ["ready", "ready", "blocked"]
    assert made.summary["codes_left"] == 2
    assert made.summary["codes_left_after"] == 0
    assert set(made.execute(confirm=2)["coupon_code"].dropna()) == {"C-1", "C-2"}


def test_the_limit_per_user_is_held_against_the_journal(shop):
    box, client, plan = shop
    ids = another_stock(box, client, max_count_per_user=1)
    client.actions.send_coupon("user-0", appid=box.appid, campaign="other", **ids)
    made = plan(users(2), allow_repeat=True, **ids)
    assert reasons(made) == ["the stock's limit per user is 1, and the journal shows 1 sent", None]


def test_a_user_who_got_the_stock_under_another_campaign_or_number_is_blocked_unless_allowed(shop):
    *_, plan = shop
    plan(users(1), campaign="spring").execute(confirm=1)
    made = plan(users(2))
    assert made.rows["status"].tolist() == ["blocked", "ready"]
    assert reasons(made)[0] == "this stock was sent to the user under campaign 'spring'; allow_repeat=True sends again"
    assert plan(users(2), allow_repeat=True).rows["status"].tolist() == ["ready", "ready"]
    assert plan(users(1), campaign="spring", copy=2).rows["status"].tolist() == ["ready"], "another copy was asked for"


def test_codes_are_held_against_the_mode_the_alphabet_each_other_and_the_journal(shop):
    box, client, plan = shop
    ids = another_stock(box, client, mode="API_ASSIGN")
    client.actions.send_coupon("somebody", appid=box.appid, coupon_code="TAKEN", **ids)
    codes = ["OK-1", "OK_2", None, "", "x" * 41, "with space", "OK-1", "TAKEN", "é"]
    audience = users(9).assign(coupon_code=codes)
    made = plan(audience, **ids)
    assert reasons(made) == [
        None,
        None,
        "the stock is API_ASSIGN: each row needs a coupon_code of your own",
        "the coupon_code is empty",
        "the coupon_code is not 1 to 40 of 0-9A-Za-z_-",
        "the coupon_code is not 1 to 40 of 0-9A-Za-z_-",
        "the same coupon_code stands in an earlier row (row 0)",
        "the journal shows its coupon_code sent to another user",
        "the coupon_code is not 1 to 40 of 0-9A-Za-z_-",
    ]
    result = made.execute(confirm=2)
    assert result["status"].tolist()[:2] == ["sent", "sent"]
    assert result["coupon_code"].tolist() == audience["coupon_code"].tolist()
    assert set(plan(users(2), **ids).rows["status"]) == {"blocked"}, "no codes at all"
    assert set(reasons(plan(audience.head(1)))) == {
        "the stock is WECHATPAY: the platform makes the code, coupon_code must be null"
    }
    assert plan(audience.assign(coupon_code=None)).rows["status"].tolist() == ["ready"] * 9


def test_a_code_changed_after_the_send_is_shown_as_a_difference(shop):
    box, client, plan = shop
    ids = another_stock(box, client, mode="API_ASSIGN")
    plan(users(1).assign(coupon_code="A"), **ids).execute(confirm=1)
    made = plan(users(1).assign(coupon_code="B"), **ids)
    assert made.rows["status"].tolist() == ["blocked"]
    assert reasons(made) == [
        "its request number stands for another send, whose outcome is done: coupon_code was 'A', now 'B'"
    ]


def test_the_plan_shows_who_what_how_many_what_it_can_cost_and_the_line_to_run(shop):
    *_, plan = shop
    made = plan(pd.concat([users(5), users(2)]), campaign="<双十一>")
    told = made.summary
    assert {name: told[name] for name in ("rows", "ready", "blocked", "held_out", "already_sent")} == {
        "rows": 7,
        "ready": 5,
        "blocked": 2,
        "held_out": 0,
        "already_sent": 0,
    }
    assert (told["total_left"], told["total_left_after"], told["daily_left"]) == (1000, 995, None)
    assert (told["discount_basis"], told["face_value_fen"]) == ("fixed", 25000)
    assert told["seconds"] == pytest.approx(5 / 500)
    shown = repr(made)
    for part in (
        "全场满200减50",
        "5 of 7 rows",
        "<双十一>",
        "2: the same openid stands in an earlier row",
        "1,000 before, 995 after",
        "at most ¥250.00 if all are used (5 × ¥50.00, fixed)",
        "CONFIRMING",
        "plan.execute(confirm=5)",
    ):
        assert part in shown, part
    page = made._repr_html_()
    assert "&lt;双十一&gt;" in page
    assert "<双十一>" not in page
    assert "plan.execute(confirm=5)" in page
    assert "user-1" not in shown + page


def test_what_a_percentage_costs_is_a_floor(client: wx.Client, box: wx.Sandbox):
    products = box.truth("product_coupons")
    stocks = client.fetch.stocks(products.loc[products["type"] == "DISCOUNT", "product_coupon_id"], state="SENDING")
    found = wx.budget_use(stocks, products)
    known = stocks[(found["discount_basis"] == "at_threshold").to_numpy() & (stocks["coupon_code_mode"] == "WECHATPAY")]
    stock = known.iloc[0]
    made = client.actions.plan_sends(
        users(3),
        campaign="c",
        product_coupon_id=stock["product_coupon_id"],
        stock_id=stock["stock_id"],
        appid=box.appid,
    )
    assert made.summary["discount_basis"] == "at_threshold"
    assert "at least ¥" in repr(made)


def test_a_growing_or_shuffled_audience_moves_nobody_between_the_arms(shop):
    *_, plan = shop
    first = plan(users(400), holdout=0.2).rows.set_index("openid")["status"]
    grown = plan(users(800).sample(frac=1, random_state=3), holdout=0.2).rows.set_index("openid")["status"]
    pd.testing.assert_series_equal(grown[first.index], first)
    assert set(first) == {"ready", "held_out"}
    held = int((grown == "held_out").sum())
    assert abs(held - 160) < 4 * (800 * 0.2 * 0.8) ** 0.5
    # A larger share holds out the same users and more; another seed or campaign draws anew.
    larger = plan(users(400), holdout=0.4).rows.set_index("openid")["status"]
    assert set(first.index[first == "held_out"]) < set(larger.index[larger == "held_out"])
    for other in ({"seed": 1}, {"campaign": "d"}):
        assert (
            not plan(users(400), holdout=0.2, **other)
            .rows["status"]
            .reset_index(drop=True)
            .equals(first.reset_index(drop=True))
        )


def test_strata_have_the_same_share_each_and_are_counted(shop):
    *_, plan = shop
    audience = users(600).assign(city=["沪", "京", None] * 200, vip=[True, False] * 300)
    made = plan(audience, holdout=0.25, stratify=["city", "vip"])
    assert made.strata.columns.tolist() == ["city", "vip", "ready", "already_sent", "held_out", "held_out_share"]
    assert len(made.strata) == 6
    assert made.strata["held_out"].sum() == made.summary["held_out"]
    assert made.strata["held_out_share"].between(0.08, 0.42).all()
    assert made.lopsided_strata == []
    same = plan(audience, holdout=0.25)
    assert same.rows["status"].tolist() == made.rows["status"].tolist(), "strata move nobody"
    small = plan(users(3).assign(city=["沪", "京", "深"]), holdout=0.25, stratify="city")
    assert len(small.lopsided_strata) == 3
    assert "one arm is empty" in repr(small)


def test_users_are_drawn_among_those_who_would_be_sent_to_and_a_limit_cuts_both_arms_at_one_place(shop):
    box, client, plan = shop
    ids = another_stock(box, client, max_count_per_day=50)
    audience = pd.concat([pd.DataFrame({"openid": [None] * 3}), users(300)], ignore_index=True)
    made = plan(audience, holdout=0.3, **ids).rows
    assert (made["status"] == "ready").sum() == 50
    last = made.index[made["status"] == "ready"].max()
    arms = made.loc[3:last, "status"]
    assert set(arms) == {"ready", "held_out"}
    assert set(made.loc[last + 1 :, "status"]) <= {"blocked", "held_out"}
    after = made.loc[last + 1 :]
    first_blocked = after.index[after["status"] == "blocked"].min()
    assert set(made.loc[first_blocked:, "status"]) == {"blocked"}, "no arm without the other"


@pytest.mark.slow
def test_two_hundred_thousand_rows_are_planned_in_seconds(shop):
    *_, plan = shop
    audience = users(200_000).assign(city="沪")
    begin = time.process_time()
    made = plan(audience, holdout=0.1, stratify="city")
    assert made.summary["rows"] == 200_000
    assert time.process_time() - begin < 10
