"""A progress bar where someone is watching."""

from __future__ import annotations

import sys
from typing import Any


def bar(total: int, *, what: str, show: bool | None, initial: int = 0) -> Any:
    """Give a tqdm bar: how many are done, at what rate, and the time left.

    With ``show=None`` only on an interactive terminal or in a notebook, and not for a handful. ``initial`` are done
    before it begins, and count for nothing in the rate.
    """
    from tqdm.auto import tqdm

    if show is None:
        show = total > 50 and (sys.stderr.isatty() or "ipykernel" in sys.modules)
    return tqdm(total=total, desc=what, initial=min(initial, total), disable=not show, leave=False)
