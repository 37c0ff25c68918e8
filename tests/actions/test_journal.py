"""The journal: durable, private, never overwritten, and a write in one run's hands at a time."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import textwrap
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

import wxcoupon_analytics as wx
from wxcoupon_analytics import owners
from wxcoupon_analytics.actions import tables
from wxcoupon_analytics.actions.filesystems import network_file_system
from wxcoupon_analytics.actions.intent import Intent
from wxcoupon_analytics.actions.journal import Journal
from wxcoupon_analytics.actions.records import Claim, End, Record
from wxcoupon_analytics.owners import Owner

INTENT = Intent("send_coupon", {"openid": "o1"}, {"stock_id": "1", "send_request_no": "n1"}, "n1", "c", 1)
CHANGED = Intent(
    "send_coupon", {"openid": "o1"}, {"stock_id": "1", "attach": "x", "send_request_no": "n1"}, "n1", "c", 1
)
REFUSAL = wx.ApiError(400, "INVALID_REQUEST", "no", request_id="R-1")


def begun(journal: Journal, lease: int, intent: Intent = INTENT, **options: bool) -> Claim | Record:
    [answer] = journal.write(lease, begins=[intent], **options)
    return answer


def claimed(journal: Journal, lease: int, intent: Intent = INTENT, **options: bool) -> Claim:
    claim = begun(journal, lease, intent, **options)
    assert isinstance(claim, Claim)
    return claim


def test_an_intent_is_durable_before_its_outcome_is_known(tmp_path: Path):
    journal = Journal(tmp_path / "j.sqlite3", brand_id="1")
    with journal.lease() as lease:
        claim = claimed(journal, lease)
        # Another process, as after a power cut: what was begun is there, its outcome unknown.
        with sqlite3.connect(tmp_path / "j.sqlite3") as other:
            assert other.execute("SELECT status FROM actions").fetchall() == [("unknown",)]
            assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        other.close()
        assert journal._db.execute("PRAGMA synchronous").fetchone() == (2,), "FULL"
        journal.write(lease, ends=[End(claim, {"coupon_code": "C"}, "R-0")])
    journal.close()
    again = Journal(tmp_path / "j.sqlite3", brand_id="1")
    record = again.look("n1")
    assert record is not None
    assert (record.status, record.answer, record.request_id) == ("done", {"coupon_code": "C"}, "R-0")
    again.close()


def test_an_error_says_whether_it_may_hide_a_success_is_final_or_never_left():
    journal = Journal(None, brand_id="1")
    hidden = wx.TransportError("silence")
    hidden.maybe_executed = True
    errors = [
        (hidden, True, "unknown"),
        (wx.TransportError("unreachable"), True, "unsent"),
        (wx.RateLimitError(429, "RATELIMIT_EXCEEDED", "too fast"), True, "unsent"),
        (REFUSAL, False, "unsent"),
        (REFUSAL, True, "failed"),
    ]
    with journal.lease() as lease:
        for attempts, (error, is_final, status) in enumerate(errors, 1):
            if attempts == 2:  # what is unknown is asked again by another run: this one holds it no more
                journal._db.execute("UPDATE actions SET lease = NULL")
            claim = claimed(journal, lease)
            assert claim.attempts == attempts
            journal.write(lease, ends=[End(claim, error, is_final=is_final)])
            assert journal.look("n1").status == status  # type: ignore[union-attr]
        assert begun(journal, lease).status == "failed", "refused for good: not again"  # type: ignore[union-attr]
        assert isinstance(begun(journal, lease, retry_failed=True), Claim)
    frame = journal.frame()
    assert frame["attempts"].tolist() == [6]
    assert str(frame["started_at"].dtype) == "datetime64[us, Asia/Shanghai]"
    journal.close()


def test_the_audit_says_who_when_what_how_often_and_what_came_of_it():
    journal = Journal(None, brand_id="1")
    with journal.lease() as lease:
        journal.write(lease, ends=[End(claimed(journal, lease), REFUSAL)])
    [row] = journal.frame().to_dict("records")
    assert row["who"]
    assert datetime.now(UTC) - row["started_at"] < timedelta(minutes=1)
    assert row["started_at"] <= row["ended_at"]
    assert {name: row[name] for name in ("operation", "campaign", "copy", "request_no", "openid", "stock_id")} == {
        "operation": "send_coupon",
        "campaign": "c",
        "copy": 1,
        "request_no": "n1",
        "openid": "o1",
        "stock_id": "1",
    }
    assert json.loads(row["intent"])["body"] == {"stock_id": "1", "send_request_no": "n1"}
    assert [row[name] for name in ("status", "attempts", "error_code", "error_message", "request_id")] == [
        "failed",
        1,
        "INVALID_REQUEST",
        "no",
        "R-1",
    ]
    journal.close()


def test_another_body_is_refused_while_the_first_may_have_happened_and_mends_what_was_refused():
    journal = Journal(None, brand_id="1")
    with journal.lease() as lease:
        claim = claimed(journal, lease)
        assert isinstance(begun(journal, lease, CHANGED), Record)
        journal.write(lease, ends=[End(claim, REFUSAL)])
        mended = claimed(journal, lease, CHANGED)
        journal.write(lease, ends=[End(mended, {"coupon_code": "C"})])
        in_the_way = begun(journal, lease, INTENT, retry_failed=True)
        assert isinstance(in_the_way, Record)
        assert (in_the_way.status, in_the_way.intent) == ("done", CHANGED.text)
    journal.close()


def test_brands_that_share_a_file_do_not_see_each_other(tmp_path: Path):
    one, other = (Journal(tmp_path / "j.sqlite3", brand_id=b) for b in ("1", "2"))
    with one.lease() as lease:
        claimed(one, lease)
    assert other.look("n1") is None
    assert len(other.frame()) == 0
    one.close()
    other.close()


@pytest.mark.skipif(os.name == "nt", reason="file modes are POSIX")
def test_only_its_owner_can_read_it(tmp_path: Path):
    journal = Journal(tmp_path / "new" / "j.sqlite3", brand_id="1")
    with journal.lease() as lease:
        claimed(journal, lease)
    for file in (tmp_path / "new").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file.name
        file.chmod(0o644)  # as a copy may have it
    Journal(tmp_path / "new" / "j.sqlite3", brand_id="1")
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


def test_a_journal_that_was_damaged_is_reported_and_left_as_it_is(tmp_path: Path):
    path = tmp_path / "j.sqlite3"
    journal = Journal(path, brand_id="1")
    with journal.lease() as lease:
        intents = [Intent("send_coupon", {"openid": f"o{i}"}, {}, f"n{i:06}") for i in range(2000)]
        journal.write(lease, begins=intents)
    journal.close()
    content = bytearray(path.read_bytes())
    content[8192 : len(content) - 4096] = os.urandom(len(content) - 12288)
    path.write_bytes(content)
    with pytest.raises(wx.JournalError, match=r"j.sqlite3 cannot be used.*left as it is"):  # noqa: PT012 - sooner or later
        damaged = Journal(path, brand_id="1")
        try:
            damaged.frame()
        finally:
            damaged.close()
    assert path.read_bytes() == bytes(content)


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
    (tmp_path / "j.sqlite3").chmod(0o644)
    before = (tmp_path / "j.sqlite3").read_bytes()
    with pytest.raises(wx.JournalError, match="some other SQLite database"):
        Journal(tmp_path / "j.sqlite3", brand_id="1")
    assert (tmp_path / "j.sqlite3").read_bytes() == before
    assert os.name == "nt" or stat.S_IMODE((tmp_path / "j.sqlite3").stat().st_mode) == 0o644, "not even its mode"


# The schema as version 1 wrote it, word for word.
VERSION_1 = """
CREATE TABLE actions (
    brand_id      TEXT NOT NULL,
    request_no    TEXT NOT NULL,
    operation     TEXT NOT NULL,
    campaign      TEXT,
    copy          INTEGER,
    intent        TEXT NOT NULL,              -- path and body, canonical JSON
    status        TEXT NOT NULL CHECK (status IN ('unknown', 'done', 'failed')),
    attempts      INTEGER NOT NULL,
    who           TEXT NOT NULL,
    started_at    TEXT NOT NULL,              -- UTC, RFC 3339; the first attempt
    touched_at    TEXT NOT NULL,              -- the last thing that happened to it
    ended_at      TEXT,
    answer        TEXT,
    error_code    TEXT,
    error_message TEXT,
    request_id    TEXT,
    PRIMARY KEY (brand_id, request_no)
) STRICT
"""


def journal_of_version_1(path: Path) -> None:
    at = "2026-11-02T02:00:00.000000+00:00"
    sends = [
        ("n1", INTENT.text, "done", '{"coupon_code": "C"}', None),
        ("n2", '{"body": {"stock_id": "1"}, "path": {"openid": "o2"}}', "failed", None, "INVALID_REQUEST"),
        ("n3", '{"body": {"stock_id": "1"}, "path": {"openid": "o3"}}', "failed", None, None),
        ("n4", '{"body": {}, "path": {"product_coupon_id": "9", "stock_id": "1"}}', "unknown", None, None),
    ]
    with sqlite3.connect(path) as db:
        db.execute(VERSION_1)
        db.execute(f"PRAGMA application_id = {tables.APPLICATION_ID}")
        db.execute("PRAGMA user_version = 1")
        for number, intent, status, answer, code in sends:
            operation = "deactivate_stock" if number == "n4" else "send_coupon"
            db.execute(
                "INSERT INTO actions VALUES ('1', ?, ?, 'c', 1, ?, ?, 2, 'ana', ?, ?, ?, ?, ?, NULL, NULL)",
                (number, operation, intent, status, at, at, at, answer, code),
            )
        db.execute("PRAGMA journal_mode = WAL")
    db.close()


def test_a_journal_of_version_1_is_brought_up_to_date_with_all_it_knows(tmp_path: Path):
    journal_of_version_1(tmp_path / "j.sqlite3")
    journal = Journal(tmp_path / "j.sqlite3", brand_id="1")
    frame = journal.frame()
    assert frame["request_no"].tolist() == ["n1", "n2", "n3", "n4"]
    assert frame["status"].tolist() == ["done", "failed", "unsent", "unknown"]
    assert frame["openid"].tolist()[:3] == ["o1", "o2", "o3"]
    assert frame["openid"].isna().tolist()[3]
    assert frame["stock_id"].tolist() == ["1"] * 4
    assert frame["who"].tolist() == ["ana"] * 4
    with journal.lease() as lease:
        assert begun(journal, lease).answer == {"coupon_code": "C"}
    journal.close()
    Journal(tmp_path / "j.sqlite3", brand_id="1").close()
    with sqlite3.connect(tmp_path / "j.sqlite3") as db, sqlite3.connect(":memory:") as new:
        tables.create(new)
        shape = "SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY name"
        assert db.execute(shape).fetchall() == new.execute(shape).fetchall(), "as if it had been made new"
        assert db.execute("PRAGMA user_version").fetchone() == (tables.VERSION,)
    db.close()
    new.close()


def test_a_migration_that_fails_leaves_the_old_journal_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    journal_of_version_1(tmp_path / "j.sqlite3")
    monkeypatch.setattr(tables, "_LEASES", "CREATE TABLE actions (this name is taken)")
    with pytest.raises(wx.JournalError):
        Journal(tmp_path / "j.sqlite3", brand_id="1")
    with sqlite3.connect(tmp_path / "j.sqlite3") as db:
        assert db.execute("SELECT request_no, status FROM actions").fetchall()[2] == ("n3", "failed")
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
    db.close()


def test_what_one_run_has_begun_another_gets_when_that_run_is_over(tmp_path: Path):
    one, other = (Journal(tmp_path / "j.sqlite3", brand_id="1") for _ in range(2))
    with one.lease() as mine, other.lease() as theirs:
        claim = claimed(one, mine)
        held = begun(other, theirs)
        assert isinstance(held, Record)
        assert (held.status, held.is_held) == ("unknown", True)
        one.write(mine, ends=[End(claim, {"coupon_code": "C"})])
        assert begun(other, theirs).answer == {"coupon_code": "C"}
        second = Intent("send_coupon", {"openid": "o2"}, {}, "n2")
        claimed(one, mine, second)
    with other.lease() as theirs:
        taken_over = claimed(other, theirs, second)
        assert taken_over.before is not None
        assert (taken_over.before.status, taken_over.attempts) == ("unknown", 2)
    one.close()
    other.close()


KILLED = """
import os, sys
from wxcoupon_analytics.actions.intent import Intent
from wxcoupon_analytics.actions.journal import Journal
journal = Journal(sys.argv[1], brand_id="1")
with journal.lease() as lease:
    journal.write(lease, begins=[Intent("send_coupon", {"openid": "o1"}, {"stock_id": "1", "send_request_no": "n1"}, "n1", "c", 1)])
    print("begun", flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_what_a_process_that_was_killed_held_is_free(tmp_path: Path):
    path = tmp_path / "j.sqlite3"
    with subprocess.Popen([sys.executable, "-c", KILLED, path], stdin=-1, stdout=-1, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        journal = Journal(path, brand_id="1")
        with journal.lease() as lease:
            assert begun(journal, lease).is_held  # type: ignore[union-attr]
            process.kill()
            deadline = time.monotonic() + 5  # not reaped yet: a zombie holds nothing
            while not isinstance(begun(journal, lease), Claim):
                assert time.monotonic() < deadline
                time.sleep(0.01)
        process.wait()
        with journal.lease():
            assert len(journal._db.execute("SELECT * FROM leases").fetchall()) == 1, "dead leases are buried"
        journal.close()


def test_an_owner_is_one_process_not_whoever_has_its_number_now(monkeypatch: pytest.MonkeyPatch):
    now = datetime.now(UTC)
    here = Owner.here()
    assert here.lives(now)
    assert not here.lives(now - timedelta(minutes=11)), "its run is over, though it idles on"
    assert not Owner(here.host, here.pid, here.started - 3600).lives(now), "an earlier process of this number"
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert not Owner(here.host, process.pid, here.started).lives(now)
    # Of another host's process only its last sign of life is known.
    elsewhere = Owner("some other machine", here.pid, here.started)
    assert elsewhere.lives(now - timedelta(minutes=9))
    assert not elsewhere.lives(now - timedelta(minutes=11))
    monkeypatch.setattr(owners.socket, "gethostname", lambda: "renamed")
    assert Owner.here().host.startswith("renamed")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_may_not_use_its_parents_journal(tmp_path: Path):
    code = textwrap.dedent(f"""
        import os
        import wxcoupon_analytics as wx
        from wxcoupon_analytics.actions.journal import Journal
        journal = Journal(r"{tmp_path / "j.sqlite3"}", brand_id="1")
        if os.fork() == 0:
            try:
                journal.look("n1")
            except wx.JournalError as error:
                journal.close()
                os._exit(0 if "connect again here" in str(error) else 1)
            os._exit(2)
        assert os.wait()[1] == 0
        assert journal.look("n1") is None
        journal.close()
    """)
    subprocess.run([sys.executable, "-c", code], timeout=20, check=True)


@pytest.mark.parametrize(
    ("mounts", "found"),
    [
        ({"/": "ext4"}, None),
        ({"/": "ext4", "/home": "nfs4"}, "nfs4"),
        ({"/": "nfs", "/home": "btrfs"}, None),
        ({"/": "ext4", "/home/ana": "fuse.sshfs", "/home": "xfs"}, "fuse.sshfs"),
        ({"/": "ext4", "/homes": "cifs"}, None),
        ({"/": "ext4", "/home/ana/": "CIFS"}, "CIFS"),
        ({"/": "ext4", "/home": "fuse.gocryptfs"}, None),
        ({}, None),
    ],
)
def test_a_network_file_system_is_known_by_the_deepest_mount_above_the_file(mounts: dict[str, str], found: str | None):
    table = [SimpleNamespace(mountpoint=point, fstype=kind) for point, kind in mounts.items()]
    assert network_file_system(Path("/home/ana/state/journal.sqlite3"), table) == found


def test_of_two_mounts_at_one_place_the_later_hides_the_earlier():
    table = [SimpleNamespace(mountpoint="/home", fstype=kind) for kind in ("nfs", "ext4")]
    assert network_file_system(Path("/home/j"), table) is None
    assert network_file_system(Path("/home/j"), table[::-1]) == "nfs"


def test_a_journal_on_a_network_file_system_warns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    table = [SimpleNamespace(mountpoint=str(tmp_path), fstype="nfs4")]
    monkeypatch.setattr("psutil.disk_partitions", lambda **_: table)
    with pytest.warns(UserWarning, match=r"network file system \(nfs4\).*safe for one machine only"):
        Journal(tmp_path / "j.sqlite3", brand_id="1").close()


def test_of_two_processes_that_looked_at_the_same_moment_the_second_sees_the_first(tmp_path: Path):
    one, other = (Journal(tmp_path / "j.sqlite3", brand_id="1") for _ in range(2))
    with one.lease() as mine, other.lease() as theirs:
        assert one.look("n1") is None
        assert other.look("n1") is None
        claim = claimed(one, mine)
        in_its_way = begun(other, theirs, CHANGED)
        assert isinstance(in_its_way, Record)
        assert (in_its_way.status, in_its_way.intent) == ("unknown", INTENT.text)
        one.write(mine, ends=[End(claim, {"coupon_code": "C"})])
        assert begun(other, theirs).answer == {"coupon_code": "C"}
    assert one.frame()["attempts"].tolist() == [1]
    one.close()
    other.close()


def test_a_plain_refusal_does_not_speak_for_an_attempt_of_another_process(tmp_path: Path):
    one, other = (Journal(tmp_path / "j.sqlite3", brand_id="1") for _ in range(2))
    with one.lease() as mine, other.lease() as theirs:
        first = claimed(one, mine)
        # As from another machine whose lease was believed dead: both ask.
        one._db.execute("UPDATE actions SET lease = NULL")
        second = claimed(other, theirs)
        one.write(mine, ends=[End(first, REFUSAL)])
        assert one.look("n1").status == "unknown"  # type: ignore[union-attr]
        assert one.look("n1").is_held, "the second still asks"  # type: ignore[union-attr]
        other.write(theirs, ends=[End(second, REFUSAL)])
        assert one.look("n1").status == "failed"  # type: ignore[union-attr]
    one.close()
    other.close()


def test_the_stop_button_while_waiting_for_the_lock_leaves_the_journal_usable(tmp_path: Path):
    journal = Journal(tmp_path / "j.sqlite3", brand_id="1")
    with journal.lease() as lease:
        with sqlite3.connect(tmp_path / "j.sqlite3", isolation_level=None, check_same_thread=False) as holder:
            holder.execute("BEGIN IMMEDIATE")
            threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
            threading.Timer(0.6, lambda: holder.execute("COMMIT")).start()
            with pytest.raises(KeyboardInterrupt):
                journal.write(lease, begins=[INTENT])
        holder.close()
        claim = journal.look("n1")
        assert claim is None, "all or nothing"
        journal.write(lease, ends=[End(claimed(journal, lease), {"coupon_code": "C"})])
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
    with journal.lease() as lease:
        claimed(journal, lease)
    assert journal.frame()["who"].tolist() == [f"uid {os.getuid()}"]
    journal.close()
    with pytest.raises(wx.JournalError, match="closed with its client"):
        journal.frame()


def test_what_is_unsettled_is_found_by_operation():
    journal = Journal(None, brand_id="1")
    with journal.lease() as lease:
        journal.write(lease, ends=[End(claimed(journal, lease), {"coupon_code": "C"})])
        other = Intent("deactivate_stock", {"stock_id": "1"}, {}, "n2")
        claimed(journal, lease, other)
    assert journal.unsettled("send_coupon") == []
    assert journal.unsettled("deactivate_stock") == [("n2", other.text)]
    journal.close()
