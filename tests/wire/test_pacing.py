from __future__ import annotations

import asyncio

import pytest

from wxcoupon_analytics.wire.pacing import Pace


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def turns(pace: Pace, clock: Clock, seconds: float) -> list[float]:
    """When each turn falls due, for a caller who asks for the next as soon as one has come."""
    end, times = clock.now + seconds, []
    while True:
        clock.now += pace.take()
        if clock.now > end:
            return times
        times.append(clock.now)


@pytest.mark.parametrize("limit", [20, 500])
def test_no_window_of_a_second_holds_more_than_the_limit_and_a_hundredth(limit: int):
    clock = Clock()
    pace = Pace(limit, clock=clock)
    times = turns(pace, clock, 2)
    clock.now += 5  # idle: what was not used is not saved up
    times += turns(pace, clock, 2)
    worst = max(sum(begin <= t < begin + 1 for t in times) for begin in times)
    assert limit - 1 <= worst <= limit * 1.01 + 1


def test_a_429_slows_down_once_for_all_that_were_under_way_and_wears_off():
    clock = Clock()
    pace = Pace(500, clock=clock)
    for _ in range(64):
        pace.slow_down()
    assert pace.rate == pytest.approx(350)
    clock.now += 2
    pace.take()
    assert pace.rate == pytest.approx(400)
    clock.now += 60
    pace.take()
    assert pace.rate == 500
    for _ in range(100):
        clock.now += 1
        pace.slow_down()
    assert pace.rate >= 25


def test_a_cancelled_wait_gives_its_turn_back():
    async def main() -> float:
        pace = Pace(1)
        waiting = [asyncio.ensure_future(pace.turn()) for _ in range(64)]
        await asyncio.sleep(0.05)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        return pace.take()

    assert asyncio.run(main()) <= 1
