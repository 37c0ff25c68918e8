"""The whole line against the embedded brand: what the books say is what the numbers say."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections import Counter
from pathlib import Path
from urllib.parse import quote

import duckdb
import pandas as pd
import polars as pl
import pytest

import wxcoupon_analytics as wx
from tests import keys

ODD_OPENIDS = [
    "a/b",
    "a?b",
    "100%",
    "a&b=c",
    "a@b",
    "a b",
    "中文用户",
    "a+b",
    "#top",
    "..",
    ".",
    "a\\b",
    'a"b',
    "😀",
    "%2F",
    "a;b,c",
]


@pytest.fixture
def small():
    """A brand of one's own to change: a stock that is SENDING and nothing else."""
    with wx.Sandbox(seed=1, population=False) as box, box.client() as client:
        created = client.api.create_product_coupon(product_coupon())
        box.advance(hours=1)
        yield box, client, created["product_coupon_id"], created["stock"]["stock_id"]


def product_coupon(number: str = "create_1", *, mode: str = "WECHATPAY", **rule: int) -> dict[str, object]:
    return {
        "out_request_no": number,
        "scope": "ALL",
        "type": "NORMAL",
        "usage_mode": "SINGLE",
        "single_usage_info": {"normal_coupon": {"threshold": 20000, "discount_amount": 5000}},
        "display_info": {
            "name": "全场满200减50",
            "image_url": "https://wxpaylogo.qpic.cn/a/b",
            "background_url": "https://wxpaylogo.qpic.cn/a/b",
        },
        "stock": {
            "remark": "8月工作日有效批次",
            "coupon_code_mode": mode,
            "stock_send_rule": {"max_count": 1000, "max_count_per_user": 50, **rule},
            "single_usage_rule": {
                "coupon_available_period": {
                    "available_begin_time": "2026-11-01T00:00:00+08:00",
                    "available_end_time": "2026-11-30T23:59:59+08:00",
                }
            },
            "usage_rule_display_info": {"coupon_usage_method_list": ["OFFLINE"], "usage_description": "全场可用"},
            "coupon_display_info": {"code_display_mode": "QRCODE"},
            "store_scope": "NONE",
            "notify_config": {"notify_appid": "wx4fd12345678"},
        },
    }


# what is sent -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flavour", ["brand", "partner"])
def test_odd_openids_and_page_tokens_sign_and_arrive_byte_for_byte(flavour: str):
    with wx.Sandbox(seed=1, population=False) as box, box.client(flavour=flavour) as client:
        created = client.api.create_product_coupon(product_coupon())
        box.advance(hours=1)
        ids = {
            "product_coupon_id": created["product_coupon_id"],
            "stock_id": created["stock"]["stock_id"],
            "appid": box.appid,
        }
        for openid in ODD_OPENIDS:
            sent = [client.actions.send_coupon(openid, copy=n, **ids)["coupon_code"] for n in (1, 2, 3)]
            # Pages of one: every token, which holds + / and =, is signed and followed.
            got = [c["coupon_code"] for c in client.api.list_user_coupons(openid, appid=box.appid, page_size=1)]
            assert sorted(got) == sorted(sent), openid
        frame = client.fetch.user_coupons(ODD_OPENIDS, appid=box.appid)
        assert Counter(frame["openid"]) == dict.fromkeys(ODD_OPENIDS, 3)
        log = [r["path"] for r in box.requests()]
        for openid in ODD_OPENIDS:
            # Written apart from the client: percent-encoding of everything but letters, digits and _ - ~ .
            segment = openid.replace(".", "%2E") if set(openid) == {"."} else quote(openid, safe="")
            assert any(f"/users/{segment}/coupons" in path for path in log), openid
        tokens = {t for path in log for t in re.findall(r"page_token=([^&]*)", path)}
        assert any("%2B" in t or "%2F" in t for t in tokens)
        assert all(re.fullmatch(r"(?:[A-Za-z0-9._~-]|%[0-9A-F]{2})+", t) for t in tokens)
        assert all(r["status"] == 200 for r in box.requests())


