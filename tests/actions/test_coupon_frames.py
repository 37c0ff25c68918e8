"""Frames of coupons confirmed and taken away against the embedded brand: each once, and only those that are meant."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import tenacity

import wxcoupon_analytics as wx
from tests.stop_button import stopped
from wxcoupon_analytics.wire import exchange

Brand = tuple[wx.Sandbox, wx.Client, dict[str, str]]
OUTCOME = ["out_request_no", "status", "reason", "coupon_state", "confirm_time", "error_code", "error_message", "request_id", "attempts"]  # fmt: skip


@pytest.fixture
def brand() -> Iterator[Brand]:
    """A brand with a stock of which coupons can be sent and used."""
    with wx.Sandbox(seed=1, population=False, rate_limits=False) as box, box.client() as client:
        spec = wx.template("single_all_normal", now=client.now())
        spec["stock"]["coupon_code_mode"] = "WECHATPAY"
        spec["stock"]["stock_send_rule"] = {"max_count": 1000, "max_count_per_user": 5}
        made = client.actions.create_product_coupon(spec)
        box.advance(days=1)
        yield (
            box,
            client,
            {
                "product_coupon_id": made["product_coupon_id"],
                "stock_id": made["stock"]["stock_id"],
                "appid": box.appid,
            },
        )


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "_wait", tenacity.wait_none())


def coupons_of(brand: Brand, number: int) -> pd.DataFrame:
    """Send so many users a coupon each, and fetch them."""
    box, client, ids = brand
    openids = [f"o{index:03}" for index in range(number)]
    body = {"send_request_no": "", **ids}
    sent = client.api.map("send_coupon", [(o, {**body, "send_request_no": f"SEND_{o}"}) for o in openids])
    assert not [answer for answer in sent if isinstance(answer, Exception)]
    return client.fetch.user_coupons(openids, appid=box.appid)


def asked(box: wx.Sandbox, what: str) -> int:
    return sum(r["method"] == "POST" and r["path"].endswith(f"/{what}") for r in box.requests())


def truth(box: wx.Sandbox) -> dict[str, str]:
    """Give the state of every coupon, by the brand's own books."""
    # Sent together, they arrive in any order.
    return dict(box.truth("user_coupons").sort_values("openid").set_index("coupon_code")["coupon_state"])


def test_coupons_are_confirmed_once_however_often_it_is_run(brand: Brand):
    box, client, _ = brand
    frame = coupons_of(brand, 30)
    result = client.actions.confirm_coupons(frame, confirm=30)
    assert result["status"].tolist() == ["confirmed"] * 30
    assert set(truth(box).values()) == {"EFFECTIVE"} == set(result["coupon_state"])
    assert list(result.columns) == [name for name in frame.columns if name not in OUTCOME] + OUTCOME
    assert str(result["confirm_time"].dtype) == "datetime64[us, Asia/Shanghai]"
    assert result["confirm_time"].eq(pd.Timestamp(box.now())).all()
    assert result["attempts"].tolist() == [1] * 30
    assert result["request_id"].notna().all()
    for confirm in (30, 0):  # the same cell again, and one that knows that nothing is left
        again = client.actions.confirm_coupons(frame, confirm=confirm)
        assert again["status"].tolist() == ["already_confirmed"] * 30
        assert again[["coupon_state", "confirm_time"]].equals(result[["coupon_state", "confirm_time"]])
    assert asked(box, "confirm") == 30
    # Its own result is a frame of coupons too.
    assert set(client.actions.confirm_coupons(again, confirm=0)["status"]) == {"already_confirmed"}


def test_another_machine_finds_what_was_done(brand: Brand):
    box, client, _ = brand
    before = coupons_of(brand, 3)
    client.actions.confirm_coupons(before, confirm=3)
    confirmed_at = box.now()
    box.advance(hours=1)
    after = client.fetch.user_coupons(before["openid"], appid=box.appid)
    with box.client() as elsewhere:
        seen = elsewhere.actions.confirm_coupons(after, confirm=0)
        assert seen["status"].tolist() == ["already_confirmed"] * 3, "its request number says who did it"
        assert seen["confirm_time"].eq(pd.Timestamp(confirmed_at)).all()
        stale = elsewhere.actions.confirm_coupons(before, confirm=3)
        assert stale["confirm_time"].eq(pd.Timestamp(confirmed_at)).all(), "the platform gives the first result again"
    assert box.truth("user_coupons")["confirm_time"].eq(pd.Timestamp(confirmed_at)).all()


