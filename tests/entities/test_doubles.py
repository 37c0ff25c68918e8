"""What makes two rows one: the same key, and never a row without its ids."""

import datetime as dt
import json

import pytest

from wxcoupon_analytics.entities.doubles import once_each
from wxcoupon_analytics.entities.flatten import Page
from wxcoupon_analytics.entities.schemas import frame_from_rows, to_table
from wxcoupon_analytics.fetch import Fetch


def kept(*rows):
    keyed = [{"brand_id": "1", "product_coupon_id": "7", "stock_id": "70", **row} for row in rows]
    return once_each("stocks", to_table("stocks", frame_from_rows("stocks", keyed)))["remark"].to_pylist()


def test_the_last_row_of_every_key_is_kept():
    assert kept({"remark": "a"}, {"remark": "b", "stock_id": "71"}, {"remark": "c"}) == ["b", "c"]
    assert kept() == []


@pytest.mark.parametrize("part", ["product_coupon_id", "stock_id"])
def test_a_row_without_its_ids_is_nobodys_double(part):
    assert kept({"remark": "a", part: None}, {"remark": "b", part: None}) == ["a", "b"]


def test_a_null_brand_is_a_brand():
    assert kept({"remark": "a", "brand_id": None}, {"remark": "b", "brand_id": None}, {"remark": "c"}) == ["b", "c"]


def test_what_moved_between_two_pages_while_they_were_asked_for_is_fetched_once(monkeypatch):
    def pages(name, *members):
        at = dt.datetime(2026, 11, 2, tzinfo=dt.UTC)
        answers = [Page(json.dumps({name: [member]}).encode(), at, "1", "o", "wx") for member in members]
        monkeypatch.setattr("wxcoupon_analytics.fetch.pages_of", lambda *_, **__: answers)

    class Credentials:
        brand_id, flavour = "1", "brand"

    class Exchange:
        credentials = Credentials()

    fetch = Fetch(None, Exchange(), clock=None)
    monkeypatch.setattr("wxcoupon_analytics.fetch.ask", lambda *_, **__: None)
    pages("stock_list", *({"product_coupon_id": "7", "stock_id": "70", "remark": r} for r in "ab"))
    assert fetch.stocks(["7"])["remark"].tolist() == ["b"]
    coupon = {"coupon_code": "c", "stock": {"stock_id": "70"}}
    pages("user_coupon_list", *({**coupon, "coupon_state": state} for state in ("PENDING", "USED")))
    assert fetch.user_coupons(["o"], appid="wx")["coupon_state"].tolist() == ["USED"]
