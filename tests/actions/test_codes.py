"""Columns of codes uploaded to the embedded brand: checked before they leave, in batches, each batch once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import tenacity

import wxcoupon_analytics as wx
from tests.stop_button import stopped
from wxcoupon_analytics.actions import codes as uploads
from wxcoupon_analytics.wire import exchange, questions

Brand = tuple[wx.Sandbox, wx.Client, dict[str, str]]


@pytest.fixture
def brand() -> Iterator[Brand]:
    """A brand with an UPLOAD stock."""
    with wx.Sandbox(seed=1, population=False, rate_limits=False) as box, box.client() as client:
        made = client.actions.create_product_coupon(wx.template("single_all_normal", now=client.now()))
        yield box, client, {"product_coupon_id": made["product_coupon_id"], "stock_id": made["stock"]["stock_id"]}


def codes(number: int) -> list[str]:
    return [f"SPRING-{index:05}" for index in range(number)]


def pool(box: wx.Sandbox) -> int:
    """Count the codes in the stock's pool, by the brand's own books."""
    return int(box.truth("stocks")["coupon_code_count_info_total_count"].item())


def uploads_asked(box: wx.Sandbox) -> int:
    return sum(r["path"].endswith("/upload-coupon-codes") for r in box.requests())


KINDS = {
    "list": list,
    "iterator": iter,
    "pandas": lambda codes: pd.Series(codes, index=codes[::-1], dtype="string"),
    "polars": pl.Series,
    "pyarrow": lambda codes: pa.chunked_array([codes[:7], codes[7:]]),
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_column_goes_up_in_batches_and_each_batch_once(brand: Brand, kind: Callable[[list[str]], Any]):
    box, client, ids = brand
    wanted = codes(450)
    result = client.actions.upload_coupon_codes(**ids, codes=kind(wanted))
    assert list(result.columns) == ["coupon_code", "status", "message", "out_request_no", "request_id"]
    assert set(map(str, result.dtypes)) == {"string"}
    assert result["coupon_code"].tolist() == wanted
    assert set(result["status"]) == {"uploaded"}
    assert result["out_request_no"].value_counts().tolist() == [200, 200, 50]
    assert (pool(box), uploads_asked(box)) == (450, 3)
    assert client.actions.upload_coupon_codes(**ids, codes=wanted).equals(result)
    more = client.actions.upload_coupon_codes(**ids, codes=codes(460))
    assert more["status"].tolist() == ["uploaded"] * 400 + ["already_there"] * 50 + ["uploaded"] * 10
    assert (pool(box), uploads_asked(box)) == (460, 4)


def test_what_is_wrong_is_said_with_its_place_and_nothing_leaves(brand: Brand):
    box, client, ids = brand
    before = len(box.requests())
    wrong = ["A1", None, "A1", "a b", "码", "x" * 41, "", 7, float("nan"), pd.NA, "A2\n"]
    with pytest.raises(wx.ValidationError) as caught:
        client.actions.upload_coupon_codes(**ids, codes=wrong)
    assert "10 of 11 codes are wrong, nothing was sent" in str(caught.value)
    assert [problem.partition(" ")[0] for problem in caught.value.problems] == [f"codes[{i}]" for i in range(1, 11)]
    for place, says in {
        1: "is null",
        2: "'A1' stands at [0] already",
        3: "'a b' is not 1–40",
        7: "is 7, no text",
        8: "is null",
        9: "is null",
    }.items():
        assert says in caught.value.problems[place - 1]
    with pytest.raises(wx.ValidationError, match=r"(?s)1000 of 1000 codes are wrong.*… and 950 more"):
        client.actions.upload_coupon_codes(**ids, codes=["?"] * 1000)
    for nothing, says in [
        ([], "there are no codes"),
        ("SPRING", "not str"),
        (pd.DataFrame({"code": ["A"]}), "a column or a list of texts, not DataFrame"),
    ]:
        with pytest.raises(wx.ValidationError, match=says):
            client.actions.upload_coupon_codes(**ids, codes=nothing)
    assert len(box.requests()) == before


@pytest.mark.parametrize("mode", ["WECHATPAY", "API_ASSIGN"])
def test_a_stock_without_a_pool_takes_none(brand: Brand, mode: str):
    box, client, _ = brand
    spec = wx.template("single_all_normal", now=client.now())
    spec["stock"]["coupon_code_mode"] = mode
    made = client.actions.create_product_coupon(spec)
    with pytest.raises(wx.ValidationError, match=f"is {mode}: only an UPLOAD stock has a pool"):
        client.actions.upload_coupon_codes(made["product_coupon_id"], made["stock"]["stock_id"], codes(1))
    assert uploads_asked(box) == 0


def test_batches_that_were_cut_off_are_settled_by_the_next_run(brand: Brand, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(exchange, "_wait", tenacity.wait_none())
    box, client, ids = brand
    box.faults("reset", times=None, when="after", method="POST")
    assert set(client.actions.upload_coupon_codes(**ids, codes=codes(450))["status"]) == {"unknown"}
    assert pool(box) == 450
    box.faults(None)
    result = client.actions.upload_coupon_codes(**ids, codes=codes(450))
    assert set(result["status"]) == {"uploaded"}, "the first result again"
    assert pool(box) == 450
    with box.client() as elsewhere:  # another journal, and the column sorted anew: other batches
        turned = elsewhere.actions.upload_coupon_codes(**ids, codes=codes(450)[::-1])
    assert set(turned["status"]) == {"already_there"}
    assert pool(box) == 450


def test_a_batch_that_is_refused_leaves_the_others_and_is_not_sent_again_unasked(brand: Brand):
    box, client, ids = brand
    box.faults("status", times=1, code=400, signed=True, method="POST")
    result = client.actions.upload_coupon_codes(**ids, codes=codes(450))
    counts = result["status"].value_counts()
    assert counts["failed"] in (50, 200)
    assert counts.sum() == 450
    assert pool(box) == counts["uploaded"]
    assert result.loc[result["status"] == "failed", "message"].notna().all()
    asked = uploads_asked(box)
    assert client.actions.upload_coupon_codes(**ids, codes=codes(450))["status"].equals(result["status"])
    assert uploads_asked(box) == asked
    assert set(client.actions.upload_coupon_codes(**ids, codes=codes(450), retry_failed=True)["status"]) == {"uploaded"}
    assert pool(box) == 450


def test_a_refusal_about_the_stock_ends_the_run_and_may_pass(brand: Brand):
    box, client, ids = brand
    box.faults("status", times=None, code=404, signed=True, method="POST")
    result = client.actions.upload_coupon_codes(**ids, codes=codes(6000))
    assert set(result["status"]) == {"failed", "blocked"}
    assert result["message"].str.contains("no batch would be taken now: 404 NOT_FOUND").all()
    assert uploads_asked(box) < 30
    box.faults(None)
    assert set(client.actions.upload_coupon_codes(**ids, codes=codes(6000))["status"]) == {"uploaded"}
    assert pool(box) == 6000


def test_the_stop_button_leaves_the_rest_for_the_next_run(brand: Brand):
    box, _, ids = brand
    with box.client(rate=10) as client:
        with pytest.raises(KeyboardInterrupt) as caught, stopped(lambda: uploads_asked(box) >= 5):
            client.actions.upload_coupon_codes(**ids, codes=codes(6000))
        result = caught.value.result  # type: ignore[attr-defined]
        assert set(result["status"]) <= {"uploaded", "unknown", "blocked"}
        assert {"uploaded", "blocked"} <= set(result["status"])
        assert (result["status"] == "uploaded").sum() <= pool(box) < 6000
        done = result.loc[result["status"] == "uploaded", "out_request_no"].nunique()
    with box.client() as other:
        assert len(other.actions.upload_coupon_codes(**ids, codes=codes(6000))) == 6000
    assert pool(box) == 6000
    assert done > 0


@pytest.mark.parametrize("flavour", ["brand", "partner"])
def test_codes_the_platform_does_not_take_say_so(brand: Brand, monkeypatch: pytest.MonkeyPatch, flavour: str):
    """Were our alphabet wider than the platform's one day: both ways in which it answers are read."""
    monkeypatch.setattr(uploads, "_CODE", re.compile(".+"))
    monkeypatch.setattr(questions, "check", lambda *_, **__: None)
    box, _, ids = brand
    with wx.connect(getattr(box, f"{flavour}_credentials"), hosts=box.hosts, clock=box.now) as client:
        result = client.actions.upload_coupon_codes(**ids, codes=["A1", "no good", "A2"])
    assert result["status"].tolist() == ["uploaded", "failed", "uploaded"]
    assert result["message"].notna().tolist() == [False, flavour == "brand", False]
