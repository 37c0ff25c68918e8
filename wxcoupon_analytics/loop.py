"""An event loop of our own, beside the notebook's: blocking calls outside, concurrent work inside.

A notebook already runs a loop, so ``asyncio.run`` fails there. This one runs in a daemon thread; any thread may call it,
and the Stop button (KeyboardInterrupt) cancels the work in it as well as the wait for it.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from concurrent.futures import CancelledError, Future, wait
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")
Q = TypeVar("Q")
CANCEL_SECONDS = 5.0
LOOK_UP_SECONDS = 0.2


class BackgroundLoop:
    """Runs coroutines in a thread of its own and waits for them."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._tasks: dict[Future[Any], asyncio.Task[None]] = {}
        self._cleanups: list[Callable[[], Awaitable[None]]] = []
        self._process = os.getpid()
        self._gate = threading.Lock()
        # A thread that is no daemon would be joined before anything could stop it: an unclosed client would keep Python
        # from ending. The finalizer runs when this object is dropped, and at exit.
        thread = threading.Thread(target=_serve, args=(self._loop, self._cleanups), name="wxcoupon-loop", daemon=True)
        thread.start()
        self._close = weakref.finalize(self, _stop, self._loop, thread)

    def on_close(self, cleanup: Callable[[], Awaitable[None]]) -> None:
        """Have something awaited in the loop before it ends."""
        self._cleanups.append(cleanup)

    def start(self, work: Callable[[Q], Coroutine[Any, Any, T]], items: Iterable[Q]) -> list[Future[T]]:
        """Start ``work(item)`` for each item, together, and give their futures.

        :meth:`cancel` ends what was started; a future's own cancel does not.
        """
        if os.getpid() != self._process:
            raise RuntimeError("this client belongs to the process that made it, not to this fork: connect again here")
        pairs = [(item, Future[T]()) for item in items]
        with self._gate:
            if self.closed:
                raise RuntimeError("this client is closed: connect again")
            # One crossing for all: each costs the two threads a switch.
            self._loop.call_soon_threadsafe(self._begin, work, pairs)
        return [future for _, future in pairs]

    def _begin(self, work: Callable[[Q], Coroutine[Any, Any, T]], pairs: list[tuple[Q, Future[T]]]) -> None:
        for item, future in pairs:
            task = self._tasks[future] = self._loop.create_task(_carry(work, item, future))
            task.add_done_callback(partial(self._settle, future))

    def _settle(self, future: Future[Any], _: asyncio.Task[None]) -> None:
        del self._tasks[future]
        if not future.done():
            future.cancel()

    def cancel(self, futures: Iterable[Future[Any]]) -> None:
        """Cancel what is still running, and give it a moment to end."""
        running = [future for future in futures if not future.done()]
        if running and not self.closed:
            wait([asyncio.run_coroutine_threadsafe(self._drop(running), self._loop)], timeout=CANCEL_SECONDS)

    async def _drop(self, futures: list[Future[Any]]) -> None:
        tasks = [self._tasks[future] for future in futures if future in self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def run(self, work: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
        """Run ``work(*args)`` in the loop and give its result.

        On KeyboardInterrupt the work is cancelled, given a moment to end, and the interrupt raised again.
        """
        (future,) = self.start(lambda _: work(*args), (None,))
        try:
            return self.result(future)
        except BaseException:
            self.cancel([future])
            raise

    def result(self, future: Future[T]) -> T:
        """Wait for a future's result, so that the Stop button is heard."""
        # Polars takes SIGINT for itself in a way that no longer wakes a waiting thread: it has to look up now and then.
        while True:
            try:
                return future.result(LOOK_UP_SECONDS)
            except CancelledError:
                raise RuntimeError("the client was closed while this call was running") from None
            except TimeoutError:
                if future.done():  # just now, or the error is the work's own
                    return future.result()

    @property
    def closed(self) -> bool:
        """Whether the loop has ended."""
        return not self._close.alive

    def close(self) -> None:
        """End the loop; calls still running are cancelled."""
        with self._gate:  # what was started before begins before the end; nothing is started after
            self._close()


async def _carry(work: Callable[[Q], Coroutine[Any, Any, T]], item: Q, future: Future[T]) -> None:
    try:
        future.set_result(await work(item))
    except Exception as error:  # noqa: BLE001 - raised again where the result is asked for
        future.set_exception(error)


def _serve(loop: asyncio.AbstractEventLoop, cleanups: list[Callable[[], Awaitable[None]]]) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        for cleanup in cleanups:
            loop.run_until_complete(cleanup())
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def _stop(loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    if thread.is_alive():
        loop.call_soon_threadsafe(loop.stop)
        # The collector may drop a forgotten client in the loop's own thread, which cannot wait for itself.
        if threading.current_thread() is not thread:
            thread.join(CANCEL_SECONDS)


async def map_bounded(
    work: Callable[[Q], Coroutine[Any, Any, T]],
    items: Iterable[Q],
    *,
    in_flight: int,
    done: Callable[[], object] = lambda: None,
) -> list[T]:
    """Await ``work(item)`` for every item, at most ``in_flight`` at a time; results in the items' order.

    The first error cancels the rest and is raised as itself, not inside an exception group.
    """
    results: dict[int, T] = {}
    queue: Iterator[tuple[int, Q]] = enumerate(items)

    async def worker() -> None:
        for index, item in queue:
            results[index] = await work(item)
            done()

    workers = [asyncio.ensure_future(worker()) for _ in range(in_flight)]
    try:
        await asyncio.gather(*workers)
    finally:
        for task in workers:
            task.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    return [results[i] for i in range(len(results))]