def test_the_sandboxs_answers_are_signed_so_that_openssl_agrees(
    box: wx.Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from wxcoupon_analytics.wire import signing

    seen: list[tuple[dict[str, str], bytes]] = []
    verify = signing.verify
    monkeypatch.setattr(
        signing, "verify", lambda c, headers, body: (seen.append((dict(headers), body)), verify(c, headers, body))[1]
    )
    with box.client() as client:
        client.fetch.stocks(box.truth("product_coupons")["product_coupon_id"][:2])
    public = keys.openssl("pkey", "-pubin", "-pubout", stdin=box._greeting["public_key"].encode()).decode()
    assert len(seen) == 2
    for headers, body in seen:
        message = f"{headers['wechatpay-timestamp']}\n{headers['wechatpay-nonce']}\n".encode() + body + b"\n"
        assert keys.signature_fits(message, headers["wechatpay-signature"], public, tmp_path)
        assert not keys.signature_fits(
            message.replace(b"stock", b"Stock"), headers["wechatpay-signature"], public, tmp_path
        )


# what is believed -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("tamper_body", {}),
        ("wrong_serial", {}),
        ("stale_timestamp", {"seconds": 360}),
        ("missing_signature", {}),
        ("missing_signature", {"header": "Wechatpay-Timestamp"}),
        ("signtest", {}),
    ],
)
def test_an_answer_that_is_not_authentic_never_becomes_a_frame(kind, options, small, monkeypatch: pytest.MonkeyPatch):
    import tenacity

    from wxcoupon_analytics.wire import exchange

    monkeypatch.setattr(exchange, "_wait", tenacity.wait_none())
    box, client, product_coupon_id, _ = small
    box.faults(kind, times=None, **options)
    with pytest.raises(wx.VerificationError):
        client.fetch.stocks([product_coupon_id])
    box.faults(None)
    box.faults(kind, times=1, **options)
    assert len(client.fetch.stocks([product_coupon_id])) == 1, "asked again, the platform answers properly"


def test_a_compressed_answer_verifies(small):
    box, client, product_coupon_id, _ = small
    box.faults("gzip", times=None)
    assert len(client.fetch.stocks([product_coupon_id])) == 1


# what is fetched --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flavour", ["brand", "partner"])
def test_fetched_frames_are_the_books(flavour: str, box: wx.Sandbox):
    with box.client(flavour=flavour) as client:
        ids = box.truth("product_coupons")["product_coupon_id"]
        some = box.openids()[:200]
        user_coupons = box.truth("user_coupons")
        for entity, fetched, truth in (
            ("product_coupons", client.fetch.product_coupons(ids), box.truth("product_coupons")),
            ("stocks", client.fetch.stocks(ids), box.truth("stocks")),
            (
                "user_coupons",
                client.fetch.user_coupons(some, appid=box.appid),
                user_coupons[user_coupons["openid"].isin(some)],
            ),
        ):
            assert list(fetched.columns) == list(truth.columns)
            key = [
                "product_coupon_id",
                *(["stock_id"] if entity != "product_coupons" else []),
                *(["coupon_code"] if entity == "user_coupons" else []),
            ]
            left, right = (f.sort_values(key).reset_index(drop=True) for f in (fetched, truth))
            pd.testing.assert_frame_equal(left, right)
            assert left["extra"].isna().all()


def test_a_filtered_fetch_holds_only_what_was_asked(box: wx.Sandbox, client: wx.Client):
    some = box.openids()[:100]
    used = client.fetch.user_coupons(some, appid=box.appid, coupon_state="USED")
    truth = box.truth("user_coupons")
    assert len(used) == int(((truth["coupon_state"] == "USED") & truth["openid"].isin(some)).sum()) > 0
    ids = box.truth("product_coupons")["product_coupon_id"]
    sending = client.fetch.stocks(ids, state="SENDING")
    assert set(sending["state"]) == {"SENDING"}


def test_nothing_fetched_is_a_frame_of_all_columns(client: wx.Client):
    for entity, frame in (
        ("product_coupons", client.fetch.product_coupons([])),
        ("stocks", client.fetch.stocks([])),
        ("user_coupons", client.fetch.user_coupons(["nobody-knows-me"], appid="wx233544546545989a")),
    ):
        assert len(frame) == 0
        assert list(frame.columns) == wx.describe(entity)["column"].tolist()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda c: c.fetch.stocks("1000000013"), r"write \['1000000013'\]"),
        (lambda c: c.fetch.stocks([1000000013]), r"1000000013 \(int\)"),
        (lambda c: c.fetch.user_coupons(["o1", None], appid="wx1"), "an empty value"),
        (lambda c: c.fetch.user_coupons(["o1", float("nan")], appid="wx1"), "an empty value"),
        (lambda c: c.fetch.user_coupons(["o1"], appid=""), "needs appid"),
        (lambda c: c.api.get_stock("1", ""), "stock_id must be a non-empty text"),
        (lambda c: c.api.get_stock("1", 2), "stock_id must be a text, not int"),
        (lambda c: c.api.send_coupon("o1", {"stock_id": "1"}), "send_request_no: is missing"),
    ],
)
def test_what_would_be_asked_wrongly_is_refused_before_anything_leaves(call, says, box: wx.Sandbox, client: wx.Client):
    before = len(box.requests())
    with pytest.raises(wx.ValidationError, match=says):
        call(client)
    assert len(box.requests()) == before