def test_rows_that_cannot_be_done_are_blocked_and_say_why(brand: Brand):
    box, client, ids = brand
    coupons_of(brand, 4)
    client.api.confirm_coupon("o001", truth_code(box, "o001"), {**ids, "out_request_no": "by_hand_1"})
    client.api.deactivate_coupon(
        "o002", truth_code(box, "o002"), {**ids, "out_request_no": "by_hand_2", "deactivate_reason": "r"}
    )
    frame = client.fetch.user_coupons([f"o{i:03}" for i in range(4)], appid=box.appid)
    frame = pd.concat([frame, frame.iloc[[0]], frame.iloc[[3]].assign(openid=pd.NA, appid="")])  # an index with doubles
    unseen = [r for r in box.requests() if r["method"] == "POST"]
    for confirm in (6, 1, 3, True, "2", 2.0, None):
        with pytest.raises(wx.ConfirmationError) as caught:
            client.actions.confirm_coupons(frame, confirm=confirm)
        message = str(caught.value)
        assert (
            "2 of 6 coupons would be confirmed (1 blocked, it is EFFECTIVE: only a coupon that is CONFIRMING" in message
        )
        assert "cannot be unconfirmed. To do it, pass confirm=2" in message
    assert [r for r in box.requests() if r["method"] == "POST"] == unseen
    result = client.actions.confirm_coupons(frame, confirm=2)
    assert result.index.equals(frame.index)
    assert result["status"].tolist() == ["confirmed", "blocked", "blocked", "confirmed", "blocked", "blocked"]
    assert result["reason"].tolist()[1:3] == [
        "it is EFFECTIVE: only a coupon that is CONFIRMING can be confirmed",
        "it is DEACTIVATED: only a coupon that is CONFIRMING can be confirmed",
    ]
    assert result["reason"].tolist()[4:] == [
        "the same coupon stands in an earlier row",
        "openid, appid must be a non-empty text",
    ]
    assert result["out_request_no"].isna().tolist() == [False] * 5 + [True]
    assert asked(box, "confirm") == 1 + 2


def truth_code(box: wx.Sandbox, openid: str) -> str:
    frame = box.truth("user_coupons")
    code: str = frame.loc[frame["openid"] == openid, "coupon_code"].item()
    return code


def test_a_frame_that_is_newer_than_what_was_done_keeps_its_states(brand: Brand):
    box, client, ids = brand
    frame = coupons_of(brand, 1)
    client.actions.confirm_coupons(frame, confirm=1)
    order = {
        "associated_order_info": {"transaction_id": "4200001"},
        "use_time": box.now().isoformat(timespec="seconds"),
    }
    client.api.use_coupon("o000", frame["coupon_code"][0], {**ids, "out_request_no": "use_1234", **order})
    later = client.actions.confirm_coupons(client.fetch.user_coupons(["o000"], appid=box.appid), confirm=0)
    assert later[["status", "coupon_state"]].to_numpy().tolist() == [["already_confirmed", "USED"]]


def test_without_their_states_the_platform_says_what_can_be_done(brand: Brand):
    box, client, ids = brand
    frame = coupons_of(brand, 2)[["openid", "appid", "product_coupon_id", "stock_id", "coupon_code"]]
    client.api.confirm_coupon("o001", frame["coupon_code"][1], {**ids, "out_request_no": "by_hand_1"})
    result = client.actions.confirm_coupons(frame, confirm=2)
    assert result["status"].tolist() == ["confirmed", "failed"]
    assert result["error_code"].tolist()[1] == "INVALID_REQUEST"
    assert result["request_id"].notna().all()
    # What was refused for good is not asked for again, unless one says so.
    again = client.actions.confirm_coupons(frame, confirm=2)
    assert again["status"].tolist() == ["already_confirmed", "failed"]
    assert asked(box, "confirm") == 3
    client.actions.confirm_coupons(frame, confirm=1, retry_failed=True)
    assert asked(box, "confirm") == 4


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("when", ["before", "after"])
def test_what_was_cut_off_is_unknown_and_settled_by_the_next_run(brand: Brand, when: str):
    box, client, _ = brand
    frame = coupons_of(brand, 10)
    box.faults("reset", times=None, when=when, method="POST")
    result = client.actions.confirm_coupons(frame, confirm=10)
    assert result["status"].tolist() == ["unknown"] * 10
    box.faults(None)
    # The state as it is now, EFFECTIVE for some, is no reason to leave it open.
    now = client.fetch.user_coupons(frame["openid"], appid=box.appid)
    assert client.actions.confirm_coupons(now, confirm=10)["status"].tolist() == ["confirmed"] * 10
    assert set(truth(box).values()) == {"EFFECTIVE"}
    assert client.actions.journal()["status"].tolist() == ["done"] * 11


