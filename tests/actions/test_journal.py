from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path

import pytest

import wxcoupon_analytics as wx
from wxcoupon_analytics.actions.intent import Intent, derive_request_no
from wxcoupon_analytics.actions.journal import Journal

INTENT = Intent("send_coupon", {"openid": "o1"}, {"stock_id": "1", "send_request_no": "n1"}, "n1")


def test_an_intent_is_durable_before_its_outcome_is_known(tmp_path: Path):
    journal = Journal(tmp_path / "j.sqlite3", brand_id="1")
    journal.begin(INTENT)
    # Another process, as after a power cut: what was begun is there, its outcome unknown.
    with sqlite3.connect(tmp_path / "j.sqlite3") as other:
        assert other.execute("SELECT status FROM actions").fetchall() == [("unknown",)]
    other.close()
    journal.end(INTENT, {"coupon_code": "C"})
    journal.close()
    again = Journal(tmp_path / "j.sqlite3", brand_id="1")
    record = again.look("n1")
    assert record is not None
    assert (record.status, record.answer) == ("done", {"coupon_code": "C"})
    again.close()


def test_an_outcome_that_may_hide_a_success_stays_unknown():
    journal = Journal(None, brand_id="1")
    for error, status in ((wx.TransportError("silence"), "unknown"), (wx.ApiError(400, "PARAM_ERROR", "no"), "failed")):
        error.maybe_executed = status == "unknown"
        journal.begin(INTENT)
        journal.end(INTENT, error)
        assert journal.look("n1").status == status  # type: ignore[union-attr]
    frame = journal.frame()
    assert frame["attempts"].tolist() == [2]
    assert frame["error_code"].tolist() == ["PARAM_ERROR"]
    assert str(frame["started_at"].dtype) == "datetime64[us, Asia/Shanghai]"
    journal.close()


def test_brands_that_share_a_file_do_not_see_each_other(tmp_path: Path):
    one, other = (Journal(tmp_path / "j.sqlite3", brand_id=b) for b in ("1", "2"))
    one.begin(INTENT)
    assert other.look("n1") is None
    assert len(other.frame()) == 0
    one.close()
    other.close()


@pytest.mark.skipif(os.name == "nt", reason="file modes are POSIX")
def test_only_its_owner_can_read_it(tmp_path: Path):
    journal = Journal(tmp_path / "new" / "j.sqlite3", brand_id="1")
    journal.begin(INTENT)
    for file in (tmp_path / "new").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file.name
    journal.close()


def test_a_file_that_is_no_journal_is_reported_and_left_as_it_is(tmp_path: Path):
    path = tmp_path / "j.sqlite3"
    path.write_bytes(b"these are my shopping notes, not a database" * 50)
    before = path.read_bytes()
    with pytest.raises(wx.JournalError, match=r"j.sqlite3 cannot be used.*left as it is"):
        Journal(path, brand_id="1")
    assert path.read_bytes() == before


def test_a_journal_of_a_newer_version_is_refused(tmp_path: Path):
    with sqlite3.connect(tmp_path / "j.sqlite3") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(wx.JournalError, match="newer"):
        Journal(tmp_path / "j.sqlite3", brand_id="1")


def test_the_request_number_is_a_function_of_the_meaning_alone_and_keeps_its_parts_apart():
    number = derive_request_no("send_coupon", "c", "1", "o", 1)
    assert number == derive_request_no("send_coupon", "c", "1", "o", 1)
    assert 6 <= len(number) <= 40
    others = [("c", "1", "o", 2), ("c2", "1", "o", 1), ("c", "1o", "", 1), ('c","1', "", "o", 1), ("c", "1", "o\n", 1)]
    assert len({number, *(derive_request_no("send_coupon", *o) for o in others)}) == 6
    # Fixed for ever: a number that changed between versions would send again what had been sent.
    assert number == "wxc-681ae828e50444c856ebc7c70ce81611"