def test_an_unknown_id_says_so_with_the_request_id(client: wx.Client):
    with pytest.raises(wx.NotFoundError, match="Request-ID") as caught:
        client.fetch.product_coupons(["404"])
    assert caught.value.numeric_code == 268578608
    assert caught.value.signed


# what is kept -----------------------------------------------------------------------------------------------------


def test_pandas_duckdb_and_polars_read_the_snapshots_without_our_help(tmp_path: Path):
    """Also when an optional field is all null in one file and set in the next."""
    with wx.Sandbox(seed=1, population=False) as box, box.client() as client:
        store, ids, daily = wx.SnapshotStore(tmp_path), [], []
        for number, rule in ((1, {}), (2, {"max_count_per_day": 10})):
            ids.append(
                client.api.create_product_coupon(product_coupon(f"create_{number}", **rule))["product_coupon_id"]
            )
            now = box.advance(days=1)
            saved = client.fetch.snapshot(store, product_coupon_ids=ids, openids=["o1"], appid=box.appid)
            assert saved.set_index("entity")["rows"].to_dict() == {
                "product_coupons": number,
                "stocks": number,
                "user_coupons": 0,
            }
            daily.append(now)
        folder = tmp_path / "stocks"
        assert len(list(folder.rglob("*.parquet"))) == 2
        columns = ["stock_id", "stock_send_rule_max_count_per_day"]
        readers = {
            "pandas": pd.read_parquet(folder),
            "duckdb": duckdb.sql(f"FROM read_parquet('{folder}/**/*.parquet')").pl().to_pandas(),
            "polars": pl.read_parquet(folder / "**/*.parquet").to_pandas(),
        }
        ours = Counter(
            store.history("stocks")[columns].astype("string").fillna("null").itertuples(index=False, name=None)
        )
        assert sum(ours.values()) == 3
        for name, frame in readers.items():
            theirs = frame[columns].astype({columns[1]: "Int64"}).astype("string").fillna("null")
            assert Counter(theirs.itertuples(index=False, name=None)) == ours, name
        assert store.load("stocks")["stock_send_rule_max_count_per_day"].dropna().tolist() == [10]
        assert len(store.load("stocks", as_of=daily[0])) == 1


def test_the_second_snapshot_asks_for_what_the_store_knows(tmp_path: Path, box: wx.Sandbox, client: wx.Client):
    store = wx.SnapshotStore(tmp_path)
    with pytest.raises(wx.ValidationError, match="knows of no product coupons yet"):
        client.fetch.snapshot(store)
    with pytest.raises(wx.ValidationError, match="appid"):
        client.fetch.snapshot(store, openids=["o1"])
    ids = box.truth("product_coupons")["product_coupon_id"]
    first = client.fetch.snapshot(store, product_coupon_ids=ids, openids=box.openids()[:50], appid=box.appid)
    again = client.fetch.snapshot(store)
    assert first["rows"].tolist() == again["rows"].tolist()


# what is said about it --------------------------------------------------------------------------------------------


