"""Executing a plan and pressing Stop: no row is lost, and what is said of each is what the server's books say."""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.actions.selling import Shop, sends, users, when_sent


def test_the_stop_button_ends_it_within_two_seconds_with_the_result_so_far(shop: Shop, tmp_path: Path):
    with shop.box.client(journal=tmp_path / "j.sqlite3") as client:
        plan = shop.plan(users(1000), client=client)
        pressed: list[float] = []

        def press() -> None:
            pressed.append(time.monotonic())
            os.kill(os.getpid(), signal.SIGINT)

        when_sent(shop, 100, press)
        with pytest.raises(KeyboardInterrupt) as caught:
            plan.execute(confirm=1000)
        assert time.monotonic() - pressed[0] < 2
        result = caught.value.result  # type: ignore[attr-defined]
        assert any("partial result" in note for note in caught.value.__notes__)
        asked = sends(shop.box)
        held = shop.held()
        time.sleep(0.5)
        assert sends(shop.box) == asked, "no request is made any more"
        assert shop.held() == held
        assert len(result) == 1000
        counts = Counter(result["status"])
        assert set(counts) <= {"sent", "unknown", "blocked"}
        assert 0 < counts["sent"] < 1000
        assert set(result.loc[result["status"] == "blocked", "reason"]) == {"the run was stopped before this"}
        # What the books show is what was sent or unknown, and the journal says the same.
        sent = set(result.loc[result["status"] == "sent", "openid"])
        unknown = set(result.loc[result["status"] == "unknown", "openid"])
        assert sent <= set(held) <= sent | unknown
        journal = client.actions.journal().set_index("openid")["status"]
        assert set(journal.index[journal == "done"]) == sent
        assert set(journal.index[journal == "unknown"]) == unknown
        rest = shop.plan(users(1000), client=client)
        assert rest.summary["ready"] == 1000 - len(sent)
        rest.execute(confirm=rest.summary["ready"])
    assert shop.held() == {f"user-{i}": 1 for i in range(1000)}


def test_stop_with_answers_that_do_not_come_leaves_them_unknown(shop: Shop):
    shop.box.faults("stall", times=None, seconds=20, when="after", method="POST", path="/users/user-[0-9]/")
    plan = shop.plan(users(30))
    pressed = []

    def press() -> None:
        while (shop.client.actions.journal()["status"] == "done").sum() < 20:
            time.sleep(0.05)
        pressed.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()
    with pytest.raises(KeyboardInterrupt) as caught:
        plan.execute(confirm=30)
    assert time.monotonic() - pressed[0] < 15, "the answers would have taken longer"
    statuses = caught.value.result["status"].tolist()  # type: ignore[attr-defined]
    assert statuses == ["unknown"] * 10 + ["sent"] * 20
    shop.box.faults(None)
    assert shop.plan(users(30)).execute(confirm=10)["status"].tolist() == ["sent"] * 10 + ["already_sent"] * 20
    assert set(shop.held().values()) == {1}


def test_stop_while_a_request_is_being_made_loses_no_row(shop: Shop, monkeypatch: pytest.MonkeyPatch):
    plan = shop.plan(users(300))
    question, calls = shop.client.api.question, itertools.count()

    def press(*args: Any, **options: Any) -> Any:
        if next(calls) == 150:
            raise KeyboardInterrupt
        return question(*args, **options)

    monkeypatch.setattr(shop.client.api, "question", press)
    with pytest.raises(KeyboardInterrupt) as caught:
        plan.execute(confirm=300)
    monkeypatch.undo()
    result = caught.value.result  # type: ignore[attr-defined]
    assert result["openid"].tolist() == users(300)["openid"].tolist()
    assert set(result.loc[result["status"] == "sent", "openid"]) == set(shop.held())
    assert set(result["status"]) <= {"sent", "blocked"}
    assert shop.plan(users(300)).execute(confirm=300 - len(shop.held()))["status"].isin(["sent", "already_sent"]).all()
    assert shop.held() == {f"user-{i}": 1 for i in range(300)}


def test_stop_pressed_twice_still_gives_the_result(shop: Shop, monkeypatch: pytest.MonkeyPatch):
    shop.box.faults("stall", times=None, seconds=20, when="after", method="POST", path="/users/user-1/")
    plan = shop.plan(users(20))
    presses = itertools.count()

    def press(_: float) -> None:
        # In the loop that waits for what is in flight: only a run that was stopped sleeps here.
        next(presses)
        raise KeyboardInterrupt

    monkeypatch.setattr("wxcoupon_analytics.actions.runner.time.sleep", press)
    when_sent(shop, 20, lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt) as caught:
        plan.execute(confirm=20)
    monkeypatch.undo()
    assert next(presses) == 1, "it was pressed again"
    statuses = caught.value.result["status"].tolist()  # type: ignore[attr-defined]
    assert statuses[1] == "unknown"
    assert set(statuses) <= {"sent", "unknown"}
    assert set(shop.journal()["status"]) <= {"done", "unknown"}


def test_stop_while_refused_confirms_are_looked_at_keeps_the_result(shop: Shop, monkeypatch: pytest.MonkeyPatch):
    shop.box.faults("status", times=None, code=400, signed=True, method="POST", path="/confirm$")
    plan = shop.plan(users(5), confirm_coupons=True)
    question = shop.client.api.question

    def press(operation: str, *args: Any, **options: Any) -> Any:
        if operation == "get_user_coupon":
            raise KeyboardInterrupt
        return question(operation, *args, **options)

    monkeypatch.setattr(shop.client.api, "question", press)
    with pytest.raises(KeyboardInterrupt) as caught:
        plan.execute(confirm=5)
    result = caught.value.result  # type: ignore[attr-defined]
    assert result["status"].tolist() == ["sent"] * 5
    assert result["reason"].str.startswith("sent, but not confirmed").all()
