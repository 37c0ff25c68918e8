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
from tests.shop import product_coupon

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
        (lambda c: c.fetch.stocks("1000000013"), r"write \[product_coupon_id\]"),
        (lambda c: c.fetch.stocks([1000000013]), "a value of type int"),
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


# what is stopped --------------------------------------------------------------------------------------------------


def test_the_stop_button_ends_a_fetch_and_no_request_follows():
    with wx.Sandbox(seed=7) as box, box.client() as client:
        openids = box.openids()

        def press_stop() -> None:
            while len(box.requests()) < 20:
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGINT)

        threading.Thread(target=press_stop, daemon=True).start()
        with pytest.raises(KeyboardInterrupt):
            client.fetch.user_coupons(openids, appid=box.appid)
        time.sleep(0.3)
        asked = [r["path"] for r in box.requests()]
        assert 0 < len(asked) < 2000, "the log holds 2,000"
        time.sleep(0.5)
        assert [r["path"] for r in box.requests()] == asked
        assert len(client.fetch.user_coupons(openids[:5], appid=box.appid)) > 0, "the client goes on"