def check_stocks(box: wx.Sandbox, client: wx.Client, user_coupons: pd.DataFrame) -> None:
    """Hold both stock metrics against the coupons in the books, counted here one by one."""
    coupons, now = box.truth("product_coupons"), client.now()
    stocks = client.fetch.stocks(coupons["product_coupon_id"])
    books = box.truth("stocks").set_index("stock_id")
    assert set(stocks["stock_id"]) == set(books.index)
    sent = Counter(user_coupons["stock_id"])
    today = Counter(user_coupons.loc[user_coupons["receive_time"].dt.date == now.date(), "stock_id"])
    for row in wx.budget_use(stocks, coupons).to_dict("records"):
        stock = books.loc[row["stock_id"]]
        limit = int(stock["stock_send_rule_max_count"])
        assert row["sent_count"] == sent[row["stock_id"]]
        assert row["sent_today"] == today[row["stock_id"]]
        assert row["remaining_count"] == limit - sent[row["stock_id"]]
        assert row["sent_share"] == pytest.approx(sent[row["stock_id"]] / limit)
        if not pd.isna(row["discount_fen"]):
            assert row["sent_value_fen"] == row["discount_fen"] * sent[row["stock_id"]]
    for row in wx.remaining_daily_quota(stocks, now=now).to_dict("records"):
        stock = books.loc[row["stock_id"]]
        left = [int(stock["stock_send_rule_max_count"]) - sent[row["stock_id"]]]
        if not pd.isna(stock["stock_send_rule_max_count_per_day"]):
            left.append(int(stock["stock_send_rule_max_count_per_day"]) - today[row["stock_id"]])
        if stock["coupon_code_mode"] == "UPLOAD":
            left.append(int(stock["coupon_code_count_info_available_count"]))
        assert row["sendable_today"] == (min(left) if stock["state"] == "SENDING" else 0), row
        assert not row["stale"]


def check_states(box: wx.Sandbox, client: wx.Client, user_coupons: pd.DataFrame) -> None:
    fetched = client.fetch.user_coupons(box.openids(), appid=box.appid)
    assert len(fetched) == len(user_coupons)
    expected = Counter(zip(user_coupons["stock_id"], user_coupons["coupon_state"], strict=True))
    breakdown = wx.state_breakdown(fetched, by="stock_id")
    got = {(s, c): n for s, c, n in breakdown[["stock_id", "coupon_state", "count"]].itertuples(index=False) if n}
    assert got == expected
    for stock_id, group in breakdown.groupby("stock_id"):
        assert group["share"].sum() == pytest.approx(1), stock_id


def test_the_numbers_equal_the_books_for_every_stock_at_the_end_of_the_history(box: wx.Sandbox, client: wx.Client):
    user_coupons = box.truth("user_coupons")
    assert set(user_coupons["coupon_state"]) == {
        "CONFIRMING",
        "PENDING",
        "EFFECTIVE",
        "USED",
        "EXPIRED",
        "DELETED",
        "DEACTIVATED",
    }
    check_stocks(box, client, user_coupons)
    check_states(box, client, user_coupons)


def test_the_numbers_equal_the_books_on_every_day_of_four_weeks():
    with wx.Sandbox(seed=11, history_days=0) as box, box.client() as client:
        for day in range(1, 29):
            box.advance(days=1)
            user_coupons = box.truth("user_coupons")
            check_stocks(box, client, user_coupons)
            if day in (1, 12, 28):
                check_states(box, client, user_coupons)


def test_yesterdays_counter_is_not_taken_for_todays():
    with wx.Sandbox(seed=7) as box, box.client() as client:
        stocks = client.fetch.stocks(box.truth("product_coupons")["product_coupon_id"])
        box.advance(hours=14, minutes=1)  # from ten in the morning past Beijing midnight
        quota = wx.remaining_daily_quota(stocks, now=client.now()).set_index("stock_id")
        limited = stocks[stocks["stock_send_rule_max_count_per_day"].notna()].set_index("stock_id")
        assert (limited["sent_count_info_today_count"] > 0).any()
        assert (quota.loc[limited.index, "daily_left"] == limited["stock_send_rule_max_count_per_day"]).all()
        assert quota.loc[limited.index, "stale"].all()


# what is done -----------------------------------------------------------------------------------------------------


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

    def full(*_: object) -> None:
        raise wx.JournalError("the disk is full")

    monkeypatch.setattr(client._journal, "end", full)
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
        ({"campaign": " "}, "campaign must be"),
        ({"copy": 0}, "copy must be a whole number from 1"),
        ({"copy": True}, "copy must be a whole number from 1"),
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


def test_the_stop_button_ends_a_fetch_and_no_request_follows():
    with wx.Sandbox(seed=7) as box, box.client() as client:
        openids = box.openids()
        threading.Timer(1.0, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            client.fetch.user_coupons(openids, appid=box.appid)
        time.sleep(0.3)
        asked = [r["path"] for r in box.requests()]
        assert 0 < len(asked) < 2000, "the log holds 2,000"
        time.sleep(0.5)
        assert [r["path"] for r in box.requests()] == asked
        assert len(client.fetch.user_coupons(openids[:5], appid=box.appid)) > 0, "the client goes on"
