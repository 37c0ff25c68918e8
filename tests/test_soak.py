"""Twenty thousand requests through a network that does everything it can: what is reported is what the books say, or unknown."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pandas as pd
import pytest
import tenacity

import wxcoupon_analytics as wx
from tests.shop import product_coupon
from wxcoupon_analytics.wire import exchange

pytestmark = pytest.mark.slow

FAULTS: list[tuple[str, float, dict[str, Any]]] = [
    ("status", 0.02, {"code": 429}),
    ("status", 0.02, {"code": 500, "when": "before"}),
    ("status", 0.02, {"code": 500, "when": "after", "signed": True}),
    ("status", 0.01, {"code": 502, "when": "after"}),
    ("reset", 0.02, {"when": "before"}),
    ("reset", 0.02, {"when": "after"}),
    ("stall", 0.002, {"seconds": 1.0, "when": "before"}),
    ("stall", 0.002, {"seconds": 1.0, "when": "after"}),
    ("half_open", 0.002, {"seconds": 1.0}),
    ("truncate", 0.01, {}),
    ("tamper_body", 0.02, {}),
    ("wrong_serial", 0.01, {}),
    ("stale_timestamp", 0.01, {"seconds": 360}),
    ("missing_signature", 0.01, {}),
    ("signtest", 0.01, {}),
    ("non_json", 0.01, {"when": "after"}),
    ("empty", 0.01, {"when": "before"}),
    ("charset", 0.005, {}),
    ("gzip", 0.05, {}),
]
USERS, PER_USER = 1500, 5


def test_twenty_thousand_requests_through_every_fault(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(exchange, "_wait", tenacity.wait_random(0, 0.05))
    monkeypatch.setattr(exchange, "HOST_REST_SECONDS", 0.2)
    dice = random.Random(20_000)
    with wx.Sandbox(seed=3, population=False, rate_limits=False) as box:
        # The first host is down for good; the second is the brand.
        hosts = ("http://127.0.0.1:1", *box.hosts)
        with wx.connect(box.brand_credentials, hosts=hosts, timeout=0.5, rate=100_000, clock=box.now) as client:
            made = client.api.create_product_coupon(
                product_coupon("soak_create", max_count=100_000, max_count_per_user=PER_USER)
            )
            box.advance(hours=1)
            ids = {
                "product_coupon_id": made["product_coupon_id"],
                "stock_id": made["stock"]["stock_id"],
                "appid": box.appid,
            }
            for kind, probability, options in FAULTS:
                box.faults(kind, times=None, probability=probability, **options)

            # More sends than users may have, so that honest refusals stand among the faults; every tenth twice over.
            sends = [
                (f"o{n % USERS}", {**ids, "send_request_no": f"soak-{n:06d}"}) for n in range(USERS * (PER_USER + 1))
            ]
            sends += dice.sample(sends, len(sends) // 10)
            dice.shuffle(sends)
            sent = list(zip(sends, client.api.map("send_coupon", sends), strict=True))

            reads = [(ids["product_coupon_id"], ids["stock_id"])] * 4000
            read = list(client.api.map("get_stock", reads))

            coupons = [(openid, answer["coupon_code"]) for (openid, _), answer in sent if isinstance(answer, dict)]
            confirms = [
                (openid, code, {**ids, "out_request_no": f"confirm-{number}"})
                for number, (openid, code) in enumerate(dict.fromkeys(coupons))
            ][:6500]
            confirmed = list(zip(confirms, client.api.map("confirm_coupon", confirms), strict=True))
            box.faults(None)

        books = box.truth("user_coupons")

    assert len(sends) + len(reads) + len(confirms) >= 20_000
    # No duplicate in the server's books.
    assert not books["send_request_no"].duplicated().any()
    by_number = books.set_index("send_request_no")
    outcomes: Counter[str] = Counter()
    for (openid, body), answer in sent:
        number = body["send_request_no"]
        happened = number in by_number.index
        if isinstance(answer, dict):
            outcomes["sent"] += 1
            assert happened, f"{number} was reported sent"
            assert (answer["coupon_code"], openid) == (
                by_number.loc[number, "coupon_code"],
                by_number.loc[number, "openid"],
            )
        elif answer.maybe_executed:
            outcomes["unknown"] += 1
        else:
            outcomes["refused"] += 1
            # The same number may stand twice in the list: one of the two can have gone through.
            twin = sum(other["send_request_no"] == number for _, other in sends) == 2
            assert twin or not happened, f"{number} was reported refused for good: {answer}"
    print(f"sends: {dict(outcomes)}; coupons in the books: {len(books)}")
    assert outcomes["sent"] > USERS * PER_USER * 0.9
    assert outcomes["refused"] > USERS * 0.5
    assert outcomes["unknown"] < len(sends) * 0.04

    # Zero unauthentic answers: what a tampered body would have changed is as the platform has it.
    total = made["stock"]["stock_send_rule"]["max_count"]
    for answer in read:
        if isinstance(answer, dict):
            assert answer["stock_send_rule"]["max_count"] == total
            assert answer["sent_count_info"]["total_count"] == len(books)
    assert sum(isinstance(answer, dict) for answer in read) > 3900

    by_code = books.set_index("coupon_code")
    for (_, code, _), answer in confirmed:
        is_confirmed = not pd.isna(by_code.loc[code, "confirm_time"])
        if isinstance(answer, dict):
            assert is_confirmed
            assert answer["coupon_state"] == "EFFECTIVE"
        elif not answer.maybe_executed:
            assert not is_confirmed, f"{code}: {answer}"
