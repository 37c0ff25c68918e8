"""What is kept is kept: through kills, by one owner, and said plainly when it cannot be."""

from __future__ import annotations

import datetime as dt
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wxcoupon_analytics.errors import SnapshotError
from wxcoupon_analytics.fetch.spool import FOUND_AGAIN, Lost, Spool, Tally, sweep

NOW = dt.datetime(2026, 11, 2, 10, tzinfo=ZoneInfo("Asia/Shanghai"))
DAY = dt.timedelta(days=1)


def spool(folder: Path, *, now: dt.datetime = NOW, since: dt.datetime | None = NOW - DAY) -> Spool:
    return Spool(folder, now=now, since=since)


def keep(spool: Spool, who: str, content: bytes = b"{}", *, then: str | None = None, coupons: int = 1) -> None:
    spool.keep(who, content, fetched_at=NOW, coupons=coupons, next_token=then)


def contents(spool: Spool, part: int) -> list[tuple[str, bytes]]:
    return [(page.who, page.content) for page in spool.pages_of(part)]


def test_a_second_run_finds_what_the_first_kept(tmp_path):
    first = spool(tmp_path)
    keep(first, "done", b"whole")
    keep(first, "half", b"page 1", then="t1")
    keep(first, "half", b"page 2", then="t2")
    first.close()
    second = spool(tmp_path)
    assert (second.resumed, second.fetch_id, second.started_at) == (True, first.fetch_id, NOW)
    assert (second.users, second.open_users, second.open_coupons) == (1, 1, 1)
    assert second.is_done("done")
    assert not second.is_done("half")
    assert (second.tokens("done"), second.tokens("half"), second.tokens("new")) == ([], ["t1", "t2"], [])
    keep(second, "half", b"page 3", coupons=7)
    part = second.close_part()
    assert list(second.users_of(part)) == ["done", "half"]
    assert contents(second, part) == [("done", b"whole"), *(("half", b"page %d" % n) for n in (1, 2, 3))]
    second.discard()
    assert not tmp_path.exists()


def test_the_answered_are_counted_a_block_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr("wxcoupon_analytics.fetch.spool._USERS_AT_ONCE", 2)
    here = spool(tmp_path)
    for who in ("a", "b", "王\"'"):
        keep(here, who)
    keep(here, "half", then="t1")
    queries: list[str] = []
    here._db.set_trace_callback(queries.append)
    assert here.count_done(iter(["a", "a", "half", "new", "王\"'"])) == 3, "one who is there twice counts twice"
    assert len(queries) == 3
    assert here.count_done([]) == 0
    here.close()


def test_a_closed_part_stays_the_same_part_until_it_is_stored(tmp_path):
    first = spool(tmp_path)
    keep(first, "a")
    part = first.close_part()
    keep(first, "b")
    first.close()
    second = spool(tmp_path)
    assert second.closed_parts() == [part]
    assert second.users_of(part) == {"a": NOW}
    lost = Lost("s", "p", "c")
    second.stored(part, Tally(coupons=1, new=1, vanished=1), [("a", lost)])
    assert second.closed_parts() == []
    assert contents(second, part) == []
    assert second.is_done("a")
    assert second.tally() == Tally(requests=2, coupons=1, new=1, vanished=1)
    assert (second.lost_by(), second.lost("a")) == ({"a"}, [lost])
    second.keep_found("a", lost, b"found", fetched_at=NOW)
    assert (second.lost_by(), second.lost("a")) == ({"a"}, []), "found, but not stored yet"
    second.stored(FOUND_AGAIN, Tally(found=1))
    assert second.lost_by() == set()
    assert second.tally().requests == 3
    second.discard()


@settings(deadline=None, max_examples=25)
@given(
    st.lists(
        st.tuples(st.sampled_from("abcdefgh"), st.integers(1, 4), st.sampled_from(["go on", "close part", "die"])),
        unique_by=lambda user: user[0],
    )
)
def test_every_page_comes_out_once_however_often_the_run_ends(tmp_path_factory, users):
    folder = tmp_path_factory.mktemp("spool")
    current, out, due = spool(folder), [], []
    for who, pages, then in users:
        for number in range(pages):
            keep(current, who, f"{who}{number}".encode(), then=f"t{number}" if number + 1 < pages else None)
            due.append((who, f"{who}{number}".encode()))
            if then == "die":
                current.close()
                current = spool(folder)
                assert len(current.tokens(who)) == (number + 1 if number + 1 < pages else 0)
        if then == "close part":
            part = current.close_part()
            current.close()
            current = spool(folder)
            assert part in current.closed_parts()
            out += contents(current, part)
            current.stored(part, Tally())
    out += contents(current, current.close_part())
    current.discard()
    assert out == due


