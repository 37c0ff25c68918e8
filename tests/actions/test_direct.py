"""Sends and deactivations against the embedded brand: once, however often and wherever they are run."""

from __future__ import annotations

import pytest

import wxcoupon_analytics as wx
from tests.shop import product_coupon


def test_the_same_send_again_is_the_first_one_and_another_copy_is_another(small):
    box, client, product_coupon_id, stock_id = small
    ids = {"product_coupon_id": product_coupon_id, "stock_id": stock_id, "appid": box.appid}
    first = client.actions.send_coupon("o1", campaign="c", **ids)
    assert first["coupon_state"] == "CONFIRMING"
    assert client.actions.send_coupon("o1", campaign="c", **ids) == first
    with box.client() as notebook:
        assert notebook.actions.send_coupon("o1", campaign="c", **ids) == first, "another notebook without this journal"
    assert client.actions.send_coupon("o1", campaign="c", copy=2, **ids)["coupon_code"] != first["coupon_code"]
    assert client.actions.send_coupon("o1", campaign="d", **ids)["coupon_code"] != first["coupon_code"]
    assert len(box.truth("user_coupons")) == 3
    journal = client.actions.journal()
    assert journal["status"].tolist() == ["done"] * 3
    assert journal["attempts"].tolist() == [1, 1, 1]


def test_a_send_that_was_cut_off_after_it_happened_is_found_again(small):
    box, client, product_coupon_id, stock_id = small
    ids = {"product_coupon_id": product_coupon_id, "stock_id": stock_id, "appid": box.appid}
    box.faults("reset", times=1, when="after", method="POST")
    first = client.actions.send_coupon("o1", **ids)
    assert len(box.truth("user_coupons")) == 1
    # Another machine, no journal of ours, and the stock has ended meanwhile.
    client.actions.deactivate_stock(product_coupon_id, stock_id, reason="r", confirm=stock_id)
    with box.client() as elsewhere:
        assert elsewhere.actions.send_coupon("o1", **ids)["coupon_code"] == first["coupon_code"]
        with pytest.raises(wx.ValidationError, match="is DEACTIVATED: coupons are sent only while it is SENDING"):
            elsewhere.actions.send_coupon("o2", **ids)
    assert len(box.truth("user_coupons")) == 1


def test_doubt_about_a_send_is_not_forgotten_by_a_rerun_that_fails(small, monkeypatch: pytest.MonkeyPatch):
    import tenacity

    from wxcoupon_analytics.wire import exchange

    monkeypatch.setattr(exchange, "_wait", tenacity.wait_none())
    box, client, product_coupon_id, stock_id = small
    ids = {"product_coupon_id": product_coupon_id, "stock_id": stock_id, "appid": box.appid}
    box.faults("reset", times=None, when="after", method="POST")
    with pytest.raises(wx.TransportError) as caught:
        client.actions.send_coupon("o1", **ids)
    assert caught.value.maybe_executed
    assert len(box.truth("user_coupons")) == 1
    # Run again with the network gone, then refused: neither says anything about the first attempt.
    box.faults(None)
    box.faults("reset", times=None, when="before", method="POST")
    with pytest.raises(wx.TransportError) as caught:
        client.actions.send_coupon("o1", **ids)
    assert caught.value.maybe_executed
    assert client.actions.journal()["status"].tolist() == ["unknown"]
    with pytest.raises(wx.ValidationError, match="whose outcome is unknown: attach was None, now 'changed'"):
        client.actions.send_coupon("o1", attach="changed", **ids)
    box.faults(None)
    sent = client.actions.send_coupon("o1", **ids)
    assert box.truth("user_coupons")["coupon_code"].tolist() == [sent["coupon_code"]]
    journal = client.actions.journal()
    assert journal[["status", "campaign", "copy"]].to_numpy().tolist() == [["done", "single", 1]]


