"""``wxcoupon fetch``: what it stores, and what it says of files and stores that are none."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

import wxcoupon_analytics as wx
from tests.cli.commands import run, users


def test_the_first_names_ids_and_users_and_the_next_knows_them(served: wx.Sandbox, tmp_path: Path):
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


def test_users_who_fail_are_left_out_when_told_to_and_the_exit_status_says_so(served: wx.Sandbox):
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


def test_what_is_missing_is_one_line_on_standard_error(served: wx.Sandbox):
    result = run("fetch", "--store", "empty")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("ValidationError: the store knows of no product coupons yet")
    assert "--product-coupon-id" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("customers.csv", "用户\no1\n".encode(), "has no column openid, but '用…': its first line must name"),
        (
            "customers.csv",
            b"openid;city\no1;x\n",
            "but 'o…': its first line must name the columns, with commas",
        ),
        ("customers.csv", b"oh3Y4vppxD5K25w3KaQioZVnlwDw\n", "but 'o…': its first line must name the columns"),
        ("customers.csv", "13800138000,王明\n".encode(), "but '1…', '王…': its first line must name the columns"),
        ("customers.csv", b"user_id,city\n1,x\n", "but 'user_id', 'city': its first line must name the columns"),
        (
            "customers.csv",
            b"openid,n\no1,1\n,2\n\n \n,3\n",
            "has no openid in 2 of 3 rows, the first of them row 2 below",
        ),
        ("customers.csv", "openid,城市\no1,上海\n".encode("gbk"), "is not UTF-8"),
        ("customers.csv", b"", "is not a csv table"),
        ("customers.parquet", b"openid\n", "is not a parquet table"),
        ("customers.txt", b"openid\no1\n", "name a file that ends in .csv or .parquet"),
        ("customers.csv", "openid\no1\n".encode("utf-16"), "is not UTF-8"),
        ("customers.csv", None, "cannot be read: No such file"),
    ],
)
def test_a_file_of_users_that_is_none_is_told_by_name(served, tmp_path: Path, name, content, says):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    result = run("fetch", "--openids", name, "--appid", served.appid, "--product-coupon-id", "1000000013")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"ValidationError: {name}")
    assert says in result.stderr
    assert not (tmp_path / "data").exists()


def test_an_openid_of_digits_keeps_them_all(served: wx.Sandbox, tmp_path: Path):
    file = users(tmp_path / "customers.csv", ["00012345678901234567", "NA"])
    ids = ["--product-coupon-id", "1000000013", "--appid", served.appid]
    assert run("fetch", "--openids", file, *ids).exit_code == 0
    asked = [request["path"] for request in served.requests() if "/users/" in request["path"]][-2:]
    assert [path.split("/users/")[1].split("/")[0] for path in sorted(asked)] == ["00012345678901234567", "NA"]


def test_a_byte_order_mark_and_spaces_do_not_make_another_user(served: wx.Sandbox, tmp_path: Path):
    openid = served.openids()[0]
    (tmp_path / "customers.CSV").write_bytes(f"\ufeffopenid\r\n {openid} \r\n".encode())
    ids = ["--product-coupon-id", "1000000013", "--appid", served.appid]
    assert run("fetch", "--openids", "customers.CSV", *ids).exit_code == 0
    assert set(wx.SnapshotStore("data").load("user_coupons")["openid"]) == {openid}


def test_a_store_that_is_not_there_or_is_none_is_told(served: wx.Sandbox, tmp_path: Path):
    mistyped = run("fetch", "--store", "dta", "--refresh", "--appid", served.appid)
    assert mistyped.exit_code == 1
    assert mistyped.stderr.startswith("ValidationError: the store knows of no product coupons yet")
    assert not (tmp_path / "dta").exists()
    file = users(tmp_path / "customers.csv", ["o1"])
    for command in ("fetch", "report"):
        result = run(command, "--store", file)
        assert result.exit_code == 2
        assert "is a file: name the folder" in result.stderr


def test_a_command_that_cannot_be_meant_is_wrong_usage(served: wx.Sandbox, tmp_path: Path):
    file = users(tmp_path / "customers.csv", ["o1"])
    for arguments, says in (
        (["--store", ""], "the name is empty"),
        (["--openids", file], "give --appid"),
        (["--refresh"], "give --appid"),
        (["--refresh", "--appid", "wx1", "--openids", file], "no --openids"),
    ):
        result = run("fetch", "--product-coupon-id", "1000000013", *arguments)
        assert result.exit_code == 2, result.output
        assert says in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["brand", "customers.csv"]


def test_of_a_store_that_two_brands_share_only_ones_own_is_asked_for(served: wx.Sandbox):
    file = users(Path("customers.csv"), served.openids()[:3])
    mine = ["--product-coupon-id", "1000000013", "--appid", served.appid]
    assert run("fetch", "--openids", file, *mine).exit_code == 0
    store = wx.SnapshotStore("data")
    foreign = store.load("product_coupons").assign(brand_id="999999", product_coupon_id="2000000001")
    store.save("product_coupons", foreign)
    for more in ([], ["--refresh", "--appid", served.appid]):
        again = run("fetch", *more, "--json")
        assert again.exit_code == 0, again.output
        assert json.loads(again.stdout)[0]["rows"] == 1