def test_a_refusal_that_holds_for_all_ends_the_run(brand: Brand):
    box, client, _ = brand
    frame = coupons_of(brand, 130)
    box.faults("status", times=None, code=403, signed=True, method="POST")
    result = client.actions.confirm_coupons(frame, confirm=130)
    assert set(result["status"]) == {"blocked"}
    assert asked(box, "confirm") < 130
    assert result["reason"].str.contains("NO_AUTH").all()
    box.faults(None)
    assert set(client.actions.confirm_coupons(frame, confirm=130)["status"]) == {"confirmed"}


def test_a_run_can_be_told_when_to_give_up(brand: Brand):
    box, client, _ = brand
    frame = coupons_of(brand, 130)
    box.faults("status", times=None, code=400, signed=True, method="POST")
    result = client.actions.confirm_coupons(frame, confirm=130, max_failures=5)
    assert set(result["status"]) == {"failed", "blocked"}
    assert result.loc[result["status"] == "blocked", "reason"].str.contains("max_failures=5").all()


def test_the_plan_and_the_frame_know_of_each_others_confirmations(brand: Brand):
    box, client, ids = brand
    audience = pd.DataFrame({"openid": ["o1", "o2"]}, dtype="string")
    plan = client.actions.plan_sends(audience, campaign="c", confirm_coupons=True, **ids)
    sent = plan.execute(confirm=2)
    assert sent["coupon_state"].tolist() == ["EFFECTIVE"] * 2
    again = client.actions.confirm_coupons(sent.assign(coupon_state=pd.NA, **ids), confirm=0)
    assert again["status"].tolist() == ["already_confirmed"] * 2
    assert asked(box, "confirm") == 2


def test_the_stop_button_ends_it_and_gives_what_was_done(brand: Brand):
    box, _, _ = brand
    frame = coupons_of(brand, 200)
    with box.client(rate=100) as client:
        with pytest.raises(KeyboardInterrupt) as caught, stopped(lambda: asked(box, "confirm") >= 40):
            client.actions.confirm_coupons(frame, confirm=200)
        at = time.monotonic()
        result = caught.value.result  # type: ignore[attr-defined]
        made = asked(box, "confirm")
        done = result["status"] == "confirmed"
        assert 0 < done.sum() < 200
        assert set(result["status"]) <= {"confirmed", "unknown", "blocked"}
        held = truth(box)
        assert {held[code] for code in result.loc[done, "coupon_code"]} == {"EFFECTIVE"}
        assert {held[code] for code in result.loc[result["status"] == "blocked", "coupon_code"]} == {"CONFIRMING"}
        time.sleep(max(0.0, at + 0.5 - time.monotonic()))
        assert asked(box, "confirm") == made, "nothing leaves any more"
    with box.client() as other:
        assert set(other.actions.confirm_coupons(frame, confirm=200)["status"]) == {"confirmed"}
    assert set(truth(box).values()) == {"EFFECTIVE"}


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(pl.from_pandas, id="polars"),
        pytest.param(lambda frame: pl.from_pandas(frame).lazy(), id="polars lazy"),
        pytest.param(lambda frame: pa.Table.from_pandas(frame, preserve_index=False), id="pyarrow"),
        pytest.param(lambda frame: duckdb.from_arrow(pa.Table.from_pandas(frame, preserve_index=False)), id="duckdb"),
    ],
)
def test_any_kind_of_frame_will_do(brand: Brand, kind: Callable[[pd.DataFrame], Any]):
    box, client, _ = brand
    frame = coupons_of(brand, 2)
    result = client.actions.confirm_coupons(kind(frame.drop(columns="extra")), confirm=2)
    assert isinstance(result, pd.DataFrame)
    assert result["status"].tolist() == ["confirmed"] * 2
    assert result["openid"].tolist() == ["o000", "o001"]
    assert set(truth(box).values()) == {"EFFECTIVE"}


def test_a_frame_without_rows_needs_nothing_done(brand: Brand):
    _, client, _ = brand
    frame = coupons_of(brand, 1)
    result = client.actions.confirm_coupons(frame.iloc[:0], confirm=0)
    assert result.empty
    assert result.dtypes.equals(client.actions.confirm_coupons(frame, confirm=1).dtypes)


