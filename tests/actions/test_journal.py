from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
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
    Journal(tmp_path / "j.sqlite3", brand_id="1").close()
    with sqlite3.connect(tmp_path / "j.sqlite3") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(wx.JournalError, match="newer"):
        Journal(tmp_path / "j.sqlite3", brand_id="1")


def test_another_programs_database_is_not_taken_over(tmp_path: Path):
    with sqlite3.connect(tmp_path / "j.sqlite3") as db:
        db.execute("CREATE TABLE orders (id)")
    db.close()
    before = (tmp_path / "j.sqlite3").read_bytes()
    with pytest.raises(wx.JournalError, match="some other SQLite database"):
        Journal(tmp_path / "j.sqlite3", brand_id="1")
    assert (tmp_path / "j.sqlite3").read_bytes() == before


def test_of_two_processes_that_looked_at_the_same_moment_the_second_sees_the_first(tmp_path: Path):
    one, other = (Journal(tmp_path / "j.sqlite3", brand_id="1") for _ in range(2))
    changed = Intent("send_coupon", {"openid": "o1"}, {"stock_id": "1", "attach": "x", "send_request_no": "n1"}, "n1")
    assert one.look("n1") is None
    assert other.look("n1") is None
    assert one.begin(INTENT) is None
    in_its_way = other.begin(changed)
    assert in_its_way is not None
    assert (in_its_way.status, in_its_way.intent) == ("unknown", INTENT.text)
    one.end(INTENT, {"coupon_code": "C"})
    settled = other.begin(INTENT)
    assert settled is not None
    assert settled.answer == {"coupon_code": "C"}
    assert one.frame()["attempts"].tolist() == [1]
    one.close()
    other.close()


def test_a_plain_refusal_does_not_speak_for_an_attempt_of_another_process(tmp_path: Path):
    one, other = (Journal(tmp_path / "j.sqlite3", brand_id="1") for _ in range(2))
    one.begin(INTENT)
    other.begin(INTENT)  # and dies
    one.end(INTENT, wx.ApiError(400, "INVALID_REQUEST", "no"))
    assert one.look("n1").status == "unknown"  # type: ignore[union-attr]
    other.end(INTENT, wx.ApiError(400, "INVALID_REQUEST", "no"))
    assert one.look("n1").status == "failed"  # type: ignore[union-attr]
    one.close()
    other.close()


def test_the_stop_button_while_waiting_for_the_lock_leaves_the_journal_usable(tmp_path: Path):
    journal = Journal(tmp_path / "j.sqlite3", brand_id="1")
    with sqlite3.connect(tmp_path / "j.sqlite3", isolation_level=None, check_same_thread=False) as holder:
        holder.execute("BEGIN IMMEDIATE")
        threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        threading.Timer(0.6, lambda: holder.execute("COMMIT")).start()
        with pytest.raises(KeyboardInterrupt):
            journal.begin(INTENT)
    holder.close()
    journal.begin(INTENT)
    journal.end(INTENT, {"coupon_code": "C"})
    assert journal.frame()["status"].tolist() == ["done"]
    journal.close()


def test_many_processes_may_open_a_new_journal_at_once(tmp_path: Path):
    code = (
        "import sys; from wxcoupon_analytics.actions.journal import Journal\n"
        f"for i in range(20): Journal(r'{tmp_path}/' + f'{{i}}.sqlite3', brand_id='1').close()"
    )
    running = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE) for _ in range(4)]
    assert [p.communicate()[1].decode() for p in running] == [""] * 4


def test_a_user_without_a_name_can_send(monkeypatch: pytest.MonkeyPatch):
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr("getpass.getuser", nobody)
    journal = Journal(None, brand_id="1")
    journal.begin(INTENT)
    assert journal.frame()["who"].tolist() == [f"uid {os.getuid()}"]
    journal.close()
    with pytest.raises(wx.JournalError, match="closed with its client"):
        journal.frame()


def test_the_request_number_is_a_function_of_the_meaning_alone_and_keeps_its_parts_apart():
    number = derive_request_no("send_coupon", "c", "1", "o", 1)
    assert number == derive_request_no("send_coupon", "c", "1", "o", 1)
    assert 6 <= len(number) <= 40
    others = [("c", "1", "o", 2), ("c2", "1", "o", 1), ("c", "1o", "", 1), ('c","1', "", "o", 1), ("c", "1", "o\n", 1)]
    assert len({number, *(derive_request_no("send_coupon", *o) for o in others)}) == 6
    # Fixed for ever: a number that changed between versions would send again what had been sent.
    assert number == "wxc-681ae828e50444c856ebc7c70ce81611"
