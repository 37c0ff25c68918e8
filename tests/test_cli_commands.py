"""The commands scripts rely on, against the embedded brand: what they do, print, and exit with."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

import wxcoupon_analytics as wx
from tests.test_cli import COMMAND
from wxcoupon_analytics.cli import app
from wxcoupon_analytics.cli.lab import copy_notebooks, notebooks_folder
from wxcoupon_analytics.sandbox.sharing import publish, serve_now


@pytest.fixture(scope="module")
def live() -> Iterator[wx.Sandbox]:
    """A brand that lives in the present, as a real one does."""
    with serve_now(seed=7) as box:
        yield box


@pytest.fixture
def served(live: wx.Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> wx.Sandbox:
    """That brand, found by its configuration as another process would find it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WXCOUPON_CONFIG", str(publish(live, tmp_path / "brand")))
    return live


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def users(path: Path, openids: list[str]) -> Path:
    path.write_text("\n".join(["openid", *openids]) + "\n", encoding="utf-8")
    return path


class TestFetch:
    def test_the_first_names_ids_and_users_and_the_next_knows_them(self, served: wx.Sandbox, tmp_path: Path):
        ids, openids = served.truth("product_coupons")["product_coupon_id"], served.openids()[:30]
        named = [part for product in ids for part in ("--product-coupon-id", product)]
        file = users(tmp_path / "customers.csv", openids)
        first = run("fetch", "--store", "kept", *named, "--openids", file, "--appid", served.appid)
        assert first.exit_code == 0, first.output
        assert [line.split()[0] for line in first.output.splitlines()] == ["product_coupons", "stocks", "user_coupons"]

        again = run("fetch", "--store", "kept", "--json")
        assert again.exit_code == 0, again.output
        saved = {row["entity"]: row for row in json.loads(again.stdout)}
        truth = served.truth("user_coupons")
        assert saved["user_coupons"]["rows"] == truth["openid"].isin(openids).sum()
        assert saved["stocks"]["rows"] == len(served.truth("stocks"))
        assert pd.Timestamp(saved["stocks"]["taken_at"]).utcoffset() == pd.Timedelta(hours=8)
        store = wx.SnapshotStore("kept")
        assert set(store.load("stocks")["stock_id"]) == set(served.truth("stocks")["stock_id"])

        refreshed = run("fetch", "--store", "kept", "--refresh", "--appid", served.appid, "--json")
        assert refreshed.exit_code == 0, refreshed.output
        assert [row["entity"] for row in json.loads(refreshed.stdout)] == list(saved)
        assert len(store.snapshots("stocks")) == 3

    def test_users_who_fail_are_left_out_when_told_to_and_the_exit_status_says_so(self, served: wx.Sandbox):
        good, bad = served.openids()[:3], served.foreign_openids()[0]
        file = users(Path("customers.csv"), [*good, bad])
        arguments = ["fetch", "--openids", file, "--appid", served.appid, "--product-coupon-id", "1000000013"]
        ended = run(*arguments)
        assert ended.exit_code == 1
        assert ended.stderr.startswith("ApiError: ")
        assert bad not in ended.stderr
        result = run(*arguments, "--keep-going")
        assert result.exit_code == 3, result.output
        assert "incomplete: " in result.stderr
        assert set(wx.SnapshotStore("data").load("user_coupons")["openid"]) == set(good)

    def test_what_is_missing_is_one_line_on_standard_error(self, served: wx.Sandbox):
        result = run("fetch", "--store", "empty")
        assert result.exit_code == 1
        assert result.stdout == ""
        assert result.stderr.startswith("ValidationError: the store knows of no product coupons yet")
        assert result.stderr.count("\n") == 1

    @pytest.mark.parametrize(
        ("name", "content", "says"),
        [
            ("customers.csv", "用户\no1\n".encode(), "has no column openid; its columns are 用户"),
            ("customers.csv", "openid,城市\no1,上海\n".encode("gbk"), "is not UTF-8"),
            ("customers.csv", b"", "is not a csv table"),
            ("customers.parquet", b"openid\n", "is not a parquet table"),
            ("customers.txt", b"openid\no1\n", "name a file that ends in .csv or .parquet"),
            ("customers.csv", "openid\no1\n".encode("utf-16"), "is not UTF-8"),
            ("customers.csv", None, "cannot be read: No such file"),
        ],
    )
    def test_a_file_of_users_that_is_none_is_told_by_name(self, served, tmp_path: Path, name, content, says):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        result = run("fetch", "--openids", name, "--appid", served.appid, "--product-coupon-id", "1000000013")
        assert result.exit_code == 1
        assert result.stderr.startswith(f"ValidationError: {name}")
        assert says in result.stderr
        assert not (tmp_path / "data").exists()

    def test_an_openid_of_digits_keeps_them_all(self, served: wx.Sandbox, tmp_path: Path):
        file = users(tmp_path / "customers.csv", ["00012345678901234567", "NA"])
        ids = ["--product-coupon-id", "1000000013", "--appid", served.appid]
        assert run("fetch", "--openids", file, *ids).exit_code == 0
        asked = [request["path"] for request in served.requests() if "/users/" in request["path"]][-2:]
        assert [path.split("/users/")[1].split("/")[0] for path in sorted(asked)] == ["00012345678901234567", "NA"]

    def test_a_byte_order_mark_and_spaces_do_not_make_another_user(self, served: wx.Sandbox, tmp_path: Path):
        openid = served.openids()[0]
        (tmp_path / "customers.CSV").write_bytes(f"\ufeffopenid\r\n {openid} \r\n".encode())
        ids = ["--product-coupon-id", "1000000013", "--appid", served.appid]
        assert run("fetch", "--openids", "customers.CSV", *ids).exit_code == 0
        assert set(wx.SnapshotStore("data").load("user_coupons")["openid"]) == {openid}

    def test_a_store_that_is_not_there_or_is_none_is_told(self, served: wx.Sandbox, tmp_path: Path):
        mistyped = run("fetch", "--store", "dta", "--refresh", "--appid", served.appid)
        assert mistyped.exit_code == 1
        assert mistyped.stderr.startswith("ValidationError: the store knows of no product coupons yet")
        assert not (tmp_path / "dta").exists()
        file = users(tmp_path / "customers.csv", ["o1"])
        for command in ("fetch", "report"):
            result = run(command, "--store", file)
            assert result.exit_code == 2
            assert "is a file: name the folder" in result.stderr