def test_a_refusal_of_a_rerun_is_believed_only_after_looking(small):
    box, client, product_coupon_id, stock_id = small
    ids = {"product_coupon_id": product_coupon_id, "stock_id": stock_id, "appid": box.appid}
    # The journal knows of an attempt, cut off before any answer; the platform has the coupon under that number.
    sent = client.actions.send_coupon("o1", **ids)
    client._journal._db.execute("UPDATE actions SET status = 'unknown', answer = NULL")
    box.faults("status", times=1, code=400, signed=True, method="POST")
    again = client.actions.send_coupon("o1", **ids)
    assert again["coupon_code"] == sent["coupon_code"]
    assert client.actions.journal()["status"].tolist() == ["done"]


def test_a_send_that_cannot_be_recorded_still_gives_its_answer(small, monkeypatch: pytest.MonkeyPatch):
    box, client, product_coupon_id, stock_id = small
    ids = {"product_coupon_id": product_coupon_id, "stock_id": stock_id, "appid": box.appid}

    write = client._journal.write

    def full(lease: int, *, ends: object = (), **begins: object) -> object:
        if ends:
            raise wx.JournalError("the disk is full")
        return write(lease, **begins)

    monkeypatch.setattr(client._journal, "write", full)
    with pytest.warns(UserWarning, match="was done, but this could not be recorded: the disk is full"):
        sent = client.actions.send_coupon("o1", **ids)
    monkeypatch.undo()
    assert client.actions.send_coupon("o1", **ids)["coupon_code"] == sent["coupon_code"]
    assert len(box.truth("user_coupons")) == 1


def test_another_body_under_the_same_number_is_refused_with_the_difference(small):
    box, client, product_coupon_id, stock_id = small
    ids = {"product_coupon_id": product_coupon_id, "stock_id": stock_id, "appid": box.appid}
    client.actions.send_coupon("o1", attach="one", **ids)
    with pytest.raises(wx.ValidationError, match="attach was 'one', now 'two'"):
        client.actions.send_coupon("o1", attach="two", **ids)
    assert len(box.truth("user_coupons")) == 1


def test_a_refused_send_may_be_mended_and_tried_again(small):
    box, client, product_coupon_id, stock_id = small
    ids = {"product_coupon_id": product_coupon_id, "stock_id": stock_id}
    with pytest.raises(wx.ApiError) as caught:
        client.actions.send_coupon("o1", appid="wx-of-somebody-else", **ids)
    assert caught.value.hint is not None
    assert not caught.value.maybe_executed
    assert client.actions.journal()["status"].tolist() == ["failed"]
    client.actions.send_coupon("o1", appid=box.appid, **ids)
    assert client.actions.journal()[["status", "attempts"]].to_numpy().tolist() == [["done", 2]]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"openid": ""}, "openid must be a non-empty text"),
        ({"openid": 7}, "openid must be a non-empty text, not 7"),
        ({"openid": ["oh-394z"]}, "openid must be a non-empty text, not list"),
        ({"campaign": " "}, "campaign must be"),
        ({"copy": 0}, "copy must be a whole number from 1"),
        ({"copy": True}, "copy must be a whole number from 1"),
        ({"send_request_no": ""}, "send_request_no"),
        ({"send_request_no": "short"}, "send_request_no: needs at least 6 characters"),
        ({"send_request_no": "with space"}, "send_request_no: may consist of 0-9A-Za-z_- only"),
        ({"coupon_code": "x" * 41}, "coupon_code: may have at most 40"),
        ({"coupon_code": "CODE"}, "the platform makes the code"),
        ({"attach": "附" * 151}, "attach: may have at most 150 characters"),
        ({"openid": "", "copy": 0}, "openid must be.*copy must be"),
    ],
)
def test_a_wrong_send_is_refused_before_it_leaves_with_all_that_is_wrong(arguments, says, small):
    box, client, product_coupon_id, stock_id = small
    call = {
        "openid": "o1",
        "product_coupon_id": product_coupon_id,
        "stock_id": stock_id,
        "appid": box.appid,
        **arguments,
    }
    with pytest.raises(wx.ValidationError, match=says):
        client.actions.send_coupon(call.pop("openid"), **call)
    assert not [r for r in box.requests() if r["method"] == "POST" and "/users/" in r["path"]]
    assert len(client.actions.journal()) == 0


