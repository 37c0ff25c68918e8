"""An event loop of our own, beside the notebook's: blocking calls outside, concurrent work inside.

A notebook already runs a loop, so ``asyncio.run`` fails there. This one runs in a daemon thread; any thread may call it,
and the Stop button (KeyboardInterrupt) cancels the work in it, which a bare ``portal.call`` would leave running.
"""

from __future__ import annotations

import atexit
import threading
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from concurrent.futures import CancelledError, Future, wait
from typing import Any, TypeVar

import anyio
from anyio.from_thread import BlockingPortal

T = TypeVar("T")
Q = TypeVar("Q")
CANCEL_SECONDS = 5.0


class BackgroundLoop:
    """Runs coroutines in a thread of its own and waits for them."""

    def __init__(self) -> None:
        ready: Future[BlockingPortal] = Future()

        async def serve() -> None:
            async with BlockingPortal() as portal:
                ready.set_result(portal)
                await portal.sleep_until_stopped()

        # Threads of a pool are joined before atexit runs: an unclosed client would keep Python from ending.
        self._thread = threading.Thread(target=anyio.run, args=(serve,), name="wxcoupon-loop", daemon=True)
        self._thread.start()
        self._portal = ready.result()
        self._cleanups: list[Callable[[], Awaitable[None]]] = []
        self._close = weakref.finalize(self, _stop, self._portal, self._thread, self._cleanups)
        atexit.register(self._close)

    def on_close(self, cleanup: Callable[[], Awaitable[None]]) -> None:
        """Have something awaited in the loop before it ends."""
        self._cleanups.append(cleanup)

    def start(self, work: Callable[..., Coroutine[Any, Any, T]], *args: object) -> Future[T]:
        """Start ``work(*args)`` in the loop and give its future."""
        if self.closed:
            raise RuntimeError("this client is closed: connect again")
        return self._portal.start_task_soon(work, *args)

    def cancel(self, futures: Iterable[Future[Any]]) -> None:
        """Cancel what is still running, and give it a moment to end."""
        running = [future for future in futures if not future.done()]
        for future in running:
            future.cancel()
        wait(running, timeout=CANCEL_SECONDS)

    def run(self, work: Callable[..., Coroutine[Any, Any, T]], *args: object) -> T:
        """Run ``work(*args)`` in the loop and give its result.

        On KeyboardInterrupt the work is cancelled, given a moment to end, and the interrupt raised again.
        """
        future = self.start(work, *args)
        try:
            return future.result()
        except CancelledError:
            raise RuntimeError("the client was closed while this call was running") from None
        except BaseException:
            self.cancel([future])
            raise

    @property
    def closed(self) -> bool:
        """Whether the loop has ended."""
        return not self._close.alive

    def close(self) -> None:
        """End the loop; calls still running are cancelled."""
        atexit.unregister(self._close)
        self._close()


def _stop(portal: BlockingPortal, thread: threading.Thread, cleanups: list[Callable[[], Awaitable[None]]]) -> None:
    if thread.is_alive():
        for cleanup in cleanups:
            portal.call(cleanup)
        portal.call(portal.stop, True)
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
    errors: list[Exception] = []
    queue: Iterator[tuple[int, Q]] = enumerate(items)

    async def worker(scope: anyio.CancelScope) -> None:
        for index, item in queue:
            try:
                results[index] = await work(item)
            except Exception as error:  # noqa: BLE001 - carried out of the task group, where it is raised as itself
                errors.append(error)
                scope.cancel()
                return
            done()

    async with anyio.create_task_group() as group:
        for _ in range(in_flight):
            group.start_soon(worker, group.cancel_scope)
    if errors:
        raise errors[0]
    return [results[i] for i in range(len(results))]