def test_a_frame_that_names_no_coupons_is_refused(brand: Brand):
    _, client, _ = brand
    frame = coupons_of(brand, 1)
    for wrong, says in [
        (frame.drop(columns=["appid", "stock_id"]), "the frame lacks appid, stock_id: pass rows of store.load"),
        (frame.assign(coupon_code=7), "coupon_code is Int64, and ids read as numbers lose digits"),
        (frame["openid"], "the coupons are a frame, not Series"),
        (frame.to_dict("records"), "the coupons are a frame, not list"),
    ]:
        with pytest.raises(wx.ValidationError, match=says):
            client.actions.confirm_coupons(wrong, confirm=1)


def test_coupons_are_taken_away_once_and_the_others_stay(brand: Brand):
    box, client, ids = brand
    frame = coupons_of(brand, 5)
    for openid, code in zip(frame["openid"][:2], frame["coupon_code"][:2], strict=True):
        client.api.confirm_coupon(openid, code, {**ids, "out_request_no": f"confirm_{openid}"})
    order = {
        "associated_order_info": {"transaction_id": "4200001"},
        "use_time": box.now().isoformat(timespec="seconds"),
    }
    client.api.use_coupon("o000", frame["coupon_code"][0], {**ids, "out_request_no": "use_1234", **order})
    frame = client.fetch.user_coupons(frame["openid"], appid=box.appid)
    chosen = frame[frame["openid"] != "o004"]
    for reason, says in (("", "reason must be"), ("因" * 151, "deactivate_reason: may have at most 150")):
        with pytest.raises(wx.ValidationError, match=says):
            client.actions.deactivate_coupons(chosen, reason=reason, confirm=3)
    with pytest.raises(
        wx.ConfirmationError,
        match=r"3 of 4 coupons would be deactivated \(1 blocked, it is USED.*for good; stocks, and all other coupons, stay as they are. To do it, pass confirm=3, not 4",
    ):
        client.actions.deactivate_coupons(chosen, reason="发错人群", confirm=4)
    assert asked(box, "deactivate") == 0
    result = client.actions.deactivate_coupons(chosen, reason="发错人群", confirm=3)
    assert result["status"].tolist() == ["blocked", "deactivated", "deactivated", "deactivated"]
    assert list(truth(box).values()) == ["USED", *["DEACTIVATED"] * 3, "CONFIRMING"]
    assert set(box.truth("user_coupons")["deactivate_reason"].dropna()) == {"发错人群"}
    # That they are gone holds whatever reason is given now.
    for reason in ("发错人群", "别的"):
        again = client.actions.deactivate_coupons(chosen, reason=reason, confirm=3)
        assert again["status"].tolist() == ["blocked", *["already_deactivated"] * 3]
        assert again["deactivate_time"].notna().tolist() == [False, True, True, True]
    assert asked(box, "deactivate") == 3


@pytest.mark.usefixtures("impatient")
def test_another_reason_does_not_hide_an_open_attempt(brand: Brand):
    box, client, _ = brand
    frame = coupons_of(brand, 1)
    box.faults("reset", times=None, when="after", method="POST")
    assert client.actions.deactivate_coupons(frame, reason="发错人群", confirm=1)["status"].tolist() == ["unknown"]
    box.faults(None)
    result = client.actions.deactivate_coupons(frame, reason="别的", confirm=1)
    assert result["status"].tolist() == ["blocked"]
    assert "deactivate_reason was '发错人群', now '别的'" in result["reason"][0]
    assert client.actions.deactivate_coupons(frame, reason="发错人群", confirm=1)["status"].tolist() == ["deactivated"]


def test_coupons_of_a_bundle_are_warned_of(brand: Brand):
    box, client, _ = brand
    spec = wx.template("progressive_bundle_all_normal", now=client.now())
    spec["stock_bundle"]["coupon_code_mode"] = "WECHATPAY"
    made = client.actions.create_product_coupon(spec)
    box.advance(days=1)
    body = {
        "product_coupon_id": made["product_coupon_id"],
        "stock_bundle_id": made["stock_bundle"]["stock_bundle_id"],
        "appid": box.appid,
        "send_request_no": "SEND_BUNDLE",
    }
    client.api.send_coupon_bundle("o1", body)
    frame = client.fetch.user_coupons(["o1"], appid=box.appid)
    with pytest.warns(wx.ApiRuleWarning, match="3 of these coupons belong to bundles"):
        result = client.actions.deactivate_coupons(frame, reason="r", confirm=3)
    assert result["status"].tolist() == ["deactivated"] * 3
