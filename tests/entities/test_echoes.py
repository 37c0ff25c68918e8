"""Cutting echoes short: the same JSON, less what is not the coupon's own."""

import json
import random

import pytest

from wxcoupon_analytics.entities.echoes import Shortener


def echo(stock_id="70", total=0, today=0, **more):
    counts = {"total_count": total, "today_count": today}
    return {"product_coupon_id": "7", "stock_id": stock_id, "remark": "券" * 60, "sent_count_info": counts, **more}


def dumped(value, *, compact=True):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":") if compact else None)


def shortened(text):
    return Shortener().shorten(text)[0]


@pytest.mark.parametrize("compact", [True, False])
def test_only_the_ids_are_left(compact):
    product = {"product_coupon_id": "7", "stock_id": "not a product coupon's", "display_info": {"name": "{}"}}
    coupon = {"coupon_code": "c", "product_coupon": product, "stock": echo(), "attach": "x"}
    short = json.loads(shortened(dumped({"user_coupon_list": [coupon] * 3}, compact=compact)))
    expected = coupon | {
        "product_coupon": {"product_coupon_id": "7"},
        "stock": {"product_coupon_id": "7", "stock_id": "70"},
    }
    assert short == {"user_coupon_list": [expected] * 3}


def test_the_same_text_under_two_names_keeps_the_ids_of_each():
    both = {"product_coupon_id": "7", "stock_id": "70"}
    short = shortened(dumped({"product_coupon": both, "stock": both}))
    assert json.loads(short) == {"product_coupon": {"product_coupon_id": "7"}, "stock": both}


@pytest.mark.parametrize(
    "text",
    [
        '{"stock":"70"}',
        '{"stock":null,"product_coupon":[{"a":1}]}',
        '{"attach":"\\"stock\\":{\\"a\\":1}"}',
        '{"attach\\"stock":{"a":1}}',
        '{"stock":{"a":1',
        "{}",
        "",
    ],
)
def test_what_is_no_echo_is_left_alone(text):
    assert Shortener().shorten(text) == (text, 0)


def test_moving_counters_change_nothing_but_the_speed():
    draw = random.Random(1)
    shortener = Shortener()
    parsed = []
    parse = shortener._parse
    shortener._parse = lambda text, start: parsed.append(start) or parse(text, start)
    total = today = 0
    for n in range(300):
        total, today = total + draw.randrange(3), (today + draw.randrange(3)) % 100
        other = {"coupon_code_count_info": {"total_count": 10**6, "available_count": 10**6 - n // 50}, "n": [n // 90]}
        stock_id = draw.choice(["70", "71"])
        text = dumped({"a": {"stock": echo(stock_id, total, today, **other)}, "stock_after": '"'})
        assert json.loads(shortener.shorten(text)[0]) == {
            "a": {"stock": {"product_coupon_id": "7", "stock_id": stock_id}},
            "stock_after": '"',
        }
    assert len(parsed) < 30


@pytest.mark.parametrize("stock_id", [":{}", 'x":{}', '\\":{}', "{}"])
def test_digits_inside_strings_are_never_taken_for_counters(stock_id):
    shortener = Shortener()
    for n in range(40):
        # The counters on both sides of the id move while it stands still, then it moves with them.
        ids = {"stock_id": stock_id.format(5 if n < 20 else n), "product_coupon_id": "7"}
        text = dumped({"stock": {"padding": "x" * 100, "first": n, **ids, "remark": f":{n}", "last": n}})
        assert json.loads(shortener.shorten(text)[0]) == {"stock": ids}


def test_what_is_no_number_is_never_taken_for_one():
    shortener = Shortener()
    stock = dumped({"stock": {"stock_id": "7", "a": 1, "b": 2}})
    for a in ("1", "2", "3"):
        shortener.shorten(stock.replace('"a":1', f'"a":{a}'))
    for a in ("007", "-5", "5.5", "٣", "5}"):
        text = stock.replace('"a":1', f'"a":{a}')
        _, cuts = shortener.shorten(text)
        assert cuts == (a in {"-5", "5.5", "5}"})


def test_ids_are_never_taken_for_counters():
    shortener = Shortener()
    for n in range(50):
        stock = {"padding": "x" * 100, "first": n, "stock_id": n % 7, "product_coupon_id": str(n % 3), "last": -n}
        short = json.loads(shortener.shorten(dumped({"stock": stock}))[0])
        assert short == {"stock": {"product_coupon_id": str(n % 3), "stock_id": n % 7}}