def test_a_user_was_answered_when_the_first_page_was(tmp_path):
    kept = spool(tmp_path)
    for who, hours, then in (("a", 1, "t1"), ("b", 2, None), ("a", 3, "t2"), ("c", 4, None), ("a", 5, None)):
        kept.keep(who, b"{}", fetched_at=NOW + dt.timedelta(hours=hours), coupons=1, next_token=then)
    answered = kept.users_of(kept.close_part())
    assert [(who, (at - NOW).seconds // 3600) for who, at in answered.items()] == [("b", 2), ("c", 4), ("a", 1)]
    kept.discard()


def test_a_part_closed_right_after_a_page_was_kept_leaves_an_empty_one(tmp_path, monkeypatch: pytest.MonkeyPatch):
    change = Spool._change

    @contextmanager
    def closed_at_once(self):
        with change(self) as db:
            yield db
        monkeypatch.undo()
        self.close_part()

    current = spool(tmp_path)
    monkeypatch.setattr(Spool, "_change", closed_at_once)
    keep(current, "a", coupons=3)
    assert (current.users, current.open_users, current.open_coupons) == (1, 0, 0)
    current.discard()


def test_a_fetch_that_ends_while_the_old_ones_are_looked_for_does_no_harm(tmp_path, monkeypatch: pytest.MonkeyPatch):
    for name in ("ends", "old"):
        (tmp_path / name).mkdir()
        for file in ("owner", "spool.sqlite3"):
            (tmp_path / name / file).write_text("")
            os.utime(tmp_path / name / file, (0, 0))
    stat = Path.stat

    def ends(self, **options):
        if self.parent.name == "ends" and self.name != "owner":
            self.unlink(missing_ok=True)
        return stat(self, **options)

    monkeypatch.setattr(Path, "stat", ends)
    sweep(tmp_path, DAY)
    assert [folder.name for folder in tmp_path.iterdir()] == ["ends"]


@pytest.mark.parametrize(
    ("now", "since", "resumed"),
    [
        (NOW + DAY, NOW, True),
        (NOW + DAY, NOW + dt.timedelta(seconds=1), False),
        (NOW, None, False),
        (NOW - dt.timedelta(seconds=1), NOW - DAY, False),
    ],
    ids=["in time", "too old", "not wanted", "begun in the future"],
)
def test_what_is_outdated_is_begun_anew(tmp_path, now, since, resumed):
    first = spool(tmp_path)
    keep(first, "a")
    first.close()
    second = spool(tmp_path, now=now, since=since)
    assert second.resumed == resumed
    assert second.outdated == (None if resumed else NOW)
    assert second.is_done("a") == resumed
    assert (second.fetch_id == first.fetch_id) == resumed
    second.discard()


CHILD = """
import datetime as dt, sys, time
from pathlib import Path
from wxcoupon_analytics.fetch.spool import Spool
now = dt.datetime.fromisoformat("2026-11-02T10:00:00+08:00")
spool = Spool(Path(sys.argv[1]), now=now, since=now)
spool.keep("a", b"whole", fetched_at=now, coupons=1, next_token=None)
print("kept", flush=True)
time.sleep(60)
"""


def test_one_owner_at_a_time_and_a_killed_one_leaves_no_lock(tmp_path):
    with subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE) as child:
        assert child.stdout
        assert child.stdout.readline() == b"kept\n"
        with pytest.raises(SnapshotError, match=f"running already .process {child.pid}"):
            spool(tmp_path)
        child.send_signal(signal.SIGKILL)
        child.wait()
        after = spool(tmp_path)
        assert after.is_done("a")
        with pytest.raises(SnapshotError, match=f"running already .process {os.getpid()}"):
            spool(tmp_path)
        after.discard()


def test_a_full_disk_says_so_and_what_was_kept_stays(tmp_path):
    first = spool(tmp_path)
    keep(first, "a")
    (pages,) = first._db.execute("PRAGMA page_count").fetchone()
    first._db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(SnapshotError, match=r"full. Make room.*goes on from what is kept"):
        keep(first, "b", os.urandom(100_000))
    assert not first.is_done("b")
    first.close()
    second = spool(tmp_path)
    assert second.is_done("a")
    keep(second, "b", os.urandom(100_000))
    second.discard()


@pytest.mark.parametrize("broken", ["no database", "its inside"])
def test_a_file_that_is_no_spool_is_named_and_replaced_only_when_told(broken: str, tmp_path):
    file = tmp_path / "spool.sqlite3"
    first = spool(tmp_path)
    keep(first, "a", os.urandom(50_000))
    first.close()
    whole = file.read_bytes()
    file.write_bytes(b"not a database" * 100 if broken == "no database" else whole[:4096] + bytes(len(whole) - 4096))
    with pytest.raises(SnapshotError, match=f"{tmp_path} cannot be read.*resume=False"):
        spool(tmp_path)
    anew = spool(tmp_path, since=None)
    assert not anew.resumed
    keep(anew, "a")
    anew.discard()


def test_a_page_that_changed_on_disk_is_not_believed(tmp_path):
    first = spool(tmp_path)
    keep(first, "a", b"whole" * 10)
    first._db.execute("UPDATE pages SET content = zeroblob(length(content))")
    with pytest.raises(SnapshotError, match="not as it was kept"):
        list(first.pages_of(first.close_part()))
    first.discard()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SnapshotError, match=f"{tmp_path}/file/spool"):
        spool(tmp_path / "file" / "spool")


def test_only_its_owner_can_read_it(tmp_path):
    folder = tmp_path / "new"
    kept = spool(folder)
    keep(kept, "a")
    assert folder.stat().st_mode & 0o077 == 0
    assert all(file.stat().st_mode & 0o077 == 0 for file in folder.iterdir() if file.name.startswith("spool"))
    kept.discard()
