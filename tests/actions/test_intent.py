"""What an action means, and its number: the same meaning, the same number, for ever."""

from __future__ import annotations

import pytest

from wxcoupon_analytics.actions.intent import Intent, derive_request_no, derive_request_nos


def test_the_request_number_is_a_function_of_the_meaning_alone_and_keeps_its_parts_apart():
    number = derive_request_no("send_coupon", "c", "1", "o", 1)
    assert number == derive_request_no("send_coupon", "c", "1", "o", 1)
    assert 6 <= len(number) <= 40
    others = [("c", "1", "o", 2), ("c2", "1", "o", 1), ("c", "1o", "", 1), ('c","1', "", "o", 1), ("c", "1", "o\n", 1)]
    assert len({number, *(derive_request_no("send_coupon", *o) for o in others)}) == 6
    # Fixed for ever: a number that changed between versions would send again what had been sent.
    assert number == "wxc-681ae828e50444c856ebc7c70ce81611"


@pytest.mark.parametrize("openid", ["o1", 'a"b,\\', "微信", "😀", "o\n\x00", ""])
def test_many_numbers_at_once_are_the_same_numbers(openid: str):
    one = derive_request_no("send_coupon", "双十一", "1", openid, 2)
    assert derive_request_nos("send_coupon", ["双十一", "1"], [openid, "x"], [2])[0] == one


def test_a_difference_is_named_by_its_path_and_shows_no_openid():
    then = Intent("send_coupon", {"openid": "oLongEnoughToBeSomebody"}, {"a": {"b": [1, {"c": None}]}}, "n")
    now = Intent("send_coupon", {"openid": "oLongEnoughToBeAnother1"}, {"a": {"b": [1, {"c": 2}]}}, "n")
    assert now.difference(then.text) == "a.b[1].c was None, now 2; openid was …body, now …her1"