def test_an_api_assign_stock_needs_a_code_and_gives_it_back(small):
    box, client, *_ = small
    created = client.api.create_product_coupon(product_coupon("create_2", mode="API_ASSIGN"))
    box.advance(hours=1)
    ids = {
        "product_coupon_id": created["product_coupon_id"],
        "stock_id": created["stock"]["stock_id"],
        "appid": box.appid,
    }
    with pytest.raises(wx.ValidationError, match="each send needs a coupon_code of your own"):
        client.actions.send_coupon("o1", **ids)
    assert client.actions.send_coupon("o1", coupon_code="MY-CODE_1", **ids)["coupon_code"] == "MY-CODE_1"


def test_a_stock_is_deactivated_once_with_reason_and_confirmation_and_its_coupons_stay(small):
    box, client, product_coupon_id, stock_id = small
    coupon = client.actions.send_coupon("o1", product_coupon_id=product_coupon_id, stock_id=stock_id, appid=box.appid)
    for reason, says in (("", "reason must be"), ("因" * 151, "deactivate_reason: may have at most 150")):
        with pytest.raises(wx.ValidationError, match=says):
            client.actions.deactivate_stock(product_coupon_id, stock_id, reason=reason, confirm=stock_id)
    for confirm in ("", "yes", True, product_coupon_id):
        with pytest.raises(wx.ConfirmationError, match=f"confirm='{stock_id}'"):
            client.actions.deactivate_stock(product_coupon_id, stock_id, reason="批次信息有误", confirm=confirm)
    assert client.api.get_stock(product_coupon_id, stock_id)["state"] == "SENDING"
    ended = client.actions.deactivate_stock(product_coupon_id, stock_id, reason="批次信息有误", confirm=stock_id)
    assert (ended["state"], ended["deactivate_reason"]) == ("DEACTIVATED", "批次信息有误")
    assert (
        client.actions.deactivate_stock(product_coupon_id, stock_id, reason="批次信息有误", confirm=stock_id) == ended
    )
    with box.client() as elsewhere:
        again = elsewhere.actions.deactivate_stock(product_coupon_id, stock_id, reason="批次信息有误", confirm=stock_id)
        assert again["deactivate_time"] == ended["deactivate_time"]
    confirmed = client.api.confirm_coupon(
        "o1",
        coupon["coupon_code"],
        {
            "product_coupon_id": product_coupon_id,
            "stock_id": stock_id,
            "appid": box.appid,
            "out_request_no": "confirm_1",
        },
    )
    assert confirmed["coupon_state"] == "EFFECTIVE"


def test_a_stock_someone_else_ended_says_who_knows_why(small):
    _, client, product_coupon_id, stock_id = small
    client.api.deactivate_stock(
        product_coupon_id, stock_id, {"out_request_no": "by-hand", "deactivate_reason": "商品已下架"}
    )
    with pytest.raises(wx.ValidationError, match=r"is DEACTIVATED since 2026-11-02T.*商品已下架"):
        client.actions.deactivate_stock(product_coupon_id, stock_id, reason="r", confirm=stock_id)


def test_a_code_for_an_upload_stock_is_warned_of_where_it_is_given(small):
    box, client, *_ = small
    made = client.api.create_product_coupon(product_coupon("create_2", mode="UPLOAD"))
    box.advance(hours=1)
    ids = {"product_coupon_id": made["product_coupon_id"], "stock_id": made["stock"]["stock_id"]}
    client.actions.upload_coupon_codes(**ids, codes=["POOL-1"])
    with pytest.warns(UserWarning, match="takes a code you uploaded") as caught:
        sent = client.actions.send_coupon("o1", coupon_code="MINE-1", appid=box.appid, **ids)
    assert [warning.filename for warning in caught] == [__file__]
    assert sent["coupon_code"] == "POOL-1"
