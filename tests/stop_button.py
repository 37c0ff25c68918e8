"""The Stop button, pressed once something has come about: a timer would press it at another place on another machine."""

from __future__ import annotations

import _thread
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def stopped(when: Callable[[], bool]) -> Iterator[None]:
    over = threading.Event()

    def press() -> None:
        while not over.wait(0.02):
            if when():
                _thread.interrupt_main()
                return

    finger = threading.Thread(target=press)
    finger.start()
    try:
        yield
    finally:
        over.set()
        finger.join()
