from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import Future

import pytest

from wxcoupon_analytics.loop import BackgroundLoop, map_bounded


@pytest.fixture
def loop():
    loop = BackgroundLoop()
    yield loop
    loop.close()


async def double(n: int) -> int:
    await asyncio.sleep(0.001)
    return 2 * n


def test_it_works_where_a_loop_is_running_already_as_in_a_notebook(loop: BackgroundLoop):
    async def notebook_cell() -> int:
        return loop.run(double, 21)

    assert asyncio.run(notebook_cell()) == 42


def test_it_works_from_many_threads(loop: BackgroundLoop):
    results: list[int] = []
    threads = [threading.Thread(target=lambda n=n: results.append(loop.run(double, n))) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [2 * n for n in range(20)]


def test_the_stop_button_cancels_the_work_and_is_raised_again(loop: BackgroundLoop):
    ended = threading.Event()

    async def forever() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        loop.run(forever)
    assert ended.is_set()
    assert time.monotonic() - begin < 5


def test_map_keeps_the_order_bounds_what_is_in_flight_and_raises_the_first_error_as_itself(loop: BackgroundLoop):
    running = most = 0

    async def work(n: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01 if n % 3 else 0.002)
        running -= 1
        if n == 77:
            raise LookupError("77")
        return n

    async def good() -> list[int]:
        return await map_bounded(work, range(60), in_flight=8)

    async def bad() -> list[int]:
        return await map_bounded(work, range(200), in_flight=8)

    assert loop.run(good) == list(range(60))
    assert most == 8
    with pytest.raises(LookupError, match="77"):
        loop.run(bad)


def test_python_ends_though_a_client_was_never_closed():
    code = textwrap.dedent("""
        from wxcoupon_analytics.loop import BackgroundLoop
        import asyncio
        loop = BackgroundLoop()
        loop.run(asyncio.sleep, 0.01)
    """)
    subprocess.run([sys.executable, "-W", "error", "-c", code], timeout=20, check=True)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only POSIX forks")
def test_a_forked_process_is_told_to_connect_again():
    code = textwrap.dedent("""
        import asyncio, os
        from wxcoupon_analytics.loop import BackgroundLoop
        loop = BackgroundLoop()
        if os.fork() == 0:
            try:
                loop.run(asyncio.sleep, 0)
            except RuntimeError as error:
                os._exit(0 if "connect again here" in str(error) else 1)
            os._exit(2)
        assert os.wait()[1] == 0
    """)
    subprocess.run([sys.executable, "-c", code], timeout=20, check=True)


def test_a_client_dropped_in_its_own_loop_ends_it():
    loop = BackgroundLoop()
    thread = next(t for t in threading.enumerate() if t.name == "wxcoupon-loop" and t.is_alive())
    holder = [loop]

    async def drop(_: None) -> None:
        holder.clear()

    (future,) = loop.start(drop, [None])
    del loop
    future.result(5)
    del future
    thread.join(5)
    assert not thread.is_alive()


def test_calls_that_race_with_the_end_are_answered_or_refused_and_never_hang():
    for _ in range(30):
        loop = BackgroundLoop()
        ended: list[str] = []

        def call(loop: BackgroundLoop = loop, ended: list[str] = ended) -> None:
            try:
                loop.run(asyncio.sleep, 5)
            except RuntimeError as error:
                ended.append(str(error))

        threads = [threading.Thread(target=call) for _ in range(8)]
        for thread in threads:
            thread.start()
        loop.close()
        for thread in threads:
            thread.join(5)
        assert len(ended) == 8
        assert all("closed" in text for text in ended)


def test_a_result_that_comes_in_the_moment_of_looking_up_is_not_lost(loop: BackgroundLoop):
    class Late(Future):
        def result(self, timeout: float | None = None) -> str:
            if timeout is not None:
                self.set_result("sent")
                raise TimeoutError
            return super().result()

    assert loop.result(Late()) == "sent"
