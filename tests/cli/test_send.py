"""``wxcoupon send``: from the list to the coupons; each test sends for a campaign of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import Result

import wxcoupon_analytics as wx
from tests.cli.commands import COMMAND, run, users

IDS = ("--product-coupon-id", "1000000013", "--stock-id", "1000000013002")


def plan(box: wx.Sandbox, openids: list[str], *more: object) -> Result:
    file = users(Path("audience.csv"), openids)
    return run("send", file, *IDS, "--appid", box.appid, "--journal", "journal.sqlite3", *more)


def sent(box: wx.Sandbox, openids: list[str]) -> pd.DataFrame:
    truth = box.truth("user_coupons")
    return truth[truth["openid"].isin(openids)]


def test_the_plan_the_wrong_number_the_right_one_and_again(served: wx.Sandbox):
    new = [f"cli-new-{i}" for i in range(5)]
    audience = [*new, new[0]]
    planned = plan(served, audience, "--campaign", "cli", "--out", "plan.parquet")
    assert planned.exit_code == 0, planned.output
    assert planned.stdout.endswith("Nothing was sent. To send: the same command with --confirm 5\n")
    assert "plan" not in planned.stdout, "what to write in Python is no help in a shell"
    assert pd.read_parquet("plan.parquet")["status"].tolist() == ["ready"] * 5 + ["blocked"]

    wrong = plan(served, audience, "--campaign", "cli", "--confirm", 6)
    assert wrong.exit_code == 1
    assert wrong.stderr.startswith("ConfirmationError: ")
    assert sent(served, new).empty

    right = plan(served, audience, "--campaign", "cli", "--confirm", 5, "--out", "result.csv", "--json")
    assert right.exit_code == 0, right.output
    said = json.loads(right.stdout)
    assert said["outcomes"] == {"sent": 5, "blocked": 1}
    assert said["plan"]["ready"] == 5
    written = pd.read_csv("result.csv", dtype="string")
    truth = sent(served, new)
    assert set(written["coupon_code"].dropna()) == set(truth["coupon_code"])
    assert sorted(truth["openid"]) == new
    assert set(truth["coupon_state"]) == {"CONFIRMING"}

    again = plan(served, audience, "--campaign", "cli", "--confirm", 0)
    assert again.exit_code == 0, again.output
    assert "already_sent          5" in again.stdout
    assert len(sent(served, new)) == 5


def test_the_journal_of_the_brand_that_is_served_is_the_commands_own(served: wx.Sandbox, tmp_path: Path):
    file = users(tmp_path / "audience.csv", ["cli-default-1"])
    command = ["send", file, *IDS, "--appid", served.appid, "--campaign", "cli-journal", "--confirm", 1]
    assert run(*command).stdout.splitlines()[-1].split() == ["sent", "1"]
    again = run(*command)
    assert again.exit_code == 0, again.output
    assert again.stdout.splitlines()[-1].split() == ["already_sent", "1"]
    with wx.Sandbox.shared().client() as client:
        assert client.actions.journal()["campaign"].tolist() == ["cli-journal"]


def test_an_interrupted_send_says_what_was_sent_and_keeps_it(served: wx.Sandbox, tmp_path: Path):
    openids = [f"cli-stopped-{i}" for i in range(3_000)]
    file = users(tmp_path / "audience.csv", openids)
    command = [*COMMAND, "send", file, *IDS, "--appid", served.appid, "--campaign", "cli-stopped"]
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
    assert known <= set(sent(served, openids)["openid"]) <= known | set(rows.loc[rows["status"] == "unknown", "openid"])


def test_an_interrupted_send_whose_result_cannot_be_kept_is_still_an_interrupted_one(
    served: wx.Sandbox, tmp_path: Path
):
    file = users(tmp_path / "audience.csv", [f"cli-unkept-{i}" for i in range(3_000)])
    (share := tmp_path / "share").mkdir()
    command = [*COMMAND, "send", file, *IDS, "--appid", served.appid, "--campaign", "cli-unkept"]
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
def test_what_came_of_the_sends_is_told_also_when_it_cannot_be_written(served: wx.Sandbox, kind: str):
    openids = [f"cli-told-{kind}", served.foreign_openids()[0]]
    arguments = ["--campaign", f"cli-told-{kind}", "--confirm", 2]
    out = "x" * (254 - len(kind)) + f".{kind}"  # as long as a name may be; while it is written it is longer
    told = plan(served, openids, *arguments, "--out", out, "--json")
    assert told.exit_code == 3, told.output
    assert json.loads(told.stdout)["outcomes"] == {"sent": 1, "failed": 1}
    assert told.stderr == f"{out} cannot be written: File name too long; every send that was begun is in the journal\n"
    again = plan(served, openids, *arguments, "--out", out)
    assert again.exit_code == 3
    assert [line.split() for line in again.stdout.splitlines()[-2:]] == [["already_sent", "1"], ["failed", "1"]]
    assert "cannot be written" in again.stderr


def test_the_result_is_written_also_when_nobody_reads_the_counts(served: wx.Sandbox, tmp_path: Path):
    file = users(tmp_path / "audience.csv", ["cli-unread-1"])
    command = [*COMMAND, "send", file, *IDS, "--appid", served.appid, "--campaign", "cli-unread"]
    with subprocess.Popen([*command, "--confirm", "1", "--out", "r.csv", "--json"], stdout=subprocess.PIPE) as done:
        assert done.stdout is not None
        done.stdout.close()
    assert done.returncode == 1
    assert pd.read_csv("r.csv")["status"].tolist() == ["sent"]


def test_a_refused_user_is_an_exit_status_and_a_row(served: wx.Sandbox):
    openids = ["cli-other-1", served.foreign_openids()[0]]
    result = plan(served, openids, "--campaign", "cli-2", "--confirm", 2, "--out", "result.xlsx")
    assert result.exit_code == 3, result.output
    rows = pd.read_excel("result.xlsx", dtype=str)
    assert rows["status"].tolist() == ["sent", "failed"]
    assert rows["error_message"].notna().tolist() == [False, True]
    again = plan(served, [*openids, "cli-other-2"], "--campaign", "cli-2", "--retry-failed")
    assert again.stdout.endswith("the same command with --confirm 2\n"), "one is new, one is asked again"
    for more, due in ((["--retry-failed"], 2), ([], 1)):
        shown = plan(served, [*openids, "cli-other-2"], "--campaign", "cli-2", "--json", *more)
        assert json.loads(shown.stdout)["to_confirm"] == due
    agreed = plan(served, [*openids, "cli-other-2"], "--campaign", "cli-2", "--retry-failed", "--confirm", 2, "--json")
    assert json.loads(agreed.stdout)["outcomes"] == {"already_sent": 1, "failed": 1, "sent": 1}


def test_what_could_not_be_kept_is_not_sent(served: wx.Sandbox):
    Path("folder.csv").mkdir()
    for out in ("nowhere/result.csv", "result.doc", "folder.csv"):
        result = plan(served, ["cli-third-1"], "--campaign", "cli-3", "--confirm", 1, "--out", out)
        assert result.exit_code == 1
        assert result.stderr.startswith(f"ValidationError: {out}")
    assert sent(served, ["cli-third-1"]).empty


def test_the_audience_is_not_written_over(served: wx.Sandbox):
    for same in ("audience.csv", "brand/../audience.csv"):
        result = plan(served, ["cli-same-1"], "--campaign", "cli-same", "--out", same)
        assert result.exit_code == 2
        assert "is the audience itself" in result.stderr
    assert Path("audience.csv").read_text() == "openid\ncli-same-1\n"


def test_a_terminal_that_cannot_show_a_character_does_not_end_the_command(served: wx.Sandbox, tmp_path: Path):
    file = users(tmp_path / "audience.csv", ["cli-gbk-1"])
    command = [*COMMAND, "send", file, *IDS, "--appid", served.appid, "--campaign", "cli-gbk"]
    shown = subprocess.run(command, env=os.environ | {"PYTHONIOENCODING": "gbk"}, capture_output=True)
    assert shown.returncode == 0, shown.stderr
    assert "face value   at most ?20.00" in shown.stdout.decode("gbk"), "there is no ¥ in GBK"
    document = subprocess.run(
        [*command, "--json"], env=os.environ | {"PYTHONIOENCODING": "ascii"}, capture_output=True, check=True
    )
    assert json.loads(document.stdout)["plan"]["name"] == "全场满100减20"


def test_a_folder_that_is_not_ours_to_write_to_is_told_before_a_send(served: wx.Sandbox):
    (folder := Path("closed")).mkdir(mode=0o500)
    if os.access(folder, os.W_OK):
        pytest.skip("this user may write everywhere")
    result = plan(served, ["cli-closed-1"], "--campaign", "cli-closed", "--confirm", 1, "--out", folder / "r.csv")
    assert result.exit_code == 1
    assert result.stderr.startswith("ValidationError: closed/r.csv cannot be written: closed is not yours")
    assert sent(served, ["cli-closed-1"]).empty


def test_held_out_users_are_told_apart(served: wx.Sandbox):
    openids = [f"cli-held-{i}" for i in range(40)]
    planned = json.loads(plan(served, openids, "--campaign", "cli-4", "--holdout", 0.5, "--json").stdout)
    assert planned["outcomes"] is None
    assert planned["plan"]["held_out"] + planned["plan"]["ready"] == 40
    assert 5 < planned["plan"]["held_out"] < 35
    assert {row["status"]: row["rows"] for row in planned["reasons"]}["held_out"] == planned["plan"]["held_out"]
