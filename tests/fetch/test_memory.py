"""Memory does not grow with the number of users."""

from __future__ import annotations

import pytest

import wxcoupon_analytics as wx
from tests.benchmarks.fetch import Resident, customers, openids
from wxcoupon_analytics.fetch import into_store

pytestmark = pytest.mark.slow

USERS = 24_000


def test_the_last_users_of_a_fetch_take_no_more_memory_than_the_first(tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(into_store, "PART_COUPONS", 1500)
    store = wx.SnapshotStore(tmp_path)
    with customers(USERS) as (box, client), Resident() as resident:
        fetched = client.fetch.user_coupons(openids(USERS), appid=box.appid, store=store)
    assert (fetched.users, fetched.new) == (USERS, USERS)
    # Between two parts: while one is stored, the store's query engine takes what it may and gives it back.
    quarter = len(resident.seen) // 4
    floors = [min(resident.seen[n * quarter : (n + 1) * quarter]) for n in range(4)]
    print("MB resident, at least, by quarters:", " ".join(f"{mb:.0f}" for mb in floors))
    # Half of the answers, which lie between the second quarter and the last, are 35 MB, their rows as much again.
    assert floors[3] < floors[1] + 15
