"""A log of captured notifications becomes the frame of what happened to coupons."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pandas as pd
import pytest

import wxcoupon_analytics as wx
from tests.conftest import brand_credentials
from tests.keys import private_key, public_key
from tests.wire.test_notifications import APIV3_KEY, RESOURCE, credentials, encoded, envelope, signed
from wxcoupon_analytics.entities.schemas import EVENTS, describe, to_table
from wxcoupon_analytics.events import Notifications


@pytest.fixture
def notifications() -> Notifications:
    return Notifications(credentials())


class Log:
    """A folder in which what the platform posted is written down."""

    def __init__(self, tmp_path: Path) -> None:
        self.tmp_path = tmp_path
        self.folder = tmp_path / "captured"
        self.folder.mkdir()

    def record(self, sent: dict | None = None, *, in_base64: bool = False, age: float = 86_400, **changes) -> dict:
        body = encoded(envelope() if sent is None else sent)
        captured = {"body_base64": base64.b64encode(body).decode()} if in_base64 else {"body": body.decode()}
        return {"headers": signed(body, self.tmp_path, age=age, **changes), **captured}

    def file(self, name: str, *records: object) -> Path:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        lines = [r if isinstance(r, str) else json.dumps(r, ensure_ascii=False) for r in records]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path)


def event(number: int, event_type: str = "PRODUCT_COUPON.SEND", **resource: object) -> dict:
    return envelope(
        {**RESOURCE, **resource},
        id=f"event-{number}",
        event_type=event_type,
        create_time=f"2026-05-19T20:00:{number:02}+08:00",
    )


def test_one_read_at_a_time_is_what_a_server_needs(notifications: Notifications, tmp_path: Path):
    body = encoded(envelope())
    assert notifications.read(signed(body, tmp_path), body).resource["coupon_code"] == RESOURCE["coupon_code"]
    with pytest.raises(wx.VerificationError, match="seconds ago"):
        notifications.read(signed(body, tmp_path, age=300), body)
    assert APIV3_KEY not in repr(notifications)


def test_a_log_becomes_one_row_per_notification_in_the_order_of_time(notifications: Notifications, log: Log):
    rounds = [
        event(1),
        event(2, "PRODUCT_COUPON.USE", coupon_state="USED"),
        event(3, "PRODUCT_COUPON.RETURN", coupon_state="EFFECTIVE"),
        event(4, "PRODUCT_COUPON.USE", coupon_state="USED"),
    ]
    path = log.file("log.jsonl", *(log.record(sent) for sent in (rounds[3], *rounds[:3])))
    events = notifications.read_log(path)
    assert events["event_id"].tolist() == ["event-1", "event-2", "event-3", "event-4"]
    assert events["event"].tolist() == ["SEND", "USE", "RETURN", "USE"]
    assert events["event_type"].tolist()[0] == "PRODUCT_COUPON.SEND"
    assert events["coupon_state"].isna().tolist() == [True, False, False, False]
    row = events.iloc[0]
    for name in ("brand_id", "openid", "appid", "stock_id", "product_coupon_id", "coupon_code", "send_request_no"):
        assert row[name] == RESOURCE[name]
    assert row["event_time"] == pd.Timestamp("2026-05-19T20:00:01+08:00")
    assert row["receive_time"] == pd.Timestamp(RESOURCE["receive_time"])
    assert row["summary"] == "商品券领券通知"
    assert pd.isna(row["extra"])


def test_a_repeated_notification_is_one_row_at_its_first_delivery(notifications: Notifications, log: Log):
    later, first = log.record(event(1), age=500), log.record(event(1), age=1_000)
    events = notifications.read_log(log.file("log.jsonl", later, first, later))
    assert len(events) == 1
    signed_at = int(first["headers"]["Wechatpay-Timestamp"])
    assert events["fetched_at"].tolist() == [pd.Timestamp(signed_at, unit="s", tz="Asia/Shanghai")]
    assert str(events["fetched_day"][0]) == str(events["fetched_at"][0].date())


def test_a_folder_holds_files_of_one_record_or_of_many(notifications: Notifications, log: Log):
    log.file("a.json", json.dumps(log.record(event(1)), indent=2))
    log.file("2026-05-19/b.jsonl", log.record(event(2)), log.record(event(3), in_base64=True))
    log.file(".DS_Store", "not a record")
    log.file("empty.jsonl")
    assert notifications.read_log(log.folder)["event_id"].tolist() == ["event-1", "event-2", "event-3"]
    assert notifications.read_log(str(log.folder / "a.json"))["event_id"].tolist() == ["event-1"]


@pytest.mark.parametrize("rows", [0, 1])
def test_every_column_is_always_there_in_its_declared_dtype(rows: int, notifications: Notifications, log: Log):
    events = notifications.read_log(log.file("log.jsonl", *[log.record() for _ in range(rows)]))
    assert len(events) == rows
    assert list(events.columns) == list(EVENTS.names)
    assert {c.name: events[c.name].dtype for c in EVENTS.columns} == {c.name: c.dtype for c in EVENTS.columns}
    assert str(events["event_time"].dtype) == "datetime64[us, Asia/Shanghai]"
    assert to_table("user_coupon_events", events).schema.equals(EVENTS.arrow, check_metadata=True)


def test_the_columns_begin_with_what_happened_to_whose_coupon():
    columns = describe("user_coupon_events").set_index("column")
    assert columns.index[:11].tolist() == [
        "event_id", "event_type", "event", "event_time", "brand_id", "openid", "appid", "stock_id", "product_coupon_id",
        "coupon_code", "coupon_state",
    ]  # fmt: skip
    assert columns.index[-3:].tolist() == ["fetched_at", "fetched_day", "extra"]
    assert columns.loc["event_time", "source"] == "create_time"
    assert columns.loc["single_usage_detail_use_time", "source"] == "resource.single_usage_detail.use_time"
    assert (columns["label"] != "").all()
    assert set(describe("user_coupons")["column"]) <= set(columns.index)


def test_a_coupon_nested_as_queries_answer_it_leaves_the_same_row(notifications: Notifications, log: Log):
    nested = {
        "coupon_code": "1",
        "openid": RESOURCE["openid"],
        "stock": {"stock_id": "8", "product_coupon_id": "7", "sent_count_info": {"total_count": 3}},
        "product_coupon": {"product_coupon_id": "7", "state": "EFFECTIVE"},
        "single_usage_detail": {"use_time": "2026-05-19T20:39:37+08:00", "associated_order_info": {"mchid": "19"}},
    }
    row = notifications.read_log(log.file("log.jsonl", log.record(envelope(nested)))).iloc[0]
    assert (row["stock_id"], row["product_coupon_id"]) == ("8", "7")
    assert row["single_usage_detail_use_time"] == pd.Timestamp("2026-05-19T20:39:37+08:00")
    assert row["single_usage_detail_associated_order_info_mchid"] == "19"
    assert row["brand_id"] == "120344", "a brand's own notifications are about that brand"
    assert pd.isna(row["extra"])


def test_what_is_not_known_is_kept_and_warned_about(notifications: Notifications, log: Log, monkeypatch):
    monkeypatch.setattr("wxcoupon_analytics.entities.flatten._warned", set())
    drifted = {**RESOURCE, "novelty": {"a": [1, None]}, "event_id": "theirs", "receive_time": "soon"}
    sent = envelope(drifted, event_type="PRODUCT_COUPON.GIVEN_AWAY")
    with pytest.warns(wx.SchemaDriftWarning) as warned:
        row = notifications.read_log(log.file("log.jsonl", log.record(sent))).iloc[0]
    assert row["event"] == "GIVEN_AWAY"
    assert row["coupon_code"] == RESOURCE["coupon_code"]
    assert pd.isna(row["receive_time"])
    assert json.loads(row["extra"]) == {
        "novelty": {"a": [1, None]},
        "resource.event_id": "theirs",
        "receive_time": "soon",
    }
    assert len(warned) == 3


def test_a_partner_reads_of_every_brand_it_acts_for(log: Log):
    partner = wx.Credentials.partner(
        mchid="1900000001",
        brand_id="120344",
        serial_no="5157F0",
        private_key=private_key("caller"),
        public_key_id="PUB_KEY_ID_0112233",
        public_key=public_key("platform"),
        apiv3_key=APIV3_KEY,
    )
    nameless = {k: v for k, v in RESOURCE.items() if k != "brand_id"}
    sent = [
        envelope({**RESOURCE, "brand_id": "777"}, id="1", event_type="PRODUCT_COUPON_SP.SEND"),
        envelope(nameless, id="2", event_type="PRODUCT_COUPON_SP.USE"),
    ]
    events = Notifications(partner).read_log(log.file("log.jsonl", *map(log.record, sent)))
    assert events["event"].tolist() == ["SEND", "USE"]
    assert events["event_type"].tolist() == ["PRODUCT_COUPON_SP.SEND", "PRODUCT_COUPON_SP.USE"]
    assert events["brand_id"].fillna("?").tolist() == ["777", "?"]


BAD = {
    "not a record": ("half a rec", "not a record: a JSON object"),
    "no headers": ({"body": "{}"}, "the record has no headers"),
    "no body": ({"headers": {}}, "needs either body or body_base64"),
    "two bodies": ({"headers": {}, "body": "{}", "body_base64": "e30="}, "needs either body or body_base64"),
    "parsed body": ({"headers": {}, "body": {"id": "1"}}, "parsed before it was written down"),
    "no text": ({"headers": {}, "body": 7}, "body and body_base64 are texts"),
    "not Base64": ({"headers": {}, "body_base64": "*"}, "body_base64 is not Base64"),
    "half a character": ('{"headers": {}, "body": "\\ud800"}', "body is not Unicode"),
    "header not text": ({"headers": {"Wechatpay-Nonce": ["x"]}, "body": "{}"}, "Wechatpay-Nonce must be a text"),
    "unsigned": ({"headers": {}, "body": "{}"}, "no Wechatpay-Timestamp header"),
}


@pytest.mark.parametrize(("bad", "says"), BAD.values(), ids=BAD)
def test_a_bad_record_ends_the_reading_with_its_file_line_and_reason(bad, says, notifications, log: Log):
    path = log.file("log.jsonl", log.record(), bad)
    with pytest.raises((wx.ValidationError, wx.VerificationError), match=rf"log\.jsonl, line 2: .*{says}"):
        notifications.read_log(path)


def test_bad_records_can_be_collected_beside_the_good_ones(notifications: Notifications, log: Log):
    log.file("a.jsonl", log.record(event(1)), "half a rec", log.record(event(2), Signature="WECHATPAY/SIGNTEST/abc="))
    log.file("b.json", {"headers": {}, "body": "{}"})
    events, failures = notifications.read_log(log.folder, on_error="collect")
    assert events["event_id"].tolist() == ["event-1"]
    assert failures["file"].map(lambda name: Path(name).name).tolist() == ["a.jsonl", "a.jsonl", "b.json"]
    assert failures["line"].fillna(0).tolist() == [2, 3, 0]
    assert failures["error"].tolist() == ["ValidationError", "VerificationError", "VerificationError"]
    assert "SIGNTEST" in failures["reason"][1]
    assert failures.dtypes.astype(str).to_dict() == {
        "file": "string",
        "line": "Int64",
        "error": "string",
        "reason": "string",
    }
    _, none = notifications.read_log(log.file("good.jsonl", log.record()), on_error="collect")
    assert none.dtypes.equals(failures.dtypes)
    assert none.empty


def test_the_age_is_verified_when_asked_for(notifications: Notifications, log: Log):
    path = log.file("log.jsonl", log.record(age=301))
    assert len(notifications.read_log(path)) == 1
    with pytest.raises(wx.VerificationError, match=r"log\.jsonl: .*seconds ago"):
        notifications.read_log(path, verify_age=True)


def test_what_cannot_be_read_at_all_is_said_before_any_record(notifications: Notifications, log: Log):
    with pytest.raises(wx.ValidationError, match="nowhere: there is no such file or folder"):
        notifications.read_log(log.folder / "nowhere")
    with pytest.raises(wx.CredentialsError, match="apiv3_key"):
        Notifications(brand_credentials()).read_log(log.folder, on_error="collect")
    with pytest.raises(wx.ValidationError, match='"raise" or "collect"'):
        notifications.read_log(log.folder, on_error="ignore")  # type: ignore[call-overload]


def test_events_are_kept_as_snapshots_like_any_other_frame(notifications: Notifications, log: Log):
    events = notifications.read_log(log.file("log.jsonl", log.record(event(1)), log.record(event(2))))
    store = wx.SnapshotStore(log.tmp_path / "data")
    store.save("user_coupon_events", events)
    store.save("user_coupon_events", events.iloc[1:])
    assert sorted(store.load("user_coupon_events")["event_id"]) == ["event-1", "event-2"]