class TestHosts:
    def test_an_option_comes_before_what_stands_beside_the_credentials(self, served: wx.Sandbox):
        result = run("fetch", "--host", "http://127.0.0.1:9", "--product-coupon-id", "1000000013")
        assert result.exit_code == 1
        assert result.stderr.startswith("TransportError: ")
        assert "127.0.0.1:9" in result.stderr

    def test_the_environment_may_name_them_with_the_keys(self, served: wx.Sandbox, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.delenv("WXCOUPON_CONFIG")
        for name, value in {"brand_id": served.brand_id, **served._keys("brand")}.items():
            monkeypatch.setenv(f"WXCOUPON_{name.upper()}", value)
        monkeypatch.setenv("WXCOUPON_HOSTS", f"{served.hosts[0]} http://127.0.0.1:9")
        assert wx.Credentials.load().hosts == (served.hosts[0], "http://127.0.0.1:9")
        monkeypatch.setenv("WXCOUPON_HOSTS", "http://example.com")
        result = run("fetch", "--product-coupon-id", "1000000013")
        assert result.exit_code == 1
        assert "only https:// is spoken" in result.stderr

    def test_no_other_is_called_unless_one_is_named(self, served: wx.Sandbox, tmp_path: Path, monkeypatch):
        config = Path(os.environ["WXCOUPON_CONFIG"])
        plain = tmp_path / "plain.toml"
        plain.write_text("\n".join(line for line in config.read_text().splitlines() if not line.startswith("hosts")))
        monkeypatch.setenv("WXCOUPON_CONFIG", str(plain))
        assert wx.Credentials.load().hosts == ()
        plain.write_text(plain.read_text() + "\nhosts = 'not a list'\n")
        assert wx.Credentials.load().hosts == ("not", "a", "list")
        plain.write_text(plain.read_text().replace("'not a list'", "80"))
        with pytest.raises(wx.CredentialsError, match="hosts must be a list of URLs"):
            wx.Credentials.load()


class TestSend:
    """From the list to the coupons; each test sends for a campaign of its own."""

    IDS = ("--product-coupon-id", "1000000013", "--stock-id", "1000000013002")

    def plan(self, box: wx.Sandbox, openids: list[str], *more: object) -> Result:
        file = users(Path("audience.csv"), openids)
        return run("send", file, *self.IDS, "--appid", box.appid, "--journal", "journal.sqlite3", *more)

    def sent(self, box: wx.Sandbox, openids: list[str]) -> pd.DataFrame:
        truth = box.truth("user_coupons")
        return truth[truth["openid"].isin(openids)]

    def test_the_plan_the_wrong_number_the_right_one_and_again(self, served: wx.Sandbox):
        new = [f"cli-new-{i}" for i in range(5)]
        audience = [*new, new[0]]
        planned = self.plan(served, audience, "--campaign", "cli", "--out", "plan.parquet")
        assert planned.exit_code == 0, planned.output
        assert planned.stdout.endswith("Nothing was sent. To send: the same command with --confirm 5\n")
        assert pd.read_parquet("plan.parquet")["status"].tolist() == ["ready"] * 5 + ["blocked"]

        wrong = self.plan(served, audience, "--campaign", "cli", "--confirm", 6)
        assert wrong.exit_code == 1
        assert wrong.stderr.startswith("ConfirmationError: ")
        assert self.sent(served, new).empty

        right = self.plan(served, audience, "--campaign", "cli", "--confirm", 5, "--out", "result.csv", "--json")
        assert right.exit_code == 0, right.output
        said = json.loads(right.stdout)
        assert said["outcomes"] == {"sent": 5, "blocked": 1}
        assert said["plan"]["ready"] == 5
        written = pd.read_csv("result.csv", dtype="string")
        truth = self.sent(served, new)
        assert set(written["coupon_code"].dropna()) == set(truth["coupon_code"])
        assert sorted(truth["openid"]) == new
        assert set(truth["coupon_state"]) == {"CONFIRMING"}

        again = self.plan(served, audience, "--campaign", "cli", "--confirm", 0)
        assert again.exit_code == 0, again.output
        assert "already_sent          5" in again.stdout
        assert len(self.sent(served, new)) == 5

    def test_the_journal_of_the_brand_that_is_served_is_the_commands_own(self, served: wx.Sandbox, tmp_path: Path):
        file = users(tmp_path / "audience.csv", ["cli-default-1"])
        command = ["send", file, *self.IDS, "--appid", served.appid, "--campaign", "cli-journal", "--confirm", 1]
        assert run(*command).stdout.splitlines()[-1].split() == ["sent", "1"]
        again = run(*command)
        assert again.exit_code == 0, again.output
        assert again.stdout.splitlines()[-1].split() == ["already_sent", "1"]
        with wx.Sandbox.shared().client() as client:
            assert client.actions.journal()["campaign"].tolist() == ["cli-journal"]

    def test_an_interrupted_send_says_what_was_sent_and_keeps_it(self, served: wx.Sandbox, tmp_path: Path):
        openids = [f"cli-stopped-{i}" for i in range(3_000)]
        file = users(tmp_path / "audience.csv", openids)
        command = [*COMMAND, "send", file, *self.IDS, "--appid", served.appid, "--campaign", "cli-stopped"]
        with subprocess.Popen(
            [*command, "--confirm", "3000", "--out", "result.parquet", "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
        ) as sending:
            while not any("cli-stopped-" in request["path"] for request in served.requests()[-100:]):
                assert sending.poll() is None
            sending.send_signal(signal.SIGINT)
            said, complained = sending.communicate(timeout=30)
        assert sending.returncode == 130
        assert said == ""
        assert complained.startswith("interrupted; the same command goes on from here:")
        assert "Traceback" not in complained
        rows = pd.read_parquet(tmp_path / "result.parquet")
        known = set(rows.loc[rows["status"] == "sent", "openid"])
        assert known
        assert (
            known
            <= set(self.sent(served, openids)["openid"])
            <= known | set(rows.loc[rows["status"] == "unknown", "openid"])
        )

    def test_an_interrupted_send_whose_result_cannot_be_kept_is_still_an_interrupted_one(
        self, served: wx.Sandbox, tmp_path: Path
    ):
        file = users(tmp_path / "audience.csv", [f"cli-unkept-{i}" for i in range(3_000)])
        (share := tmp_path / "share").mkdir()
        command = [*COMMAND, "send", file, *self.IDS, "--appid", served.appid, "--campaign", "cli-unkept"]
        with subprocess.Popen(
            [*command, "--confirm", "3000", "--out", share / "result.xlsx"], stderr=subprocess.PIPE, text=True
        ) as sending:
            while not any("cli-unkept-" in request["path"] for request in served.requests()[-100:]):
                assert sending.poll() is None
            share.rmdir()
            sending.send_signal(signal.SIGINT)
            _, complained = sending.communicate(timeout=30)
        assert sending.returncode == 130, complained
        assert complained.startswith("interrupted; the same command goes on from here:\n")
        assert f"\n{share / 'result.xlsx'} cannot be written: {share} is no folder" in complained
        assert "Traceback" not in complained

    @pytest.mark.parametrize("kind", ["csv", "xlsx"])
    def test_what_came_of_the_sends_is_told_also_when_it_cannot_be_written(self, served: wx.Sandbox, kind: str):
        openids = [f"cli-told-{kind}", served.foreign_openids()[0]]
        arguments = ["--campaign", f"cli-told-{kind}", "--confirm", 2]
        out = "x" * (254 - len(kind)) + f".{kind}"  # as long as a name may be; while it is written it is longer
        told = self.plan(served, openids, *arguments, "--out", out, "--json")
        assert told.exit_code == 3, told.output
        assert json.loads(told.stdout)["outcomes"] == {"sent": 1, "failed": 1}
        assert (
            told.stderr == f"{out} cannot be written: File name too long; every send that was begun is in the journal\n"
        )
        again = self.plan(served, openids, *arguments, "--out", out)
        assert again.exit_code == 3
        assert [line.split() for line in again.stdout.splitlines()[-2:]] == [["already_sent", "1"], ["failed", "1"]]
        assert "cannot be written" in again.stderr

    def test_the_result_is_written_also_when_nobody_reads_the_counts(self, served: wx.Sandbox, tmp_path: Path):
        file = users(tmp_path / "audience.csv", ["cli-unread-1"])
        command = [*COMMAND, "send", file, *self.IDS, "--appid", served.appid, "--campaign", "cli-unread"]
        with subprocess.Popen([*command, "--confirm", "1", "--out", "r.csv", "--json"], stdout=subprocess.PIPE) as done:
            assert done.stdout is not None
            done.stdout.close()
        assert done.returncode == 1
        assert pd.read_csv("r.csv")["status"].tolist() == ["sent"]

    def test_a_refused_user_is_an_exit_status_and_a_row(self, served: wx.Sandbox):
        openids = ["cli-other-1", served.foreign_openids()[0]]
        result = self.plan(served, openids, "--campaign", "cli-2", "--confirm", 2, "--out", "result.xlsx")
        assert result.exit_code == 3, result.output
        rows = pd.read_excel("result.xlsx", dtype=str)
        assert rows["status"].tolist() == ["sent", "failed"]
        assert rows["error_message"].notna().tolist() == [False, True]
        again = self.plan(served, [*openids, "cli-other-2"], "--campaign", "cli-2", "--retry-failed")
        assert again.stdout.endswith("the same command with --confirm 2\n"), "one is new, one is asked again"
        for more, due in ((["--retry-failed"], 2), ([], 1)):
            shown = self.plan(served, [*openids, "cli-other-2"], "--campaign", "cli-2", "--json", *more)
            assert json.loads(shown.stdout)["to_confirm"] == due
        agreed = self.plan(
            served, [*openids, "cli-other-2"], "--campaign", "cli-2", "--retry-failed", "--confirm", 2, "--json"
        )
        assert json.loads(agreed.stdout)["outcomes"] == {"already_sent": 1, "failed": 1, "sent": 1}

    def test_what_could_not_be_kept_is_not_sent(self, served: wx.Sandbox):
        Path("folder.csv").mkdir()
        for out in ("nowhere/result.csv", "result.doc", "folder.csv"):
            result = self.plan(served, ["cli-third-1"], "--campaign", "cli-3", "--confirm", 1, "--out", out)
            assert result.exit_code == 1
            assert result.stderr.startswith(f"ValidationError: {out}")
        assert self.sent(served, ["cli-third-1"]).empty

    def test_a_folder_that_is_not_ours_to_write_to_is_told_before_a_send(self, served: wx.Sandbox):
        (folder := Path("closed")).mkdir(mode=0o500)
        if os.access(folder, os.W_OK):
            pytest.skip("this user may write everywhere")
        result = self.plan(
            served, ["cli-closed-1"], "--campaign", "cli-closed", "--confirm", 1, "--out", folder / "r.csv"
        )
        assert result.exit_code == 1
        assert result.stderr.startswith("ValidationError: closed/r.csv cannot be written: closed is not yours")
        assert self.sent(served, ["cli-closed-1"]).empty

    def test_held_out_users_are_told_apart(self, served: wx.Sandbox):
        openids = [f"cli-held-{i}" for i in range(40)]
        planned = json.loads(self.plan(served, openids, "--campaign", "cli-4", "--holdout", 0.5, "--json").stdout)
        assert planned["outcomes"] is None
        assert planned["plan"]["held_out"] + planned["plan"]["ready"] == 40
        assert 5 < planned["plan"]["held_out"] < 35
        assert {row["status"]: row["rows"] for row in planned["reasons"]}["held_out"] == planned["plan"]["held_out"]


class TestReport:
    def test_it_writes_the_week_from_the_store_alone(self, served: wx.Sandbox, monkeypatch: pytest.MonkeyPatch):
        file = users(Path("customers.csv"), served.openids()[:50])
        ids = ["--product-coupon-id", "1000000013", "--appid", served.appid]
        assert run("fetch", "--openids", file, *ids).exit_code == 0
        monkeypatch.delenv("WXCOUPON_CONFIG")
        day = f"{served.now():%Y-%m-%d}"
        result = run("report", "--week", day, "--lang", "en", "--out", "week.html", "--out", "week.xlsx", "--json")
        assert result.exit_code == 0, result.output
        said = json.loads(result.stdout)
        assert said["week"] == f"{served.now():%G-W%V}"
        assert said["files"] == ["week.html", "week.xlsx"]
        assert said["headline"] in Path("week.html").read_text(encoding="utf-8")
        assert len(pd.read_excel("week.xlsx", sheet_name=None)) > 3

        named = run("report", "--week", day)
        assert named.stdout.splitlines()[0] == f"report-{said['week']}.html"
        assert Path(f"report-{said['week']}.html").exists()

    def test_a_store_without_snapshots_is_told(self, served: wx.Sandbox, tmp_path: Path):
        result = run("report", "--store", "none", "--out", "week.html")
        assert result.exit_code == 1
        assert result.stderr.startswith("SnapshotError: ")
        assert not Path("week.html").exists()
        assert run("report", "--out", "week.pdf").stderr.startswith("ValidationError: week.pdf: name a file")
        assert run("report", "--out", "nowhere/week.html").stderr.startswith(
            "ValidationError: nowhere/week.html cannot"
        )
        assert run("report", "--lang", "fr").exit_code == 2


class TestDoctor:
    def test_all_is_well_with_the_brand_that_is_served(self, served: wx.Sandbox):
        result = run("doctor", "--json")
        assert result.exit_code == 0
        checks = json.loads(result.stdout)
        assert all(check["ok"] for check in checks)
        assert f"host {served.hosts[0]}" in [check["name"] for check in checks]
        assert run("doctor").stdout.splitlines()[-1] == f"all {len(checks)} checks passed"

    def test_a_failed_check_is_an_exit_status(self, served: wx.Sandbox):
        assert run("doctor", "--host", "http://127.0.0.1:9", "--timeout", 2).exit_code == 1
        assert run("doctor", "--timeout", -1).exit_code == 2


class TestSandbox:
    def test_it_serves_other_processes_until_it_is_interrupted(self, tmp_path: Path):
        folder = tmp_path / "brand"
        with subprocess.Popen(
            [*COMMAND, "sandbox", "--to", folder, "--json"], stdout=subprocess.PIPE, text=True, cwd=tmp_path
        ) as server:
            assert server.stdout is not None
            try:
                found = json.loads(server.stdout.readline())
                environment = os.environ | {"WXCOUPON_CONFIG": found["config"]}
                for name in ("wxcoupon.toml", "sandbox.json"):
                    assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
                script = (
                    "import wxcoupon_analytics as wx; box = wx.Sandbox.shared(); "
                    "print(box.hosts[0], len(box.openids()), abs((box.now() - wx.connect(wx.Credentials.load()).now()).total_seconds()))"
                )
                done = subprocess.run(
                    [sys.executable, "-c", script], env=environment, capture_output=True, text=True, cwd=tmp_path
                )
                assert done.returncode == 0, done.stderr
                host, customers, apart = done.stdout.split()
                assert host == found["hosts"][0]
                assert int(customers) == len(pd.read_csv(found["customers"])) > 1_000
                assert float(apart) < 30, "its business time must be the present, for programs that know no other"
            finally:
                server.send_signal(signal.SIGINT)
                assert server.wait(timeout=20) == 0
        gone = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, cwd=tmp_path
        )
        assert "is not served any more: start `wxcoupon sandbox` again" in gone.stderr

    def test_a_folder_or_a_port_that_is_taken_is_told_and_left_alone(self, served: wx.Sandbox, tmp_path: Path):
        pytest.importorskip("jupyterlab")
        config = Path(os.environ["WXCOUPON_CONFIG"])
        (journal := config.with_name("journal.sqlite3")).touch()
        before = config.read_text()
        for command in (["sandbox", "--to"], ["lab", "--no-browser", "--to"]):
            folder = config.parent
            if command[0] == "lab":
                publish(served, (folder := tmp_path / "lab") / ".sandbox")
            result = run(*command, folder)
            assert result.exit_code == 1
            assert "is being served already, on port" in result.stderr
        assert config.read_text() == before
        assert journal.exists()
        port = served.hosts[0].rpartition(":")[2]
        result = run("sandbox", "--to", tmp_path / "other", "--port", port)
        assert result.exit_code == 1
        assert f"port {port} of 127.0.0.1 cannot be had" in result.stderr
        assert run("sandbox", "--port", 65_536).exit_code == 2

    @pytest.mark.parametrize("damaged", ["", "[]", "{}", '{"port": 1}', "null"])
    def test_a_handle_that_tells_nothing_is_a_brand_that_has_ended(self, served: wx.Sandbox, damaged: str):
        config = Path(os.environ["WXCOUPON_CONFIG"])
        (handle := config.with_name("sandbox.json")).write_text(damaged)
        with pytest.raises(wx.WxCouponError, match="is not served any more: start `wxcoupon sandbox` again"):
            wx.Sandbox.shared()
        assert publish(served, config.parent) == config
        assert json.loads(handle.read_text())["token"]
        assert wx.Sandbox.shared().hosts == served.hosts

    def test_who_listens_in_its_place_and_is_silent_does_not_hold_up_the_next(self, served: wx.Sandbox):
        config = Path(os.environ["WXCOUPON_CONFIG"])
        with socket.create_server(("127.0.0.1", 0)) as silent:
            config.with_name("sandbox.json").write_text(json.dumps({"port": silent.getsockname()[1], "token": "old"}))
            begun = time.monotonic()
            publish(served, config.parent)
            assert time.monotonic() - begun < 30
        assert wx.Sandbox.shared().hosts == served.hosts

    def test_who_shares_a_brand_knows_how_its_customers_behave(self, served: wx.Sandbox):
        handle = Path(os.environ["WXCOUPON_CONFIG"]).with_name("sandbox.json")
        behaviour = wx.sandbox.Behaviour(returned=0.5)
        handle.write_text(json.dumps(json.loads(handle.read_text()) | {"behaviour": behaviour.to_document()}))
        assert wx.Sandbox.shared().behaviour.returned == 0.5

    def test_a_folder_that_is_none_is_one_line(self, tmp_path: Path):
        (tmp_path / "file").touch()
        result = run("sandbox", "--to", tmp_path / "file")
        assert result.exit_code == 1
        assert result.stderr == f"{tmp_path / 'file'} cannot be used: File exists\n"

    def test_one_process_shares_one_with_itself_and_its_journal(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
        monkeypatch.chdir(tmp_path)
        monkeypatch.delenv("WXCOUPON_CONFIG", raising=False)
        with wx.Sandbox.shared() as box:
            assert wx.Sandbox.shared() is box
            with box.client() as client:
                paths = {client._journal.path}
            (box.folder / "snapshots").mkdir()
            box.advance(days=1)
            with wx.Sandbox.shared().client() as client:
                assert client.now() == box.now()
                assert {client._journal.path} == paths
            folder = box.folder
            publish(box, folder)
            assert (folder / "snapshots").exists(), "nothing there is known to be of another brand"
            publish(box, folder)
            assert [path.name for path in sorted(folder.iterdir())] == ["sandbox.json", "wxcoupon.toml"]


class TestLab:
    def test_notebooks_are_copied_and_edits_kept(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        names = sorted(path.name for path in notebooks_folder().glob("*.ipynb"))
        assert names[0] == "01_explore_campaign.ipynb"
        copy_notebooks(tmp_path / "work")
        (tmp_path / "work" / names[0]).write_text("mine")
        (tmp_path / "work" / names[1]).unlink()
        copy_notebooks(tmp_path / "work")
        assert (tmp_path / "work" / names[0]).read_text() == "mine"
        assert sorted(path.name for path in (tmp_path / "work").glob("*.ipynb")) == names
        assert f"{names[0]} is there already and stays as it is" in capsys.readouterr().out

    def test_it_starts_jupyterlab_with_the_options_given(self, tmp_path: Path):
        pytest.importorskip("jupyterlab")
        done = subprocess.run(
            [*COMMAND, "lab", "--no-sandbox", "--no-browser", "--to", tmp_path / "work", "--", "--version"],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip()[0].isdigit()
